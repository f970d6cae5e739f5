//! How is an attestation report laid out?
//!
//! The layout of [`Report`], in the other direction: for the software TEE and for tests, so that it is
//! written down once. What it builds is as good as the key that signs it.

use casemate_crypto::P384Signature;

use super::bits::{GuestPolicy, KeyInfo, PlatformInfo};
use super::product::CpuId;
use super::report::{FirmwareVersion, HOST_VMPL, Report, Version, Vmpl, at};
use super::tcb::TcbVersion;
use crate::{ChipId, HostData, Measurement, ReportData};

/// Every field of a report but its signature; meanings are those of [`Report`]'s methods.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // each field is documented at the method of the same name
pub struct ReportBuilder {
    pub layout: Layout,
    pub guest_svn: u32,
    pub policy: GuestPolicy,
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub vmpl: Vmpl,
    pub current_tcb: TcbVersion,
    pub platform_info: PlatformInfo,
    pub key_info: KeyInfo,
    pub report_data: ReportData,
    pub measurement: Measurement,
    pub host_data: HostData,
    pub id_key_digest: [u8; 48],
    pub author_key_digest: [u8; 48],
    pub report_id: [u8; 32],
    pub report_id_ma: [u8; 32],
    pub reported_tcb: TcbVersion,
    pub chip_id: ChipId,
    pub committed_tcb: TcbVersion,
    pub current_version: FirmwareVersion,
    pub committed_version: FirmwareVersion,
    pub launch_tcb: TcbVersion,
}

/// The version of a report, with the fields that only this version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Version 2.
    V2,
    /// Version 3.
    V3 {
        /// The processor.
        cpuid: CpuId,
    },
    /// Version 4.
    V4 {
        /// The processor.
        cpuid: CpuId,
        /// The bytes 0x1F8 to 0x207, which AMD does not describe for this version.
        undescribed: [u8; 16],
    },
    /// Version 5.
    V5 {
        /// The processor.
        cpuid: CpuId,
        /// Mitigations in force at launch.
        launch_mitigations: u64,
        /// Mitigations in force now.
        current_mitigations: u64,
    },
}

impl ReportBuilder {
    /// A report of a plain confidential guest at VMPL 0, signed by a VCEK, with `tcb` everywhere and
    /// zeros where nothing is known.
    pub fn new(layout: Layout, tcb: TcbVersion) -> Self {
        let firmware = FirmwareVersion { major: 1, minor: 55, build: 0 };
        Self {
            layout,
            guest_svn: 0,
            policy: GuestPolicy::confidential(),
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: Vmpl::Guest(0),
            current_tcb: tcb,
            platform_info: PlatformInfo::from_bits(0),
            key_info: KeyInfo::from_bits(0).expect("zero names a VCEK"),
            report_data: ReportData::from([0; 64]),
            measurement: Measurement::from([0; 48]),
            host_data: HostData::from([0; 32]),
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id: [0; 32],
            report_id_ma: [0xFF; 32],
            reported_tcb: tcb,
            chip_id: ChipId::from([0; 64]),
            committed_tcb: tcb,
            current_version: firmware,
            committed_version: firmware,
            launch_tcb: tcb,
        }
    }

    /// The 672 bytes that are signed (ECDSA P-384 over their SHA-384).
    ///
    /// # Panics
    /// If `vmpl` is a guest level above 3, which no report can carry.
    pub fn signed_bytes(&self) -> [u8; Report::SIGNED_LEN] {
        let mut bytes = [0; Report::SIGNED_LEN];
        let mut put =
            |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(at::VERSION, &self.version().number().to_le_bytes());
        put(at::GUEST_SVN, &self.guest_svn.to_le_bytes());
        put(at::POLICY, &self.policy.bits().to_le_bytes());
        put(at::FAMILY_ID, &self.family_id);
        put(at::IMAGE_ID, &self.image_id);
        put(at::VMPL, &self.vmpl_number().to_le_bytes());
        put(at::SIGNATURE_ALGO, &1u32.to_le_bytes());
        put(at::CURRENT_TCB, self.current_tcb.as_bytes());
        put(at::PLATFORM_INFO, &self.platform_info.bits().to_le_bytes());
        put(at::FLAGS, &self.key_info.bits().to_le_bytes());
        put(at::REPORT_DATA, self.report_data.as_bytes());
        put(at::MEASUREMENT, self.measurement.as_bytes());
        put(at::HOST_DATA, self.host_data.as_bytes());
        put(at::ID_KEY_DIGEST, &self.id_key_digest);
        put(at::AUTHOR_KEY_DIGEST, &self.author_key_digest);
        put(at::REPORT_ID, &self.report_id);
        put(at::REPORT_ID_MA, &self.report_id_ma);
        put(at::REPORTED_TCB, self.reported_tcb.as_bytes());
        if let Layout::V3 { cpuid } | Layout::V4 { cpuid, .. } | Layout::V5 { cpuid, .. } = self.layout {
            put(at::CPUID, &[cpuid.family, cpuid.model, cpuid.stepping]);
        }
        put(at::CHIP_ID, self.chip_id.as_bytes());
        put(at::COMMITTED_TCB, self.committed_tcb.as_bytes());
        for (offset, version) in
            [(at::CURRENT_VERSION, self.current_version), (at::COMMITTED_VERSION, self.committed_version)]
        {
            put(offset, &[version.build, version.minor, version.major]);
        }
        put(at::LAUNCH_TCB, self.launch_tcb.as_bytes());
        if let Layout::V5 { launch_mitigations, current_mitigations, .. } = self.layout {
            put(at::LAUNCH_MIT_VECTOR, &launch_mitigations.to_le_bytes());
            put(at::CURRENT_MIT_VECTOR, &current_mitigations.to_le_bytes());
        }
        if let Layout::V4 { undescribed, .. } = self.layout {
            put(at::LAUNCH_MIT_VECTOR, &undescribed);
        }
        bytes
    }

    /// The report with `signature`, which is not checked.
    ///
    /// # Panics
    /// As [`signed_bytes`](Self::signed_bytes).
    pub fn finish(&self, signature: &P384Signature) -> Report {
        let mut bytes = [0; Report::LEN];
        bytes[..Report::SIGNED_LEN].copy_from_slice(&self.signed_bytes());
        let (r, s) = signature.as_bytes().split_at(48);
        for (offset, number) in [(at::SIGNATURE_R, r), (at::SIGNATURE_S, s)] {
            for (index, byte) in number.iter().rev().enumerate() {
                bytes[offset + index] = *byte;
            }
        }
        Report::parse(&bytes).expect("a builder's field types hold only what a report may carry")
    }

    fn version(&self) -> Version {
        match self.layout {
            Layout::V2 => Version::V2,
            Layout::V3 { .. } => Version::V3,
            Layout::V4 { .. } => Version::V4,
            Layout::V5 { .. } => Version::V5,
        }
    }

    fn vmpl_number(&self) -> u32 {
        match self.vmpl {
            Vmpl::Guest(level) => {
                assert!(level <= 3, "VMPL is 0 to 3");
                u32::from(level)
            }
            Vmpl::Host => HOST_VMPL,
        }
    }
}

impl From<&Report> for ReportBuilder {
    fn from(report: &Report) -> Self {
        let cpuid = report.cpuid().unwrap_or(CpuId { family: 0, model: 0, stepping: 0 });
        Self {
            layout: match report.version() {
                Version::V2 => Layout::V2,
                Version::V3 => Layout::V3 { cpuid },
                Version::V4 => Layout::V4 { cpuid, undescribed: report.undescribed() },
                Version::V5 => Layout::V5 {
                    cpuid,
                    launch_mitigations: report.launch_mitigations().unwrap_or(0),
                    current_mitigations: report.current_mitigations().unwrap_or(0),
                },
            },
            guest_svn: report.guest_svn(),
            policy: report.policy(),
            family_id: report.family_id(),
            image_id: report.image_id(),
            vmpl: report.vmpl(),
            current_tcb: report.current_tcb(),
            platform_info: report.platform_info(),
            key_info: report.key_info(),
            report_data: report.report_data(),
            measurement: report.measurement(),
            host_data: report.host_data(),
            id_key_digest: report.id_key_digest(),
            author_key_digest: report.author_key_digest(),
            report_id: report.report_id(),
            report_id_ma: report.report_id_ma(),
            reported_tcb: report.reported_tcb(),
            chip_id: report.chip_id(),
            committed_tcb: report.committed_tcb(),
            current_version: report.current_version(),
            committed_version: report.committed_version(),
            launch_tcb: report.launch_tcb(),
        }
    }
}
