//! What is launched on SEV-SNP, by the description that dstack and SecretVM publish?
//!
//! Both describe firmware, kernel and initrd by digest and in the same words: dstack in its measurement document
//! (`dstack-mr`, `sev.rs`), SecretVM in its list of builds (`sev.json`). Command line and number of processors come
//! from elsewhere. A description is a claim of whoever publishes it.

use casemate_crypto::hash::{Sha256, Sha384};
use casemate_evidence::Measurement;
use serde::Deserialize;

use crate::kernel_hashes::{KernelHashes, cmdline_digest};
use crate::ovmf::{Firmware, FirmwareError, HashTableSlot, Section, SectionKind};
use crate::shape::{GuestFeatures, VcpuType};
use crate::snp::{Kernel, LaunchError, SnpLaunch};
use crate::vmsa::Vmm;

/// Firmware, kernel and initrd of a launch by QEMU, as digests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LaunchDescription {
    ovmf_hash: Sha384,
    kernel_hash: Sha256,
    initrd_hash: Sha256,
    sev_hashes_table_gpa: u32,
    sev_es_reset_eip: u32,
    vcpu_type: VcpuType,
    ovmf_sections: Vec<DescribedSection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct DescribedSection {
    gpa: u32,
    size: u32,
    section_type: SectionType,
}

/// A number of OvmfSevMetadata.asm, `OVMF_SECTION_TYPE_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
struct SectionType(SectionKind);

impl LaunchDescription {
    /// MEASUREMENT of the report of a guest launched so, with this command line.
    ///
    /// # Errors
    /// As [`SnpLaunch::digest`].
    pub fn measurement(
        &self,
        command_line: &str,
        vcpus: u32,
        guest_features: GuestFeatures,
    ) -> Result<Measurement, LaunchError> {
        let firmware = Firmware {
            size: FIRMWARE_SIZE,
            pages_digest: self.ovmf_hash,
            reset_address: self.sev_es_reset_eip,
            hash_table: Some(HashTableSlot { address: self.sev_hashes_table_gpa, size: HASH_TABLE_SIZE }),
            sections: self.ovmf_sections.iter().map(DescribedSection::section).collect(),
        };
        let kernel = KernelHashes {
            kernel: self.kernel_hash,
            initrd: self.initrd_hash,
            cmdline: cmdline_digest(command_line),
        };
        SnpLaunch {
            firmware: &firmware,
            kernel: Kernel::Measured(kernel),
            vcpus,
            vcpu_signature: self.vcpu_type.signature(),
            guest_features,
            vmm: Vmm::Qemu,
        }
        .digest()
    }
}

impl DescribedSection {
    fn section(&self) -> Section {
        Section { address: self.gpa, size: self.size, kind: self.section_type.0 }
    }
}

impl TryFrom<u32> for SectionType {
    type Error = FirmwareError;

    fn try_from(number: u32) -> Result<Self, FirmwareError> {
        number.try_into().map(Self)
    }
}

/// Of a usual build; the descriptions do not say, and it is not in the digest.
const FIRMWARE_SIZE: u32 = 4 << 20;
/// Room that OVMF leaves for the table (OvmfPkg/AmdSev: PcdQemuHashTableSize); not in the digest either.
const HASH_TABLE_SIZE: u32 = 0x400;
