//! How is evidence carried, and how does a verdict about it read?

use casemate_evidence::Measurement;
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::QuoteVersion;
use casemate_record::LeaseTerm;
use casemate_verify::{
    AcceptSimulated, Channel, Code, KnownRoster, NotEstablished, Outcome, Policy, Roots, SessionStanding,
    Style, Verifier,
};

use crate::case::{Case, attributes};
use crate::support::NOW_MS;
use crate::support::intel::Machine;

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
