//! What is the digest of these bytes?

use sha2::Digest as _;

casemate_canon::byte_type! {
    /// A SHA-256 digest (FIPS 180-4), 32 bytes.
    pub struct Sha256([u8; 32]);
}

casemate_canon::byte_type! {
    /// A SHA-384 digest (FIPS 180-4), 48 bytes.
    pub struct Sha384([u8; 48]);
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::from(<[u8; 32]>::from(sha2::Sha256::digest(bytes)))
}

/// SHA-384 of `bytes`.
pub fn sha384(bytes: &[u8]) -> Sha384 {
    Sha384::from(<[u8; 48]>::from(sha2::Sha384::digest(bytes)))
}

/// SHA-256 over a tag and fields, each preceded by its length in 8 bytes, big-endian, so that no two
/// lists of fields give the same input.
pub fn tagged_sha256(tag: &str, fields: &[&[u8]]) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    for field in std::iter::once(tag.as_bytes()).chain(fields.iter().copied()) {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    Sha256::from(<[u8; 32]>::from(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(
            sha256(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            sha384(b"abc").to_string(),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
        );
    }

    #[test]
    fn fields_do_not_run_together() {
        assert_ne!(tagged_sha256("t", &[b"ab", b"c"]), tagged_sha256("t", &[b"a", b"bc"]));
    }
}
