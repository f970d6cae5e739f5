//! What does `casemate verify` read, and which result does it write?

mod scene;
#[path = "../../../core/verify/tests/support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use casemate_cli::{
    clock,
    ear::{Established, ResultKey, Tier, TrustVector, appraise},
};
use casemate_evidence::{
    bundle::{Bundle, Item, Session},
    snp::Product,
};
use casemate_verify::{Code, Outcome, Policy};
use scene::Scene;
use serde_json::{Value, json};
use support::{NOW_MS, Tee};

/// A simulated machine, its evidence in files, and a policy that lists its root and asks for little else.
struct World {
    scene: Scene,
    tee: Tee,
}

impl World {
    fn new() -> Self {
        let (scene, tee) = (Scene::new(), Tee::new(Product::Genoa));
        let simulated = Policy::example(&[tee.root_digest()]);
        let (_, roots) = simulated.split_once("spki_sha256 = ").unwrap();
        let roots = roots.lines().next().unwrap();
        let policy =
            Policy::hardware_only().replace("spki_sha256 = \"none\"", &format!("spki_sha256 = {roots}"));
        scene.write("policy.toml", &policy);
        let world = World { scene, tee };
        world.put("report", world.tee.sign_report().as_bytes());
        world.put("leaf", &world.tee.leaf.to_der());
        world.put("intermediate", &world.tee.intermediate.to_der());
        world.put("root", &world.tee.root.to_der());
        world.put("bundle", &world.bundle([]).to_bytes());
        world
    }

    fn bundle<const N: usize>(&self, more: [Item; N]) -> Bundle {
        let report = Item::SnpReport(self.tee.sign_report().as_bytes().to_vec().into());
        let certificates = Item::SnpCertificates(self.tee.endorsements().to_bundle_item());
        Bundle::new([report, certificates].into_iter().chain(more))
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.scene.app().join(name), bytes).unwrap();
    }

    /// `casemate verify --json` of these, at the time of the evidence: exit code, stdout, stderr.
    fn verify(&self, arguments: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
        let at = clock::utc(NOW_MS);
        let common =
            ["verify", "--json", "--offline", "--accept-simulated", "--policy", "policy.toml", "--at", &at];
        let output = self.scene.run_with_input(&[&common[..], arguments].concat(), input);
        (output.status.code().unwrap(), output.stdout, self.scene.plain(&output.stderr))
    }

    #[track_caller]
    fn verdict(&self, arguments: &[&str], input: &[u8], code: i32) -> Value {
        let (found, stdout, stderr) = self.verify(arguments, input);
        assert_eq!(found, code, "{arguments:?}: {}{stderr}", String::from_utf8_lossy(&stdout));
        serde_json::from_slice(&stdout).unwrap()
    }
}

#[test]
fn files_are_known_by_their_content_in_any_order() {
    let world = World::new();
    for files in [
        &["bundle"][..],
        &["report", "leaf", "intermediate", "root"],
        &["root", "report", "intermediate", "leaf"],
        &["report", "--leaf", "leaf", "--chain", "root", "intermediate"],
    ] {
        let verdict = world.verdict(files, b"", 0);
        assert_eq!((&verdict["outcome"], &verdict["trust_class"]), (&json!("verified"), &json!("simulated")));
    }
    // As people paste it.
    let report = std::fs::read(world.scene.app().join("report")).unwrap();
    world.scene.write("pasted", &STANDARD.encode(&report));
    world.verdict(&["pasted", "leaf", "intermediate", "root"], b"", 0);
    world.scene.write("pasted", &hex::encode(&report));
    world.verdict(&["pasted", "leaf", "intermediate", "root"], b"", 0);
}

#[test]
fn standard_input_is_a_file() {
    let world = World::new();
    let bundle = std::fs::read(world.scene.app().join("bundle")).unwrap();
    world.verdict(&["-"], &bundle, 0);
    let report = std::fs::read(world.scene.app().join("report")).unwrap();
    world.verdict(&["leaf", "-", "intermediate", "root"], &report, 0);
    let (code, _, said) = world.verify(&["-"], &vec![0; (8 << 20) + 1]);
    assert_eq!(code, 1);
    assert!(said.contains("- has 8388609 bytes, at most 8388608 are read"), "{said}");
}

#[test]
fn what_cannot_be_judged_is_named() {
    let world = World::new();
    world.put("cut", &[0x82, 1]);
    for (files, code, words) in [
        (&["leaf"][..], 2, "no evidence: only certificates"),
        (&["report", "bundle"], 2, "bundle is a second evidence bundle, beside report"),
        (&["policy.toml"], 4, "policy.toml is no evidence, certificate or list that Casemate knows"),
        (&["cut"], 4, "cut: not an evidence bundle"),
        (&["report", "leaf"], 4, "1 chip certificates, 0 intermediates and 0 roots"),
        (&["report", "missing"], 1, "cannot read missing"),
    ] {
        let (found, stdout, said) = world.verify(files, b"");
        assert_eq!(found, code, "{files:?}: {said}");
        assert!(said.contains(words), "{files:?}: {said}");
        assert!(stdout.is_empty() && said.contains("\"hint\""), "{said}");
    }
    // Certificates of another machine are not taken for these.
    let mut report = std::fs::read(world.scene.app().join("report")).unwrap();
    report[0x50] ^= 1;
    let verdict = world.verdict(&["-", "leaf", "intermediate", "root"], &report, 4);
    assert_eq!(verdict["outcome"], "not_genuine");
}

#[test]
fn a_site_is_asked_with_a_nonce_of_its_own() {
    let world = World::new();
    let session = Session {
        key: vec![5; 1216].into(),
        instance: [3; 16],
        boot_id: [4; 16],
        roster_digest: [6; 32],
        key_epoch: 1,
        lease_ends_ms: 0,
        leases: Vec::new(),
    };
    let replayed = world.bundle([Item::Manifest(b"a manifest".to_vec().into()), Item::Session(session)]);
    let site = scene::Service::on_tcp(move |_| scene::answer(200, &replayed.to_bytes()));
    let verdict = world.verdict(&[&site.address], b"", 3);
    assert!(failed(&verdict).contains(&"policy.freshness.report_data".to_owned()), "{verdict}");
    let asked = site.asked();
    let nonce = asked[0].strip_prefix("GET /.well-known/casemate?nonce=").unwrap().split(' ').next().unwrap();
    assert_eq!(hex::decode(nonce).unwrap().len(), 32);
    world.verdict(&[&site.address], b"", 3);
    assert_ne!(site.asked()[1].lines().next(), asked[0].lines().next());

    let silent = world.bundle([]).to_bytes();
    let site = scene::Service::on_tcp(move |_| scene::answer(200, &silent));
    let (code, _, said) = world.verify(&[&site.address], b"");
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("the evidence names no session, so it cannot answer a nonce"), "{said}");

    let (code, _, said) = world.verify(&["http://127.0.0.1:1"], b"");
    assert_eq!(code, 7, "{said}");
}

/// Codes of the checks that failed.
fn failed(node: &Value) -> Vec<String> {
    match node {
        Value::Array(nodes) => nodes.iter().flat_map(failed).collect(),
        Value::Object(members) if members.contains_key("groups") => failed(&node["groups"]),
        Value::Object(members) if members.contains_key("checks") => failed(&node["checks"]),
        _ if node["status"] == "failed" => vec![node["code"].as_str().unwrap().to_owned()],
        _ => Vec::new(),
    }
}

#[test]
fn quotes_are_shown_field_by_field() {
    let world = World::new();
    for (machine, kind) in
        [(support::intel::Machine::tdx(), "tdx-quote"), (support::intel::Machine::sgx(), "sgx-quote")]
    {
        world.put("quote", &machine.quote());
        let output = world.scene.run(&["inspect", "quote", "--json"]);
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["kind"], kind);
        assert!(shown["report"].is_object(), "{shown}");
        world.put("quote", &machine.quote()[..100]);
        let output = world.scene.run(&["inspect", "quote"]);
        assert_eq!(output.status.code(), Some(4));
        let name = if kind == "tdx-quote" { "TDX quote" } else { "SGX quote" };
        assert!(world.scene.plain(&output.stderr).starts_with(&format!("error: quote is no {name}: ")));
    }
}

/// The claims of a result, if `key` signed it; by another library than the one that signs.
fn claims(result: &str, key: &ResultKey) -> Value {
    let parts: Vec<&str> = result.trim_end().split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{result}") };
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let point = [&[4], &key.public().as_bytes()[..]].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
        .verify(format!("{header}.{payload}").as_bytes(), &signature)
        .unwrap();
    let part = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    assert_eq!(part(header), json!({ "alg": "ES256", "typ": "JWT", "kid": key.thumbprint() }));
    part(payload)
}

const NOTHING: [(&str, i8); 8] = [
    ("instance-identity", 0),
    ("configuration", 0),
    ("executables", 0),
    ("file-system", 0),
    ("hardware", 0),
    ("runtime-opaque", 0),
    ("storage-opaque", 0),
    ("sourced-data", 0),
];

#[test]
fn a_result_is_signed_and_says_no_more_than_was_established() {
    let world = World::new();
    let made = world.scene.run(&["key", "create", "--for-results", "key.pem"]);
    assert!(made.status.success(), "{}", world.scene.plain(&made.stderr));
    let key = ResultKey::read(&world.scene.app().join("key.pem")).unwrap();
    assert_eq!(String::from_utf8(made.stdout).unwrap(), key.public_pem());

    // Simulated: nothing is claimed.
    let verdict = world.verdict(&["bundle", "--ear", "key.pem", "-o", "result"], b"", 0);
    let found = claims(&std::fs::read_to_string(world.scene.app().join("result")).unwrap(), &key);
    assert_eq!(found["eat_profile"], "tag:github.com,2023:veraison/ear");
    assert_eq!(found["ear.verifier-id"]["developer"], "Casemate");
    let age = clock::now_ms() / 1000 - found["iat"].as_u64().unwrap();
    assert!(age < 60, "{found}");
    let guest = &found["submods"]["guest"];
    assert_eq!(guest["ear.status"], "none");
    let nothing: serde_json::Map<String, Value> =
        NOTHING.iter().map(|(name, claim)| ((*name).to_owned(), json!(claim))).collect();
    assert_eq!(guest["ear.trustworthiness-vector"], Value::Object(nothing.clone()));
    let digest = hex::decode(verdict["policy_digest"].as_str().unwrap()).unwrap();
    let policy = format!("ni:///sha-256;{}", URL_SAFE_NO_PAD.encode(digest));
    assert_eq!(guest["ear.appraisal-policy-id"], policy);

    // Changed: the signature of the report is wrong. On standard output, in place of the verdict.
    let mut report = std::fs::read(world.scene.app().join("report")).unwrap();
    report[0x50] ^= 1;
    let (code, stdout, _) = world.verify(&["-", "leaf", "intermediate", "root", "--ear", "key.pem"], &report);
    assert_eq!(code, 4);
    let guest = &claims(&String::from_utf8(stdout).unwrap(), &key)["submods"]["guest"];
    assert_eq!(guest["ear.status"], "contraindicated");
    let mut expected = nothing.clone();
    expected["hardware"] = json!(99);
    assert_eq!(guest["ear.trustworthiness-vector"], Value::Object(expected));

    // Refused: another workload than the expected one.
    let digest = "9c".repeat(32);
    let (code, stdout, _) = world.verify(&["bundle", "--digest", &digest, "--ear", "key.pem"], b"");
    let said = String::from_utf8(stdout).unwrap();
    match code {
        // The simulated machine has this digest in HOST_DATA.
        0 => {
            let other = "77".repeat(32);
            let (code, stdout, _) = world.verify(&["bundle", "--digest", &other, "--ear", "key.pem"], b"");
            assert_eq!(code, 3);
            workload_refused(&claims(&String::from_utf8(stdout).unwrap(), &key), &nothing);
        }
        _ => workload_refused(&claims(&said, &key), &nothing),
    }
}

fn workload_refused(found: &Value, nothing: &serde_json::Map<String, Value>) {
    let mut expected = nothing.clone();
    expected["executables"] = json!(33);
    assert_eq!(found["submods"]["guest"]["ear.status"], "contraindicated");
    assert_eq!(found["submods"]["guest"]["ear.trustworthiness-vector"], Value::Object(expected));
}

/// As `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` writes it.
const FROM_OPENSSL: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnci/mFxGdOBn/3em
uEaUxliDv4tGPDoRRWGq++/QoHOhRANCAAREJhSDoCL5GeJK6fxgLZM+aOUVzM4F
+7QcM78pWqfOxGVK7tUng5rMU3Ubmih1F38KdBrfoUVl0eSc7RDgyZmD
-----END PRIVATE KEY-----
";

#[test]
fn a_key_for_results_is_a_p256_key_in_a_file_of_its_own() {
    let scene = Scene::new();
    assert!(scene.run(&["key", "create", "--for-results", "key.pem"]).status.success());
    let path = scene.app().join("key.pem");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&path).unwrap();
    scene.fails(
        &["key", "create", "--for-results", "key.pem"],
        6,
        "error: key.pem is there already\nhint: name a new file; results that it signed can be checked with it only\n",
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);

    scene.write("other.pem", FROM_OPENSSL);
    let key = ResultKey::read(&scene.app().join("other.pem")).unwrap();
    assert!(hex::encode(key.public().as_bytes()).starts_with("44261483a022f919e24ae9fc602d933e68e515ccce05"));

    let encrypted = FROM_OPENSSL.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let other_curve = FROM_OPENSSL.replace("AwEHBG0w", "AwEIBG0w");
    for wrong in ["", "not a key", &encrypted, &other_curve] {
        scene.write("wrong.pem", wrong);
        scene.fails(
            &["verify", "evidence", "--ear", "wrong.pem"],
            6,
            "error: wrong.pem holds no P-256 private key: expected PKCS#8 in PEM, unencrypted\nhint: `casemate key \
             create --for-results FILE` makes one\n",
        );
    }
}

/// Verified on hardware, with everything that can be established.
fn everything() -> Established {
    Established {
        outcome: Outcome::Verified,
        real: true,
        instance: true,
        debug_off: true,
        software: true,
        revocation: true,
        fresh: true,
        vulnerable: false,
        failed: Vec::new(),
    }
}

#[test]
fn each_thing_that_was_not_established_takes_its_claim_away() {
    let full = TrustVector {
        instance_identity: 2,
        configuration: 2,
        executables: 3,
        hardware: 2,
        runtime_opaque: 2,
        ..TrustVector::default()
    };
    type Change = fn(&mut Established);
    let table: [(Change, Tier, TrustVector); 8] = [
        (|_| {}, Tier::Affirming, full),
        (|found| found.real = false, Tier::None, TrustVector::default()),
        (|found| found.instance = false, Tier::Affirming, TrustVector { instance_identity: 0, ..full }),
        (
            |found| found.debug_off = false,
            Tier::None,
            TrustVector { configuration: 0, runtime_opaque: 0, ..full },
        ),
        (|found| found.software = false, Tier::None, TrustVector { executables: 0, ..full }),
        (|found| found.revocation = false, Tier::None, TrustVector { hardware: 0, ..full }),
        (|found| found.fresh = false, Tier::None, full),
        (|found| found.vulnerable = true, Tier::Warning, TrustVector { hardware: 32, ..full }),
    ];
    for (index, (change, tier, vector)) in table.into_iter().enumerate() {
        let mut found = everything();
        change(&mut found);
        assert_eq!(appraise(&found), (tier, vector), "row {index}");
    }
}

#[test]
fn a_refusal_affirms_nothing_and_names_its_dimension() {
    let none = TrustVector::default();
    for (outcome, failed, vector) in [
        (Outcome::Refused, Code::Firmware, TrustVector { hardware: 96, ..none }),
        (Outcome::Refused, Code::Guest, TrustVector { configuration: 96, ..none }),
        (Outcome::Refused, Code::Image, TrustVector { executables: 33, ..none }),
        (Outcome::Refused, Code::Workload, TrustVector { executables: 33, ..none }),
        (Outcome::Refused, Code::Channel, TrustVector { instance_identity: 97, ..none }),
        (Outcome::Refused, Code::Freshness, none),
        (Outcome::NotGenuine, Code::QuoteSignature, TrustVector { hardware: 99, ..none }),
        (Outcome::NotGenuine, Code::ReportFormat, TrustVector { hardware: 1, ..none }),
        (Outcome::NotGenuine, Code::Root, TrustVector { hardware: 97, ..none }),
    ] {
        let found = Established { outcome, failed: vec![failed], ..everything() };
        assert_eq!(appraise(&found), (Tier::Contraindicated, vector), "{failed}");
    }
    // A policy without rules for the platform: nobody looked.
    let failed = vec![Code::SnpAccepted, Code::Signer, Code::Hardware];
    let found = Established { outcome: Outcome::Refused, failed, ..everything() };
    assert_eq!(appraise(&found), (Tier::Contraindicated, none));
}
