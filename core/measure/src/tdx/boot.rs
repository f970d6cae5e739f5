//! What do RTMR 0 to 2 hold after OVMF started a Linux kernel directly?
//!
//! A register begins as zeros and is extended with digests: SHA-384 over its 48 bytes and the digest's.
//! Which events there are, and in which order, is edk2's doing (SecurityPkg, OvmfPkg) and that of the
//! kernel's EFI stub. Registers of recorded hardware logs are reproduced (`tests/tdx_vectors.rs`).

use casemate_crypto::hash::{Digest, HashAlgorithm, Sha384, sha384};
use casemate_evidence::Measurement;
use casemate_evidence::tdx::LaunchRegisters;

use crate::pe::{PeError, PeFile};

/// Everything that MRTD and RTMR 0 to 2 depend on when OVMF boots a kernel that the VMM hands it.
#[derive(Debug, Clone)]
pub struct DirectBoot {
    /// [`super::firmware::TdxFirmware::mrtd`].
    pub mrtd: Measurement,
    /// [`super::hob::digest`]: depends on the size of memory.
    pub hand_off: Sha384,
    /// [`super::firmware::TdxFirmware::configuration_volume_digest`].
    pub configuration_volume: Sha384,
    /// Contents of the variables `SecureBoot`, `PK`, `KEK`, `db`, `dbx`; empty where not set.
    pub secure_boot: [Vec<u8>; 5],
    /// Digests of what QEMU hands over as ACPI: loader script, RSDP, tables. Host data; they depend on
    /// vCPUs, memory and devices.
    pub acpi: [Sha384; 3],
    /// Digest of each boot option, in the order of `BootOrder`.
    pub boot_options: Vec<Sha384>,
    /// Where the firmware puts the separator that it measures before the kernel.
    pub separator: BootSeparator,
    /// [`kernel`], of the file as the guest gets it.
    pub kernel: Sha384,
    /// [`load_options`], if the kernel's stub measures them.
    pub load_options: Option<Sha384>,
    /// SHA-384 of the initrd, if the kernel's stub measures it.
    pub initrd: Option<Sha384>,
}

/// Where the second separator goes: builds of edk2 differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootSeparator {
    /// Into RTMR 0.
    Rtmr0,
    /// Into RTMR 1.
    Rtmr1,
}

impl DirectBoot {
    /// MRTD and RTMR 0 to 2 as the kernel starts.
    pub fn registers(&self) -> LaunchRegisters {
        let separator = sha384(&[0; 4]);
        let order: Vec<u8> = (0..self.boot_options.len() as u16).flat_map(u16::to_le_bytes).collect();
        let mut rtmr0 = vec![self.hand_off, self.configuration_volume];
        for ((name, guid), content) in SECURE_BOOT.iter().zip(&self.secure_boot) {
            rtmr0.push(variable(guid, name, content));
        }
        rtmr0.push(separator);
        rtmr0.extend(self.acpi);
        // Of boot variables only the content is measured.
        rtmr0.push(sha384(&order));
        rtmr0.extend(&self.boot_options);
        let mut rtmr1 = vec![self.kernel, sha384(CALLING.as_bytes())];
        match self.separator {
            BootSeparator::Rtmr0 => rtmr0.push(separator),
            BootSeparator::Rtmr1 => rtmr1.push(separator),
        }
        rtmr1.extend([sha384(EXITING.as_bytes()), sha384(EXITED.as_bytes())]);
        LaunchRegisters {
            mrtd: self.mrtd,
            rtmr0: register(&rtmr0),
            rtmr1: register(&rtmr1),
            rtmr2: register(self.load_options.iter().chain(&self.initrd)),
        }
    }
}

/// A register that began as zeros, after these digests.
pub fn register<'a>(digests: impl IntoIterator<Item = &'a Sha384>) -> Measurement {
    let zero = Digest::filled(HashAlgorithm::Sha384, 0);
    let end = digests.into_iter().fold(zero, |register, digest| register.extend(digest.as_ref()));
    Measurement::try_from(end.as_bytes()).expect("a SHA-384 digest has 48 bytes")
}

/// Digest of a variable: SHA-384 over UEFI_VARIABLE_DATA (TCG PC Client Platform Firmware Profile, §10.2.6).
pub fn variable(guid: &[u8; 16], name: &str, content: &[u8]) -> Sha384 {
    let characters: Vec<u16> = name.encode_utf16().collect();
    let mut bytes = guid.to_vec();
    bytes.extend((characters.len() as u64).to_le_bytes());
    bytes.extend((content.len() as u64).to_le_bytes());
    bytes.extend(characters.iter().flat_map(|character| character.to_le_bytes()));
    bytes.extend(content);
    sha384(&bytes)
}

/// Digest of a kernel, which UEFI takes over the program, not over the file. The VMM may change the file's
/// header first ([`crate::kernel_hashes::qemu_patched_kernel`]).
///
/// # Errors
/// [`PeError`].
pub fn kernel(file: &[u8]) -> Result<Sha384, PeError> {
    PeFile::parse(file)?.authenticode()
}

/// Where OVMF names the initrd in the command line that it hands over: builds of edk2 differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitrdOption {
    /// There is no initrd, and nothing is added.
    None,
    /// ` initrd=initrd` behind it, as in older builds.
    Behind,
    /// `initrd=initrd ` in front of it, as in edk2 2026.08 (`host/simtee/tests/tpm_guest.rs`).
    InFront,
}

/// Digest of the command line as the kernel's EFI stub gets it: UTF-16, little-endian, with a closing NUL.
pub fn load_options(cmdline: &str, initrd: InitrdOption) -> Sha384 {
    let (before, after) = match initrd {
        InitrdOption::None => ("", "\0"),
        InitrdOption::Behind => ("", " initrd=initrd\0"),
        InitrdOption::InFront => ("initrd=initrd ", "\0"),
    };
    let text = [before, cmdline, after].into_iter().flat_map(str::encode_utf16);
    sha384(&text.flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
}

/// Digest of OVMF's own boot option `Boot0000`, its setup program.
pub const SETUP_OPTION: Sha384 = Sha384::from_bytes([
    0x23, 0xAD, 0xA0, 0x7F, 0x52, 0x61, 0xF1, 0x2F, 0x34, 0xA0, 0xBD, 0x8E, 0x46, 0x76, 0x09, 0x62, 0xD6,
    0xB4, 0xD5, 0x76, 0xA4, 0x16, 0xF1, 0xFE, 0xA1, 0xC6, 0x4B, 0xC6, 0x56, 0xB1, 0xD2, 0x8E, 0xAC, 0xF7,
    0x04, 0x7A, 0xE6, 0xE9, 0x67, 0xC5, 0x8F, 0xD2, 0xA9, 0x8B, 0xFA, 0x74, 0xC2, 0x98,
]);

const CALLING: &str = "Calling EFI Application from Boot Option";
const EXITING: &str = "Exit Boot Services Invocation";
const EXITED: &str = "Exit Boot Services Returned with Success";

/// 8be4df61-93ca-11d2-aa0d-00e098032b8c
const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xDF, 0xE4, 0x8B, 0xCA, 0x93, 0xD2, 0x11, 0xAA, 0x0D, 0x00, 0xE0, 0x98, 0x03, 0x2B, 0x8C];
/// d719b2cb-3d3a-4596-a3bc-dad00e67656f
const IMAGE_SECURITY: [u8; 16] =
    [0xCB, 0xB2, 0x19, 0xD7, 0x3A, 0x3D, 0x96, 0x45, 0xA3, 0xBC, 0xDA, 0xD0, 0x0E, 0x67, 0x65, 0x6F];
const SECURE_BOOT: [(&str, [u8; 16]); 5] = [
    ("SecureBoot", GLOBAL_VARIABLE),
    ("PK", GLOBAL_VARIABLE),
    ("KEK", GLOBAL_VARIABLE),
    ("db", IMAGE_SECURITY),
    ("dbx", IMAGE_SECURITY),
];
