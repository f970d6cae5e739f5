//! Each rule is kept and broken by its row, and none is without one.

use std::collections::BTreeSet;

use casemate_evidence::intel::{PckConfiguration, QuoteVersion, TcbStatus};
use casemate_evidence::sgx::Attributes;
use casemate_evidence::tdx::{ServiceTd, TdAttributes, Xfam};
use casemate_verify::{Code, Outcome, Policy, Roots};
use proptest::prelude::*;

use crate::case::{Case, SGX_RULES, attributes, svn};

/// A row: the key that it is about, a change that keeps the rule, a change that breaks it, the check.
type Row = (&'static str, fn(&mut Case), fn(&mut Case), Code);

/// A bit of TDATTRIBUTES: demanded and on, forbidden and on.
macro_rules! attribute {
    ($key:literal, $bit:expr, $code:expr) => {
        (
            concat!("tdx.attributes.", $key),
            |case| {
                case.set(concat!("tdx.attributes.", $key), "\"required\"");
                case.machine.td().td_attributes = attributes(1 << $bit);
            },
            |case| {
                case.set(concat!("tdx.attributes.", $key), "\"forbidden\"");
                case.machine.td().td_attributes = attributes(1 << $bit);
            },
            $code,
        )
    };
}

/// A register: listed, and changed.
macro_rules! register {
    ($key:literal, $byte:literal, $field:ident $([$index:literal])?, $code:expr) => {
        (
            concat!("tdx.registers.", $key),
            |case| case.set(concat!("tdx.registers.", $key), &format!("[\"{}\"]", $byte.repeat(48))),
            |case| {
                case.set(concat!("tdx.registers.", $key), &format!("[\"{}\"]", $byte.repeat(48)));
                case.set("image.measurements", "\"any\"");
                case.machine.td().$field $([$index])? = [0xEE; 48].into();
            },
            $code,
        )
    };
}

/// What the PCK certificate says of the configuration.
macro_rules! configuration {
    ($key:literal, $code:expr) => {
        (
            concat!("intel.", $key),
            |case| case.set(concat!("intel.", $key), "\"required\""),
            |case| case.set(concat!("intel.", $key), "\"forbidden\""),
            $code,
        )
    };
}

const TDX_ROWS: &[Row] = &[
    (
        "roots.intel",
        |case| case.set("roots.intel", "\"none\""),
        |case| {
            case.roots = Some(Roots::none().with_simulated([case.machine.simulated_root()]));
            case.set("roots.intel", "\"none\"");
            case.set("simulated_roots.spki_sha256", "\"none\"");
        },
        Code::SimulatedRoot,
    ),
    (
        "intel.tcb_statuses",
        |case| {
            case.set("intel.tcb_statuses", "[\"UpToDate\", \"SWHardeningNeeded\"]");
            case.machine.collateral.levels[0].status = TcbStatus::SwHardeningNeeded;
        },
        |case| case.machine.collateral.levels[0].status = TcbStatus::SwHardeningNeeded,
        Code::TcbStatus,
    ),
    (
        "intel.accepted_advisories",
        |case| {
            case.set("intel.accepted_advisories", "[\"INTEL-SA-00002\", \"INTEL-SA-00001\"]");
            case.machine.collateral.levels[0].advisories = vec!["INTEL-SA-00001".to_owned()];
        },
        |case| {
            case.set("intel.accepted_advisories", "[\"INTEL-SA-00002\"]");
            case.machine.collateral.levels[0].advisories = vec!["INTEL-SA-00001".to_owned()];
        },
        Code::Advisories,
    ),
    (
        "intel.minimum_tcb_evaluation_number",
        |case| case.set("intel.minimum_tcb_evaluation_number", "18"),
        |case| case.set("intel.minimum_tcb_evaluation_number", "19"),
        Code::TcbEvaluation,
    ),
    (
        "intel.platforms",
        |case| case.set("intel.platforms", &format!("[\"{}\"]", "ab".repeat(16))),
        |case| case.set("intel.platforms", &format!("[\"{}\"]", "ac".repeat(16))),
        Code::IntelPlatform,
    ),
    (
        "intel.denied_platforms",
        |case| case.set("intel.denied_platforms", &format!("[\"{}\"]", "ac".repeat(16))),
        |case| case.set("intel.denied_platforms", &format!("[\"{}\"]", "ab".repeat(16))),
        Code::IntelDeniedPlatform,
    ),
    (
        "intel.processors",
        |case| case.set("intel.processors", "[\"b0c06f000000\"]"),
        |case| case.set("intel.processors", "[\"00806f050000\"]"),
        Code::IntelProcessor,
    ),
    (
        "intel.denied_processors",
        |case| case.set("intel.denied_processors", "[\"00806f050000\"]"),
        |case| case.set("intel.denied_processors", "[\"b0c06f000000\"]"),
        Code::IntelDeniedProcessor,
    ),
    configuration!("smt", Code::IntelSmt),
    configuration!("dynamic_platform", Code::IntelDynamic),
    configuration!("cached_keys", Code::IntelCachedKeys),
    (
        "tdx.minimum_report",
        |case| case.set("tdx.minimum_report", "\"1.5\""),
        |case| {
            case.set("tdx.minimum_report", "\"1.5\"");
            case.machine.td().service_td = None;
            case.machine.version = QuoteVersion::V4;
        },
        Code::TdReportVersion,
    ),
    (
        "tdx.service_td",
        |case| {
            case.set("tdx.service_td", &format!("[\"{}\"]", "5d".repeat(48)));
            bind_service_td(case);
        },
        bind_service_td,
        Code::ServiceTd,
    ),
    (
        "tdx.modules",
        |case| case.set("tdx.modules", &format!("[\"{}\"]", "5e".repeat(48))),
        |case| case.set("tdx.modules", &format!("[\"{}\"]", "5f".repeat(48))),
        Code::TdxModule,
    ),
    (
        "tdx.xfam",
        |case| case.set("tdx.xfam", "\"00000000000600e7\""),
        |case| {
            case.set("tdx.xfam", "\"00000000000600e7\"");
            case.machine.td().xfam = Xfam::from_bits(0x6_01E7);
        },
        Code::Xfam,
    ),
    (
        "tdx.mr_owner",
        |case| case.set("tdx.mr_owner", &format!("[\"{}\"]", "00".repeat(48))),
        |case| {
            case.set("tdx.mr_owner", &format!("[\"{}\"]", "00".repeat(48)));
            case.machine.td().mr_owner = [1; 48];
        },
        Code::MrOwner,
    ),
    (
        "tdx.mr_owner_config",
        |case| case.set("tdx.mr_owner_config", &format!("[\"{}\"]", "00".repeat(48))),
        |case| {
            case.set("tdx.mr_owner_config", &format!("[\"{}\"]", "00".repeat(48)));
            case.machine.td().mr_owner_config = [1; 48];
        },
        Code::MrOwnerConfig,
    ),
    attribute!("debug", 0, Code::TdDebug),
    attribute!("hgs_plus_prof", 4, Code::TdHgsPlusProf),
    attribute!("perf_prof", 5, Code::TdPerfProf),
    attribute!("pmt_prof", 6, Code::TdPmtProf),
    attribute!("icssd", 16, Code::TdIcssd),
    attribute!("lass", 27, Code::TdLass),
    (
        "tdx.attributes.sept_ve_disable",
        |_| {},
        |case| case.machine.td().td_attributes = TdAttributes::from_bits(0).expect("no bits"),
        Code::TdSeptVeDisable,
    ),
    attribute!("migratable", 29, Code::TdMigratable),
    attribute!("pks", 30, Code::TdPks),
    attribute!("key_locker", 31, Code::TdKeyLocker),
    attribute!("tpa", 62, Code::TdTpa),
    attribute!("perfmon", 63, Code::TdPerfmon),
    register!("mrtd", "4d", mr_td, Code::Mrtd),
    register!("rtmr0", "40", rtmr[0], Code::Rtmr0),
    register!("rtmr1", "41", rtmr[1], Code::Rtmr1),
    register!("rtmr2", "42", rtmr[2], Code::Rtmr2),
    register!("rtmr3", "43", rtmr[3], Code::Rtmr3),
];

const SGX_ROWS: &[Row] = &[
    (
        "sgx.mr_signers",
        |case| case.set("sgx.mr_signers", &format!("[\"{}\"]", "e2".repeat(32))),
        |case| case.set("sgx.mr_signers", &format!("[\"{}\"]", "e3".repeat(32))),
        Code::MrSigner,
    ),
    (
        "sgx.isv_prod_ids",
        |case| case.set("sgx.isv_prod_ids", "[6, 7]"),
        |case| case.set("sgx.isv_prod_ids", "[6]"),
        Code::IsvProdId,
    ),
    (
        "sgx.minimum_isv_svn",
        |case| case.set("sgx.minimum_isv_svn", "3"),
        |case| case.set("sgx.minimum_isv_svn", "4"),
        Code::IsvSvn,
    ),
    (
        "sgx.debug",
        |case| {
            case.set("sgx.debug", "\"any\"");
            case.machine.enclave().attributes = Attributes { flags: 0b111, xfrm: 3 };
        },
        |case| case.machine.enclave().attributes = Attributes { flags: 0b111, xfrm: 3 },
        Code::EnclaveDebug,
    ),
    (
        "sgx.provision_key",
        |case| {
            case.set("sgx.provision_key", "\"required\"");
            case.machine.enclave().attributes = Attributes { flags: 0b1_0101, xfrm: 3 };
        },
        |case| case.set("sgx.provision_key", "\"required\""),
        Code::EnclaveProvisionKey,
    ),
];

fn bind_service_td(case: &mut Case) {
    let service_td = case.machine.td().service_td.expect("a report of TDX 1.5");
    case.machine.td().service_td = Some(ServiceTd { mr_service_td: [0x5D; 48].into(), ..service_td });
}

#[test]
fn each_rule_is_kept_and_broken_by_its_row() {
    for (rows, start) in [(TDX_ROWS, Case::tdx as fn() -> Case), (SGX_ROWS, Case::sgx)] {
        for (key, keep, break_it, code) in rows {
            let mut kept = start();
            keep(&mut kept);
            assert_eq!(kept.failures(), [], "{key} should be kept");
            let mut broken = start();
            break_it(&mut broken);
            assert_eq!(broken.failures(), [*code], "{key} should be broken");
            assert_eq!(broken.verdict().outcome(), Outcome::Refused, "{key}");
        }
    }
}

#[test]
fn every_key_about_intel_platforms_has_a_row() {
    fn keys(table: &toml::Table, prefix: &str, into: &mut BTreeSet<String>) {
        for (name, value) in table {
            match value {
                toml::Value::Table(inner) => keys(inner, &format!("{prefix}{name}."), into),
                _ => drop(into.insert(format!("{prefix}{name}"))),
            }
        }
    }
    let mut in_file = BTreeSet::new();
    let text = Policy::example(&[]) + SGX_RULES;
    keys(&text.parse().expect("the policy is TOML"), "", &mut in_file);
    in_file.retain(|key| {
        key == "roots.intel" || ["intel.", "tdx.", "sgx."].iter().any(|table| key.starts_with(table))
    });
    let in_rows: BTreeSet<String> = TDX_ROWS.iter().chain(SGX_ROWS).map(|row| row.0.to_owned()).collect();
    assert_eq!(in_file, in_rows);
}

#[test]
fn unstated_configuration_satisfies_no_rule() {
    for rule in ["\"required\"", "\"forbidden\""] {
        for key in ["smt", "dynamic_platform", "cached_keys"] {
            let mut case = Case::tdx();
            case.machine.platform.configuration =
                Some(PckConfiguration { dynamic_platform: None, cached_keys: None, smt_enabled: None });
            assert_eq!(case.failures(), []);
            case.set(&format!("intel.{key}"), rule);
            assert_eq!(case.failures().len(), 1, "{key} {rule}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A stricter policy never accepts more.
    #[test]
    fn stricter_policies_accept_no_more(
        components in any::<[u8; 2]>(),
        bits in prop::collection::vec(prop::sample::select(vec![0u32, 4, 16, 29, 30, 31, 63]), 0..3),
        tightened in prop::collection::vec((0usize..4, prop::bool::ANY), 0..4),
        statuses in 1usize..8,
    ) {
        const KEYS: [&str; 4] = ["icssd", "pks", "key_locker", "perfmon"];
        let mut loose = Case::tdx();
        loose.machine.platform.tcb.components[0] = components[0] % 3 + 5;
        loose.machine.td().tee_tcb_svn = svn([components[1] % 4 + 2, 3, 2]);
        loose.machine.td().td_attributes = attributes(bits.iter().fold(0, |all, bit| all | 1 << bit));
        loose.set("intel.accepted_advisories", "\"any\"");
        let mut strict = loose.clone();
        let words: Vec<String> = TcbStatus::ALL[..8].iter().map(|status| format!("\"{status}\"")).collect();
        loose.set("intel.tcb_statuses", &format!("[{}]", words.join(", ")));
        strict.set("intel.tcb_statuses", &format!("[{}]", words[..statuses].join(", ")));
        for (key, required) in tightened {
            let rule = if required { "\"required\"" } else { "\"forbidden\"" };
            strict.set(&format!("tdx.attributes.{}", KEYS[key]), rule);
        }
        if strict.verdict().outcome() == Outcome::Verified {
            prop_assert_eq!(loose.verdict().outcome(), Outcome::Verified);
        }
    }
}
