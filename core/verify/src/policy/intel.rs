//! Which quotes of Intel platforms does this policy accept?
//!
//! `[intel]` and `roots.intel` judge the platform and serve both `[tdx]` and `[sgx]`, which judge the
//! report. They stand and fall together: whoever writes one of the latter writes the former.

use std::collections::BTreeSet;

use casemate_crypto::hash::Sha256;
use casemate_evidence::Measurement;
use casemate_evidence::intel::{Fmspc, Ppid, TcbStatus};
use serde::Deserialize;

use super::value::{
    ListOrWord, NumberOrWord, bit, bytes, list_or_any, list_or_none, non_empty, vendor_roots, word,
};
use super::{Accept, BitRule, PolicyError};

/// What is accepted of the platform, whichever TEE it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IntelRules {
    pub intel_roots: bool,
    pub tcb_statuses: Vec<TcbStatus>,
    pub accepted_advisories: Accept<String>,
    pub minimum_tcb_evaluation_number: Option<u32>,
    pub platforms: Accept<Ppid>,
    pub denied_platforms: Vec<Ppid>,
    pub processors: Accept<Fmspc>,
    pub denied_processors: Vec<Fmspc>,
    pub smt: BitRule,
    pub dynamic_platform: BitRule,
    pub cached_keys: BitRule,
}

/// What is accepted of a trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TdxRules {
    pub service_td_named: bool,
    pub service_td: ServiceTdRule,
    pub modules: Accept<Measurement>,
    pub xfam: Option<u64>,
    pub mr_owner: Accept<Measurement>,
    pub mr_owner_config: Accept<Measurement>,
    pub attributes: AttributeRules,
    pub registers: RegisterRules,
}

/// Which service TDs may be bound to a trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServiceTdRule {
    None,
    Any,
    Only(Vec<Measurement>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttributeRules {
    pub debug: BitRule,
    pub hgs_plus_prof: BitRule,
    pub perf_prof: BitRule,
    pub pmt_prof: BitRule,
    pub icssd: BitRule,
    pub lass: BitRule,
    pub sept_ve_disable: BitRule,
    pub migratable: BitRule,
    pub pks: BitRule,
    pub key_locker: BitRule,
    pub tpa: BitRule,
    pub perfmon: BitRule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegisterRules {
    pub mrtd: Accept<Measurement>,
    pub rtmr: [Accept<Measurement>; 4],
}

/// What is accepted of an enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SgxRules {
    pub mr_signers: Accept<Sha256>,
    pub isv_prod_ids: Accept<u16>,
    pub minimum_isv_svn: u16,
    pub debug: BitRule,
    pub provision_key: BitRule,
}

impl IntelRules {
    pub(super) fn read(roots: &str, table: IntelTable) -> Result<Self, PolicyError> {
        Ok(Self {
            intel_roots: vendor_roots("roots.intel", roots)?,
            tcb_statuses: statuses(table.tcb_statuses)?,
            accepted_advisories: advisories(table.accepted_advisories)?,
            minimum_tcb_evaluation_number: match table.minimum_tcb_evaluation_number {
                NumberOrWord::Number(number) => Some(number),
                NumberOrWord::Word(text) => {
                    word("intel.minimum_tcb_evaluation_number", &text, "a number or \"any\"", |word| {
                        (word == "any").then_some(None)
                    })?
                }
            },
            platforms: list_or_any("intel.platforms", table.platforms, bytes)?,
            denied_platforms: list_or_none("intel.denied_platforms", table.denied_platforms, bytes)?,
            processors: list_or_any("intel.processors", table.processors, bytes)?,
            denied_processors: list_or_none("intel.denied_processors", table.denied_processors, bytes)?,
            smt: bit("intel.smt", &table.smt)?,
            dynamic_platform: bit("intel.dynamic_platform", &table.dynamic_platform)?,
            cached_keys: bit("intel.cached_keys", &table.cached_keys)?,
        })
    }
}

/// A revoked platform has no keys that prove anything, so no policy can accept one.
fn statuses(list: Vec<String>) -> Result<Vec<TcbStatus>, PolicyError> {
    const FIELD: &str = "intel.tcb_statuses";
    let found = non_empty(FIELD, "UpToDate", list, |field, text| {
        let expected = "a TCB status of Intel other than \"Revoked\", such as \"UpToDate\"";
        let acceptable = TcbStatus::ALL.into_iter().filter(|status| *status != TcbStatus::Revoked);
        word(field, &text, expected, |word| acceptable.clone().find(|status| status.name() == word))
    })?;
    Ok(found.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
}

fn advisories(value: ListOrWord) -> Result<Accept<String>, PolicyError> {
    const FIELD: &str = "intel.accepted_advisories";
    match value {
        ListOrWord::Word(text) => word(FIELD, &text, "a list, \"none\" or \"any\"", |word| match word {
            "any" => Some(Accept::Any),
            "none" => Some(Accept::Only(Vec::new())),
            _ => None,
        }),
        ListOrWord::List(list) => Ok(Accept::Only(non_empty(FIELD, "none", list, |field, text| {
            let number = text.strip_prefix("INTEL-SA-").is_some_and(|digits| {
                digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit())
            });
            if number {
                Ok(text)
            } else {
                Err(PolicyError::Word {
                    field,
                    found: text,
                    expected: "advisories such as \"INTEL-SA-00615\"",
                })
            }
        })?)),
    }
}

impl TdxRules {
    pub(super) fn read(table: TdxTable) -> Result<Self, PolicyError> {
        Ok(Self {
            service_td_named: word(
                "tdx.minimum_report",
                &table.minimum_report,
                "\"1.0\" or \"1.5\"",
                |word| match word {
                    "1.0" => Some(false),
                    "1.5" => Some(true),
                    _ => None,
                },
            )?,
            service_td: service_td(table.service_td)?,
            modules: list_or_any("tdx.modules", table.modules, bytes)?,
            xfam: xfam(&table.xfam)?,
            mr_owner: list_or_any("tdx.mr_owner", table.mr_owner, bytes)?,
            mr_owner_config: list_or_any("tdx.mr_owner_config", table.mr_owner_config, bytes)?,
            attributes: attributes(&table.attributes)?,
            registers: registers(table.registers)?,
        })
    }
}

fn service_td(value: ListOrWord) -> Result<ServiceTdRule, PolicyError> {
    const FIELD: &str = "tdx.service_td";
    match value {
        ListOrWord::Word(text) => word(FIELD, &text, "a list, \"none\" or \"any\"", |word| match word {
            "none" => Some(ServiceTdRule::None),
            "any" => Some(ServiceTdRule::Any),
            _ => None,
        }),
        ListOrWord::List(list) => Ok(ServiceTdRule::Only(non_empty(FIELD, "none", list, bytes)?)),
    }
}

/// The features that a trust domain may use at most, as 16 hexadecimal digits.
fn xfam(text: &str) -> Result<Option<u64>, PolicyError> {
    word("tdx.xfam", text, "16 hexadecimal digits, or \"any\"", |word| {
        if word == "any" {
            return Some(None);
        }
        let digits = word.len() == 16 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(word, 16).ok()).flatten().map(Some)
    })
}

fn attributes(table: &AttributesTable) -> Result<AttributeRules, PolicyError> {
    Ok(AttributeRules {
        debug: bit("tdx.attributes.debug", &table.debug)?,
        hgs_plus_prof: bit("tdx.attributes.hgs_plus_prof", &table.hgs_plus_prof)?,
        perf_prof: bit("tdx.attributes.perf_prof", &table.perf_prof)?,
        pmt_prof: bit("tdx.attributes.pmt_prof", &table.pmt_prof)?,
        icssd: bit("tdx.attributes.icssd", &table.icssd)?,
        lass: bit("tdx.attributes.lass", &table.lass)?,
        sept_ve_disable: bit("tdx.attributes.sept_ve_disable", &table.sept_ve_disable)?,
        migratable: bit("tdx.attributes.migratable", &table.migratable)?,
        pks: bit("tdx.attributes.pks", &table.pks)?,
        key_locker: bit("tdx.attributes.key_locker", &table.key_locker)?,
        tpa: bit("tdx.attributes.tpa", &table.tpa)?,
        perfmon: bit("tdx.attributes.perfmon", &table.perfmon)?,
    })
}

fn registers(table: RegistersTable) -> Result<RegisterRules, PolicyError> {
    Ok(RegisterRules {
        mrtd: list_or_any("tdx.registers.mrtd", table.mrtd, bytes)?,
        rtmr: [
            list_or_any("tdx.registers.rtmr0", table.rtmr0, bytes)?,
            list_or_any("tdx.registers.rtmr1", table.rtmr1, bytes)?,
            list_or_any("tdx.registers.rtmr2", table.rtmr2, bytes)?,
            list_or_any("tdx.registers.rtmr3", table.rtmr3, bytes)?,
        ],
    })
}

impl SgxRules {
    pub(super) fn read(table: SgxTable) -> Result<Self, PolicyError> {
        Ok(Self {
            mr_signers: list_or_any("sgx.mr_signers", table.mr_signers, bytes)?,
            isv_prod_ids: match table.isv_prod_ids {
                Numbers::Word(text) => {
                    word("sgx.isv_prod_ids", &text, "a list of numbers or \"any\"", |word| {
                        (word == "any").then_some(Accept::Any)
                    })?
                }
                Numbers::List(list) if list.is_empty() => {
                    return Err(PolicyError::EmptyList { field: "sgx.isv_prod_ids", word: "any" });
                }
                Numbers::List(list) => Accept::Only(list),
            },
            minimum_isv_svn: table.minimum_isv_svn,
            debug: bit("sgx.debug", &table.debug)?,
            provision_key: bit("sgx.provision_key", &table.provision_key)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntelTable {
    tcb_statuses: Vec<String>,
    accepted_advisories: ListOrWord,
    minimum_tcb_evaluation_number: NumberOrWord,
    platforms: ListOrWord,
    denied_platforms: ListOrWord,
    processors: ListOrWord,
    denied_processors: ListOrWord,
    smt: String,
    dynamic_platform: String,
    cached_keys: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TdxTable {
    minimum_report: String,
    service_td: ListOrWord,
    modules: ListOrWord,
    xfam: String,
    mr_owner: ListOrWord,
    mr_owner_config: ListOrWord,
    attributes: AttributesTable,
    registers: RegistersTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttributesTable {
    debug: String,
    hgs_plus_prof: String,
    perf_prof: String,
    pmt_prof: String,
    icssd: String,
    lass: String,
    sept_ve_disable: String,
    migratable: String,
    pks: String,
    key_locker: String,
    tpa: String,
    perfmon: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistersTable {
    mrtd: ListOrWord,
    rtmr0: ListOrWord,
    rtmr1: ListOrWord,
    rtmr2: ListOrWord,
    rtmr3: ListOrWord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SgxTable {
    mr_signers: ListOrWord,
    isv_prod_ids: Numbers,
    minimum_isv_svn: u16,
    debug: String,
    provision_key: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of numbers 0 to 65535, or \"any\"")]
enum Numbers {
    Word(String),
    List(Vec<u16>),
}
