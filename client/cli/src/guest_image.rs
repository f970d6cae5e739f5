//! Which guest image boots, and what does it measure?

use std::path::{Path, PathBuf};

use casemate_evidence::Measurement;
use casemate_measure::{
    image::{ImageDescription, Variant},
    shape::{GuestFeatures, Machine, Shape, VcpuType},
};
use casemate_verify::ReferenceValue;

use crate::{Error, files, home::Home};

/// A built guest image.
#[derive(Debug)]
pub struct GuestImage {
    /// Its folder.
    pub folder: PathBuf,
    /// What it consists of.
    pub description: ImageDescription,
}

impl GuestImage {
    /// The image in a folder, the one of that name in the home, or, unnamed, the only one there.
    ///
    /// # Errors
    /// [`Error::NoGuestImage`], [`Error::GuestImage`].
    pub fn find(home: &Home, name: Option<&str>) -> Result<Self, Error> {
        let folder = home.guest_images();
        match name {
            Some(name) if name.contains('/') || Path::new(name).join("image.toml").is_file() => {
                Self::open(Path::new(name))
            }
            Some(name) => Self::open(&folder.join(name)),
            None => {
                let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                    .filter(|path| path.join("image.toml").is_file())
                    .collect();
                found.sort();
                match found.as_slice() {
                    [only] => Self::open(only),
                    other => Err(Error::NoGuestImage { folder, found: other.len() }),
                }
            }
        }
    }

    /// The image in a folder.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::GuestImage`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let folder = std::path::absolute(folder).map_err(|source| files::error("find", folder, source))?;
        let path = folder.join("image.toml");
        let text = files::read_text(&path, ImageDescription::MAXIMUM_BYTES as u64)?;
        let description = ImageDescription::parse(&text)
            .map_err(|source| Error::GuestImage { path, source: Box::new(source) })?;
        Ok(GuestImage { folder, description })
    }

    /// Name and version.
    pub fn name(&self) -> String {
        format!("{} {}", self.description.name, self.description.version)
    }

    /// What the hardware measures when it boots on `shape`.
    ///
    /// # Errors
    /// [`Error::GuestImage`].
    pub fn measurement(&self, shape: &Shape, simulated: bool) -> Result<Measurement, Error> {
        let variant = if simulated { Variant::Simulated } else { Variant::Hardware };
        self.description.expected_measurement(variant, shape).map_err(|source| Error::GuestImage {
            path: self.folder.join("image.toml"),
            source: Box::new(source),
        })
    }

    /// The measurement as something to compare evidence with.
    ///
    /// # Errors
    /// [`Error::GuestImage`].
    pub fn reference_value(&self, shape: &Shape, simulated: bool) -> Result<ReferenceValue, Error> {
        Ok(ReferenceValue {
            image: self.name(),
            measurement: self.measurement(shape, simulated)?.into(),
            source: "computed from image.toml".to_owned(),
        })
    }
}

/// Virtual CPUs where the compose file names none.
const DEFAULT_VCPUS: u32 = 2;
/// Memory where the compose file names none, in MiB.
const DEFAULT_MEMORY_MIB: u32 = 1024;

/// The machine that a compose file asks for.
pub fn shape(vcpus: Option<u32>, memory_bytes: Option<u64>) -> Shape {
    let memory_mib = memory_bytes.map(|bytes| u32::try_from(bytes >> 20).unwrap_or(u32::MAX));
    Shape {
        vcpus: vcpus.unwrap_or(DEFAULT_VCPUS),
        vcpu_type: VcpuType::EPYC_V4,
        memory_mib: memory_mib.unwrap_or(DEFAULT_MEMORY_MIB),
        machine: Machine::Q35,
        guest_features: GuestFeatures::SNP,
    }
}
