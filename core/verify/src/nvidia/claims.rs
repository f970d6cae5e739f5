//! What do devices state, and how do people read it?

use std::collections::BTreeMap;

use casemate_crypto::hash::Sha256;
use casemate_evidence::nvidia::Mode;
use serde::Serialize;

use super::architecture::Architecture;
use super::evidence::{Device, Devices, Measured};
use crate::verdict::{Claims as Common, Code, Value};

/// What each device states, in the order of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Claims {
    /// The devices.
    pub devices: Vec<DeviceClaims>,
}

/// What one device states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceClaims {
    /// What its certificate calls it, such as `GH100 A01 GSP FMC LF`.
    pub name: String,
    /// Its generation, if Casemate knows it.
    pub architecture: Option<Architecture>,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the chip's own key.
    pub key_digest: Sha256,
    /// Common name of the root.
    pub root_name: String,
    /// Version of its driver; of GPUs only.
    pub driver_version: Option<String>,
    /// Version of its VBIOS.
    pub vbios_version: Option<String>,
    /// Project, its SKU, and the chip's SKU.
    pub board: Option<[String; 3]>,
    /// With whom it shares its work, where it says so.
    pub mode: Option<Mode>,
    /// What it was asked with.
    pub nonce: Sha256,
    /// How many measurements it made.
    pub measurements: usize,
    /// How many of them are as NVIDIA's manifests say; `None` if none were compared.
    pub compared: Option<usize>,
    /// Names of these manifests.
    pub manifests: Vec<String>,
}

/// What devices state that came alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measurements {
    /// Of the first device, by index from 1.
    pub measurements: BTreeMap<u8, Value>,
}

impl Claims {
    pub(crate) fn of(devices: &Devices, uncompared: &[u8]) -> Self {
        let claims = |device: &Device| {
            let (compared, manifests) = match devices.measure(device, uncompared) {
                Measured::Good { compared, tag_ids } => (Some(compared), tag_ids),
                Measured::NoManifest(_) | Measured::Bad(_) => (None, Vec::new()),
            };
            let report = device.report.report();
            DeviceClaims {
                name: device.report.device().to_owned(),
                architecture: device.architecture(),
                key_digest: device.key_digest(),
                root_name: device.report.path().root_name.clone(),
                driver_version: report.opaque().driver_version(),
                vbios_version: report.opaque().vbios_version(),
                board: report.opaque().board(),
                mode: report.opaque().mode(),
                nonce: Sha256::from(*report.nonce()),
                measurements: report.measurements().len(),
                compared,
                manifests,
            }
        };
        Self { devices: devices.devices.iter().map(claims).collect() }
    }

    /// What an accepted group of devices says in one line.
    pub(crate) fn summary(&self) -> String {
        let switches = self.devices.iter().filter(|device| device.is_switch()).count();
        let count = |number: usize, one: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{number} {one}{}", if one.ends_with('h') { "es" } else { "s" })),
        };
        let parts = [count(self.devices.len() - switches, "GPU"), count(switches, "switch")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl DeviceClaims {
    fn is_switch(&self) -> bool {
        self.architecture.is_some_and(Architecture::is_switch)
    }

    /// The device in one line.
    pub(crate) fn line(&self) -> String {
        let chip = self.name.split(' ').next().unwrap_or_default();
        let architecture = self.architecture.map_or("unknown", Architecture::name);
        let driver =
            self.driver_version.as_ref().map_or_else(String::new, |driver| format!(", driver {driver}"));
        let vbios = self.vbios_version.as_deref().unwrap_or("not stated");
        let compared = match self.compared {
            Some(compared) => format!("{compared} of {} measurements compared", self.measurements),
            None => format!("{} measurements not compared", self.measurements),
        };
        format!("{chip} ({architecture}){driver}, VBIOS {vbios}; {compared}")
    }
}

impl Measurements {
    pub(crate) fn of(device: &Device) -> Self {
        let measurements = device.report.report().measurements().iter();
        Self { measurements: measurements.map(|(index, value)| (*index, value.as_ref().into())).collect() }
    }

    /// What an accepted group says in one line, and the remark after its status.
    pub(crate) fn summary(&self, code: Code, common: &Common) -> (String, String) {
        let text = match code {
            Code::Hardware => "NVIDIA devices, no evidence of their machine".to_owned(),
            _ => format!("by {}", common.root_name),
        };
        (text, String::new())
    }
}
