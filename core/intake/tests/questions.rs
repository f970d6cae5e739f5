//! What is asked binds, what is not asked is said to be open, and other languages read and write what the
//! reference says.

#[path = "../../verify/tests/support/mod.rs"]
mod support;

use casemate_evidence::bundle::{Bundle, Item, Session};
use casemate_evidence::snp::Product;
use casemate_intake::{File, Kind, call};
use casemate_verify::Policy;
use serde_json::{Value, json};
use support::{NOW_MS, Tee};

/// A session as a guest makes it, its manifest, and the nonce that it answers.
const INSTANCE: [u8; 16] = [1; 16];
const BOOT_ID: [u8; 16] = [2; 16];
const MANIFEST: &[u8] = b"any bytes: only their digest counts";
const NONCE: [u8; 32] = [0x4E; 32];

/// A guest whose evidence answers [`NONCE`].
fn guest() -> (Tee, Vec<u8>) {
    let mut tee = Tee::new(Product::Genoa);
    let key = vec![7; 1216];
    let workload = casemate_workload::manifest::digest_of(MANIFEST);
    tee.report.host_data = (*workload.as_bytes()).into();
    let session = Session {
        key: key.into(),
        instance: INSTANCE,
        boot_id: BOOT_ID,
        roster_digest: [3; 32],
        key_epoch: 1,
        lease_ends_ms: NOW_MS + 60_000,
        leases: Vec::new(),
    };
    tee.report.report_data = casemate_release::report_data::session(&NONCE, &workload, &session);
    let bundle = Bundle::new([
        Item::SnpReport(tee.sign_report().as_bytes().to_vec().into()),
        Item::SnpCertificates(tee.endorsements().to_bundle_item()),
        Item::Manifest(MANIFEST.to_vec().into()),
        Item::Session(session),
    ]);
    (tee, bundle.to_bytes())
}

fn ask(request: &Value, bytes: &[u8]) -> Value {
    let reply =
        call(request.to_string().as_bytes(), &[File { name: "bundle", bytes }], casemate_crypto::provider());
    serde_json::from_str(&reply).expect("a reply is JSON")
}

/// Every expectation, all of them right.
fn question(tee: &Tee) -> Value {
    json!({
        "subject": "notes",
        "policy": Policy::example(&[tee.root_digest()]),
        "at_ms": NOW_MS,
        "accept_simulated": true,
        "workload": {
            "digest": casemate_workload::manifest::digest_of(MANIFEST), "source": "compose.yaml"
        },
        "images": [{ "image": "lite", "measurement": "4d".repeat(48), "source": "image.lock" }],
        "challenge": { "nonce": { "value": "4e".repeat(32), "made_ms": NOW_MS - 10 } },
    })
}

fn outcome(question: &Value, bytes: &[u8]) -> Value {
    let reply = ask(&json!({ "verify": question }), bytes);
    match reply.get("error") {
        Some(error) => json!(["error", error["code"]]),
        None => {
            let mut failed = Vec::new();
            collect(&reply["answer"]["verdict"]["groups"], &mut failed);
            json!([reply["answer"]["verdict"]["outcome"], failed.join(" ")])
        }
    }
}

fn collect<'a>(nodes: &'a Value, failed: &mut Vec<&'a str>) {
    for node in nodes.as_array().into_iter().flatten() {
        match node.get("checks") {
            Some(checks) => collect(checks, failed),
            None if node["status"] == "failed" => failed.push(node["code"].as_str().expect("a code")),
            None => {}
        }
    }
}

#[test]
fn each_expectation_binds() {
    let (tee, bundle) = guest();
    let right = question(&tee);
    assert_eq!(outcome(&right, &bundle), json!(["verified", ""]));
    let sentence = &ask(&json!({ "verify": right }), &bundle)["answer"]["outline"]["sentence"];
    assert_eq!(sentence, "notes is what you deployed");
    let changed = |pointer: &str, value: Value| {
        let mut question = right.clone();
        *question.pointer_mut(pointer).expect("the member is there") = value;
        outcome(&question, &bundle)
    };
    let zeros = |count: usize| json!("00".repeat(count));
    assert_eq!(changed("/workload/digest", zeros(32)), json!(["refused", "caller.workload"]));
    assert_eq!(changed("/images/0/measurement", zeros(48)), json!(["refused", "policy.image.measurements"]));
    assert_eq!(changed("/images", json!([])), json!(["refused", "policy.image.measurements"]));
    assert_eq!(
        changed("/challenge/nonce/value", zeros(32)),
        json!(["refused", "policy.freshness.report_data"])
    );
    assert_eq!(
        changed("/challenge/nonce/made_ms", json!(NOW_MS - 301_000)),
        json!(["refused", "policy.freshness.maximum_age_seconds"])
    );
    assert_eq!(changed("/accept_simulated", json!(false)), json!(["refused", "caller.accept_simulated"]));
    assert_eq!(changed("/at_ms", json!(0)), json!(["not_genuine", "snp.certificate_time"]));
    let by_value = json!({ "report_data": { "value": tee.report.report_data, "made_ms": NOW_MS } });
    assert_eq!(changed("/challenge", by_value), json!(["verified", ""]));
    let other = json!({ "report_data": { "value": "00".repeat(64), "made_ms": NOW_MS } });
    assert_eq!(changed("/challenge", other), json!(["refused", "policy.freshness.report_data"]));
}

#[test]
fn what_is_not_asked_is_open_or_fails() {
    let (tee, bundle) = guest();
    let bare = |policy: String| json!({ "policy": policy, "at_ms": NOW_MS, "accept_simulated": true });
    let example = Policy::example(&[tee.root_digest()]);
    let expected = "policy.image.measurements policy.workload policy.freshness.report_data";
    assert_eq!(outcome(&bare(example.clone()), &bundle), json!(["refused", expected]));
    let any = example
        .replace("measurements = \"expected\"", "measurements = \"any\"")
        .replace("digests = \"expected\"", "digests = \"any\"")
        .replace("report_data = \"expected\"", "report_data = \"any\"");
    let answer = &ask(&json!({ "verify": bare(any) }), &bundle)["answer"];
    assert_eq!(answer["outline"]["sentence"], "the evidence is genuine and meets the policy");
    let open = &answer["verdict"]["not_established"];
    for missing in ["memory_confidentiality", "launch_measurement", "freshness", "channel"] {
        assert!(open.as_array().expect("a list").contains(&json!(missing)), "{missing} in {open}");
    }
}

#[test]
fn the_policy_for_strangers_asks_as_much_of_the_hardware() {
    let any = ["measurements", "digests", "report_data"];
    let (strict, lenient) = (Policy::example(&[]), Policy::hardware_only());
    assert_eq!(strict.lines().count(), lenient.lines().count());
    for (expected, found) in strict.lines().zip(lenient.lines()) {
        let rule = expected.split(" = ").next().expect("there is a first part");
        if any.contains(&rule) {
            assert_eq!(found, format!("{rule} = \"any\""));
        } else {
            assert_eq!(found, expected);
        }
    }
    Policy::parse(&lenient).expect("a policy");
}

#[test]
fn requests_are_closed_and_errors_say_what_to_do() {
    let (tee, bundle) = guest();
    let refused = |request: &Value, code: &str| {
        let reply = ask(request, &bundle);
        assert_eq!(reply["error"]["code"], code, "{request}: {reply}");
        assert!(reply["error"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    };
    for request in
        [json!({}), json!([]), json!("verify"), json!({ "verify": {} }), json!({ "recognise": { "x": 1 } })]
    {
        refused(&request, "question");
    }
    let right = question(&tee);
    for pointer in ["", "/workload", "/images/0", "/challenge", "/challenge/nonce"] {
        let mut more = right.clone();
        more.pointer_mut(pointer).expect("the member is there")["more"] = json!(1);
        refused(&json!({ "verify": more }), "question");
    }
    let mut without_policy = right.clone();
    without_policy["policy"] = json!("version = 1");
    refused(&json!({ "verify": without_policy }), "policy");
    let reply = call(&[0xFF], &[], casemate_crypto::provider());
    assert!(reply.starts_with(r#"{"error":{"code":"question","#), "{reply}");
}

#[test]
fn a_nonce_needs_a_session() {
    let (tee, bundle) = guest();
    let bundle = Bundle::parse(&bundle).expect("a bundle");
    for left_out in [4, 5] {
        let items = bundle.items().iter().filter(|item| item.number() != left_out).cloned();
        let found = outcome(&question(&tee), &Bundle::new(items).to_bytes());
        assert_eq!(found, json!(["error", "no_session"]), "without item {left_out}");
    }
}

#[test]
fn the_reference_lists_every_kind_and_code() {
    let reference = include_str!("../../../docs/reference/question.md");
    let sources = concat!(include_str!("../src/error.rs"), include_str!("../../../client/js/src/lib.rs"));
    let codes: Vec<&str> = sources
        .lines()
        .filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\","))
        .filter(|text| !text.contains(' '))
        .collect();
    assert!(codes.contains(&"no_session"), "{codes:?}");
    for code in codes {
        assert!(reference.contains(&format!("`{code}`")), "the reference does not list {code}");
    }
    for kind in Kind::ALL {
        let text = serde_json::to_value(kind).expect("a kind is text");
        let name = text.as_str().expect("a kind is text");
        let listed =
            reference.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{name}`")));
        assert!(listed, "the reference does not list {name}");
    }
}

#[test]
fn a_service_speaks_for_its_own_bytes_only() {
    let (mut tee, _) = guest();
    let chosen = b"public key of the mail server";
    tee.report.report_data = casemate_release::report_data::application(chosen).expect("ordinary bytes");
    let report = Item::SnpReport(tee.sign_report().as_bytes().to_vec().into());
    let certificates = Item::SnpCertificates(tee.endorsements().to_bundle_item());
    let own = [report, certificates, Item::Manifest(MANIFEST.to_vec().into())];
    let bundle = Bundle::new(own.clone()).to_bytes();
    let with = |challenge: Value| {
        let mut question = question(&tee);
        question["challenge"] = json!({ "application": challenge });
        question
    };
    let hex: String = chosen.iter().map(|byte| format!("{byte:02x}")).collect();
    let right = with(json!({ "value": hex, "made_ms": NOW_MS - 10 }));
    assert_eq!(outcome(&right, &bundle), json!(["verified", ""]));
    let other = with(json!({ "value": "00", "made_ms": NOW_MS - 10 }));
    assert_eq!(outcome(&other, &bundle), json!(["refused", "policy.freshness.report_data"]));
    let old = with(json!({ "value": hex, "made_ms": NOW_MS - 301_000 }));
    assert_eq!(outcome(&old, &bundle), json!(["refused", "policy.freshness.maximum_age_seconds"]));

    // Nobody says when: not enough where a challenge is expected, and open where it is not.
    let mut undated = with(json!({ "value": hex }));
    assert_eq!(outcome(&undated, &bundle), json!(["refused", "policy.freshness.maximum_age_seconds"]));
    let policy = undated["policy"].as_str().expect("text");
    undated["policy"] = json!(policy.replace("report_data = \"expected\"", "report_data = \"any\""));
    assert_eq!(outcome(&undated, &bundle), json!(["verified", ""]));
    let answer = &ask(&json!({ "verify": undated }), &bundle)["answer"];
    let open = answer["verdict"]["not_established"].as_array().expect("a list");
    assert!(open.contains(&json!("freshness")), "{open:?}");
    undated["challenge"]["application"]["value"] = json!("00");
    assert_eq!(outcome(&undated, &bundle), json!(["refused", "policy.freshness.report_data"]));

    // As a session's it is refused, whatever session is put beside it.
    let (_, sessions) = guest();
    let session = Bundle::parse(&sessions).expect("a bundle").session().expect("it has one").clone();
    let beside = Bundle::new(own.into_iter().chain([Item::Session(session)])).to_bytes();
    assert_eq!(outcome(&question(&tee), &bundle), json!(["error", "no_session"]));
    assert_eq!(outcome(&question(&tee), &beside), json!(["refused", "policy.freshness.report_data"]));

    // What no guest answers is no question.
    for refused in ["".to_owned(), "43534d31".to_owned(), "00".repeat(4097)] {
        assert_eq!(outcome(&with(json!({ "value": refused })), &bundle), json!(["error", "chosen"]));
    }
}
