//! Is the TPM's part of a bundle genuine, and who vouches for its key?

use casemate_crypto::Provider;
use casemate_crypto::hash::Sha256;
use casemate_evidence::bundle::{TpmKey, TpmQuote};
use casemate_evidence::gcp::{Instance, InstanceError};
use casemate_evidence::tpm::{
    Attest, CertificateError, KeyUse, PcrFileError, PcrValues, Public, Signature, TcgCertificate, TpmError,
};
use casemate_evidence::x509::{self, Certificate, Oddities, PublicKey, RevocationList};

use super::key::{AttestationKey, KeyCertificateError, KeyError, Voucher, authenticate_key_certificate};
use super::quote::{GenuineQuote, QuoteError, authenticate_quote};
use crate::certificates::Endorsers;
use crate::trust::{Roots, TrustClass};

/// A quote for the appraisal, by a key for which somebody vouches whom the caller trusts.
///
/// Made by [`authenticate`] only.
#[derive(Debug, Clone)]
pub struct Genuine {
    pub(super) quote: GenuineQuote,
    pub(super) key: VouchedKey,
}

/// An attestation key, and at whose key trust in it ends.
#[derive(Debug, Clone)]
pub struct VouchedKey {
    /// The key.
    pub key: AttestationKey,
    /// SHA-256 of its `SubjectPublicKeyInfo`.
    pub key_digest: Sha256,
    /// Of the root of its certificate; of an enrolled key the key itself.
    pub anchor: Sha256,
    /// Common name of the root, or that the key was enrolled.
    pub anchor_name: String,
    /// What stands behind the anchor.
    pub trust_class: TrustClass,
    /// The instance that Google names in its certificate, if it is Google that vouches.
    pub instance: Option<Instance>,
}

/// Why the TPM's part of a bundle is not genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// The statement is none.
    #[error("the TPM's statement: {0}")]
    Statement(TpmError),
    /// The signature is none.
    #[error("the quote's signature: {0}")]
    SignatureFormat(TpmError),
    /// The values are none.
    #[error("the PCR values: {0}")]
    Pcrs(#[from] PcrFileError),
    /// No key came along, in no form.
    #[error("the attestation key is missing: send its certificate, its public area or the key")]
    NoKey,
    /// A public area that is none.
    #[error("the key's public area: {0}")]
    PublicArea(TpmError),
    /// A public key that is none.
    #[error("the attestation key: {0}")]
    PublicKey(x509::Error),
    /// A certificate or revocation list that is none.
    #[error("a certificate or list for the attestation key: {0}")]
    Certificate(x509::Error),
    /// The key's certificate says things that contradict each other.
    #[error("the certificate of the attestation key: {0}")]
    TcgCertificate(#[from] CertificateError),
    /// Certificates of several keys.
    #[error("{found} certificates of keys, expected that of the attestation key alone")]
    SeveralLeaves {
        /// How many.
        found: usize,
    },
    /// Public key, public area and certificate are not of one key.
    #[error("{form} is of another key than {other}")]
    OtherKey {
        /// One form of the key.
        form: &'static str,
        /// The other.
        other: &'static str,
    },
    /// The public area is not an attestation key's.
    #[error(transparent)]
    Attributes(#[from] KeyError),
    /// Nobody whom the caller trusts certifies the key.
    #[error(transparent)]
    KeyCertificate(#[from] KeyCertificateError),
    /// Nobody certifies the key, and the caller did not enrol it.
    #[error("nobody certifies the attestation key {found}, and it is not an enrolled one")]
    NotEnrolled {
        /// SHA-256 of its `SubjectPublicKeyInfo`.
        found: Sha256,
    },
    /// Google certifies the key, but names no instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The key did not quote these values.
    #[error(transparent)]
    Quote(#[from] QuoteError),
}

/// Authenticates a quote and the key that signed it at time `now_ms` (milliseconds since 1970).
///
/// # Errors
/// [`AuthenticateError`].
pub fn authenticate(
    quote: &TpmQuote,
    key: Option<&TpmKey>,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<Genuine, AuthenticateError> {
    let parts = read_quote(quote)?;
    let key = authenticate_key(key.ok_or(AuthenticateError::NoKey)?, roots, now_ms, provider)?;
    Ok(Genuine { quote: quote_by(parts, &key.key, provider)?, key })
}

/// Statement, signature and values of a bundle's quote; nothing about the signature is known.
pub(crate) fn read_quote(quote: &TpmQuote) -> Result<(Attest, Signature, PcrValues), AuthenticateError> {
    let attest = Attest::parse(&quote.statement).map_err(AuthenticateError::Statement)?;
    let signature =
        Signature::parse_structured_or_raw(&quote.signature).map_err(AuthenticateError::SignatureFormat)?;
    Ok((attest, signature, PcrValues::read_items(&quote.pcrs)?))
}

/// The quote, if `key` signed it.
pub(crate) fn quote_by(
    (attest, signature, pcrs): (Attest, Signature, PcrValues),
    key: &AttestationKey,
    provider: &dyn Provider,
) -> Result<GenuineQuote, AuthenticateError> {
    Ok(authenticate_quote(attest, &signature, key, &pcrs, provider)?)
}

/// Finds out who vouches for an attestation key: the caller, if `roots` name the key as enrolled; else an
/// authority among them.
///
/// # Errors
/// [`AuthenticateError`].
pub fn authenticate_key(
    item: &TpmKey,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<VouchedKey, AuthenticateError> {
    let forms = Forms::read(item)?;
    let public_key = forms.public_key()?;
    let key_digest = public_key.digest();
    let vouched = |voucher, anchor, anchor_name: String, instance| {
        let key = match &forms.public_area {
            Some(area) => AttestationKey::of_public_area(area, voucher)?,
            None => AttestationKey::vouched(public_key.clone(), voucher),
        };
        let trust_class = roots.tpm_class(&anchor);
        Ok(VouchedKey { key, key_digest, anchor, anchor_name, trust_class, instance })
    };
    if roots.is_enrolled(&key_digest) {
        return vouched(Voucher::Registrar, key_digest, "enrolled key".to_owned(), None);
    }
    let Some((leaf, oddities)) = &forms.leaf else {
        return Err(AuthenticateError::NotEnrolled { found: key_digest });
    };
    let certificate = TcgCertificate::read(leaf.clone(), *oddities)?;
    let endorsers = Endorsers { certificates: &forms.authorities, revocation_lists: &forms.revocation_lists };
    let (expected, anchors) = (KeyUse::Attestation, roots.tpm_anchors());
    let genuine =
        authenticate_key_certificate(&certificate, expected, &endorsers, &anchors, now_ms, provider)?;
    let path = genuine.path().clone();
    let simulated = roots.tpm_class(&path.root_key_digest) == TrustClass::Simulated;
    let instance = match Instance::of(leaf) {
        Ok(instance) if simulated || roots.is_google(&path.root_key_digest) => Some(instance),
        Err(error) if roots.is_google(&path.root_key_digest) => return Err(error.into()),
        // Another authority's word says nothing of Google's instances.
        _ => None,
    };
    let (anchor, name) = (path.root_key_digest, path.root_name.clone());
    let voucher = Voucher::Authority { path, identity: certificate.identity.clone() };
    vouched(voucher, anchor, name, instance)
}

/// The key that came along, whoever vouches for it.
pub(crate) fn public_key(item: &TpmKey) -> Result<PublicKey, AuthenticateError> {
    Forms::read(item)?.public_key()
}

/// The key in every form in which it came.
struct Forms {
    public_key: Option<PublicKey>,
    public_area: Option<Public>,
    leaf: Option<(Certificate, Oddities)>,
    authorities: Vec<Certificate>,
    revocation_lists: Vec<RevocationList>,
}

impl Forms {
    fn read(item: &TpmKey) -> Result<Self, AuthenticateError> {
        let present = |bytes: &[u8]| (!bytes.is_empty()).then(|| bytes.to_vec());
        let public_key = present(&item.public_key)
            .map(|der| PublicKey::parse_spki(&der).map_err(AuthenticateError::PublicKey))
            .transpose()?;
        let public_area = present(&item.public_area)
            .map(|bytes| Public::parse(&bytes).map_err(AuthenticateError::PublicArea))
            .transpose()?;
        let (mut leaves, mut authorities) = (Vec::new(), Vec::new());
        for der in &item.certificates {
            let (certificate, oddities) =
                Certificate::parse_from_device(der).map_err(AuthenticateError::Certificate)?;
            match certificate.may_sign_certificates() {
                true => authorities.push(certificate),
                false => leaves.push((certificate, oddities)),
            }
        }
        let list = |der: &minicbor::bytes::ByteVec| {
            RevocationList::parse(der).map_err(AuthenticateError::Certificate)
        };
        let revocation_lists = item.revocation_lists.iter().map(list).collect::<Result<_, _>>()?;
        match leaves.len() {
            0 | 1 => Ok(Self { public_key, public_area, leaf: leaves.pop(), authorities, revocation_lists }),
            found => Err(AuthenticateError::SeveralLeaves { found }),
        }
    }

    /// The one key of which all forms are.
    fn public_key(&self) -> Result<PublicKey, AuthenticateError> {
        let area = self.public_area.as_ref().map(|area| area.public_key().ok_or(KeyError::NoScheme));
        let forms = [
            ("the public key", self.public_key.clone()),
            ("the public area", area.transpose()?),
            ("the certificate", self.leaf.as_ref().map(|(leaf, _)| leaf.public_key().clone())),
        ];
        let mut present = forms.into_iter().filter_map(|(form, key)| key.map(|key| (form, key)));
        let (other, first) = present.next().ok_or(AuthenticateError::NoKey)?;
        match present.find(|(_, key)| *key != first) {
            Some((form, _)) => Err(AuthenticateError::OtherKey { form, other }),
            None => Ok(first),
        }
    }
}

impl Genuine {
    /// The quote.
    pub fn quote(&self) -> &GenuineQuote {
        &self.quote
    }

    /// Its key, and who vouches for it.
    pub fn key(&self) -> &VouchedKey {
        &self.key
    }
}
