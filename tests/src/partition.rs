//! What makes a file of zeros a data disk?

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

/// A GPT (UEFI 2.10, 5.3) with one partition named `data`, from the first MiB to the last.
///
/// # Panics
/// If `disk` cannot be written.
pub fn write(disk: &Path, size_bytes: u64) {
    let sectors = size_bytes / SECTOR_BYTES;
    // Whole MiB, so that every sector size of LUKS2 fits.
    let (first, last) = (2048_u64, sectors - 2048 - 1);
    let mut entries = vec![0; 128 * 128];
    entries[..16].copy_from_slice(&[
        0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
    ]);
    entries[16..32].fill(7);
    entries[32..40].copy_from_slice(&first.to_le_bytes());
    entries[40..48].copy_from_slice(&last.to_le_bytes());
    for (place, unit) in "data".encode_utf16().enumerate() {
        entries[56 + 2 * place..][..2].copy_from_slice(&unit.to_le_bytes());
    }
    let header = |own: u64, other: u64, table: u64| {
        let mut header = b"EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
        for value in [own, other, 34, sectors - 34] {
            header.extend_from_slice(&value.to_le_bytes());
        }
        header.extend_from_slice(&[9; 16]);
        header.extend_from_slice(&table.to_le_bytes());
        for value in [128, 128, crc32(&entries)] {
            header.extend_from_slice(&value.to_le_bytes());
        }
        let checksum = crc32(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    };
    let mut protective = vec![0; 512];
    protective[446..462]
        .copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    protective[510..].copy_from_slice(&[0x55, 0xaa]);
    let file = File::options().write(true).open(disk).expect("a disk");
    let backup = sectors - 1;
    for (sector, bytes) in [
        (0, &protective),
        (1, &header(1, backup, 2)),
        (2, &entries),
        (sectors - 33, &entries),
        (backup, &header(backup, 1, sectors - 33)),
    ] {
        file.write_all_at(bytes, sector * SECTOR_BYTES).expect("a partition table");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

const SECTOR_BYTES: u64 = 512;
