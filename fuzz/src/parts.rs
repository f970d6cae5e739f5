//! How does one input hold several files?
//!
//! Each but the last behind its length, three bytes big-endian, so that a fuzzer that changes one leaves the
//! others in place.

/// The `N` files in `bytes`, if it holds as many.
pub fn split<const N: usize>(mut bytes: &[u8]) -> Option<[&[u8]; N]> {
    let mut parts = [&[][..]; N];
    for part in &mut parts[..N - 1] {
        let ([a, b, c], rest) = bytes.split_first_chunk()?;
        (*part, bytes) = rest.split_at_checked(u32::from_be_bytes([0, *a, *b, *c]) as usize)?;
    }
    parts[N - 1] = bytes;
    Some(parts)
}

/// What [`split`] takes apart.
pub fn join<const N: usize>(parts: [&[u8]; N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in &parts[..N - 1] {
        let len =
            u32::try_from(part.len()).ok().filter(|len| *len < 1 << 24).expect("seeds are below 16 MiB");
        bytes.extend_from_slice(&len.to_be_bytes()[1..]);
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(parts[N - 1]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_split() {
        let parts = [&b"one"[..], b"", b"three"];
        assert_eq!(split(&join(parts)), Some(parts));
        assert_eq!(split::<2>(&[0, 0, 2, 7]), None);
        assert_eq!(split::<1>(b"all"), Some([&b"all"[..]]));
    }
}
