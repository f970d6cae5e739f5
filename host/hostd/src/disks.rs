//! Is the VM's writable disk there, and as large as its volumes need?
//!
//! A raw sparse file with a GUID partition table. Raw, because a guest writes every byte of its disk:
//! with a format that QEMU parses it could try to name other files of the host.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use casemate_api::host::DataDisk;

use crate::error::{Blame, Explain};
use crate::gpt::{MAXIMUM_PARTITIONS, Table};

/// Why a disk cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// A volume's name does not fit a partition's.
    #[error("volume name {name:?}; expected 1 to 36 of a-z, 0-9, '-' and '_'")]
    VolumeName {
        /// The name.
        name: String,
    },
    /// The same name twice.
    #[error("two volumes are named {name:?}")]
    VolumeTwice {
        /// The name.
        name: String,
    },
    /// No volumes, or more than a table holds.
    #[error("a data disk has 1 to {maximum} volumes, not {found}")]
    VolumeCount {
        /// How many were asked for.
        found: usize,
        /// The limit.
        maximum: usize,
    },
    /// More than a disk of this host may have.
    #[error("a data disk of {found} bytes; at most {maximum} bytes")]
    TooLarge {
        /// Size asked for in bytes.
        found: u64,
        /// The limit in bytes.
        maximum: u64,
    },
    /// A kept disk has other volumes, or one in its middle of another size.
    #[error(
        "the disk that was kept holds {found}, which {expected} would destroy; only the last volume can grow"
    )]
    CannotChange {
        /// Volumes on the disk, in MiB.
        found: Layout,
        /// Volumes asked for, in MiB.
        expected: Layout,
    },
    /// The file system refused.
    #[error("cannot write disk {}: {source}", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Explain for DiskError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Self::VolumeName { .. } | Self::VolumeTwice { .. } => {
                ("volume_name", Blame::Request, "rename the volume in compose.yaml")
            }
            Self::VolumeCount { .. } => ("volume_count", Blame::Request, "put several mounts on one volume"),
            Self::TooLarge { .. } => ("disk_too_large", Blame::TooLarge, "ask for smaller volumes"),
            Self::CannotChange { .. } => (
                "disk_layout",
                Blame::Conflict,
                "restore the volumes as they were, or remove the VM with its disks (this destroys the data)",
            ),
            Self::Storage { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ("disk_full", Blame::NoRoom, "free space in the state directory")
            }
            Self::Storage { .. } => ("storage", Blame::Host, "check owner and mode of the state directory"),
        }
    }
}

/// Names and sizes of volumes, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Vec<(String, u64)>);

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, size_bytes)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name} of {} MiB", size_bytes >> 20)?;
        }
        Ok(())
    }
}

/// Checks what a spec asks for and lays it out.
///
/// # Errors
/// [`DiskError::VolumeName`], [`DiskError::VolumeTwice`], [`DiskError::VolumeCount`],
/// [`DiskError::TooLarge`].
pub fn plan(disk: &DataDisk, maximum_bytes: u64) -> Result<Table, DiskError> {
    let count = disk.volumes.len();
    if !(1..=MAXIMUM_PARTITIONS).contains(&count) {
        return Err(DiskError::VolumeCount { found: count, maximum: MAXIMUM_PARTITIONS });
    }
    let mut total_bytes = 0_u64;
    for (index, volume) in disk.volumes.iter().enumerate() {
        let name = volume.name.clone();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if !(1..=36).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(DiskError::VolumeName { name });
        }
        if disk.volumes[..index].iter().any(|earlier| earlier.name == name) {
            return Err(DiskError::VolumeTwice { name });
        }
        total_bytes = total_bytes.saturating_add(volume.size_bytes);
    }
    if total_bytes > maximum_bytes {
        return Err(DiskError::TooLarge { found: total_bytes, maximum: maximum_bytes });
    }
    Ok(Table::lay_out(disk.volumes.iter().map(|volume| (volume.name.as_str(), volume.size_bytes))))
}

/// Makes the disk `path`, or grows the one that is there to `table`. Contents of volumes stay.
///
/// `before` is the table of the disk that is there, if there is one.
///
/// # Errors
/// [`DiskError::CannotChange`], [`DiskError::Storage`].
pub fn ensure(path: &Path, table: &Table, before: Option<&Table>, identity: &[u8]) -> Result<(), DiskError> {
    let storage = |source| DiskError::Storage { path: path.to_owned(), source };
    let Some(before) = before.filter(|_| path.exists()) else {
        let unfinished = path.with_extension("new");
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        write(&file.map_err(storage)?, table, identity).map_err(storage)?;
        return fs::rename(&unfinished, path).map_err(storage);
    };
    if before == table {
        return Ok(());
    }
    if !grows_into(before, table) {
        return Err(DiskError::CannotChange { found: layout(before), expected: layout(table) });
    }
    write(&File::options().write(true).open(path).map_err(storage)?, table, identity).map_err(storage)
}

/// The old volumes stay where they are; the last may be longer and new ones may follow.
fn grows_into(before: &Table, after: &Table) -> bool {
    let Some(last) = before.partitions.len().checked_sub(1) else { return true };
    before.partitions.len() <= after.partitions.len()
        && before.partitions.iter().zip(&after.partitions).enumerate().all(|(index, (old, new))| {
            let same_place = old.name == new.name && old.offset_bytes == new.offset_bytes;
            same_place
                && (old.size_bytes == new.size_bytes || index == last && old.size_bytes < new.size_bytes)
        })
}

fn write(file: &File, table: &Table, identity: &[u8]) -> io::Result<()> {
    file.set_len(table.disk_bytes)?;
    // The copy first: a table that is cut short at the front still has a whole one at the end.
    file.write_all_at(&table.back(identity), table.back_offset_bytes())?;
    file.sync_all()?;
    file.write_all_at(&table.front(identity), 0)?;
    file.sync_all()
}

fn layout(table: &Table) -> Layout {
    Layout(table.partitions.iter().map(|p| (p.name.clone(), p.size_bytes)).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use casemate_api::host::DataVolume;

    use super::*;

    fn disk(volumes: &[(&str, u64)]) -> DataDisk {
        let volumes =
            volumes.iter().map(|&(name, mib)| DataVolume { name: name.into(), size_bytes: mib << 20 });
        DataDisk { volumes: volumes.collect() }
    }

    fn table(volumes: &[(&str, u64)]) -> Table {
        plan(&disk(volumes), 1 << 40).unwrap()
    }

    #[test]
    fn names_sizes_and_numbers_of_volumes_are_checked() {
        let refusal = |volumes: &[(&str, u64)]| plan(&disk(volumes), 1 << 30).unwrap_err();
        assert!(matches!(refusal(&[]), DiskError::VolumeCount { found: 0, .. }));
        assert!(matches!(refusal(&[("Data", 1)]), DiskError::VolumeName { .. }));
        assert!(matches!(refusal(&[("", 1)]), DiskError::VolumeName { .. }));
        assert!(matches!(refusal(&[("a", 1), ("a", 1)]), DiskError::VolumeTwice { .. }));
        assert!(matches!(refusal(&[("a", 2000)]), DiskError::TooLarge { .. }));
        assert!(matches!(refusal(&[("a", u64::MAX >> 20), ("b", 5)]), DiskError::TooLarge { .. }));
    }

    #[test]
    fn a_disk_takes_no_room_and_keeps_its_contents_when_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.img");
        let (small, large) = (table(&[("data", 64)]), table(&[("data", 4096), ("more", 1)]));
        ensure(&path, &small, None, b"vm").unwrap();
        assert!(path.metadata().unwrap().blocks() * 512 < 1 << 20);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.write_all_at(b"contents", small.partitions[0].offset_bytes).unwrap();
        ensure(&path, &large, Some(&small), b"vm").unwrap();
        let mut contents = [0; 8];
        file.read_exact_at(&mut contents, large.partitions[0].offset_bytes).unwrap();
        assert_eq!(&contents, b"contents");
        assert_eq!(path.metadata().unwrap().len(), large.disk_bytes);
    }

    #[test]
    fn a_change_that_would_destroy_a_volume_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.img");
        let before = table(&[("a", 8), ("b", 8)]);
        ensure(&path, &before, None, b"vm").unwrap();
        for volumes in [&[("a", 8)][..], &[("b", 8), ("a", 8)], &[("a", 9), ("b", 8)], &[("a", 8), ("b", 7)]]
        {
            let refusal = ensure(&path, &table(volumes), Some(&before), b"vm").unwrap_err();
            assert!(matches!(refusal, DiskError::CannotChange { .. }), "{volumes:?}");
        }
        ensure(&path, &table(&[("a", 8), ("b", 9)]), Some(&before), b"vm").unwrap();
    }
}
