//! Which hash tree covers these blocks?
//!
//! dm-verity format 1 (kernel `Documentation/admin-guide/device-mapper/verity.rst`), SHA-256, data and
//! hash blocks of 4096 bytes, no salt, no superblock. The tree stands directly after the data, the
//! topmost level first, so `hash_start_block` is the number of data blocks.

use std::io;

use sha2::{Digest as _, Sha256};

casemate_canon::byte_type! {
    /// Root of a dm-verity tree: 32 bytes, SHA-256.
    pub struct RootHash([u8; 32]);
}

/// Size of data and hash blocks in bytes.
pub const BLOCK_SIZE: usize = 4096;

const HASHES_PER_BLOCK: usize = BLOCK_SIZE / 32;

/// A finished tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerityTree {
    /// What the device is opened with.
    pub root_hash: RootHash,
    /// Blocks covered.
    pub data_blocks: u64,
    /// The hash blocks, to be stored after the data; empty for a single data block.
    pub bytes: Vec<u8>,
}

/// Computes the tree of data that arrives in pieces.
#[derive(Debug, Default)]
pub struct Hasher {
    partial: Vec<u8>,
    leaves: Vec<u8>,
}

impl Hasher {
    /// No data yet.
    pub fn new() -> Self {
        Hasher::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if !self.partial.is_empty() {
            let taken = bytes.len().min(BLOCK_SIZE - self.partial.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.partial.len() == BLOCK_SIZE {
                self.leaves.extend_from_slice(&Sha256::digest(&self.partial));
                self.partial.clear();
            }
        }
        let mut blocks = bytes.chunks_exact(BLOCK_SIZE);
        for block in &mut blocks {
            self.leaves.extend_from_slice(&Sha256::digest(block));
        }
        self.partial.extend_from_slice(blocks.remainder());
    }

    /// The tree over everything seen; a last partial block counts as filled up with zeros. Without
    /// data, the tree is that of one zero block.
    pub fn finish(mut self) -> VerityTree {
        if !self.partial.is_empty() || self.leaves.is_empty() {
            let missing = BLOCK_SIZE - self.partial.len();
            self.update(&vec![0; missing]);
        }
        let data_blocks = (self.leaves.len() / 32) as u64;
        let mut levels = Vec::new();
        let mut hashes = self.leaves;
        while hashes.len() > 32 {
            let mut above = Vec::with_capacity(hashes.len() / HASHES_PER_BLOCK + 32);
            hashes.resize(hashes.len().next_multiple_of(BLOCK_SIZE), 0);
            for block in hashes.chunks_exact(BLOCK_SIZE) {
                above.extend_from_slice(&Sha256::digest(block));
            }
            levels.push(hashes);
            hashes = above;
        }
        let root: [u8; 32] = hashes.try_into().expect("the topmost level is one hash");
        let bytes = levels.into_iter().rev().flatten().collect();
        VerityTree { root_hash: root.into(), data_blocks, bytes }
    }
}

/// The tree over `data`, read to its end.
///
/// # Errors
/// What reading gives.
pub fn tree(mut data: impl io::Read) -> io::Result<VerityTree> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 * BLOCK_SIZE];
    loop {
        match data.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_is_its_own_tree() {
        let tree = tree(&[7; BLOCK_SIZE][..]).unwrap();
        assert_eq!(tree.root_hash.as_bytes()[..], Sha256::digest([7; BLOCK_SIZE])[..]);
        assert!(tree.bytes.is_empty());
    }

    #[test]
    fn pieces_do_not_matter() {
        let data: Vec<u8> = (0..BLOCK_SIZE * 300 + 5).map(|i| (i / 7) as u8).collect();
        let whole = tree(&data[..]).unwrap();
        let mut hasher = Hasher::new();
        for piece in data.chunks(999) {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), whole);
        assert_eq!((whole.data_blocks, whole.bytes.len()), (301, (3 + 1) * BLOCK_SIZE));
    }
}
