//! What will an SEV-SNP processor measure at launch?
//!
//! The launch digest is a chain: SHA-384 over PAGE_INFO, 112 bytes that carry the digest so far, the
//! page's digest, type and address (AMD 56860, SEV-SNP Firmware ABI, SNP_LAUNCH_UPDATE, PAGE_INFO).

use casemate_crypto::hash::{Sha384, sha384};
use casemate_evidence::Measurement;

use crate::kernel_hashes::KernelHashes;
use crate::ovmf::{Firmware, FirmwareError, Section, SectionKind};
use crate::shape::{GuestFeatures, Shape, ShapeError, VcpuSignature};
use crate::vmsa::{self, Vmm};

/// Everything that an SNP launch measures.
#[derive(Clone, Debug)]
pub struct SnpLaunch<'a> {
    /// The firmware, parsed from its file or taken from a description.
    pub firmware: &'a Firmware,
    /// Kernel, initrd and command line, for direct boot; `NoKernel` for firmware that boots from a disk.
    pub kernel: Kernel,
    /// Number of virtual processors.
    pub vcpus: u32,
    /// Signature of their model.
    pub vcpu_signature: VcpuSignature,
    /// SEV_FEATURES.
    pub guest_features: GuestFeatures,
    /// Who launches.
    pub vmm: Vmm,
}

/// Is a kernel measured with the firmware?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Direct boot of these three.
    Measured(KernelHashes),
    /// The firmware boots from elsewhere: nothing of the operating system is in the digest.
    NotMeasured,
}

/// Why there is no launch digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The firmware cannot be launched so.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// No guest has this shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl SnpLaunch<'_> {
    /// MEASUREMENT of the report of a guest launched so.
    ///
    /// # Errors
    /// [`ShapeError::VcpuCount`], [`FirmwareError::NoKernelHashTable`], or what [`Firmware::check`] finds.
    pub fn digest(&self) -> Result<Measurement, LaunchError> {
        check_vcpus(self.vcpus)?;
        self.firmware.check()?;
        let table_page = match self.kernel {
            Kernel::NotMeasured => None,
            Kernel::Measured(hashes) => {
                Some(hashes.table().page(self.firmware.require_hash_table()?.address))
            }
        };
        let mut chain = PageChain { digest: self.firmware.pages_digest };
        for section in &self.firmware.sections {
            self.add_section(&mut chain, section, table_page.as_ref());
        }
        if self.vmm == Vmm::Ec2 {
            for section in self.firmware.sections.iter().filter(|section| section.kind == SectionKind::Cpuid)
            {
                chain.add(PageType::Cpuid, section.address.into(), None);
            }
        }
        self.add_vcpus(&mut chain);
        Ok(Measurement::from(*chain.digest.as_bytes()))
    }

    fn add_section(&self, chain: &mut PageChain, section: &Section, table_page: Option<&[u8; 4096]>) {
        let address = u64::from(section.address);
        match (section.kind, table_page) {
            (SectionKind::Memory, _) if self.vmm == Vmm::Gce => {
                chain.add_range(PageType::Unmeasured, address, section.size);
            }
            (SectionKind::Memory | SectionKind::SvsmCallingArea, _) | (SectionKind::KernelHashes, None) => {
                chain.add_range(PageType::Zero, address, section.size);
            }
            (SectionKind::Secrets, _) => chain.add(PageType::Secrets, address, None),
            (SectionKind::Cpuid, _) if self.vmm == Vmm::Ec2 => {} // measured last
            (SectionKind::Cpuid, _) => chain.add(PageType::Cpuid, address, None),
            (SectionKind::KernelHashes, Some(page)) => chain.add(PageType::Normal, address, Some(page)),
        }
    }

    fn add_vcpus(&self, chain: &mut PageChain) {
        let save_area = |address| {
            let page = vmsa::page(self.vmm, address, self.vcpu_signature, Some(self.guest_features));
            sha384(&page)
        };
        chain.extend(PageType::Vmsa, VMSA_ADDRESS, save_area(vmsa::FIRST_ADDRESS));
        let others = save_area(self.firmware.reset_address);
        for _ in 1..self.vcpus {
            chain.extend(PageType::Vmsa, VMSA_ADDRESS, others);
        }
    }
}

/// Refuses no vCPUs and absurdly many: each costs a hash.
pub(crate) fn check_vcpus(vcpus: u32) -> Result<(), ShapeError> {
    if vcpus == 0 || vcpus > Shape::MAXIMUM_VCPUS {
        return Err(ShapeError::VcpuCount { found: vcpus, maximum: Shape::MAXIMUM_VCPUS });
    }
    Ok(())
}

/// The digest so far.
pub(crate) struct PageChain {
    digest: Sha384,
}

impl PageChain {
    /// Before the first page.
    pub(crate) fn new() -> Self {
        PageChain { digest: Sha384::from([0; 48]) }
    }

    pub(crate) fn digest(&self) -> Sha384 {
        self.digest
    }

    /// A firmware file, mapped so that it ends at 4 GiB. `firmware` holds whole pages.
    pub(crate) fn add_firmware(&mut self, firmware: &[u8]) {
        let mut address = (1 << 32) - firmware.len() as u64;
        for page in firmware.chunks_exact(4096) {
            self.extend(PageType::Normal, address, sha384(page));
            address += 4096;
        }
    }

    /// One page; only normal pages have contents that count.
    fn add(&mut self, kind: PageType, address: u64, contents: Option<&[u8; 4096]>) {
        self.extend(kind, address, contents.map_or(Sha384::from([0; 48]), |page| sha384(page)));
    }

    /// `size` bytes of pages without contents.
    fn add_range(&mut self, kind: PageType, address: u64, size: u32) {
        for offset in (0..u64::from(size)).step_by(4096) {
            self.add(kind, address + offset, None);
        }
    }

    fn extend(&mut self, kind: PageType, address: u64, contents: Sha384) {
        let mut page_info = [0; PAGE_INFO];
        page_info[0..48].copy_from_slice(self.digest.as_bytes());
        page_info[48..96].copy_from_slice(contents.as_bytes());
        page_info[96..98].copy_from_slice(&(PAGE_INFO as u16).to_le_bytes());
        page_info[98] = kind as u8;
        // 99: IMI_PAGE; 100..104: permissions of VMPL 3, 2 and 1, and a reserved byte. All zero.
        page_info[104..112].copy_from_slice(&address.to_le_bytes());
        self.digest = sha384(&page_info);
    }
}

/// PAGE_TYPE of SNP_LAUNCH_UPDATE.
#[derive(Clone, Copy)]
enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

const PAGE_INFO: usize = 0x70;
/// Guest address of every save area: -1, page-aligned, cut to the 52 bits that the RMP holds.
const VMSA_ADDRESS: u64 = 0xffff_ffff_f000;
