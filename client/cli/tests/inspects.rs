//! `casemate inspect` shows every kind of file that `casemate verify` knows, and `casemate endorsements import` keeps
//! what services write about Intel's platforms.
//!
//! The vectors are not part of the project. Without them these tests say so and pass, except in CI.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A file of the vectors, its kind as `inspect` names it, and members that it must show.
const FILES: &[(&str, &str, &[&str])] = &[
    ("snp/milan-v3-dstack/report.bin", "snp-report", &["/report/measurement"]),
    ("tdx/tdx-v4-dstack-lite/quote.bin", "tdx-quote", &["/report/mr_config_id", "/report/rtmr/3"]),
    ("sgx/sgx-v3-phala/quote.bin", "sgx-quote", &["/report/mr_enclave"]),
    (
        "tdx/tdx-v4-dstack-lite/collateral.json",
        "intel-collateral",
        &["/root/subject", "/pck_revocation_list/issuer"],
    ),
    ("nitro/base-a/attestation.cbor", "nitro-document", &["/module_id", "/pcrs/0", "/certificate/subject"]),
    (
        "azure-hcl/azure-snp-coco-genoa/hcl-report.bin",
        "azure-report",
        &["/report/measurement", "/keys/0/key_sha256"],
    ),
    ("azure-hcl/azure-tdx-flashbots/hcl-report.bin", "azure-report", &["/report/bytes", "/vm_configuration"]),
    ("tpm-quote/gcp-cos85-nonce-sha256/quote.msg", "tpm-quote", &["/about/pcr_digest", "/clock/reset_count"]),
    ("tpm-quote/gcp-cos85-nonce-sha256/quote.sig", "tpm-signature", &["/bytes"]),
    ("tpm-quote/gcp-cos85-nonce-sha256/pcrs.json", "tpm-pcrs", &["/values/0/value"]),
    ("tpm-quote/gcp-cos85-nonce-sha256/ak.tpmt_public.bin", "tpm-public-area", &["/name", "/key/type"]),
    ("tpm-quote/gcp-cos85-nonce-sha256/ak.pub.pem", "public-key", &["/key_sha256"]),
    ("tpm-quote/gcp-cos85-nonce-sha256/eventlog.bin", "event-log", &["/format", "/events/1/digests/0"]),
    ("ccel/dstack/ccel.bin", "event-log", &["/of", "/events/1/register"]),
    (
        "ima/keylime-boot-aggregate/ascii_runtime_measurements",
        "ima-list",
        &["/entries/0/name", "/entries/0/digest"],
    ),
    (
        "nvidia-report/hopper-coco-a/report.bin",
        "nvidia-report",
        &[
            "/request/nonce",
            "/driver_version",
            "/vbios_version",
            "/board/2",
            "/measurements/63/value",
            "/opaque/3/text",
        ],
    ),
    ("nvidia-report/switch-ppcie-1/report.bin", "nvidia-report", &["/vbios_version", "/signature"]),
    (
        "nvidia-rim/vbios-1010-0200-882-96005e0001-prod/rim.xml",
        "nvidia-manifest",
        &["/product", "/version", "/measurements/0/values", "/certificates/0/subject"],
    ),
    ("snp-certs/crl-milan-2022/crl.der", "revocation-list", &["/issuer"]),
    ("snp/milan-v3-dstack/vcek.der", "certificates", &["/certificates/0/snp/product"]),
];

/// The folder of the vectors, or nothing to do.
fn vectors() -> Option<PathBuf> {
    let root = std::env::var_os("CASEMATE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root.display());
    eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root.display());
    None
}

fn casemate(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .arg("--offline")
        .args(arguments)
        .env_clear()
        .env("CASEMATE_HOME", home)
        .output()
        .expect("casemate can be started");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn vector_files_of_every_kind_are_shown_field_by_field() {
    let Some(root) = vectors() else { return };
    let folder = tempfile::tempdir().expect("a scratch folder");
    for (name, kind, members) in FILES {
        let path = root.join(name);
        let file = path.to_str().expect("a path in UTF-8");
        let (code, text, error) = casemate(folder.path(), &["--json", "inspect", file]);
        assert_eq!(code, 0, "{name}: {error}");
        let shown: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(shown["kind"], *kind, "{name}");
        for member in *members {
            assert!(
                shown.pointer(member).is_some_and(|value| !value.is_null()),
                "{name}: no {member} in\n{text}"
            );
        }
        let (_, text, _) = casemate(folder.path(), &["inspect", file]);
        assert!(text.contains("Nothing of this is verified"), "{name}");
    }
}

#[test]
fn what_breaks_its_format_is_refused_by_its_kind() {
    let Some(root) = vectors() else { return };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let cut = folder.path().join("cut");
    for (name, message) in [
        ("snp/milan-v3-dstack/report.bin", "no SEV-SNP report"),
        ("tdx/tdx-v4-dstack-lite/quote.bin", "is no TDX quote"),
        ("nitro/base-a/attestation.cbor", "is no AWS attestation document"),
        ("azure-hcl/azure-snp-coco-genoa/hcl-report.bin", "is no Azure HCL report"),
        ("tpm-quote/gcp-cos85-nonce-sha256/quote.msg", "is no TPM quote"),
        ("tpm-quote/gcp-cos85-nonce-sha256/ak.tpmt_public.bin", "is no public area of a TPM's key"),
        ("tpm-quote/gcp-cos85-nonce-sha256/eventlog.bin", "is no event log"),
        ("ima/keylime-boot-aggregate/ascii_runtime_measurements", "is no IMA list"),
        ("nvidia-report/hopper-coco-a/report.bin", "is no NVIDIA device report"),
        ("nvidia-rim/vbios-1010-0200-882-96005e0001-prod/rim.xml", "is no NVIDIA manifest"),
    ] {
        let bytes = std::fs::read(root.join(name)).expect("readable");
        std::fs::write(&cut, &bytes[..60]).expect("scratch is writable");
        let (code, _, error) = casemate(folder.path(), &["inspect", cut.to_str().expect("a path")]);
        assert_eq!(code, 4, "{name}: {error}");
        assert!(error.contains(message), "{name}: {error}");
    }
}

/// Names come from strangers as values do, and may be of any length.
#[test]
fn a_list_of_the_kernel_cannot_steer_a_terminal() {
    let Some(root) = vectors() else { return };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut list =
        std::fs::read(root.join("ima/keylime-boot-aggregate/ascii_runtime_measurements")).expect("readable");
    list.extend(b"\n10 x \x1b]0;name\x07\rchecks sha256:00 y\n");
    list.extend([b"10 x ".as_slice(), &[b'a'; 70_000], b" y\n"].concat());
    let path = folder.path().join("list");
    std::fs::write(&path, list).expect("scratch is writable");
    let (code, text, error) = casemate(folder.path(), &["inspect", path.to_str().expect("a path")]);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("templates.?]0;name??checks"), "{}", &text[..2000.min(text.len())]);
    assert!(text.bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()));
}

#[test]
fn collateral_that_services_write_is_imported() {
    let Some(root) = vectors() else { return };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let home = folder.path().join("home");
    let vector = root.join("tdx/tdx-v4-dstack-lite");
    let (file, quote) = (vector.join("collateral.json"), vector.join("quote.bin"));
    let [file, quote] = [&file, &quote].map(|path| path.to_str().expect("a path"));
    let at = casemate_cli::clock::utc(1_780_923_262_000);
    let (code, text, error) = casemate(&home, &["endorsements", "import", file, "--at", &at]);
    assert_eq!(code, 0, "{text}{error}");
    assert!(text.contains("kept     collateral of"), "{text}");
    // The quote alone finds it, without a network.
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, casemate_verify::Policy::hardware_only()).expect("scratch is writable");
    let policy = policy.to_str().expect("a path");
    let (code, text, error) = casemate(&home, &["verify", "--policy", policy, "--at", &at, quote]);
    assert_eq!(code, 0, "{text}{error}");
    assert!(text.contains("UpToDate"), "{text}");
    // A year later it no longer holds, and is not kept.
    let late = casemate_cli::clock::utc(1_812_000_000_000);
    let (code, text, _) =
        casemate(&folder.path().join("late"), &["endorsements", "import", file, "--at", &late]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("refused"), "{text}");
    // A part alone is not enough.
    let json: Value = serde_json::from_slice(&std::fs::read(file).expect("readable")).expect("JSON");
    let member = |name: &str| json[name].as_str().expect("a text").to_owned();
    let answer =
        format!("{{\"tcbInfo\":{},\"signature\":\"{}\"}}", member("tcb_info"), member("tcb_info_signature"));
    let part = folder.path().join("tcb.json");
    std::fs::write(&part, answer).expect("scratch is writable");
    let (code, _, error) = casemate(&home, &["endorsements", "import", part.to_str().expect("a path")]);
    assert_ne!(code, 0);
    assert!(
        error.contains("the identity of the Quoting Enclave") && error.contains("is not there"),
        "{error}"
    );
}
