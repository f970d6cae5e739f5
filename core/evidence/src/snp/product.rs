//! Which processors made this report?

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A line of processors that shares a root key (ARK) and a layout of TCB versions.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Product {
    /// EPYC 7003.
    #[n(1)]
    Milan,
    /// EPYC 9004, 97x4 and 8004: Genoa, Bergamo and Siena share the keys of Genoa.
    #[n(2)]
    Genoa,
    /// EPYC 9005.
    #[n(3)]
    Turin,
}

impl Product {
    /// Every product that this version knows.
    pub const ALL: [Product; 3] = [Product::Milan, Product::Genoa, Product::Turin];

    /// The name as AMD's key distribution service spells it in its addresses.
    pub fn name(self) -> &'static str {
        match self {
            Product::Milan => "Milan",
            Product::Genoa => "Genoa",
            Product::Turin => "Turin",
        }
    }

    /// The product of a `productName` extension, which may carry a stepping: `Milan-B0` is Milan
    /// (AMD 57230 §3.1, "Product Name").
    pub fn from_extension(text: &str) -> Option<Self> {
        let line = text.split_once('-').map_or(text, |(line, _stepping)| line);
        Self::ALL.into_iter().find(|product| product.name() == line)
    }

    /// Whether CHIP_ID and the hardware id have 8 bytes instead of 64 (AMD 57230 §3.1, "HWID").
    pub fn has_short_hardware_id(self) -> bool {
        self == Product::Turin
    }
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The processor as the CPUID instruction names it; in reports since version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CpuId {
    /// Combined base and extended family.
    pub family: u8,
    /// Combined base and extended model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl CpuId {
    /// The product, or `None` for a processor that this version does not know.
    pub fn product(self) -> Option<Product> {
        match (self.family, self.model) {
            (0x19, 0x00..=0x0f) => Some(Product::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Product::Genoa),
            (0x1a, 0x00..=0x11) => Some(Product::Turin),
            _ => None,
        }
    }

    /// The design; `None` for samples and for what this version does not know.
    pub fn silicon(self) -> Option<Silicon> {
        Silicon::ALL.into_iter().find(|silicon| silicon.cpuid() == self)
    }
}

impl std::fmt::Display for CpuId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "family {:#04x}, model {:#04x}, stepping {}", self.family, self.model, self.stepping)
    }
}

/// A design of processors within a product. Each has microcode of its own, and patch levels compare only
/// within one design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum Silicon {
    /// EPYC 7003.
    Milan,
    /// EPYC 7003 with 3D V-Cache.
    #[serde(rename = "Milan-X")]
    MilanX,
    /// EPYC 9004.
    Genoa,
    /// EPYC 9004 with 3D V-Cache.
    #[serde(rename = "Genoa-X")]
    GenoaX,
    /// EPYC 97x4, and 8004 (Siena).
    Bergamo,
    /// EPYC 9005.
    Turin,
    /// EPYC 9005 with dense cores.
    #[serde(rename = "Turin-Dense")]
    TurinDense,
}

impl Silicon {
    /// Every design that this version knows.
    pub const ALL: [Silicon; 7] = [
        Silicon::Milan,
        Silicon::MilanX,
        Silicon::Genoa,
        Silicon::GenoaX,
        Silicon::Bergamo,
        Silicon::Turin,
        Silicon::TurinDense,
    ];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Silicon::Milan => "Milan",
            Silicon::MilanX => "Milan-X",
            Silicon::Genoa => "Genoa",
            Silicon::GenoaX => "Genoa-X",
            Silicon::Bergamo => "Bergamo",
            Silicon::Turin => "Turin",
            Silicon::TurinDense => "Turin-Dense",
        }
    }

    /// The product to which it belongs.
    pub const fn product(self) -> Product {
        match self {
            Silicon::Milan | Silicon::MilanX => Product::Milan,
            Silicon::Genoa | Silicon::GenoaX | Silicon::Bergamo => Product::Genoa,
            Silicon::Turin | Silicon::TurinDense => Product::Turin,
        }
    }

    const fn cpuid(self) -> CpuId {
        // AMD-SB-7033 lists microcode by CPUID, one row for each of these.
        let (family, model, stepping) = match self {
            Silicon::Milan => (0x19, 0x01, 1),
            Silicon::MilanX => (0x19, 0x01, 2),
            Silicon::Genoa => (0x19, 0x11, 1),
            Silicon::GenoaX => (0x19, 0x11, 2),
            Silicon::Bergamo => (0x19, 0xa0, 2),
            Silicon::Turin => (0x1a, 0x02, 1),
            Silicon::TurinDense => (0x1a, 0x11, 0),
        };
        CpuId { family, model, stepping }
    }
}

impl std::fmt::Display for Silicon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_names_lose_their_stepping() {
        assert_eq!(Product::from_extension("Milan-B0"), Some(Product::Milan));
        assert_eq!(Product::from_extension("Turin"), Some(Product::Turin));
        assert_eq!(Product::from_extension("MilanX"), None);
        assert_eq!(Product::from_extension(""), None);
    }

    #[test]
    fn processors_beyond_the_known_ones_have_no_product() {
        assert_eq!(CpuId { family: 0x19, model: 0xa1, stepping: 0 }.product(), Some(Product::Genoa));
        assert_eq!(CpuId { family: 0x1a, model: 0x50, stepping: 0 }.product(), None);
        assert_eq!(CpuId { family: 0x17, model: 0x01, stepping: 0 }.product(), None);
        assert_eq!(CpuId { family: 0x19, model: 0xa1, stepping: 0 }.silicon(), None);
        assert_eq!(CpuId { family: 0x19, model: 0x01, stepping: 0 }.silicon(), None);
    }

    #[test]
    fn every_design_belongs_to_the_product_of_its_processor() {
        for silicon in Silicon::ALL {
            assert_eq!(silicon.cpuid().product(), Some(silicon.product()), "{silicon}");
            assert_eq!(silicon.cpuid().silicon(), Some(silicon));
        }
    }
}
