//! Which bytes of a partition are what, and were they written by a holder of its key?
//!
//! ```text
//! 0        stamp slot 0: u64 length, CBOR [stamp, header MAC], zeros    4096 bytes
//! 4096     stamp slot 1: the same                                       4096 bytes
//! 8192     zeros                                                        to 1 MiB
//! 1 MiB    LUKS2 header area, used as a detached header                 1 MiB
//! 2 MiB    encrypted data                                               to the end
//! ```
//!
//! The header lies apart from offset 0, so that nothing on the way mistakes the partition for a LUKS
//! device and opens it by itself. A new stamp goes into the slot that does not hold the good one: a
//! crash while it is written leaves the old state whole.

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::{
    hash::{Sha256, sha256},
    kdf::MacTag,
};
use casemate_record::Stamp;
use minicbor::{Decode, Encode};

use crate::VolumeKeys;

/// Size of each stamp slot in bytes.
pub const SLOT_BYTES: usize = 4096;
/// Where the LUKS2 header area begins, in bytes.
pub const HEADER_OFFSET: usize = 1 << 20;
/// Length of the LUKS2 header area in bytes.
pub const HEADER_BYTES: usize = 1 << 20;
/// Where the encrypted data begins, in bytes.
pub const DATA_OFFSET: usize = HEADER_OFFSET + HEADER_BYTES;

const SLOT_CONTENT_MAXIMUM: usize = 256;

/// Why the start of a partition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Too few bytes.
    #[error("{found} bytes, a volume's frame has {expected}; is the partition too small?")]
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// No slot holds a stamp that a seat granted: an older, newer or foreign disk, or a blank one.
    #[error(
        "no stamp on the disk is one that the seats granted (slots hold {found:?}, granted {granted:?}); \
         this is another or an older disk: attach the right one, or restore by an owner's record"
    )]
    NotGranted {
        /// Counters of the stamps found, by slot.
        found: [Option<u64>; 2],
        /// Counters of the stamps granted.
        granted: Vec<u64>,
    },
    /// A granted stamp was not made under this volume's key: a seat invented it.
    #[error("stamp {counter} was not made under this volume's key; the seat that granted it lies")]
    StampForged {
        /// Its counter.
        counter: u64,
    },
    /// The header's digest is not the stamp's.
    #[error(
        "the header has digest {found}, stamp {counter} names {expected}; the header was changed or swapped"
    )]
    HeaderDigest {
        /// Counter of the stamp.
        counter: u64,
        /// Digest in the stamp.
        expected: Sha256,
        /// Digest of the header found.
        found: Sha256,
    },
    /// The MAC over header and stamp does not verify.
    #[error("the MAC over header and stamp {counter} does not verify; the slot was changed")]
    HeaderMac {
        /// Counter of the stamp.
        counter: u64,
    },
}

/// The first [`DATA_OFFSET`] bytes of a volume, as read; proves nothing.
#[derive(Debug)]
pub struct Frame<'a> {
    slots: [Option<Slot>; 2],
    header: &'a [u8],
}

/// A frame whose stamp was granted and whose MAC verifies.
#[derive(Debug)]
pub struct OpenedFrame<'a> {
    slot: usize,
    stamp: Stamp,
    header: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct Slot {
    #[n(0)]
    stamp: Stamp,
    #[n(1)]
    header_mac: MacTag,
}

impl<'a> Frame<'a> {
    /// Takes the first [`DATA_OFFSET`] bytes of a partition. A slot that does not parse holds nothing.
    ///
    /// # Errors
    /// [`FrameError::Length`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        if bytes.len() != DATA_OFFSET {
            return Err(FrameError::Length { found: bytes.len(), expected: DATA_OFFSET });
        }
        Ok(Frame {
            slots: [parse_slot(&bytes[..SLOT_BYTES]), parse_slot(&bytes[SLOT_BYTES..2 * SLOT_BYTES])],
            header: &bytes[HEADER_OFFSET..],
        })
    }

    /// Finds a granted stamp on this disk and checks stamp, header digest and MAC, before any parser sees
    /// the header. The committed stamp is preferred; a prepared one is as good until the next commit.
    ///
    /// # Errors
    /// [`FrameError::StampForged`], [`FrameError::NotGranted`], [`FrameError::HeaderDigest`],
    /// [`FrameError::HeaderMac`].
    pub fn open(
        &self,
        keys: &VolumeKeys,
        committed: &Stamp,
        prepared: &[Stamp],
    ) -> Result<OpenedFrame<'a>, FrameError> {
        let granted = || std::iter::once(committed).chain(prepared);
        if let Some(forged) = granted().find(|stamp| !keys.made(stamp)) {
            return Err(FrameError::StampForged { counter: forged.counter });
        }
        for wanted in granted() {
            let place = self.slots.iter().position(|slot| slot.is_some_and(|slot| slot.stamp == *wanted));
            if let Some(place) = place {
                return self.check(place, keys);
            }
        }
        Err(FrameError::NotGranted {
            found: self.slots.map(|slot| slot.map(|slot| slot.stamp.counter)),
            granted: granted().map(|stamp| stamp.counter).collect(),
        })
    }

    fn check(&self, place: usize, keys: &VolumeKeys) -> Result<OpenedFrame<'a>, FrameError> {
        let slot = self.slots[place].expect("the caller found a stamp here");
        let counter = slot.stamp.counter;
        let found = sha256(self.header);
        if found != slot.stamp.header_digest {
            return Err(FrameError::HeaderDigest { counter, expected: slot.stamp.header_digest, found });
        }
        if !keys.verify_header(self.header, &slot.stamp, &slot.header_mac) {
            return Err(FrameError::HeaderMac { counter });
        }
        Ok(OpenedFrame { slot: place, stamp: slot.stamp, header: self.header })
    }
}

impl OpenedFrame<'_> {
    /// The LUKS2 header area, [`HEADER_BYTES`] long: the copy to open, and no other.
    pub fn header(&self) -> &[u8] {
        self.header
    }

    /// The stamp found.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Offset in bytes of the slot that the next stamp goes to: never the one holding this stamp.
    pub fn next_slot_offset(&self) -> usize {
        (1 - self.slot) * SLOT_BYTES
    }
}

/// The digest of a LUKS2 header area that goes into a stamp.
pub fn header_digest(header: &[u8]) -> Sha256 {
    sha256(header)
}

/// One stamp slot, [`SLOT_BYTES`] long, for writing at [`OpenedFrame::next_slot_offset`] (or at 0 for
/// a new volume, whose slot 1 is written with zeros).
pub fn slot_bytes(keys: &VolumeKeys, stamp: &Stamp, header: &[u8]) -> Vec<u8> {
    let content = to_cbor(&Slot { stamp: *stamp, header_mac: keys.header_mac(header, stamp) });
    let mut bytes = (content.len() as u64).to_be_bytes().to_vec();
    bytes.extend_from_slice(&content);
    bytes.resize(SLOT_BYTES, 0);
    bytes
}

fn parse_slot(bytes: &[u8]) -> Option<Slot> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length =
        usize::try_from(u64::from_be_bytes(*length)).ok().filter(|length| *length <= SLOT_CONTENT_MAXIMUM)?;
    let (content, padding) = rest.split_at_checked(length)?;
    if padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    from_cbor(content, SLOT_CONTENT_MAXIMUM).ok()
}
