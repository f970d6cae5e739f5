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

/// Largest manifest that is read, in bytes.
pub const MAXIMUM_BYTES: usize = 1 << 20;

/// The version this module writes and reads.
pub const VERSION: u32 = 1;

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
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Error::Encoding`], [`Error::Version`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let manifest: Manifest = from_cbor(bytes, MAXIMUM_BYTES)?;
        if manifest.version != VERSION {
            return Err(Error::Version { found: manifest.version });
        }
        Ok(manifest)
    }

    /// The one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }

    /// SHA-256 of the encoding: HOST_DATA on SEV-SNP.
    pub fn digest(&self) -> WorkloadDigest {
        digest_of(&self.to_bytes())
    }
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
