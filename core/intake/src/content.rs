//! Which kind of file is this?
//!
//! Kinds are told apart by their first bytes. Bytes that begin like a kind and break its rules count as that
//! kind, so that the verdict can say what is wrong with them. What was pasted as text, hexadecimal or
//! base64, is decoded first.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use casemate_evidence::bundle::Bundle;
use casemate_evidence::snp::Report;
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::intel::Collateral;
use serde::Serialize;

use crate::error::Error;

/// What somebody handed over.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// What they call it; only shown.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// `docs/reference/evidence-bundle.md`.
    Bundle,
    /// An SEV-SNP attestation report.
    SnpReport,
    /// One certificate in DER, or several in PEM.
    Certificates,
    /// A certificate revocation list, DER or PEM.
    RevocationList,
    /// A TDX quote.
    TdxQuote,
    /// An SGX quote.
    SgxQuote,
    /// What Intel publishes about the platform of either, as one JSON file.
    IntelCollateral,
}

/// A file that was recognised.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Content {
    /// An evidence bundle; its items are not parsed.
    Bundle(Box<Bundle>),
    /// A report, not parsed.
    SnpReport(Vec<u8>),
    /// Certificates; nothing about their signatures is known.
    Certificates(Vec<Certificate>),
    /// A revocation list; nothing about its signature is known.
    RevocationList(Box<RevocationList>),
    /// A quote, not parsed.
    TdxQuote(Vec<u8>),
    /// A quote, not parsed.
    SgxQuote(Vec<u8>),
    /// Collateral; nothing about its signatures is known.
    IntelCollateral(Box<Collateral>),
}

impl File<'_> {
    /// Greatest length of a file, in bytes.
    pub const MAXIMUM_LEN: usize = 8 << 20;
}

impl Kind {
    /// Every kind.
    pub const ALL: &[Kind] = &[
        Kind::Bundle,
        Kind::SnpReport,
        Kind::Certificates,
        Kind::RevocationList,
        Kind::TdxQuote,
        Kind::SgxQuote,
        Kind::IntelCollateral,
    ];

    /// The kind that binary or PEM data begin like; `None` for everything else.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // A CBOR array of two, version and items (docs/reference/evidence-bundle.md).
            [0x82, Bundle::VERSION, ..] => Some(Kind::Bundle),
            // A DER sequence of 128 bytes or more (X.690 §8.1.3): a certificate, or a list (RFC 5280). In
            // text, where the digit 0 is 30 as well, no byte above 7F follows.
            [0x30, 0x81..=0x84, ..] if RevocationList::parse(bytes).is_ok() => Some(Kind::RevocationList),
            [0x30, 0x81..=0x84, ..] => Some(Kind::Certificates),
            _ if bytes.starts_with(b"-----BEGIN X509 CRL-----") => Some(Kind::RevocationList),
            _ if bytes.starts_with(b"-----BEGIN ") => Some(Kind::Certificates),
            // Intel DCAP library API, appendix A.3 and A.4: version and kind of the attestation key, 16 bits each,
            // little-endian, then in 32 bits the kind of TEE.
            [3..=5, 0, 2 | 3, 0, 0x81, 0, 0, 0, ..] => Some(Kind::TdxQuote),
            [3..=5, 0, 2 | 3, 0, 0, 0, 0, 0, ..] => Some(Kind::SgxQuote),
            [b'{', ..] if bytes.windows(10).any(|word| word == b"\"tcb_info\"") => {
                Some(Kind::IntelCollateral)
            }
            // AMD 56860 §7.3, ATTESTATION_REPORT: begins with VERSION, 32 bits, little-endian.
            [2..=15, 0, 0, 0, ..] => Some(Kind::SnpReport),
            _ if bytes.len() == Report::LEN => Some(Kind::SnpReport),
            _ => None,
        }
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Bundle => "evidence bundle",
            Kind::SnpReport => "SEV-SNP report",
            Kind::Certificates => "certificates",
            Kind::RevocationList => "revocation list",
            Kind::TdxQuote => "TDX quote",
            Kind::SgxQuote => "SGX quote",
            Kind::IntelCollateral => "Intel collateral",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Content {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Unknown`], and what is wrong with a bundle, certificate, list or collateral. A
    /// report or quote that breaks its format is no error here: that is for the verdict to say.
    pub fn read(file: &File<'_>) -> Result<Self, Error> {
        let name = || file.name.to_owned();
        if file.bytes.len() > File::MAXIMUM_LEN {
            return Err(Error::TooLong { name: name(), found: file.bytes.len(), maximum: File::MAXIMUM_LEN });
        }
        let trimmed = file.bytes.trim_ascii();
        let decoded;
        let (kind, bytes) = match Kind::of(file.bytes) {
            // Binary data may end in any byte; only text has line breaks around it.
            Some(kind) if file.bytes.starts_with(b"-----BEGIN ") => (kind, trimmed),
            Some(kind) => (kind, file.bytes),
            None => {
                decoded = from_text(trimmed).ok_or_else(|| Error::Unknown { name: name() })?;
                (Kind::of(&decoded).ok_or_else(|| Error::Unknown { name: name() })?, decoded.as_slice())
            }
        };
        match kind {
            Kind::Bundle => Bundle::parse(bytes)
                .map(|bundle| Content::Bundle(Box::new(bundle)))
                .map_err(|source| Error::Bundle { name: name(), source: Box::new(source) }),
            Kind::SnpReport => Ok(Content::SnpReport(bytes.to_vec())),
            Kind::TdxQuote => Ok(Content::TdxQuote(bytes.to_vec())),
            Kind::SgxQuote => Ok(Content::SgxQuote(bytes.to_vec())),
            Kind::IntelCollateral => Collateral::parse_json(bytes)
                .map(|collateral| Content::IntelCollateral(Box::new(collateral)))
                .map_err(|source| Error::Collateral { name: name(), source: Box::new(source) }),
            Kind::Certificates => certificates(bytes)
                .map(Content::Certificates)
                .map_err(|source| Error::Certificates { name: name(), source: Box::new(source) }),
            Kind::RevocationList => revocation_list(bytes)
                .map(|list| Content::RevocationList(Box::new(list)))
                .map_err(|source| Error::Certificates { name: name(), source: Box::new(source) }),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Content::Bundle(_) => Kind::Bundle,
            Content::SnpReport(_) => Kind::SnpReport,
            Content::Certificates(_) => Kind::Certificates,
            Content::RevocationList(_) => Kind::RevocationList,
            Content::TdxQuote(_) => Kind::TdxQuote,
            Content::SgxQuote(_) => Kind::SgxQuote,
            Content::IntelCollateral(_) => Kind::IntelCollateral,
        }
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, casemate_evidence::x509::Error> {
    match bytes {
        [b'-', ..] => Certificate::parse_pem(&String::from_utf8_lossy(bytes)),
        _ => Certificate::parse(bytes).map(|one| vec![one]),
    }
}

fn revocation_list(bytes: &[u8]) -> Result<RevocationList, casemate_evidence::x509::Error> {
    match bytes {
        [b'-', ..] => {
            let (_, der) = der::pem::decode_vec(bytes).map_err(casemate_evidence::x509::Error::Pem)?;
            RevocationList::parse(&der)
        }
        _ => RevocationList::parse(bytes),
    }
}

/// The bytes that hexadecimal or base64 text stands for, with or without `0x` and line breaks.
fn from_text(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digits = text.strip_prefix(b"0x").unwrap_or(&text);
    if digits.is_empty() {
        return None;
    }
    if let Ok(bytes) = hex::decode(digits) {
        return Some(bytes);
    }
    // Padding or none: people cut it off, and URLs go without.
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = match text.iter().any(|byte| matches!(byte, b'-' | b'_')) {
        true => &base64::alphabet::URL_SAFE,
        false => &base64::alphabet::STANDARD,
    };
    GeneralPurpose::new(alphabet, config).decode(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bytes: &[u8]) -> Result<Kind, Error> {
        Content::read(&File { name: "x", bytes }).map(|content| content.kind())
    }

    #[test]
    fn kinds_are_told_apart_by_their_first_bytes() {
        assert_eq!(Kind::of(&[3, 0, 0, 0, 1]), Some(Kind::SnpReport));
        assert_eq!(Kind::of(&[0xFF; Report::LEN]), Some(Kind::SnpReport));
        assert_eq!(Kind::of(&[0x82, 1, 0x80]), Some(Kind::Bundle));
        assert_eq!(Kind::of(&[0x30, 0x82]), Some(Kind::Certificates));
        assert_eq!(Kind::of(b"-----BEGIN CERTIFICATE-----"), Some(Kind::Certificates));
        assert_eq!(Kind::of(b"-----BEGIN X509 CRL-----"), Some(Kind::RevocationList));
        assert_eq!(Kind::of(&[4, 0, 2, 0, 0x81, 0, 0, 0, 9]), Some(Kind::TdxQuote));
        assert_eq!(Kind::of(&[3, 0, 2, 0, 0, 0, 0, 0, 9]), Some(Kind::SgxQuote));
        assert_eq!(Kind::of(b"{\"tcb_info\": 1}"), Some(Kind::IntelCollateral));
        assert_eq!(Kind::of(b"{}"), None);
        assert_eq!(Kind::of(b"nothing"), None);
        assert_eq!(Kind::of(b""), None);
    }

    #[test]
    fn text_is_decoded_first() {
        assert_eq!(kind(b"82 01 80\n").ok(), Some(Kind::Bundle));
        assert_eq!(kind(b" 0x820180 ").ok(), Some(Kind::Bundle));
        assert_eq!(kind(b"ggGA").ok(), Some(Kind::Bundle));
        assert_eq!(kind(b"0300000001").ok(), Some(Kind::SnpReport));
        // 03 00 00 00 fb ff: the two alphabets differ here.
        assert_eq!(kind(b"AwAAAPv/").ok(), Some(Kind::SnpReport));
        assert_eq!(kind(b"AwAAAPv_").ok(), Some(Kind::SnpReport));
        assert_eq!(kind(b"AwAAAA==").ok(), Some(Kind::SnpReport));
        assert_eq!(kind(b"AwAAAA").ok(), Some(Kind::SnpReport));
    }

    #[test]
    fn what_is_no_evidence_has_a_refusal_each() {
        assert!(matches!(kind(b"nothing"), Err(Error::Unknown { .. })));
        assert!(matches!(kind(b""), Err(Error::Unknown { .. })));
        assert!(matches!(kind(b"0x"), Err(Error::Unknown { .. })));
        assert!(matches!(kind(b"abcd"), Err(Error::Unknown { .. })));
        assert!(matches!(kind(&[0x82, 1]), Err(Error::Bundle { .. })));
        assert!(matches!(kind(&[0x30, 0x82]), Err(Error::Certificates { .. })));
        assert!(matches!(kind(&[0x30, 0]), Err(Error::Unknown { .. })));
        assert!(matches!(kind(b"-----BEGIN X-----"), Err(Error::Certificates { .. })));
        assert!(matches!(kind(b"-----BEGIN X509 CRL-----"), Err(Error::Certificates { .. })));
        assert!(matches!(kind(b"{\"tcb_info\"}"), Err(Error::Collateral { .. })));
        let long = vec![0; File::MAXIMUM_LEN + 1];
        assert!(matches!(kind(&long), Err(Error::TooLong { .. })));
    }
}
