//! What does this trust domain's report say?
//!
//! Source: Quoting Library API, A.3.2 "TD Quote Body" for TDX 1.0 (584 bytes) and for TDX 1.5 (648
//! bytes, two fields more). Numbers are little-endian.

use serde::Serialize;

use super::attributes::{AttributesError, TdAttributes, Xfam};
use super::registers::LaunchRegisters;
use crate::intel::bytes::array;
use crate::{Measurement, ReportData};

/// The body of a trust domain's report, well formed; it proves nothing until it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Report {
    bytes: [u8; Report::LEN_1_5],
    has_service_td: bool,
}

casemate_canon::byte_type! {
    /// TEE_TCB_SVN: 16 security versions. Byte 0 is the TDX module's ISVSVN, byte 1 its major version,
    /// byte 2 the microcode loaded late; the others are zero so far (TCB info, `tdxtcbcomponents`).
    pub struct TeeTcbSvn([u8; 16]);
}

/// What only reports of TDX 1.5 say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ServiceTd {
    /// TEE_TCB_SVN_2: the TDX module that runs now; [`Report::tee_tcb_svn`] is the one at launch.
    pub tee_tcb_svn_2: TeeTcbSvn,
    /// MRSERVICETD: digest over the service TDs that are bound, such as a migration TD; zero for none.
    pub mr_service_td: Measurement,
}

/// Why bytes are no trust domain's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Another length.
    #[error(
        "{found} bytes, expected {} (TDX 1.0) or {} (TDX 1.5) for the report of a trust domain",
        Report::LEN_1_0,
        Report::LEN_1_5
    )]
    Length {
        /// Length in bytes.
        found: usize,
    },
    /// ATTRIBUTES with reserved bits.
    #[error(transparent)]
    Attributes(#[from] AttributesError),
}

impl Report {
    /// Length of a report of TDX 1.0, in bytes.
    pub const LEN_1_0: usize = 584;
    /// Length of a report of TDX 1.5, in bytes.
    pub const LEN_1_5: usize = 648;

    /// Reads a report; its length says of which version.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let has_service_td = match bytes.len() {
            Self::LEN_1_0 => false,
            Self::LEN_1_5 => true,
            found => return Err(ReportError::Length { found }),
        };
        let mut padded = [0; Self::LEN_1_5];
        padded[..bytes.len()].copy_from_slice(bytes);
        let report = Self { bytes: padded, has_service_td };
        TdAttributes::from_bits(report.number(at::TD_ATTRIBUTES))?;
        Ok(report)
    }

    /// All bytes, as they are signed.
    pub fn as_bytes(&self) -> &[u8] {
        if self.has_service_td { &self.bytes } else { &self.bytes[..Self::LEN_1_0] }
    }

    /// TEE_TCB_SVN: the TDX module and microcode at launch.
    pub fn tee_tcb_svn(&self) -> TeeTcbSvn {
        self.array(at::TEE_TCB_SVN).into()
    }

    /// MRSEAM: measurement of the TDX module.
    pub fn mr_seam(&self) -> Measurement {
        self.array(at::MR_SEAM).into()
    }

    /// MRSIGNERSEAM: who signed the TDX module; zero for Intel.
    pub fn mr_signer_seam(&self) -> Measurement {
        self.array(at::MR_SIGNER_SEAM).into()
    }

    /// SEAMATTRIBUTES: attributes of the TDX module; zero so far.
    pub fn seam_attributes(&self) -> [u8; 8] {
        self.array(at::SEAM_ATTRIBUTES)
    }

    /// TDATTRIBUTES.
    pub fn td_attributes(&self) -> TdAttributes {
        TdAttributes::from_bits(self.number(at::TD_ATTRIBUTES)).expect("checked when the report was parsed")
    }

    /// XFAM.
    pub fn xfam(&self) -> Xfam {
        Xfam::from_bits(self.number(at::XFAM))
    }

    /// MRTD: what the host placed in the trust domain before it ran.
    pub fn mr_td(&self) -> Measurement {
        self.array(at::MR_TD).into()
    }

    /// MRCONFIGID: chosen by the host at launch; Casemate puts the workload digest into bytes 0 to 31
    /// and zeros behind it. Means nothing unless it is compared.
    pub fn mr_config_id(&self) -> [u8; 48] {
        self.array(at::MR_CONFIG_ID)
    }

    /// MROWNER: chosen by the host at launch.
    pub fn mr_owner(&self) -> [u8; 48] {
        self.array(at::MR_OWNER)
    }

    /// MROWNERCONFIG: chosen by the host at launch.
    pub fn mr_owner_config(&self) -> [u8; 48] {
        self.array(at::MR_OWNER_CONFIG)
    }

    /// RTMR `index`, 0 to 3: what the trust domain measured itself.
    ///
    /// # Panics
    /// If there is no such register.
    pub fn rtmr(&self, index: usize) -> Measurement {
        assert!(index < 4, "there are RTMR 0 to 3");
        self.array(at::RTMR + index * Measurement::LEN).into()
    }

    /// REPORTDATA: chosen by the trust domain.
    ///
    /// Covered by the signature, but proves freshness only if it commits to the Verifier's nonce.
    pub fn report_data(&self) -> ReportData {
        self.array(at::REPORT_DATA).into()
    }

    /// What only reports of TDX 1.5 say.
    pub fn service_td(&self) -> Option<ServiceTd> {
        self.has_service_td.then(|| ServiceTd {
            tee_tcb_svn_2: self.array(at::TEE_TCB_SVN_2).into(),
            mr_service_td: self.array(at::MR_SERVICE_TD).into(),
        })
    }

    /// The registers that depend on image and shape.
    pub fn launch_registers(&self) -> LaunchRegisters {
        LaunchRegisters { mrtd: self.mr_td(), rtmr0: self.rtmr(0), rtmr1: self.rtmr(1), rtmr2: self.rtmr(2) }
    }

    /// The workload digest, if MRCONFIGID has Casemate's form: 32 bytes, and zeros behind them.
    pub fn workload_slot(&self) -> Option<[u8; 32]> {
        let (slot, rest) = self.bytes[at::MR_CONFIG_ID..at::MR_OWNER].split_at(32);
        rest.iter().all(|byte| *byte == 0).then(|| array(slot, 0))
    }

    fn number(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    fn array<const LENGTH: usize>(&self, offset: usize) -> [u8; LENGTH] {
        array(&self.bytes, offset)
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("mr_td", &self.mr_td())
            .field("td_attributes", &self.td_attributes())
            .field("report_data", &self.report_data())
            .finish_non_exhaustive()
    }
}

/// Offsets in the report, in its order.
pub(super) mod at {
    pub const TEE_TCB_SVN: usize = 0;
    pub const MR_SEAM: usize = 16;
    pub const MR_SIGNER_SEAM: usize = 64;
    pub const SEAM_ATTRIBUTES: usize = 112;
    pub const TD_ATTRIBUTES: usize = 120;
    pub const XFAM: usize = 128;
    pub const MR_TD: usize = 136;
    pub const MR_CONFIG_ID: usize = 184;
    pub const MR_OWNER: usize = 232;
    pub const MR_OWNER_CONFIG: usize = 280;
    pub const RTMR: usize = 328;
    pub const REPORT_DATA: usize = 520;
    pub const TEE_TCB_SVN_2: usize = 584;
    pub const MR_SERVICE_TD: usize = 600;
}
