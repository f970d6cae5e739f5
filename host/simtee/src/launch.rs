//! What is launched, and what does hardware measure of it?

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::digest;
use casemate_crypto::hash::Sha256;
use casemate_evidence::snp::{Product, Tcb};
use casemate_evidence::{HostData, Measurement};
use casemate_measure::kernel_hashes::{KernelHashes, cmdline_digest};
use casemate_measure::ovmf::Firmware;
use casemate_measure::shape::{GuestFeatures, VcpuType};
use casemate_measure::snp::{Kernel, SnpLaunch};
use casemate_measure::vmsa::Vmm;
use clap::{Args, ValueEnum};

use crate::error::Error;

/// The launch that is pretended: the very files that the VM is started with.
#[derive(Args)]
pub(crate) struct Launch {
    /// Firmware with SEV metadata and a kernel hash table.
    #[arg(long)]
    pub(crate) firmware: PathBuf,
    /// Kernel, unpatched.
    #[arg(long)]
    pub(crate) kernel: PathBuf,
    /// Initrd, whole.
    #[arg(long)]
    pub(crate) initrd: PathBuf,
    /// Kernel command line.
    #[arg(long)]
    pub(crate) cmdline: String,
    /// Number of vCPUs.
    #[arg(long)]
    pub(crate) vcpus: u32,
    /// vCPU model to measure, as QEMU names it; what really runs may differ.
    #[arg(long, default_value = "EPYC-v4")]
    pub(crate) vcpu_type: VcpuType,
    /// SEV_FEATURES to measure.
    #[arg(long, default_value = "0x1")]
    pub(crate) guest_features: GuestFeatures,
    /// HOST_DATA: 64 hexadecimal digits.
    #[arg(long)]
    pub(crate) host_data: HostData,
    /// POLICY.
    #[arg(long, default_value = "0x30000", value_parser = number)]
    pub(crate) policy: u64,
    /// VMPL at which the guest runs: reports for a more privileged level are refused.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(crate) vmpl: u8,
}

impl Launch {
    /// The launch digest, computed from the files.
    pub(crate) fn measure(&self) -> Result<Measurement, Error> {
        let bytes = read_whole(&self.firmware, Firmware::MAXIMUM_SIZE as u64)?;
        let firmware = Firmware::parse(&bytes)
            .map_err(|source| Error::Firmware { path: self.firmware.clone(), source })?;
        let launch = SnpLaunch {
            firmware: &firmware,
            kernel: Kernel::Measured(KernelHashes {
                kernel: sha256_of(&self.kernel)?,
                initrd: sha256_of(&self.initrd)?,
                cmdline: cmdline_digest(&self.cmdline),
            }),
            vcpus: self.vcpus,
            vcpu_signature: self.vcpu_type.signature(),
            guest_features: self.guest_features,
            vmm: Vmm::Qemu,
        };
        Ok(launch.digest()?)
    }
}

/// A line of processors.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ProductName {
    Milan,
    Genoa,
    Turin,
}

impl ProductName {
    pub(crate) fn product(self) -> Product {
        match self {
            ProductName::Milan => Product::Milan,
            ProductName::Genoa => Product::Genoa,
            ProductName::Turin => Product::Turin,
        }
    }

    /// Firmware versions that a well-kept machine of this line runs.
    pub(crate) fn usual_tcb(self) -> Tcb {
        match self {
            ProductName::Milan => Tcb { fmc: None, bootloader: 4, tee: 0, snp: 29, microcode: 222 },
            ProductName::Genoa => Tcb { fmc: None, bootloader: 10, tee: 0, snp: 27, microcode: 88 },
            ProductName::Turin => Tcb { fmc: Some(1), bootloader: 1, tee: 1, snp: 4, microcode: 81 },
        }
    }
}

/// `bootloader=10,tee=0,snp=27,microcode=88`, and `fmc=1` on Turin.
#[derive(Clone, Copy)]
pub(crate) struct TcbArgument(pub(crate) Tcb);

/// Why a text is no TCB version.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TcbArgumentError {
    #[error("expected bootloader=N,tee=N,snp=N,microcode=N with numbers up to 255, and fmc=N on Turin")]
    Shape,
    #[error("component {0} is missing or stands twice")]
    Component(&'static str),
}

impl FromStr for TcbArgument {
    type Err = TcbArgumentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts =
            [("fmc", None), ("bootloader", None), ("tee", None), ("snp", None), ("microcode", None)];
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or(TcbArgumentError::Shape)?;
            let known = parts.iter_mut().find(|(known, _)| *known == name).ok_or(TcbArgumentError::Shape)?;
            let value: u8 = value.parse().map_err(|_| TcbArgumentError::Shape)?;
            if known.1.replace(value).is_some() {
                return Err(TcbArgumentError::Component(known.0));
            }
        }
        let [fmc, others @ ..] = parts;
        let needed = |index: usize| {
            let (name, value): (&'static str, Option<u8>) = others[index];
            value.ok_or(TcbArgumentError::Component(name))
        };
        Ok(TcbArgument(Tcb {
            fmc: fmc.1,
            bootloader: needed(0)?,
            tee: needed(1)?,
            snp: needed(2)?,
            microcode: needed(3)?,
        }))
    }
}

pub(crate) fn read_whole(path: &Path, maximum: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(maximum + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > maximum {
        return Err(Error::TooLarge { path: path.into(), found: bytes.len() as u64, maximum });
    }
    Ok(bytes)
}

fn sha256_of(path: &Path) -> Result<Sha256, Error> {
    let (digest, _) = digest_file(path, &digest::SHA256)?;
    Ok(Sha256::try_from(digest.as_ref()).expect("SHA-256 has 32 bytes"))
}

/// Digest of a file of any size, and its length in bytes.
pub(crate) fn digest_file(
    path: &Path,
    algorithm: &'static digest::Algorithm,
) -> Result<(digest::Digest, u64), Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut context = digest::Context::new(algorithm);
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok((context.finish(), total)),
            length => {
                context.update(&buffer[..length]);
                total += length as u64;
            }
        }
    }
}

pub(crate) fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}
