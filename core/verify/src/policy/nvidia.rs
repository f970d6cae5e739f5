//! Which NVIDIA devices must there be, and what of them?

use casemate_evidence::bundle::NvidiaDevice;
use casemate_evidence::nvidia::Mode;
use serde::Deserialize;

use super::value::{ListOrWord, list_or_any, list_or_none, vendor_roots, word};
use super::{Accept, PolicyError};
use crate::nvidia::Architecture;
use crate::nvidia::architecture::{self, Version};
use crate::verdict::Platform;

/// What is accepted of devices. All that come along are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NvidiaRules {
    pub nvidia_roots: bool,
    /// Whether devices will do without evidence of their machine.
    pub alone: bool,
    pub minimum_gpus: u8,
    pub minimum_switches: u8,
    pub nonce_required: bool,
    pub manifests_required: bool,
    /// Measurements that may be anything, as manifests count them.
    pub uncompared: Vec<u8>,
    pub modes: Accept<Mode>,
    hopper: Option<ArchitectureRules>,
    blackwell: Option<ArchitectureRules>,
    ls10: Option<ArchitectureRules>,
}

/// What is accepted of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchitectureRules {
    /// Of GPUs; a switch has no driver of its own.
    pub minimum_driver: Option<NvidiaFloor>,
    pub minimum_vbios: Option<NvidiaFloor>,
}

/// The oldest version accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NvidiaFloor {
    /// As the file writes it.
    pub text: String,
    pub version: Version,
}

impl NvidiaRules {
    pub(super) fn read(roots: &str, table: NvidiaTable) -> Result<Self, PolicyError> {
        let required = |field, text: &str| {
            word(field, text, "\"required\" or \"any\"", |word| match word {
                "required" => Some(true),
                "any" => Some(false),
                _ => None,
            })
        };
        let gpus = |names: [&'static str; 2], table: Option<GpuTable>| {
            let read = |table: GpuTable| {
                Ok::<_, PolicyError>(ArchitectureRules {
                    minimum_driver: floor(names[0], table.minimum_driver, Version::of_driver)?,
                    minimum_vbios: floor(names[1], table.minimum_vbios, Version::of_vbios)?,
                })
            };
            table.map(read).transpose()
        };
        let switches = |table: SwitchTable| {
            let minimum_vbios = floor("nvidia.ls10.minimum_vbios", table.minimum_vbios, Version::of_vbios)?;
            Ok::<_, PolicyError>(ArchitectureRules { minimum_driver: None, minimum_vbios })
        };
        let rules = Self {
            nvidia_roots: vendor_roots("roots.nvidia", roots)?,
            alone: word("nvidia.alone", &table.alone, "\"accepted\" or \"refused\"", |word| match word {
                "accepted" => Some(true),
                "refused" => Some(false),
                _ => None,
            })?,
            minimum_gpus: count("nvidia.minimum_gpus", table.minimum_gpus)?,
            minimum_switches: count("nvidia.minimum_switches", table.minimum_switches)?,
            nonce_required: required("nvidia.nonce", &table.nonce)?,
            manifests_required: required("nvidia.manifests", &table.manifests)?,
            uncompared: list_or_none("nvidia.uncompared_measurements", table.uncompared_measurements, index)?,
            modes: list_or_any("nvidia.modes", table.modes, mode)?,
            hopper: gpus(["nvidia.hopper.minimum_driver", "nvidia.hopper.minimum_vbios"], table.hopper)?,
            blackwell: gpus(
                ["nvidia.blackwell.minimum_driver", "nvidia.blackwell.minimum_vbios"],
                table.blackwell,
            )?,
            ls10: table.ls10.map(switches).transpose()?,
        };
        if rules.architectures().next().is_none() {
            let tables = "`roots.nvidia`, [nvidia] and a table of an architecture";
            return Err(PolicyError::Incomplete {
                platform: Platform::Nvidia,
                missing: "nvidia.hopper",
                tables,
            });
        }
        if rules.minimum_gpus == 0 && rules.minimum_switches == 0 {
            let expected = "at least 1, or `nvidia.minimum_switches` at least 1";
            return Err(PolicyError::Number { field: "nvidia.minimum_gpus", found: 0, expected });
        }
        Ok(rules)
    }

    /// The rules of an architecture; without any it is not accepted.
    pub(crate) fn of(&self, architecture: Architecture) -> Option<&ArchitectureRules> {
        match architecture {
            Architecture::Hopper => self.hopper.as_ref(),
            Architecture::Blackwell => self.blackwell.as_ref(),
            Architecture::Ls10 => self.ls10.as_ref(),
        }
    }

    /// Those that are accepted.
    pub(crate) fn architectures(&self) -> impl Iterator<Item = Architecture> {
        Architecture::ALL.into_iter().filter(|architecture| self.of(*architecture).is_some())
    }
}

fn count(field: &'static str, found: u32) -> Result<u8, PolicyError> {
    let number = u8::try_from(found).ok().filter(|number| usize::from(*number) <= NvidiaDevice::MAXIMUM);
    number.ok_or(PolicyError::Number { field, found: found.into(), expected: "0 to 16" })
}

fn index(field: &'static str, text: String) -> Result<u8, PolicyError> {
    word(field, &text, "measurements 0 to 254, as manifests count them", |word| {
        (0..255).find(|index: &u8| index.to_string() == word)
    })
}

fn mode(field: &'static str, text: String) -> Result<Mode, PolicyError> {
    word(field, &text, "\"single\", \"multi\" or \"protected_pcie\"", architecture::mode)
}

fn floor(
    field: &'static str,
    text: String,
    read: fn(&str) -> Option<Version>,
) -> Result<Option<NvidiaFloor>, PolicyError> {
    if text == "any" {
        return Ok(None);
    }
    let version = word(field, &text, "a version, as NVIDIA writes it, or \"any\"", read)?;
    Ok(Some(NvidiaFloor { text, version }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NvidiaTable {
    alone: String,
    minimum_gpus: u32,
    minimum_switches: u32,
    nonce: String,
    manifests: String,
    uncompared_measurements: ListOrWord,
    modes: ListOrWord,
    hopper: Option<GpuTable>,
    blackwell: Option<GpuTable>,
    ls10: Option<SwitchTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuTable {
    minimum_driver: String,
    minimum_vbios: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchTable {
    minimum_vbios: String,
}
