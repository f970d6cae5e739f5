//! How does a volume's filesystem come to be, and to grow?

use std::{ffi::OsStr, fs, path::Path};

use casemate_guest_sys::mount::Mount;

use super::{VolumeError, run_tool};
use crate::root::{E2FSCK, MKE2FS, RESIZE2FS};

/// Makes an ext4 that fills `device`; its tables are written later, in the background.
pub(super) fn make(device: &Path) -> Result<(), VolumeError> {
    let fixed = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-m",
        "0",
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
    ];
    let mut arguments: Vec<&OsStr> = fixed.iter().map(OsStr::new).collect();
    arguments.push(device.as_os_str());
    run_tool(MKE2FS, "make a filesystem", &arguments, b"", |code| code == 0)
}

/// Checks `device`, mounts it read-write at `mount_point` and lets it fill the device.
pub(super) fn mount(device: &Path, mount_point: &Path) -> Result<(), VolumeError> {
    // 1: "file system errors corrected" (e2fsck(8), EXIT CODE); anything beyond needs a person.
    let arguments = [OsStr::new("-p"), device.as_os_str()];
    run_tool(E2FSCK, "check the filesystem", &arguments, b"", |code| code <= 1)?;
    // The root is read-only and has the mount point; anywhere else it is made.
    let _ = fs::create_dir_all(mount_point);
    Mount::new("ext4", device, mount_point)
        .options("errors=remount-ro")
        .mount()
        .map_err(VolumeError::Mount)?;
    // After the host has grown the partition; otherwise it finds nothing to do.
    run_tool(RESIZE2FS, "grow the filesystem", &[device.as_os_str()], b"", |code| code == 0)
}
