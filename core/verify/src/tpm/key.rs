//! Who vouches for this attestation key?

use casemate_crypto::hash::Sha256;
use casemate_crypto::{Curve, Provider, PssSalt};
use casemate_evidence::tpm::{
    KeyUse, Name, ObjectAttributes, Public, Scheme, Signature, TcgCertificate, TpmIdentity,
};
use casemate_evidence::x509::PublicKey;
use serde::Serialize;

use crate::certificates::{AuthenticatedPath, Endorsers, PathError, Profile, authenticate_certificate};
use crate::signature::{Sha1, SignatureError, answer};

/// A key that lives in a TPM and signs nothing but what that TPM states, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    pub(super) public_key: PublicKey,
    /// The only scheme it signs with, if its public area names one.
    pub(super) scheme: Option<Scheme>,
    /// Its name, if its public area is known.
    pub(super) name: Option<Name>,
    pub(super) voucher: Voucher,
}

/// Who says that a key is an attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Voucher {
    /// A certificate authority of a TPM vendor or a cloud.
    Authority {
        /// From the certificate to the root.
        path: AuthenticatedPath,
        /// The TPM that the certificate names.
        identity: Option<TpmIdentity>,
    },
    /// The caller enrolled the key: its TPM proved by credential activation that it holds the key and a
    /// certified endorsement key.
    Registrar,
    /// A TEE's report commits to the key: the measured software below the guest holds it.
    Tee,
    /// Another attestation key certified it.
    AttestationKey {
        /// Name of that key, if it is known.
        by: Option<Name>,
    },
}

/// Why a public area is not an attestation key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyError {
    /// Not `restricted`: it signs anything, also a forged quote.
    #[error("the key is not restricted: it would sign a quote that no TPM made")]
    NotRestricted,
    /// Not `sign`.
    #[error("the key may not sign")]
    NotSigning,
    /// `decrypt` as well: credential activation could be turned into signatures.
    #[error("the key may decrypt as well as sign")]
    Decrypting,
    /// Not `fixedTPM` and `fixedParent`: it exists outside of this TPM.
    #[error("the key may leave its TPM (fixedTPM and fixedParent are not both set)")]
    Movable,
    /// Not `sensitiveDataOrigin`: it was made elsewhere and imported.
    #[error("the key was not made by its TPM (sensitiveDataOrigin is not set)")]
    Imported,
    /// No scheme, or numbers that no certificate could hold.
    #[error("the key has no signature scheme, or its numbers are not in their usual form")]
    NoScheme,
}

/// A certificate of a key in a TPM that a trusted root vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatedKeyCertificate {
    certificate: TcgCertificate,
    path: AuthenticatedPath,
}

/// Why the certificate of a TPM's key does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyCertificateError {
    /// No trusted root vouches for it.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A certificate for another use.
    #[error("the certificate is for use {found:?}, expected {expected:?}")]
    Use {
        /// What it says.
        found: KeyUse,
        /// What is asked for.
        expected: KeyUse,
    },
    /// Key usage does not let an attestation key sign.
    #[error("key usage does not allow the key to sign")]
    NotSigning,
    /// Key usage lets an endorsement key sign, or keeps it from decrypting.
    #[error("key usage lets the endorsement key sign; it may only decrypt")]
    Signing,
}

/// TPM vendors' authorities, and clouds' for their vTPMs.
///
/// Certificate policies are critical with Infineon; they name documents and restrict nothing here. Vendors
/// signed authorities with SHA-1 until 2019.
pub const KEY_CERTIFICATE_PROFILE: Profile = Profile {
    known_extensions: &TcgCertificate::KNOWN_EXTENSIONS,
    sha1: Sha1::AcceptedForAuthorities,
    maximum_authorities: 5,
};

/// Authenticates the certificate of a TPM's key at time `now_ms` (milliseconds since 1970).
///
/// `expected` is the use that the certificate must not contradict: a certificate that states no use, as
/// Google's for vTPMs, is judged by its key usage alone. `roots` are digests of `SubjectPublicKeyInfo`.
///
/// # Errors
/// [`KeyCertificateError`].
pub fn authenticate_key_certificate(
    certificate: &TcgCertificate,
    expected: KeyUse,
    endorsers: &Endorsers<'_>,
    roots: &[Sha256],
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<AuthenticatedKeyCertificate, KeyCertificateError> {
    let profile = &KEY_CERTIFICATE_PROFILE;
    let path =
        authenticate_certificate(&certificate.certificate, endorsers, roots, profile, now_ms, provider)?;
    let found = certificate.key_use;
    if found != expected && found != KeyUse::Unstated {
        return Err(KeyCertificateError::Use { found, expected });
    }
    // EK Credential Profile §3.2.15: digitalSignature is an attestation key's, and never an endorsement key's
    // that decrypts.
    match (expected, certificate.certificate.may_sign_data()) {
        (KeyUse::Attestation, Some(false)) => return Err(KeyCertificateError::NotSigning),
        (KeyUse::Attestation, None) if found == KeyUse::Unstated => {
            return Err(KeyCertificateError::NotSigning);
        }
        (KeyUse::Endorsement, Some(true)) => return Err(KeyCertificateError::Signing),
        _ => {}
    }
    Ok(AuthenticatedKeyCertificate { certificate: certificate.clone(), path })
}

impl AuthenticatedKeyCertificate {
    /// What the certificate says.
    pub fn certificate(&self) -> &TcgCertificate {
        &self.certificate
    }

    /// From the certificate to the root.
    pub fn path(&self) -> &AuthenticatedPath {
        &self.path
    }
}

impl AttestationKey {
    /// The key of a certificate that was authenticated as an attestation key's.
    ///
    /// That the key is restricted is the authority's word: certificates do not carry it.
    pub fn certified(certificate: &AuthenticatedKeyCertificate) -> Self {
        let AuthenticatedKeyCertificate { certificate, path } = certificate;
        Self {
            public_key: certificate.certificate.public_key().clone(),
            scheme: None,
            name: None,
            voucher: Voucher::Authority { path: path.clone(), identity: certificate.identity.clone() },
        }
    }

    /// A key that the caller enrolled, with its public area.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn enrolled(public: &Public) -> Result<Self, KeyError> {
        Self::of_public_area(public, Voucher::Registrar)
    }

    /// A key that the caller enrolled without keeping its public area: that it is restricted, and never
    /// leaves its TPM, is the caller's word.
    pub fn enrolled_without_public_area(public_key: PublicKey) -> Self {
        Self::vouched(public_key, Voucher::Registrar)
    }

    /// A key whose public area is not known, and for which somebody vouches.
    pub(crate) fn vouched(public_key: PublicKey, voucher: Voucher) -> Self {
        Self { public_key, scheme: None, name: None, voucher }
    }

    pub(super) fn of_public_area(public: &Public, voucher: Voucher) -> Result<Self, KeyError> {
        check_attributes(public.attributes)?;
        let public_key = public.public_key().ok_or(KeyError::NoScheme)?;
        // A restricted signing key has exactly one scheme (TPM2 Part 1 §25.1, "Restricted Attribute").
        let scheme = public.scheme.ok_or(KeyError::NoScheme)?;
        Ok(Self { public_key, scheme: Some(scheme), name: Some(public.name()), voucher })
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Who vouches for it.
    pub fn voucher(&self) -> &Voucher {
        &self.voucher
    }

    /// Its name, if its public area is known.
    pub fn name(&self) -> Option<Name> {
        self.name
    }

    /// Checks that the key signed `message`, with a scheme that it may use.
    pub(super) fn verify(
        &self,
        message: &[u8],
        signature: &Signature,
        provider: &dyn Provider,
    ) -> Result<(), SignatureError> {
        if self.scheme.is_some_and(|scheme| scheme != signature.scheme) {
            return Err(SignatureError::KeyKind);
        }
        verify_tpm(&self.public_key, message, signature, provider)
    }
}

/// Checks a signature as a TPM makes it.
///
/// # Errors
/// [`SignatureError`].
pub(crate) fn verify_tpm(
    key: &PublicKey,
    message: &[u8],
    signature: &Signature,
    provider: &dyn Provider,
) -> Result<(), SignatureError> {
    use casemate_crypto::hash::HashAlgorithm::Sha1 as WEAK;
    let value = signature.value();
    match (signature.scheme, key) {
        (Scheme::RsaSsa(WEAK) | Scheme::RsaPss(WEAK) | Scheme::Ecdsa(WEAK), _) => {
            Err(SignatureError::WeakHash)
        }
        (Scheme::RsaSsa(hash), PublicKey::Rsa { modulus, exponent }) => {
            answer(provider.verify_rsa_pkcs1(hash, modulus, exponent, message, value))
        }
        (Scheme::RsaPss(hash), PublicKey::Rsa { modulus, exponent }) => {
            answer(provider.verify_rsa_pss(hash, PssSalt::AsSigned, modulus, exponent, message, value))
        }
        (Scheme::Ecdsa(hash), PublicKey::P256(key)) => {
            let value = of_curve(value, Curve::P256)?;
            answer(provider.verify_ecdsa(Curve::P256, hash, key.as_bytes(), message, &value))
        }
        (Scheme::Ecdsa(hash), PublicKey::P384(key)) => {
            let value = of_curve(value, Curve::P384)?;
            answer(provider.verify_ecdsa(Curve::P384, hash, key.as_bytes(), message, &value))
        }
        _ => Err(SignatureError::KeyKind),
    }
}

/// r and s, each as long as the curve's field.
fn of_curve(value: &[u8], curve: Curve) -> Result<Vec<u8>, SignatureError> {
    let mut fixed = Vec::with_capacity(2 * curve.field_len());
    for number in [&value[..value.len() / 2], &value[value.len() / 2..]] {
        let zeros = curve.field_len().checked_sub(number.len()).ok_or(SignatureError::Encoding)?;
        fixed.resize(fixed.len() + zeros, 0);
        fixed.extend_from_slice(number);
    }
    Ok(fixed)
}

/// What makes the magic of a TPMS_ATTEST mean something (TPM2 Part 1 §25.1 and §31).
fn check_attributes(attributes: ObjectAttributes) -> Result<(), KeyError> {
    let conditions = [
        (attributes.sign(), KeyError::NotSigning),
        (attributes.restricted(), KeyError::NotRestricted),
        (!attributes.decrypt(), KeyError::Decrypting),
        (attributes.fixed_tpm() && attributes.fixed_parent(), KeyError::Movable),
        (attributes.sensitive_data_origin(), KeyError::Imported),
    ];
    conditions.into_iter().try_for_each(|(holds, error)| if holds { Ok(()) } else { Err(error) })
}
