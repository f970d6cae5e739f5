//! What does dstack measure of an app, and how is its virtual machine launched?
//!
//! An importer: so that deployments of dstack can be checked from their public files. Before the launch the host
//! names the app in MRCONFIGID or HOST_DATA, and the guest stops if that is not the app it was given
//! (dstack-types, `mr_config.rs`). The guest then extends RTMR 3 by events: SHA-384 over the type, a colon, the
//! name, a colon, the payload. Events of the workload itself may follow.

use casemate_crypto::hash::{Sha256, Sha384, sha256, sha384};
use casemate_evidence::Measurement;
use casemate_evidence::tdx::LaunchRegisters;
use serde::Deserialize;
use sha3::{Digest as _, Keccak256};

use crate::launch_description::LaunchDescription;
use crate::shape::GuestFeatures;
use crate::snp::LaunchError;
use crate::tdx::boot::register;

/// What dstack measures of an app, before its containers run.
#[derive(Debug, Clone)]
pub struct DstackEvents<'a> {
    /// Name and payload of each event, in order.
    pub events: Vec<(&'a str, Vec<u8>)>,
}

/// Who gives an app its keys, as MRCONFIGID of the second form names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyProvider<'a> {
    /// Which kind.
    pub kind: KeyProviderKind,
    /// Its id; of a key service its public key, DER.
    pub id: &'a [u8],
}

/// Kinds of key providers, with their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProviderKind {
    /// Keys of this boot only.
    None = 0,
    /// An enclave on the same host.
    Local = 1,
    /// A key service.
    Kms = 2,
    /// A TPM.
    Tpm = 3,
}

/// What dstack's document says of an app, for MRCONFIGID of the third form and for HOST_DATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDocument {
    digest: Sha256,
    compose: Sha256,
}

/// What dstack's tools compute of an image on a machine (`dstack-mr`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// MRTD and RTMR 0 to 2 of a trust domain.
    Tdx(LaunchRegisters),
    /// MEASUREMENT of an SEV-SNP guest.
    Snp(Measurement),
}

/// Why a text is none of dstack's documents.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Larger than any of them.
    #[error("{found} bytes, at most {MAXIMUM_BYTES} are accepted")]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// Not JSON, or a member that is missing or of another type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is read, and no machine can be launched so.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// SEV_FEATURES of no guest.
    #[error(transparent)]
    Shape(#[from] crate::shape::ShapeError),
}

impl DstackEvents<'_> {
    /// RTMR 3 after these events.
    pub fn rtmr3(&self) -> Measurement {
        let digests: Vec<Sha384> =
            self.events.iter().map(|(name, payload)| event_digest(name, payload)).collect();
        register(&digests)
    }
}

impl ConfigDocument {
    /// Reads a document: its bytes count as they are.
    ///
    /// # Errors
    /// [`DocumentError::TooLong`], [`DocumentError::Json`].
    pub fn parse(document: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Members {
            compose_hash: Sha256,
        }
        let Members { compose_hash } = read(document)?;
        let digest = sha256(&[b"dstack-mr-config-v3:\0", document].concat());
        Ok(Self { digest, compose: compose_hash })
    }

    /// SHA-256 of the `app-compose.json` that it names.
    pub fn compose(&self) -> Sha256 {
        self.compose
    }

    /// MRCONFIGID, third form.
    pub fn mr_config_id(&self) -> [u8; 48] {
        config_id(3, self.digest.as_bytes())
    }

    /// HOST_DATA.
    pub fn host_data(&self) -> [u8; 32] {
        *self.digest.as_bytes()
    }
}

impl Launch {
    /// Reads a document: registers of a trust domain (`mrtd`, `rtmr0`, `rtmr1`, `rtmr2`), or the measurement
    /// document of an SEV-SNP launch.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn parse(document: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "neither mrtd and rtmr0 to rtmr2, nor a description of an SEV-SNP launch"
        )]
        enum Members {
            Tdx {
                mrtd: Measurement,
                rtmr0: Measurement,
                rtmr1: Measurement,
                rtmr2: Measurement,
            },
            Snp {
                #[serde(flatten)]
                launch: LaunchDescription,
                base_cmdline: String,
                vcpus: u32,
                guest_features: u64,
            },
        }
        Ok(match read(document)? {
            Members::Tdx { mrtd, rtmr0, rtmr1, rtmr2 } => {
                Launch::Tdx(LaunchRegisters { mrtd, rtmr0, rtmr1, rtmr2 })
            }
            Members::Snp { launch, base_cmdline, vcpus, guest_features } => {
                let features = GuestFeatures::for_snp(guest_features)?;
                Launch::Snp(launch.measurement(&base_cmdline, vcpus, features)?)
            }
        })
    }
}

/// Digest of one event.
pub fn event_digest(name: &str, payload: &[u8]) -> Sha384 {
    sha384(&[&EVENT_TYPE.to_le_bytes()[..], b":", name.as_bytes(), b":", payload].concat())
}

/// SHA-256 of `app-compose.json`, byte for byte: payload of the event `compose-hash`.
pub fn compose_digest(app_compose: &[u8]) -> Sha256 {
    sha256(app_compose)
}

/// The app id of an app that was not given one: the first 20 bytes of the compose digest.
pub fn app_id(compose: &Sha256) -> [u8; 20] {
    compose.as_bytes()[..20].try_into().expect("20 of 32 bytes")
}

/// MRCONFIGID, first form: it names the compose file, not who gives the app its keys.
pub fn mr_config_id_1(compose: &Sha256) -> [u8; 48] {
    config_id(1, compose.as_bytes())
}

/// MRCONFIGID, second form: Keccak-256 over compose digest, app id, kind and id of the key provider.
pub fn mr_config_id_2(compose: &Sha256, app_id: &[u8; 20], provider: &KeyProvider<'_>) -> [u8; 48] {
    let digest = Keccak256::new()
        .chain_update(compose)
        .chain_update(app_id)
        .chain_update([provider.kind as u8])
        .chain_update(provider.id)
        .finalize();
    config_id(2, &digest.into())
}

fn config_id(form: u8, digest: &[u8; 32]) -> [u8; 48] {
    let mut id = [0; 48];
    id[0] = form;
    id[1..33].copy_from_slice(digest);
    id
}

fn read<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Result<T, DocumentError> {
    if document.len() > MAXIMUM_BYTES {
        return Err(DocumentError::TooLong { found: document.len() });
    }
    Ok(serde_json::from_slice(document)?)
}

/// Type of dstack's own events.
pub(crate) const EVENT_TYPE: u32 = 0x0800_0001;
/// Greatest length of a document or a log, in bytes.
pub(crate) const MAXIMUM_BYTES: usize = 1 << 20;
