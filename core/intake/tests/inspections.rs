//! What `inspect` says of files that are not what they seem, each by itself.

use casemate_intake::{File, Sorted, call};
use serde_json::{Value, json};

fn inspect(files: &[&[u8]]) -> Value {
    let files: Vec<File<'_>> = files.iter().map(|bytes| File { name: "it", bytes }).collect();
    let reply = call(br#"{"inspect":{"at_ms":0}}"#, &files, casemate_crypto::provider());
    serde_json::from_str(&reply).expect("a reply is JSON")
}

/// The code and the message of the error in the place of the first file.
fn refused(file: &[u8]) -> (String, String) {
    let reply = inspect(&[file]);
    let error = &reply["inspection"]["files"][0]["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("no {name}: {reply}")).to_owned();
    (text("code"), text("message"))
}

#[test]
fn a_file_that_breaks_its_format_does_not_hide_the_others() {
    let pcrs = json!({ "sha256": { "7": "07".repeat(32) } }).to_string();
    let reply = inspect(&[&[3; 1184], &[9], pcrs.as_bytes()]);
    let files = &reply["inspection"]["files"];
    assert_eq!(files[0]["error"]["code"], "format", "{reply}");
    assert_eq!(files[1]["error"]["code"], "unknown", "{reply}");
    let value = json!({ "bank": "sha256", "index": 7, "value": "07".repeat(32) });
    assert_eq!(files[2]["content"], json!({ "kind": "tpm_pcrs", "values": [value] }), "{reply}");
    assert_eq!(reply["inspection"]["checks"], json!({}));
}

#[test]
fn each_kind_that_breaks_its_format_is_named() {
    for (begin, length, message) in [
        (&[3, 0, 0, 0][..], 1184, "it is no SEV-SNP report: "),
        (&[4, 0, 2, 0, 0x81, 0, 0, 0], 60, "it is no TDX quote: "),
        (&[3, 0, 2, 0, 0, 0, 0, 0], 60, "it is no SGX quote: "),
        (&[0x84, 0x44, 0xA1, 0x01, 0x38, 0x22], 60, "it is no AWS attestation document: "),
        (b"HCLA", 60, "it is no Azure HCL report: "),
        (b"\xFFTCG\x80\x18", 60, "it is no TPM quote: "),
        (&[0, 0, 0, 0, 3, 0, 0, 0], 20, "it is no event log: "),
        (&[0x11, 0xE0, 1, 0xFF], 60, "it is no NVIDIA device report: "),
        (b"<SoftwareIdentity ", 60, "it is no NVIDIA manifest: "),
    ] {
        let mut file = begin.to_vec();
        file.resize(length, 0);
        let (code, found) = refused(&file);
        assert_eq!(code, "format", "{found}");
        assert!(found.starts_with(message), "{found}");
    }
}

#[test]
fn a_list_is_one_if_a_line_of_it_can_be_believed() {
    let digits = "00".repeat(20);
    // A violation: zeros for the template's hash, and nothing to check.
    let good = format!("10 {digits} ima-ng sha1:{digits} /x\n");
    let bad = format!("10 {} ima-ng sha1:{digits} /x\n", "11".repeat(20));
    let reply = inspect(&[format!("{good}{bad}").as_bytes()]);
    let list = &reply["inspection"]["files"][0]["content"];
    assert_eq!((&list["entry_count"], &list["violations"]), (&json!(2), &json!(1)), "{reply}");
    assert_eq!(list["refused"][0]["line"], 2, "{reply}");
    let (code, message) = refused(bad.as_bytes());
    assert_eq!(code, "format");
    assert!(message.starts_with("it is no IMA list: "), "{message}");
}

#[test]
fn files_and_certificates_are_bounded() {
    let files = vec![&b"x"[..]; Sorted::MAXIMUM_FILES + 1];
    assert_eq!(inspect(&files)["error"]["code"], "too_many");
    // Vendors of TPMs publish many in one file.
    let (code, message) =
        refused("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".repeat(65).as_bytes());
    assert_eq!(code, "certificates");
    assert!(message.contains("64"), "{message}");
}

#[test]
fn refusals_of_a_list_are_counted_and_the_first_of_them_listed() {
    let digits = "00".repeat(20);
    let file = format!("10 {digits} ima-ng sha1:{digits} /x\n{}", "10 x\n".repeat(100_000));
    let reply = inspect(&[file.as_bytes()]);
    let content = &reply["inspection"]["files"][0]["content"];
    assert_eq!(content["template_hash_mismatch"], 100_000);
    assert_eq!(content["refused"].as_array().map(Vec::len), Some(256));
}
