//! Under which names does NVIDIA publish what a device should measure?
//!
//! Source: NVIDIA's public verifier (attestation-sdk), ids of its RIM service.

use super::architecture::Architecture;
use super::report::GenuineReport;

/// A manifest that NVIDIA should have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestName {
    /// As NVIDIA's service calls it: `NV_GPU_DRIVER_GH100_550.90.07`. Letters, digits, `_`, `-` and `.` only.
    pub id: String,
    /// The version that it must be of.
    pub version: String,
}

/// The manifests of a device's driver and VBIOS, as far as the device says enough to name them; of a switch
/// that of its BIOS.
pub fn manifest_names(report: &GenuineReport) -> Vec<ManifestName> {
    let opaque = report.report().opaque();
    let Some(architecture) = Architecture::of(report.chip()) else { return Vec::new() };
    let driver = opaque.driver_version().and_then(|version| {
        let id = match architecture {
            Architecture::Hopper => format!("NV_GPU_DRIVER_GH100_{version}"),
            // Reports of older firmware do not name the chip; all of them are of GB100.
            Architecture::Blackwell => {
                let chip = opaque.chip().unwrap_or_else(|| "GB100".to_owned());
                format!("NV_GPU_CC_DRIVER_{chip}_{version}")
            }
            Architecture::Ls10 => return None,
        };
        Some(ManifestName { id, version })
    });
    let vbios = opaque.vbios_version().and_then(|version| {
        let digits = version.replace('.', "").to_uppercase();
        let id = match (architecture, opaque.board()) {
            // Switches do not name their board; there is one.
            (Architecture::Ls10, _) => format!("NV_SWITCH_BIOS_5612_0002_890_{digits}"),
            (_, Some([project, sku, chip])) => format!("NV_GPU_VBIOS_{project}_{sku}_{chip}_{digits}"),
            (_, None) => return None,
        };
        Some(ManifestName { id, version })
    });
    let plain = |name: &ManifestName| {
        name.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    driver.into_iter().chain(vbios).filter(plain).collect()
}
