//! Each rule about Intel platforms decides something: for every key below `intel`, `tdx` and `sgx` there is
//! a row that changes it, or the evidence, and names the one check that then fails. And from a genuine quote
//! and its collateral: each field of a report and of the PCK certificate is looked at by some rule.

mod support;

use std::collections::BTreeSet;

use casemate_evidence::Measurement;
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::{PckConfiguration, PlatformTcb, QuoteVersion, SgxType, TcbStatus};
use casemate_evidence::sgx::Attributes;
use casemate_evidence::tdx::{ServiceTd, TdAttributes, TeeTcbSvn, Xfam};
use casemate_record::LeaseTerm;
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, KnownRoster, NotEstablished, Outcome, Policy,
    PolicyError, ReferenceValue, Roots, SessionStanding, Style, Verdict, Verifier, Workload,
};
use proptest::prelude::*;
use support::intel::{Guest, Machine, Platform};
use support::{DAY_MS, NOW_MS};

/// Evidence, what is expected of it, and the policy's text.
#[derive(Clone)]
struct Case {
    machine: Machine,
    policy: String,
    expectations: Expectations,
    roots: Option<Roots>,
}

impl Case {
    fn tdx() -> Self {
        Self::new(Machine::tdx())
    }

    fn sgx() -> Self {
        let mut case = Self::new(Machine::sgx());
        // An enclave has no slot for a workload.
        case.set("workload.digests", "\"any\"");
        case.expectations.workload = Workload::Unchecked;
        case
    }

    fn new(machine: Machine) -> Self {
        let measurement = match &machine.guest {
            Guest::Tdx(report) => report.finish().launch_registers().launch_measurement().into(),
            Guest::Sgx(report) => report.mr_enclave.into(),
        };
        Self {
            policy: Policy::example(&[machine.root_digest()]) + SGX_RULES,
            expectations: Expectations {
                freshness: Freshness::Challenge { report_data: [0x77; 64].into(), made_ms: NOW_MS - 41 },
                workload: Workload::Digest { digest: [0x9C; 32].into(), source: "a test".to_owned() },
                images: vec![ReferenceValue {
                    image: "image 1".to_owned(),
                    measurement,
                    source: "a test".to_owned(),
                }],
                channel: Channel::Unchecked,
            },
            machine,
            roots: None,
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        support::set_rule(&mut self.policy, key, value);
    }

    fn verdict(&self) -> Verdict {
        let policy = Policy::parse(&self.policy).unwrap_or_else(|error| panic!("{error}\n{}", self.policy));
        let roots = self.roots.clone().unwrap_or_else(|| policy.roots());
        let verifier = Verifier {
            policy: &policy,
            roots: &roots,
            accept_simulated: AcceptSimulated::Yes,
            provider: casemate_crypto::provider(),
        };
        let (quote, collateral) = (self.machine.quote(), self.machine.collateral());
        verifier.verify_quote(&quote, &collateral, &self.expectations, NOW_MS).verdict().clone()
    }

    fn failures(&self) -> Vec<Code> {
        self.verdict().failures().map(|check| check.code).collect()
    }
}

/// A row: the key that it is about, a change that keeps the rule, a change that breaks it, the check.
type Row = (&'static str, fn(&mut Case), fn(&mut Case), Code);

fn attributes(bits: u64) -> TdAttributes {
    TdAttributes::from_bits(1 << 28 | bits).expect("defined bits")
}

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

const SGX_RULES: &str = r#"
[sgx]
mr_signers = "any"
isv_prod_ids = "any"
minimum_isv_svn = 0
debug = "forbidden"
provision_key = "any"
"#;

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

/// Names every field of a struct, and fails to compile when there is a new one.
macro_rules! fields {
    ($type:path { $($field:ident),* $(,)? }) => {{
        #[allow(unused_variables, dead_code)]
        fn complete(value: $type) {
            let $type { $($field),* } = value;
        }
        [$(stringify!($field)),*]
    }};
}

/// A policy that names every value of the report.
fn strict() -> Case {
    let mut case = Case::tdx();
    let listed = |byte: &str| format!("[\"{}\"]", byte.repeat(48));
    case.set("tdx.modules", &listed("5e"));
    case.set("tdx.xfam", "\"00000000000600e7\"");
    case.set("tdx.mr_owner", &listed("00"));
    case.set("tdx.mr_owner_config", &listed("00"));
    for (key, byte) in [("mrtd", "4d"), ("rtmr0", "40"), ("rtmr1", "41"), ("rtmr2", "42"), ("rtmr3", "43")] {
        case.set(&format!("tdx.registers.{key}"), &listed(byte));
    }
    case
}

#[test]
fn each_field_of_a_trust_domain_is_looked_at() {
    type Row = (&'static str, fn(&mut Machine), &'static [Code]);
    let rows: &[Row] = &[
        ("tee_tcb_svn", |machine| machine.td().tee_tcb_svn = svn([5, 9, 2]), &[Code::ModuleVersion]),
        ("mr_seam", |machine| machine.td().mr_seam = [1; 48].into(), &[Code::TdxModule]),
        ("mr_signer_seam", |machine| machine.td().mr_signer_seam = [1; 48].into(), &[Code::ModuleSigner]),
        ("seam_attributes", |machine| machine.td().seam_attributes[7] = 1, &[Code::ModuleAttributes]),
        ("td_attributes", |machine| machine.td().td_attributes = attributes(1), &[Code::TdDebug]),
        ("xfam", |machine| machine.td().xfam = Xfam::from_bits(1 << 8), &[Code::Xfam]),
        ("mr_td", |machine| machine.td().mr_td = [1; 48].into(), &[Code::Measurement, Code::Mrtd]),
        ("mr_config_id", |machine| machine.td().mr_config_id[31] ^= 1, &[Code::ExpectedWorkload]),
        ("mr_owner", |machine| machine.td().mr_owner[0] = 1, &[Code::MrOwner]),
        ("mr_owner_config", |machine| machine.td().mr_owner_config[0] = 1, &[Code::MrOwnerConfig]),
        ("rtmr", |machine| machine.td().rtmr[0] = [1; 48].into(), &[Code::Measurement, Code::Rtmr0]),
        ("report_data", |machine| machine.td().report_data = [1; 64].into(), &[Code::ReportData]),
        (
            "service_td",
            |machine| {
                let tee_tcb_svn_2 = machine.td().tee_tcb_svn;
                machine.td().service_td = Some(ServiceTd { tee_tcb_svn_2, mr_service_td: [1; 48].into() });
            },
            &[Code::ServiceTd],
        ),
    ];
    let in_rows: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let all = fields!(casemate_evidence::tdx::ReportBuilder {
        tee_tcb_svn,
        mr_seam,
        mr_signer_seam,
        seam_attributes,
        td_attributes,
        xfam,
        mr_td,
        mr_config_id,
        mr_owner,
        mr_owner_config,
        rtmr,
        report_data,
        service_td,
    });
    assert_eq!(in_rows, all);
    assert_eq!(strict().failures(), []);
    for (field, change, codes) in rows {
        let mut case = strict();
        change(&mut case.machine);
        assert_eq!(case.failures(), *codes, "{field}");
    }
    // Each register by itself, and the half of the workload slot that must be zero.
    for (index, codes) in [
        (1, &[Code::Measurement, Code::Rtmr1][..]),
        (2, &[Code::Measurement, Code::Rtmr2]),
        (3, &[Code::Rtmr3]),
    ] {
        let mut case = strict();
        case.machine.td().rtmr[index] = [1; 48].into();
        assert_eq!(case.failures(), codes, "RTMR {index}");
    }
    let mut case = strict();
    case.machine.td().mr_config_id[47] = 1;
    assert_eq!(case.failures(), [Code::ExpectedWorkload]);
    assert_eq!(case.verdict().claims().expect("genuine").workload_slot.digest, None);
}

#[test]
fn each_field_of_an_enclave_is_looked_at_or_said_not_to_be() {
    type Row = (&'static str, fn(&mut Machine), &'static [Code]);
    let rows: &[Row] = &[
        // Opaque, or meant for the enclave's own use: shown to nobody, asked by no rule.
        ("cpu_svn", |machine| machine.enclave().cpu_svn = [1; 16], &[]),
        ("misc_select", |machine| machine.enclave().misc_select = [1; 4], &[]),
        ("isv_ext_prod_id", |machine| machine.enclave().isv_ext_prod_id = [1; 16], &[]),
        (
            "attributes",
            |machine| machine.enclave().attributes = Attributes { flags: 0b111, xfrm: 3 },
            &[Code::EnclaveDebug],
        ),
        ("mr_enclave", |machine| machine.enclave().mr_enclave = [1; 32].into(), &[Code::Measurement]),
        ("mr_signer", |machine| machine.enclave().mr_signer = [1; 32].into(), &[Code::MrSigner]),
        ("config_id", |machine| machine.enclave().config_id = [1; 64], &[]),
        ("isv_prod_id", |machine| machine.enclave().isv_prod_id = 8, &[Code::IsvProdId]),
        ("isv_svn", |machine| machine.enclave().isv_svn = 2, &[Code::IsvSvn]),
        ("config_svn", |machine| machine.enclave().config_svn = 1, &[]),
        ("isv_family_id", |machine| machine.enclave().isv_family_id = [1; 16], &[]),
        ("report_data", |machine| machine.enclave().report_data = [1; 64].into(), &[Code::ReportData]),
    ];
    let in_rows: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let all = fields!(casemate_evidence::sgx::ReportBuilder {
        cpu_svn,
        misc_select,
        isv_ext_prod_id,
        attributes,
        mr_enclave,
        mr_signer,
        config_id,
        isv_prod_id,
        isv_svn,
        config_svn,
        isv_family_id,
        report_data,
    });
    assert_eq!(in_rows, all);
    for version in [QuoteVersion::V3, QuoteVersion::V4, QuoteVersion::V5] {
        for (field, change, codes) in rows {
            let mut case = Case::sgx();
            case.machine.version = version;
            case.set("sgx.mr_signers", &format!("[\"{}\"]", "e2".repeat(32)));
            case.set("sgx.isv_prod_ids", "[7]");
            case.set("sgx.minimum_isv_svn", "3");
            assert_eq!(case.failures(), []);
            change(&mut case.machine);
            assert_eq!(case.failures(), *codes, "{field} in version {version:?}");
        }
    }
}

#[test]
fn each_value_of_the_pck_certificate_is_looked_at_or_said_not_to_be() {
    type Row = (&'static str, fn(&mut Platform), &'static [Code]);
    let rows: &[Row] = &[
        ("ppid", |platform| platform.ppid = [1; 16].into(), &[Code::IntelPlatform]),
        ("tcb", |platform| platform.tcb.components[15] = 5, &[Code::TcbLevel]),
        ("pce_id", |platform| platform.pce_id = [1, 0], &[Code::CollateralPlatform]),
        ("fmspc", |platform| platform.fmspc = [1; 6].into(), &[Code::CollateralPlatform]),
        // Shown, and asked by no rule: confidentiality of memory is the same for all.
        ("sgx_type", |platform| platform.sgx_type = SgxType::Standard, &[]),
        ("configuration", |platform| platform.configuration = None, &[Code::IntelSmt]),
    ];
    let in_rows: Vec<&str> = rows.iter().map(|row| row.0).collect();
    assert_eq!(in_rows, fields!(Platform { ppid, tcb, pce_id, fmspc, sgx_type, configuration }));
    let tcb = fields!(PlatformTcb { components, pce_svn, cpu_svn });
    assert_eq!(tcb.len(), 3, "the rows below are for these");
    for (field, change, codes) in rows {
        let mut case = Case::tdx();
        case.set("intel.platforms", &format!("[\"{}\"]", "ab".repeat(16)));
        case.set("intel.smt", "\"required\"");
        change(&mut case.machine.platform);
        assert_eq!(case.failures(), *codes, "{field}");
    }
    for index in 0..16 {
        let mut case = Case::tdx();
        case.machine.platform.tcb.components[index] = 5;
        assert_eq!(case.failures(), [Code::TcbLevel], "component {}", index + 1);
    }
    let mut case = Case::tdx();
    case.machine.platform.tcb.pce_svn = 11;
    assert_eq!(case.failures(), [Code::TcbLevel]);
    // CPUSVN is opaque: the components are what it stands for.
    let mut case = Case::tdx();
    case.machine.platform.tcb.cpu_svn = [1; 16];
    assert_eq!(case.failures(), []);
}

fn svn(start: [u8; 3]) -> TeeTcbSvn {
    let mut bytes = [0; 16];
    bytes[..3].copy_from_slice(&start);
    bytes.into()
}

/// The statuses of platform, module and Quoting Enclave, and what they come to.
#[test]
fn the_worst_part_decides_the_status() {
    use TcbStatus as S;
    let rows: &[(TcbStatus, TcbStatus, TcbStatus, TcbStatus)] = &[
        (S::UpToDate, S::UpToDate, S::UpToDate, S::UpToDate),
        (S::SwHardeningNeeded, S::UpToDate, S::UpToDate, S::SwHardeningNeeded),
        (S::ConfigurationNeeded, S::UpToDate, S::UpToDate, S::ConfigurationNeeded),
        (
            S::ConfigurationAndSwHardeningNeeded,
            S::UpToDate,
            S::UpToDate,
            S::ConfigurationAndSwHardeningNeeded,
        ),
        (S::OutOfDate, S::UpToDate, S::UpToDate, S::OutOfDate),
        (S::OutOfDateConfigurationNeeded, S::UpToDate, S::UpToDate, S::OutOfDateConfigurationNeeded),
        (S::Revoked, S::UpToDate, S::UpToDate, S::Revoked),
        (S::UpToDate, S::OutOfDate, S::UpToDate, S::OutOfDate),
        (S::SwHardeningNeeded, S::OutOfDate, S::UpToDate, S::OutOfDate),
        (S::ConfigurationNeeded, S::OutOfDate, S::UpToDate, S::OutOfDateConfigurationNeeded),
        (S::ConfigurationAndSwHardeningNeeded, S::OutOfDate, S::UpToDate, S::OutOfDateConfigurationNeeded),
        (S::UpToDate, S::Revoked, S::UpToDate, S::Revoked),
        (S::UpToDate, S::UpToDate, S::OutOfDate, S::OutOfDate),
        (S::ConfigurationNeeded, S::UpToDate, S::OutOfDate, S::OutOfDateConfigurationNeeded),
        (S::UpToDate, S::UpToDate, S::Revoked, S::Revoked),
        (S::OutOfDate, S::OutOfDate, S::OutOfDate, S::OutOfDate),
        (S::Revoked, S::OutOfDate, S::OutOfDate, S::Revoked),
    ];
    for (platform, module, enclave, expected) in rows {
        let mut case = Case::tdx();
        // The module that runs now is as old as the one at launch.
        case.machine.collateral.levels[0].status = *platform;
        case.machine.collateral.module_identities[0].levels =
            vec![(9, TcbStatus::UpToDate, Vec::new()), (5, *module, Vec::new())];
        case.machine.collateral.qe_levels[0].1 = *enclave;
        let verdict = case.verdict();
        let status = verdict.checks().find(|check| check.code == Code::TcbStatus).expect("a check");
        assert_eq!(status.found.to_string(), expected.name(), "{platform} {module} {enclave}");
    }
}

/// A machine whose TDX module was updated under a running trust domain: a new launch is all it takes.
#[test]
fn a_trust_domain_launched_on_an_old_module_is_told_to_relaunch() {
    let status = |case: &Case| {
        let verdict = case.verdict();
        let check = verdict.checks().find(|check| check.code == Code::TcbStatus).expect("a check");
        check.found.to_string()
    };
    let old = |case: &mut Case| case.machine.td().tee_tcb_svn = svn([2, 3, 2]);
    let mut case = Case::tdx();
    old(&mut case);
    assert_eq!(status(&case), "TDRelaunchAdvised");
    // Listed by name, it is acceptable, with its advisory.
    case.set("intel.tcb_statuses", "[\"UpToDate\", \"TDRelaunchAdvised\"]");
    assert_eq!(case.failures(), [Code::Advisories]);
    case.set("intel.accepted_advisories", "[\"INTEL-SA-01036\"]");
    assert_eq!(case.failures(), []);

    let mut configuration = Case::tdx();
    old(&mut configuration);
    configuration.machine.collateral.levels[0].status = TcbStatus::ConfigurationNeeded;
    assert_eq!(status(&configuration), "TDRelaunchAdvisedConfigurationNeeded");

    // Not so if the module that runs now is old as well, if it is not named, if its microcode is old, or if
    // the Quoting Enclave is.
    let mut not_updated = Case::tdx();
    old(&mut not_updated);
    let service_td = not_updated.machine.td().service_td.expect("a report of TDX 1.5");
    not_updated.machine.td().service_td = Some(ServiceTd { tee_tcb_svn_2: svn([4, 3, 2]), ..service_td });
    assert_eq!(status(&not_updated), "OutOfDate");
    not_updated.machine.td().service_td = Some(ServiceTd { tee_tcb_svn_2: svn([5, 3, 1]), ..service_td });
    assert_eq!(status(&not_updated), "OutOfDate");
    not_updated.machine.td().service_td = Some(ServiceTd { tee_tcb_svn_2: svn([5, 9, 2]), ..service_td });
    assert_eq!(status(&not_updated), "OutOfDate");
    not_updated.machine.td().service_td = None;
    not_updated.machine.version = QuoteVersion::V4;
    assert_eq!(status(&not_updated), "OutOfDate");
    let mut enclave = Case::tdx();
    old(&mut enclave);
    enclave.machine.quoting_enclave.isv_svn = 4;
    assert_eq!(status(&enclave), "OutOfDate");
    let mut machine = Case::tdx();
    old(&mut machine);
    machine.machine.platform.tcb.components = [6; 16];
    assert_eq!(status(&machine), "OutOfDate");
}

#[test]
fn a_platform_that_no_level_fits_is_refused_whatever_the_policy_accepts() {
    type Change = fn(&mut Machine);
    let rows: [(&str, Change); 4] = [
        ("platform", |machine| machine.platform.tcb.components[3] = 1),
        ("module", |machine| machine.td().tee_tcb_svn = svn([1, 3, 2])),
        ("microcode", |machine| machine.td().tee_tcb_svn = svn([5, 3, 0])),
        ("Quoting Enclave", |machine| machine.quoting_enclave.isv_svn = 3),
    ];
    for (part, change) in rows {
        let mut case = Case::tdx();
        case.set("intel.accepted_advisories", "\"any\"");
        let statuses: Vec<String> = TcbStatus::ALL
            .iter()
            .filter(|status| **status != TcbStatus::Revoked)
            .map(|status| format!("\"{status}\""))
            .collect();
        case.set("intel.tcb_statuses", &format!("[{}]", statuses.join(", ")));
        change(&mut case.machine);
        assert_eq!(case.failures(), [Code::TcbLevel], "{part}");
    }
    // Module of major version 0: judged by the platform's levels, signer by `tdxModule`.
    let mut case = Case::tdx();
    case.machine.td().tee_tcb_svn = svn([5, 0, 2]);
    assert_eq!(case.failures(), []);
    case.machine.td().tee_tcb_svn = svn([4, 0, 2]);
    assert_eq!(case.failures(), [Code::TcbLevel]);
}

#[test]
fn older_levels_are_found_with_their_advisories() {
    let mut case = Case::tdx();
    case.machine.platform.tcb.components = [6; 16];
    assert_eq!(case.failures(), [Code::TcbStatus, Code::Advisories]);
    case.set("intel.tcb_statuses", "[\"OutOfDate\"]");
    case.set("intel.accepted_advisories", "[\"INTEL-SA-00615\"]");
    assert_eq!(case.failures(), [Code::Advisories]);
    let verdict = case.verdict();
    let check = verdict.failures().next().expect("one failed");
    assert_eq!(check.found.to_string(), "INTEL-SA-00657");
    case.set("intel.accepted_advisories", "[\"INTEL-SA-00615\", \"INTEL-SA-00657\"]");
    assert_eq!(case.failures(), []);
}

#[test]
fn evidence_of_a_platform_without_rules_is_refused_by_name() {
    let example = Policy::example(&[Machine::tdx().root_digest()]);
    let cut = |from: &str, to: &str| {
        let (start, end) = (example.find(from).expect("a table"), example.find(to).expect("a table"));
        format!("{}{}", &example[..start], &example[end..])
    };
    let mut no_tdx = Case::tdx();
    no_tdx.policy = cut("[tdx]", "[image]") + SGX_RULES;
    assert_eq!(no_tdx.failures(), [Code::TdxAccepted]);
    assert_eq!(no_tdx.verdict().outcome(), Outcome::Refused);
    assert!(no_tdx.verdict().claims().is_none(), "nobody looked");
    let mut no_sgx = Case::sgx();
    no_sgx.policy = example.clone();
    assert_eq!(no_sgx.failures(), [Code::SgxAccepted]);
    let mut no_snp = Case::tdx();
    no_snp.policy = cut("[hardware]", "[intel]").replace("amd = \"builtin\"", "");
    assert_eq!(no_snp.failures(), [], "rules of other platforms may be left out");
}

#[test]
fn rules_of_intel_platforms_stand_and_fall_together() {
    let example = Policy::example(&[]);
    let parse = |text: &str| Policy::parse(text);
    let missing = |text: &str, expected: &str| {
        let error = parse(text).expect_err(expected);
        assert!(matches!(&error, PolicyError::Incomplete { missing, .. } if *missing == expected), "{error}");
    };
    let lines = |prefix: &str| -> String {
        example.lines().filter(|line| !line.starts_with(prefix)).map(|line| format!("{line}\n")).collect()
    };
    missing(&lines("intel = "), "roots.intel");
    let table = |from: &str, to: &str| {
        let (start, end) = (example.find(from).expect("a table"), example.find(to).expect("a table"));
        format!("{}{}", &example[..start], &example[end..])
    };
    missing(&table("[intel]", "[tdx]"), "intel");
    missing(&table("[tdx]", "[image]"), "tdx");
}

#[test]
fn words_and_numbers_that_mean_nothing_are_refused() {
    let error = |key: &str, value: &str| {
        let mut case = Case::tdx();
        case.set(key, value);
        Policy::parse(&case.policy).expect_err("the value is wrong")
    };
    for key in [
        "roots.intel",
        "intel.smt",
        "intel.dynamic_platform",
        "intel.cached_keys",
        "intel.accepted_advisories",
        "intel.minimum_tcb_evaluation_number",
        "intel.platforms",
        "intel.denied_platforms",
        "intel.processors",
        "intel.denied_processors",
        "tdx.minimum_report",
        "tdx.service_td",
        "tdx.modules",
        "tdx.xfam",
        "tdx.mr_owner",
        "tdx.mr_owner_config",
        "tdx.attributes.debug",
        "tdx.attributes.tpa",
        "tdx.registers.mrtd",
        "tdx.registers.rtmr3",
        "sgx.mr_signers",
        "sgx.isv_prod_ids",
        "sgx.debug",
    ] {
        let found = error(key, "\"sometimes\"");
        assert!(matches!(found, PolicyError::Word { field, .. } if field == key), "{key}: {found}");
    }
    for (key, word) in [
        ("intel.tcb_statuses", "UpToDate"),
        ("intel.accepted_advisories", "none"),
        ("intel.platforms", "any"),
        ("intel.denied_platforms", "none"),
        ("tdx.service_td", "none"),
        ("tdx.modules", "any"),
        ("tdx.registers.rtmr0", "any"),
        ("sgx.mr_signers", "any"),
        ("sgx.isv_prod_ids", "any"),
    ] {
        assert_eq!(error(key, "[]"), PolicyError::EmptyList { field: key, word });
    }
    assert!(matches!(error("intel.tcb_statuses", "[\"Revoked\"]"), PolicyError::Word { .. }));
    assert!(matches!(error("intel.tcb_statuses", "\"any\""), PolicyError::Toml(_)));
    assert!(matches!(error("intel.accepted_advisories", "[\"SA-1\"]"), PolicyError::Word { .. }));
    assert!(matches!(error("intel.platforms", "[\"ab\"]"), PolicyError::Bytes { .. }));
    assert!(matches!(error("tdx.xfam", "\"00000000000600eg\""), PolicyError::Word { .. }));
    assert!(matches!(error("sgx.minimum_isv_svn", "65536"), PolicyError::Toml(_)));
}

#[test]
fn collateral_older_than_the_policy_allows_is_refused() {
    // Issued 5 days ago; the revocation lists 10.
    for (days, codes) in [("10", &[][..]), ("9", &[Code::CollateralAge])] {
        let mut case = Case::tdx();
        case.set("collateral.maximum_age_days", days);
        assert_eq!(case.failures(), codes);
    }
    let mut case = Case::tdx();
    case.set("collateral.maximum_age_days", "10");
    case.machine.collateral.issued_ms -= 6 * DAY_MS;
    assert_eq!(case.failures(), [Code::CollateralAge]);
}

#[test]
fn a_verdict_about_a_trust_domain_reads_like_an_answer() {
    let mut case = Case::tdx();
    let standing = SessionStanding {
        roster_digest: [0x66; 32].into(),
        key_epoch: 1,
        newest: KnownRoster { digest: [0x66; 32].into(), key_epoch: 1 },
        lease: Ok(LeaseTerm { begins_ms: NOW_MS - 60_000, ends_ms: NOW_MS + 540_000 }),
    };
    case.expectations.channel = Channel::Session { key_digest: [0x88; 32].into(), standing };
    insta::assert_snapshot!(case.verdict().render("notes on 127.0.0.1", Style::plain()));
    case.machine.platform.tcb.components = [6; 16];
    case.machine.td().td_attributes = attributes(1);
    insta::assert_snapshot!(case.verdict().render("notes on 127.0.0.1", Style::plain()));
}

#[test]
fn a_report_of_tdx_1_0_leaves_service_tds_open() {
    let mut case = Case::tdx();
    assert!(!case.verdict().not_established().contains(&NotEstablished::ServiceTd));
    case.machine.td().service_td = None;
    case.machine.version = QuoteVersion::V4;
    let verdict = case.verdict();
    assert_eq!(verdict.outcome(), Outcome::Verified);
    assert!(verdict.not_established().contains(&NotEstablished::ServiceTd));
}

#[test]
fn bundles_carry_quotes_and_collateral() {
    let case = Case::tdx();
    let policy = Policy::parse(&case.policy).expect("well formed");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: casemate_crypto::provider(),
    };
    let collateral = case.machine.collateral();
    let failures = |items: Vec<Item>, elsewhere: bool| {
        let bundle = Bundle::parse(&Bundle::new(items).to_bytes()).expect("a bundle");
        let elsewhere = elsewhere.then(|| collateral.clone().into());
        let verdict = verifier.verify_bundle(&bundle, elsewhere.as_ref(), &case.expectations, NOW_MS);
        verdict.verdict().failures().map(|check| check.code).collect::<Vec<_>>()
    };
    let quote = || Item::TdxQuote(case.machine.quote().into());
    let carried = || Item::IntelCollateral(collateral.to_bundle_item());
    assert_eq!(failures(vec![quote(), carried()], false), []);
    assert_eq!(failures(vec![quote()], true), []);
    assert_eq!(failures(vec![quote()], false), [Code::CollateralPresent]);
    let mut broken = collateral.to_bundle_item();
    broken.root = vec![1].into();
    assert_eq!(failures(vec![quote(), Item::IntelCollateral(broken)], true), [Code::CollateralFormat]);
    assert_eq!(
        failures(vec![Item::SgxQuote(case.machine.quote().into()), carried()], false),
        [Code::QuoteTee]
    );
    assert_eq!(failures(vec![Item::TdxQuote(vec![0; 100].into()), carried()], false), [Code::QuoteFormat]);
    let two = vec![quote(), Item::SgxQuote(Machine::sgx().quote().into()), carried()];
    assert_eq!(failures(two, false), [Code::EvidencePresent]);
    // A manifest must be the one in the workload slot.
    let manifest = Item::Manifest(b"another".to_vec().into());
    assert_eq!(failures(vec![quote(), carried(), manifest], false), [Code::Manifest]);
}

#[test]
fn padding_after_a_quote_changes_nothing() {
    let case = Case::tdx();
    let policy = Policy::parse(&case.policy).expect("well formed");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: casemate_crypto::provider(),
    };
    let mut quote = case.machine.quote();
    quote.resize(16_000, 0);
    let verdict = verifier.verify_quote(&quote, &case.machine.collateral(), &case.expectations, NOW_MS);
    assert_eq!(verdict.verdict().outcome(), Outcome::Verified);
    *quote.last_mut().expect("bytes") = 1;
    let verdict = verifier.verify_quote(&quote, &case.machine.collateral(), &case.expectations, NOW_MS);
    assert_eq!(verdict.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::QuoteFormat]);
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

#[test]
fn a_simulated_platform_needs_the_list_and_the_caller() {
    let mut unlisted = Case::tdx();
    unlisted.policy = Policy::example(&[]);
    assert_eq!(unlisted.failures(), [Code::IntelRootKey]);
    assert_eq!(unlisted.verdict().outcome(), Outcome::NotGenuine);
    unlisted.roots = Some(Roots::builtin().with_simulated([unlisted.machine.simulated_root()]));
    assert_eq!(unlisted.failures(), [Code::SimulatedRoot]);
    // The roots of another vendor vouch for no quote.
    unlisted.roots = Some(Roots::none().with_amd());
    assert_eq!(unlisted.failures(), [Code::IntelRootKey]);
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

/// The launch measurement commits to MRTD and RTMR 0 to 2, and not to RTMR 3.
#[test]
fn worked_bytes_of_a_launch_measurement_hold() {
    // docs/reference/launch-measurement.md
    let registers = casemate_evidence::tdx::LaunchRegisters {
        mrtd: Measurement::from([1; 48]),
        rtmr0: Measurement::from([2; 48]),
        rtmr1: Measurement::from([3; 48]),
        rtmr2: Measurement::from([4; 48]),
    };
    assert_eq!(
        registers.launch_measurement().to_string(),
        "afc47725f21aae088a38fe7abbfbf1e28f9a5c993e1f41ba32e62fc19505df0d\
         cbacc3df6809141db0d033a4716f7f66"
    );
}
