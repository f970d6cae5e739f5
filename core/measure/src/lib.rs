//! What should the hardware have measured?
//!
//! Computes launch digests from the very files of a launch, or from their digests alone: the SEV-SNP
//! MEASUREMENT for QEMU, EC2 and GCE, the older SEV and SEV-ES digests, MRTD and RTMR 0 to 2 of TDX, and
//! PCR 11 of a unified kernel image. It reads edk2 firmware,
//! builds the table by which firmware checks kernel, initrd and command line, and describes a built
//! guest image, whose measurement on a [`shape::Shape`] is then one call.
//!
//! ```
//! use casemate_measure::shape::{GuestFeatures, VcpuType};
//! use casemate_measure::{kernel_hashes::KernelHashes, ovmf::Firmware, snp, vmsa::Vmm};
//!
//! fn measurement(firmware: &[u8], kernel: &[u8], initrd: &[u8]) -> Result<String, snp::LaunchError> {
//!     let launch = snp::SnpLaunch {
//!         firmware: &Firmware::parse(firmware)?,
//!         kernel: snp::Kernel::Measured(KernelHashes::of(kernel, initrd, "console=ttyS0")),
//!         vcpus: 2,
//!         vcpu_signature: VcpuType::EPYC_V4.signature(),
//!         guest_features: GuestFeatures::SNP,
//!         vmm: Vmm::Qemu,
//!     };
//!     Ok(launch.digest()?.to_string())
//! }
//! # assert!(measurement(&[0; 4096], b"", b"").is_err());
//! ```
//!
//! It says what a launch measures, never whether that is good: policies compare. ACPI tables, memory
//! size and devices are not in an SNP digest.
#![forbid(unsafe_code)]

pub mod dstack;
pub mod dstack_log;
pub mod id_block;
pub mod image;
pub mod kernel_hashes;
pub mod launch_description;
pub mod ovmf;
pub mod pe;
pub mod secretvm;
pub mod sev;
pub mod shape;
pub mod snp;
pub mod tdx;
pub mod uki;
pub mod vmsa;
