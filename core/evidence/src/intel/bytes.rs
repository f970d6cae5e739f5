//! Reading fields out of bytes whose length is known.

/// `LENGTH` bytes from `offset` on, which must lie inside.
pub(crate) fn array<const LENGTH: usize>(bytes: &[u8], offset: usize) -> [u8; LENGTH] {
    bytes[offset..offset + LENGTH].try_into().expect("each offset and length lies inside the structure")
}
