//! Which SEV-SNP evidence does this policy accept?
//!
//! The tables `hardware`, `minimum_tcb`, `guest_policy`, `id_block` and `platform`, and `roots.amd`: all of
//! them or none. They stand at the top of the file because SEV-SNP came first.

use std::collections::BTreeMap;

use casemate_crypto::hash::Sha384;
use casemate_evidence::ChipId;
use casemate_evidence::snp::{Product, SigningKeyKind};
use serde::Deserialize;

use super::firmware::{Floor, FloorTable};
use super::value::{ListOrWord, NumberOrWord, bit, bytes, list_or_any, list_or_none, vendor_roots, word};
use super::{Accept, BitRule, PolicyError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnpRules {
    pub amd_roots: bool,
    pub hardware: HardwareRules,
    pub minimum_tcb: BTreeMap<Product, Floor>,
    pub guest: GuestRules,
    pub id_block: IdBlockRules,
    pub platform: PlatformRules,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HardwareRules {
    pub products: Accept<Product>,
    pub denied_products: Vec<Product>,
    pub signing_keys: Accept<SigningKeyKind>,
    pub vlek_providers: Accept<String>,
    pub chips: Accept<ChipId>,
    pub denied_chips: Vec<ChipId>,
    pub minimum_report_version: u32,
    pub vmpl: Accept<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestRules {
    pub debug: BitRule,
    pub migrate_ma: BitRule,
    pub smt: BitRule,
    pub single_socket: BitRule,
    pub cxl: BitRule,
    pub aes_256_xts: BitRule,
    pub rapl_disabled: BitRule,
    pub ciphertext_hiding: BitRule,
    pub page_swap_disabled: BitRule,
}

/// What is accepted of the ID block with which a guest was launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdBlockRules {
    pub id_keys: Accept<Sha384>,
    pub author_keys: Accept<Sha384>,
    pub family_ids: Accept<BlockId>,
    pub image_ids: Accept<BlockId>,
    pub minimum_guest_svn: Option<u32>,
}

casemate_canon::byte_type! {
    /// FAMILY_ID or IMAGE_ID: chosen by whoever signs the ID block.
    pub(crate) struct BlockId([u8; 16]);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlatformRules {
    pub smt: BitRule,
    pub tsme: BitRule,
    pub ecc: BitRule,
    pub rapl_disabled: BitRule,
    pub ciphertext_hiding: BitRule,
    pub alias_check: BitRule,
    pub iommu_write_safe: BitRule,
    pub trusted_io: BitRule,
}

impl SnpRules {
    pub(super) fn read(roots: &str, tables: SnpTables) -> Result<Self, PolicyError> {
        let rules = SnpRules {
            amd_roots: vendor_roots("roots.amd", roots)?,
            hardware: hardware(tables.hardware)?,
            minimum_tcb: minimum_tcb(tables.minimum_tcb)?,
            guest: guest(&tables.guest_policy)?,
            id_block: id_block(tables.id_block)?,
            platform: platform(&tables.platform)?,
        };
        for product in Product::ALL {
            let accepted = rules.hardware.products.accepts(&product)
                && !rules.hardware.denied_products.contains(&product);
            if accepted && !rules.minimum_tcb.contains_key(&product) {
                return Err(PolicyError::NoMinimumTcb { product });
            }
        }
        Ok(rules)
    }
}

fn hardware(table: HardwareTable) -> Result<HardwareRules, PolicyError> {
    let version = table.minimum_report_version;
    if !(2..=5).contains(&version) {
        return Err(PolicyError::Number {
            field: "hardware.minimum_report_version",
            found: version.into(),
            expected: "2 to 5",
        });
    }
    Ok(HardwareRules {
        products: list_or_any("hardware.products", table.products, product)?,
        denied_products: list_or_none("hardware.denied_products", table.denied_products, product)?,
        signing_keys: list_or_any("hardware.signing_keys", table.signing_keys, |field, text| {
            word(field, &text, "\"VCEK\" or \"VLEK\"", |word| match word {
                "VCEK" => Some(SigningKeyKind::Vcek),
                "VLEK" => Some(SigningKeyKind::Vlek),
                _ => None,
            })
        })?,
        vlek_providers: list_or_any("hardware.vlek_providers", table.vlek_providers, |_, name| Ok(name))?,
        chips: list_or_any("hardware.chips", table.chips, bytes)?,
        denied_chips: list_or_none("hardware.denied_chips", table.denied_chips, bytes)?,
        minimum_report_version: version,
        vmpl: match table.vmpl {
            Levels::Word(text) => word("hardware.vmpl", &text, "a list of levels or \"any\"", |word| {
                (word == "any").then_some(Accept::Any)
            })?,
            Levels::List(levels) if levels.is_empty() => {
                return Err(PolicyError::EmptyList { field: "hardware.vmpl", word: "any" });
            }
            Levels::List(levels) => match levels.iter().find(|level| **level > 3) {
                Some(&level) => {
                    return Err(PolicyError::Number {
                        field: "hardware.vmpl",
                        found: level.into(),
                        expected: "0 to 3",
                    });
                }
                None => Accept::Only(levels),
            },
        },
    })
}

fn minimum_tcb(tables: BTreeMap<String, FloorTable>) -> Result<BTreeMap<Product, Floor>, PolicyError> {
    tables.into_iter().map(|(name, table)| Floor::read(&name, table)).collect()
}

fn guest(table: &GuestTable) -> Result<GuestRules, PolicyError> {
    Ok(GuestRules {
        debug: bit("guest_policy.debug", &table.debug)?,
        migrate_ma: bit("guest_policy.migrate_ma", &table.migrate_ma)?,
        smt: bit("guest_policy.smt", &table.smt)?,
        single_socket: bit("guest_policy.single_socket", &table.single_socket)?,
        cxl: bit("guest_policy.cxl", &table.cxl)?,
        aes_256_xts: bit("guest_policy.aes_256_xts", &table.aes_256_xts)?,
        rapl_disabled: bit("guest_policy.rapl_disabled", &table.rapl_disabled)?,
        ciphertext_hiding: bit("guest_policy.ciphertext_hiding", &table.ciphertext_hiding)?,
        page_swap_disabled: bit("guest_policy.page_swap_disabled", &table.page_swap_disabled)?,
    })
}

fn id_block(table: IdBlockTable) -> Result<IdBlockRules, PolicyError> {
    let rules = IdBlockRules {
        id_keys: list_or_any("id_block.id_keys", table.id_keys, bytes)?,
        author_keys: list_or_any("id_block.author_keys", table.author_keys, bytes)?,
        family_ids: list_or_any("id_block.family_ids", table.family_ids, bytes)?,
        image_ids: list_or_any("id_block.image_ids", table.image_ids, bytes)?,
        minimum_guest_svn: match table.minimum_guest_svn {
            NumberOrWord::Number(number) => Some(number),
            NumberOrWord::Word(text) => {
                word("id_block.minimum_guest_svn", &text, "a number or \"any\"", |word| {
                    (word == "any").then_some(None)
                })?
            }
        },
    };
    let stated = [
        ("id_block.family_ids", rules.family_ids == Accept::Any),
        ("id_block.image_ids", rules.image_ids == Accept::Any),
        ("id_block.minimum_guest_svn", rules.minimum_guest_svn.is_none()),
    ];
    let signed = rules.id_keys != Accept::Any || rules.author_keys != Accept::Any;
    match stated.into_iter().find(|(_, any)| !any) {
        Some((field, _)) if !signed => Err(PolicyError::UnboundIdBlock { field }),
        _ => Ok(rules),
    }
}

fn platform(table: &PlatformTable) -> Result<PlatformRules, PolicyError> {
    Ok(PlatformRules {
        smt: bit("platform.smt", &table.smt)?,
        tsme: bit("platform.tsme", &table.tsme)?,
        ecc: bit("platform.ecc", &table.ecc)?,
        rapl_disabled: bit("platform.rapl_disabled", &table.rapl_disabled)?,
        ciphertext_hiding: bit("platform.ciphertext_hiding", &table.ciphertext_hiding)?,
        alias_check: bit("platform.alias_check", &table.alias_check)?,
        iommu_write_safe: bit("platform.iommu_write_safe", &table.iommu_write_safe)?,
        trusted_io: bit("platform.trusted_io", &table.trusted_io)?,
    })
}

fn product(field: &'static str, name: String) -> Result<Product, PolicyError> {
    let known = Product::ALL.into_iter().find(|product| product.name() == name);
    known.ok_or(PolicyError::Product { field, found: name })
}

/// The tables of SEV-SNP, all of them present.
pub(super) struct SnpTables {
    pub hardware: HardwareTable,
    pub minimum_tcb: BTreeMap<String, FloorTable>,
    pub guest_policy: GuestTable,
    pub id_block: IdBlockTable,
    pub platform: PlatformTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HardwareTable {
    products: ListOrWord,
    denied_products: ListOrWord,
    signing_keys: ListOrWord,
    vlek_providers: ListOrWord,
    chips: ListOrWord,
    denied_chips: ListOrWord,
    minimum_report_version: u32,
    vmpl: Levels,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuestTable {
    debug: String,
    migrate_ma: String,
    smt: String,
    single_socket: String,
    cxl: String,
    aes_256_xts: String,
    rapl_disabled: String,
    ciphertext_hiding: String,
    page_swap_disabled: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdBlockTable {
    id_keys: ListOrWord,
    author_keys: ListOrWord,
    family_ids: ListOrWord,
    image_ids: ListOrWord,
    minimum_guest_svn: NumberOrWord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlatformTable {
    smt: String,
    tsme: String,
    ecc: String,
    rapl_disabled: String,
    ciphertext_hiding: String,
    alias_check: String,
    iommu_write_safe: String,
    trusted_io: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of levels 0 to 3, or \"any\"")]
enum Levels {
    Word(String),
    List(Vec<u8>),
}
