//! Which texts are no policy for these platforms, and what is said without one?

use casemate_verify::{Code, Outcome, Policy, PolicyError};

use crate::case::{Case, SGX_RULES};
use crate::support::intel::Machine;

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
