//! Recorded evidence of TDX clouds, AWS, Azure and TPMs through the command: the tree names platform, TCB and
//! workload, and says what is not established.
//!
//! The vectors are not part of the project. Without them these tests say so and pass, except in CI.

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_crypto::hash::sha256;
use casemate_verify::{Policy, Section};
use serde_json::Value;

/// The files of the vectors, which are there, or the test has nothing to do.
fn vectors(names: &[&str]) -> Option<Vec<PathBuf>> {
    let root = std::env::var_os("CASEMATE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root.display());
        eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root.display());
        return None;
    }
    Some(names.iter().map(|name| root.join(name)).collect())
}

/// The policy for strangers with these sections, and hardware of any age.
fn policy(sections: &[Section]) -> String {
    let text = Policy::hardware_only();
    let text = sections.iter().fold(text, |text, section| Policy::with_section(&text, *section));
    text.lines()
        .map(|line| match line.split(" = ").next().unwrap_or_default() {
            part @ ("fmc" | "bootloader" | "tee" | "snp") => format!("{part} = 0\n"),
            "microcode" if line.contains("Milan-X") => "microcode = { Milan = 0, Milan-X = 0 }\n".to_owned(),
            "microcode" if line.contains("Genoa-X") => {
                "microcode = { Genoa = 0, Genoa-X = 0, Bergamo = 0 }\n".to_owned()
            }
            "microcode" => "microcode = { Turin = 0, Turin-Dense = 0 }\n".to_owned(),
            "alias_check" => "alias_check = \"any\"\n".to_owned(),
            "minimum_tcb_evaluation_number" => "minimum_tcb_evaluation_number = \"any\"\n".to_owned(),
            "maximum_age_seconds" => "maximum_age_seconds = 30000\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect()
}

/// `casemate verify FILES`: its exit code and what it prints.
fn verify(files: &[PathBuf], policy: &str, at_ms: u64) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, policy).expect("scratch is writable");
    let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["--offline", "verify", "--policy"])
        .arg(&path)
        .args(["--at", &casemate_cli::clock::utc(at_ms)])
        .args(files)
        .current_dir(folder.path())
        .env_clear()
        .env("CASEMATE_HOME", folder.path().join("home"))
        .output()
        .expect("casemate can be started");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[track_caller]
fn shows(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

#[test]
fn trust_domains_of_secretvm_and_dstack_show_platform_workload_and_what_is_open() {
    for (name, workload) in [
        ("tdx-v4-secretvm-kms-b", "RTMR3 526293"),
        ("tdx-v4-secretvm-rest", "MRCONFIGID 000000"),
        ("tdx-v4-dstack-lite", "dstack app 86b0e5"),
        ("tdx-v4-dstack-verifier", "RTMR3 0f787c"),
        ("tdx-v4-phala-near", "dstack app 12a20a"),
    ] {
        let folder = format!("tdx/{name}");
        let Some(files) = vectors(&[&format!("{folder}/quote.bin"), &format!("{folder}/vector.json")]) else {
            return;
        };
        let runs = &json(&files[1])["expected"]["runs"];
        let run =
            runs.as_array().expect("a vector has runs").iter().find(|run| run["tcb_status"] == "UpToDate");
        let run = run.unwrap_or_else(|| panic!("{name}: no run is up to date"));
        let collateral = run["collateral"].as_str().expect("a file");
        let files = [files[0].clone(), files[0].with_file_name(collateral)];
        let at_ms = run["timestamp"].as_u64().expect("a time") * 1000;
        let (code, text) = verify(&files, &policy(&[]), at_ms);
        assert_eq!(code, 0, "{name}\n{text}");
        shows(&text, &["VERIFIED", "TDX quote v4", "FMSPC", "UpToDate", "Intel SGX Root CA", workload]);
        shows(&text, &["Not established: ", "which image was launched", "which workload runs"]);
    }
}

#[test]
fn a_recorded_vm_of_azure_shows_all_its_layers() {
    let Some(files) = vectors(&[
        "azure-hcl/azure-snp-coco-genoa/hcl-report.bin",
        "snp/genoa-v3-azure/vcek.der",
        "snp/genoa-v3-azure/cert_chain.pem",
        "tpm-quote/azure-snp-coco-genoa/quote.msg",
        "tpm-quote/azure-snp-coco-genoa/quote.sig",
        "tpm-quote/azure-snp-coco-genoa/pcrs.json",
    ]) else {
        return;
    };
    let vector = json(&files[1].with_file_name("vector.json"));
    let at = vector["expected"]["valid_from"].as_str().expect("a time").replace("+00:00", "Z");
    let at_ms = at.parse::<casemate_cli::clock::Moment>().expect("a time").0 + 1000;
    let sections = [Section::Tpm, Section::Azure];
    let (code, text) = verify(&files, &policy(&sections), at_ms);
    assert_eq!(code, 0, "{text}");
    shows(
        &text,
        &["VERIFIED", "Azure confidential VM; SEV-SNP report v3, product Genoa", "VCEK", "bootloader"],
    );
    shows(&text, &["paravisor", "quote of 24 PCRs of sha256", "Not established: ", "which workload runs"]);
    // Without rules it is refused by name.
    let (code, text) = verify(&files, &policy(&[]), at_ms);
    assert_ne!(code, 0, "{text}");
    shows(&text, &["REFUSED", "Azure", "hint: add the platform's rules"]);
    // The report and the quote of two machines.
    let mut other = files.clone();
    for file in &mut other[3..] {
        let name = file.file_name().expect("a name").to_owned();
        *file = file.parent().and_then(Path::parent).expect("a folder").join("azure-snp-coco-v2").join(name);
    }
    let (code, text) = verify(&other, &policy(&sections), at_ms);
    assert_ne!(code, 0, "{text}");
    shows(&text, &["NO genuine evidence", "signature of the quote"]);
}

#[test]
fn a_recorded_quote_of_google_shows_its_registers_and_log() {
    let folder = "tpm-quote/gcp-cos85-nonce-sha256";
    let names = ["quote.msg", "quote.sig", "pcrs.json", "ak.tpmt_public.bin", "ak.pub.pem", "eventlog.bin"];
    let paths: Vec<String> = names.iter().map(|name| format!("{folder}/{name}")).collect();
    let Some(files) = vectors(&paths.iter().map(String::as_str).collect::<Vec<_>>()) else { return };
    let pem = std::fs::read(&files[4]).expect("readable");
    let (_, der) = der::pem::decode_vec(&pem).expect("PEM");
    let listed = format!("keys = [\"{}\"]", sha256(&der));
    let text = policy(&[Section::Tpm, Section::Events]).replace("keys = \"none\"", &listed);
    let (code, shown) = verify(&files, &text, 1_767_225_600_000);
    assert_eq!(code, 0, "{shown}");
    shows(&shown, &["VERIFIED", "TPM 2.0", "enrolled by the Verifier", "quote of 24 PCRs of sha256"]);
    shows(&shown, &["event log", "events explain register 0", "that a TEE hides memory"]);
    // Nobody vouches for the key.
    let nobody = policy(&[Section::Tpm, Section::Events, Section::Nitro]);
    let (code, shown) = verify(&files, &nobody, 1_767_225_600_000);
    assert_ne!(code, 0, "{shown}");
    shows(&shown, &["NO genuine evidence", "attestation key", "hint: enrol the key"]);
}

#[test]
fn recorded_documents_of_aws_show_enclave_and_hypervisor() {
    for name in ["base-a", "base-b", "dstack-nsm"] {
        let folder = format!("nitro/{name}");
        let Some(files) = vectors(&[&format!("{folder}/attestation.cbor")]) else { return };
        let fields = json(&files[0].with_file_name("vector.json"));
        let at_ms = fields["fields"]["timestamp_ms"].as_u64().expect("a time") + 1000;
        let text =
            policy(&[Section::Nitro]).replace("debug = \"forbidden\"\nmodules", "debug = \"any\"\nmodules");
        let (code, shown) = verify(&files, &text, at_ms);
        assert_eq!(code, 0, "{name}\n{shown}");
        shows(&shown, &["VERIFIED", "AWS Nitro enclave", "aws.nitro-enclaves", "the cloud's hypervisor"]);
        let (code, shown) = verify(&files, &policy(&[]), at_ms);
        assert_ne!(code, 0, "{shown}");
        shows(&shown, &["REFUSED", "AWS Nitro"]);
    }
}
