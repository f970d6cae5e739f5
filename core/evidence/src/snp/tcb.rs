//! Which firmware was running?

use serde::{Deserialize, Serialize};

use super::product::Product;

casemate_canon::byte_type! {
    /// TCB_VERSION: 8 bytes whose layout depends on the product (AMD 56860 §2.2, TCB_VERSION).
    pub struct TcbVersion([u8; 8]);
}

/// Security version numbers of the parts of the platform's firmware; higher is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// FMC, the first mutable code; Turin and later only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fmc: Option<u8>,
    /// BOOT_LOADER of the security processor.
    pub bootloader: u8,
    /// TEE, the security processor's operating system.
    pub tee: u8,
    /// SNP, the SEV firmware.
    pub snp: u8,
    /// MICROCODE, the lowest patch level of all cores.
    pub microcode: u8,
}

/// A TCB version that breaks the layout of its product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcbError {
    /// A byte that the layout reserves is not zero.
    #[error(
        "reserved byte {index} of the {product} TCB version is {found}, expected 0; the evidence may come \
         from a newer processor: update Casemate"
    )]
    Reserved {
        /// Product whose layout was applied.
        product: Product,
        /// Index of the byte, 0 to 7.
        index: usize,
        /// Its value.
        found: u8,
    },
}

impl TcbVersion {
    /// The parts, in the layout of `product`.
    ///
    /// # Errors
    /// [`TcbError::Reserved`].
    pub fn components(self, product: Product) -> Result<Tcb, TcbError> {
        let bytes = self.as_bytes();
        let reserved = if product == Product::Turin { 4..7 } else { 2..6 };
        if let Some(index) = reserved.clone().find(|&index| bytes[index] != 0) {
            return Err(TcbError::Reserved { product, index, found: bytes[index] });
        }
        Ok(match product {
            Product::Turin => Tcb {
                fmc: Some(bytes[0]),
                bootloader: bytes[1],
                tee: bytes[2],
                snp: bytes[3],
                microcode: bytes[7],
            },
            Product::Milan | Product::Genoa => {
                Tcb { fmc: None, bootloader: bytes[0], tee: bytes[1], snp: bytes[6], microcode: bytes[7] }
            }
        })
    }
}

impl Tcb {
    /// The 8 bytes of these parts in the layout of `product`; `fmc` is written for Turin only.
    pub fn version(self, product: Product) -> TcbVersion {
        TcbVersion::from(match product {
            Product::Turin => {
                [self.fmc.unwrap_or(0), self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode]
            }
            Product::Milan | Product::Genoa => {
                [self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode]
            }
        })
    }
}

impl std::fmt::Display for Tcb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc}, ")?;
        }
        write!(
            f,
            "bootloader {}, tee {}, snp {}, microcode {}",
            self.bootloader, self.tee, self.snp, self.microcode
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_differ_between_products() {
        let bytes = TcbVersion::from([1, 2, 0, 0, 0, 0, 6, 7]);
        let milan = bytes.components(Product::Milan).unwrap();
        assert_eq!((milan.fmc, milan.bootloader, milan.tee, milan.snp, milan.microcode), (None, 1, 2, 6, 7));
        assert_eq!(
            bytes.components(Product::Turin),
            Err(TcbError::Reserved { product: Product::Turin, index: 6, found: 6 })
        );
    }

    #[test]
    fn each_reserved_byte_is_refused() {
        for (product, reserved) in [(Product::Milan, 2..6), (Product::Genoa, 2..6), (Product::Turin, 4..7)] {
            for index in reserved {
                let mut bytes = [0; 8];
                bytes[index] = 9;
                assert_eq!(
                    TcbVersion::from(bytes).components(product),
                    Err(TcbError::Reserved { product, index, found: 9 })
                );
            }
        }
    }

    #[test]
    fn parts_survive_both_layouts() {
        for product in Product::ALL {
            let fmc = (product == Product::Turin).then_some(5);
            let parts = Tcb { fmc, bootloader: 1, tee: 2, snp: 3, microcode: 4 };
            assert_eq!(parts.version(product).components(product), Ok(parts));
        }
    }
}
