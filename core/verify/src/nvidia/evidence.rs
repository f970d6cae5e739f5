//! Are the devices of a bundle genuine, and its manifests?

use casemate_crypto::Provider;
use casemate_crypto::hash::{Sha256, sha384};
use casemate_evidence::Measurement;
use casemate_evidence::bundle::{Bundle, NvidiaDevice};
use casemate_evidence::nvidia::{self as format, Manifest, Report};
use casemate_evidence::x509::{self, Certificate};

use super::architecture::Architecture;
use super::manifest::{GenuineManifest, ManifestError, MeasurementError, authenticate_manifest, compare};
use super::report::{GenuineReport, ReportError, authenticate_report};
use crate::trust::{Roots, TrustClass};

/// Devices and manifests, each genuine for itself.
#[derive(Debug, Clone)]
pub(crate) struct Devices {
    pub devices: Vec<Device>,
    manifests: Vec<(GenuineManifest, TrustClass)>,
}

/// A genuine device.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub report: GenuineReport,
    pub trust_class: TrustClass,
}

/// How a device's measurements compare with its manifests.
#[derive(Debug, Clone)]
pub(crate) enum Measured {
    /// No manifest of its driver, or of its VBIOS, came along; which one.
    NoManifest(String),
    /// Every golden value was found.
    Good {
        /// How many were compared.
        compared: usize,
        /// Names of the manifests.
        tag_ids: Vec<String>,
    },
    /// Something differs.
    Bad(MeasurementError),
}

/// Why devices or manifests are not genuine. Devices and manifests are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DevicesError {
    /// A report cannot be read.
    #[error("device {number}: {source}")]
    ReportFormat {
        /// Which device.
        number: usize,
        /// What is wrong.
        source: Box<format::ReportError>,
    },
    /// A certificate of a device cannot be read.
    #[error("device {number}: {source}")]
    Certificate {
        /// Which device.
        number: usize,
        /// What is wrong.
        source: Box<x509::Error>,
    },
    /// A device is not genuine.
    #[error("device {number}: {source}")]
    Report {
        /// Which device.
        number: usize,
        /// What is wrong.
        source: Box<ReportError>,
    },
    /// One device answered twice, and must not count as two.
    #[error("device {second} is device {first} again; ask each device once")]
    Twice {
        /// The one that came first.
        first: usize,
        /// The other.
        second: usize,
    },
    /// A manifest cannot be read.
    #[error("manifest {number}: {source}")]
    ManifestFormat {
        /// Which manifest.
        number: usize,
        /// What is wrong.
        source: Box<format::ManifestError>,
    },
    /// A manifest is not genuine.
    #[error("manifest {number}: {source}")]
    Manifest {
        /// Which manifest.
        number: usize,
        /// What is wrong.
        source: Box<ManifestError>,
    },
}

impl Devices {
    /// Authenticates what a bundle holds of NVIDIA, at time `now_ms` (milliseconds since 1970).
    ///
    /// # Errors
    /// [`DevicesError`], the first that applies.
    pub(crate) fn authenticate(
        bundle: &Bundle,
        roots: &Roots,
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<Self, DevicesError> {
        let mut devices: Vec<Device> = Vec::new();
        for (number, item) in (1..).zip(bundle.nvidia_devices()) {
            let device = Device::authenticate(number, item, roots, now_ms, provider)?;
            let same = |other: &Device| other.key_digest() == device.key_digest();
            if let Some(first) = devices.iter().position(same) {
                return Err(DevicesError::Twice { first: first + 1, second: number });
            }
            devices.push(device);
        }
        let mut manifests = Vec::new();
        for (number, bytes) in (1..).zip(bundle.nvidia_manifests()) {
            let manifest = Manifest::parse(bytes)
                .map_err(|source| DevicesError::ManifestFormat { number, source: Box::new(source) })?;
            let anchors = roots.nvidia_manifest_anchors();
            let genuine = authenticate_manifest(manifest, &anchors, now_ms, provider)
                .map_err(|source| DevicesError::Manifest { number, source: Box::new(source) })?;
            let trust_class = roots.nvidia_manifest_class(&genuine.path().root_key_digest);
            manifests.push((genuine, trust_class));
        }
        Ok(Self { devices, manifests })
    }

    /// Whether hardware stands behind all of it.
    pub(crate) fn trust_class(&self) -> TrustClass {
        let classes = self.devices.iter().map(|device| device.trust_class);
        let all = classes.chain(self.manifests.iter().map(|(_, class)| *class));
        all.fold(TrustClass::Real, |worst, class| if class == TrustClass::Simulated { class } else { worst })
    }

    /// Root keys of manifests, each with what stands behind it.
    pub(crate) fn manifest_roots(&self) -> impl Iterator<Item = (TrustClass, &Sha256)> {
        self.manifests.iter().map(|(manifest, class)| (*class, &manifest.path().root_key_digest))
    }

    /// How many there are: GPUs, then switches.
    pub(crate) fn counts(&self) -> [usize; 2] {
        let of_kind = |is_switch| {
            let kinds = self.devices.iter().filter_map(Device::architecture);
            kinds.filter(|architecture| architecture.is_switch() == is_switch).count()
        };
        [of_kind(false), of_kind(true)]
    }

    /// Compares a device with the manifests of its driver and VBIOS; measurements `uncompared`, as manifests
    /// count them, may be anything. Several manifests may fit: VBIOS versions of two boards can be equal.
    pub(crate) fn measure(&self, device: &Device, uncompared: &[u8]) -> Measured {
        let (opaque, architecture) = (device.report.report().opaque(), device.architecture());
        let of = |version: &str| -> Vec<&GenuineManifest> {
            let genuine = self.manifests.iter().map(|(manifest, _)| manifest);
            genuine
                .filter(|genuine| {
                    let manifest = genuine.manifest();
                    manifest.version().eq_ignore_ascii_case(version)
                        && Architecture::of(manifest.product()) == architecture
                })
                .collect()
        };
        let drivers: Vec<Option<&GenuineManifest>> = match opaque.driver_version() {
            Some(version) => {
                let drivers = of(&version);
                if drivers.is_empty() {
                    return Measured::NoManifest(format!("none of driver {version}"));
                }
                drivers.into_iter().map(Some).collect()
            }
            // Switches have none.
            None if architecture.is_some_and(Architecture::is_switch) => vec![None],
            None => return Measured::NoManifest("no version of a driver to look for".to_owned()),
        };
        let version = opaque.vbios_version().unwrap_or_default();
        let mut worst = Measured::NoManifest(format!("none of VBIOS {version}"));
        for vbios in of(&version) {
            for driver in &drivers {
                match compare(&device.report, *driver, vbios, uncompared) {
                    Ok(compared) => {
                        let both = driver.iter().copied().chain([vbios]);
                        let tag_ids = both.map(|one| one.manifest().tag_id().to_owned()).collect();
                        return Measured::Good { compared, tag_ids };
                    }
                    Err(error) => worst = Measured::Bad(error),
                }
            }
        }
        worst
    }

    /// SHA-384 over what all devices measured (`docs/reference/nvidia.md`): what names them where no
    /// machine's own launch measurement does.
    pub(crate) fn measurement(&self) -> Measurement {
        let mut bytes = b"casemate/nvidia-measurement/1\0".to_vec();
        for device in &self.devices {
            let measurements = device.report.report().measurements();
            bytes.push(measurements.len() as u8); // counted in one byte of the report
            for (index, value) in measurements {
                bytes.push(*index);
                bytes.extend(value.as_bytes());
            }
        }
        Measurement::from(*sha384(&bytes).as_bytes())
    }
}

impl Device {
    fn authenticate(
        number: usize,
        item: &NvidiaDevice,
        roots: &Roots,
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<Self, DevicesError> {
        let report = Report::parse(&item.report)
            .map_err(|source| DevicesError::ReportFormat { number, source: Box::new(source) })?;
        let chain =
            item.certificates.iter().map(|der| Certificate::parse(der)).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|source| DevicesError::Certificate { number, source: Box::new(source) })?;
        let report = authenticate_report(report, &chain, &roots.nvidia_device_anchors(), now_ms, provider)
            .map_err(|source| DevicesError::Report { number, source: Box::new(source) })?;
        let trust_class = roots.nvidia_device_class(&report.path().root_key_digest);
        Ok(Self { report, trust_class })
    }

    /// What the name of its identity's certificate says, which NVIDIA issued.
    pub(crate) fn architecture(&self) -> Option<Architecture> {
        Architecture::of(self.report.chip())
    }

    /// Digest of the key that the chip was born with: another firmware has another key, this one stays.
    pub(crate) fn key_digest(&self) -> Sha256 {
        self.report.path().issuer_key_digest
    }
}
