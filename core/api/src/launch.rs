//! What does a guest get to boot with, besides its image?
//!
//! The launch disk is written by the tenant's side and passes through the host's hands: all of it is
//! hostile until the guest has checked it. The manifest must be the one that the hardware names, the
//! roster must descend from the manifest's key service, files must have the manifest's digests.
//!
//! Layout, in `docs/reference/boot.md`: the bundle's length as 8 bytes big-endian, the bundle as
//! deterministic CBOR, zeros up to a multiple of 4096 bytes.

use casemate_canon::{from_cbor, to_cbor};
use minicbor::{Decode, Encode};

/// Everything on the launch disk.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LaunchBundle {
    /// The manifest's CBOR: SHA-256 of exactly these bytes is the workload digest.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest: Vec<u8>,
    /// CBOR of the app's genesis; its digest is the manifest's app id.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub genesis: Vec<u8>,
    /// CBOR of the key service's roster chain; its first digest is the manifest's KMS id.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub roster_chain: Vec<u8>,
    /// CBOR of the signed instance record.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub instance_record: Vec<u8>,
    /// Contents of the manifest's small files, in the manifest's order.
    #[n(4)]
    pub files: Vec<LaunchFile>,
}

impl LaunchBundle {
    /// Largest bundle in bytes, without the length in front and the zeros behind.
    pub const MAXIMUM_BYTES: usize = 16 << 20;

    /// Reads the disk's contents, which may have more zeros behind than needed.
    ///
    /// # Errors
    /// [`LaunchDiskError`]; nothing is read beyond the stated length but zeros.
    pub fn from_disk(disk: &[u8]) -> Result<Self, LaunchDiskError> {
        let length = Self::stated_length(disk)?;
        let (bundle, padding) = disk[LENGTH_BYTES..]
            .split_at_checked(length)
            .ok_or(LaunchDiskError::Short { expected: LENGTH_BYTES + length, found: disk.len() })?;
        if let Some(at) = padding.iter().position(|&byte| byte != 0) {
            return Err(LaunchDiskError::NotPadding { offset: LENGTH_BYTES + length + at });
        }
        Ok(from_cbor(bundle, Self::MAXIMUM_BYTES)?)
    }

    /// The length in bytes that the first 8 bytes of a disk state, so that a reader can bound what it
    /// reads.
    ///
    /// # Errors
    /// [`LaunchDiskError::Short`] and [`LaunchDiskError::TooLong`].
    pub fn stated_length(disk: &[u8]) -> Result<usize, LaunchDiskError> {
        let length = disk
            .first_chunk::<LENGTH_BYTES>()
            .ok_or(LaunchDiskError::Short { expected: LENGTH_BYTES, found: disk.len() })?;
        let length = u64::from_be_bytes(*length);
        usize::try_from(length)
            .ok()
            .filter(|&length| length <= Self::MAXIMUM_BYTES)
            .ok_or(LaunchDiskError::TooLong { found: length, maximum: Self::MAXIMUM_BYTES })
    }

    /// Writes the disk's contents: a multiple of 4096 bytes.
    pub fn to_disk(&self) -> Vec<u8> {
        let bundle = to_cbor(self);
        let mut disk = Vec::with_capacity(Self::disk_bytes(bundle.len()));
        disk.extend_from_slice(&(bundle.len() as u64).to_be_bytes());
        disk.extend_from_slice(&bundle);
        disk.resize(Self::disk_bytes(bundle.len()), 0);
        disk
    }

    /// Size in bytes of the disk for a bundle of `length` bytes.
    pub fn disk_bytes(length: usize) -> usize {
        (LENGTH_BYTES + length).next_multiple_of(BLOCK_BYTES)
    }
}

/// One small file that services get as a config.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LaunchFile {
    /// SHA-256 of the content, as in the manifest.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// The content.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub content: Vec<u8>,
}

/// Why a disk is not a launch disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchDiskError {
    /// The disk ends before what it states.
    #[error("launch disk has {found} bytes, expected at least {expected}; write it again")]
    Short {
        /// Bytes needed.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The stated length is beyond what any guest reads.
    #[error("launch disk states {found} bytes, at most {maximum} are read; move large files into an image")]
    TooLong {
        /// Stated length in bytes.
        found: u64,
        /// Largest length in bytes.
        maximum: usize,
    },
    /// Something stands behind the bundle.
    #[error("launch disk has a byte other than zero at offset {offset}, behind its bundle; write it again")]
    NotPadding {
        /// Offset in bytes from the disk's start.
        offset: usize,
    },
    /// The bundle is not what this version writes.
    #[error("launch bundle: {0}")]
    Encoding(#[from] casemate_canon::Error),
}

const LENGTH_BYTES: usize = 8;
const BLOCK_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> LaunchBundle {
        LaunchBundle {
            manifest: vec![1; 100],
            genesis: vec![2; 10],
            roster_chain: vec![3; 5000],
            instance_record: vec![4; 20],
            files: vec![LaunchFile { digest: [5; 32], content: b"listen 80".to_vec() }],
        }
    }

    #[test]
    fn a_disk_reads_back_and_is_whole_blocks() {
        let disk = bundle().to_disk();
        assert_eq!(disk.len(), 8192);
        assert_eq!(LaunchBundle::from_disk(&disk).unwrap(), bundle());
    }

    #[test]
    fn more_zeros_are_no_harm() {
        let mut disk = bundle().to_disk();
        disk.resize(1 << 20, 0);
        assert_eq!(LaunchBundle::from_disk(&disk).unwrap(), bundle());
    }

    #[test]
    fn a_byte_behind_the_bundle_is_refused() {
        let mut disk = bundle().to_disk();
        disk[8191] = 1;
        assert!(matches!(LaunchBundle::from_disk(&disk), Err(LaunchDiskError::NotPadding { offset: 8191 })));
    }

    #[test]
    fn a_short_disk_is_refused() {
        let disk = bundle().to_disk();
        assert!(matches!(
            LaunchBundle::from_disk(&disk[..4096]),
            Err(LaunchDiskError::Short { found: 4096, .. })
        ));
        assert!(matches!(
            LaunchBundle::from_disk(&[0; 7]),
            Err(LaunchDiskError::Short { expected: 8, found: 7 })
        ));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_reading() {
        for length in [LaunchBundle::MAXIMUM_BYTES as u64 + 1, u64::MAX] {
            let disk = length.to_be_bytes();
            assert!(matches!(
                LaunchBundle::from_disk(&disk),
                Err(LaunchDiskError::TooLong { found, .. }) if found == length
            ));
        }
    }

    #[test]
    fn a_shorter_stated_length_is_refused() {
        let mut disk = bundle().to_disk();
        disk[7] -= 1;
        assert!(LaunchBundle::from_disk(&disk).is_err());
    }
}
