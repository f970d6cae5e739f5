//! Which file does a guest mount for this tree?

use std::io::{self, Read, Seek, Write};

use crate::{
    Error, Tree, erofs,
    verity::{BLOCK_SIZE, Hasher, RootHash},
};

/// A disk image that was written: erofs, then its dm-verity tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What the device is opened with.
    pub root_hash: RootHash,
    /// Blocks of 4096 bytes that hold the filesystem; the tree starts right after them.
    pub data_blocks: u64,
    /// Size of the whole image in bytes.
    pub size_bytes: u64,
}

/// Writes the image of `tree`, from start to end, taking contents from `layers`: the readers that the
/// tree was made of, in the same order.
///
/// # Errors
/// [`Error::Io`], [`Error::MissingLayer`].
pub fn write_image<R: Read + Seek, W: Write>(
    tree: &Tree,
    layers: &mut [R],
    out: &mut W,
) -> Result<Image, Error> {
    let mut hashed = Hashed { out, hasher: Hasher::new() };
    let blocks = erofs::write(tree, layers, &mut hashed)?;
    let Hashed { out, hasher } = hashed;
    let verity = hasher.finish();
    assert_eq!(verity.data_blocks, blocks, "the filesystem is a whole number of blocks");
    out.write_all(&verity.bytes)?;
    out.flush()?;
    let size_bytes = blocks * BLOCK_SIZE as u64 + verity.bytes.len() as u64;
    Ok(Image { root_hash: verity.root_hash, data_blocks: blocks, size_bytes })
}

struct Hashed<'a, W> {
    out: &'a mut W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
