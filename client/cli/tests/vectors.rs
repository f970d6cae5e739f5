//! Recorded evidence through the command itself: every folder below `$CASEMATE_VECTORS/snp`, `snp-certs`
//! and the SEV part of `launch-measurement`, whatever their number.
//!
//! The vectors are not part of the project. Without them these tests say so and pass, except in CI.
//! What has no command of its own is tested where the logic is: `luks2` in `casemate-volume` (only a
//! guest opens headers), ID blocks and dstack's measurement documents in `casemate-measure` (they are
//! parsed for other programs).

#[path = "../../../core/verify/tests/vector/folders.rs"]
mod folders;
#[path = "../../../link/endorse/tests/support/server.rs"]
mod server;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use casemate_endorse::{Etiquette, KeyServer};
use casemate_evidence::snp::Leaf;
use casemate_evidence::x509::Certificate;
use casemate_verify::Policy;
use folders::{Vector, root, vectors};
use serde_json::{Map, Value, json};

#[test]
fn snp_vectors_give_their_result_through_verify() {
    let scene = Scene::new();
    for_each_vector("snp", |vector| {
        let result = vector.text("/expected/result");
        match result.as_str() {
            "verify_ok" => verifies(&scene, vector),
            "must_fail" => is_refused(&scene, vector),
            "parse_only" => is_not_judged(&scene, vector),
            "signature_ok_policy_must_reject" => is_genuine_and_refused(&scene, vector),
            other => panic!("{}: expected result {other:?} is unknown to this test", vector.name),
        }
        shows_its_fields(&scene, vector);
        true
    });
}

/// Without a certificate on the command line: from a key server, then from what was kept of it, then on a
/// machine to which it was carried.
#[tokio::test(flavor = "multi_thread")]
async fn snp_vectors_verify_with_certificates_that_are_fetched_kept_and_carried() {
    let mut fetched = 0;
    let mut all = Vec::new();
    for_each_vector("snp", |vector| {
        all.push(Vector {
            folder: vector.folder.clone(),
            name: vector.name.clone(),
            json: vector.json.clone(),
        });
        true
    });
    for vector in all.iter().filter(|vector| vector.text("/expected/result") == "verify_ok") {
        let Some(address) = vector.key_server_path() else { continue }; // a VLEK, which nobody serves
        fetched += 1;
        let (here, there) = (Scene::new(), Scene::new());
        let leaf = std::fs::read(vector.leaf().expect("a leaf")).expect("readable");
        let chain = std::fs::read(vector.folder.join("cert_chain.pem")).expect("a chain");
        let chain_path = format!("{}/cert_chain", &address[..address.rfind('/').expect("a path")]);
        let server =
            server::Server::start(HashMap::from([(address, (200, leaf)), (chain_path, (200, chain))])).await;
        let at = vector.window().middle();
        let verify = |more: &[&str]| {
            let report = vector.folder.join("report.bin").display().to_string();
            let policy = here.asks_for_nothing.display().to_string();
            let when = casemate_cli::clock::utc(at * 1000);
            let mut arguments: Vec<String> =
                ["verify", &report, "--policy", &policy, "--at", &when].map(str::to_owned).into();
            arguments.extend(more.iter().map(|&word| word.to_owned()));
            arguments
        };
        let run = async |scene: &Scene, arguments: Vec<String>| {
            tokio::task::block_in_place(|| scene.run_as_told(&arguments))
        };
        assert_eq!(run(&here, verify(&["--offline"])).await.code, 10, "{}: nothing is kept yet", vector.name);
        let first = run(&here, verify(&["--key-server", &server.base])).await.answer(0);
        assert_eq!(first["trust_class"], "real", "{}", vector.name);
        assert_eq!(run(&here, verify(&["--offline"])).await.answer(0), first, "{}", vector.name);
        let file = here.folder.path().join("endorsements.bin").display().to_string();
        let export = ["endorsements", "export", &file, "--offline"].map(str::to_owned).to_vec();
        assert_eq!(run(&here, export).await.answer(0)["items"], 3, "{}", vector.name);
        let when = casemate_cli::clock::utc(at * 1000);
        let import =
            ["endorsements", "import", &file, "--at", &when, "--offline"].map(str::to_owned).to_vec();
        run(&there, import).await.answer(0);
        assert_eq!(run(&there, verify(&["--offline"])).await.answer(0), first, "{}", vector.name);
        assert_eq!(server.asked().len(), 3, "{}: leaf, chain, and a list that is not there", vector.name);
    }
    assert!(all.is_empty() || fetched > 0, "no vector was fetched for");
}

#[test]
fn snp_certificate_vectors_are_kept_by_endorsements_import() {
    for_each_vector("snp-certs", |vector| {
        let expected = vector.text("/expected/result");
        assert!(["chain_ok", "crl_signature_ok"].contains(&expected.as_str()), "{}: {expected}", vector.name);
        let import = |at: u64| {
            let files = vector.json["files"].as_object().expect("a vector lists its files").keys();
            let mut arguments: Vec<String> = ["endorsements", "import", "--at"].map(str::to_owned).into();
            arguments.push(casemate_cli::clock::utc(at * 1000));
            arguments.extend(files.map(|name| vector.folder.join(name).display().to_string()));
            Scene::new().run(&arguments)
        };
        let stated = vector.json["expected"].get("valid_from").is_some();
        let rows = import(if stated { vector.window().middle() } else { 1_770_000_000 }).answer(0);
        let rows = rows.as_array().expect("a row per item");
        assert!(rows.iter().all(|row| row["kept"] == json!(true)), "{}: {rows:?}", vector.name);
        certificate_fields(vector, rows);
        if stated {
            assert_eq!(import(vector.window().end + 1).code, 4, "{}: kept after its time", vector.name);
        }
        true
    });
}

fn certificate_fields(vector: &Vector, rows: &[Value]) {
    let of_subject = |subject: String| {
        let found =
            rows.iter().map(|row| &row["content"]).find(|content| content["subject"] == json!(subject));
        found.unwrap_or_else(|| panic!("{}: no certificate of {subject}", vector.name))
    };
    let list = rows.iter().map(|row| &row["content"]).find(|content| content["kind"] == "revocation-list");
    // AMD 57230 §2: the names of a product's authority.
    let product =
        vector.json["platform"].as_str().and_then(|text| text.split(' ').nth(1)).unwrap_or_default();
    for (name, expected) in vector.json["fields"].as_object().expect("a vector has fields") {
        let authority = |subject: String| {
            let shown = of_subject(subject);
            json!({
                "serial": shown["serial"],
                "sha256": shown["sha256"],
                "not_after": shown["not_after"].as_str().expect("a time").replace('Z', "+00:00"),
            })
        };
        let found = match name.as_str() {
            "leaf" => {
                let shown =
                    rows.iter().map(|row| &row["content"]).find(|content| content.get("snp").is_some());
                let leaf = expected.as_object().expect("leaf fields are an object");
                check_leaf(&vector.name, shown.expect("a leaf"), leaf);
                continue;
            }
            // Each by itself is tested in casemate-verify; here all of them had to hold.
            "checks" => {
                let checks = expected.as_object().expect("checks are an object");
                assert!(checks.values().all(|held| *held == json!(true)), "{}", vector.name);
                continue;
            }
            "ark" => authority(format!("ARK-{product}")),
            "ask" => authority(format!("SEV-{product}")),
            "asvk" => authority(format!("SEV-VLEK-{product}")),
            "issuer" => list.expect("a list")["issuer"].clone(),
            "revoked" => list.expect("a list")["revoked"].clone(),
            "current_ask_serial" => {
                let revoked = list.expect("a list")["revoked"].as_array().expect("an array");
                assert!(!revoked.contains(expected), "{}: the ASK in force is revoked", vector.name);
                continue;
            }
            other => panic!("{}: field {other:?} is unknown to this test", vector.name),
        };
        assert_eq!(found, *expected, "{}: field {name}", vector.name);
    }
}

#[test]
fn launch_measurement_vectors_of_amd_give_their_digest_through_image_measure() {
    let scene = Scene::new();
    let mut measured = 0;
    for_each_vector("launch-measurement", |vector| {
        // TDX registers, PCRs, documents of other programs and ID blocks: see above.
        let mode = vector.json.pointer("/fields/mode").and_then(Value::as_str);
        let Some(mode) = mode else { return true };
        let mode = match mode {
            "SEV_SNP" => "snp",
            "SEV_ES" => "sev-es",
            "SEV" => "sev",
            other => panic!("{}: mode {other:?} is unknown to this test", vector.name),
        };
        let file = |name: &str| vector.folder.join(name).display().to_string();
        let mut arguments: Vec<String> = ["image", "measure", "--mode", mode].map(str::to_owned).into();
        arguments.extend(["--firmware".to_owned(), file("ovmf.bin")]);
        if vector.json["fields"]["kernel_hashes"] == json!(true) {
            arguments.extend([
                "--kernel".to_owned(),
                file("kernel.bin"),
                "--initrd".to_owned(),
                file("initrd.bin"),
            ]);
            arguments.extend(["--append".to_owned(), vector.text("/fields/append")]);
        }
        for (option, field) in
            [("--vcpu-type", "vcpu_type"), ("--guest-features", "guest_features"), ("--vmm", "vmm")]
        {
            arguments.extend([option.to_owned(), vector.text(&format!("/fields/{field}"))]);
        }
        arguments.extend(["--vcpus".to_owned(), vector.json["fields"]["vcpus"].to_string()]);
        let found = scene.run(&arguments).answer(0);
        assert_eq!(found["measurement"], vector.json["expected"]["launch_digest"], "{}", vector.name);
        measured += 1;
        true
    });
    assert!(
        measured > 0 || !root().join("launch-measurement").is_dir(),
        "no vector states how it was launched"
    );
}

/// Under a policy that asks for nothing but genuineness: within the window, and not a second beyond it.
fn verifies(scene: &Scene, vector: &Vector) {
    let window = vector.window();
    for at in [window.start, window.middle(), window.end] {
        let verdict = scene.verify(vector, &scene.asks_for_nothing, at).answer(0);
        assert_eq!(verdict["outcome"], "verified", "{} at {at}", vector.name);
        assert_eq!(verdict["trust_class"], "real", "{} at {at}", vector.name);
        claims_are_the_fields(vector, &verdict["claims"]);
    }
    for at in [window.start - 1, window.end + 1] {
        let verdict = scene.verify(vector, &scene.asks_for_nothing, at).answer(4);
        assert_eq!(failed(&verdict), ["snp.certificate_time"], "{} at {at}", vector.name);
    }
    claims_no_more_than_was_established(scene, vector, window.middle());
    // A note such as "a policy that requires VMPL 0 must reject it".
    let vmpl = &vector.json["fields"]["vmpl"];
    let verdict = scene.verify(vector, &scene.asks_for_vmpl_0, window.middle());
    if *vmpl == json!(0) {
        verdict.answer(0);
    } else {
        assert_eq!(failed(&verdict.answer(3)), ["policy.hardware.vmpl"], "{}", vector.name);
    }
}

/// Refused as not genuine, by a check that the vector's reason names.
fn is_refused(scene: &Scene, vector: &Vector) {
    let reason = vector.text("/expected/reason");
    let expected: Vec<&str> =
        REASONS.iter().filter(|(word, _)| reason.contains(word)).map(|(_, check)| *check).collect();
    assert!(!expected.is_empty(), "{}: reason {reason:?} is unknown to this test", vector.name);
    for at in vector.times() {
        let verdict = scene.verify(vector, &scene.asks_for_nothing, at).answer(4);
        let found = failed(&verdict);
        assert!(
            found.len() == 1 && expected.contains(&found[0].as_str()),
            "{} at {at}: {found:?}",
            vector.name
        );
        assert_eq!(verdict["outcome"], "not_genuine", "{}", vector.name);
        assert_eq!(verdict["claims"], Value::Null, "what is not genuine claims nothing: {}", vector.name);
    }
}

/// What the reasons of the vectors say, and the check that says it here.
const REASONS: &[(&str, &str)] = &[
    ("report signature", "snp.report_signature"),
    ("report_signature", "snp.report_signature"),
    ("signature do not match", "snp.report_signature"),
    ("hardware id", "snp.certified_chip"),
    ("hwid", "snp.certified_chip"),
    ("tcb", "snp.certified_tcb"),
    ("leaf_by_intermediate", "snp.certificate_signature"),
    ("intermediate_by_root", "snp.certificate_signature"),
    ("certificate signature", "snp.certificate_signature"),
    ("length", "snp.report_format"),
    ("reserved", "snp.report_format"),
    ("version", "snp.report_format"),
    ("root", "snp.root"),
    ("revoked", "snp.revocation"),
    ("expired", "snp.certificate_time"),
    ("not yet valid", "snp.certificate_time"),
];

/// Without a certificate of its signer a report is not judged.
fn is_not_judged(scene: &Scene, vector: &Vector) {
    let report = vector.folder.join("report.bin").display().to_string();
    let ended = scene.run(&["verify".to_owned(), report]);
    assert_eq!(ended.code, 10, "{}: {}", vector.name, ended.stderr);
    assert!(ended.stdout.is_empty(), "{}", vector.name);
}

fn is_genuine_and_refused(scene: &Scene, vector: &Vector) {
    let at = vector.times()[0];
    let verdict = scene.verify(vector, &scene.recommended, at).answer(3);
    assert_eq!(verdict["outcome"], "refused", "{}", vector.name);
}

/// Every field that the vector states of report and leaf, as `casemate inspect` shows it.
fn shows_its_fields(scene: &Scene, vector: &Vector) {
    let fields = vector.json["fields"].as_object().expect("a vector has fields");
    let inspect = |file: &Path| scene.run(&["inspect".to_owned(), file.display().to_string()]).answer(0);
    let of_report: Vec<_> =
        fields.iter().filter(|(name, _)| !["leaf", "checks"].contains(&name.as_str())).collect();
    if !of_report.is_empty() {
        let report = inspect(&vector.folder.join("report.bin"));
        for (name, expected) in of_report {
            assert_eq!(report_field(&report["report"], name, expected), *expected, "{}: {name}", vector.name);
        }
    }
    if let Some(leaf) = fields.get("leaf") {
        let shown = inspect(&vector.leaf().expect("a vector with leaf fields has a leaf"));
        let leaf = leaf.as_object().expect("leaf fields are an object");
        check_leaf(&vector.name, &shown["certificates"][0], leaf);
    }
}

fn report_field(report: &Value, name: &str, expected: &Value) -> Value {
    let version = |name: &str, part: usize| {
        let text = report[name].as_str().expect("versions are text");
        json!(text.split('.').nth(part).and_then(|number| number.parse::<u8>().ok()))
    };
    match name {
        "signature_algo" => report["signature_algorithm"].clone(),
        "cpuid" => json!({
            "family_id": report["cpuid"]["family"],
            "model_id": report["cpuid"]["model"],
            "stepping": report["cpuid"]["stepping"],
        }),
        "policy_bits" => chosen(&report["policy_bits"], expected),
        "flags" => json!({
            "raw": report["key_info"],
            "author_key_en": report["key_info_bits"]["author_key_enabled"],
            "mask_chip_key": report["key_info_bits"]["mask_chip_key"],
            "signing_key": report["key_info_bits"]["signing_key"],
        }),
        "current_tcb" | "reported_tcb" | "committed_tcb" | "launch_tcb" => {
            let mut tcb = report[name].as_object().expect("a TCB version is an object").clone();
            let bytes = tcb.remove("bytes").expect("with its bytes");
            // Version 2 does not name its product, and its parts are not guessed at.
            let mut found =
                if tcb.is_empty() { expected.as_object().expect("an object").clone() } else { tcb };
            found.insert("raw".to_owned(), bytes);
            Value::Object(found)
        }
        // Version 2 does not name the processor: the vectors have it from the certificate.
        "product" if report["version"] == json!(2) => expected.clone(),
        "current_major" => version("current_version", 0),
        "current_minor" => version("current_version", 1),
        "current_build" => version("current_version", 2),
        "committed_major" => version("committed_version", 0),
        "committed_minor" => version("committed_version", 1),
        "committed_build" => version("committed_version", 2),
        "launch_mit_vector" => report["launch_mitigations"].clone(),
        "current_mit_vector" => report["current_mitigations"].clone(),
        other => report.get(other).unwrap_or_else(|| panic!("field {other:?} is not shown")).clone(),
    }
}

fn check_leaf(name: &str, shown: &Value, fields: &Map<String, Value>) {
    let snp = &shown["snp"];
    let tcb = hex::decode(snp["tcb"].as_str().expect("hexadecimal")).expect("hexadecimal");
    let turin = snp["product"] == "Turin";
    let byte = |others: usize, turins: usize| json!(tcb[if turin { turins } else { others }]);
    for (field, expected) in fields {
        let found = match field.as_str() {
            "struct_version" => snp["structure_version"].clone(),
            "product_name" => snp["product_name"].clone(),
            "fmcSPL" => byte(usize::MAX, 0),
            "blSPL" => byte(0, 1),
            "teeSPL" => byte(1, 2),
            "spl4" => byte(2, usize::MAX),
            "spl5" => byte(3, 4),
            "spl6" => byte(4, 5),
            "spl7" => byte(5, 6),
            "snpSPL" => byte(6, 3),
            "ucodeSPL" => byte(7, 7),
            "hwid" => snp["hardware_id"].clone(),
            "cspId" => snp["provider"].clone(),
            "not_before" | "not_after" => {
                json!(shown[field].as_str().expect("a time").replace('Z', "+00:00"))
            }
            "subject_cn" => shown["subject"].clone(),
            "issuer_cn" => shown["issuer"].clone(),
            "serial" => shown["serial"].clone(),
            other => panic!("{name}: leaf field {other:?} is unknown to this test"),
        };
        assert_eq!(found, *expected, "{name}: leaf field {field}");
    }
}

/// What the verdict claims is what the vector states.
fn claims_are_the_fields(vector: &Vector, claims: &Value) {
    let fields = &vector.json["fields"];
    let number = |name: &str| {
        let text = fields[name].as_str().expect("bits are hexadecimal").trim_start_matches("0x");
        json!(u64::from_str_radix(text, 16).expect("bits are hexadecimal"))
    };
    let chip = fields["chip_id"].clone();
    let masked = chip.as_str().is_some_and(|digits| digits.bytes().all(|digit| digit == b'0'));
    assert_eq!(claims["platform"], "snp", "{}", vector.name);
    for (pointer, expected) in [
        ("/snp/report_version", fields["version"].clone()),
        ("/snp/vmpl", fields["vmpl"].clone()),
        ("/measurement", fields["measurement"].clone()),
        ("/workload_slot/value", fields["host_data"].clone()),
        ("/freshness_slot/value", fields["report_data"].clone()),
        ("/snp/guest_policy", number("policy")),
        ("/snp/platform_info", number("platform_info")),
        ("/signer/key", fields["flags"]["signing_key"].clone()),
        ("/snp/chip_id", if masked { Value::Null } else { chip }),
    ] {
        assert_eq!(claims.pointer(pointer), Some(&expected), "{}: claim {pointer}", vector.name);
    }
}

/// The members of `found` that `expected` has.
fn chosen(found: &Value, expected: &Value) -> Value {
    let names = expected.as_object().expect("an object").keys();
    Value::Object(names.map(|name| (name.clone(), found[name].clone())).collect())
}

/// The codes of the checks that failed.
fn failed(verdict: &Value) -> Vec<String> {
    fn walk(node: &Value, into: &mut Vec<String>) {
        let checks = node["checks"].as_array();
        if node["status"] == "failed" && checks.is_none() {
            into.push(node["code"].as_str().expect("a code").to_owned());
        }
        checks.into_iter().flatten().for_each(|check| walk(check, into));
    }
    let mut codes = Vec::new();
    verdict["groups"]
        .as_array()
        .expect("a verdict has groups")
        .iter()
        .for_each(|group| walk(group, &mut codes));
    codes
}

/// A scratch home with three policies.
struct Scene {
    folder: tempfile::TempDir,
    asks_for_nothing: PathBuf,
    asks_for_vmpl_0: PathBuf,
    recommended: PathBuf,
}

/// Recorded evidence answers nobody, and no image or workload was expected.
fn claims_no_more_than_was_established(scene: &Scene, vector: &Vector, at: u64) {
    let key = scene.folder.path().join("results.pem").display().to_string();
    if !Path::new(&key).exists() {
        scene
            .run(&["key".to_owned(), "create".to_owned(), "--for-results".to_owned(), key.clone()])
            .answer(0);
    }
    let policy = &scene.asks_for_nothing;
    let ended = scene.verify_and(vector, policy, at, &["--ear".to_owned(), key]);
    assert_eq!(ended.code, 0, "{}: {}", vector.name, ended.stderr);
    let token = String::from_utf8(ended.stdout).expect("a JWT is text");
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("three parts")).expect("base64url");
    let claims: Value = serde_json::from_slice(&payload).expect("JSON");
    let guest = &claims["submods"]["guest"];
    assert_eq!(guest["ear.status"], "none", "{}", vector.name);
    let claimed = &guest["ear.trustworthiness-vector"];
    assert_eq!(claimed["executables"], 0, "{}", vector.name);
    // No list of revoked certificates came along.
    assert_eq!(claimed["hardware"], 0, "{}", vector.name);
}

/// How a command ended.
struct Ended {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let policy = |name: &str, text: String| {
            Policy::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("scratch is writable");
            path
        };
        Self {
            asks_for_nothing: policy("nothing.toml", lenient().replace("vmpl = [0]", "vmpl = \"any\"")),
            asks_for_vmpl_0: policy("vmpl.toml", lenient()),
            recommended: policy("recommended.toml", Policy::example(&[])),
            folder,
        }
    }

    /// Runs the command without a network.
    fn run(&self, arguments: &[String]) -> Ended {
        self.run_as_told(&[&["--offline".to_owned()], arguments].concat())
    }

    fn run_as_told(&self, arguments: &[String]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
            .arg("--json")
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("CASEMATE_HOME", self.folder.path().join("home"))
            .output()
            .expect("casemate can be started");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `casemate verify` of the vector's report with its certificates, at `at` seconds since 1970.
    fn verify(&self, vector: &Vector, policy: &Path, at: u64) -> Ended {
        self.verify_and(vector, policy, at, &[])
    }

    fn verify_and(&self, vector: &Vector, policy: &Path, at: u64, more: &[String]) -> Ended {
        let file = |path: PathBuf| path.display().to_string();
        let leaf = vector.leaf().unwrap_or_else(|| panic!("{}: no leaf certificate", vector.name));
        let arguments = [
            "verify".to_owned(),
            file(vector.folder.join("report.bin")),
            "--leaf".to_owned(),
            file(leaf),
            "--chain".to_owned(),
            file(vector.folder.join("cert_chain.pem")),
            "--policy".to_owned(),
            file(policy.to_owned()),
            "--at".to_owned(),
            casemate_cli::clock::utc(at * 1000),
        ];
        self.run(&[&arguments[..], more].concat())
    }
}

impl Ended {
    /// The answer, if the command ended with `code`.
    #[track_caller]
    fn answer(self, code: i32) -> Value {
        let stdout = String::from_utf8_lossy(&self.stdout);
        assert_eq!(self.code, code, "stdout: {stdout}\nstderr: {}", self.stderr);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }
}

/// The recommended policy without what no stranger's evidence can meet: firmware of its own time, any
/// image, any workload, no challenge.
fn lenient() -> String {
    let text = Policy::example(&[])
        .replace("signing_keys = [\"VCEK\"]", "signing_keys = \"any\"")
        .replace("minimum_report_version = 3", "minimum_report_version = 2")
        .replace("alias_check = \"required\"", "alias_check = \"any\"")
        .replace("measurements = \"expected\"", "measurements = \"any\"")
        .replace("digests = \"expected\"", "digests = \"any\"")
        .replace("report_data = \"expected\"", "report_data = \"any\"");
    let without_floor = |line: &str| match line.split(" = ").next().unwrap_or_default() {
        part @ ("fmc" | "bootloader" | "tee" | "snp") => format!("{part} = 0\n"),
        "microcode" => {
            let digits = |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
            let (inside, end) = line.split_once(" }").expect("a table of designs");
            let designs: Vec<String> = inside.split(", ").map(|floor| digits(floor) + "0").collect();
            format!("{} }}{end}\n", designs.join(", "))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(without_floor).collect()
}

/// Hands every vector to `check`, which says whether it looked at it.
fn for_each_vector(kind: &str, mut check: impl FnMut(&Vector) -> bool) {
    let all = vectors(kind);
    let is_checked = |vector: &&Vector| {
        println!("{kind}/{}", vector.name);
        check(vector)
    };
    assert_eq!(all.iter().filter(is_checked).count(), all.len(), "vectors were skipped");
}

impl Vector {
    fn text(&self, pointer: &str) -> String {
        let found = self.json.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("{}: no {pointer}", self.name)).to_owned()
    }

    /// Where AMD would serve the leaf; `None` for a VLEK.
    fn key_server_path(&self) -> Option<String> {
        let leaf = Certificate::parse(&std::fs::read(self.leaf()?).ok()?).ok()?;
        let leaf = Leaf::read(&leaf).ok()?;
        let tcb = leaf.tcb().components(leaf.product()).ok()?;
        let nowhere = KeyServer::at("", Etiquette::person()).expect("a client");
        Some(nowhere.vcek_address(leaf.product(), &leaf.hardware_id()?.chip_id(), &tcb))
    }

    fn leaf(&self) -> Option<PathBuf> {
        ["vcek.der", "vlek.der"].iter().map(|name| self.folder.join(name)).find(|path| path.is_file())
    }

    fn window(&self) -> Window {
        Window {
            start: seconds(&self.text("/expected/valid_from")),
            end: seconds(&self.text("/expected/valid_until")),
        }
    }

    /// Times at which a refusal must hold: the vector's window, else inside the leaf's validity.
    fn times(&self) -> Vec<u64> {
        if self.json["expected"].get("valid_from").is_some() {
            let window = self.window();
            return vec![window.start, window.middle(), window.end];
        }
        let leaf = self.leaf().unwrap_or_else(|| panic!("{}: no leaf certificate", self.name));
        let leaf =
            Certificate::parse(&std::fs::read(leaf).expect("the leaf is readable")).expect("the leaf parses");
        vec![Window { start: leaf.not_before_ms() / 1000, end: leaf.not_after_ms() / 1000 }.middle()]
    }
}

/// A span of time in seconds since 1970.
struct Window {
    start: u64,
    end: u64,
}

impl Window {
    fn middle(&self) -> u64 {
        self.start + (self.end - self.start) / 2
    }
}

fn seconds(text: &str) -> u64 {
    let text = text.replace("+00:00", "Z");
    text.parse::<casemate_cli::clock::Moment>().unwrap_or_else(|error| panic!("{error}")).0 / 1000
}
