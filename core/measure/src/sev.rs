//! What will the firmware of SEV and SEV-ES measure at launch?
//!
//! Both are plain SHA-256 over what LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA were given (AMD 55766, SEV
//! API). These modes have no integrity protection; the digests serve to read old evidence.

use casemate_crypto::hash::{Sha256, sha256};

use crate::ovmf::{Firmware, FirmwareError};
use crate::shape::VcpuSignature;
use crate::snp::{Kernel, LaunchError, check_vcpus};
use crate::vmsa::{self, Vmm};

/// Launch digest of an SEV guest: firmware, then the kernel hash table.
///
/// # Errors
/// What [`Firmware::parse`] finds, and [`FirmwareError::NoKernelHashTable`].
pub fn sev_digest(firmware: &[u8], kernel: Kernel) -> Result<Sha256, LaunchError> {
    Ok(sha256(&measured(firmware, &Firmware::parse(firmware)?, kernel)?))
}

/// Launch digest of an SEV-ES guest: as SEV, then a save area for each vCPU, with SEV_FEATURES zero.
///
/// # Errors
/// As [`sev_digest`], and [`crate::shape::ShapeError::VcpuCount`].
pub fn sev_es_digest(
    firmware: &[u8],
    kernel: Kernel,
    vcpus: u32,
    signature: VcpuSignature,
    vmm: Vmm,
) -> Result<Sha256, LaunchError> {
    check_vcpus(vcpus)?;
    let parsed = Firmware::parse(firmware)?;
    let mut bytes = measured(firmware, &parsed, kernel)?;
    bytes.extend(vmsa::page(vmm, vmsa::FIRST_ADDRESS, signature, None));
    for _ in 1..vcpus {
        bytes.extend(vmsa::page(vmm, parsed.reset_address, signature, None));
    }
    Ok(sha256(&bytes))
}

fn measured(firmware: &[u8], parsed: &Firmware, kernel: Kernel) -> Result<Vec<u8>, FirmwareError> {
    let mut bytes = firmware.to_vec();
    if let Kernel::Measured(hashes) = kernel {
        parsed.hash_table.ok_or(FirmwareError::NoKernelHashTable)?;
        bytes.extend(hashes.table().as_bytes());
    }
    Ok(bytes)
}
