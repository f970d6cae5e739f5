//! Where in the report is what?

use casemate_crypto::hash::HashAlgorithm;
use serde::Serialize;

use super::runtime::{RuntimeData, RuntimeDataError};
use crate::ReportData;
use crate::reader::{Reader, Truncated};

/// What the NV index holds; well formed, and it proves nothing until the TEE's report is authenticated and
/// found to carry the digest of the runtime data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport {
    /// Version of the header.
    pub version: u32,
    /// Length of everything but the padding, in bytes.
    pub report_size: u32,
    /// request_type of the header: 2, an attestation key's certificate.
    pub request_type: u32,
    /// Which TEE made the report.
    pub report_type: ReportType,
    /// data_size: length of the runtime data with its header, in bytes.
    pub data_size: u32,
    /// With which hash function the TEE's report carries the runtime data.
    pub hash: HashAlgorithm,
    /// The TEE's report: ATTESTATION_REPORT of SEV-SNP, or TDREPORT of TDX.
    pub tee_report: Vec<u8>,
    /// The runtime data, byte for byte: JSON.
    pub runtime_data: Vec<u8>,
}

/// Which TEE made the report inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportType {
    /// SEV-SNP: the report is signed by the chip.
    Snp,
    /// TDX: the report is for the quoting enclave of the same machine; a quote must come from elsewhere.
    Tdx,
}

/// Why bytes are no HCL report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HclReportError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Larger than the NV index can be.
    #[error("{found} bytes, at most {} are accepted", HclReport::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// Another signature.
    #[error("signature {found:02x?}, expected \"HCLA\"; is this the content of NV index 0x01400001?")]
    Signature {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Another version.
    #[error("version {found} of the header, expected 1 or 2; update Casemate")]
    Version {
        /// The field.
        found: u32,
    },
    /// A request other than for the key's certificate.
    #[error("request type {found}, expected 2")]
    RequestType {
        /// The field.
        found: u32,
    },
    /// The paravisor says that it failed.
    #[error("status {found}, expected 0: the paravisor failed to make a report")]
    Status {
        /// The field.
        found: u32,
    },
    /// A reserved byte is not zero.
    #[error("reserved byte {offset:#x} is not zero")]
    Reserved {
        /// Offset in the report.
        offset: usize,
    },
    /// Sizes that contradict each other.
    #[error("`{field}` is {found}, expected {expected}")]
    Size {
        /// Which size.
        field: &'static str,
        /// The field.
        found: u32,
        /// What the others add up to.
        expected: usize,
    },
    /// Another version of the runtime data's header.
    #[error("version {found} of the runtime data's header, expected 1")]
    DataVersion {
        /// The field.
        found: u32,
    },
    /// Neither SEV-SNP nor TDX.
    #[error("report type {found}, expected 2 (SEV-SNP) or 4 (TDX)")]
    ReportType {
        /// The field.
        found: u32,
    },
    /// A hash function that is not defined.
    #[error("hash type {found}, expected 1, 2 or 3 (SHA-256, SHA-384, SHA-512)")]
    HashType {
        /// The field.
        found: u32,
    },
    /// What follows the report is not zero.
    #[error("byte {offset:#x} behind the report is not zero")]
    Trailing {
        /// Offset.
        offset: usize,
    },
    /// The runtime data is not what it should be.
    #[error("runtime data: {0}")]
    RuntimeData(#[from] RuntimeDataError),
}

impl HclReport {
    /// Greatest length accepted, in bytes: that of an NV index, with room.
    pub const MAXIMUM_LEN: usize = 16 * 1024;

    /// Reads the report; the zeros that fill the NV index may follow.
    ///
    /// # Errors
    /// [`HclReportError`] but `RuntimeData`, the first broken rule in the order of the layout.
    pub fn parse(bytes: &[u8]) -> Result<Self, HclReportError> {
        if bytes.len() > Self::MAXIMUM_LEN {
            return Err(HclReportError::TooLong { found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let signature = reader.array()?;
        if signature != *b"HCLA" {
            return Err(HclReportError::Signature { found: signature });
        }
        let version = expect(
            reader.u32_le()?,
            |found| (1..=2).contains(&found),
            |found| HclReportError::Version { found },
        )?;
        let report_size = reader.u32_le()?;
        let request_type =
            expect(reader.u32_le()?, |found| found == 2, |found| HclReportError::RequestType { found })?;
        expect(reader.u32_le()?, |found| found == 0, |found| HclReportError::Status { found })?;
        take_zeros(&mut reader, 12)?;
        let area = reader.take(TEE_REPORT_AREA)?;
        let data_size = reader.u32_le()?;
        expect(reader.u32_le()?, |found| found == 1, |found| HclReportError::DataVersion { found })?;
        let report_type = match reader.u32_le()? {
            2 => ReportType::Snp,
            4 => ReportType::Tdx,
            found => return Err(HclReportError::ReportType { found }),
        };
        let hash = match reader.u32_le()? {
            1 => HashAlgorithm::Sha256,
            2 => HashAlgorithm::Sha384,
            3 => HashAlgorithm::Sha512,
            found => return Err(HclReportError::HashType { found }),
        };
        let len = reader.u32_le()?;
        let runtime_data = reader.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        let used = reader.position();
        for (field, found, expected) in
            [("data_size", data_size, used - HEADER - TEE_REPORT_AREA), ("report_size", report_size, used)]
        {
            if usize::try_from(found) != Ok(expected) {
                return Err(HclReportError::Size { field, found, expected });
            }
        }
        if let Some(at) = reader.rest().iter().position(|byte| *byte != 0) {
            return Err(HclReportError::Trailing { offset: used + at });
        }
        let (tee_report, rest) = area.split_at(report_type.report_len());
        if let Some(at) = rest.iter().position(|byte| *byte != 0) {
            return Err(HclReportError::Reserved { offset: HEADER + tee_report.len() + at });
        }
        Ok(Self {
            version,
            report_size,
            request_type,
            report_type,
            data_size,
            hash,
            tee_report: tee_report.to_vec(),
            runtime_data: runtime_data.to_vec(),
        })
    }

    /// What the runtime data says. Nothing binds it to the TEE yet.
    ///
    /// # Errors
    /// [`HclReportError::RuntimeData`].
    pub fn runtime(&self) -> Result<RuntimeData, HclReportError> {
        Ok(RuntimeData::parse(&self.runtime_data)?)
    }

    /// Report data that a TEE's report must carry to bind this runtime data: its digest, then zeros.
    pub fn binding(&self) -> ReportData {
        let digest = self.hash.digest(&self.runtime_data);
        let mut bytes = [0; 64];
        bytes[..digest.as_bytes().len()].copy_from_slice(digest.as_bytes());
        ReportData::from(bytes)
    }

    /// Report data in the TEE's report, where nobody vouches for it yet.
    pub fn report_data(&self) -> ReportData {
        let offset = match self.report_type {
            ReportType::Snp => 0x50, // AMD 56860 §7.3, REPORT_DATA
            ReportType::Tdx => 128,  // Intel TDX Module ABI, TDREPORT: REPORTMACSTRUCT.REPORTDATA
        };
        let bytes: [u8; 64] =
            self.tee_report[offset..offset + 64].try_into().expect("both reports are longer than that");
        ReportData::from(bytes)
    }
}

impl ReportType {
    /// The name in upper case: `SNP`.
    pub const fn name(self) -> &'static str {
        match self {
            ReportType::Snp => "SNP",
            ReportType::Tdx => "TDX",
        }
    }

    const fn report_len(self) -> usize {
        match self {
            ReportType::Snp => 1184,
            ReportType::Tdx => 1024,
        }
    }
}

fn expect(
    found: u32,
    holds: impl FnOnce(u32) -> bool,
    error: impl FnOnce(u32) -> HclReportError,
) -> Result<u32, HclReportError> {
    if holds(found) { Ok(found) } else { Err(error(found)) }
}

fn take_zeros(reader: &mut Reader<'_>, len: usize) -> Result<(), HclReportError> {
    let offset = reader.position();
    match reader.take(len)?.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(at) => Err(HclReportError::Reserved { offset: offset + at }),
    }
}

const HEADER: usize = 32;
const TEE_REPORT_AREA: usize = 1184;
