//! What is on the launch disk?
//!
//! Read into memory once, with bounds, and only that copy is ever used: the host can change the disk
//! between two reads.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use casemate_api::{
    launch::{LaunchBundle, LaunchDiskError},
    progress::FailureCode,
};
use casemate_guest_sys::{self as sys, block};

/// Reads the disk `launch`.
///
/// # Errors
/// [`LaunchError`].
pub fn read_disk() -> Result<LaunchBundle, LaunchError> {
    let disk = block::disk_with_serial("launch").map_err(LaunchError::Disk)?;
    read(&disk)
}

/// Reads a launch disk's contents from `path`.
///
/// # Errors
/// [`LaunchError::Read`], [`LaunchError::Contents`].
pub fn read(path: &Path) -> Result<LaunchBundle, LaunchError> {
    let mut disk = File::open(path).map_err(LaunchError::Read)?;
    let mut contents = vec![0; FIRST_BYTES];
    let found = read_up_to(&mut disk, &mut contents).map_err(LaunchError::Read)?;
    contents.truncate(found);
    let length = LaunchBundle::stated_length(&contents)?;
    let whole = LaunchBundle::disk_bytes(length);
    if whole > FIRST_BYTES {
        contents.resize(whole, 0);
        let found = read_up_to(&mut disk, &mut contents[FIRST_BYTES..]).map_err(LaunchError::Read)?;
        contents.truncate(FIRST_BYTES + found);
    }
    Ok(LaunchBundle::from_disk(&contents)?)
}

/// Why there is nothing to launch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The disk is not there.
    #[error(transparent)]
    Disk(sys::Error),
    /// It cannot be read.
    #[error("reading the launch disk: {0}")]
    Read(#[source] io::Error),
    /// It holds something else.
    #[error(transparent)]
    Contents(#[from] LaunchDiskError),
}

impl LaunchError {
    /// The code in the public notice.
    pub fn code(&self) -> FailureCode {
        match self {
            LaunchError::Disk(_) => FailureCode::DeviceMissing,
            LaunchError::Read(_) | LaunchError::Contents(_) => FailureCode::LaunchRefused,
        }
    }
}

fn read_up_to(disk: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match disk.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

const FIRST_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(manifest_bytes: usize) -> LaunchBundle {
        LaunchBundle {
            manifest: vec![1; manifest_bytes],
            genesis: vec![],
            roster_chain: vec![],
            instance_record: vec![],
            files: vec![],
        }
    }

    fn disk(contents: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        file
    }

    #[test]
    fn disks_of_one_and_of_many_blocks_are_read() {
        for size in [10, 4096, 100_000] {
            let disk = disk(&bundle(size).to_disk());
            assert_eq!(read(disk.path()).unwrap(), bundle(size));
        }
    }

    #[test]
    fn nothing_behind_the_bundle_s_last_block_is_read() {
        let mut contents = bundle(10).to_disk();
        contents.extend_from_slice(&[0xff; 8192]);
        assert_eq!(read(disk(&contents).path()).unwrap(), bundle(10));
    }

    #[test]
    fn a_disk_that_ends_early_is_refused() {
        let contents = bundle(100_000).to_disk();
        let error = read(disk(&contents[..8192]).path()).unwrap_err();
        assert!(
            matches!(error, LaunchError::Contents(LaunchDiskError::Short { found: 8192, .. })),
            "{error}"
        );
        let error = read(disk(b"").path()).unwrap_err();
        assert!(matches!(error, LaunchError::Contents(LaunchDiskError::Short { found: 0, .. })), "{error}");
    }

    #[test]
    fn a_stated_length_beyond_the_limit_is_not_allocated() {
        let error = read(disk(&[0xff; 4096]).path()).unwrap_err();
        assert!(matches!(error, LaunchError::Contents(LaunchDiskError::TooLong { .. })), "{error}");
    }
}
