//! What does this policy file say?

use std::collections::BTreeMap;

use casemate_crypto::hash::sha256;
use casemate_record::PolicyDigest;
use serde::Deserialize;

use super::clouds::{AzureRules, AzureTable, GcpRules, GcpTable};
use super::firmware::FloorTable;
use super::intel::{IntelRules, IntelTable, SgxRules, SgxTable, TdxRules, TdxTable};
use super::logs::{EventRules, EventsTable, ImaRules, ImaTable};
use super::nitro::{NitroRules, NitroTable};
use super::nvidia::{NvidiaRules, NvidiaTable};
use super::snp::{GuestTable, HardwareTable, IdBlockTable, PlatformTable, SnpRules, SnpTables};
use super::tables;
use super::tpm::{TpmRules, TpmTable};
use super::value::{ListOrWord, NumberOrWord, bytes, list_or_none, non_empty, word};
use super::workload::{WorkloadRules, WorkloadTable};
use super::{CollateralRules, FreshnessRules, MeasurementRule, NamedMeasurement, Policy, PolicyError};
use crate::expectations::LaunchMeasurement;
use crate::verdict::Platform;

pub(super) fn read(text: &str) -> Result<Policy, PolicyError> {
    if text.len() > Policy::MAXIMUM_LEN {
        return Err(PolicyError::TooLong { found: text.len() });
    }
    let file: File = tables::read(text).map_err(PolicyError::Toml)?;
    if file.version != 1 {
        return Err(PolicyError::Version { found: file.version });
    }
    let policy = Policy {
        digest: PolicyDigest::from(*sha256(text.as_bytes()).as_bytes()),
        simulated_roots: list_or_none(
            "simulated_roots.spki_sha256",
            file.simulated_roots.spki_sha256,
            bytes,
        )?,
        snp: snp(
            file.roots.amd,
            file.hardware,
            file.minimum_tcb,
            file.guest_policy,
            file.id_block,
            file.platform,
        )?,
        intel: intel(file.roots.intel, file.intel, file.tdx.is_some() || file.sgx.is_some())?,
        tdx: file.tdx.map(TdxRules::read).transpose()?,
        sgx: file.sgx.map(SgxRules::read).transpose()?,
        nitro: rooted(
            Platform::Nitro,
            ["roots.aws", "nitro"],
            "`roots.aws` and [nitro]",
            file.roots.aws,
            file.nitro,
            NitroRules::read,
        )?,
        gcp: rooted(
            Platform::Gcp,
            ["roots.google", "gcp"],
            "`roots.google`, [gcp] and [tpm]",
            file.roots.google,
            file.gcp,
            GcpRules::read,
        )?,
        azure: file.azure.map(AzureRules::read).transpose()?,
        tpm: file.tpm.map(TpmRules::read).transpose()?,
        events: file.events.map(EventRules::read).transpose()?,
        ima: file.ima.map(ImaRules::read).transpose()?,
        nvidia: rooted(
            Platform::Nvidia,
            ["roots.nvidia", "nvidia"],
            "`roots.nvidia` and [nvidia]",
            file.roots.nvidia,
            file.nvidia,
            NvidiaRules::read,
        )?,
        measurements: measurements(file.image.measurements)?,
        workload: WorkloadRules::read(file.workload)?,
        collateral: collateral(file.collateral)?,
        freshness: freshness(&file.freshness)?,
    };
    let clouds = [
        (policy.gcp.is_some(), Platform::Gcp, "`roots.google`, [gcp] and [tpm]"),
        (policy.azure.is_some(), Platform::Azure, "[azure] and [tpm]"),
    ];
    for (accepted, platform, tables) in clouds {
        if accepted && policy.tpm.is_none() {
            return Err(PolicyError::Incomplete { platform, missing: "tpm", tables });
        }
    }
    if Platform::ALL.iter().all(|platform| !policy.has_rules(*platform)) {
        return Err(PolicyError::NoPlatform);
    }
    if policy.roots().is_empty() {
        return Err(PolicyError::NoRoots);
    }
    Ok(policy)
}

/// The rules of SEV-SNP, if the file has any of them: then it must have them all.
fn snp(
    roots: Option<String>,
    hardware: Option<HardwareTable>,
    minimum_tcb: Option<BTreeMap<String, FloorTable>>,
    guest_policy: Option<GuestTable>,
    id_block: Option<IdBlockTable>,
    platform: Option<PlatformTable>,
) -> Result<Option<SnpRules>, PolicyError> {
    let present = [
        roots.is_some(),
        hardware.is_some(),
        minimum_tcb.is_some(),
        guest_policy.is_some(),
        id_block.is_some(),
        platform.is_some(),
    ];
    if present == [false; 6] {
        return Ok(None);
    }
    let missing = |missing| PolicyError::Incomplete {
        platform: Platform::Snp,
        missing,
        tables: "`roots.amd`, [hardware], [minimum_tcb.*], [guest_policy], [id_block], [platform]",
    };
    let roots = roots.ok_or(missing("roots.amd"))?;
    let tables = SnpTables {
        hardware: hardware.ok_or(missing("hardware"))?,
        minimum_tcb: minimum_tcb.ok_or(missing("minimum_tcb"))?,
        guest_policy: guest_policy.ok_or(missing("guest_policy"))?,
        id_block: id_block.ok_or(missing("id_block"))?,
        platform: platform.ok_or(missing("platform"))?,
    };
    SnpRules::read(&roots, tables).map(Some)
}

/// The rules of Intel platforms: needed by those of TDX and SGX, and of use to nothing else.
fn intel(
    roots: Option<String>,
    table: Option<IntelTable>,
    needed: bool,
) -> Result<Option<IntelRules>, PolicyError> {
    let missing = |missing| PolicyError::Incomplete {
        platform: Platform::Tdx,
        missing,
        tables: "`roots.intel`, [intel], and [tdx] or [sgx]",
    };
    match (roots, table, needed) {
        (None, None, false) => Ok(None),
        (Some(roots), Some(table), true) => IntelRules::read(&roots, table).map(Some),
        (None, ..) => Err(missing("roots.intel")),
        (_, None, _) => Err(missing("intel")),
        (_, _, false) => Err(missing("tdx")),
    }
}

/// The rules of a platform that consist of its roots and one table: both or neither.
fn rooted<Table, Rules>(
    platform: Platform,
    [roots_key, table_key]: [&'static str; 2],
    tables: &'static str,
    roots: Option<String>,
    table: Option<Table>,
    read: fn(&str, Table) -> Result<Rules, PolicyError>,
) -> Result<Option<Rules>, PolicyError> {
    match (roots, table) {
        (None, None) => Ok(None),
        (Some(roots), Some(table)) => read(&roots, table).map(Some),
        (None, _) => Err(PolicyError::Incomplete { platform, missing: roots_key, tables }),
        (_, None) => Err(PolicyError::Incomplete { platform, missing: table_key, tables }),
    }
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
                Ok(text
                    .parse::<LaunchMeasurement>()
                    .map_or(NamedMeasurement::Image(text), NamedMeasurement::Value))
            };
            Ok(MeasurementRule::Only(non_empty(FIELD, "any", list, named)?))
        }
    }
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    roots: RootsTable,
    simulated_roots: SimulatedRootsTable,
    hardware: Option<HardwareTable>,
    minimum_tcb: Option<BTreeMap<String, FloorTable>>,
    guest_policy: Option<GuestTable>,
    id_block: Option<IdBlockTable>,
    platform: Option<PlatformTable>,
    intel: Option<IntelTable>,
    tdx: Option<TdxTable>,
    sgx: Option<SgxTable>,
    nitro: Option<NitroTable>,
    tpm: Option<TpmTable>,
    gcp: Option<GcpTable>,
    azure: Option<AzureTable>,
    events: Option<EventsTable>,
    ima: Option<ImaTable>,
    nvidia: Option<NvidiaTable>,
    image: ImageTable,
    workload: WorkloadTable,
    collateral: CollateralTable,
    freshness: FreshnessTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RootsTable {
    amd: Option<String>,
    intel: Option<String>,
    aws: Option<String>,
    google: Option<String>,
    nvidia: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SimulatedRootsTable {
    spki_sha256: ListOrWord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    measurements: ListOrWord,
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
