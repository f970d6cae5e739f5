//! Did this key sign this quote, and over which PCR values?

use casemate_crypto::Provider;
use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::tpm::{
    Attest, AttestType, Attested, Name, PcrSelection, PcrValues, Public, Scheme, Signature,
};

use super::key::{AttestationKey, KeyError, Voucher};
use crate::signature::SignatureError;

/// A quote that a key signed which somebody trusted vouches for, with the PCR values that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineQuote {
    attest: Attest,
    key: AttestationKey,
    pcrs: PcrValues,
}

/// Why a quote is not genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// A statement about something else.
    #[error("the TPM's statement is of type {found:?}, expected a quote")]
    NotAQuote {
        /// What it is about.
        found: AttestType,
    },
    /// The key did not sign it.
    #[error("signature of the quote: {0}")]
    Signature(#[from] SignatureError),
    /// The key that is named as signer is another one.
    #[error("the quote names signer {found}, expected {expected}")]
    QualifiedSigner {
        /// In the quote.
        found: Box<Name>,
        /// Computed from the key's public area and its parents'.
        expected: Box<Name>,
    },
    /// A quote over no PCR.
    #[error("the quote selects no PCR; it proves nothing about software")]
    NothingSelected,
    /// The value of a selected PCR was not sent along.
    #[error("PCR {index} of bank {bank} is quoted, but its value was not sent along")]
    MissingPcr {
        /// The bank.
        bank: HashAlgorithm,
        /// The index.
        index: u8,
    },
    /// The values that were sent along are not those that the TPM quoted.
    #[error("the digest of the PCR values is {found}, the TPM quoted {}; a value was changed", hex(expected))]
    PcrDigest {
        /// Of the values sent along.
        found: Digest,
        /// In the quote.
        expected: Vec<u8>,
    },
}

/// Why a certification is not genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertifyError {
    /// A statement about something else.
    #[error("the TPM's statement is of type {found:?}, expected a certification")]
    NotACertification {
        /// What it is about.
        found: AttestType,
    },
    /// The key did not sign it.
    #[error("signature of the certification: {0}")]
    Signature(#[from] SignatureError),
    /// It certifies another object.
    #[error("the certification is of object {found}, expected {expected}")]
    Object {
        /// Name in the certification.
        found: Box<Name>,
        /// Name of the public area that came along.
        expected: Box<Name>,
    },
    /// The object is not an attestation key.
    #[error("the certified key: {0}")]
    Key(#[from] KeyError),
}

/// Authenticates a quote with the PCR values that came along; values that the quote does not select are
/// dropped.
///
/// Says nothing of freshness (`extraData`), of the clock ([`super::check_clock`]), or of whether the values
/// are good.
///
/// # Errors
/// [`QuoteError`].
pub fn authenticate_quote(
    attest: Attest,
    signature: &Signature,
    key: &AttestationKey,
    pcrs: &PcrValues,
    provider: &dyn Provider,
) -> Result<GenuineQuote, QuoteError> {
    let Attested::Quote { selection, digest } = &attest.attested else {
        return Err(QuoteError::NotAQuote { found: attest.attest_type() });
    };
    key.verify(attest.as_bytes(), signature, provider)?;
    let quoted = select(selection, pcrs)?;
    let (Scheme::RsaSsa(hash) | Scheme::RsaPss(hash) | Scheme::Ecdsa(hash)) = signature.scheme else {
        return Err(QuoteError::Signature(SignatureError::KeyKind));
    };
    let found = pcr_digest(selection, &quoted, hash);
    if found.as_bytes() != digest.as_slice() {
        return Err(QuoteError::PcrDigest { found, expected: digest.clone() });
    }
    Ok(GenuineQuote { key: key.clone(), pcrs: quoted, attest })
}

/// Authenticates a TPM2_Certify of `public` by `key`: both are in the same TPM, and the certified key may
/// attest in its turn.
///
/// # Errors
/// [`CertifyError`].
pub fn authenticate_certify(
    attest: &Attest,
    signature: &Signature,
    key: &AttestationKey,
    public: &Public,
    provider: &dyn Provider,
) -> Result<AttestationKey, CertifyError> {
    let Attested::Certify { name, .. } = attest.attested else {
        return Err(CertifyError::NotACertification { found: attest.attest_type() });
    };
    key.verify(attest.as_bytes(), signature, provider)?;
    let expected = public.name();
    if name != expected {
        return Err(CertifyError::Object { found: Box::new(name), expected: Box::new(expected) });
    }
    Ok(AttestationKey::of_public_area(public, Voucher::AttestationKey { by: key.name() })?)
}

/// Digest of PCR values in the order of the selection (TPM2 Part 3 §18.4, TPM2_Quote); PCRs whose value is
/// missing count as empty.
pub fn pcr_digest(selection: &[PcrSelection], pcrs: &PcrValues, hash: HashAlgorithm) -> Digest {
    let values: Vec<Digest> = selection
        .iter()
        .flat_map(|part| part.indices().filter_map(|index| pcrs.value(part.bank, index)))
        .collect();
    let parts: Vec<&[u8]> = values.iter().map(Digest::as_bytes).collect();
    hash.digest_parts(&parts)
}

fn select(selection: &[PcrSelection], pcrs: &PcrValues) -> Result<PcrValues, QuoteError> {
    let mut quoted = PcrValues::new();
    for part in selection {
        for index in part.indices() {
            let bank = part.bank;
            let value = pcrs.value(bank, index).ok_or(QuoteError::MissingPcr { bank, index })?;
            quoted
                .insert(bank, index, value.as_bytes())
                .expect("a selection names each bank once, and a value of it has the bank's length");
        }
    }
    if quoted.is_empty() { Err(QuoteError::NothingSelected) } else { Ok(quoted) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl GenuineQuote {
    /// What the TPM signed.
    pub fn attest(&self) -> &Attest {
        &self.attest
    }

    /// The key, and who vouches for it.
    pub fn key(&self) -> &AttestationKey {
        &self.key
    }

    /// The quoted PCR values, and no others.
    pub fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }

    /// Checks that the quote names as its signer the key with this qualified name; see
    /// [`casemate_evidence::tpm::qualified_name`].
    ///
    /// # Errors
    /// [`QuoteError::QualifiedSigner`].
    pub fn check_signer(&self, expected: &Name) -> Result<(), QuoteError> {
        let found = self.attest.qualified_signer;
        if found == *expected {
            Ok(())
        } else {
            Err(QuoteError::QualifiedSigner { found: Box::new(found), expected: Box::new(*expected) })
        }
    }
}
