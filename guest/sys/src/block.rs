//! Which disk is which, and how large?

use std::{
    fs::{self, File},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::{Error, sys};

/// The virtio disk whose serial number is `serial`, as `/dev/vdX`.
///
/// # Errors
/// [`Error::NoDisk`], [`Error::AmbiguousDisk`]: the host names disks, so a name that occurs twice is
/// refused rather than guessed.
pub fn disk_with_serial(serial: &str) -> Result<PathBuf, Error> {
    disk_with_serial_in(Path::new("/sys/block"), serial)
}

fn disk_with_serial_in(sys_block: &Path, serial: &str) -> Result<PathBuf, Error> {
    let mut serials = Vec::new();
    let mut disks = Vec::new();
    for (name, entry) in entries(sys_block)? {
        if !name.starts_with("vd") {
            continue;
        }
        let Ok(found) = fs::read_to_string(entry.join("serial")) else { continue };
        let found = found.trim_end_matches('\n').to_owned();
        if found == serial {
            disks.push(Path::new("/dev").join(&name));
        }
        serials.push(found);
    }
    match disks.len() {
        1 => Ok(disks.remove(0)),
        0 => Err(Error::NoDisk { serial: serial.to_owned(), found: serials }),
        count => Err(Error::AmbiguousDisk { serial: serial.to_owned(), count }),
    }
}

/// The partition named `name` in the GPT of `disk` (`/dev/vdX`), as `/dev/vdXN`.
///
/// The kernel has read the table. The table is host data: it decides where a volume lies, which the
/// volume's own authentication then checks.
///
/// # Errors
/// [`Error::Partition`] unless exactly one partition has that name.
pub fn partition(disk: &Path, name: &str) -> Result<PathBuf, Error> {
    partition_in(Path::new("/sys/block"), disk, name)
}

fn partition_in(sys_block: &Path, disk: &Path, name: &str) -> Result<PathBuf, Error> {
    let Some(disk_name) = disk.file_name().and_then(|name| name.to_str()) else {
        return Err(Error::Partition { name: name.to_owned(), disk: disk.into(), count: 0 });
    };
    let line = format!("PARTNAME={name}");
    let mut found = Vec::new();
    for (entry_name, entry) in entries(&sys_block.join(disk_name))? {
        if !entry_name.starts_with(disk_name) {
            continue;
        }
        let Ok(uevent) = fs::read_to_string(entry.join("uevent")) else { continue };
        if uevent.lines().any(|found| found == line) {
            found.push(Path::new("/dev").join(&entry_name));
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        count => Err(Error::Partition { name: name.to_owned(), disk: disk.into(), count }),
    }
}

/// Size in bytes of a block device.
///
/// # Errors
/// [`Error::Call`].
pub fn size_bytes(device: &Path) -> Result<u64, Error> {
    let file = File::open(device).map_err(Error::call("open", device))?;
    size_bytes_of(&file).map_err(Error::call("BLKGETSIZE64", device))
}

/// Size in bytes of an open block device.
///
/// # Errors
/// The kernel's, where `file` is no block device.
pub fn size_bytes_of(file: &File) -> std::io::Result<u64> {
    sys::ioctl_read_u64(file, BLKGETSIZE64)
}

/// Writes out and then forgets what the kernel has buffered of a block device, so that the next read
/// sees the disk.
///
/// # Errors
/// [`Error::Call`].
pub fn flush(device: &Path) -> Result<(), Error> {
    let file = File::open(device).map_err(Error::call("open", device))?;
    file.sync_all().map_err(Error::call("fsync", device))?;
    sys::ioctl_none(&file, BLKFLSBUF).map_err(Error::call("BLKFLSBUF", device))
}

/// `major:minor` of a block device, which names it whatever happens to its path.
///
/// # Errors
/// [`Error::Call`]: `ENOTBLK` where it is no block device.
pub fn number(device: &Path) -> Result<String, Error> {
    let metadata = fs::metadata(device).map_err(Error::call("stat", device))?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::call("stat", device)(std::io::Error::from_raw_os_error(libc::ENOTBLK)));
    }
    let number = metadata.rdev();
    Ok(format!("{}:{}", libc::major(number), libc::minor(number)))
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .map_err(Error::call("read", folder))?
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    entries.sort();
    Ok(entries)
}

// linux/fs.h: _IOR(0x12, 114, size_t) and _IO(0x12, 97).
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
const BLKFLSBUF: libc::c_ulong = 0x1261;

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/sys/block` with these (disk, serial) and (partition, name).
    fn sys_block(disks: &[(&str, &str)], partitions: &[(&str, &str)]) -> PathBuf {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("casemate-sys-block-{}-{number}", std::process::id()));
        for (disk, serial) in disks {
            fs::create_dir_all(folder.join(disk)).unwrap();
            fs::write(folder.join(disk).join("serial"), serial).unwrap();
        }
        for (partition, name) in partitions {
            let entry = folder.join(&partition[..3]).join(partition);
            fs::create_dir_all(&entry).unwrap();
            fs::write(entry.join("uevent"), format!("DEVNAME={partition}\nPARTNAME={name}\n")).unwrap();
        }
        folder
    }

    #[test]
    fn a_disk_is_found_by_its_serial() {
        let folder = sys_block(&[("vda", "root"), ("vdb", "launch")], &[]);
        assert_eq!(disk_with_serial_in(&folder, "launch").unwrap(), Path::new("/dev/vdb"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_serial_that_is_missing_or_doubled_is_refused() {
        let folder = sys_block(&[("vda", "root"), ("vdb", "root"), ("sda", "data")], &[]);
        assert!(matches!(disk_with_serial_in(&folder, "data"), Err(Error::NoDisk { .. })));
        assert!(matches!(disk_with_serial_in(&folder, "root"), Err(Error::AmbiguousDisk { count: 2, .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_partition_is_found_by_its_whole_name() {
        let folder = sys_block(&[("vda", "data")], &[("vda1", "data-old"), ("vda2", "data")]);
        let disk = Path::new("/dev/vda");
        assert_eq!(partition_in(&folder, disk, "data").unwrap(), Path::new("/dev/vda2"));
        assert!(matches!(partition_in(&folder, disk, "dat"), Err(Error::Partition { count: 0, .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_partition_name_that_occurs_twice_is_refused() {
        let folder = sys_block(&[("vda", "data")], &[("vda1", "data"), ("vda2", "data")]);
        let disk = Path::new("/dev/vda");
        assert!(matches!(partition_in(&folder, disk, "data"), Err(Error::Partition { count: 2, .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_is_no_block_device() {
        assert_eq!(number(Path::new("/dev/null")).unwrap_err().errno(), Some(libc::ENOTBLK));
        assert_eq!(size_bytes(Path::new("/dev/null")).unwrap_err().errno(), Some(libc::ENOTTY));
    }
}
