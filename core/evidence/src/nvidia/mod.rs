//! NVIDIA's devices: what a GPU or a switch reports of itself, and what it should report.
//!
//! A report is the transcript of one exchange of SPDM 1.1 (DMTF DSP0274, GET_MEASUREMENTS): the request,
//! which the host made, and the device's answer, with NVIDIA's fields in its opaque data. What should
//! stand in it are reference integrity manifests (RIM): SWID tags (ISO/IEC 19770-2) as the TCG's RIM
//! information model shapes them, with an XML signature. Layouts of the opaque data and of the manifests
//! are those of NVIDIA's public verifier (nvtrust, attestation-sdk).

mod builder;
mod certificate;
mod manifest;
mod opaque;
mod report;
mod xml;

pub use builder::{BlockBuilder, ReportBuilder};
pub use certificate::{FIRMWARE_EXTENSIONS, certified_firmware};
pub use manifest::{Manifest, ManifestError, ManifestSignature, Reference};
pub use opaque::{Mode, Opaque, OpaqueError};
pub use report::{Report, ReportError};
pub use xml::XmlError;
