//! What `inspect` says of files that are not what they seem, and of many.

#[path = "../../verify/tests/vector/folders.rs"]
mod folders;

use casemate_evidence::bundle::{Bundle, Item, TpmKey};
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

/// A recorded file; without vectors nothing is asked, except in CI.
fn recorded(name: &str) -> Option<Vec<u8>> {
    if !folders::root().is_dir() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no vectors in {}; CI needs them",
            folders::root().display()
        );
        return None;
    }
    Some(std::fs::read(folders::root().join(name)).expect("a file of a vector"))
}

#[test]
fn a_check_of_several_holds_if_it_holds_of_each() {
    let names = [
        "hopper-coco-a/report.bin",
        "hopper-coco-a/cert_chain.pem",
        "hopper-sdk-invalid-signature/report.bin",
    ];
    let files: Option<Vec<_>> = names.iter().map(|name| recorded(&format!("nvidia-report/{name}"))).collect();
    let Some(files) = files else { return };
    let holds = |order: &[usize]| {
        let files: Vec<&[u8]> = order.iter().map(|index| files[*index].as_slice()).collect();
        inspect(&files)["inspection"]["checks"]["device_signature"].clone()
    };
    assert_eq!(holds(&[0, 1]), json!(true));
    assert_eq!(holds(&[0, 1, 2]), json!(false));
    assert_eq!(holds(&[2, 1, 0]), json!(false));
}

#[test]
fn of_more_lists_than_are_looked_at_no_signature_is_said_to_hold() {
    let (Some(list), Some(root)) =
        (recorded("snp-certs/crl-milan-2022/crl.der"), recorded("snp-certs/crl-milan-2022/ark.pem"))
    else {
        return;
    };
    let signed = |count: usize| {
        let key = TpmKey { revocation_lists: vec![list.clone().into(); count], ..TpmKey::empty() };
        let bundle = Bundle::new([Item::TpmKey(key)]).to_bytes();
        inspect(&[&bundle, &root])["inspection"]["files"][0]["content"]["items"][0]["signed_by_issuer"]
            .clone()
    };
    assert_eq!((signed(1), signed(64), signed(65)), (json!(true), json!(true), Value::Null));
}
