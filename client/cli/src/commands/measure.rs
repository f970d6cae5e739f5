//! What does the hardware measure when these files are launched?

use std::path::{Path, PathBuf};

use casemate_measure::{
    kernel_hashes::KernelHashes,
    ovmf::Firmware,
    sev::{sev_digest, sev_es_digest},
    shape::{GuestFeatures, VcpuType},
    snp::{Kernel, LaunchError, SnpLaunch},
    vmsa::Vmm,
};

use crate::{Error, commands::Context, exit, files, guest_image};

/// Files that anybody launches, Casemate's or not.
#[derive(Debug, clap::Args)]
pub struct Files {
    /// Instead of an image: firmware that is launched, an OVMF file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image", "simulated"])]
    firmware: Option<PathBuf>,
    /// Kernel that the firmware checks; without one it boots from a disk
    #[arg(long, value_name = "FILE", requires_all = ["firmware", "append"])]
    kernel: Option<PathBuf>,
    /// Initrd that the firmware checks
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Kernel command line that the firmware checks
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    append: Option<String>,
    /// Model of the virtual CPUs, as QEMU names it
    #[arg(long, value_name = "MODEL", requires = "firmware")]
    vcpu_type: Option<VcpuType>,
    /// SEV_FEATURES of the virtual CPUs
    #[arg(long, value_name = "BITS", requires = "firmware")]
    guest_features: Option<GuestFeatures>,
    /// Who launches
    #[arg(long, value_enum, requires = "firmware", default_value_t = VmmName::Qemu)]
    vmm: VmmName,
    /// What the guest is protected by
    #[arg(long, value_enum, requires = "firmware", default_value_t = Mode::Snp)]
    mode: Mode,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum VmmName {
    Qemu,
    Ec2,
    Gce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// SEV-SNP: SHA-384 over every page
    Snp,
    /// SEV-ES: SHA-256, no integrity of memory
    SevEs,
    /// SEV: SHA-256, neither integrity of memory nor of registers
    Sev,
}

impl Files {
    /// Whether files were named.
    pub fn is_given(&self) -> bool {
        self.firmware.is_some()
    }
}

/// Computes and prints the measurement of the files.
///
/// # Errors
/// [`Error::File`], [`Error::Launch`].
pub fn run(context: &Context, arguments: &Files, vcpus: Option<u32>) -> Result<u8, Error> {
    let path = arguments.firmware.as_deref().expect("asked for only if firmware is named");
    let firmware = files::read(path, MAXIMUM_FIRMWARE_BYTES)?;
    let kernel = arguments.kernel()?;
    let shape = guest_image::shape(vcpus, None);
    let model = arguments.vcpu_type.unwrap_or(shape.vcpu_type);
    let features = arguments.guest_features.unwrap_or(shape.guest_features);
    let vmm = match arguments.vmm {
        VmmName::Qemu => Vmm::Qemu,
        VmmName::Ec2 => Vmm::Ec2,
        VmmName::Gce => Vmm::Gce,
    };
    let digest = || -> Result<String, LaunchError> {
        let signature = model.signature();
        Ok(match arguments.mode {
            Mode::Sev => sev_digest(&firmware, kernel)?.to_string(),
            Mode::SevEs => sev_es_digest(&firmware, kernel, shape.vcpus, signature, vmm)?.to_string(),
            Mode::Snp => SnpLaunch {
                firmware: &Firmware::parse(&firmware)?,
                kernel,
                vcpus: shape.vcpus,
                vcpu_signature: signature,
                guest_features: features,
                vmm,
            }
            .digest()?
            .to_string(),
        })
    };
    let digest =
        digest().map_err(|source| Error::Launch { path: path.to_owned(), source: Box::new(source) })?;
    let answer = serde_json::json!({
        "firmware": path, "vcpus": shape.vcpus, "vcpu_type": model, "guest_features": features,
        "kernel_measured": arguments.kernel.is_some(), "measurement": digest,
    });
    context.output.answer(&answer, || digest.clone());
    Ok(exit::DONE)
}

impl Files {
    fn kernel(&self) -> Result<Kernel, Error> {
        let Some(kernel) = &self.kernel else { return Ok(Kernel::NotMeasured) };
        let initrd = match &self.initrd {
            Some(path) => read_boot_file(path)?,
            None => Vec::new(),
        };
        let cmdline = self.append.as_deref().unwrap_or_default();
        Ok(Kernel::Measured(KernelHashes::of(&read_boot_file(kernel)?, &initrd, cmdline)))
    }
}

fn read_boot_file(path: &Path) -> Result<Vec<u8>, Error> {
    files::read(path, MAXIMUM_BOOT_FILE_BYTES)
}

const MAXIMUM_FIRMWARE_BYTES: u64 = 64 << 20;
const MAXIMUM_BOOT_FILE_BYTES: u64 = 2 << 30;
