//! What do the two binary headers say, and do they agree?

use casemate_crypto::hash::sha256;

use super::{Copy, LuksError, json};

const MINIMUM_SIZE: u64 = 0x4000; // 16 KiB, smallest hdr_size (§2.1)
const MAXIMUM_SIZE: u64 = 0x40_0000; // 4 MiB, largest
const BINARY_BYTES: usize = 4096;
const MAGIC_PRIMARY: [u8; 6] = *b"LUKS\xba\xbe";
const MAGIC_SECONDARY: [u8; 6] = *b"SKUL\xba\xbe";

/// A LUKS2 header as read: both copies whole and equal, JSON of a known structure. It proves nothing:
/// see [`Header::check`].
#[derive(Debug)]
pub struct Header {
    pub(super) size: u64,
    pub(super) label_set: bool,
    pub(super) json: json::Metadata,
}

struct BinaryHeader<'a> {
    size: u64,
    sequence: u64,
    label: &'a [u8],
    uuid: &'a [u8],
    subsystem: &'a [u8],
    json: &'a [u8],
}

impl Header {
    /// Reads both binary headers (struct luks2_hdr_disk, §2.1) and the JSON area from the start of
    /// `bytes`; what follows is not looked at.
    ///
    /// # Errors
    /// Those variants of [`LuksError`] up to [`LuksError::Number`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LuksError> {
        let primary = BinaryHeader::parse(bytes, Copy::Primary, 0)?;
        let start = usize::try_from(primary.size).expect("at most 4 MiB");
        let secondary =
            BinaryHeader::parse(bytes.get(start..).unwrap_or(&[]), Copy::Secondary, primary.size)?;
        let differences = [
            ("size", primary.size != secondary.size),
            ("sequence id", primary.sequence != secondary.sequence),
            ("label", primary.label != secondary.label),
            ("uuid", primary.uuid != secondary.uuid),
            ("subsystem", primary.subsystem != secondary.subsystem),
            ("JSON area", primary.json != secondary.json),
        ];
        if let Some((field, _)) = differences.into_iter().find(|(_, differ)| *differ) {
            return Err(LuksError::CopiesDiffer { field });
        }
        let label_set = primary.label.iter().chain(primary.subsystem).any(|byte| *byte != 0);
        Ok(Header { size: primary.size, label_set, json: json::parse(primary.json)? })
    }
}

impl<'a> BinaryHeader<'a> {
    fn parse(bytes: &'a [u8], copy: Copy, offset: u64) -> Result<Self, LuksError> {
        if bytes.len() < BINARY_BYTES {
            return Err(LuksError::Truncated { found: bytes.len(), minimum: BINARY_BYTES });
        }
        let found: [u8; 6] = field(bytes, 0);
        let expected = if copy == Copy::Primary { MAGIC_PRIMARY } else { MAGIC_SECONDARY };
        if found != expected {
            return Err(LuksError::Magic { copy, found, expected });
        }
        let version = u16::from_be_bytes(field(bytes, 6));
        if version != 2 {
            return Err(LuksError::Version { found: version });
        }
        let size = u64::from_be_bytes(field(bytes, 8));
        if !size.is_power_of_two() || !(MINIMUM_SIZE..=MAXIMUM_SIZE).contains(&size) {
            return Err(LuksError::HeaderSize { found: size });
        }
        let length = usize::try_from(size).expect("at most 4 MiB");
        let whole =
            bytes.get(..length).ok_or(LuksError::Truncated { found: bytes.len(), minimum: length })?;
        let named = u64::from_be_bytes(field(bytes, 256));
        if named != offset {
            return Err(LuksError::HeaderOffset { copy, found: named, expected: offset });
        }
        let algorithm: [u8; 32] = field(bytes, 72);
        if !(algorithm.starts_with(b"sha256") && algorithm[6..].iter().all(|byte| *byte == 0)) {
            return Err(LuksError::ChecksumAlgorithm { copy });
        }
        check_checksum(whole, copy)?;
        for (name, range) in
            [("padding", 264..448), ("checksum tail", 480..512), ("padding 4096", 512..BINARY_BYTES)]
        {
            if bytes[range].iter().any(|byte| *byte != 0) {
                return Err(LuksError::NotZero { copy, field: name });
            }
        }
        let area = &whole[BINARY_BYTES..];
        let end = area.iter().position(|byte| *byte == 0).unwrap_or(area.len());
        if area[end..].iter().any(|byte| *byte != 0) {
            return Err(LuksError::NotZero { copy, field: "JSON area after its end" });
        }
        Ok(BinaryHeader {
            size,
            sequence: u64::from_be_bytes(field(bytes, 16)),
            label: &bytes[24..72],
            uuid: &bytes[168..208],
            subsystem: &bytes[208..256],
            json: &area[..end],
        })
    }
}

/// SHA-256 over binary header and JSON area with the checksum field zeroed (§2.1, csum).
fn check_checksum(whole: &[u8], copy: Copy) -> Result<(), LuksError> {
    let mut zeroed = whole.to_vec();
    zeroed[448..512].fill(0);
    if sha256(&zeroed).as_bytes() == &whole[448..480] { Ok(()) } else { Err(LuksError::Checksum { copy }) }
}

fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..offset + N].try_into().expect("the slice has N bytes")
}
