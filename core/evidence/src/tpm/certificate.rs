//! What does the certificate of a TPM's key say?
//!
//! Source: TCG EK Credential Profile for TPM Family 2.0 §3.2. TPMs carry their certificates in NV
//! indices, with padding, and some vendors order names in their own way: both are noted, not hidden.

use std::ops::Range;

use der::oid::ObjectIdentifier;
use serde::Serialize;

use crate::x509::{self, Certificate, Oddities, content, elements};

/// Certificate of an endorsement or attestation key; well formed, nothing about its signature is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcgCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// How it departs from DER.
    pub oddities: Oddities,
    /// What the key is for.
    pub key_use: KeyUse,
    /// Which TPM has the key, if the certificate says so.
    pub identity: Option<TpmIdentity>,
}

/// What the certified key is for, by its extended key usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyUse {
    /// tcg-kp-EKCertificate (2.23.133.8.1): an endorsement key.
    Endorsement,
    /// tcg-kp-AIKCertificate (2.23.133.8.3): an attestation key.
    Attestation,
    /// Neither is stated.
    Unstated,
}

/// Manufacturer, model and version of a TPM (EK Credential Profile §3.2.9, subject alternative name).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TpmIdentity {
    /// TPMManufacturer: four bytes, as in the TCG Vendor ID Registry.
    pub manufacturer: [u8; 4],
    /// TPMModel.
    pub model: String,
    /// TPMVersion.
    pub version: String,
}

/// Why bytes are no certificate of a TPM's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// No certificate at all.
    #[error(transparent)]
    X509(#[from] x509::Error),
    /// The certificate of an authority.
    #[error("the certificate is an authority's, expected that of a key in a TPM")]
    Authority,
    /// An extension that cannot be read.
    #[error("the extension {name} cannot be read: {source}")]
    Extension {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        source: der::Error,
    },
    /// Part of the TPM's identity is there, and part of it is missing.
    #[error("the subject alternative name lacks {name}; it names manufacturer, model and version, or none")]
    Incomplete {
        /// What is missing.
        name: &'static str,
    },
    /// An attribute of the identity twice, or longer than 64 bytes, or not of printable characters.
    #[error("{name} in the subject alternative name is repeated, too long or not printable text")]
    Attribute {
        /// Which.
        name: &'static str,
    },
    /// TPMManufacturer in another form.
    #[error("TPM manufacturer {found:?}, expected \"id:\" and 8 hexadecimal digits")]
    Manufacturer {
        /// The text.
        found: String,
    },
    /// One key for both uses: what it decrypts for a registrar it could sign as well.
    #[error("the certificate states both uses, endorsement and attestation key; a key has one of them")]
    BothUses,
}

impl TcgCertificate {
    /// Reads the certificate, which may be padded to the size of an NV index.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let (certificate, oddities) = Certificate::parse_from_device(bytes)?;
        Self::read(certificate, oddities)
    }

    /// Reads what a certificate that is already parsed says of a TPM.
    ///
    /// # Errors
    /// [`CertificateError`] but `X509`.
    pub fn read(certificate: Certificate, oddities: Oddities) -> Result<Self, CertificateError> {
        if certificate.is_authority() {
            return Err(CertificateError::Authority);
        }
        let key_use = read_key_use(&certificate)?;
        let identity = read_identity(&certificate)?;
        Ok(Self { certificate, oddities, key_use, identity })
    }

    /// The extensions of this profile that may be critical, beyond basic constraints and key usage: the
    /// subject alternative name is, where the subject is empty (RFC 5280 §4.2.1.6).
    pub const KNOWN_EXTENSIONS: [ObjectIdentifier; 3] =
        [SUBJECT_ALTERNATIVE_NAME, EXTENDED_KEY_USAGE, CERTIFICATE_POLICIES];
}

impl TpmIdentity {
    /// The manufacturer as text, where its bytes are letters: `IFX`, `STM`, `GOOG`.
    pub fn manufacturer_name(&self) -> String {
        let text: String = self.manufacturer.iter().map(|byte| char::from(*byte)).collect();
        let text = text.trim_end_matches(['\0', ' ']);
        if text.chars().all(|c| c.is_ascii_graphic()) && !text.is_empty() {
            text.to_owned()
        } else {
            self.manufacturer.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

fn read_key_use(certificate: &Certificate) -> Result<KeyUse, CertificateError> {
    let Some(content) = certificate.extension(EXTENDED_KEY_USAGE) else { return Ok(KeyUse::Unstated) };
    let name = "extended key usage";
    let uses = extended_key_usage(content).map_err(|source| CertificateError::Extension { name, source })?;
    match (uses.contains(&TCG_KP_EK_CERTIFICATE), uses.contains(&TCG_KP_AIK_CERTIFICATE)) {
        (true, true) => Err(CertificateError::BothUses),
        (true, false) => Ok(KeyUse::Endorsement),
        (false, true) => Ok(KeyUse::Attestation),
        (false, false) => Ok(KeyUse::Unstated),
    }
}

fn extended_key_usage(content: &[u8]) -> Result<Vec<ObjectIdentifier>, der::Error> {
    use der::Decode as _;
    elements(content, &(0..content.len()))?
        .into_iter()
        .map(|element| ObjectIdentifier::from_der(&content[element]))
        .collect()
}

fn read_identity(certificate: &Certificate) -> Result<Option<TpmIdentity>, CertificateError> {
    let Some(extension) = certificate.extension(SUBJECT_ALTERNATIVE_NAME) else { return Ok(None) };
    let name = "subject alternative name";
    let attributes =
        directory_attributes(extension).map_err(|source| CertificateError::Extension { name, source })?;
    let mut texts = [None, None, None];
    for (id, value) in attributes {
        let Some(index) = IDENTITY.iter().position(|(known, _)| *known == id) else { continue };
        let text = std::str::from_utf8(&extension[value]).ok();
        let text = text.filter(|text| text.len() <= 64 && text.chars().all(|c| !c.is_control()));
        let bad = CertificateError::Attribute { name: IDENTITY[index].1 };
        match (text, &texts[index]) {
            (Some(text), None) => texts[index] = Some(text.to_owned()),
            _ => return Err(bad),
        }
    }
    match texts {
        [None, None, None] => Ok(None),
        [Some(manufacturer), Some(model), Some(version)] => {
            Ok(Some(TpmIdentity { manufacturer: read_manufacturer(manufacturer)?, model, version }))
        }
        texts => {
            let missing = texts.iter().position(Option::is_none).expect("the patterns above took all others");
            Err(CertificateError::Incomplete { name: IDENTITY[missing].1 })
        }
    }
}

/// Every attribute of every directory name in GeneralNames (RFC 5280 §4.2.1.6), in any order: type and
/// where the characters of its value lie.
fn directory_attributes(names: &[u8]) -> Result<Vec<(ObjectIdentifier, Range<usize>)>, der::Error> {
    use der::Decode as _;
    const DIRECTORY_NAME: u8 = 0xA4; // [4] EXPLICIT, since a Name is a CHOICE
    let mut found = Vec::new();
    for general_name in elements(names, &(0..names.len()))? {
        if names[general_name.start] != DIRECTORY_NAME {
            continue;
        }
        for name in elements(names, &general_name)? {
            for relative in elements(names, &name)? {
                for attribute in elements(names, &relative)? {
                    let parts = elements(names, &attribute)?;
                    let [id, value] = parts.as_slice() else {
                        return Err(der::ErrorKind::Failed.into());
                    };
                    found.push((ObjectIdentifier::from_der(&names[id.clone()])?, content(names, value)?));
                }
            }
        }
    }
    Ok(found)
}

fn read_manufacturer(text: String) -> Result<[u8; 4], CertificateError> {
    let digits = text.strip_prefix("id:").filter(|digits| digits.len() == 8);
    let number = digits
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    number.map(u32::to_be_bytes).ok_or(CertificateError::Manufacturer { found: text })
}

const SUBJECT_ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const TCG_KP_EK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
const TCG_KP_AIK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");

/// EK Credential Profile §3.2.9: tcg-at-tpmManufacturer, -tpmModel, -tpmVersion.
const IDENTITY: [(ObjectIdentifier, &str); 3] = [
    (ObjectIdentifier::new_unwrap("2.23.133.2.1"), "TPMManufacturer"),
    (ObjectIdentifier::new_unwrap("2.23.133.2.2"), "TPMModel"),
    (ObjectIdentifier::new_unwrap("2.23.133.2.3"), "TPMVersion"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manufacturers_are_four_bytes_in_hexadecimal() {
        assert_eq!(read_manufacturer("id:474F4F47".into()), Ok(*b"GOOG"));
        for text in ["474F4F47", "id:474F4F4", "id:474F4F470", "id:+74F4F47", "id:GOOGGOOG", ""] {
            let error = CertificateError::Manufacturer { found: text.to_owned() };
            assert_eq!(read_manufacturer(text.into()), Err(error));
        }
    }

    #[test]
    fn manufacturers_have_names_where_their_bytes_are_letters() {
        let named = |manufacturer| {
            TpmIdentity { manufacturer, model: String::new(), version: String::new() }.manufacturer_name()
        };
        assert_eq!(named(*b"IFX\0"), "IFX");
        assert_eq!(named(*b"GOOG"), "GOOG");
        assert_eq!(named([0, 0, 0x10, 0x14]), "00001014");
    }
}
