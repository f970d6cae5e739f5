//! What does this enclave report say?
//!
//! Source: Quote Library Reference, A.4 "Enclave Report Body": 384 bytes, little-endian.

use std::ops::Range;

use casemate_crypto::hash::Sha256;
use serde::Serialize;

use crate::ReportData;
use crate::intel::bytes::array;

/// The body of an enclave report, well formed; it proves nothing until it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Report([u8; Report::LEN]);

/// ATTRIBUTES: 16 bytes, of which the first 8 are flags and the last 8 are XFRM.
///
/// Which bits must be set is asked through masks (QE identity, policy), so bits that are new are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// Flags (SDM, SECS.ATTRIBUTES).
    pub flags: u64,
    /// Processor state components that the enclave may use.
    pub xfrm: u64,
}

/// Why bytes are no enclave report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Another length.
    #[error("{found} bytes, expected {} for an enclave report", Report::LEN)]
    Length {
        /// Length in bytes.
        found: usize,
    },
    /// A byte that the layout reserves is not zero.
    #[error("byte {offset:#x} of the enclave report is {found:#x}, but reserved as zero")]
    Reserved {
        /// Offset in the report.
        offset: usize,
        /// The byte.
        found: u8,
    },
}

impl Report {
    /// Length in bytes.
    pub const LEN: usize = 384;

    /// Reads a report body.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let bytes: [u8; Self::LEN] =
            bytes.try_into().map_err(|_| ReportError::Length { found: bytes.len() })?;
        match RESERVED.into_iter().flatten().find(|&offset| bytes[offset] != 0) {
            Some(offset) => Err(ReportError::Reserved { offset, found: bytes[offset] }),
            None => Ok(Self(bytes)),
        }
    }

    /// All bytes, as they are signed.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// CPUSVN: security version of the processor, opaque.
    pub fn cpu_svn(&self) -> [u8; 16] {
        array(&self.0, at::CPU_SVN)
    }

    /// MISCSELECT: extended features, little-endian.
    pub fn misc_select(&self) -> [u8; 4] {
        array(&self.0, at::MISC_SELECT)
    }

    /// ISVEXTPRODID, with the KSS feature.
    pub fn isv_ext_prod_id(&self) -> [u8; 16] {
        array(&self.0, at::ISV_EXT_PROD_ID)
    }

    /// ATTRIBUTES.
    pub fn attributes(&self) -> Attributes {
        Attributes {
            flags: u64::from_le_bytes(array(&self.0, at::ATTRIBUTES)),
            xfrm: u64::from_le_bytes(array(&self.0, at::ATTRIBUTES + 8)),
        }
    }

    /// MRENCLAVE: what was launched.
    pub fn mr_enclave(&self) -> Sha256 {
        array(&self.0, at::MR_ENCLAVE).into()
    }

    /// MRSIGNER: SHA-256 of the key that signed the enclave.
    pub fn mr_signer(&self) -> Sha256 {
        array(&self.0, at::MR_SIGNER).into()
    }

    /// CONFIGID, with the KSS feature.
    pub fn config_id(&self) -> [u8; 64] {
        array(&self.0, at::CONFIG_ID)
    }

    /// ISVPRODID: product, as its signer numbers it.
    pub fn isv_prod_id(&self) -> u16 {
        u16::from_le_bytes(array(&self.0, at::ISV_PROD_ID))
    }

    /// ISVSVN: security version of the product.
    pub fn isv_svn(&self) -> u16 {
        u16::from_le_bytes(array(&self.0, at::ISV_SVN))
    }

    /// CONFIGSVN, with the KSS feature.
    pub fn config_svn(&self) -> u16 {
        u16::from_le_bytes(array(&self.0, at::CONFIG_SVN))
    }

    /// ISVFAMILYID, with the KSS feature.
    pub fn isv_family_id(&self) -> [u8; 16] {
        array(&self.0, at::ISV_FAMILY_ID)
    }

    /// REPORTDATA: chosen by the enclave.
    pub fn report_data(&self) -> ReportData {
        array(&self.0, at::REPORT_DATA).into()
    }
}

impl Attributes {
    /// DEBUG: the host can read the enclave.
    pub fn debug(self) -> bool {
        self.flags & 1 << 1 != 0
    }

    /// PROVISIONKEY: the enclave may derive keys that identify the platform.
    pub fn provision_key(self) -> bool {
        self.flags & 1 << 4 != 0
    }

    /// The 16 bytes, as in reports and identities.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes[8..].copy_from_slice(&self.xfrm.to_le_bytes());
        bytes
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("mr_enclave", &self.mr_enclave())
            .field("mr_signer", &self.mr_signer())
            .field("isv_svn", &self.isv_svn())
            .field("report_data", &self.report_data())
            .finish_non_exhaustive()
    }
}

const RESERVED: [Range<usize>; 4] = [20..32, 96..128, 160..192, 262..304];

/// Offsets in the report body, in its order.
pub(crate) mod at {
    pub const CPU_SVN: usize = 0;
    pub const MISC_SELECT: usize = 16;
    pub const ISV_EXT_PROD_ID: usize = 32;
    pub const ATTRIBUTES: usize = 48;
    pub const MR_ENCLAVE: usize = 64;
    pub const MR_SIGNER: usize = 128;
    pub const CONFIG_ID: usize = 192;
    pub const ISV_PROD_ID: usize = 256;
    pub const ISV_SVN: usize = 258;
    pub const CONFIG_SVN: usize = 260;
    pub const ISV_FAMILY_ID: usize = 304;
    pub const REPORT_DATA: usize = 320;
}
