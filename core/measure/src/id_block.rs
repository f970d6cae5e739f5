//! Who vouched for this launch, by ID block?
//!
//! SNP_LAUNCH_FINISH takes an ID block signed by an ID key, which an author key may sign in turn
//! (AMD 56860, SEV-SNP Firmware ABI, ID_BLOCK and ID_AUTH_INFO); a report carries the digests of both.

use casemate_crypto::hash::{Sha384, sha384};
use casemate_evidence::Measurement;

/// The ID block: 96 bytes that the ID key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdBlock {
    /// LD: the launch digest that the processor must arrive at.
    pub launch_digest: Measurement,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: u64,
}

impl IdBlock {
    /// Length in bytes.
    pub const LEN: usize = 96;

    /// The bytes that are signed; version 1.
    pub fn to_bytes(&self) -> [u8; IdBlock::LEN] {
        let mut bytes = [0; IdBlock::LEN];
        bytes[0..48].copy_from_slice(self.launch_digest.as_bytes());
        bytes[48..64].copy_from_slice(&self.family_id);
        bytes[64..80].copy_from_slice(&self.image_id);
        bytes[80..84].copy_from_slice(&1_u32.to_le_bytes());
        bytes[84..88].copy_from_slice(&self.guest_svn.to_le_bytes());
        bytes[88..96].copy_from_slice(&self.policy.to_le_bytes());
        bytes
    }
}

/// ID_AUTH_INFO: the 4096 bytes that carry keys and signatures. Parsed, its signatures unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdAuth {
    /// Signature of the ID key over the ID block.
    pub id_signature: IdSignature,
    /// The ID key.
    pub id_key: IdKey,
    /// Signature of the author key over the bytes of `id_key`, and that key; absent if unused.
    pub author: Option<(IdSignature, IdKey)>,
}

/// Why bytes are no ID_AUTH_INFO.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdAuthError {
    /// Another length.
    #[error("ID authentication block of {found} bytes, expected 4096; is this the whole structure?")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// A key or signature of another algorithm.
    #[error("ID or author key algorithm {found}, expected 1 (ECDSA P-384 with SHA-384)")]
    Algorithm {
        /// Algorithm found.
        found: u32,
    },
    /// A key on another curve.
    #[error("key on curve {found}, expected 2 (P-384)")]
    Curve {
        /// Curve found.
        found: u32,
    },
    /// A number of more than 384 bits.
    #[error("a coordinate or signature half exceeds 384 bits; expected zeros above")]
    Oversized,
    /// Reserved bytes that are not zero.
    #[error("reserved byte at offset {offset:#x} is not zero; the structure is damaged or newer")]
    Reserved {
        /// Offset in the structure.
        offset: usize,
    },
}

impl IdAuth {
    /// Length in bytes.
    pub const LEN: usize = 4096;

    /// Reads the structure.
    ///
    /// # Errors
    /// Any [`IdAuthError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IdAuthError> {
        let bytes: &[u8; IdAuth::LEN] =
            bytes.try_into().map_err(|_| IdAuthError::Length { found: bytes.len() })?;
        for range in [0x08..0x40, 0x644..0x680, 0xc84..IdAuth::LEN] {
            check_zero(bytes, range)?;
        }
        expect_algorithm(word(bytes, 0))?;
        let id_signature = IdSignature::parse(bytes, 0x40)?;
        let id_key = IdKey::parse(bytes, 0x240)?;
        let author = match word(bytes, 4) {
            0 => {
                check_zero(bytes, 0x680..0xc84)?;
                None
            }
            algorithm => {
                expect_algorithm(algorithm)?;
                Some((IdSignature::parse(bytes, 0x680)?, IdKey::parse(bytes, 0x880)?))
            }
        };
        Ok(IdAuth { id_signature, id_key, author })
    }
}

/// A P-384 key as the firmware stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdKey {
    /// Affine x, big-endian.
    pub x: [u8; 48],
    /// Affine y, big-endian.
    pub y: [u8; 48],
}

impl IdKey {
    /// Length in bytes of the structure that is signed and digested.
    pub const LEN: usize = 0x404;

    /// CURVE, QX and QY, little-endian and padded to 72 bytes each; the rest is zero.
    pub fn to_bytes(&self) -> [u8; IdKey::LEN] {
        let mut bytes = [0; IdKey::LEN];
        bytes[0..4].copy_from_slice(&CURVE_P384.to_le_bytes());
        bytes[4..52].copy_from_slice(&reversed(&self.x));
        bytes[76..124].copy_from_slice(&reversed(&self.y));
        bytes
    }

    /// ID_KEY_DIGEST or AUTHOR_KEY_DIGEST of the report.
    pub fn digest(&self) -> Sha384 {
        sha384(&self.to_bytes())
    }

    fn parse(bytes: &[u8; IdAuth::LEN], offset: usize) -> Result<Self, IdAuthError> {
        match word(bytes, offset) {
            CURVE_P384 => {}
            found => return Err(IdAuthError::Curve { found }),
        }
        check_zero(bytes, offset + 0x94..offset + IdKey::LEN)?;
        Ok(IdKey { x: number(bytes, offset + 4)?, y: number(bytes, offset + 76)? })
    }
}

/// An ECDSA signature; `r` and `s` big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdSignature {
    /// r.
    pub r: [u8; 48],
    /// s.
    pub s: [u8; 48],
}

impl IdSignature {
    fn parse(bytes: &[u8; IdAuth::LEN], offset: usize) -> Result<Self, IdAuthError> {
        check_zero(bytes, offset + 0x90..offset + 0x200)?;
        Ok(IdSignature { r: number(bytes, offset)?, s: number(bytes, offset + 72)? })
    }
}

/// A 72-byte little-endian number of at most 384 bits, as 48 big-endian bytes.
fn number(bytes: &[u8; IdAuth::LEN], offset: usize) -> Result<[u8; 48], IdAuthError> {
    let (low, high) = bytes[offset..offset + 72].split_at(48);
    if high.iter().any(|byte| *byte != 0) {
        return Err(IdAuthError::Oversized);
    }
    Ok(reversed(low.try_into().expect("split at 48")))
}

fn reversed(bytes: &[u8; 48]) -> [u8; 48] {
    let mut reversed = *bytes;
    reversed.reverse();
    reversed
}

fn expect_algorithm(found: u32) -> Result<(), IdAuthError> {
    if found == ECDSA_P384_SHA384 { Ok(()) } else { Err(IdAuthError::Algorithm { found }) }
}

fn check_zero(bytes: &[u8; IdAuth::LEN], range: std::ops::Range<usize>) -> Result<(), IdAuthError> {
    let start = range.start;
    match bytes[range].iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(at) => Err(IdAuthError::Reserved { offset: start + at }),
    }
}

fn word(bytes: &[u8; IdAuth::LEN], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

const ECDSA_P384_SHA384: u32 = 1;
const CURVE_P384: u32 = 2;
