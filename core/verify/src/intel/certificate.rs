//! Does Intel's root vouch for this key?
//!
//! Source: "SGX PCK Certificate and CRL Profile Specification" 1.4. All keys are P-256, all signatures
//! ECDSA with SHA-256.

use casemate_crypto::Provider;
use casemate_crypto::hash::{HashAlgorithm, Sha256};
use casemate_evidence::intel::PckError;
use casemate_evidence::x509::{Certificate, PublicKey, RevocationList, SignatureAlgorithm};
use serde::Serialize;

use crate::signature::{Sha1, SignatureError, verify_x509};

/// A certificate's place below Intel's root, or a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Intel SGX Root CA.
    Root,
    /// Intel SGX PCK Platform CA or Processor CA.
    PckAuthority,
    /// The platform's certificate.
    Pck,
    /// Intel SGX TCB Signing, as it signs TCB info.
    TcbInfoSigner,
    /// Intel SGX TCB Signing, as it signs the identity of the Quoting Enclave.
    QeIdentitySigner,
    /// Intel SGX TCB Signing, as it signs the list of TCB evaluation data numbers.
    EvaluationNumbersSigner,
    /// The root's revocation list.
    RootRevocationList,
    /// The revocation list of the PCK authority.
    PckRevocationList,
}

/// Why Intel's root does not vouch for a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The root's key is in no list of trusted roots.
    #[error(
        "root {name:?} with key {found} is not trusted; if it is a simulated TEE, list the digest under \
         [simulated_roots]"
    )]
    UntrustedRoot {
        /// Digest of the root's key.
        found: Sha256,
        /// Common name that the root gives itself.
        name: String,
    },
    /// Quote and collateral end at different roots.
    #[error(
        "the quote's chain ends at root {found}, its collateral at {expected}; they belong to different worlds"
    )]
    OtherRoot {
        /// Root of the quote.
        found: Sha256,
        /// Root of the collateral.
        expected: Sha256,
    },
    /// A chain of another length than PCK, authority, root.
    #[error("{found} certificates with the quote, expected 3: PCK, its authority, the root")]
    Length {
        /// Number of certificates.
        found: usize,
    },
    /// A certificate names another issuer than the certificate above it.
    #[error("the {link} names issuer {found:?}, but the certificate above it is {expected:?}")]
    Issuer {
        /// Which certificate or list.
        link: Link,
        /// Common name of the issuer it names.
        found: String,
        /// Common name of the certificate above.
        expected: String,
    },
    /// A certificate whose subject does not belong into this place.
    #[error("the {link} is of {found:?}, expected {expected}")]
    Subject {
        /// Which certificate.
        link: Link,
        /// Common name of its subject.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Signed in another way than Intel signs.
    #[error("the {link} is not signed with ECDSA and SHA-256, as Intel's are")]
    SignatureAlgorithm {
        /// Which certificate or list.
        link: Link,
    },
    /// The key that should have signed is not of P-256.
    #[error("the key that should have signed the {link} is not of P-256")]
    IssuerKey {
        /// The certificate or list that it should have signed.
        link: Link,
    },
    /// A signature was not made by the certificate above.
    #[error("the signature of the {link} was not made by the key of the certificate above it")]
    Signature {
        /// Which certificate or list.
        link: Link,
    },
    /// The certificate above may not issue this.
    #[error("the certificate above the {link} does not have the right to issue it")]
    NotAuthority {
        /// The certificate or list that it issued.
        link: Link,
    },
    /// A leaf that may issue certificates, or that may not sign data.
    #[error("the {link} may issue certificates, or may not sign data: it is no leaf")]
    NotLeaf {
        /// Which certificate.
        link: Link,
    },
    /// The PCK authority could have authorities below it, or the root none.
    #[error("path length {found:?} of the {link}, expected {expected}")]
    PathLength {
        /// Which certificate.
        link: Link,
        /// What it says.
        found: Option<u8>,
        /// What the place in the chain asks for.
        expected: &'static str,
    },
    /// A critical extension that Casemate does not know (RFC 5280 §4.2).
    #[error("the {link} has critical extension {found}, which Casemate does not know")]
    CriticalExtension {
        /// Which certificate.
        link: Link,
        /// The extension.
        found: der::oid::ObjectIdentifier,
    },
    /// Not valid yet.
    #[error("the {link} is valid from {not_before_ms} ms on, now is {now_ms}; check the clock")]
    NotYetValid {
        /// Which certificate or list.
        link: Link,
        /// First moment of validity, milliseconds since 1970.
        not_before_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
    /// No longer valid.
    #[error("the {link} was valid until {not_after_ms} ms, now is {now_ms}; fetch newer collateral")]
    Expired {
        /// Which certificate or list.
        link: Link,
        /// Last moment of validity, milliseconds since 1970.
        not_after_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
    /// Revoked by its issuer.
    #[error("the {link} is revoked")]
    Revoked {
        /// Which certificate.
        link: Link,
    },
    /// The leaf names no platform.
    #[error(transparent)]
    Pck(#[from] PckError),
}

/// Checks that `issuer` issued `certificate`: names, right to issue, signature. Not validity.
///
/// # Errors
/// [`ChainError::Issuer`], [`ChainError::NotAuthority`], [`ChainError::SignatureAlgorithm`],
/// [`ChainError::IssuerKey`], [`ChainError::Signature`].
pub fn verify_certificate(
    link: Link,
    certificate: &Certificate,
    issuer: &Certificate,
    provider: &dyn Provider,
) -> Result<(), ChainError> {
    if certificate.issuer() != issuer.subject() {
        return Err(ChainError::Issuer {
            link,
            found: certificate.issuer_common_name(),
            expected: issuer.subject_common_name(),
        });
    }
    if !issuer.may_sign_certificates() {
        return Err(ChainError::NotAuthority { link });
    }
    let algorithm = certificate.signature_algorithm();
    verify_signature(link, issuer, algorithm, certificate.signed_bytes(), certificate.signature(), provider)
}

/// Checks that `issuer` issued `list`: names, right to do so, signature. Not its validity.
///
/// # Errors
/// As [`verify_certificate`].
pub fn verify_revocation_list(
    link: Link,
    list: &RevocationList,
    issuer: &Certificate,
    provider: &dyn Provider,
) -> Result<(), ChainError> {
    if list.issuer() != issuer.subject() {
        return Err(ChainError::Issuer {
            link,
            found: list.issuer_common_name(),
            expected: issuer.subject_common_name(),
        });
    }
    if !issuer.may_sign_revocation_lists() {
        return Err(ChainError::NotAuthority { link });
    }
    verify_signature(
        link,
        issuer,
        list.signature_algorithm(),
        list.signed_bytes(),
        list.signature(),
        provider,
    )
}

/// The certificate is a leaf of this name: it may sign data and issue nothing.
pub(super) fn check_leaf(
    link: Link,
    certificate: &Certificate,
    name: &'static str,
) -> Result<(), ChainError> {
    check_subject(link, certificate, &[name], name)?;
    if certificate.is_authority() || certificate.may_sign_data() != Some(true) {
        return Err(ChainError::NotLeaf { link });
    }
    check_extensions(link, certificate)
}

pub(super) fn check_subject(
    link: Link,
    certificate: &Certificate,
    names: &[&str],
    expected: &'static str,
) -> Result<(), ChainError> {
    let found = certificate.subject_common_name();
    if names.contains(&found.as_str()) { Ok(()) } else { Err(ChainError::Subject { link, found, expected }) }
}

pub(super) fn check_extensions(link: Link, certificate: &Certificate) -> Result<(), ChainError> {
    match certificate.unknown_critical_extension() {
        Some(found) => Err(ChainError::CriticalExtension { link, found }),
        None => Ok(()),
    }
}

pub(super) fn check_time(
    link: Link,
    not_before_ms: u64,
    not_after_ms: u64,
    now_ms: u64,
) -> Result<(), ChainError> {
    if now_ms < not_before_ms {
        return Err(ChainError::NotYetValid { link, not_before_ms, now_ms });
    }
    // X.509 states whole seconds, and the last one is valid to its end (RFC 5280 §4.1.2.5).
    if now_ms / 1000 > not_after_ms / 1000 {
        return Err(ChainError::Expired { link, not_after_ms, now_ms });
    }
    Ok(())
}

pub(super) fn check_certificate_time(
    link: Link,
    certificate: &Certificate,
    now_ms: u64,
) -> Result<(), ChainError> {
    check_time(link, certificate.not_before_ms(), certificate.not_after_ms(), now_ms)
}

pub(super) fn check_not_revoked(
    link: Link,
    certificate: &Certificate,
    list: &RevocationList,
) -> Result<(), ChainError> {
    if list.revoked().any(|serial| serial == certificate.serial_number()) {
        Err(ChainError::Revoked { link })
    } else {
        Ok(())
    }
}

fn verify_signature(
    link: Link,
    issuer: &Certificate,
    algorithm: SignatureAlgorithm,
    message: &[u8],
    signature: &[u8],
    provider: &dyn Provider,
) -> Result<(), ChainError> {
    if algorithm != SignatureAlgorithm::Ecdsa(HashAlgorithm::Sha256) {
        return Err(ChainError::SignatureAlgorithm { link });
    }
    let PublicKey::P256(_) = issuer.public_key() else { return Err(ChainError::IssuerKey { link }) };
    verify_x509(issuer.public_key(), algorithm, Sha1::Refused, message, signature, provider).map_err(
        |error| match error {
            SignatureError::Key | SignatureError::KeyKind => ChainError::IssuerKey { link },
            _ => ChainError::Signature { link },
        },
    )
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Link::Root => "root",
            Link::PckAuthority => "authority of the PCK",
            Link::Pck => "PCK certificate",
            Link::TcbInfoSigner => "signer of the TCB info",
            Link::QeIdentitySigner => "signer of the enclave identity",
            Link::EvaluationNumbersSigner => "signer of the TCB evaluation data numbers",
            Link::RootRevocationList => "root's revocation list",
            Link::PckRevocationList => "revocation list of the PCK's authority",
        })
    }
}
