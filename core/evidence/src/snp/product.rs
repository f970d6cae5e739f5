//! Which line of processors made this report?

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
    }
}
