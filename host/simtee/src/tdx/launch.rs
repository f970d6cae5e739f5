//! What is launched, and what would the TDX module and the firmware measure of it?

use std::path::PathBuf;

use aws_lc_rs::digest::SHA384;
use casemate_crypto::hash::{Sha256, Sha384, sha384};
use casemate_evidence::tdx::LaunchRegisters;
use casemate_measure::kernel_hashes::qemu_patched_kernel;
use casemate_measure::ovmf::Firmware;
use casemate_measure::pe::PeFile;
use casemate_measure::tdx::boot::{self, BootSeparator, DirectBoot, InitrdOption};
use casemate_measure::tdx::firmware::{PageOrder, TdxFirmware};
use casemate_measure::tdx::hob;
use clap::Args;

use crate::error::Error;
use crate::launch::{digest_file, number, read_whole};

/// The launch that is pretended: the very files that the VM is started with.
#[derive(Args)]
pub(super) struct Launch {
    /// Firmware with a TDVF descriptor.
    #[arg(long)]
    firmware: PathBuf,
    /// Kernel, unpatched.
    #[arg(long)]
    kernel: PathBuf,
    /// Initrd, whole.
    #[arg(long)]
    initrd: PathBuf,
    /// Kernel command line.
    #[arg(long)]
    cmdline: String,
    /// Memory in MiB.
    #[arg(long)]
    memory_mib: u32,
    /// What QEMU hands over as `etc/table-loader`; without it the register holds the digest of nothing.
    #[arg(long)]
    acpi_loader: Option<PathBuf>,
    /// What QEMU hands over as `etc/acpi/rsdp`, likewise.
    #[arg(long)]
    acpi_rsdp: Option<PathBuf>,
    /// What QEMU hands over as `etc/acpi/tables`, likewise.
    #[arg(long)]
    acpi_tables: Option<PathBuf>,
    /// MRCONFIGID: 64 hexadecimal digits, zeros behind them.
    #[arg(long)]
    pub(super) workload_digest: Sha256,
    /// ATTRIBUTES: SEPT_VE_DISABLE by itself.
    #[arg(long, default_value = "0x10000000", value_parser = number)]
    pub(super) td_attributes: u64,
}

impl Launch {
    /// MRTD and RTMR 0 to 2 as the kernel starts, computed from the files.
    pub(super) fn measure(&self) -> Result<LaunchRegisters, Error> {
        let bytes = read_whole(&self.firmware, Firmware::MAXIMUM_SIZE as u64)?;
        let damaged = |source| Error::TdxFirmware { path: self.firmware.clone(), source };
        let firmware = TdxFirmware::parse(&bytes).map_err(damaged)?;
        let (initrd, initrd_bytes) = digest_file(&self.initrd, &SHA384)?;
        let too_large = |_| Error::TooLarge {
            path: self.initrd.clone(),
            found: initrd_bytes,
            maximum: u64::from(u32::MAX),
        };
        let initrd_bytes = u32::try_from(initrd_bytes).map_err(too_large)?;
        let kernel = read_whole(&self.kernel, PeFile::MAXIMUM_LEN as u64)?;
        let kernel = qemu_patched_kernel(&kernel, initrd_bytes, self.memory_mib)?;
        let initrd_option = if initrd_bytes > 0 { InitrdOption::InFront } else { InitrdOption::None };
        let no_hand_off = || Error::NoHandOff { path: self.firmware.clone() };
        let boot = DirectBoot {
            mrtd: firmware.mrtd(PageOrder::PageByPage), // as KVM does
            hand_off: hob::digest(&firmware, self.memory_mib).ok_or_else(no_hand_off)?,
            configuration_volume: firmware.configuration_volume_digest().map_err(damaged)?,
            secure_boot: Default::default(), // no keys: nothing is set
            acpi: self.acpi()?,
            boot_options: vec![boot::SETUP_OPTION],
            separator: BootSeparator::Rtmr1,
            kernel: boot::kernel(&kernel)?,
            load_options: Some(boot::load_options(&self.cmdline, initrd_option)),
            initrd: Some(Sha384::try_from(initrd.as_ref()).expect("SHA-384 has 48 bytes")),
        };
        Ok(boot.registers())
    }

    fn acpi(&self) -> Result<[Sha384; 3], Error> {
        let digest = |path: &Option<PathBuf>| match path {
            Some(path) => Ok(sha384(&read_whole(path, ACPI_MAXIMUM)?)),
            None => Ok::<_, Error>(sha384(&[])),
        };
        Ok([digest(&self.acpi_loader)?, digest(&self.acpi_rsdp)?, digest(&self.acpi_tables)?])
    }
}

/// Tables of the largest machines take some hundred KiB.
const ACPI_MAXIMUM: u64 = 16 << 20;
