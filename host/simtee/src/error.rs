//! Why is there no simulated hardware?

use std::io;
use std::path::{Path, PathBuf};

use casemate_evidence::snp::PolicyBitsError;
use casemate_evidence::tdx::AttributesError;
use casemate_measure::kernel_hashes::KernelError;
use casemate_measure::ovmf::FirmwareError;
use casemate_measure::pe::PeError;
use casemate_measure::snp::LaunchError;
use casemate_measure::tdx::firmware::TdxFirmwareError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something already.
    #[error("{} exists; choose another folder, or use the root that is there", path.display())]
    RootExists {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody serves there already.
    #[error("{} is served by another process; give every VM its own socket", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// A file is larger than anything that is launched.
    #[error("{} has {found} bytes, at most {maximum} are read; is this the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// Largest size accepted.
        maximum: u64,
    },
    /// A key file is damaged.
    #[error("{} holds no private key of this program; delete the folder and create the root again", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The chip's id is damaged.
    #[error("{} does not hold 128 hexadecimal digits; delete the folder and create the root again", path.display())]
    ChipId {
        /// The file.
        path: PathBuf,
    },
    /// The cryptographic library refused.
    #[error("the cryptographic library failed to {action}; the system may lack randomness or memory")]
    Crypto {
        /// What was tried.
        action: &'static str,
    },
    /// A certificate could not be written down.
    #[error("cannot encode a certificate: {0}; this is a mistake in casemate-simtee")]
    Encoding(#[from] der::Error),
    /// The firmware cannot be measured.
    #[error("firmware {}: {source}", path.display())]
    Firmware {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FirmwareError,
    },
    /// The firmware starts no trust domain.
    #[error("firmware {}: {source}", path.display())]
    TdxFirmware {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TdxFirmwareError,
    },
    /// The firmware has no place for what the host says of memory.
    #[error("firmware {} has no section for the hand-off block; use an OVMF built for TDX", path.display())]
    NoHandOff {
        /// The file.
        path: PathBuf,
    },
    /// QEMU starts no such kernel directly.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// UEFI starts no such kernel.
    #[error("the kernel is no program of UEFI: {0}; use one with an EFI stub")]
    Program(#[from] PeError),
    /// No attributes of a trust domain.
    #[error(transparent)]
    Attributes(#[from] AttributesError),
    /// The launch cannot be measured.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// No guest policy.
    #[error(transparent)]
    Policy(#[from] PolicyBitsError),
    /// Turin has one more component than the others.
    #[error("{product} TCB versions {}; correct --tcb", if *needed { "have a component `fmc`" } else { "have no component `fmc`" })]
    FmcComponent {
        /// The product.
        product: casemate_evidence::snp::Product,
        /// Whether it is needed.
        needed: bool,
    },
    /// Reports of this version exist on no such processor.
    #[error(
        "version {version} reports do not name the processor, and {product} needs that; use --report-version 3 or 5"
    )]
    ReportVersion {
        /// The version.
        version: u32,
        /// The product.
        product: casemate_evidence::snp::Product,
    },
}

impl Error {
    /// For `map_err` of system calls on `path`.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::Io { action, path: path.into(), source }
    }
}
