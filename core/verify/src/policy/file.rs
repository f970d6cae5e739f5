//! What does this policy file say?

use std::collections::BTreeMap;

use casemate_canon::ParseBytesError;
use casemate_crypto::hash::sha256;
use casemate_evidence::Measurement;
use casemate_evidence::snp::{Product, SigningKeyKind, Tcb};
use casemate_record::PolicyDigest;
use serde::Deserialize;

use super::{
    Accept, BitRule, CollateralRules, DigestRule, FreshnessRules, GuestRules, HardwareRules, MeasurementRule,
    NamedMeasurement, PlatformRules, Policy, WorkloadRules,
};

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not TOML, or a key that is unknown, missing or of another type; the source names line and column.
    #[error("{0}")]
    Toml(toml::de::Error),
    /// Another version of the format.
    #[error("policy version {found}, expected 1; update Casemate or the policy")]
    Version {
        /// The number found.
        found: u32,
    },
    /// A list without entries, which could be read as "nothing" or as "anything".
    #[error("`{field}` is an empty list; list what is accepted, or write {word:?}")]
    EmptyList {
        /// The key.
        field: &'static str,
        /// The word that says it outright.
        word: &'static str,
    },
    /// A word that this key does not know.
    #[error("`{field}` is {found:?}, expected {expected}")]
    Word {
        /// The key.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
    /// An entry that is no digest or chip id.
    #[error("`{field}` holds {found:?}: {source}")]
    Bytes {
        /// The key.
        field: &'static str,
        /// The entry.
        found: String,
        /// What is wrong with it.
        source: ParseBytesError,
    },
    /// A product that this version does not know.
    #[error("`{field}` names {found:?}, expected Milan, Genoa or Turin")]
    Product {
        /// The key.
        field: &'static str,
        /// The name.
        found: String,
    },
    /// An accepted product without a TCB floor.
    #[error("product {product} is accepted, but there is no [minimum_tcb.{product}]; write its floor")]
    NoMinimumTcb {
        /// The product.
        product: Product,
    },
    /// `fmc` is missing for Turin, or present for an earlier product.
    #[error(
        "[minimum_tcb.{product}] {}; only Turin has an FMC version",
        if *missing { "has no `fmc`" } else { "has `fmc`" }
    )]
    Fmc {
        /// The product.
        product: Product,
        /// Whether it is missing.
        missing: bool,
    },
    /// A number outside its range.
    #[error("`{field}` is {found}, expected {expected}")]
    Number {
        /// The key.
        field: &'static str,
        /// The number.
        found: u64,
        /// The range.
        expected: &'static str,
    },
    /// Neither AMD's roots nor a simulated one: nothing could ever be genuine.
    #[error("no root is accepted; set `roots.amd = \"builtin\"` or list a simulated root")]
    NoRoots,
    /// Neither digests nor apps: no workload could ever be accepted.
    #[error("no workload is accepted; set `workload.digests` or list apps in `workload.apps`")]
    NoWorkload,
}

pub(super) fn read(text: &str) -> Result<Policy, PolicyError> {
    let file: File = toml::from_str(text).map_err(PolicyError::Toml)?;
    if file.version != 1 {
        return Err(PolicyError::Version { found: file.version });
    }
    let policy = Policy {
        digest: PolicyDigest::from(*sha256(text.as_bytes()).as_bytes()),
        amd_roots: word("roots.amd", &file.roots.amd, "\"builtin\" or \"none\"", |word| match word {
            "builtin" => Some(true),
            "none" => Some(false),
            _ => None,
        })?,
        simulated_roots: list_or_none(
            "simulated_roots.spki_sha256",
            file.simulated_roots.spki_sha256,
            bytes,
        )?,
        hardware: hardware(file.hardware)?,
        minimum_tcb: minimum_tcb(file.minimum_tcb)?,
        guest: guest(&file.guest_policy)?,
        platform: platform(&file.platform)?,
        measurements: measurements(file.image.measurements)?,
        workload: workload(file.workload)?,
        collateral: collateral(file.collateral)?,
        freshness: freshness(&file.freshness)?,
    };
    if !policy.amd_roots && policy.simulated_roots.is_empty() {
        return Err(PolicyError::NoRoots);
    }
    for product in Product::ALL {
        let accepted =
            policy.hardware.products.accepts(&product) && !policy.hardware.denied_products.contains(&product);
        if accepted && !policy.minimum_tcb.contains_key(&product) {
            return Err(PolicyError::NoMinimumTcb { product });
        }
    }
    Ok(policy)
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

fn minimum_tcb(tables: BTreeMap<String, Tcb>) -> Result<BTreeMap<Product, Tcb>, PolicyError> {
    tables
        .into_iter()
        .map(|(name, tcb)| {
            let product = product("minimum_tcb", name)?;
            let (has, needs) = (tcb.fmc.is_some(), product == Product::Turin);
            if has == needs { Ok((product, tcb)) } else { Err(PolicyError::Fmc { product, missing: needs }) }
        })
        .collect()
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

fn platform(table: &PlatformTable) -> Result<PlatformRules, PolicyError> {
    Ok(PlatformRules {
        smt: bit("platform.smt", &table.smt)?,
        tsme: bit("platform.tsme", &table.tsme)?,
        ecc: bit("platform.ecc", &table.ecc)?,
        rapl_disabled: bit("platform.rapl_disabled", &table.rapl_disabled)?,
        ciphertext_hiding: bit("platform.ciphertext_hiding", &table.ciphertext_hiding)?,
        alias_check: bit("platform.alias_check", &table.alias_check)?,
        trusted_io: bit("platform.trusted_io", &table.trusted_io)?,
    })
}

fn measurements(value: ListOrWord) -> Result<MeasurementRule, PolicyError> {
    const FIELD: &str = "image.measurements";
    match value {
        ListOrWord::Word(text) => word(FIELD, &text, "a list, \"expected\" or \"any\"", |word| match word {
            "any" => Some(MeasurementRule::Any),
            "expected" => Some(MeasurementRule::Expected),
            _ => None,
        }),
        ListOrWord::List(list) => {
            let named = |_: &'static str, text: String| {
                // What has the shape of a digest is one; everything else names an image.
                Ok(text.parse::<Measurement>().map_or(NamedMeasurement::Image(text), NamedMeasurement::Value))
            };
            Ok(MeasurementRule::Only(non_empty(FIELD, "any", list, named)?))
        }
    }
}

fn workload(table: WorkloadTable) -> Result<WorkloadRules, PolicyError> {
    const FIELD: &str = "workload.digests";
    let digests = match table.digests {
        ListOrWord::Word(text) => {
            word(FIELD, &text, "a list, \"expected\", \"any\" or \"none\"", |word| match word {
                "any" => Some(DigestRule::Any),
                "expected" => Some(DigestRule::Expected),
                "none" => Some(DigestRule::None),
                _ => None,
            })?
        }
        ListOrWord::List(list) => DigestRule::Only(non_empty(FIELD, "any", list, bytes)?),
    };
    let apps = list_or_none("workload.apps", table.apps, bytes)?;
    if digests == DigestRule::None && apps.is_empty() {
        return Err(PolicyError::NoWorkload);
    }
    Ok(WorkloadRules { digests, apps })
}

fn collateral(table: CollateralTable) -> Result<CollateralRules, PolicyError> {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    Ok(CollateralRules {
        revocation_list_required: word(
            "collateral.revocation_list",
            &table.revocation_list,
            "\"required\" or \"optional\"",
            |word| match word {
                "required" => Some(true),
                "optional" => Some(false),
                _ => None,
            },
        )?,
        maximum_age_ms: match table.maximum_age_days {
            NumberOrWord::Number(days) => Some(u64::from(days) * DAY_MS),
            NumberOrWord::Word(text) => {
                word("collateral.maximum_age_days", &text, "a number of days or \"any\"", |word| {
                    (word == "any").then_some(None)
                })?
            }
        },
    })
}

fn freshness(table: &FreshnessTable) -> Result<FreshnessRules, PolicyError> {
    Ok(FreshnessRules {
        report_data_required: word(
            "freshness.report_data",
            &table.report_data,
            "\"expected\" or \"any\"",
            |word| match word {
                "expected" => Some(true),
                "any" => Some(false),
                _ => None,
            },
        )?,
        maximum_age_ms: u64::from(table.maximum_age_seconds) * 1000,
    })
}

fn bit(field: &'static str, text: &str) -> Result<BitRule, PolicyError> {
    word(field, text, "\"required\", \"forbidden\" or \"any\"", |word| match word {
        "required" => Some(BitRule::Required),
        "forbidden" => Some(BitRule::Forbidden),
        "any" => Some(BitRule::Any),
        _ => None,
    })
}

fn word<T>(
    field: &'static str,
    text: &str,
    expected: &'static str,
    meaning: impl FnOnce(&str) -> Option<T>,
) -> Result<T, PolicyError> {
    meaning(text).ok_or_else(|| PolicyError::Word { field, found: text.to_owned(), expected })
}

fn product(field: &'static str, name: String) -> Result<Product, PolicyError> {
    let known = Product::ALL.into_iter().find(|product| product.name() == name);
    known.ok_or(PolicyError::Product { field, found: name })
}

fn bytes<T: std::str::FromStr<Err = ParseBytesError>>(
    field: &'static str,
    text: String,
) -> Result<T, PolicyError> {
    text.parse().map_err(|source| PolicyError::Bytes { field, found: text, source })
}

type Entry<T> = fn(&'static str, String) -> Result<T, PolicyError>;

fn non_empty<T>(
    field: &'static str,
    word: &'static str,
    list: Vec<String>,
    entry: Entry<T>,
) -> Result<Vec<T>, PolicyError> {
    if list.is_empty() {
        return Err(PolicyError::EmptyList { field, word });
    }
    list.into_iter().map(|text| entry(field, text)).collect()
}

fn list_or_any<T>(field: &'static str, value: ListOrWord, entry: Entry<T>) -> Result<Accept<T>, PolicyError> {
    match value {
        ListOrWord::List(list) => Ok(Accept::Only(non_empty(field, "any", list, entry)?)),
        ListOrWord::Word(text) => {
            word(field, &text, "a list or \"any\"", |word| (word == "any").then_some(Accept::Any))
        }
    }
}

fn list_or_none<T>(field: &'static str, value: ListOrWord, entry: Entry<T>) -> Result<Vec<T>, PolicyError> {
    match value {
        ListOrWord::List(list) => non_empty(field, "none", list, entry),
        ListOrWord::Word(text) => {
            word(field, &text, "a list or \"none\"", |word| (word == "none").then(Vec::new))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    roots: RootsTable,
    simulated_roots: SimulatedRootsTable,
    hardware: HardwareTable,
    minimum_tcb: BTreeMap<String, Tcb>,
    guest_policy: GuestTable,
    platform: PlatformTable,
    image: ImageTable,
    workload: WorkloadTable,
    collateral: CollateralTable,
    freshness: FreshnessTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RootsTable {
    amd: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SimulatedRootsTable {
    spki_sha256: ListOrWord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HardwareTable {
    products: ListOrWord,
    denied_products: ListOrWord,
    signing_keys: ListOrWord,
    chips: ListOrWord,
    denied_chips: ListOrWord,
    minimum_report_version: u32,
    vmpl: Levels,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestTable {
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
struct PlatformTable {
    smt: String,
    tsme: String,
    ecc: String,
    rapl_disabled: String,
    ciphertext_hiding: String,
    alias_check: String,
    trusted_io: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    measurements: ListOrWord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadTable {
    digests: ListOrWord,
    apps: ListOrWord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CollateralTable {
    revocation_list: String,
    maximum_age_days: NumberOrWord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FreshnessTable {
    report_data: String,
    maximum_age_seconds: u32,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of texts, or a word")]
enum ListOrWord {
    Word(String),
    List(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, or a word")]
enum NumberOrWord {
    Number(u32),
    Word(String),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of levels 0 to 3, or \"any\"")]
enum Levels {
    Word(String),
    List(Vec<u8>),
}
