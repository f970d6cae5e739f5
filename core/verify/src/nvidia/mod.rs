//! Is this NVIDIA device genuine, and does it measure what it should?
//!
//! A report is genuine if the device's key signed request and answer, and NVIDIA's device root vouches for
//! the key, which holds for firmware of one digest. What should be measured say manifests that NVIDIA
//! signed, one of the driver and one of the VBIOS. That the device belongs to the machine whose CPU gives
//! evidence shows the nonce alone: it is made of the CPU's report data ([`nonce_for`]).
//!
//! Devices come along with evidence of a machine, or alone; `[nvidia]` of the policy judges each of them.
//!
//! Not established: that the host has not put another genuine device behind this guest, that nobody uses
//! the device besides, and that it is in confidential mode.
//! Sources: DMTF DSP0274 1.1; NVIDIA's public verifier.

mod appraise;
pub(crate) mod architecture;
mod claims;
mod evidence;
mod failure;
mod manifest;
mod names;
mod report;

pub(crate) use appraise::{Alone, WithDevices};
pub use architecture::Architecture;
pub use claims::{Claims, DeviceClaims, Measurements};
pub(crate) use evidence::Devices;
pub(crate) use failure::not_genuine;

pub use manifest::{
    GenuineManifest, ManifestError, MeasurementError, Mismatch, authenticate_manifest,
    check_manifest_signature, compare,
};
pub use names::{ManifestName, manifest_names};
pub use report::{GenuineReport, ReportError, authenticate_report, check_report_signature, nonce_for};

use casemate_crypto::hash::Sha256;

use crate::trust::digest;

/// NVIDIA's device root: SHA-256 of the `SubjectPublicKeyInfo` of "NVIDIA Device Identity CA".
pub const DEVICE_ROOTS: [Sha256; 1] =
    [digest(*b"a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4")];

/// NVIDIA's root of manifests: SHA-256 of the `SubjectPublicKeyInfo` of "NVIDIA CoRIM signing Root CA".
pub const MANIFEST_ROOTS: [Sha256; 1] =
    [digest(*b"dec1dc316477aa851eebdf51327ae9f864bc8d89254657ed1e7eb9168af1e1a3")];
