//! Each rule of `[workload.registers]` decides something, and what it accepts establishes the workload.

mod support;

use casemate_verify::{
    AcceptSimulated, Channel, Code, Deployment, Expectations, Freshness, NotEstablished, Outcome, Policy,
    Verdict, Verifier, Workload,
};
use support::NOW_MS;
use support::intel::Machine;

/// What `casemate policy import` begins with, for a simulated machine.
fn policy(machine: &Machine, deployment: &Deployment) -> String {
    let text = Policy::of_deployment(deployment);
    text.replace("spki_sha256 = \"none\"", &format!("spki_sha256 = [\"{}\"]", machine.root_digest()))
}

fn verdict(machine: &Machine, policy: &str) -> Verdict {
    let policy = Policy::parse(policy).unwrap_or_else(|error| panic!("{error}\n{policy}"));
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: casemate_crypto::provider(),
    };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    verifier.verify_quote(&machine.quote(), &machine.collateral(), &expectations, NOW_MS).verdict().clone()
}

fn failures(verdict: &Verdict) -> Vec<Code> {
    verdict.failures().map(|check| check.code).collect()
}

/// A row: the key, a deployment that only names this, and the check.
type Row = (&'static str, fn(&mut Machine) -> Deployment, Code);

const ROWS: &[Row] = &[
    (
        "mr_config_id",
        |machine| Deployment {
            mr_config_ids: vec![machine.td().mr_config_id.into()],
            ..Deployment::default()
        },
        Code::WorkloadConfigId,
    ),
    (
        "rtmr3",
        |machine| Deployment { rtmr3: vec![machine.td().rtmr[3]], ..Deployment::default() },
        Code::WorkloadRtmr3,
    ),
    (
        "measurement",
        |machine| {
            let registers = machine.td().finish().launch_registers();
            Deployment {
                workload_measurements: vec![registers.launch_measurement()],
                ..Deployment::default()
            }
        },
        Code::WorkloadMeasurement,
    ),
];

#[test]
fn each_rule_is_kept_and_broken_by_its_row() {
    for (key, deployment, code) in ROWS {
        let mut machine = Machine::tdx();
        let deployment = deployment(&mut machine);
        let text = policy(&machine, &deployment);
        let kept = verdict(&machine, &text);
        assert_eq!((failures(&kept), kept.outcome()), (vec![], Outcome::Verified), "{key}");
        assert!(
            !kept.not_established().contains(&NotEstablished::Workload),
            "{key} establishes the workload"
        );
        // All three values change; only the one that is listed counts.
        machine.td().mr_config_id[1] ^= 1;
        machine.td().rtmr[3] = [0xEE; 48].into();
        machine.td().mr_td = [0xEE; 48].into();
        let broken = verdict(&machine, &text);
        assert_eq!((failures(&broken), broken.outcome()), (vec![*code], Outcome::Refused), "{key}");
        // An enclave states neither MRCONFIGID nor RTMR 3, and its measurement has another length.
        let enclave = Machine::sgx();
        let rules = "\n[sgx]\nmr_signers = \"any\"\nisv_prod_ids = \"any\"\nminimum_isv_svn = 0\ndebug = \"any\"\n\
                     provision_key = \"any\"\n";
        let absent = verdict(&enclave, &(policy(&enclave, &deployment) + rules));
        assert_eq!(failures(&absent), [*code], "{key} of an enclave");
    }
}

#[test]
fn every_key_of_the_table_has_a_row() {
    let mut machine = Machine::tdx();
    let text = policy(&machine.clone(), &(ROWS[0].1)(&mut machine));
    let file: toml::Table = text.parse().expect("the policy is TOML");
    let keys: Vec<&str> =
        file["workload"]["registers"].as_table().unwrap().keys().map(String::as_str).collect();
    let mut in_rows: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
    in_rows.sort_unstable();
    let mut in_file = keys.clone();
    in_file.sort_unstable();
    assert_eq!(in_file, in_rows);
    let (before, table) = text.split_once("[workload.registers]").expect("the table");
    for key in keys {
        let line = table.lines().find(|line| line.starts_with(&format!("{key} = "))).expect("a line");
        let without = format!("{before}[workload.registers]{}", table.replacen(line, "", 1));
        assert!(Policy::parse(&without).is_err(), "{key} must be there");
    }
}

#[test]
fn without_the_table_nothing_is_compared() {
    let machine = Machine::tdx();
    let verdict = verdict(&machine, &policy(&machine, &Deployment::default()));
    assert_eq!(verdict.outcome(), Outcome::Verified);
    assert!(verdict.not_established().contains(&NotEstablished::Workload));
    for code in ROWS.iter().map(|row| row.2) {
        assert!(verdict.checks().all(|check| check.code != code), "{code}");
    }
}
