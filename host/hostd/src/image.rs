//! Which files does the guest boot from?

use std::io;
use std::path::{Path, PathBuf};

use casemate_api::host::{ImageSource, Platform};
use casemate_measure::image::{ImageDescription, Variant};
use casemate_measure::kernel_hashes::{HashTable, KernelError, KernelHashes, qemu_patched_kernel};
use casemate_measure::ovmf::{Firmware, FirmwareError};

use crate::blobs::{BlobError, Blobs};
use crate::error::{Blame, Explain};

/// Why an image cannot be booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No such folder under the host's images.
    #[error("no image {name:?} in {}", folder.display())]
    Absent {
        /// The name asked for.
        name: String,
        /// Where images are.
        folder: PathBuf,
    },
    /// The path of a folder is relative.
    #[error("image folder {} is not an absolute path", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// `image.toml` is wrong.
    #[error(transparent)]
    Description(#[from] casemate_measure::image::ImageError),
    /// A part is not stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The firmware cannot start a measured guest.
    #[error("firmware {}: {source}", path.display())]
    Firmware {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FirmwareError,
    },
    /// The kernel cannot be started by QEMU.
    #[error("kernel {}: {source}", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KernelError,
    },
}

impl Explain for ImageError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Self::Absent { .. } => ("image_absent", Blame::Absent, "build it with `casemate image build`"),
            Self::NotAbsolute { .. } => ("image_path", Blame::Request, "give the whole path"),
            Self::Unreadable { .. } => ("image_unreadable", Blame::Request, "build the image again"),
            Self::Description(_) => ("image_description", Blame::Request, "build the image again"),
            Self::Blob(error) => error.explain(),
            Self::Firmware { .. } => {
                ("firmware_unfit", Blame::Request, "use OVMF built as AmdSevX64 (Debian: ovmf-amdsev)")
            }
            Self::Kernel { .. } => {
                ("kernel_unfit", Blame::Request, "use a Linux bzImage of version 6.11 or later")
            }
        }
    }
}

/// Files and command line of one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// OVMF.
    pub firmware: PathBuf,
    /// Linux, as packaged.
    pub kernel: PathBuf,
    /// The whole initrd.
    pub initrd: PathBuf,
    /// Kernel command line.
    pub command_line: String,
    /// Root filesystem with its verity tree.
    pub root: Option<PathBuf>,
}

impl BootFiles {
    /// Finds the files of `source` for `platform`.
    ///
    /// # Errors
    /// Each variant of [`ImageError`] but the last two.
    pub fn find(
        source: &ImageSource,
        platform: Platform,
        images: &Path,
        blobs: &Blobs,
    ) -> Result<Self, ImageError> {
        match source {
            ImageSource::Named { name } => {
                let folder = images.join(name);
                let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
                if !plain || name.starts_with('.') || name.is_empty() || !folder.is_dir() {
                    return Err(ImageError::Absent { name: name.clone(), folder: images.to_owned() });
                }
                Self::in_folder(&folder, platform)
            }
            ImageSource::Directory { path } if path.is_absolute() => Self::in_folder(path, platform),
            ImageSource::Directory { path } => Err(ImageError::NotAbsolute { path: path.clone() }),
            ImageSource::Blobs { firmware, kernel, initrd, command_line, root } => Ok(Self {
                firmware: blobs.path(firmware)?,
                kernel: blobs.path(kernel)?,
                initrd: blobs.path(initrd)?,
                command_line: command_line.clone(),
                root: root.as_ref().map(|root| blobs.path(root)).transpose()?,
            }),
            _ => Err(ImageError::Absent { name: String::new(), folder: images.to_owned() }),
        }
    }

    fn in_folder(folder: &Path, platform: Platform) -> Result<Self, ImageError> {
        let path = folder.join("image.toml");
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| ImageError::Unreadable { path, source })?;
        let image = ImageDescription::parse(&text)?;
        let variant = if platform == Platform::Simulated { Variant::Simulated } else { Variant::Hardware };
        Ok(Self {
            firmware: folder.join(&image.files.firmware.name),
            kernel: folder.join(&image.files.kernel.name),
            initrd: folder.join(&image.initrd(variant)?.name),
            command_line: image.cmdline.clone(),
            root: Some(folder.join(&image.files.root.name)),
        })
    }

    /// The table by which the firmware of an ordinary VM checks kernel, initrd and command line, and
    /// the guest address where it expects it.
    ///
    /// QEMU changes the kernel's header for such VMs, so the table names the changed kernel. SEV
    /// guests get theirs from QEMU.
    ///
    /// # Errors
    /// [`ImageError::Unreadable`], [`ImageError::Firmware`], [`ImageError::Kernel`].
    pub fn hash_table(&self, memory_mib: u32) -> Result<(u32, HashTable), ImageError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| ImageError::Unreadable { path: path.clone(), source })
        };
        let slot = Firmware::parse(&read(&self.firmware)?).and_then(|firmware| firmware.require_hash_table());
        let slot = slot.map_err(|source| ImageError::Firmware { path: self.firmware.clone(), source })?;
        let (kernel, initrd) = (read(&self.kernel)?, read(&self.initrd)?);
        let initrd_bytes = u32::try_from(initrd.len()).unwrap_or(u32::MAX);
        let kernel = qemu_patched_kernel(&kernel, initrd_bytes, memory_mib);
        let kernel = kernel.map_err(|source| ImageError::Kernel { path: self.kernel.clone(), source })?;
        Ok((slot.address, KernelHashes::of(&kernel, &initrd, &self.command_line).table()))
    }
}
