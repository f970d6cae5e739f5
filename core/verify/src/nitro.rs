//! Did AWS's hypervisor state this?
//!
//! A document is genuine if the key of its certificate signed it and the certificate's chain ends at AWS's
//! root. The hypervisor says it, not the processor: memory is isolated by AWS, and AWS is trusted with it.
//! Source: AWS Nitro Enclaves user guide, "Verifying the root of trust".

use casemate_crypto::hash::{HashAlgorithm, Sha256};
use casemate_crypto::{Curve, Provider};
use casemate_evidence::nitro::Document;
use casemate_evidence::x509::{self, Certificate, PublicKey};

use crate::certificates::{AuthenticatedPath, Endorsers, PathError, Profile, authenticate_certificate};
use crate::signature::{Sha1, SignatureError, answer};
use crate::trust::digest;

/// A document that AWS's hypervisor signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineDocument {
    document: Document,
    path: AuthenticatedPath,
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
    answer(provider.verify_ecdsa(
        Curve::P384,
        HashAlgorithm::Sha384,
        key.as_bytes(),
        &document.signed_bytes(),
        document.signature(),
    ))?;
    Ok(GenuineDocument { document, path })
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
