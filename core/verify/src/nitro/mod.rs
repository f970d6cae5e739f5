//! Did AWS's hypervisor state this?
//!
//! A document is genuine if the key of its certificate signed it and the certificate's chain ends at AWS's
//! root. The hypervisor says it, not the processor: memory is isolated by AWS, and AWS is trusted with it.
//! Source: AWS Nitro Enclaves user guide, "Verifying the root of trust".

mod appraise;
mod claims;
mod failure;

pub use claims::Claims;
pub(crate) use failure::{not_genuine, unreadable_document};

use casemate_crypto::hash::{HashAlgorithm, Sha256};
use casemate_crypto::{Curve, Provider};
use casemate_evidence::Measurement;
use casemate_evidence::nitro::{Document, Kind};
use casemate_evidence::x509::{self, Certificate, PublicKey};

use crate::certificates::{AuthenticatedPath, Endorsers, PathError, Profile, authenticate_certificate};
use crate::signature::{Sha1, SignatureError, answer};
use crate::trust::{Roots, TrustClass, digest};

/// A document that AWS's hypervisor signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineDocument {
    document: Document,
    path: AuthenticatedPath,
    /// What the signature covers.
    signed: Vec<u8>,
}

/// Why a document is not genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// A certificate in it cannot be read.
    #[error("certificate in the document: {0}")]
    Certificate(#[from] x509::Error),
    /// AWS does not vouch for the certificate.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The certified key is not of P-384.
    #[error("the certified key is not of P-384, as ES384 needs it")]
    KeyKind,
    /// The certified key did not sign the document.
    #[error("signature of the document: {0}")]
    Signature(#[from] SignatureError),
    /// An enclave's document that does not state which image runs.
    #[error("the document of an enclave states no PCR 0 of 48 bytes, so it does not say which image runs")]
    NoImage,
}

/// A document for the appraisal: genuine, of a root that the caller trusts, and it says what was launched.
///
/// Made by [`authenticate`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genuine {
    document: GenuineDocument,
    trust_class: TrustClass,
    measurement: crate::LaunchMeasurement,
}

/// Authenticates a document whose chain ends at one of `roots`, at time `now_ms` (milliseconds since 1970).
///
/// # Errors
/// [`DocumentError`].
pub fn authenticate(
    document: Document,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<Genuine, DocumentError> {
    let genuine = authenticate_document(document, &roots.nitro_anchors(), now_ms, provider)?;
    let measurement = measurement(genuine.document()).ok_or(DocumentError::NoImage)?;
    let trust_class = roots.nitro_class(&genuine.path.root_key_digest);
    Ok(Genuine { document: genuine, trust_class, measurement })
}

/// What was launched: of an enclave PCR 0, the digest of its image; of an instance a digest over the PCRs of
/// its boot, as of any TPM.
fn measurement(document: &Document) -> Option<crate::LaunchMeasurement> {
    match document.kind {
        Kind::Enclave => {
            let image: [u8; 48] = document.pcrs.get(&0)?.as_slice().try_into().ok()?;
            Some(Measurement::from(image).into())
        }
        Kind::Instance => {
            let mut pcrs = casemate_evidence::tpm::PcrValues::new();
            for (index, value) in &document.pcrs {
                pcrs.insert(HashAlgorithm::Sha384, *index, value).ok()?;
            }
            Some(pcrs.launch_measurement(HashAlgorithm::Sha384).into())
        }
    }
}

impl Genuine {
    /// What it states.
    pub fn document(&self) -> &Document {
        self.document.document()
    }
}

/// Authenticates a document at time `now_ms` (milliseconds since 1970); its certificate lives for three hours.
///
/// # Errors
/// [`DocumentError`].
pub fn authenticate_document(
    document: Document,
    roots: &[Sha256],
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<GenuineDocument, DocumentError> {
    let leaf = Certificate::parse(&document.certificate)?;
    let bundle: Vec<Certificate> =
        document.cabundle.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
    let endorsers = Endorsers { certificates: &bundle, revocation_lists: &[] };
    let path = authenticate_certificate(&leaf, &endorsers, roots, &PROFILE, now_ms, provider)?;
    let PublicKey::P384(key) = leaf.public_key() else { return Err(DocumentError::KeyKind) };
    let signed = document.signed_bytes();
    answer(provider.verify_ecdsa(
        Curve::P384,
        HashAlgorithm::Sha384,
        key.as_bytes(),
        &signed,
        document.signature(),
    ))?;
    Ok(GenuineDocument { document, path, signed })
}

impl GenuineDocument {
    /// What it states.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// From its certificate to the root.
    pub fn path(&self) -> &AuthenticatedPath {
        &self.path
    }
}

/// Region, zone and instance stand between root and leaf.
const PROFILE: Profile = Profile { known_extensions: &[], sha1: Sha1::Refused, maximum_authorities: 6 };

/// AWS's root: SHA-256 of the `SubjectPublicKeyInfo` of "aws.nitro-enclaves".
pub const ROOTS: [Sha256; 1] = [digest(*b"f2caf5ecc6190b4a8399b78bc58a2bbcd0382375db8a1bfd78a82743874fd225")];
