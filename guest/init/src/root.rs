//! Is this the root filesystem that was measured?
//!
//! Opened before any key is asked for: a guest that cannot read its own root has no use for keys.

use std::{
    convert::Infallible,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use casemate_api::{handover, progress::FailureCode};
use casemate_guest_sys::{
    self as sys, block,
    device_mapper::{DeviceMapper, Verity},
    mount::{self, Mount},
};

/// Opens the disk `root` by dm-verity, mounts its erofs, reads through the programs that init will run
/// and makes it the root.
///
/// # Errors
/// [`RootError`].
pub fn enter(verity: &Verity) -> Result<(), RootError> {
    let disk = block::disk_with_serial("root").map_err(RootError::Disk)?;
    let device = DeviceMapper::open()
        .and_then(|mapper| mapper.open_verity(handover::ROOT_DEVICE, &disk, verity))
        .map_err(RootError::Open)?;
    fs::create_dir_all(SYSROOT).map_err(|source| RootError::Read { path: SYSROOT.into(), source })?;
    Mount::new("erofs", &device, SYSROOT).read_only().mount().map_err(RootError::Open)?;
    for program in PROGRAMS {
        read_through(&Path::new(SYSROOT).join(program.trim_start_matches('/')))?;
    }
    switch()
}

/// Programs that init runs, in the root.
pub const PROGRAMS: [&str; 5] = [handover::AGENT, CRYPTSETUP, MKE2FS, E2FSCK, RESIZE2FS];

/// Opens and formats LUKS2.
pub const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
/// Makes ext4.
pub const MKE2FS: &str = "/usr/sbin/mke2fs";
/// Checks ext4.
pub const E2FSCK: &str = "/usr/sbin/e2fsck";
/// Grows ext4.
pub const RESIZE2FS: &str = "/usr/sbin/resize2fs";

/// Why there is no root filesystem.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// The disk is not there.
    #[error(transparent)]
    Disk(sys::Error),
    /// It cannot be opened or mounted: the first blocks are verified here.
    #[error("{0}; the disk `root` must be the root.img of this image")]
    Open(sys::Error),
    /// A block is not the one that was measured, or the image lacks a file.
    #[error("reading {path}: {source}; the disk `root` must be the root.img of this image")]
    Read {
        /// The file.
        path: PathBuf,
        /// `EIO` where a block does not verify.
        source: io::Error,
    },
    /// The root cannot be switched.
    #[error("{0}; the image must have the folders dev, proc, run, sys, tmp and var")]
    Switch(sys::Error),
}

impl RootError {
    /// The code in the public notice.
    pub fn code(&self) -> FailureCode {
        match self {
            RootError::Disk(_) => FailureCode::DeviceMissing,
            _ => FailureCode::RootRefused,
        }
    }
}

/// Reads a file to its end, which verifies every block of it.
fn read_through(path: &Path) -> Result<(), RootError> {
    let failed = |source| RootError::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut chunk = vec![0; 1 << 20];
    while file.read(&mut chunk).map_err(failed)? > 0 {}
    Ok(())
}

/// Takes the kernel's filesystems along, gives the root its writable places and steps into it.
fn switch() -> Result<(), RootError> {
    for folder in ["dev", "proc", "run", "sys"] {
        mount::move_to(Path::new("/").join(folder), Path::new(SYSROOT).join(folder))
            .map_err(RootError::Switch)?;
    }
    mount::switch_root(SYSROOT).map_err(RootError::Switch)?;
    for (target, options) in [("/tmp", "mode=1777,size=128m"), ("/var", "mode=755,size=128m")] {
        Mount::new("tmpfs", "tmpfs", target).options(options).mount().map_err(RootError::Switch)?;
    }
    Ok(())
}

/// Where the root is mounted before it is the root.
const SYSROOT: &str = "/sysroot";

/// Becomes the agent.
///
/// # Errors
/// Why it could not be executed; returns only then.
pub fn become_agent() -> io::Result<Infallible> {
    use std::os::unix::process::CommandExt;
    let error = std::process::Command::new(handover::AGENT)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .exec();
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = read_through(Path::new("/nonexistent/program")).unwrap_err();
        assert_eq!(error.code(), FailureCode::RootRefused);
        assert!(error.to_string().starts_with("reading /nonexistent/program: "), "{error}");
    }
}
