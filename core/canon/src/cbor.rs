//! How is a value written, and is this how it was written?

use minicbor::{Decode, Encode};

/// Why bytes are not the one encoding of a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input is longer than its reader allows; nothing of it was read.
    #[error("{found} bytes, at most {maximum} are accepted here; send less")]
    TooLong {
        /// Size of the input in bytes.
        found: usize,
        /// Largest size accepted in bytes.
        maximum: usize,
    },
    /// The input is not CBOR of the expected shape.
    #[error("not the expected CBOR structure: {0}; was it made by another version?")]
    Malformed(#[from] minicbor::decode::Error),
    /// The input decodes, but is not the deterministic encoding of what it decodes to: trailing
    /// bytes, unknown fields, longer-than-needed lengths or a second spelling of the same value.
    #[error(
        "not deterministic CBOR: the value re-encodes to {expected} bytes that differ from the \
         {found} received at offset {offset}; use RFC 8949 section 4.2.1 encoding without unknown fields"
    )]
    NotCanonical {
        /// Length of the canonical encoding in bytes.
        expected: usize,
        /// Length of the input in bytes.
        found: usize,
        /// Offset of the first difference.
        offset: usize,
    },
}

/// Writes `value` in its one encoding.
pub fn to_cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing CBOR to memory cannot fail")
}

/// Reads a value of at most `maximum_bytes` bytes and refuses every encoding but [`to_cbor`]'s.
///
/// The comparison with the re-encoded value is what closes each structure: an unknown field or a
/// trailing byte is dropped by decoding and so does not come back.
///
/// # Errors
/// [`Error::TooLong`], [`Error::Malformed`], [`Error::NotCanonical`].
pub fn from_cbor<'b, T>(bytes: &'b [u8], maximum_bytes: usize) -> Result<T, Error>
where
    T: Decode<'b, ()> + Encode<()>,
{
    if bytes.len() > maximum_bytes {
        return Err(Error::TooLong { found: bytes.len(), maximum: maximum_bytes });
    }
    let value: T = minicbor::decode(bytes)?;
    let canonical = to_cbor(&value);
    if canonical != bytes {
        let offset = canonical.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        return Err(Error::NotCanonical { expected: canonical.len(), found: bytes.len(), offset });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Pair {
        #[n(0)]
        first: u8,
        #[n(1)]
        second: Option<u8>,
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let value = Pair { first: 3, second: None };
        assert_eq!(from_cbor::<Pair>(&to_cbor(&value), 16).unwrap(), value);
    }

    #[test]
    fn refuses_trailing_bytes() {
        let mut bytes = to_cbor(&Pair { first: 3, second: Some(4) });
        bytes.push(0);
        assert!(matches!(
            from_cbor::<Pair>(&bytes, 16),
            Err(Error::NotCanonical { expected: 3, found: 4, .. })
        ));
    }

    #[test]
    fn refuses_a_longer_spelling_of_the_same_number() {
        let bytes = [0x82, 0x18, 0x03, 0x04]; // 3 in two bytes instead of one
        assert!(matches!(from_cbor::<Pair>(&bytes, 16), Err(Error::NotCanonical { offset: 1, .. })));
    }

    #[test]
    fn refuses_unknown_fields() {
        let bytes = [0x83, 0x03, 0x04, 0x05];
        assert!(matches!(from_cbor::<Pair>(&bytes, 16), Err(Error::NotCanonical { .. })));
    }

    #[test]
    fn refuses_before_reading_what_is_too_long() {
        assert!(matches!(from_cbor::<Pair>(&[0; 17], 16), Err(Error::TooLong { found: 17, maximum: 16 })));
    }
}
