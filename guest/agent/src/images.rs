//! Are these the image's bytes?
//!
//! Each image is a disk that the host brought. It is opened through dm-verity with root hash and size
//! from the manifest alone, so the kernel verifies every block when it is read and nothing is copied;
//! a writable layer on the encrypted volume (or in memory) lies above it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use casemate_guest_sys::device_mapper::{DeviceMapper, Verity};
use casemate_guest_sys::{block, mount};
use casemate_workload::manifest::Image;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused: no such disk, too small, or its content is not what the manifest names.
    #[error(
        "image of service {service}, disk {serial}: {source}; upload the image named in compose.lock again"
    )]
    Refused {
        /// Service.
        service: String,
        /// Serial number of the disk.
        serial: String,
        /// What failed.
        source: casemate_guest_sys::Error,
    },
    /// A block that was read is not the image's: the disk was changed after it was opened.
    #[error(
        "disk {serial}: a block that was read is not the one that the manifest names; the host changed the disk \
         while it was in use"
    )]
    Changed {
        /// Serial number of the disk.
        serial: String,
    },
    /// The kernel does not say whether the blocks read were the image's.
    #[error("disk {serial}: {source}")]
    Unwatched {
        /// Serial number of the disk.
        serial: String,
        /// What failed.
        source: casemate_guest_sys::Error,
    },
    /// A folder of the guest cannot be made or emptied.
    #[error("{path}: {source}; is the data volume full?")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The layers of a container cannot be put together.
    #[error("root filesystem of service {service}: {source}")]
    Overlay {
        /// Service.
        service: String,
        /// What failed.
        source: casemate_guest_sys::Error,
    },
}

/// The images in use, each opened once however many services run from it.
#[derive(Debug, Default)]
pub struct Images {
    opened: BTreeMap<String, PathBuf>,
}

impl Images {
    /// Opens every different image, all at the same time.
    ///
    /// # Errors
    /// The first [`Error::Refused`] or [`Error::Folder`].
    pub fn open(images: &[Image]) -> Result<Self, Error> {
        let different: BTreeMap<String, &Image> =
            images.iter().map(|image| (image.disk_serial(), image)).collect();
        std::thread::scope(|scope| {
            let opening: Vec<_> = different
                .iter()
                .map(|(serial, image)| (serial.clone(), scope.spawn(move || open_one(serial, image))))
                .collect();
            let mut opened = BTreeMap::new();
            for (serial, thread) in opening {
                opened.insert(serial, thread.join().expect("it does not panic")?);
            }
            Ok(Images { opened })
        })
    }

    /// Where the image is mounted, read-only.
    ///
    /// # Panics
    /// If `image` was not among those opened.
    pub fn folder(&self, image: &Image) -> &Path {
        &self.opened[&image.disk_serial()]
    }

    /// Refuses to go on once a block of any image was not the one that the manifest names.
    ///
    /// The reader got `EIO`, never the changed block; but a program may take a file that it cannot read for
    /// one that is not there, so nothing of the workload is to run on.
    ///
    /// # Errors
    /// [`Error::Changed`], [`Error::Unwatched`].
    pub fn check(&self) -> Result<(), Error> {
        for serial in self.opened.keys() {
            let met = DeviceMapper::open().and_then(|mapper| mapper.met_corruption(&device_name(serial)));
            if met.map_err(|source| Error::Unwatched { serial: serial.clone(), source })? {
                return Err(Error::Changed { serial: serial.clone() });
            }
        }
        Ok(())
    }

    /// Unmounts and closes all of them, as far as nobody uses them any more.
    pub fn close(&self) {
        let mapper = DeviceMapper::open();
        for (serial, folder) in &self.opened {
            let _ = mount::unmount(folder);
            if let Ok(mapper) = &mapper {
                let _ = mapper.remove(&device_name(serial));
            }
        }
    }
}

/// Where the writable part of a container lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper<'a> {
    /// In this folder of the encrypted volume; kept while the workload digest stays the same.
    Kept(&'a Path),
    /// In this folder of a memory file system; only mount points are made there.
    Memory(&'a Path),
}

/// Puts a writable layer above the image at `lower` and mounts both at `target`.
///
/// # Errors
/// [`Error::Folder`], [`Error::Overlay`].
pub fn overlay(service: &str, lower: &Path, upper: Upper<'_>, target: &Path) -> Result<(), Error> {
    let (Upper::Kept(folder) | Upper::Memory(folder)) = upper;
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    for path in [&upper, &work, &target.to_owned()] {
        fs::create_dir_all(path).map_err(|source| Error::Folder { path: path.clone(), source })?;
    }
    // The container's root belongs to everyone to pass, whatever the umask of this process.
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    mount::Mount::new("overlay", "overlay", target)
        .options(options)
        .mount()
        .map_err(|source| Error::Overlay { service: service.into(), source })
}

/// Empties `folder` unless it was made for this `workload` digest: what a container wrote belongs to
/// the container, and another workload has other containers. Named volumes are elsewhere.
///
/// # Errors
/// [`Error::Folder`].
pub fn keep_only_for(folder: &Path, workload: &str) -> Result<(), Error> {
    let failed = |source| Error::Folder { path: folder.to_owned(), source };
    let mark = folder.join("workload");
    if fs::read_to_string(&mark).is_ok_and(|found| found == workload) {
        return Ok(());
    }
    // The mark goes first and comes last: after a crash in between, the folder is emptied again.
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir_all(folder).map_err(failed)?;
    fs::write(&mark, workload).map_err(failed)
}

fn open_one(serial: &str, image: &Image) -> Result<PathBuf, Error> {
    let refused = |source| Error::Refused { service: image.service.clone(), serial: serial.into(), source };
    let disk = block::disk_with_serial(serial).map_err(refused)?;
    let verity = Verity { root_hash: *image.root_hash.as_bytes(), data_blocks: image.data_blocks };
    let device = DeviceMapper::open()
        .and_then(|mapper| mapper.open_verity(&device_name(serial), &disk, &verity))
        .map_err(refused)?;
    let folder = Path::new(IMAGES).join(serial);
    fs::create_dir_all(&folder).map_err(|source| Error::Folder { path: folder.clone(), source })?;
    mount::Mount::new("erofs", &device, &folder).read_only().mount().map_err(refused)?;
    Ok(folder)
}

fn device_name(serial: &str) -> String {
    format!("image-{serial}")
}

const IMAGES: &str = "/run/agent/images";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_wrote_is_kept_for_its_own_workload_only() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("web");
        keep_only_for(&folder, "aa").unwrap();
        fs::write(folder.join("written"), "x").unwrap();
        keep_only_for(&folder, "aa").unwrap();
        assert!(folder.join("written").exists());
        keep_only_for(&folder, "bb").unwrap();
        assert!(!folder.join("written").exists());
        assert_eq!(fs::read_to_string(folder.join("workload")).unwrap(), "bb");
    }

    #[test]
    fn a_folder_without_its_mark_is_emptied() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("web");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("half"), "x").unwrap();
        keep_only_for(&folder, "aa").unwrap();
        assert!(!folder.join("half").exists());
    }
}
