//! What does a person see, to the letter?

mod scene;

use std::path::Path;

use scene::Scene;

/// Writes an OCI layout of one layer with one file.
fn layout(folder: &Path, content: &str) {
    use casemate_crypto::hash::sha256;

    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = sha256(bytes);
        std::fs::write(blobs.join(digest.to_string()), bytes).unwrap();
        format!("sha256:{digest}")
    };
    let mut header = tar::Header::new_ustar();
    header.set_path("srv/page").unwrap();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, content.as_bytes()).unwrap();
    let layer = archive.into_inner().unwrap();
    let layer_digest = put(&layer);
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": { "Cmd": ["/web"] },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
    });
    let config_bytes = serde_json::to_vec(&config).unwrap();
    let config_digest = put(&config_bytes);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config_bytes.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len() }],
    });
    let manifest_bytes = serde_json::to_vec(&manifest).unwrap();
    let manifest_digest = put(&manifest_bytes);
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest_digest, "size": manifest_bytes.len() }],
    });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn a_refused_key_is_named_with_its_place() {
    let scene = Scene::new();
    scene.write("compose.yaml", "services:\n  web:\n    image: oci:web\n    network_mode: host\n");
    scene.fails(
        &["lock"],
        5,
        "error: ./compose.yaml:4:5: not supported by the lite profile: 'network_mode' in a service; all services \
         share one private network; remove it\nhint: docs/reference/compose.md lists what is supported, and why\n",
    );
}

#[test]
fn a_missing_compose_file_says_where_it_was_looked_for() {
    Scene::new().fails(
        &["lock"],
        5,
        "error: no compose file at .\nhint: go to the folder of your compose.yaml, or name it: `casemate up PATH`\n",
    );
}

#[test]
fn a_missing_secret_is_named_before_anything_starts() {
    let scene = Scene::new();
    scene.write("compose.yaml", "services: {web: {image: \"oci:web\", environment: {KEY: \"${KEY}\"}}}\n");
    scene.fails(
        &["up"],
        5,
        "error: no value for KEY\nhint: set them in the environment or in .env; they reach the guest only after it \
         was verified\n",
    );
}

#[test]
fn images_are_locked_once_and_a_change_is_refused() {
    let scene = Scene::new();
    scene.write("compose.yaml", "services: {web: {image: \"oci:web\", hostname: \"${NAME}\"}}\n");
    layout(&scene.app().join("web"), "one");
    let environment = [("NAME", "web")];
    let first = scene.run_with(&["--quiet", "lock", "--json"], &environment);
    assert!(first.status.success(), "{}", scene.plain(&first.stderr));
    let locked: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(locked["variables"]["NAME"], "web");
    assert_eq!(locked["image"]["web"]["root_hash"].as_str().unwrap().len(), 64);

    // The same again gives the same, from the lock alone.
    let again = scene.run(&["--quiet", "lock", "--json"]);
    assert_eq!(again.stdout, first.stdout, "{}", scene.plain(&again.stderr));

    layout(&scene.app().join("web"), "two");
    let changed = scene.run(&["--quiet", "lock"]);
    let said = scene.plain(&changed.stderr);
    assert_eq!(changed.status.code(), Some(5));
    assert!(said.starts_with("error: image of service 'web' is "), "{said}");
    assert!(said.ends_with("hint: if this change is meant: `casemate lock --update`\n"), "{said}");
    assert!(scene.run_with(&["--quiet", "lock", "--update"], &environment).status.success());

    let renamed = scene.run_with(&["--quiet", "lock"], &[("NAME", "other")]);
    assert_eq!(
        scene.plain(&renamed.stderr),
        "error: variable NAME is 'other' here, compose.lock pins 'web'\nhint: if this change is meant: `casemate \
         lock --update`\n"
    );
}

#[test]
fn a_damaged_layer_is_refused() {
    let scene = Scene::new();
    scene.write("compose.yaml", "services: {web: {image: \"oci:web\"}}\n");
    layout(&scene.app().join("web"), "one");
    for entry in std::fs::read_dir(scene.app().join("web/blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.starts_with(b"srv/page") {
            bytes[512] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let output = scene.run(&["--quiet", "lock"]);
    let said = scene.plain(&output.stderr);
    assert_eq!(output.status.code(), Some(5));
    assert!(said.starts_with("error: blob ") && said.contains(" of oci:web has digest "), "{said}");
}

#[test]
fn the_owner_key_is_made_once_and_opens_with_its_passphrase_only() {
    let scene = Scene::new();
    scene.fails(
        &["key", "show"],
        6,
        "error: there is no owner key yet\nhint: make one: `casemate key create`\n",
    );
    let short = scene.run_with(&["key", "create"], &[("CASEMATE_KEY_PASSPHRASE", "short")]);
    assert_eq!(
        scene.plain(&short.stderr),
        "error: the passphrase has 5 characters, at least 8 are needed\nhint: choose a longer one\n"
    );
    let made = scene.run_with(&["key", "create"], &[("CASEMATE_KEY_PASSPHRASE", "correct horse")]);
    assert!(made.status.success());
    let shown = scene.run(&["key", "show"]);
    assert_eq!(shown.stdout, made.stdout);
    assert_eq!(shown.stdout.len(), 129);
    let stored = std::fs::read_to_string(scene.home().join("keys/owner.toml")).unwrap();
    assert!(!stored.contains("correct horse"));
}

#[test]
fn json_failures_are_one_object_on_stderr() {
    let scene = Scene::new();
    let output = scene.run(&["--json", "ps"]);
    assert_eq!(output.status.code(), Some(7));
    let said: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(said["exit"], 7);
    assert!(said["hint"].as_str().unwrap().contains("casemate local status"));
}

#[test]
fn what_was_not_deployed_from_here_is_not_verified_on_a_validators_word() {
    Scene::new().fails(
        &["verify", "notes"],
        1,
        "error: nothing was deployed as 'notes' from here\nhint: `casemate ps` lists what runs; to verify what \
         others run, give its address or evidence file\n",
    );
}

/// A report that nobody signed.
fn report() -> Vec<u8> {
    use casemate_evidence::snp::{Layout, ReportBuilder};

    ReportBuilder::new(Layout::V2, [0; 8].into()).finish(&[1; 96].into()).as_bytes().to_vec()
}

#[test]
fn evidence_without_certificates_is_not_judged() {
    let scene = Scene::new();
    std::fs::write(scene.app().join("report.bin"), report()).unwrap();
    scene.fails(
        &["verify", "report.bin", "--offline"],
        10,
        "error: no certificates for chip 000000..0000 at TCB 0000000000000000 in SCRATCH/home/endorsements; fetch or \
         import them while there is a network\nhint: give the certificates: --leaf vcek.der --chain chain.pem; or \
         fetch them where there is a network and bring them along: `casemate endorsements export`, `import`\n",
    );
}

#[test]
fn what_a_report_says_is_shown_and_marked_as_unverified() {
    let scene = Scene::new();
    std::fs::write(scene.app().join("report.bin"), report()).unwrap();
    let output = scene.run(&["inspect", "report.bin"]);
    assert!(output.status.success(), "{}", scene.plain(&output.stderr));
    let said = scene.plain(&output.stdout);
    let signing_key = said.lines().find(|line| line.starts_with("report.key_info_bits.signing_key"));
    assert_eq!(signing_key.and_then(|line| line.split_whitespace().nth(1)), Some("VCEK"), "{said}");
    assert!(said.ends_with("Nothing of this is verified: `casemate verify` does that.\n"), "{said}");
    scene.fails(
        &["endorsements", "import", "report.bin", "--offline"],
        2,
        "error: report.bin is no certificate and no list (SEV-SNP report): nothing that is kept here\nhint: \
         `casemate endorsements fetch` fetches what endorses a report\n",
    );
    scene.write("cut", "");
    std::fs::write(scene.app().join("cut"), &report()[..100]).unwrap();
    let cut = scene.run(&["inspect", "cut"]);
    assert_eq!(cut.status.code(), Some(4));
    assert!(
        scene.plain(&cut.stderr).starts_with("error: cut is no SEV-SNP report: 100 bytes, expected 1184")
    );
}

#[test]
fn a_moment_is_written_in_utc() {
    let scene = Scene::new();
    let output = scene.run(&["verify", "report.bin", "--at", "yesterday"]);
    assert_eq!(output.status.code(), Some(2));
    let said = scene.plain(&output.stderr);
    assert!(said.contains("'yesterday' is no time; write it in UTC, such as 2026-05-01T00:00:00Z"), "{said}");
}

#[test]
fn an_empty_store_of_endorsements_says_so() {
    let scene = Scene::new();
    let output = scene.run(&["endorsements", "status"]);
    assert_eq!(scene.plain(&output.stdout), "nothing is kept in SCRATCH/home/endorsements\n");
    assert!(output.status.success());
}

#[test]
fn a_file_that_is_no_evidence_is_refused() {
    let scene = Scene::new();
    scene.write("evidence", "nothing");
    let output = scene.run(&["verify", "evidence"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        scene.plain(&output.stderr).starts_with("error: evidence is no evidence, certificate or list that")
    );
}

#[test]
fn a_check_is_explained_by_its_code() {
    let scene = Scene::new();
    let output = scene.run(&["explain", "policy.minimum_tcb.microcode"]);
    assert!(output.status.success(), "{}", scene.plain(&output.stderr));
    assert_eq!(
        scene.plain(&output.stdout),
        "policy.minimum_tcb.microcode  (microcode)\n  The version of the microcode is not lower than the policy's \
         floor for this design, now and at\n  launch.\n  If not: AMD-SB-3019 (EntrySign): reports of older microcode \
         can be forged.\n  From: AMD 56860, SEV-SNP Firmware ABI, TCB_VERSION; AMD's security bulletins\n  To do: have \
         the guest or its machine changed to what the policy demands; if the difference is\n  meant, change \
         `minimum_tcb.microcode` in the policy\n"
    );
    let all = scene.run(&["explain", "--json"]);
    let all: Vec<serde_json::Value> = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(all.len(), casemate_verify::Code::ALL.len());
    let family = scene.run(&["explain", "caller.session", "--json"]);
    let family: Vec<serde_json::Value> = serde_json::from_slice(&family.stdout).unwrap();
    assert!(
        family.len() > 5 && family.iter().all(|row| row["code"].as_str().unwrap().starts_with("caller."))
    );
    scene.fails(
        &["explain", "snp.microcode"],
        2,
        "error: no check is called 'snp.microcode'\nhint: similar: policy.minimum_tcb.microcode\n",
    );
    scene.fails(
        &["explain", "nothing"],
        2,
        "error: no check is called 'nothing'\nhint: `casemate explain` lists all checks\n",
    );
}
