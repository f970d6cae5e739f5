//! What does this attestation report say?
//!
//! Source: AMD 56860 §7.3, structure ATTESTATION_REPORT: 1184 bytes, little-endian.

use std::ops::Range;

use casemate_crypto::P384Signature;
use serde::Serialize;

use super::bits::{FlagsError, GuestPolicy, KeyInfo, PlatformInfo, PolicyBitsError};
use super::product::CpuId;
use super::tcb::TcbVersion;
use crate::{ChipId, HostData, Measurement, ReportData};

/// An attestation report, well formed; it proves nothing until it is authenticated.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    bytes: [u8; Report::LEN],
    version: Version,
}

/// The layouts that firmware has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// Firmware before 1.55.
    V2,
    /// Adds the CPUID.
    V3,
    /// Adds 16 bytes that AMD does not describe: they are kept and mean nothing here.
    V4,
    /// Adds the mitigation vectors.
    V5,
}

/// Which privilege level asked for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Vmpl {
    /// The guest at VMPL 0 (most privileged) to 3.
    Guest(u8),
    /// The host, not the guest (VMPL 0xFFFFFFFF): the guest chose none of it.
    Host,
}

/// Version of the SNP firmware, as MAJOR.MINOR.BUILD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FirmwareVersion {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// Why bytes are no attestation report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Another length.
    #[error("{found} bytes, expected {}; was the report cut, or sent with its certificates?", Report::LEN)]
    Length {
        /// Length in bytes.
        found: usize,
    },
    /// VERSION without a known layout.
    #[error("report version {found}, expected 2 to 5; update Casemate if the firmware is newer")]
    Version {
        /// The field.
        found: u32,
    },
    /// VMPL that no guest has.
    #[error("VMPL {found:#x}, expected 0 to 3, or 0xffffffff for a report that the host asked for")]
    Vmpl {
        /// The field.
        found: u32,
    },
    /// SIGNATURE_ALGO that is not ECDSA P-384 with SHA-384.
    #[error("signature algorithm {found}, expected 1 (ECDSA P-384 with SHA-384)")]
    SignatureAlgorithm {
        /// The field.
        found: u32,
    },
    /// POLICY with wrong reserved bits.
    #[error(transparent)]
    Policy(#[from] PolicyBitsError),
    /// The flags at 0x48 with wrong reserved bits.
    #[error(transparent)]
    Flags(#[from] FlagsError),
    /// A byte that this version reserves is not zero.
    #[error("byte {offset:#x} is {found:#x}, but version {} reserves it as zero", version.number())]
    Reserved {
        /// Version of the report.
        version: Version,
        /// Offset in the report.
        offset: usize,
        /// The byte.
        found: u8,
    },
    /// R or S of the signature does not fit into 384 bits.
    #[error("byte {offset:#x} of the signature is {found:#x}, expected 0: R and S have 48 significant bytes")]
    SignatureTooLarge {
        /// Offset in the report.
        offset: usize,
        /// The byte.
        found: u8,
    },
}

impl Version {
    /// The number in the report.
    pub const fn number(self) -> u32 {
        match self {
            Version::V2 => 2,
            Version::V3 => 3,
            Version::V4 => 4,
            Version::V5 => 5,
        }
    }

    /// Byte ranges that are reserved and zero in this version, in ascending order.
    pub(super) const fn reserved(self) -> &'static [Range<usize>] {
        match self {
            Version::V2 => {
                &[0x4C..0x50, 0x188..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0, 0x1F8..0x2A0, 0x330..0x4A0]
            }
            Version::V3 => {
                &[0x4C..0x50, 0x18B..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0, 0x1F8..0x2A0, 0x330..0x4A0]
            }
            Version::V4 | Version::V5 => {
                &[0x4C..0x50, 0x18B..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0, 0x208..0x2A0, 0x330..0x4A0]
            }
        }
    }
}

impl Report {
    /// Length in bytes.
    pub const LEN: usize = 0x4A0;
    /// Length of the part that the signature covers, from offset 0.
    pub const SIGNED_LEN: usize = 0x2A0;

    /// Reads a report of version 2 to 5.
    ///
    /// # Errors
    /// [`ReportError`], one variant per rule; the first broken rule in the order of the layout.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let bytes: [u8; Self::LEN] =
            bytes.try_into().map_err(|_| ReportError::Length { found: bytes.len() })?;
        let version = match u32_at(&bytes, at::VERSION) {
            2 => Version::V2,
            3 => Version::V3,
            4 => Version::V4,
            5 => Version::V5,
            found => return Err(ReportError::Version { found }),
        };
        let report = Self { bytes, version };
        report.check_fields()?;
        Ok(report)
    }

    /// All 1184 bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.bytes
    }

    /// The bytes that the signature covers: 0 to 0x29F.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.bytes[..Self::SIGNED_LEN]
    }

    /// SIGNATURE, as big-endian r and s.
    pub fn signature(&self) -> P384Signature {
        // AMD 56860, signature format (ECDSA P-384 with SHA-384): R and S are little-endian, 72 bytes
        // each, unlike X.509's.
        let mut big_endian = [0; 96];
        for (target, offset) in [(0, at::SIGNATURE_R), (48, at::SIGNATURE_S)] {
            let number = &self.bytes[offset..offset + 48];
            for (index, byte) in number.iter().rev().enumerate() {
                big_endian[target + index] = *byte;
            }
        }
        P384Signature::from(big_endian)
    }

    /// VERSION: the layout of this report.
    pub fn version(&self) -> Version {
        self.version
    }

    /// GUEST_SVN: security version of the guest, from its ID block.
    pub fn guest_svn(&self) -> u32 {
        u32_at(&self.bytes, at::GUEST_SVN)
    }

    /// POLICY: what the firmware enforces for this guest.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy::from_bits(u64_at(&self.bytes, at::POLICY)).expect("checked when the report was parsed")
    }

    /// FAMILY_ID, from the ID block.
    pub fn family_id(&self) -> [u8; 16] {
        self.array(at::FAMILY_ID)
    }

    /// IMAGE_ID, from the ID block.
    pub fn image_id(&self) -> [u8; 16] {
        self.array(at::IMAGE_ID)
    }

    /// VMPL: who asked for this report.
    pub fn vmpl(&self) -> Vmpl {
        match u32_at(&self.bytes, at::VMPL) {
            HOST_VMPL => Vmpl::Host,
            level => Vmpl::Guest(level as u8), // 0 to 3, checked when parsed
        }
    }

    /// SIGNATURE_ALGO: 1, ECDSA P-384 with SHA-384.
    pub fn signature_algorithm(&self) -> u32 {
        u32_at(&self.bytes, at::SIGNATURE_ALGO)
    }

    /// CURRENT_TCB: the firmware that was running when the report was made.
    pub fn current_tcb(&self) -> TcbVersion {
        self.array(at::CURRENT_TCB).into()
    }

    /// PLATFORM_INFO: how the machine is configured.
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo::from_bits(u64_at(&self.bytes, at::PLATFORM_INFO))
    }

    /// The flags at 0x48: which key signs, and whether it is masked.
    pub fn key_info(&self) -> KeyInfo {
        KeyInfo::from_bits(u32_at(&self.bytes, at::FLAGS)).expect("checked when the report was parsed")
    }

    /// REPORT_DATA: chosen by the guest, at offset 0x50.
    ///
    /// Covered by the signature, but proves freshness only if it commits to the Verifier's nonce.
    pub fn report_data(&self) -> ReportData {
        self.array(at::REPORT_DATA).into()
    }

    /// MEASUREMENT: launch digest, at offset 0x90.
    pub fn measurement(&self) -> Measurement {
        self.array(at::MEASUREMENT).into()
    }

    /// HOST_DATA: chosen by the host at launch, at offset 0xC0; means nothing unless it is compared.
    pub fn host_data(&self) -> HostData {
        self.array(at::HOST_DATA).into()
    }

    /// ID_KEY_DIGEST: SHA-384 of the key that signed the ID block, or zero.
    pub fn id_key_digest(&self) -> [u8; 48] {
        self.array(at::ID_KEY_DIGEST)
    }

    /// AUTHOR_KEY_DIGEST: SHA-384 of the key that certified the ID key, or zero.
    pub fn author_key_digest(&self) -> [u8; 48] {
        self.array(at::AUTHOR_KEY_DIGEST)
    }

    /// REPORT_ID: identifies the guest until it is destroyed.
    pub fn report_id(&self) -> [u8; 32] {
        self.array(at::REPORT_ID)
    }

    /// REPORT_ID_MA: report id of the migration agent; all ones without one.
    pub fn report_id_ma(&self) -> [u8; 32] {
        self.array(at::REPORT_ID_MA)
    }

    /// REPORTED_TCB: the TCB version from which the signing key was derived.
    pub fn reported_tcb(&self) -> TcbVersion {
        self.array(at::REPORTED_TCB).into()
    }

    /// CPUID_FAM_ID, CPUID_MOD_ID and CPUID_STEP; since version 3.
    pub fn cpuid(&self) -> Option<CpuId> {
        let [family, model, stepping] = self.array(at::CPUID);
        (self.version >= Version::V3).then_some(CpuId { family, model, stepping })
    }

    /// CHIP_ID: the chip, or zero if masked.
    pub fn chip_id(&self) -> ChipId {
        self.array(at::CHIP_ID).into()
    }

    /// COMMITTED_TCB: the oldest firmware to which this platform can return.
    pub fn committed_tcb(&self) -> TcbVersion {
        self.array(at::COMMITTED_TCB).into()
    }

    /// CURRENT_MAJOR, _MINOR and _BUILD: the SNP firmware that was running.
    pub fn current_version(&self) -> FirmwareVersion {
        self.firmware_version(at::CURRENT_VERSION)
    }

    /// COMMITTED_MAJOR, _MINOR and _BUILD: the oldest SNP firmware to which this platform can return.
    pub fn committed_version(&self) -> FirmwareVersion {
        self.firmware_version(at::COMMITTED_VERSION)
    }

    /// LAUNCH_TCB: the firmware that was running when the guest was launched or imported.
    pub fn launch_tcb(&self) -> TcbVersion {
        self.array(at::LAUNCH_TCB).into()
    }

    /// LAUNCH_MIT_VECTOR: mitigations in force at launch; since version 5.
    pub fn launch_mitigations(&self) -> Option<u64> {
        (self.version >= Version::V5).then(|| u64_at(&self.bytes, at::LAUNCH_MIT_VECTOR))
    }

    /// CURRENT_MIT_VECTOR: mitigations in force now; since version 5.
    pub fn current_mitigations(&self) -> Option<u64> {
        (self.version >= Version::V5).then(|| u64_at(&self.bytes, at::CURRENT_MIT_VECTOR))
    }

    /// The bytes 0x1F8 to 0x207: the mitigation vectors since version 5, not described in version 4.
    pub(super) fn undescribed(&self) -> [u8; 16] {
        self.array(at::LAUNCH_MIT_VECTOR)
    }

    fn check_fields(&self) -> Result<(), ReportError> {
        GuestPolicy::from_bits(u64_at(&self.bytes, at::POLICY))?;
        match u32_at(&self.bytes, at::VMPL) {
            0..=3 | HOST_VMPL => {}
            found => return Err(ReportError::Vmpl { found }),
        }
        match self.signature_algorithm() {
            1 => {}
            found => return Err(ReportError::SignatureAlgorithm { found }),
        }
        KeyInfo::from_bits(u32_at(&self.bytes, at::FLAGS))?;
        if let Some(offset) = self.first_non_zero(self.version.reserved()) {
            return Err(ReportError::Reserved { version: self.version, offset, found: self.bytes[offset] });
        }
        let above_384_bits = [at::SIGNATURE_R + 48..at::SIGNATURE_S, at::SIGNATURE_S + 48..at::SIGNATURE_END];
        if let Some(offset) = self.first_non_zero(&above_384_bits) {
            return Err(ReportError::SignatureTooLarge { offset, found: self.bytes[offset] });
        }
        Ok(())
    }

    fn first_non_zero(&self, ranges: &[Range<usize>]) -> Option<usize> {
        ranges.iter().cloned().flatten().find(|&offset| self.bytes[offset] != 0)
    }

    fn firmware_version(&self, offset: usize) -> FirmwareVersion {
        let [build, minor, major] = self.array(offset);
        FirmwareVersion { major, minor, build }
    }

    fn array<const LENGTH: usize>(&self, offset: usize) -> [u8; LENGTH] {
        array_at(&self.bytes, offset)
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("version", &self.version)
            .field("measurement", &self.measurement())
            .field("host_data", &self.host_data())
            .field("report_data", &self.report_data())
            .field("chip_id", &self.chip_id())
            .finish_non_exhaustive()
    }
}

impl TryFrom<&[u8]> for Report {
    type Error = ReportError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        Self::parse(bytes)
    }
}

impl std::fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

impl std::fmt::Display for Vmpl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Vmpl::Guest(level) => write!(f, "{level}"),
            Vmpl::Host => f.write_str("host"),
        }
    }
}

/// AMD 56860 §8.24 (MSG_REPORT_REQ) and SNP_HV_REPORT_REQ: a report for the host carries this level.
pub(super) const HOST_VMPL: u32 = 0xFFFF_FFFF;

/// Offsets of ATTESTATION_REPORT (AMD 56860 §7.3), in the order of the structure.
pub(super) mod at {
    pub const VERSION: usize = 0x00;
    pub const GUEST_SVN: usize = 0x04;
    pub const POLICY: usize = 0x08;
    pub const FAMILY_ID: usize = 0x10;
    pub const IMAGE_ID: usize = 0x20;
    pub const VMPL: usize = 0x30;
    pub const SIGNATURE_ALGO: usize = 0x34;
    pub const CURRENT_TCB: usize = 0x38;
    pub const PLATFORM_INFO: usize = 0x40;
    pub const FLAGS: usize = 0x48;
    pub const REPORT_DATA: usize = 0x50;
    pub const MEASUREMENT: usize = 0x90;
    pub const HOST_DATA: usize = 0xC0;
    pub const ID_KEY_DIGEST: usize = 0xE0;
    pub const AUTHOR_KEY_DIGEST: usize = 0x110;
    pub const REPORT_ID: usize = 0x140;
    pub const REPORT_ID_MA: usize = 0x160;
    pub const REPORTED_TCB: usize = 0x180;
    pub const CPUID: usize = 0x188;
    pub const CHIP_ID: usize = 0x1A0;
    pub const COMMITTED_TCB: usize = 0x1E0;
    pub const CURRENT_VERSION: usize = 0x1E8;
    pub const COMMITTED_VERSION: usize = 0x1EC;
    pub const LAUNCH_TCB: usize = 0x1F0;
    pub const LAUNCH_MIT_VECTOR: usize = 0x1F8;
    pub const CURRENT_MIT_VECTOR: usize = 0x200;
    pub const SIGNATURE_R: usize = 0x2A0;
    pub const SIGNATURE_S: usize = 0x2E8;
    pub const SIGNATURE_END: usize = 0x330;
}

fn array_at<const LENGTH: usize>(bytes: &[u8; Report::LEN], offset: usize) -> [u8; LENGTH] {
    bytes[offset..offset + LENGTH].try_into().expect("each offset and length lies inside the report")
}

fn u32_at(bytes: &[u8; Report::LEN], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, offset))
}

fn u64_at(bytes: &[u8; Report::LEN], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, offset))
}
