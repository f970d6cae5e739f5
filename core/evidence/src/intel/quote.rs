//! What does this quote say, and what comes with it?
//!
//! Source: Quoting Library API, A.3 (versions 4 and 5); Quote Library Reference, A.4 (version 3). Numbers
//! are little-endian; keys and signatures are big-endian pairs of 32 bytes.

use std::ops::Range;

use casemate_crypto::sign;

use super::bytes::array;
use crate::x509::{self, Certificate};
use crate::{ReportData, sgx, tdx};

/// A quote, well formed; it proves nothing until it is authenticated.
#[derive(Clone, PartialEq, Eq)]
pub struct Quote {
    bytes: Vec<u8>,
    version: QuoteVersion,
    signed: usize,
    body: Body,
    signature: QuoteSignature,
    padding_len: usize,
}

/// The layouts that Intel's quoting enclaves sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum QuoteVersion {
    /// SGX only.
    V3,
    /// SGX or TDX 1.0.
    V4,
    /// Names the kind of its body: SGX, TDX 1.0 or TDX 1.5.
    V5,
}

/// Whose report the quote carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // a quote has one
pub enum Body {
    /// An enclave's.
    Sgx(sgx::Report),
    /// A trust domain's.
    Tdx(tdx::Report),
}

/// Quote Signature Data: the signature, and what ties its key to a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteSignature {
    /// Over header and body, by the attestation key.
    pub signature: sign::Signature,
    /// The attestation key, which the Quoting Enclave made.
    pub attestation_key: sign::PublicKey,
    /// Report of the Quoting Enclave, which commits to the attestation key.
    pub qe_report: sgx::Report,
    /// Over the Quoting Enclave's report, by the platform's certified key.
    pub qe_report_signature: sign::Signature,
    /// What the Quoting Enclave's report commits to besides the key; chosen by whoever set up the quoting.
    pub qe_authentication_data: Vec<u8>,
    /// Which key certified the Quoting Enclave.
    pub certification: Certification,
}

/// Which key certified the Quoting Enclave: its certificates, or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certification {
    /// Types 1 to 3: the platform's name only; its certificates must come from elsewhere.
    Name(PckName),
    /// Type 5: the certificate of the PCK and those above it, PEM.
    Certificates {
        /// As it stands in the quote; DER in the samples of Intel's verification library.
        bytes: Vec<u8>,
    },
}

/// What a quote without certificates says of the PCK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckName {
    /// 1 for a plain PPID, 2 for one encrypted with RSA-2048, 3 with RSA-3072.
    pub kind: u16,
    /// The PPID, encrypted if the type says so.
    pub ppid: Vec<u8>,
    /// Security version of the processor.
    pub cpu_svn: [u8; 16],
    /// Security version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// Which provisioning certification enclave; some quotes of type 1 leave it out.
    pub pce_id: Option<[u8; 2]>,
}

/// Why bytes are no quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Longer than any quote.
    #[error("{found} bytes, at most {} are accepted; is this a single quote?", Quote::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// The bytes end inside a field.
    #[error("the quote ends at {found} bytes, inside {field}; was it cut?")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Length in bytes.
        found: usize,
    },
    /// VERSION without a known layout.
    #[error("quote version {found}, expected 3, 4 or 5; update Casemate if the platform is newer")]
    Version {
        /// The field.
        found: u16,
    },
    /// Attestation key type that is not ECDSA P-256.
    #[error("attestation key type {found}, expected {} (ECDSA P-256)", ENCLAVE_QUOTE_KEY_TYPE)]
    KeyType {
        /// The field.
        found: u16,
    },
    /// TEE type that is neither SGX nor TDX, or not of this version.
    #[error(
        "TEE type {found:#x} in a quote of version {version}, expected 0 (SGX) or 0x81 (TDX, since version 4)"
    )]
    TeeType {
        /// The field.
        found: u32,
        /// Version of the quote.
        version: u16,
    },
    /// Reserved bytes of the header are set.
    #[error("reserved bytes of the quote's header are {found:#x}, expected 0")]
    Reserved {
        /// The four bytes at offset 8.
        found: u32,
    },
    /// A quoting enclave of another vendor.
    #[error("the quoting enclave is not Intel's; expected vendor 939a7233f79c4ca9940a0db3957f0607")]
    Vendor {
        /// QE Vendor ID.
        found: [u8; 16],
    },
    /// Body type of version 5 that is unknown, or of another TEE or size.
    #[error(
        "body type {kind} of {size} bytes does not fit TEE type {tee:#x}; expected 1 (384), 2 (584) or 3 (648)"
    )]
    BodyType {
        /// The type.
        kind: u16,
        /// The size that the quote states.
        size: u32,
        /// TEE type.
        tee: u32,
    },
    /// The trust domain's report.
    #[error(transparent)]
    Tdx(#[from] tdx::ReportError),
    /// The enclave's report, or the Quoting Enclave's.
    #[error(transparent)]
    Sgx(#[from] sgx::ReportError),
    /// A length that leaves bytes of the signature data unread.
    #[error("{found} bytes follow {field}; its length field is wrong")]
    Unread {
        /// The part that ended.
        field: &'static str,
        /// Bytes left.
        found: usize,
    },
    /// Certification data of another type than expected there.
    #[error("certification data of type {found}, expected {expected}")]
    CertificationType {
        /// The type.
        found: u16,
        /// What may stand there.
        expected: &'static str,
    },
    /// Certification data whose length its type does not have.
    #[error("certification data of type {kind} has {found} bytes, which that type does not have")]
    CertificationLength {
        /// The type.
        kind: u16,
        /// Length in bytes.
        found: usize,
    },
    /// Bytes other than zero after the quote.
    #[error("byte {offset} after the quote is {found:#x}; only zeros may follow a quote")]
    Padding {
        /// Offset in the input.
        offset: usize,
        /// The byte.
        found: u8,
    },
}

/// Attestation key type: ECDSA on P-256 with SHA-256.
pub const ENCLAVE_QUOTE_KEY_TYPE: u16 = 2;

/// QE Vendor ID of Intel's quoting enclaves.
pub const INTEL_QE_VENDOR: [u8; 16] =
    [0x93, 0x9A, 0x72, 0x33, 0xF7, 0x9C, 0x4C, 0xA9, 0x94, 0x0A, 0x0D, 0xB3, 0x95, 0x7F, 0x06, 0x07];

impl QuoteVersion {
    /// The number in the quote.
    pub const fn number(self) -> u16 {
        match self {
            QuoteVersion::V3 => 3,
            QuoteVersion::V4 => 4,
            QuoteVersion::V5 => 5,
        }
    }
}

impl Quote {
    /// Greatest length accepted, in bytes: a quote with its certificates has about 5,000, and what hands
    /// it over pads it to 8,000 or 16,000.
    pub const MAXIMUM_LEN: usize = 64 * 1024;
    /// Length of the header in bytes.
    pub const HEADER_LEN: usize = 48;

    /// Reads a quote of version 3, 4 or 5; zeros may follow it.
    ///
    /// # Errors
    /// [`QuoteError`], the first broken rule in the order of the layout.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        if bytes.len() > Self::MAXIMUM_LEN {
            return Err(QuoteError::TooLong { found: bytes.len() });
        }
        let mut reader = Reader { bytes, at: 0 };
        let (version, tee) = read_header(&mut reader)?;
        let body = read_body(&mut reader, version, tee)?;
        let signed = reader.at;
        let signature_len = reader.number("length of the signature data")?;
        let data = reader.take(signature_len, "signature data")?;
        let signature = read_signature(data, version)?;
        let end = reader.at;
        if let Some(offset) = bytes[end..].iter().position(|byte| *byte != 0) {
            return Err(QuoteError::Padding { offset: end + offset, found: bytes[end + offset] });
        }
        Ok(Self {
            bytes: bytes[..end].to_vec(),
            version,
            signed,
            body,
            signature,
            padding_len: bytes.len() - end,
        })
    }

    /// The quote without what followed it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes that the attestation key signs: header and body.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.bytes[..self.signed]
    }

    /// The layout.
    pub fn version(&self) -> QuoteVersion {
        self.version
    }

    /// TEE type: 0 for SGX, 0x81 for TDX.
    pub fn tee_type(&self) -> u32 {
        match self.body {
            Body::Sgx(_) => SGX,
            Body::Tdx(_) => TDX,
        }
    }

    /// QE SVN in the header; of SGX quotes only.
    pub fn qe_svn(&self) -> u16 {
        u16::from_le_bytes(array(&self.bytes, 8))
    }

    /// PCE SVN in the header; of SGX quotes only.
    pub fn pce_svn(&self) -> u16 {
        u16::from_le_bytes(array(&self.bytes, 10))
    }

    /// QE Vendor ID.
    pub fn qe_vendor_id(&self) -> [u8; 16] {
        array(&self.bytes, 12)
    }

    /// User data of the header: 16 bytes that name the platform to its owner, and four zeros.
    pub fn user_data(&self) -> [u8; 20] {
        array(&self.bytes, 28)
    }

    /// The report.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What the quote's report data holds.
    pub fn report_data(&self) -> ReportData {
        match &self.body {
            Body::Sgx(report) => report.report_data(),
            Body::Tdx(report) => report.report_data(),
        }
    }

    /// Number of the body's type as version 5 numbers it: 1 SGX, 2 TDX 1.0, 3 TDX 1.5.
    pub fn body_type(&self) -> u16 {
        match &self.body {
            Body::Sgx(_) => 1,
            Body::Tdx(report) if report.service_td().is_none() => 2,
            Body::Tdx(_) => 3,
        }
    }

    /// The signature, and what ties its key to a platform.
    pub fn signature(&self) -> &QuoteSignature {
        &self.signature
    }

    /// Length of the signature data in bytes.
    pub fn signature_data_len(&self) -> usize {
        self.bytes.len() - self.signed - 4
    }

    /// How many zeros followed the quote.
    pub fn padding_len(&self) -> usize {
        self.padding_len
    }
}

impl std::fmt::Debug for Quote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quote")
            .field("version", &self.version)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl Certification {
    /// Number of the type.
    pub fn kind(&self) -> u16 {
        match self {
            Certification::Name(name) => name.kind,
            Certification::Certificates { .. } => PCK_CHAIN,
        }
    }

    /// The certificates: leaf, authority, root (quotes of 2020 hold the last two the other way round);
    /// none if there is only a name.
    ///
    /// # Errors
    /// [`x509::Error`].
    pub fn certificates(&self) -> Result<Vec<Certificate>, x509::Error> {
        let Certification::Certificates { bytes } = self else { return Ok(Vec::new()) };
        // The quoting library copies a C string: its end is part of the data.
        let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        let text = std::str::from_utf8(text).map_err(|_| x509::Error::PemLabel)?;
        let mut certificates = Certificate::parse_pem(text)?;
        if let Some((_, above)) = certificates.split_first_mut() {
            above.sort_by_key(|certificate| certificate.issuer() == certificate.subject());
        }
        Ok(certificates)
    }
}

fn read_header(reader: &mut Reader) -> Result<(QuoteVersion, u32), QuoteError> {
    let header = reader.take(Quote::HEADER_LEN, "header")?;
    let version = match u16::from_le_bytes(array(header, 0)) {
        3 => QuoteVersion::V3,
        4 => QuoteVersion::V4,
        5 => QuoteVersion::V5,
        found => return Err(QuoteError::Version { found }),
    };
    let key_type = u16::from_le_bytes(array(header, 2));
    if key_type != ENCLAVE_QUOTE_KEY_TYPE {
        return Err(QuoteError::KeyType { found: key_type });
    }
    let tee = u32::from_le_bytes(array(header, 4));
    match (tee, version) {
        (SGX, _) | (TDX, QuoteVersion::V4 | QuoteVersion::V5) => {}
        _ => return Err(QuoteError::TeeType { found: tee, version: version.number() }),
    }
    let reserved = u32::from_le_bytes(array(header, 8));
    if tee == TDX && reserved != 0 {
        return Err(QuoteError::Reserved { found: reserved });
    }
    let vendor = array(header, 12);
    if vendor != INTEL_QE_VENDOR {
        return Err(QuoteError::Vendor { found: vendor });
    }
    Ok((version, tee))
}

fn read_body(reader: &mut Reader, version: QuoteVersion, tee: u32) -> Result<Body, QuoteError> {
    let length = match (version, tee) {
        (QuoteVersion::V5, _) => {
            let kind = u16::from_le_bytes(array(reader.take(2, "body type")?, 0));
            let size = u32::from_le_bytes(array(reader.take(4, "body size")?, 0));
            match (kind, size, tee) {
                (1, 384, SGX) | (2, 584, TDX) | (3, 648, TDX) => size as usize,
                _ => return Err(QuoteError::BodyType { kind, size, tee }),
            }
        }
        (_, SGX) => sgx::Report::LEN,
        (..) => tdx::Report::LEN_1_0,
    };
    let bytes = reader.take(length, "report")?;
    Ok(if tee == SGX { Body::Sgx(sgx::Report::parse(bytes)?) } else { Body::Tdx(tdx::Report::parse(bytes)?) })
}

fn read_signature(data: &[u8], version: QuoteVersion) -> Result<QuoteSignature, QuoteError> {
    let mut reader = Reader { bytes: data, at: 0 };
    let signature = array(reader.take(64, "signature")?, 0).into();
    let attestation_key = array(reader.take(64, "attestation key")?, 0).into();
    // Since version 4 the Quoting Enclave's report is wrapped as certification data of type 6.
    let mut inner = match version {
        QuoteVersion::V3 => reader,
        QuoteVersion::V4 | QuoteVersion::V5 => match read_certification(&mut reader)? {
            (QE_REPORT, bytes) => Reader { bytes, at: 0 },
            (found, _) => {
                return Err(QuoteError::CertificationType {
                    found,
                    expected: "6 (report of the Quoting Enclave)",
                });
            }
        },
    };
    let qe_report = sgx::Report::parse(inner.take(sgx::Report::LEN, "report of the Quoting Enclave")?)?;
    let qe_report_signature = array(inner.take(64, "signature of the Quoting Enclave's report")?, 0).into();
    let length = u16::from_le_bytes(array(inner.take(2, "length of the authentication data")?, 0));
    let authentication = inner.take(usize::from(length), "authentication data")?.to_vec();
    let (kind, bytes) = read_certification(&mut inner)?;
    Ok(QuoteSignature {
        signature,
        attestation_key,
        qe_report,
        qe_report_signature,
        qe_authentication_data: authentication,
        certification: certification(kind, bytes)?,
    })
}

/// Type and content of certification data, which must end where its surroundings end.
fn read_certification<'a>(reader: &mut Reader<'a>) -> Result<(u16, &'a [u8]), QuoteError> {
    let kind = u16::from_le_bytes(array(reader.take(2, "type of the certification data")?, 0));
    let length = reader.number("length of the certification data")?;
    let bytes = reader.take(length, "certification data")?;
    match reader.rest() {
        0 => Ok((kind, bytes)),
        found => Err(QuoteError::Unread { field: "the certification data", found }),
    }
}

fn certification(kind: u16, bytes: &[u8]) -> Result<Certification, QuoteError> {
    let ppid = match (kind, bytes.len()) {
        (PCK_CHAIN, _) => return Ok(Certification::Certificates { bytes: bytes.to_vec() }),
        (1, 34 | 36) => 0..16,
        (2, 276) => 0..256,
        (3, 404) => 0..384,
        (1..=3, found) => return Err(QuoteError::CertificationLength { kind, found }),
        (found, _) => {
            return Err(QuoteError::CertificationType {
                found,
                expected: "1 to 3 (name of the PCK) or 5 (its certificates)",
            });
        }
    };
    let Range { end, .. } = ppid;
    Ok(Certification::Name(PckName {
        kind,
        ppid: bytes[ppid].to_vec(),
        cpu_svn: array(bytes, end),
        pce_svn: u16::from_le_bytes(array(bytes, end + 16)),
        pce_id: (bytes.len() == end + 20).then(|| array(bytes, end + 18)),
    }))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], QuoteError> {
        let rest = &self.bytes[self.at..];
        let found = rest.get(..length).ok_or(QuoteError::Truncated { field, found: self.bytes.len() })?;
        self.at += length;
        Ok(found)
    }

    fn number(&mut self, field: &'static str) -> Result<usize, QuoteError> {
        let number = u32::from_le_bytes(array(self.take(4, field)?, 0));
        usize::try_from(number).map_err(|_| QuoteError::Truncated { field, found: self.bytes.len() })
    }

    fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }
}

pub(super) const SGX: u32 = 0;
pub(super) const TDX: u32 = 0x81;
pub(super) const QE_REPORT: u16 = 6;
pub(super) const PCK_CHAIN: u16 = 5;
