//! What is in a built guest image, and what will it measure?
//!
//! `image.toml` lies beside the files of an image. It is a claim of the builder: whoever trusts it
//! trusts the builder, whoever does not rebuilds the image and compares. The host's copy is untrusted.

use casemate_crypto::hash::Sha256;
use casemate_evidence::Measurement;
use serde::{Deserialize, Serialize};

use crate::kernel_hashes::{KernelHashes, cmdline_digest};
use crate::ovmf::{Firmware, FirmwareError};
use crate::shape::Shape;
use crate::snp::{Kernel, LaunchError, SnpLaunch};
use crate::vmsa::Vmm;

/// The contents of `image.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageDescription {
    /// Format of this description; 1.
    pub format: u32,
    /// Name of the image, such as `casemate-lite`.
    pub name: String,
    /// Its version, such as `2026.11`.
    pub version: String,
    /// Kernel command line, byte for byte: the same for every tenant.
    pub cmdline: String,
    /// Root hash of the dm-verity tree in `files.root`.
    pub root_hash: Sha256,
    /// Data blocks of 4096 bytes in `files.root`; the tree follows them.
    pub root_blocks: u64,
    /// SHA-256 of `image.lock`, the list of packages.
    pub package_lock: Sha256,
    /// The files, by role.
    pub files: ImageFiles,
    /// What the firmware measures, so that a measurement needs no file.
    pub firmware: Firmware,
}

/// The files of an image, in the same folder as `image.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFiles {
    /// OVMF with a kernel hash table.
    pub firmware: ImageFile,
    /// The kernel, as packaged.
    pub kernel: ImageFile,
    /// The initrd for hardware.
    pub initrd: ImageFile,
    /// The initrd for a simulated TEE, whole: the bytes of `initrd`, then the simulation segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated_initrd: Option<ImageFile>,
    /// Root filesystem and its dm-verity tree.
    pub root: ImageFile,
}

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// File name without folder.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
}

/// For which kind of machine is the image launched? The two measure differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Real hardware.
    Hardware,
    /// A simulated TEE.
    Simulated,
}

/// Why a text is no image description, or has no measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Longer than any description.
    #[error("image description of {found} bytes, at most {maximum} are read; is this image.toml?")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Most that is accepted.
        maximum: usize,
    },
    /// Not TOML of the expected shape.
    #[error("image.toml: {0}was it written by another version?")]
    Malformed(#[from] toml::de::Error),
    /// A format that is not understood.
    #[error("image.toml has format {found}, expected 1; update Casemate")]
    Format {
        /// Format found.
        found: u32,
    },
    /// A file name that could lead out of the image's folder.
    #[error("file name {found:?} in image.toml; expected a plain name of letters, digits, '.', '_' and '-'")]
    FileName {
        /// Name found.
        found: Box<str>,
    },
    /// The command line does not pin the root filesystem that the description names.
    #[error(
        "command line lacks `{expected}`, so the root filesystem would not be measured; rebuild the image"
    )]
    RootNotPinned {
        /// The word that must stand on it.
        expected: Box<str>,
    },
    /// The root file cannot hold the data blocks named.
    #[error(
        "root of {size} bytes cannot hold {root_blocks} blocks of 4096 bytes and their tree; rebuild the image"
    )]
    RootSize {
        /// Size of the file.
        size: u64,
        /// Blocks named.
        root_blocks: u64,
    },
    /// The size in the firmware's summary is not the file's.
    #[error("firmware summary is of {summary} bytes, the file has {file}; rebuild the image")]
    FirmwareSize {
        /// In the summary.
        summary: u32,
        /// In the list of files.
        file: u64,
    },
    /// The image was built without a simulation segment.
    #[error(
        "this image has no simulated_initrd; build it with the simulation segment, or launch it on hardware"
    )]
    NotSimulated,
    /// The firmware cannot be launched.
    #[error("firmware of the image: {0}")]
    Firmware(#[from] FirmwareError),
    /// The shape cannot be launched.
    #[error("launch of the image: {0}")]
    Launch(#[from] LaunchError),
}

impl ImageDescription {
    /// Largest description that is read, in bytes.
    pub const MAXIMUM_BYTES: usize = 64 << 10;

    /// Reads `image.toml` and checks that it is consistent with itself.
    ///
    /// # Errors
    /// Any [`ImageError`] but [`ImageError::NotSimulated`] and [`ImageError::Launch`].
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        if text.len() > Self::MAXIMUM_BYTES {
            return Err(ImageError::TooLong { found: text.len(), maximum: Self::MAXIMUM_BYTES });
        }
        let description: ImageDescription = toml::from_str(text)?;
        description.check()?;
        Ok(description)
    }

    /// The text of `image.toml`: the same bytes for the same description.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("names, numbers and digests are TOML")
    }

    /// Hashes that the firmware checks in this variant.
    ///
    /// # Errors
    /// [`ImageError::NotSimulated`].
    pub fn kernel_hashes(&self, variant: Variant) -> Result<KernelHashes, ImageError> {
        Ok(KernelHashes {
            kernel: self.files.kernel.sha256,
            initrd: self.initrd(variant)?.sha256,
            cmdline: cmdline_digest(&self.cmdline),
        })
    }

    /// The initrd of this variant.
    ///
    /// # Errors
    /// [`ImageError::NotSimulated`].
    pub fn initrd(&self, variant: Variant) -> Result<&ImageFile, ImageError> {
        match variant {
            Variant::Hardware => Ok(&self.files.initrd),
            Variant::Simulated => self.files.simulated_initrd.as_ref().ok_or(ImageError::NotSimulated),
        }
    }

    /// The SNP launch measurement of this image on that shape, under QEMU.
    ///
    /// True only if the description is: compare `files.firmware` and [`Firmware::parse`] of the file to
    /// be sure of the firmware's part.
    ///
    /// # Errors
    /// [`ImageError::NotSimulated`], [`ImageError::Launch`].
    pub fn expected_measurement(&self, variant: Variant, shape: &Shape) -> Result<Measurement, ImageError> {
        let launch = SnpLaunch {
            firmware: &self.firmware,
            kernel: Kernel::Measured(self.kernel_hashes(variant)?),
            vcpus: shape.vcpus,
            vcpu_signature: shape.vcpu_type.signature(),
            guest_features: shape.guest_features,
            vmm: Vmm::Qemu,
        };
        Ok(launch.digest()?)
    }

    /// Checks what [`ImageDescription::parse`] guarantees.
    ///
    /// # Errors
    /// As [`ImageDescription::parse`].
    pub fn check(&self) -> Result<(), ImageError> {
        if self.format != 1 {
            return Err(ImageError::Format { found: self.format });
        }
        for file in self.files.all() {
            if !is_plain_name(&file.name) {
                return Err(ImageError::FileName { found: file.name.chars().take(64).collect() });
            }
        }
        let pins = [
            format!("casemate.root={}", self.root_hash),
            format!("casemate.root_blocks={}", self.root_blocks),
        ];
        for pin in pins {
            // Exactly once: the kernel and init might disagree about which of two counts.
            let key = &pin[..=pin.find('=').expect("both have one")];
            let words: Vec<_> =
                self.cmdline.split_ascii_whitespace().filter(|word| word.starts_with(key)).collect();
            if words != [pin.as_str()] {
                return Err(ImageError::RootNotPinned { expected: pin.into() });
            }
        }
        let root = &self.files.root;
        if self.root_blocks == 0 || root.size / 4096 <= self.root_blocks {
            return Err(ImageError::RootSize { size: root.size, root_blocks: self.root_blocks });
        }
        if u64::from(self.firmware.size) != self.files.firmware.size {
            let (summary, file) = (self.firmware.size, self.files.firmware.size);
            return Err(ImageError::FirmwareSize { summary, file });
        }
        self.firmware.check()?;
        self.firmware.require_hash_table()?;
        Ok(())
    }
}

impl ImageFiles {
    /// Every file, the optional one included where it exists.
    pub fn all(&self) -> impl Iterator<Item = &ImageFile> {
        [&self.firmware, &self.kernel, &self.initrd, &self.root].into_iter().chain(&self.simulated_initrd)
    }
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
