//! What lies on a disk before it is unlocked.

use casemate_crypto::hash::sha256;
use casemate_volume::VolumeState;
use casemate_volume::frame::{DATA_OFFSET, Frame, SLOT_BYTES};
use casemate_volume::luks::Header;

use crate::{Target, Vectors};

pub const HEADER: Target =
    Target { name: "luks-header", maximum_len: 16 << 10, check: header, seeds: headers };
pub const STATE: Target = Target { name: "volume-state", maximum_len: 9 << 10, check: state, seeds: states };

/// JSON, put into a header whose checksums hold; then the bytes as they are.
fn header(bytes: &[u8]) {
    const SIZE: usize = 0x4000;
    let mut whole = vec![0; 2 * SIZE];
    for (start, magic) in [(0, b"LUKS\xba\xbe"), (SIZE, b"SKUL\xba\xbe")] {
        let copy = &mut whole[start..start + SIZE];
        copy[..6].copy_from_slice(magic);
        copy[6..8].copy_from_slice(&2_u16.to_be_bytes());
        copy[8..16].copy_from_slice(&(SIZE as u64).to_be_bytes());
        copy[72..78].copy_from_slice(b"sha256");
        copy[256..264].copy_from_slice(&(start as u64).to_be_bytes());
        let json = &bytes[..bytes.len().min(SIZE - 4096)];
        copy[4096..4096 + json.len()].copy_from_slice(json);
        let digest = sha256(copy);
        copy[448..480].copy_from_slice(digest.as_bytes());
    }
    for bytes in [&whole[..], bytes] {
        if let Ok(header) = Header::parse(bytes)
            && let Ok(checked) = header.check()
        {
            assert!([512, 4096].contains(&checked.sector_size()));
        }
    }
}

/// A seat's record of a volume, and the two slots at the beginning of a disk.
fn state(bytes: &[u8]) {
    if let Ok(state) = VolumeState::from_storage(bytes) {
        assert_eq!(state.to_storage().as_slice(), bytes);
    }
    let mut disk = vec![0; DATA_OFFSET];
    let len = bytes.len().min(2 * SLOT_BYTES);
    disk[..len].copy_from_slice(&bytes[..len]);
    Frame::parse(&disk).expect("a slot that does not parse holds nothing");
}

fn headers(vectors: &Vectors) -> Vec<Vec<u8>> {
    const JSON: &[u8] = br#"{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},"kdf":{"type":"argon2id","time":4,"memory":65536,"cpus":1,"salt":"6p8EwOAEDBe2yh63a4193L8Y4IyCey+/JC+7/o1hNCY="}}},"tokens":{},"segments":{"0":{"type":"crypt","offset":"2097152","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096}},"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,"salt":"KCvHNxIqHI8blMzo96JBDtwmGoMastAiS1ShYprMZHI=","digest":"DoS8Y8rX4urH3/AavYgftovGX6ifXQ11Zb73N6VjUco="}},"config":{"json_size":"12288","keyslots_size":"1015808"}}"#;
    let mut seeds = vec![JSON.to_vec()];
    for packed in vectors.files("luks2", &[".xz"]) {
        let mut bytes = Vec::new();
        if lzma_rs::xz_decompress(&mut &packed[..], &mut bytes).is_ok() && bytes.len() > 4096 {
            let json = bytes[4096..].split(|byte| *byte == 0).next().unwrap_or_default();
            seeds.push(json.to_vec());
        }
    }
    seeds
}

fn states(_: &Vectors) -> Vec<Vec<u8>> {
    let mut seeds = crate::vectors::worked_bytes("volumes.md");
    seeds.extend(
        [VolumeState::Absent, VolumeState::Erased { generation: 7 }].map(|state| state.to_storage().to_vec()),
    );
    seeds
}
