//! Is this LUKS2 header the one allowed shape?

mod binary;
mod check;
mod json;

pub use binary::Header;
pub use check::{CheckedHeader, FORMAT_ARGUMENTS};

/// Why a LUKS2 header is refused; one variant per check.
///
/// The layout is the LUKS2 On-Disk Format Specification 1.1.2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LuksError {
    /// Fewer bytes than a header.
    #[error("{found} bytes, a LUKS2 header has at least {minimum}")]
    Truncated {
        /// Bytes found.
        found: usize,
        /// Bytes needed.
        minimum: usize,
    },
    /// Another magic: no LUKS header, or the copies are swapped.
    #[error("magic {found:02x?} in {copy} header, expected {expected:02x?}")]
    Magic {
        /// Which copy.
        copy: Copy,
        /// Bytes found.
        found: [u8; 6],
        /// Bytes expected.
        expected: [u8; 6],
    },
    /// LUKS1, or a future version.
    #[error("LUKS version {found}, expected 2")]
    Version {
        /// Version found.
        found: u16,
    },
    /// A size that LUKS2 does not know.
    #[error("header size {found}; LUKS2 knows 16 KiB to 4 MiB in powers of two")]
    HeaderSize {
        /// Size in bytes.
        found: u64,
    },
    /// The header says that it lies elsewhere.
    #[error("{copy} header names offset {found}, it lies at {expected}")]
    HeaderOffset {
        /// Which copy.
        copy: Copy,
        /// Offset named in bytes.
        found: u64,
        /// Offset where it lies in bytes.
        expected: u64,
    },
    /// Another checksum than SHA-256.
    #[error("checksum algorithm is not sha256 in {copy} header")]
    ChecksumAlgorithm {
        /// Which copy.
        copy: Copy,
    },
    /// The checksum does not match.
    #[error("checksum of {copy} header does not match; it was changed or only half written")]
    Checksum {
        /// Which copy.
        copy: Copy,
    },
    /// Bytes that must be zero.
    #[error("{copy} header has non-zero bytes in {field}, which must be zero")]
    NotZero {
        /// Which copy.
        copy: Copy,
        /// Where.
        field: &'static str,
    },
    /// The two copies disagree: an update was interrupted, or one was replaced.
    #[error("the two header copies differ in {field}; the header was half updated or mixed")]
    CopiesDiffer {
        /// In what.
        field: &'static str,
    },
    /// The JSON area is not the closed structure.
    #[error("the JSON area is not a LUKS2 structure known here: {source}")]
    Json {
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A number in text that is not written as LUKS2 writes it.
    #[error("{field} is not a decimal number")]
    Number {
        /// Where.
        field: &'static str,
    },
    /// A value outside the allow-list.
    #[error("{field} is {found:?}, only {expected:?} is allowed")]
    NotAllowed {
        /// Where.
        field: &'static str,
        /// What was found, cut to 64 characters.
        found: Found,
        /// What is allowed.
        expected: &'static str,
    },
    /// The null cipher: data would be written in the clear.
    #[error("{field} uses the null cipher: data would be written in the clear")]
    NullCipher {
        /// Where.
        field: &'static str,
    },
    /// Not exactly one key slot, slot 0.
    #[error("{found} key slots, only slot 0 is allowed; another slot is another way in")]
    Keyslots {
        /// Slots found.
        found: usize,
    },
    /// Not exactly one segment, segment 0.
    #[error("{found} segments, only segment 0 is allowed")]
    Segments {
        /// Segments found.
        found: usize,
    },
    /// A segment that is not encrypted.
    #[error("segment 0 is not encrypted")]
    PlainSegment,
    /// Not exactly one digest, digest 0.
    #[error("{found} digests, only digest 0 is allowed")]
    Digests {
        /// Digests found.
        found: usize,
    },
    /// A digest for other slots or segments.
    #[error("digest 0 does not bind key slot 0 to segment 0")]
    DigestBinding,
    /// A token.
    #[error("{found} tokens, none is allowed")]
    Tokens {
        /// Tokens found.
        found: usize,
    },
    /// Re-encryption state: recovery from it can be made to decrypt (CVE-2021-4122).
    #[error("the header holds re-encryption state or requirements; such a volume is not opened")]
    Reencryption,
    /// A key derivation other than the pinned one.
    #[error("key derivation of slot 0 is not argon2id with t=4, 64 MiB, p=1")]
    KeyDerivation,
    /// A size or offset outside the header.
    #[error("{field} is {found}, expected {expected}")]
    Layout {
        /// Where.
        field: &'static str,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A field that must be there.
    #[error("{field} is missing")]
    Missing {
        /// Where.
        field: &'static str,
    },
    /// A salt or digest of another length, or not in base64.
    #[error("{field} is not 32 bytes in base64")]
    Salt {
        /// Where.
        field: &'static str,
    },
    /// Too cheap or absurd a digest.
    #[error("digest 0 has {found} iterations, allowed are 1000 to 10000000")]
    DigestIterations {
        /// Iterations found.
        found: u32,
    },
}

/// Which of the two copies of the binary header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// At offset 0.
    Primary,
    /// Right after the primary.
    Secondary,
}

impl std::fmt::Display for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Copy::Primary => "the primary",
            Copy::Secondary => "the secondary",
        })
    }
}

/// A text from the header, cut to 64 characters; it is an attacker's.
#[derive(Clone, PartialEq, Eq)]
pub struct Found(String);

impl Found {
    fn new(text: &str) -> Self {
        Found(text.chars().take(64).collect())
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
