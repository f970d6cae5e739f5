//! What does a device say of itself besides its measurements?
//!
//! Fields of 16 bits kind, 16 bits length, both little-endian, and a value. Kinds whose meaning is not
//! known here are kept as they are.

use serde::Serialize;

use crate::reader::{Reader, Truncated};

/// The opaque data of an answer, well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque {
    fields: Vec<(u16, Vec<u8>)>,
}

/// With whom a GPU shares its work, and how what passes between them is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One GPU for one guest.
    Single,
    /// Several GPUs for one guest, with encrypted links between them.
    Multi,
    /// Several GPUs and the switches between them for one guest, with links in the clear (protected PCIe).
    ProtectedPcie,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 3] = [Mode::Single, Mode::Multi, Mode::ProtectedPcie];

    /// Its name in policies and verdicts.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Single => "single",
            Mode::Multi => "multi",
            Mode::ProtectedPcie => "protected_pcie",
        }
    }
}

/// Why bytes are no opaque data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpaqueError {
    /// The data end within a field.
    #[error("opaque data: {0}")]
    Truncated(#[from] Truncated),
    /// A kind twice: which of them counts?
    #[error("opaque data: field {kind} stands there twice")]
    Duplicate {
        /// The kind.
        kind: u16,
    },
    /// A field that Casemate reads has another form.
    #[error("opaque data: field {kind} has {found} bytes, or is no text; expected {expected}")]
    Form {
        /// The kind.
        kind: u16,
        /// Length in bytes.
        found: usize,
        /// What it should be.
        expected: &'static str,
    },
}

impl Opaque {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OpaqueError> {
        let mut reader = Reader::new(bytes);
        let mut fields: Vec<(u16, Vec<u8>)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while !reader.is_at_end() {
            let (kind, length) = (reader.u16_le()?, reader.u16_le()?);
            let value = reader.take(usize::from(length))?.to_vec();
            if !seen.insert(kind) {
                return Err(OpaqueError::Duplicate { kind });
            }
            fields.push((kind, value));
        }
        let opaque = Self { fields };
        opaque.check_forms()?;
        Ok(opaque)
    }

    /// Fields by kind, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.fields.iter().map(|(kind, value)| (*kind, value.as_slice()))
    }

    /// The value of a kind.
    pub fn field(&self, kind: u16) -> Option<&[u8]> {
        self.fields().find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// Version of the driver, such as `550.90.07`; of GPUs only.
    pub fn driver_version(&self) -> Option<String> {
        self.field(DRIVER_VERSION).and_then(text)
    }

    /// Version of the VBIOS, such as `96.00.9F.00.01`; of a switch that of its BIOS.
    pub fn vbios_version(&self) -> Option<String> {
        match self.field(VBIOS_VERSION)? {
            // 32 bits little-endian, then one byte.
            [a, b, c, d, e, 0, 0, 0] => Some(format!("{d:02X}.{c:02X}.{b:02X}.{a:02X}.{e:02X}")),
            other => text(other),
        }
    }

    /// The names of board and chip by which NVIDIA files its manifests: project, its SKU, the chip's SKU.
    pub fn board(&self) -> Option<[String; 3]> {
        let name = |kind| self.field(kind).and_then(text);
        Some([name(PROJECT)?, name(PROJECT_SKU)?, name(CHIP_SKU)?])
    }

    /// The chip, such as `GB100`; older firmware does not name it.
    pub fn chip(&self) -> Option<String> {
        self.field(CHIP).and_then(text).filter(|name| !name.is_empty())
    }

    /// Digest of the firmware that holds the attestation key, SHA-384; of GPUs only.
    pub fn firmware_id(&self) -> Option<[u8; 48]> {
        self.field(FIRMWARE_ID)?.try_into().ok()
    }

    /// Whether the first video decoder is off, which leaves its measurement empty.
    pub fn is_nvdec0_off(&self) -> bool {
        self.field(NVDEC0_STATUS) == Some(&[OFF])
    }

    /// In which mode a GPU is, where it says so: older firmware does not.
    pub fn mode(&self) -> Option<Mode> {
        match (self.field(FEATURE_FLAG), self.field(PROTECTED_PCIE_STATUS)) {
            (Some([0, 0]), _) => Some(Mode::Single),
            (Some([1, 0]), _) => Some(Mode::Multi),
            (Some([2, 0]), _) | (None, Some(&[ON])) => Some(Mode::ProtectedPcie),
            _ => None,
        }
    }

    fn check_forms(&self) -> Result<(), OpaqueError> {
        for (kind, value) in &self.fields {
            let (fits, expected) = match *kind {
                DRIVER_VERSION | CHIP_SKU | PROJECT | PROJECT_SKU => {
                    (text(value).is_some(), "ASCII and zeros")
                }
                VBIOS_VERSION => (self.vbios_version().is_some(), "5 bytes and 3 zeros, or ASCII"),
                FIRMWARE_ID => (value.len() == 48, "48 bytes"),
                NVDEC0_STATUS => (matches!(value[..], [ON | OFF]), "one byte, 55 or AA"),
                _ => (true, ""),
            };
            if !fits {
                return Err(OpaqueError::Form { kind: *kind, found: value.len(), expected });
            }
        }
        Ok(())
    }
}

/// Printable ASCII, up to zeros that fill the field.
fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    let (text, zeros) = value.split_at(end);
    let fits = text.iter().all(u8::is_ascii_graphic) && zeros.iter().all(|byte| *byte == 0);
    fits.then(|| String::from_utf8_lossy(text).into_owned())
}

const DRIVER_VERSION: u16 = 3;
const VBIOS_VERSION: u16 = 6;
const NVDEC0_STATUS: u16 = 11;
const CHIP_SKU: u16 = 15;
const PROJECT: u16 = 17;
const PROJECT_SKU: u16 = 18;
const FIRMWARE_ID: u16 = 20;
const PROTECTED_PCIE_STATUS: u16 = 21;
const CHIP: u16 = 35;
const FEATURE_FLAG: u16 = 36;
const ON: u8 = 0xAA;
const OFF: u8 = 0x55;
