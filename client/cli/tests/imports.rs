//! Recorded evidence of SecretVM and dstack under policies that `casemate policy import` makes: the workload is
//! established, and one change in the public files is refused by the check of the workload alone.
//!
//! The vectors are not part of the project. Without them these tests say so and pass, except in CI. What the
//! deployments published beside the evidence is not recorded there: compose files are named by the digest that
//! the evidence holds, or made here.

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_crypto::hash::sha256;
use serde_json::{Value, json};

/// A folder to work in, and what the vector says.
struct Scene {
    folder: tempfile::TempDir,
    vector: PathBuf,
    json: Value,
}

impl Scene {
    /// `None`, said aloud, where the vectors are not at hand; a failure in CI.
    fn of(vector: &str) -> Option<Self> {
        let root = std::env::var_os("CASEMATE_VECTORS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
            PathBuf::from,
        );
        if !root.is_dir() {
            assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root.display());
            eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root.display());
            return None;
        }
        let vector = root.join(vector);
        let text = std::fs::read(vector.join("vector.json")).expect("each vector has a vector.json");
        let json = serde_json::from_slice(&text).expect("vector.json is JSON");
        Some(Self { folder: tempfile::tempdir().expect("a scratch folder"), vector, json })
    }

    fn field(&self, name: &str) -> &str {
        self.json["fields"][name].as_str().unwrap_or_else(|| panic!("no field {name}"))
    }

    /// Writes a file into the folder; its name.
    fn write(&self, name: &'static str, content: impl AsRef<[u8]>) -> &'static str {
        std::fs::write(self.folder.path().join(name), content).expect("scratch is writable");
        name
    }

    /// Exit code, standard output and standard error of `casemate ARGUMENTS`.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
            .arg("--offline")
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("CASEMATE_HOME", self.folder.path().join("home"))
            .output()
            .expect("casemate can be started");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// The policy that `casemate policy import` prints.
    fn import(&self, arguments: &[&str]) -> String {
        let (code, policy, error) = self.run(&[&["policy", "import"][..], arguments].concat());
        assert_eq!(code, 0, "{error}");
        policy
    }

    /// What `casemate verify` prints of the vector's quote, at the vector's own time and with its own collateral;
    /// and which checks failed.
    fn verify(&self, policy: &str) -> (String, Vec<String>) {
        self.write("policy.toml", policy);
        let mut arguments = vec!["verify".to_owned(), "--policy".to_owned(), "policy.toml".to_owned()];
        let file = |name: &str| self.vector.join(name).display().to_string();
        match self.json["expected"]["runs"].as_array() {
            Some(runs) => {
                let run = runs.iter().find(|run| run["tcb_status"] == "UpToDate").expect("a run");
                let at_ms = run["timestamp"].as_u64().expect("a time") * 1000;
                arguments.extend(["--at".to_owned(), casemate_cli::clock::utc(at_ms)]);
                arguments.extend([file("quote.bin"), file(run["collateral"].as_str().expect("a file"))]);
            }
            None => {
                let from =
                    self.json["expected"]["valid_from"].as_str().expect("a time").replace("+00:00", "Z");
                arguments.extend(["--at".to_owned(), from]);
                arguments.extend(["report.bin", "vcek.der", "cert_chain.pem"].map(file));
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (_, text, error) = self.run(&arguments);
        let (_, verdict, _) = self.run(&[&["--json"][..], &arguments[..]].concat());
        let verdict: Value = serde_json::from_str(&verdict).unwrap_or_else(|_| panic!("{text}{error}"));
        let mut failed = Vec::new();
        failures(&verdict["groups"], &mut failed);
        (text, failed)
    }
}

/// The codes of all failed checks that are no groups.
fn failures(nodes: &Value, into: &mut Vec<String>) {
    for node in nodes.as_array().into_iter().flatten() {
        match node["checks"].as_array() {
            Some(_) => failures(&node["checks"], into),
            None if node["status"] == "failed" => {
                into.push(node["code"].as_str().expect("a code").to_owned())
            }
            None => {}
        }
    }
}

#[track_caller]
fn shows(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

/// What dstack's tools would state of the machine: the quote's own registers.
fn registers(scene: &Scene) -> String {
    let members = [("mrtd", "mr_td"), ("rtmr0", "rtmr0"), ("rtmr1", "rtmr1"), ("rtmr2", "rtmr2")];
    let members = members.map(|(name, field)| (name.to_owned(), json!(scene.field(field))));
    Value::Object(members.into_iter().collect()).to_string()
}

#[test]
fn a_recorded_dstack_app_is_established_by_its_compose_file() {
    for name in ["tdx-v4-dstack-lite", "tdx-v4-nearai-b", "tdx-v4-phala-near"] {
        let Some(scene) = Scene::of(&format!("tdx/{name}")) else { return };
        let compose = &scene.field("mr_config_id")[2..66];
        let image = scene.write("launch.json", registers(&scene));
        let policy = scene.import(&["dstack", "--compose-hash", compose, "--measurements", image]);
        let (text, failed) = scene.verify(&policy);
        assert_eq!(failed, [""; 0], "{name}\n{text}");
        shows(
            &text,
            &["is what you deployed", "VERIFIED", "TDX quote v4", "UpToDate", "workload", "MRCONFIGID 01"],
        );
        shows(&text, &["Not established: that the evidence is recent"]);
        assert!(
            !text.contains("which workload runs") && !text.contains("which image was launched"),
            "{text}"
        );

        // Another app-compose.json.
        let other = scene.write("app-compose.json", r#"{"manifest_version":2,"name":"another"}"#);
        let policy = scene.import(&["dstack", "--app-compose", other, "--measurements", image]);
        let (text, failed) = scene.verify(&policy);
        assert_eq!(failed, ["policy.workload.registers.mr_config_id"], "{name}");
        shows(
            &text,
            &["is NOT what you expect", "workload in MRCONFIGID 01", "hint: another workload runs there"],
        );
        // The file stands for its digest.
        let digest = sha256(br#"{"manifest_version":2,"name":"another"}"#).to_string();
        assert_eq!(policy, scene.import(&["dstack", "--compose-hash", &digest, "--measurements", image]));

        // Another image.
        let changed = registers(&scene).replace(scene.field("rtmr2"), &"11".repeat(48));
        let image = scene.write("launch.json", changed);
        let policy = scene.import(&["dstack", "--compose-hash", compose, "--measurements", image]);
        assert_eq!(scene.verify(&policy).1, ["policy.image.measurements"], "{name}");
        // Who gives the keys is not in MRCONFIGID of this version: whoever asks for it is refused.
        let policy = scene.import(&["dstack", "--compose-hash", compose, "--key-provider", "kms"]);
        assert_eq!(scene.verify(&policy).1, ["policy.workload.registers.mr_config_id"], "{name}");
    }
}

/// The events that the guest of `tdx-v4-dstack-lite` named, as dstack publishes them beside its quote.
fn events() -> Vec<(&'static str, String)> {
    let provider = "{\"name\":\"kms\",\"id\":\"3059301306072a8648ce3d020106082a8648ce3d030107034200042f71e234d7339a1ceaca\
                    09c3c391eb816c533f980adaab34f16ead093ff0ac100d9c03253a3056f6d27735125433180b3e61c54a78f3fd13337869e0\
                    051dee06\"}";
    let compose = "86b0e55f2fa8e4fb69d890f14f54d5612707646e2573d54e0d2ddaaade77caa9";
    vec![
        ("system-preparing", String::new()),
        ("app-id", compose[..40].to_owned()),
        ("compose-hash", compose.to_owned()),
        ("instance-id", "050bf89570575fe8fab4cb8f0a62a9e64efe8ead".to_owned()),
        ("boot-mr-done", String::new()),
        ("os-image-hash", "07a2388c7a6a1b6a646d443f1517990a4ec294471d63146cda9d56972765051d".to_owned()),
        ("key-provider", hex::encode(provider)),
        ("storage-fs", hex::encode("zfs")),
        ("system-ready", String::new()),
    ]
}

fn log(events: &[(&str, String)]) -> String {
    let event = |(name, payload): &(&str, String)| json!({ "imr": 3, "event_type": 0x0800_0001, "digest": "", "event": name, "event_payload": payload });
    json!({ "quote": "", "event_log": Value::from_iter(events.iter().map(event)).to_string() }).to_string()
}

#[test]
fn a_recorded_dstack_instance_is_established_by_its_log() {
    let Some(scene) = Scene::of("tdx/tdx-v4-dstack-lite") else { return };
    let compose = &scene.field("mr_config_id")[2..66];
    let file = scene.write("log.json", log(&events()));
    let policy = scene.import(&["dstack", "--compose-hash", compose, "--event-log", file]);
    shows(&policy, &[&format!("rtmr3 = [\"{}\"]", scene.field("rtmr3"))]);
    let (text, failed) = scene.verify(&policy);
    assert_eq!(failed, [""; 0], "{text}");
    shows(&text, &["VERIFIED", "RTMR3 6f24c1", "which image was launched"]);

    // Another instance of the same app.
    let mut other = events();
    other[3].1 = "0b".repeat(20);
    let file = scene.write("log.json", log(&other));
    let policy = scene.import(&["dstack", "--compose-hash", compose, "--event-log", file]);
    let (text, failed) = scene.verify(&policy);
    assert_eq!(failed, ["policy.workload.registers.rtmr3"], "{text}");
    shows(&text, &["workload in RTMR3 6f24c1", "hint: another workload runs there"]);

    // A log of another app, and one that never said which.
    let other = scene.write("app-compose.json", "{}");
    let file = scene.write("log.json", log(&events()));
    let (code, _, error) =
        scene.run(&["policy", "import", "dstack", "--app-compose", other, "--event-log", file]);
    assert_eq!(code, 2, "{error}");
    shows(&error, &["log.json names the compose file 86b0e5", "hint: give the compose file and"]);
    let file = scene.write("log.json", log(&events()[..2]));
    let (_, _, error) =
        scene.run(&["policy", "import", "dstack", "--compose-hash", compose, "--event-log", file]);
    shows(&error, &["0 events \"system-ready\""]);
}

/// Floors of firmware that recorded machines do not reach; everything else stays.
fn any_firmware(policy: &str) -> String {
    policy.replace("snp = 29", "snp = 0").replace("Milan = 222", "Milan = 0")
}

#[test]
fn a_recorded_dstack_guest_on_sev_snp_has_a_known_image_and_another_configuration() {
    let Some(scene) = Scene::of("snp/milan-v3-dstack") else { return };
    let document =
        scene.vector.join("../../launch-measurement/snp-dstack-document/measurement-document.json");
    let document = document.display().to_string();
    let app = scene.write("app-compose.json", "{}");
    let configuration = json!({ "version": 3, "compose_hash": sha256(b"{}").to_string(), "app_id": "" });
    let configuration = scene.write("mr-config.json", configuration.to_string());
    let import = ["dstack", "--platform", "snp", "--app-compose", app, "--measurements", &document];
    let policy = any_firmware(&scene.import(&[&import[..], &["--mr-config", configuration]].concat()));
    let (text, failed) = scene.verify(&policy);
    assert_eq!(failed, ["policy.workload"], "{text}");
    // The image is the one that the document describes, to the last bit.
    let host_data = format!("digests = [\"{}\"]", scene.field("host_data"));
    let line = policy.lines().find(|line| line.starts_with("digests = ")).expect("a rule");
    let (text, failed) = scene.verify(&policy.replace(line, &host_data));
    assert_eq!(failed, [""; 0], "{text}");
    shows(&text, &["is what you deployed", "SEV-SNP report v3", "measurement 7f51e1", "HOST_DATA 783f00"]);

    let other = scene.write("other.json", json!({ "compose_hash": "22".repeat(32) }).to_string());
    let (_, _, error) =
        scene.run(&[&["policy", "import"][..], &import[..], &["--mr-config", other]].concat());
    shows(&error, &["other.json names the compose file 222222"]);
    let (_, _, error) = scene.run(&[&["policy", "import"][..], &import[..]].concat());
    shows(&error, &["--mr-config"]);
    let (_, _, error) =
        scene.run(&["policy", "import", "dstack", "--app-compose", app, "--measurements", &document]);
    shows(&error, &["is of a launch on SEV-SNP, expected TDX", "--platform tdx or snp"]);
}

#[test]
fn a_recorded_secretvm_is_refused_with_another_compose_file() {
    let Some(scene) = Scene::of("tdx/tdx-v4-secretvm-kms-b") else { return };
    let row = |root: &str| {
        let cells = ["mr_td", "rtmr0", "rtmr1", "rtmr2"].map(|field| scene.field(field)).join(",");
        format!(
            "template_name,vm_type,artifacts_ver,mrtd,rtmr0,rtmr1,rtmr2,rootfs_data,host_id\n\
             small,prod,v1,{cells},{root},\n"
        )
    };
    let compose = scene.write("compose.yaml", "services: {}\n");
    let list = scene.write("tdx.csv", row(&"ab".repeat(32)));
    let policy = scene.import(&["secretvm", "--compose", compose, "--artifacts", list]);
    let (text, failed) = scene.verify(&policy);
    assert_eq!(failed, ["policy.workload.registers.rtmr3"], "{text}");
    shows(
        &text,
        &["is NOT what you expect", "workload in RTMR3 526293", "hint: another workload runs there"],
    );
    // Had the register been that of the compose file, it would have been accepted.
    let listed = policy.lines().rfind(|line| line.starts_with("rtmr3 = [")).expect("a rule");
    let policy = policy.replace(listed, &format!("rtmr3 = [\"{}\"]", scene.field("rtmr3")));
    let (text, failed) = scene.verify(&policy);
    assert_eq!(failed, [""; 0], "{text}");
    shows(&text, &["is what you deployed", "TDX quote v4", "UpToDate", "RTMR3 526293"]);
    // Each part of the deployment changes the value.
    let other_root = scene.write("other.csv", row(&"cd".repeat(32)));
    let other = scene.import(&["secretvm", "--compose", compose, "--artifacts", other_root]);
    assert_ne!(listed, other.lines().rfind(|line| line.starts_with("rtmr3 = [")).expect("a rule"));
    // What the list does not have is not made up.
    let arguments =
        ["policy", "import", "secretvm", "--compose", compose, "--artifacts", list, "--version", "v2"];
    let (code, _, error) = scene.run(&arguments);
    assert_eq!(code, 2, "{error}");
    shows(&error, &["lists no build of kind \"prod\" that was asked for, but prod v1"]);
}
