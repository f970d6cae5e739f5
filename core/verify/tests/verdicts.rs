//! What people and programs see of a verdict.

mod support;

use casemate_evidence::Measurement;
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::snp::Product;
use casemate_record::LeaseTerm;
use casemate_verify::{
    AcceptSimulated, Appraisal, Channel, Code, Expectations, Freshness, KnownRoster, Outcome, Policy,
    ReferenceValue, SessionStanding, Style, TrustClass, Verifier, Workload,
};
use support::{NOW_MS, Tee};

/// A session that its seats leased for ten minutes, a minute ago.
fn standing() -> SessionStanding {
    SessionStanding {
        roster_digest: [0x66; 32].into(),
        key_epoch: 1,
        newest: KnownRoster { digest: [0x66; 32].into(), key_epoch: 1 },
        lease: Ok(LeaseTerm { begins_ms: NOW_MS - 60_000, ends_ms: NOW_MS + 540_000 }),
    }
}

fn expectations() -> Expectations {
    Expectations {
        freshness: Freshness::Challenge { report_data: [0x77; 64].into(), made_ms: NOW_MS - 41 },
        workload: Workload::Digest {
            digest: [0x9C; 32].into(),
            source: "compose.yaml + compose.lock".to_owned(),
        },
        images: vec![ReferenceValue {
            image: "casemate-lite 2026.11, 2 vCPU".to_owned(),
            measurement: Measurement::from([0x4D; 48]).into(),
            source: "computed from image.lock".to_owned(),
        }],
        channel: Channel::Session { key_digest: [0x88; 32].into(), standing: standing() },
    }
}

fn appraise(tee: &Tee, accept_simulated: AcceptSimulated, change: impl Fn(String) -> String) -> Appraisal {
    let policy =
        Policy::parse(&change(Policy::example(&[tee.root_digest()]))).expect("the policy is well formed");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated,
        provider: casemate_crypto::provider(),
    };
    let bundle = Bundle::new([
        Item::SnpReport(tee.sign_report().as_bytes().to_vec().into()),
        Item::SnpCertificates(tee.endorsements().to_bundle_item()),
    ]);
    verifier.verify_bundle(&bundle, None, &expectations(), NOW_MS)
}

/// Keys are new in every run, so their digests cannot be in the text compared.
fn text(appraisal: &Appraisal) -> String {
    appraisal.verdict().render("notes on 127.0.0.1", Style::plain())
}

#[test]
fn an_accepted_verdict_reads_like_an_answer() {
    let appraisal = appraise(&Tee::new(Product::Genoa), AcceptSimulated::Yes, |policy| policy);
    assert_eq!(appraisal.verdict().outcome(), Outcome::Verified, "{}", text(&appraisal));
    insta::assert_snapshot!(text(&appraisal));
    let accepted = appraisal.accepted().expect("verified");
    assert_eq!(accepted.trust_class(), TrustClass::Simulated);
    assert_eq!(accepted.measurement(), Measurement::from([0x4D; 48]).into());
    assert_eq!(accepted.workload_digest(), Some([0x9C; 32].into()));
}

#[test]
fn a_refusal_shows_what_failed_and_what_to_do() {
    let appraisal = appraise(&Tee::new(Product::Genoa), AcceptSimulated::Yes, |policy| {
        policy.replace("Genoa = 86", "Genoa = 87")
    });
    assert_eq!(appraisal.verdict().outcome(), Outcome::Refused);
    insta::assert_snapshot!(text(&appraisal));
}

#[test]
fn evidence_that_is_not_genuine_is_not_looked_into() {
    let mut tee = Tee::new(Product::Genoa);
    tee.leaf.signer = support::Rsa::Other;
    let appraisal = appraise(&tee, AcceptSimulated::Yes, |policy| policy);
    assert_eq!(appraisal.verdict().outcome(), Outcome::NotGenuine);
    assert_eq!(appraisal.verdict().trust_class(), None);
    assert!(appraisal.verdict().claims().is_none());
    insta::assert_snapshot!(text(&appraisal));
}

#[test]
fn several_failures_stand_one_below_the_other() {
    let mut tee = Tee::new(Product::Genoa);
    tee.report.policy = casemate_evidence::snp::GuestPolicy::from_bits(0xB_0000).expect("debug allowed");
    tee.report.host_data = [0x9D; 32].into();
    let appraisal = appraise(&tee, AcceptSimulated::Yes, |policy| policy.replace("tee = 0", "tee = 1"));
    insta::assert_snapshot!(text(&appraisal));
}

#[test]
fn json_shows_digests_whole_and_a_refusal_never_what_was_expected() {
    let appraisal = appraise(&Tee::new(Product::Genoa), AcceptSimulated::Yes, |policy| {
        policy.replace("Genoa = 86", "Genoa = 87")
    });
    let json = serde_json::to_string(appraisal.verdict()).expect("a verdict is JSON");
    assert!(json.contains(&"4d".repeat(48)) && json.contains(&"9c".repeat(32)));
    assert!(json.contains(r#""code":"policy.minimum_tcb.microcode","status":"failed","found":86,"comparison":"at_least","expected":87"#), "{json}");
    let refusals = appraisal.verdict().refusals();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].code, Code::TcbMicrocode);
    assert_eq!(
        serde_json::to_string(&refusals).expect("refusals are JSON"),
        r#"[{"code":"policy.minimum_tcb.microcode","found":86}]"#
    );
}

#[test]
fn names_from_certificates_cannot_steer_a_terminal() {
    let mut tee = Tee::new(Product::Genoa);
    let hostile = "ARK\u{1b}[2J\u{202e}evil".to_owned();
    tee.root.subject.clone_from(&hostile);
    tee.root.issuer.clone_from(&hostile);
    tee.intermediate.issuer = hostile;
    let shown = text(&appraise(&tee, AcceptSimulated::Yes, |policy| policy));
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
    assert!(shown.contains("ARK?[2J?evil"), "{shown}");
}
