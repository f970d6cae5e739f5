//! Which kind of file is this?
//!
//! Kinds are told apart by their first bytes. Bytes that begin like a kind and break its rules count as that
//! kind, so that the verdict can say what is wrong with them. What was pasted as text, hexadecimal or
//! base64, is decoded first.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use casemate_evidence::bundle::Bundle;
use casemate_evidence::nitro::Document;
use casemate_evidence::snp::Report;
use casemate_evidence::tpm::{PcrFileError, PcrValues, Signature, read_pcr_file, read_pcr_json};
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
    /// An attestation document of AWS.
    NitroDocument,
    /// What a confidential VM of Azure keeps in its vTPM: an HCL report.
    AzureReport,
    /// What a TPM stated: TPMS_ATTEST.
    TpmQuote,
    /// Its signature: TPMT_SIGNATURE, or an RSA signature by itself.
    TpmSignature,
    /// The values of PCRs, as tpm2-tools writes them or in JSON.
    TpmPcrs,
    /// The public area of an attestation key: TPMT_PUBLIC, or TPM2B_PUBLIC.
    TpmPublicArea,
    /// A public key in PEM.
    PublicKey,
    /// An event log of a TPM, or a CCEL.
    EventLog,
    /// What the running kernel measured, in ASCII.
    ImaList,
    /// What a GPU or switch of NVIDIA answered: a transcript of SPDM.
    NvidiaReport,
    /// What one should measure: a reference integrity manifest.
    NvidiaManifest,
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
    /// A document, not parsed.
    NitroDocument(Vec<u8>),
    /// An HCL report, not parsed.
    AzureReport(Vec<u8>),
    /// A statement, not parsed.
    TpmQuote(Vec<u8>),
    /// A signature, not parsed.
    TpmSignature(Vec<u8>),
    /// PCR values.
    TpmPcrs(Box<PcrValues>),
    /// A TPMT_PUBLIC, not parsed.
    TpmPublicArea(Vec<u8>),
    /// A DER `SubjectPublicKeyInfo`, not parsed.
    PublicKey(Vec<u8>),
    /// A log, not parsed.
    EventLog(Vec<u8>),
    /// A list, not parsed.
    ImaList(Vec<u8>),
    /// A report of a device, not parsed.
    NvidiaReport(Vec<u8>),
    /// A manifest, not parsed.
    NvidiaManifest(Vec<u8>),
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
        Kind::NitroDocument,
        Kind::AzureReport,
        Kind::TpmQuote,
        Kind::TpmSignature,
        Kind::TpmPcrs,
        Kind::TpmPublicArea,
        Kind::PublicKey,
        Kind::EventLog,
        Kind::ImaList,
        Kind::NvidiaReport,
        Kind::NvidiaManifest,
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
            _ if bytes.starts_with(b"-----BEGIN PUBLIC KEY-----") => Some(Kind::PublicKey),
            _ if bytes.starts_with(b"-----BEGIN ") => Some(Kind::Certificates),
            // Intel DCAP library API, appendix A.3 and A.4: version and kind of the attestation key, 16 bits each,
            // little-endian, then in 32 bits the kind of TEE.
            [3..=5, 0, 2 | 3, 0, 0x81, 0, 0, 0, ..] => Some(Kind::TdxQuote),
            [3..=5, 0, 2 | 3, 0, 0, 0, 0, 0, ..] => Some(Kind::SgxQuote),
            [b'{', ..] if bytes.windows(10).any(|word| word == b"\"tcb_info\"") => {
                Some(Kind::IntelCollateral)
            }
            // DMTF DSP0274: GET_MEASUREMENTS of SPDM 1.1, which asks for a signature over all measurements.
            [0x11, 0xE0, 1, 0xFF, ..] => Some(Kind::NvidiaReport),
            [b'<', ..] if bytes.windows(16).take(64).any(|word| word == b"SoftwareIdentity") => {
                Some(Kind::NvidiaManifest)
            }
            _ if Self::of_tpm_or_cloud(bytes).is_some() => Self::of_tpm_or_cloud(bytes),
            // AMD 56860 §7.3, ATTESTATION_REPORT: begins with VERSION, 32 bits, little-endian.
            [2..=15, 0, 0, 0, ..] => Some(Kind::SnpReport),
            _ if bytes.len() == Report::LEN => Some(Kind::SnpReport),
            _ => None,
        }
    }

    /// The kinds that a TPM or a cloud makes.
    fn of_tpm_or_cloud(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // COSE_Sign1 (RFC 9052 §4.2), with or without its tag: a protected header with ES384.
            [0xD2, 0x84, 0x44, 0xA1, 0x01, 0x38, 0x22, ..] | [0x84, 0x44, 0xA1, 0x01, 0x38, 0x22, ..] => {
                Some(Kind::NitroDocument)
            }
            [b'H', b'C', b'L', b'A', ..] => Some(Kind::AzureReport),
            // TPM2 Part 2 §10.12.8, TPMS_ATTEST: FF "TCG", then which statement. With another first byte no TPM
            // made it, and the verdict says so.
            [_, b'T', b'C', b'G', 0x80, 0x14..=0x1C, ..] => Some(Kind::TpmQuote),
            // TPM2 Part 2 §12.2.4, TPMT_PUBLIC: kind of key, then hash algorithm of the name.
            [0, 0x01 | 0x23, 0, 0x04 | 0x0B..=0x0D, ..] => Some(Kind::TpmPublicArea),
            [_, _, 0, 0x01 | 0x23, 0, 0x04 | 0x0B..=0x0D, ..] if sized(bytes).is_some() => {
                Some(Kind::TpmPublicArea)
            }
            // TPM2 Part 2 §11.3.4, TPMT_SIGNATURE: scheme, hash algorithm.
            _ if Signature::looks_structured(bytes) => Some(Kind::TpmSignature),
            // TCG PFP §10.2: register 0 of a TPM, or 1 of a CCEL, and EV_NO_ACTION; without the header of the newer
            // format also EV_S_CRTM_VERSION.
            [0 | 1, 0, 0, 0, 3, 0, 0, 0, ..] | [0, 0, 0, 0, 8, 0, 0, 0, ..] => Some(Kind::EventLog),
            // Linux, security/integrity/ima/ima_fs.c: PCR, digest of the entry, template.
            [b'1', b'0', b' ', ..] => Some(Kind::ImaList),
            [b'{', ..] => {
                let name: Vec<u8> = bytes
                    .iter()
                    .filter(|byte| !byte.is_ascii_whitespace())
                    .skip(1)
                    .take(4)
                    .copied()
                    .collect();
                (name == b"\"sha").then_some(Kind::TpmPcrs)
            }
            [1..=16, 0, 0, 0, ..] if read_pcr_file(bytes).is_ok() => Some(Kind::TpmPcrs),
            // An RSA signature by itself is as long as its key, and no text.
            _ if [256, 384, 512].contains(&bytes.len()) && !bytes.is_ascii() => Some(Kind::TpmSignature),
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
            Kind::NitroDocument => "AWS attestation document",
            Kind::AzureReport => "Azure HCL report",
            Kind::TpmQuote => "TPM quote",
            Kind::TpmSignature => "signature of a TPM",
            Kind::TpmPcrs => "PCR values",
            Kind::TpmPublicArea => "public area of a TPM's key",
            Kind::PublicKey => "public key",
            Kind::EventLog => "event log",
            Kind::ImaList => "IMA list",
            Kind::NvidiaReport => "NVIDIA device report",
            Kind::NvidiaManifest => "NVIDIA manifest",
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
            // dstack's agents write what they know besides behind the document; nothing signs that.
            Kind::NitroDocument => Ok(Content::NitroDocument(match Document::parse_at_start(bytes) {
                Ok((_, used)) => bytes[..used].to_vec(),
                Err(_) => bytes.to_vec(),
            })),
            Kind::AzureReport => Ok(Content::AzureReport(bytes.to_vec())),
            Kind::TpmQuote => Ok(Content::TpmQuote(bytes.to_vec())),
            Kind::TpmSignature => Ok(Content::TpmSignature(bytes.to_vec())),
            Kind::TpmPcrs => pcrs(bytes)
                .map(|pcrs| Content::TpmPcrs(Box::new(pcrs)))
                .map_err(|source| Error::Pcrs { name: name(), source: Box::new(source) }),
            Kind::TpmPublicArea => Ok(Content::TpmPublicArea(sized(bytes).unwrap_or(bytes).to_vec())),
            Kind::PublicKey => match der::pem::decode_vec(bytes) {
                Ok((_, der)) => Ok(Content::PublicKey(der)),
                Err(error) => Err(Error::Certificates {
                    name: name(),
                    source: Box::new(casemate_evidence::x509::Error::Pem(error)),
                }),
            },
            Kind::EventLog => Ok(Content::EventLog(bytes.to_vec())),
            Kind::ImaList => Ok(Content::ImaList(bytes.to_vec())),
            Kind::NvidiaReport => Ok(Content::NvidiaReport(bytes.to_vec())),
            Kind::NvidiaManifest => Ok(Content::NvidiaManifest(bytes.to_vec())),
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
            Content::NitroDocument(_) => Kind::NitroDocument,
            Content::AzureReport(_) => Kind::AzureReport,
            Content::TpmQuote(_) => Kind::TpmQuote,
            Content::TpmSignature(_) => Kind::TpmSignature,
            Content::TpmPcrs(_) => Kind::TpmPcrs,
            Content::TpmPublicArea(_) => Kind::TpmPublicArea,
            Content::PublicKey(_) => Kind::PublicKey,
            Content::EventLog(_) => Kind::EventLog,
            Content::ImaList(_) => Kind::ImaList,
            Content::NvidiaReport(_) => Kind::NvidiaReport,
            Content::NvidiaManifest(_) => Kind::NvidiaManifest,
        }
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, casemate_evidence::x509::Error> {
    match bytes {
        // TPMs pad what they keep, and some order names in their own way.
        [b'-', ..] => Certificate::parse_pem_from_device(&String::from_utf8_lossy(bytes)),
        _ => Certificate::parse(bytes)
            .or_else(|error| Certificate::parse_from_device(bytes).map(|(one, _)| one).map_err(|_| error))
            .map(|one| vec![one]),
    }
}

/// What a length in front names: TPM2B (TPM2 Part 2 §10.4).
fn sized(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    (usize::from(u16::from_be_bytes(*length)) == rest.len()).then_some(rest)
}

fn pcrs(bytes: &[u8]) -> Result<PcrValues, PcrFileError> {
    match bytes {
        [b'{', ..] => read_pcr_json(bytes),
        _ => read_pcr_file(bytes),
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
        assert_eq!(Kind::of(&[0x84, 0x44, 0xA1, 1, 0x38, 0x22]), Some(Kind::NitroDocument));
        assert_eq!(Kind::of(&[0xD2, 0x84, 0x44, 0xA1, 1, 0x38, 0x22]), Some(Kind::NitroDocument));
        assert_eq!(Kind::of(b"HCLA"), Some(Kind::AzureReport));
        assert_eq!(Kind::of(b"\xFFTCG\x80\x18"), Some(Kind::TpmQuote));
        assert_eq!(Kind::of(b"\xFETCG\x80\x18"), Some(Kind::TpmQuote));
        assert_eq!(Kind::of(&[0, 0x14, 0, 0x0B, 1]), Some(Kind::TpmSignature));
        assert_eq!(Kind::of(&[0xA5; 256]), Some(Kind::TpmSignature));
        assert_eq!(Kind::of(&[0x35; 256]), None, "text is decoded before it is looked at");
        assert_eq!(Kind::of(&[0, 0x23, 0, 0x0B]), Some(Kind::TpmPublicArea));
        assert_eq!(Kind::of(&[0, 5, 0, 0x23, 0, 0x0B, 1]), Some(Kind::TpmPublicArea));
        assert_eq!(Kind::of(b"-----BEGIN PUBLIC KEY-----"), Some(Kind::PublicKey));
        assert_eq!(Kind::of(b"{ \"sha256\": {} }"), Some(Kind::TpmPcrs));
        assert_eq!(Kind::of(&[0, 0, 0, 0, 3, 0, 0, 0]), Some(Kind::EventLog));
        assert_eq!(Kind::of(&[1, 0, 0, 0, 3, 0, 0, 0]), Some(Kind::EventLog));
        assert_eq!(Kind::of(b"10 ab ima-ng"), Some(Kind::ImaList));
        assert_eq!(Kind::of(&[0x11, 0xE0, 1, 0xFF]), Some(Kind::NvidiaReport));
        assert_eq!(Kind::of(&[0x11, 0xE0, 1, 1]), None, "one measurement alone is no report");
        assert_eq!(Kind::of(b"<SoftwareIdentity "), Some(Kind::NvidiaManifest));
        assert_eq!(Kind::of(b"<a:SoftwareIdentity "), Some(Kind::NvidiaManifest));
        assert_eq!(Kind::of(b"<html>"), None);
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
