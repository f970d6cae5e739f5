//! Which table ties kernel, initrd and command line to the measurement?
//!
//! The VMM places it in guest memory (QEMU target/i386/sev.c, `sev_add_kernel_loader_hashes`), the
//! launch measures it, and the firmware refuses any other file
//! (edk2 OvmfPkg/AmdSev/BlobVerifierLibSevHashes).

use casemate_crypto::hash::{Sha256, sha256};

use crate::ovmf::Guid;

/// SHA-256 of the three things that the firmware loads. The digests alone suffice for a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelHashes {
    /// Of the kernel file, unpatched.
    pub kernel: Sha256,
    /// Of the whole initrd; of nothing if there is none.
    pub initrd: Sha256,
    /// Of the command line followed by one NUL byte.
    pub cmdline: Sha256,
}

impl KernelHashes {
    /// Hashes the files and the command line as QEMU does, which trims nothing.
    pub fn of(kernel: &[u8], initrd: &[u8], cmdline: &str) -> Self {
        KernelHashes { kernel: sha256(kernel), initrd: sha256(initrd), cmdline: cmdline_digest(cmdline) }
    }

    /// The table that firmware and hardware see.
    pub fn table(&self) -> HashTable {
        let mut bytes = [0; HashTable::LEN];
        bytes[..16].copy_from_slice(TABLE.as_bytes());
        bytes[16..18].copy_from_slice(&(TABLE_LEN as u16).to_le_bytes());
        // The order is QEMU's; the firmware searches by GUID, the measurement does not.
        let entries = [(CMDLINE, self.cmdline), (INITRD, self.initrd), (KERNEL, self.kernel)];
        for ((guid, digest), entry) in entries.iter().zip(bytes[HEADER..TABLE_LEN].chunks_exact_mut(ENTRY)) {
            entry[..16].copy_from_slice(guid.as_bytes());
            entry[16..18].copy_from_slice(&(ENTRY as u16).to_le_bytes());
            entry[18..].copy_from_slice(digest.as_bytes());
        }
        HashTable(bytes)
    }
}

/// SHA-256 of a kernel command line and its terminating NUL.
pub fn cmdline_digest(cmdline: &str) -> Sha256 {
    let mut bytes = cmdline.as_bytes().to_vec();
    bytes.push(0);
    sha256(&bytes)
}

/// The 168-byte table of GUIDed hashes, padded with zeros to a multiple of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashTable([u8; HashTable::LEN]);

impl HashTable {
    /// Length in bytes, padding included.
    pub const LEN: usize = 176;

    /// What is written to guest memory at [`crate::ovmf::HashTableSlot::address`].
    pub const fn as_bytes(&self) -> &[u8; HashTable::LEN] {
        &self.0
    }

    /// The zeroed page with the table at the page offset of `address`: what an SNP launch measures.
    pub(crate) fn page(&self, address: u32) -> [u8; 4096] {
        let offset = address as usize % 4096;
        let mut page = [0; 4096];
        page[offset..offset + HashTable::LEN].copy_from_slice(&self.0);
        page
    }
}

/// Why a kernel cannot be given QEMU's boot-protocol header.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Not a bzImage.
    #[error("no `HdrS` at offset 0x202; expected a Linux bzImage for x86, such as /boot/vmlinuz-*")]
    NotLinux,
    /// An old boot protocol, which QEMU would patch differently.
    #[error("boot protocol {found:#x}, expected at least 0x20c (Linux 3.8); use a newer kernel")]
    BootProtocol {
        /// Version in the header.
        found: u16,
    },
    /// Loaded low (zImage), or without a setup that fits.
    #[error("kernel is not loaded high; use a bzImage")]
    NotLoadedHigh,
    /// The initrd does not fit below the limit.
    #[error(
        "initrd of {initrd_bytes} bytes does not fit below {limit:#x} in the guest's memory; give the guest more memory"
    )]
    InitrdTooLarge {
        /// Size of the initrd.
        initrd_bytes: u32,
        /// Highest address it may reach.
        limit: u32,
    },
}

/// The kernel as a guest **without** SEV sees it: QEMU fills in the boot-protocol header of `-kernel`
/// files (hw/i386/x86.c, `x86_load_linux`), except for SEV guests.
///
/// A firmware that checks hashes under plain emulation needs the table of these bytes, while a report's
/// launch digest is always of the file itself. Valid for Q35 without `max-ram-below-4g`; the result
/// depends on `initrd_bytes` and `memory_mib`.
///
/// # Errors
/// Any [`KernelError`].
pub fn qemu_patched_kernel(
    kernel: &[u8],
    initrd_bytes: u32,
    memory_mib: u32,
) -> Result<Vec<u8>, KernelError> {
    let header = kernel.get(..SETUP_HEADER_END).ok_or(KernelError::NotLinux)?;
    if header[0x202..0x206] != *b"HdrS" {
        return Err(KernelError::NotLinux);
    }
    let protocol = u16::from_le_bytes([header[0x206], header[0x207]]);
    if protocol < 0x20c {
        return Err(KernelError::BootProtocol { found: protocol });
    }
    const LOADED_HIGH: u8 = 1;
    if header[LOAD_FLAGS] & LOADED_HIGH == 0 {
        return Err(KernelError::NotLoadedHigh);
    }
    let limit = initrd_limit(header, memory_mib);
    let address =
        limit.checked_sub(initrd_bytes).ok_or(KernelError::InitrdTooLarge { initrd_bytes, limit })? & !0xfff;

    let mut patched = kernel.to_vec();
    patched[TYPE_OF_LOADER] = 0xb0; // QEMU, version 0
    patched[LOAD_FLAGS] |= 0x80; // CAN_USE_HEAP
    let mut put =
        |offset: usize, value: u32| patched[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    put(HEAP_END, COMMAND_LINE_ADDRESS - REAL_MODE_ADDRESS - 0x200);
    put(COMMAND_LINE_POINTER, COMMAND_LINE_ADDRESS);
    if initrd_bytes > 0 {
        put(RAMDISK_IMAGE, address);
        put(RAMDISK_SIZE, initrd_bytes);
    }
    Ok(patched)
}

/// Highest address of the initrd: what the kernel allows, and below the ACPI tables at the end of low memory.
fn initrd_limit(header: &[u8], memory_mib: u32) -> u32 {
    const CAN_BE_LOADED_ABOVE_4G: u8 = 2;
    let kernel_limit = if header[XLOAD_FLAGS] & CAN_BE_LOADED_ABOVE_4G != 0 {
        u32::MAX
    } else {
        u32::from_le_bytes(header[INITRD_ADDR_MAX..INITRD_ADDR_MAX + 4].try_into().expect("four bytes"))
    };
    // hw/i386/pc_q35.c: from 0xb0000000 bytes on, only the first 2 GiB lie below the PCI hole.
    let memory_bytes = u64::from(memory_mib) << 20;
    let low = if memory_bytes >= 0xb000_0000 { 0x8000_0000 } else { memory_bytes as u32 };
    kernel_limit.min(low.saturating_sub(ACPI_DATA_BYTES + 1))
}

const HEADER: usize = 18;
const ENTRY: usize = 50;
const TABLE_LEN: usize = HEADER + 3 * ENTRY;

/// 9438d606-4f22-4cc9-b479-a793d411fd21
const TABLE: Guid = Guid::new(0x9438d606, 0x4f22, 0x4cc9, [0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21]);
/// 4de79437-abd2-427f-b835-d5b172d2045b
const KERNEL: Guid = Guid::new(0x4de79437, 0xabd2, 0x427f, [0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b]);
/// 44baf731-3a2f-4bd7-9af1-41e29169781d
const INITRD: Guid = Guid::new(0x44baf731, 0x3a2f, 0x4bd7, [0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d]);
/// 97d02dd8-bd20-4c94-aa78-e7714d36ab2a
const CMDLINE: Guid = Guid::new(0x97d02dd8, 0xbd20, 0x4c94, [0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a]);

// Fields of the setup header (Linux Documentation/arch/x86/boot.rst).
const TYPE_OF_LOADER: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const HEAP_END: usize = 0x224;
const COMMAND_LINE_POINTER: usize = 0x228;
const INITRD_ADDR_MAX: usize = 0x22c;
const XLOAD_FLAGS: usize = 0x236;
const SETUP_HEADER_END: usize = 0x268;

// hw/i386/x86.c: where QEMU puts the real-mode code and the command line of a bzImage.
const REAL_MODE_ADDRESS: u32 = 0x1_0000;
const COMMAND_LINE_ADDRESS: u32 = 0x2_0000;
/// hw/i386/pc.c: `acpi_data_size` (0x20000 + 0x8000).
const ACPI_DATA_BYTES: u32 = 0x2_8000;

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Vec<u8> {
        let mut kernel = vec![0; 0x400];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        kernel[LOAD_FLAGS] = 1;
        kernel[INITRD_ADDR_MAX..][..4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        kernel
    }

    fn patched_word(memory_mib: u32, initrd_bytes: u32, offset: usize) -> u32 {
        let patched = qemu_patched_kernel(&kernel(), initrd_bytes, memory_mib).unwrap();
        u32::from_le_bytes(patched[offset..][..4].try_into().unwrap())
    }

    #[test]
    fn the_header_is_filled_in_as_qemu_does() {
        let patched = qemu_patched_kernel(&kernel(), 0x12345, 512).unwrap();
        assert_eq!((patched[TYPE_OF_LOADER], patched[LOAD_FLAGS]), (0xb0, 0x81));
        assert_eq!(patched_word(512, 0x12345, HEAP_END), 0xfe00);
        assert_eq!(patched_word(512, 0x12345, COMMAND_LINE_POINTER), 0x20000);
        assert_eq!(patched_word(512, 0x12345, RAMDISK_SIZE), 0x12345);
        assert_eq!(patched_word(512, 0x12345, RAMDISK_IMAGE), (0x2000_0000 - 0x28000 - 1 - 0x12345) & !0xfff);
    }

    #[test]
    fn the_initrd_stays_below_the_pci_hole_and_the_kernel_limit() {
        // 2815 MiB is the last size with all memory low; the kernel's own limit then decides.
        assert_eq!(patched_word(2815, 0x1000, RAMDISK_IMAGE), 0x7fff_e000);
        assert_eq!(patched_word(2816, 0x1000, RAMDISK_IMAGE), (0x8000_0000 - 0x28000 - 1 - 0x1000) & !0xfff);
        assert_eq!(patched_word(1 << 20, 0x1000, RAMDISK_IMAGE), patched_word(2816, 0x1000, RAMDISK_IMAGE));
    }

    #[test]
    fn without_an_initrd_its_fields_stay() {
        assert_eq!(patched_word(512, 0, RAMDISK_IMAGE), 0);
    }

    #[test]
    fn other_kernels_are_refused() {
        let change = |offset: usize, value: u8| {
            let mut kernel = kernel();
            kernel[offset] = value;
            qemu_patched_kernel(&kernel, 0x1000, 512)
        };
        assert_eq!(qemu_patched_kernel(&kernel()[..0x260], 0, 512), Err(KernelError::NotLinux));
        assert_eq!(change(0x202, b'X'), Err(KernelError::NotLinux));
        assert_eq!(change(0x206, 0x0b), Err(KernelError::BootProtocol { found: 0x20b }));
        assert_eq!(change(LOAD_FLAGS, 0), Err(KernelError::NotLoadedHigh));
        assert_eq!(
            qemu_patched_kernel(&kernel(), 2 << 20, 1),
            Err(KernelError::InitrdTooLarge { initrd_bytes: 2 << 20, limit: 0xd_7fff })
        );
    }
}
