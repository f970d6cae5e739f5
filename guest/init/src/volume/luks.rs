//! How is `cryptsetup` told what to open?
//!
//! With a detached header in memory and the key on its standard input: nothing secret is in an
//! argument, an environment or a file, and the header on the disk is never looked at by it.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use casemate_guest_sys::block;
use casemate_volume::{VolumeKeys, frame::HEADER_BYTES, luks::FORMAT_ARGUMENTS};

use super::{VolumeError, mapper_name, memory_folder, run_tool};
use crate::root::CRYPTSETUP;

/// Formats `partition`, with its header in `header`.
pub(super) fn format(partition: &Path, header: &HeaderFile, keys: &VolumeKeys) -> Result<(), VolumeError> {
    let header = argument("--header=", &header.path);
    let size_bytes = block::size_bytes(partition).map_err(VolumeError::Missing)?;
    // cryptsetup refuses a device that is no multiple of its sector size.
    let sector_size = if size_bytes % 4096 == 0 { "--sector-size=4096" } else { "--sector-size=512" };
    let mut arguments: Vec<&OsStr> = vec![OsStr::new("luksFormat")];
    arguments.extend(FORMAT_ARGUMENTS.iter().map(OsStr::new));
    arguments.extend(COMMON_ARGUMENTS.iter().map(OsStr::new));
    arguments.extend([OsStr::new(sector_size), &header, partition.as_os_str()]);
    run_tool(CRYPTSETUP, "format the volume", &arguments, keys.disk().expose(), |code| code == 0)
}

/// Opens `partition` by the checked copy of its header, as [`device`].
pub(super) fn open(
    partition: &Path,
    header: &HeaderFile,
    name: &str,
    keys: &VolumeKeys,
) -> Result<(), VolumeError> {
    let header = argument("--header=", &header.path);
    let mapper = mapper_name(name);
    let mut arguments: Vec<&OsStr> = vec![OsStr::new("open"), OsStr::new("--type=luks2")];
    arguments.extend(COMMON_ARGUMENTS.iter().map(OsStr::new));
    arguments.extend([&header, partition.as_os_str(), OsStr::new(&mapper)]);
    run_tool(CRYPTSETUP, "open the volume", &arguments, keys.disk().expose(), |code| code == 0)
}

/// Where an open volume's data is.
pub(super) fn device(name: &str) -> PathBuf {
    Path::new("/dev/mapper").join(mapper_name(name))
}

/// A header in memory, removed when dropped.
pub(super) struct HeaderFile {
    path: PathBuf,
}

impl HeaderFile {
    /// For a header that is about to be made.
    pub(super) fn blank(name: &str) -> Result<Self, VolumeError> {
        Self::holding(name, &[0; HEADER_BYTES])
    }

    /// For a header that was checked.
    pub(super) fn holding(name: &str, header: &[u8]) -> Result<Self, VolumeError> {
        Self::at(memory_folder()?.join(format!("header-{name}")), header).map_err(VolumeError::HeaderFile)
    }

    fn at(path: PathBuf, header: &[u8]) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let made = HeaderFile { path };
        file.write_all(header)?;
        Ok(made)
    }

    /// What it holds: exactly [`HEADER_BYTES`].
    pub(super) fn contents(&self) -> Result<Vec<u8>, VolumeError> {
        let read = || {
            let mut header = vec![0; HEADER_BYTES];
            File::open(&self.path)?.read_exact(&mut header)?;
            Ok(header)
        };
        read().map_err(VolumeError::HeaderFile)
    }
}

impl Drop for HeaderFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn argument(option: &str, value: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(option);
    argument.push(value);
    argument
}

/// The key comes whole on standard input; there is no udev and no second process to lock out.
const COMMON_ARGUMENTS: [&str; 3] = ["--key-file=-", "--keyfile-size=64", "--disable-locks"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_header_file_is_private_and_short_lived() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("header");
        let file = HeaderFile::at(path.clone(), &[5; HEADER_BYTES]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.contents().unwrap(), vec![5; HEADER_BYTES]);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_header_file_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("header");
        fs::write(&path, b"other").unwrap();
        assert!(HeaderFile::at(path.clone(), b"ours").is_err());
        assert_eq!(fs::read(path).unwrap(), b"other");
    }
}
