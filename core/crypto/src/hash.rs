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

/// A hash function that evidence or a certificate may name.
///
/// SHA-1 is here for the PCR banks of old firmware and for old vendor certificates only; whoever meets
/// it decides whether it will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-1 (FIPS 180-4): collisions are known.
    Sha1,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-384 (FIPS 180-4).
    Sha384,
    /// SHA-512 (FIPS 180-4).
    Sha512,
}

/// A digest, with the hash function that made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    bytes: [u8; 64],
}

impl HashAlgorithm {
    /// Every one, weakest first.
    pub const ALL: [HashAlgorithm; 4] =
        [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

    /// Length of its digests in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            HashAlgorithm::Sha1 => 20,
            HashAlgorithm::Sha256 => 32,
            HashAlgorithm::Sha384 => 48,
            HashAlgorithm::Sha512 => 64,
        }
    }

    /// Its name in lower case, as in `sha256`.
    pub const fn name(self) -> &'static str {
        match self {
            HashAlgorithm::Sha1 => "sha1",
            HashAlgorithm::Sha256 => "sha256",
            HashAlgorithm::Sha384 => "sha384",
            HashAlgorithm::Sha512 => "sha512",
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        self.digest_parts(&[bytes])
    }

    /// The digest of the parts, one after the other without separators.
    pub fn digest_parts(self, parts: &[&[u8]]) -> Digest {
        fn run<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hash = D::new();
            for part in parts {
                hash.update(part);
            }
            hash.finalize().to_vec()
        }
        let bytes = match self {
            HashAlgorithm::Sha1 => run::<sha1::Sha1>(parts),
            HashAlgorithm::Sha256 => run::<sha2::Sha256>(parts),
            HashAlgorithm::Sha384 => run::<sha2::Sha384>(parts),
            HashAlgorithm::Sha512 => run::<sha2::Sha512>(parts),
        };
        Digest::from_slice(self, &bytes).expect("a digest has the length of its hash function")
    }
}

impl Digest {
    /// These bytes as a digest of `algorithm`; `None` if their number is another.
    pub fn from_slice(algorithm: HashAlgorithm, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != algorithm.digest_len() {
            return None;
        }
        let mut padded = [0; 64];
        padded[..bytes.len()].copy_from_slice(bytes);
        Some(Self { algorithm, bytes: padded })
    }

    /// As many bytes as a digest of `algorithm` has, each of them `byte`.
    pub fn filled(algorithm: HashAlgorithm, byte: u8) -> Self {
        let mut bytes = [0; 64];
        bytes[..algorithm.digest_len()].fill(byte);
        Self { algorithm, bytes }
    }

    /// The hash function that made it.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The bytes, as many as the hash function gives.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_len()]
    }

    /// What a register that holds this digest holds after `extended` was added to it: the digest of both,
    /// one after the other (TPM 2.0 Part 1, PCR extend). The order of extensions matters.
    pub fn extend(&self, extended: &[u8]) -> Self {
        self.algorithm.digest_parts(&[self.as_bytes(), extended])
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{self}", self.algorithm)
    }
}

impl std::fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::from(<[u8; 32]>::from(sha2::Sha256::digest(bytes)))
}

/// SHA-384 of `bytes`.
pub fn sha384(bytes: &[u8]) -> Sha384 {
    Sha384::from(<[u8; 48]>::from(sha2::Sha384::digest(bytes)))
}

/// SHA-384 of bytes that come in parts, without keeping them.
#[derive(Clone, Default)]
pub struct Sha384Stream(sha2::Sha384);

impl Sha384Stream {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes `bytes` after what came before.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that came.
    pub fn finish(self) -> Sha384 {
        Sha384::from(<[u8; 48]>::from(self.0.finalize()))
    }
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
    fn each_hash_function_knows_abc() {
        // FIPS 180-4 examples.
        for (algorithm, digest) in [
            (HashAlgorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (HashAlgorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                HashAlgorithm::Sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                 8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                HashAlgorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            assert_eq!(algorithm.digest(b"abc").to_string(), digest);
            assert_eq!(algorithm.digest_parts(&[b"a", b"", b"bc"]), algorithm.digest(b"abc"));
            assert_eq!(algorithm.digest(b"").as_bytes().len(), algorithm.digest_len());
            assert_eq!(Digest::from_slice(algorithm, &[0; 7]), None);
        }
    }

    #[test]
    fn extending_is_order_sensitive() {
        let zero = Digest::filled(HashAlgorithm::Sha256, 0);
        let extended = zero.extend(b"one").extend(b"two");
        assert_ne!(extended, zero.extend(b"two").extend(b"one"));
        let by_hand = sha256(&[&sha256(&[&[0; 32][..], b"one"].concat()).as_bytes()[..], b"two"].concat());
        assert_eq!(extended.as_bytes(), by_hand.as_bytes());
    }

    #[test]
    fn fields_do_not_run_together() {
        assert_ne!(tagged_sha256("t", &[b"ab", b"c"]), tagged_sha256("t", &[b"a", b"bc"]));
    }
}
