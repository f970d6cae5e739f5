//! On what virtual machine does the image run?
//!
//! Beside the image, only the shape moves the launch measurement; nothing in it belongs to a tenant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The machine that an image is launched on.
///
/// On SEV-SNP `vcpus`, `vcpu_type` and `guest_features` are measured; `memory_mib` and `machine` are
/// not, and matter only to TDX, to vTPM registers and to [`crate::kernel_hashes::qemu_patched_kernel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Number of virtual processors, 1 to [`Shape::MAXIMUM_VCPUS`].
    pub vcpus: u32,
    /// Processor model that the VMM presents.
    pub vcpu_type: VcpuType,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Machine model.
    pub machine: Machine,
    /// SEV_FEATURES of the first vCPU state.
    pub guest_features: GuestFeatures,
}

impl Shape {
    /// Most vCPUs for which a digest is computed. KVM's own limit on x86-64 is 4096 with x2APIC; SNP hosts
    /// have at most 384 threads per socket and two sockets.
    pub const MAXIMUM_VCPUS: u32 = 768;
}

/// Why a text names no shape.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The number of vCPUs is zero or absurd.
    #[error("{found} vCPUs; a guest has 1 to {maximum}; correct the shape")]
    VcpuCount {
        /// What was asked for.
        found: u32,
        /// [`Shape::MAXIMUM_VCPUS`].
        maximum: u32,
    },
    /// No such processor model.
    #[error(
        "vCPU type {found:?} is unknown; use one of QEMU's EPYC models, such as EPYC-v4, EPYC-Milan or EPYC-Genoa"
    )]
    UnknownVcpuType {
        /// The name given, cut at 64 characters.
        found: Box<str>,
    },
    /// SEV_FEATURES cannot describe a running SNP guest.
    #[error(
        "guest features {found:#x}; bit 0 (SNPActive) must be set and bits 11, 13 and 16 to 63 must be zero; 0x1 is usual"
    )]
    GuestFeatures {
        /// The value given.
        found: u64,
    },
    /// The text is no number.
    #[error("guest features are written as a number, decimal or 0x-hexadecimal, such as 0x1")]
    NotANumber,
}

/// The processor model of a guest: QEMU's name and the CPUID signature that it puts into RDX at reset.
///
/// EPYC-v1 to -v4 and EPYC-IBPB share one signature and hence one measurement; the name is kept because
/// it stands on the VMM's command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VcpuType {
    name: &'static str,
    signature: VcpuSignature,
}

impl VcpuType {
    /// The model that runs on every SNP processor.
    pub const EPYC_V4: VcpuType =
        VcpuType { name: "EPYC-v4", signature: VcpuSignature::from_cpuid(23, 1, 2) };

    /// QEMU's name, such as `EPYC-v4`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// CPUID Fn0000_0001_EAX of the model.
    pub const fn signature(&self) -> VcpuSignature {
        self.signature
    }

    /// Every model known.
    pub fn all() -> impl Iterator<Item = VcpuType> {
        MODELS.iter().map(|&(name, (family, model, stepping))| VcpuType {
            name,
            signature: VcpuSignature::from_cpuid(family, model, stepping),
        })
    }
}

impl FromStr for VcpuType {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        VcpuType::all()
            .find(|kind| kind.name.eq_ignore_ascii_case(text))
            .ok_or_else(|| ShapeError::UnknownVcpuType { found: text.chars().take(64).collect() })
    }
}

impl fmt::Display for VcpuType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for VcpuType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VcpuType({})", self.name)
    }
}

impl Serialize for VcpuType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for VcpuType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// CPUID Fn0000_0001_EAX: family, model and stepping of a processor (AMD 25481, CPUID Specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VcpuSignature(pub u32);

impl VcpuSignature {
    /// Packs family, model and stepping as AMD 25481 does: families above 0xf continue in the extended
    /// family field, models above 0xf in the extended model field.
    pub const fn from_cpuid(family: u32, model: u32, stepping: u32) -> Self {
        let (family_low, family_high) = if family > 0xf { (0xf, (family - 0xf) & 0xff) } else { (family, 0) };
        VcpuSignature(
            family_high << 20
                | (model >> 4 & 0xf) << 16
                | family_low << 8
                | (model & 0xf) << 4
                | stepping & 0xf,
        )
    }
}

/// SEV_FEATURES of the VMSA (AMD 24593, APM volume 2, VMSA layout, offset 0x3b0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFeatures(u64);

impl GuestFeatures {
    /// SNPActive and nothing else: what QEMU and KVM set by default.
    pub const SNP: GuestFeatures = GuestFeatures(1);

    /// Takes the features of an SNP guest.
    ///
    /// # Errors
    /// [`ShapeError::GuestFeatures`] without SNPActive or with a bit that the manual reserves.
    pub fn for_snp(bits: u64) -> Result<Self, ShapeError> {
        if bits & 1 == 0 || bits & RESERVED_FEATURES != 0 {
            return Err(ShapeError::GuestFeatures { found: bits });
        }
        Ok(GuestFeatures(bits))
    }

    /// The bits as they stand in the VMSA.
    pub const fn bits(&self) -> u64 {
        self.0
    }
}

impl FromStr for GuestFeatures {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let bits = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        GuestFeatures::for_snp(bits.map_err(|_| ShapeError::NotANumber)?)
    }
}

impl fmt::Display for GuestFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for GuestFeatures {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for GuestFeatures {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        GuestFeatures::for_snp(u64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The machine model of the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Machine {
    /// QEMU's Q35.
    #[serde(rename = "q35")]
    Q35,
}

/// Bits 11, 13 and 16 to 63: reserved, must be zero.
const RESERVED_FEATURES: u64 = !0xffff | 1 << 11 | 1 << 13;

/// Family, model, stepping of QEMU's `builtin_x86_defs` (target/i386/cpu.c).
const MODELS: [(&str, (u32, u32, u32)); 18] = [
    ("EPYC", (23, 1, 2)),
    ("EPYC-v1", (23, 1, 2)),
    ("EPYC-v2", (23, 1, 2)),
    ("EPYC-IBPB", (23, 1, 2)),
    ("EPYC-v3", (23, 1, 2)),
    ("EPYC-v4", (23, 1, 2)),
    ("EPYC-Rome", (23, 49, 0)),
    ("EPYC-Rome-v1", (23, 49, 0)),
    ("EPYC-Rome-v2", (23, 49, 0)),
    ("EPYC-Rome-v3", (23, 49, 0)),
    ("EPYC-Milan", (25, 1, 1)),
    ("EPYC-Milan-v1", (25, 1, 1)),
    ("EPYC-Milan-v2", (25, 1, 1)),
    ("EPYC-Genoa", (25, 17, 0)),
    ("EPYC-Genoa-v1", (25, 17, 0)),
    ("EPYC-Turin", (26, 0, 0)),
    ("EPYC-Turin-v1", (26, 0, 0)),
    ("EPYC-Turin-v2", (26, 0, 0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_processors() {
        for (name, signature) in [
            ("EPYC-v4", 0x800f12),
            ("EPYC-Rome", 0x830f10),
            ("EPYC-Milan", 0xa00f11),
            ("EPYC-Genoa", 0xa10f10),
            ("EPYC-Turin", 0xb00f00),
        ] {
            assert_eq!(name.parse::<VcpuType>().unwrap().signature(), VcpuSignature(signature), "{name}");
        }
        assert_eq!("epyc-v4".parse(), Ok(VcpuType::EPYC_V4));
    }

    #[test]
    fn an_unknown_model_is_refused_by_name() {
        assert_eq!("max".parse::<VcpuType>(), Err(ShapeError::UnknownVcpuType { found: "max".into() }));
    }

    #[test]
    fn features_of_an_snp_guest_only() {
        assert_eq!("0x1".parse(), Ok(GuestFeatures::SNP));
        assert_eq!("33".parse::<GuestFeatures>().unwrap().bits(), 0x21);
        for (text, found) in
            [("0x0", 0), ("0x20", 0x20), ("0x801", 0x801), ("0x2001", 0x2001), ("0x10001", 0x10001)]
        {
            assert_eq!(text.parse::<GuestFeatures>(), Err(ShapeError::GuestFeatures { found }));
        }
        assert_eq!("one".parse::<GuestFeatures>(), Err(ShapeError::NotANumber));
    }
}
