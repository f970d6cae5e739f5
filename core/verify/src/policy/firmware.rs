//! Which firmware of a SEV-SNP machine is new enough?
//!
//! The tables `minimum_tcb.PRODUCT`. Microcode has a floor for each design of the product, because patch
//! levels of different designs do not compare.

use std::collections::BTreeMap;

use casemate_evidence::snp::{CpuId, Product, Silicon, Tcb};
use serde::Deserialize;

use super::PolicyError;
use super::value::word;

/// The floor of one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Floor {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: BTreeMap<Silicon, u8>,
    /// Bits of the mitigation vectors that must be set; `None` if they are not asked for.
    pub mitigations: Option<u64>,
}

impl Floor {
    /// The floor of a processor, or `None` if it is of no known design.
    ///
    /// A report that does not name its processor (version 2) gets the highest floor of microcode: it
    /// may come from any design of the product.
    pub(crate) fn of(&self, processor: Option<CpuId>) -> Option<Tcb> {
        let microcode = match processor {
            None => self.microcode.values().max(),
            Some(cpuid) => cpuid.silicon().and_then(|silicon| self.microcode.get(&silicon)),
        };
        Some(Tcb {
            fmc: self.fmc,
            bootloader: self.bootloader,
            tee: self.tee,
            snp: self.snp,
            microcode: *microcode?,
        })
    }

    pub(super) fn read(name: &str, table: FloorTable) -> Result<(Product, Self), PolicyError> {
        let product = Product::ALL
            .into_iter()
            .find(|product| product.name() == name)
            .ok_or_else(|| PolicyError::Product { field: "minimum_tcb", found: name.to_owned() })?;
        let (has, needs) = (table.fmc.is_some(), product == Product::Turin);
        if has != needs {
            return Err(PolicyError::Fmc { product, missing: needs });
        }
        let floor = Self {
            fmc: table.fmc,
            bootloader: table.bootloader,
            tee: table.tee,
            snp: table.snp,
            microcode: microcode(product, table.microcode)?,
            mitigations: mitigations(table.mitigations)?,
        };
        Ok((product, floor))
    }
}

/// A floor for each design of the product and for nothing else.
fn microcode(product: Product, table: BTreeMap<String, u8>) -> Result<BTreeMap<Silicon, u8>, PolicyError> {
    let expected = || Silicon::ALL.into_iter().filter(move |silicon| silicon.product() == product);
    if let Some(found) = table.keys().find(|name| expected().all(|silicon| silicon.name() != **name)) {
        return Err(PolicyError::Silicon { product, found: found.clone() });
    }
    expected()
        .map(|silicon| match table.get(silicon.name()) {
            Some(floor) => Ok((silicon, *floor)),
            None => Err(PolicyError::NoMicrocode { silicon }),
        })
        .collect()
}

fn mitigations(value: Bits) -> Result<Option<u64>, PolicyError> {
    const FIELD: &str = "minimum_tcb.mitigations";
    match value {
        Bits::Word(text) => {
            word(FIELD, &text, "a list of bits or \"any\"", |word| (word == "any").then_some(None))
        }
        Bits::List(bits) if bits.is_empty() => Err(PolicyError::EmptyList { field: FIELD, word: "any" }),
        Bits::List(bits) => match bits.iter().find(|bit| **bit > 63) {
            Some(&bit) => {
                Err(PolicyError::Number { field: FIELD, found: bit.into(), expected: "bits 0 to 63" })
            }
            None => Ok(Some(bits.into_iter().fold(0, |all, bit| all | 1 << bit))),
        },
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FloorTable {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: BTreeMap<String, u8>,
    mitigations: Bits,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of bits 0 to 63, or \"any\"")]
enum Bits {
    Word(String),
    List(Vec<u8>),
}
