//! A firmware small enough to change byte by byte.
#![allow(dead_code)] // each test file uses a part

/// A firmware of two pages with all that an SNP launch needs, laid out as edk2 does.
pub fn firmware() -> Vec<u8> {
    firmware_with(&SECTIONS)
}

/// The same with these sections: address, size, kind.
pub fn firmware_with(sections: &[[u32; 3]]) -> Vec<u8> {
    let mut bytes = vec![0x90; SIZE];
    put(&mut bytes, METADATA_START, &metadata_bytes(sections));
    let table = table_bytes(&[
        (FOOTER, None),
        (RESET, Some(&0x80b004_u32.to_le_bytes())),
        (HASHES, Some(&words(&[0x810c00, 0x400]))),
        (METADATA, Some(&(METADATA_FROM_END as u32).to_le_bytes())),
    ]);
    put(&mut bytes, SIZE - 32 - table.len(), &table);
    bytes
}

pub fn metadata_bytes(sections: &[[u32; 3]]) -> Vec<u8> {
    let mut bytes = b"ASEV".to_vec();
    bytes.extend(words(&[16 + 12 * sections.len() as u32, 1, sections.len() as u32]));
    sections.iter().for_each(|section| bytes.extend(words(section)));
    bytes
}

/// Entries in reading order, so the footer first; its length is that of the whole.
pub fn table_bytes(entries: &[(u128, Option<&[u8]>)]) -> Vec<u8> {
    let total: usize = entries.iter().map(|(_, data)| 18 + data.map_or(0, <[u8]>::len)).sum();
    let mut bytes = Vec::new();
    for (guid, data) in entries.iter().rev() {
        bytes.extend(data.unwrap_or_default());
        let length = data.map_or(total, |data| 18 + data.len()) as u16;
        bytes.extend(length.to_le_bytes());
        bytes.extend(guid_bytes(*guid));
    }
    bytes
}

/// UEFI's order: the first three groups little-endian.
pub fn guid_bytes(guid: u128) -> [u8; 16] {
    let mut bytes = guid.to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub fn put(bytes: &mut [u8], offset: usize, new: &[u8]) {
    bytes[offset..offset + new.len()].copy_from_slice(new);
}

pub const SIZE: usize = 8192;
pub const METADATA_FROM_END: usize = 0x554;
pub const METADATA_START: usize = SIZE - METADATA_FROM_END;
pub const SECTIONS: [[u32; 3]; 4] =
    [[0x800000, 0x9000, 1], [0x80d000, 0x1000, 2], [0x80e000, 0x1000, 3], [0x810000, 0x1000, 0x10]];

pub const FOOTER: u128 = 0x96b582de_1fb2_45f7_baea_a366c55a082d;
pub const RESET: u128 = 0x00f771de_1a7e_4fcb_890e_68c77e2fb44e;
pub const HASHES: u128 = 0x7255371f_3a3b_4b04_927b_1da6efa8d454;
pub const METADATA: u128 = 0xdc886566_984a_4798_a75e_5585a7bf67cc;

/// Where each entry of the table of [`firmware`] ends.
pub const RESET_END: usize = SIZE - 32 - 18;
pub const HASHES_END: usize = RESET_END - 22;
pub const METADATA_END: usize = HASHES_END - 26;
