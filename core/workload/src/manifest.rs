//! What exactly runs, in bytes that can be hashed?
//!
//! The manifest is public and closed: CBOR (`docs/reference/manifest.md`), read back only if it is
//! the one encoding this module writes. Its SHA-256 is the workload digest, which the hardware
//! reports; the guest and every verifier read it with [`Manifest::parse`].

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::hash::{Sha256, sha256};
use casemate_record::{AppId, KmsId, WorkloadDigest};
use minicbor::{Decode, Encode, bytes::ByteVec};
use serde::Serialize;

use crate::compose::{self, Compose};

/// Largest manifest that is read, in bytes.
pub const MAXIMUM_BYTES: usize = 1 << 20;

/// The version this module writes and reads.
pub const VERSION: u32 = 1;

/// Most seats a key service can have.
pub const MAXIMUM_SEATS: u8 = 9;

/// Largest public file, in bytes: it travels on the launch disk.
pub const MAXIMUM_FILE_BYTES: u64 = 1 << 20;

/// Size of the encrypted volume where the compose file names none, in bytes.
pub const DEFAULT_VOLUME_BYTES: u64 = 1 << 30;

/// Name of the one encrypted volume of the compose profile.
pub const DATA_VOLUME: &str = "data";

/// What exactly runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Manifest {
    /// [`VERSION`].
    #[n(0)]
    pub version: u32,
    /// Kind of workload.
    #[n(1)]
    pub kind: Kind,
    /// Name for people; proves nothing.
    #[n(2)]
    pub name: String,
    /// `compose.yaml`, byte for byte.
    #[n(3)]
    #[serde(serialize_with = "as_text")]
    pub compose: ByteVec,
    /// Values of the variables outside `environment`, `configs` and `secrets`.
    #[n(4)]
    pub substitutions: Substitutions,
    /// One image per service, in the order of their names.
    #[n(5)]
    pub images: Vec<Image>,
    /// Files that configs are made of, in the order of their names.
    #[n(6)]
    pub files: Vec<File>,
    /// Names of the secrets that are delivered after verification, in order.
    #[n(7)]
    pub secret_names: Vec<String>,
    /// The app.
    #[n(8)]
    pub app_id: AppId,
    /// The key service it trusts.
    #[n(9)]
    pub kms_id: KmsId,
    /// Seats of the key service that must agree.
    #[n(10)]
    pub threshold: u8,
    /// Domain names it answers to.
    #[n(11)]
    pub domains: Vec<String>,
    /// Where it may connect to; nowhere else.
    #[n(12)]
    pub egress: Vec<EgressRule>,
    /// What its owner may see of it.
    #[n(13)]
    pub observe: Observe,
    /// Encrypted volumes.
    #[n(14)]
    pub volumes: Vec<Volume>,
    /// Services that may ask for evidence, in the order of their names; no other may.
    #[n(15)]
    pub evidence: Vec<String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// It also reads the compose file in it, and refuses a manifest whose other fields say anything
    /// else than that file: two readers of one digest cannot be told two things.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, Compose), Error> {
        let manifest: Manifest = from_cbor(bytes, MAXIMUM_BYTES)?;
        let compose = manifest.check()?;
        Ok((manifest, compose))
    }

    /// The manifest of a compose file.
    ///
    /// # Errors
    /// [`Error`] as [`Manifest::parse`]: what this makes, that reads.
    pub fn new(inputs: Inputs) -> Result<(Self, Compose), Error> {
        let compose = compose::parse_bytes(&inputs.compose, &inputs.substitutions)?;
        let mut images = inputs.images;
        images.sort_by(|a, b| a.service.cmp(&b.service));
        let mut files = inputs.files;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = Manifest {
            version: VERSION,
            kind: Kind::Compose,
            name: inputs.name,
            compose: inputs.compose.into(),
            substitutions: inputs.substitutions,
            images,
            files,
            secret_names: compose.secret_names().into_keys().collect(),
            app_id: inputs.app_id,
            kms_id: inputs.kms_id,
            threshold: inputs.threshold,
            domains: compose.casemate.domains.clone(),
            egress: compose.casemate.egress.clone(),
            observe: compose.casemate.observe,
            volumes: volumes_of(&compose),
            evidence: compose.casemate.evidence.clone(),
        };
        manifest.check()?;
        Ok((manifest, compose))
    }

    /// The one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }

    /// SHA-256 of the encoding: HOST_DATA on SEV-SNP.
    pub fn digest(&self) -> WorkloadDigest {
        digest_of(&self.to_bytes())
    }

    /// The image of `service`.
    pub fn image(&self, service: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.service == service)
    }

    /// Everything that a reader must not have to check again.
    fn check(&self) -> Result<Compose, Error> {
        if self.version != VERSION {
            return Err(Error::Version { found: self.version });
        }
        if !(1..=MAXIMUM_SEATS).contains(&self.threshold) {
            return Err(Error::Threshold { found: self.threshold });
        }
        if self.name.is_empty() || self.name.len() > 63 || self.name.chars().any(char::is_control) {
            return Err(Error::Name);
        }
        let text = std::str::from_utf8(&self.compose).unwrap_or_default();
        let known = compose::variables(text)?.public;
        let names: Vec<&String> = self.substitutions.0.iter().map(|s| &s.name).collect();
        if !names.is_sorted_by(|a, b| a < b) || names.iter().any(|name| !known.contains_key(*name)) {
            return Err(Error::Contradiction { field: "substitutions" });
        }
        let compose = compose::parse_bytes(&self.compose, &self.substitutions)?;
        let agrees = |field, agrees: bool| if agrees { Ok(()) } else { Err(Error::Contradiction { field }) };
        agrees("images", self.images.iter().map(|image| &image.service).eq(compose.services.keys()))?;
        agrees("images", self.images.iter().all(|image| image.is_bounded()))?;
        agrees("files", self.files.iter().map(|file| &file.name).eq(compose.public_files().iter()))?;
        agrees("files", self.files.iter().all(|file| file.size_bytes <= MAXIMUM_FILE_BYTES))?;
        agrees("secret_names", self.secret_names.iter().eq(compose.secret_names().keys()))?;
        agrees("domains", self.domains == compose.casemate.domains)?;
        agrees("egress", self.egress == compose.casemate.egress)?;
        agrees("observe", self.observe == compose.casemate.observe)?;
        agrees("volumes", self.volumes == volumes_of(&compose))?;
        agrees("evidence", self.evidence == compose.casemate.evidence)?;
        Ok(compose)
    }
}

/// What a manifest is made of, besides what its compose file says.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Name for people.
    pub name: String,
    /// `compose.yaml`, byte for byte.
    pub compose: Vec<u8>,
    /// Values of its public variables.
    pub substitutions: Substitutions,
    /// One image per service.
    pub images: Vec<Image>,
    /// The files that its configs name.
    pub files: Vec<File>,
    /// The app.
    pub app_id: AppId,
    /// The key service.
    pub kms_id: KmsId,
    /// Seats that must agree.
    pub threshold: u8,
}

fn volumes_of(compose: &Compose) -> Vec<Volume> {
    vec![Volume {
        name: DATA_VOLUME.to_owned(),
        size_bytes: compose.casemate.volume_size_bytes.unwrap_or(DEFAULT_VOLUME_BYTES),
        mounts: compose.volumes.clone(),
    }]
}

/// The digest of a manifest that is still bytes.
pub fn digest_of(bytes: &[u8]) -> WorkloadDigest {
    WorkloadDigest::from(*sha256(bytes).as_bytes())
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not the encoding of a manifest.
    #[error("manifest: {0}")]
    Encoding(#[from] casemate_canon::Error),
    /// Its compose file is refused.
    #[error("compose file: {0}")]
    Compose(#[from] compose::Error),
    /// No threshold that a key service can have.
    #[error("threshold {found}; expected 1 to {MAXIMUM_SEATS}")]
    Threshold {
        /// The threshold it names.
        found: u8,
    },
    /// A name that cannot be shown.
    #[error("the name is empty, longer than 63 bytes or holds control characters; choose another")]
    Name,
    /// A field says something else than the compose file.
    #[error("'{field}' is not what the compose file in the manifest says; rebuild it with `casemate up`")]
    Contradiction {
        /// The field.
        field: &'static str,
    },
    /// Another version.
    #[error("manifest version {found}, this program reads version {VERSION}; use a matching release")]
    Version {
        /// The version it names.
        found: u32,
    },
}

/// Kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Containers of a compose file.
    #[n(0)]
    Compose,
}

/// Values of public variables, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Substitutions(#[n(0)] Vec<Substitution>);

impl Substitutions {
    /// The value of `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|s| s.name == name).map(|s| s.value.as_str())
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|s| (s.name.as_str(), s.value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Substitutions {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let sorted: std::collections::BTreeMap<String, String> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Substitutions(sorted.into_iter().map(|(name, value)| Substitution { name, value }).collect())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
struct Substitution {
    #[n(0)]
    name: String,
    #[n(1)]
    value: String,
}

/// The image of one service.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Image {
    /// Service.
    #[n(0)]
    pub service: String,
    /// How the compose file names it; proves nothing.
    #[n(1)]
    pub reference: String,
    /// SHA-256 of the OCI image manifest.
    #[n(2)]
    pub oci_digest: Sha256,
    /// dm-verity root hash of the erofs image made from it.
    #[n(3)]
    pub root_hash: Sha256,
    /// Data blocks of 4096 bytes; the hash tree begins directly after them.
    #[n(4)]
    pub data_blocks: u64,
    /// What the image says about running it.
    #[n(5)]
    pub config: ImageConfig,
}

impl Image {
    /// Serial number of its disk: the first 20 hexadecimal digits of the root hash.
    pub fn disk_serial(&self) -> String {
        self.root_hash.to_string()[..20].to_owned()
    }

    fn is_bounded(&self) -> bool {
        // 4 TiB: also keeps sizes in bytes far from overflow.
        (1..=1 << 30).contains(&self.data_blocks)
    }
}

/// What an OCI image says about running it (OCI image specification, `config.md`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize)]
pub struct ImageConfig {
    /// `Entrypoint`.
    #[n(0)]
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    #[n(1)]
    pub cmd: Vec<String>,
    /// `Env`, each `NAME=value`.
    #[n(2)]
    pub env: Vec<String>,
    /// `WorkingDir`; empty: `/`.
    #[n(3)]
    pub working_dir: String,
    /// `User`; empty: root.
    #[n(4)]
    pub user: String,
    /// Paths of `Volumes`, in order.
    #[n(5)]
    pub volumes: Vec<String>,
    /// `ExposedPorts`, in order.
    #[n(6)]
    pub exposed_ports: Vec<String>,
    /// `StopSignal`; empty: SIGTERM.
    #[n(7)]
    pub stop_signal: String,
}

/// A public file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct File {
    /// Path relative to the compose file, as the compose file writes it.
    #[n(0)]
    pub name: String,
    /// Its SHA-256.
    #[n(1)]
    pub digest: Sha256,
    /// Its size in bytes.
    #[n(2)]
    pub size_bytes: u64,
}

/// Somewhere a workload may connect to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct EgressRule {
    /// Host or network.
    #[n(0)]
    pub to: EgressTarget,
    /// Destination port.
    #[n(1)]
    pub port: u16,
    /// Transport.
    #[n(2)]
    pub protocol: Protocol,
}

/// Host or network of an egress rule.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EgressTarget {
    /// A DNS name, lower case; whatever addresses it has at the time.
    #[n(0)]
    Name(#[n(0)] String),
    /// An IPv4 network.
    #[n(1)]
    Ipv4 {
        /// Address; bits beyond the prefix are zero.
        #[n(0)]
        address: u32,
        /// Prefix length, 0 to 32.
        #[n(1)]
        prefix: u8,
    },
}

/// Transport of an egress rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    #[n(0)]
    Tcp,
    /// UDP.
    #[n(1)]
    Udp,
}

/// What the owner may see of a running workload, over a channel sealed to the owner's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode, Serialize)]
pub struct Observe {
    /// What its services print.
    #[n(0)]
    pub logs: bool,
    /// State of its services.
    #[n(1)]
    pub status: bool,
    /// Running commands in its services.
    #[n(2)]
    pub exec: bool,
}

/// An encrypted volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Volume {
    /// Name, also of its partition: [`DATA_VOLUME`].
    #[n(0)]
    pub name: String,
    /// Its size in bytes.
    #[n(1)]
    pub size_bytes: u64,
    /// Named volumes of the compose file that live on it, in order.
    #[n(2)]
    pub mounts: Vec<String>,
}

fn as_text<S: serde::Serializer>(bytes: &ByteVec, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let image = |service: &str| Image {
            service: service.into(),
            reference: "oci:images/".to_owned() + service,
            oci_digest: Sha256::from([1; 32]),
            root_hash: Sha256::from([2; 32]),
            data_blocks: 100,
            config: ImageConfig { cmd: vec!["/run".into()], ..ImageConfig::default() },
        };
        let text = "services:\n  web:\n    image: oci:images/web\n    ports: ['${PORT}:80']\n    \
                    environment: {KEY: '${KEY}'}\n    configs: [page]\n  db:\n    image: oci:images/db\n    \
                    volumes: ['data:/data']\nvolumes: {data: }\nconfigs: {page: {file: page.html}}\n\
                    x-casemate: {egress: ['example.org:443'], domains: [notes.example.org], \
                    evidence: [web]}\n";
        Manifest::new(Inputs {
            name: "notes".into(),
            compose: text.into(),
            substitutions: Substitutions::from_iter([("PORT", "8080")]),
            images: vec![image("web"), image("db")],
            files: vec![File { name: "page.html".into(), digest: Sha256::from([3; 32]), size_bytes: 5 }],
            app_id: AppId::from([4; 32]),
            kms_id: KmsId::from([5; 32]),
            threshold: 1,
        })
        .unwrap()
        .0
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let manifest = manifest();
        let (read, compose) = Manifest::parse(&manifest.to_bytes()).unwrap();
        assert_eq!(read, manifest);
        assert_eq!(read.digest(), digest_of(&manifest.to_bytes()));
        assert_eq!(compose.services.len(), 2);
        assert_eq!(read.image("db").unwrap().disk_serial(), "02020202020202020202");
    }

    /// A field, a change of that field alone, and whether its own refusal is expected.
    type Change = (&'static str, fn(&mut Manifest));

    #[test]
    fn a_field_that_contradicts_the_compose_file_is_refused() {
        let changes: &[Change] = &[
            ("substitutions", |m| {
                m.substitutions = Substitutions::from_iter([("OTHER", "1"), ("PORT", "8080")])
            }),
            ("images", |m| m.images.truncate(1)),
            ("images", |m| m.images.reverse()),
            ("images", |m| m.images[0].data_blocks = 0),
            ("files", |m| m.files.clear()),
            ("files", |m| m.files[0].size_bytes = MAXIMUM_FILE_BYTES + 1),
            ("secret_names", |m| m.secret_names.clear()),
            ("secret_names", |m| m.secret_names.push("MORE".into())),
            ("domains", |m| m.domains.clear()),
            ("egress", |m| m.egress[0].port = 80),
            ("egress", |m| m.egress.clear()),
            ("observe", |m| m.observe.exec = true),
            ("volumes", |m| m.volumes.clear()),
            ("volumes", |m| m.volumes[0].size_bytes += 1),
            ("evidence", |m| m.evidence.clear()),
            ("evidence", |m| m.evidence.insert(0, "db".into())),
        ];
        for (expected, change) in changes {
            let mut changed = manifest();
            change(&mut changed);
            let error = Manifest::parse(&changed.to_bytes()).unwrap_err();
            assert!(
                matches!(error, Error::Contradiction { field } if field == *expected),
                "{expected}: {error}"
            );
        }
    }

    #[test]
    fn other_fields_have_their_own_refusals() {
        let refused = |change: fn(&mut Manifest)| {
            let mut changed = manifest();
            change(&mut changed);
            Manifest::parse(&changed.to_bytes()).unwrap_err()
        };
        assert!(matches!(refused(|m| m.version = 2), Error::Version { found: 2 }));
        assert!(matches!(refused(|m| m.threshold = 0), Error::Threshold { found: 0 }));
        assert!(matches!(refused(|m| m.threshold = 10), Error::Threshold { found: 10 }));
        assert!(matches!(refused(|m| m.name.clear()), Error::Name));
        assert!(matches!(
            refused(|m| m.compose = b"services: {}".to_vec().into()),
            Error::Contradiction { .. }
        ));
        assert!(matches!(
            refused(|m| {
                m.compose = b"services: {}".to_vec().into();
                m.substitutions = Substitutions::default();
            }),
            Error::Compose(_)
        ));
        let mut bytes = manifest().to_bytes();
        bytes.push(0);
        assert!(matches!(Manifest::parse(&bytes), Err(Error::Encoding(_))));
    }
}
