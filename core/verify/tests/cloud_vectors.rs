//! Recorded evidence of clouds: `azure-hcl` and `nitro` of the vectors.

mod recorded;

use casemate_crypto::Provider;
use casemate_crypto::hash::sha256;
use casemate_evidence::azure::{HclReport, ReportType, RuntimeData};
use casemate_evidence::gcp::Instance;
use casemate_evidence::nitro::{Document, Kind};
use casemate_evidence::x509::{Certificate, PublicKey};
use casemate_verify::nitro::authenticate_document;
use casemate_verify::{azure, gcp, nitro};
use recorded::{BACK_ENDS, Vector, for_each_vector, hex};
use serde_json::{Value, json};

#[test]
fn azure_hcl_vectors() {
    for_each_vector("azure-hcl", check_hcl_report);
}

#[test]
fn nitro_vectors() {
    for_each_vector("nitro", check_document);
}

/// The instance in Google's certificates is the one that the subject names.
#[test]
fn gcp_instances_of_certificate_vectors() {
    for_each_vector("tpm-certs", |vector| {
        for leaf in vector.certificates("leaf.pem") {
            let google = vector
                .certificates("roots.pem")
                .iter()
                .any(|root| gcp::ROOTS.contains(&root.public_key_digest()));
            assert_eq!(google, vector.name.contains("gcp"), "{}: built-in roots", vector.name);
            match Instance::of(&leaf) {
                Ok(instance) => {
                    assert!(google, "{}", vector.name);
                    let name = leaf.subject_common_name();
                    assert!(name.is_empty() || name == instance.instance_number.to_string());
                    assert_eq!(instance.security.expect("stated").is_production, Some(true));
                }
                Err(error) => assert!(!google, "{}: {error}", vector.name),
            }
        }
    });
}

fn check_hcl_report(vector: &Vector) {
    let bytes = vector.file("hcl-report.bin");
    let report = HclReport::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    let binds = report.report_data() == report.binding();
    match vector.result() {
        "binding_ok" => assert!(binds, "{}", vector.name),
        "must_fail" => assert!(!binds, "{}", vector.name),
        other => panic!("{}: expected result {other:?} is unknown to this test", vector.name),
    }
    let runtime = report.runtime();
    vector.check_fields(|name, _| match name {
        "signature" => json!("HCLA"),
        "version" => json!(report.version),
        "report_size" => json!(report.report_size),
        "request_type" => json!(report.request_type),
        "runtime_data_size" => json!(report.data_size),
        "report_type" => json!(report.report_type.name()),
        "hash_type" => json!(report.hash.name()),
        "report_data" => hex(report.report_data().as_ref()),
        "runtime_data_sha256" => json!(sha256(&report.runtime_data).to_string()),
        "binding_holds" => json!(binds),
        "vm_configuration" => json!(runtime.as_ref().expect("runtime data").vm_configuration),
        "keys" => {
            runtime.as_ref().expect("runtime data").keys.iter().map(|key| json!(key.id)).collect::<Value>()
        }
        other => panic!("{}: field {other:?} is unknown to this test", vector.name),
    });
    for (name, part) in [("tee-report.bin", &report.tee_report), ("runtime-data.json", &report.runtime_data)]
    {
        if let Some(expected) = vector.optional_file(name) {
            assert_eq!(*part, expected, "{}: {name}", vector.name);
        }
    }
    if let Some(der) = vector.pem("ak.pub.pem").first() {
        let expected = PublicKey::parse_spki(der).expect("a public key");
        let runtime = runtime.expect("runtime data");
        let key = runtime.key(RuntimeData::ATTESTATION_KEY).expect("an attestation key");
        assert_eq!(key.public_key, expected, "{}: attestation key", vector.name);
    }
    if report.report_type == ReportType::Snp {
        let snp = casemate_evidence::snp::Report::parse(&report.tee_report).expect("an SEV-SNP report");
        assert_eq!(snp.report_data(), report.report_data(), "{}", vector.name);
    }
}

fn check_document(vector: &Vector) {
    let bytes = vector.file("attestation.cbor");
    let parsed = match Document::parse_at_start(&bytes) {
        Ok((document, used)) => {
            // Whatever follows a document keeps it from being one.
            assert_eq!(Document::parse(&bytes).is_ok(), used == bytes.len(), "{}", vector.name);
            Ok(document)
        }
        Err(error) => Err(error),
    };
    if let Ok(document) = &parsed {
        vector.check_fields(|name, expected| document_field(document, name, expected));
    }
    for provider in BACK_ENDS {
        let context = format!("{} with {}", vector.name, provider.name());
        let verify = |now_ms| -> Result<(), String> {
            let document = parsed.clone().map_err(|error| error.to_string())?;
            authenticate_document(document, &nitro::ROOTS, now_ms, provider)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        match vector.result() {
            "verify_ok" => {
                let window = vector.window();
                for now_ms in [window.start, window.middle(), window.end] {
                    verify(now_ms).unwrap_or_else(|error| panic!("{context} at {now_ms}: {error}"));
                }
                assert!(verify(window.start - 1000).is_err(), "{context}: before its window");
                assert!(verify(window.end + 1000).is_err(), "{context}: after its window");
            }
            "must_fail" => {
                let has_window = vector.json["expected"].get("valid_from").is_some();
                // Without a window: when the document says that it was made.
                let made_ms = parsed.as_ref().map_or(0, |document| document.timestamp_ms);
                let now_ms = if has_window { vector.window().middle() } else { made_ms };
                assert!(verify(now_ms).is_err(), "{context}: must be refused");
            }
            other => panic!("{context}: expected result {other:?} is unknown to this test"),
        }
        if let (Ok(document), Some(checks)) = (&parsed, vector.fields().get("checks")) {
            for (name, expected) in checks.as_object().expect("checks are an object") {
                let found = document_check(vector, document, name, provider);
                if name != "parse" {
                    assert_eq!(json!(found), *expected, "{context}: {name}");
                } else {
                    assert!(!found, "{context}: the certificate cannot be read");
                }
            }
        }
    }
}

fn document_field(document: &Document, name: &str, expected: &Value) -> Value {
    let optional = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(Value::Null, |bytes| hex(bytes));
    match name {
        "module_id" => json!(document.module_id),
        "timestamp_ms" => json!(document.timestamp_ms),
        "digest" => json!("SHA384"),
        "pcrs" | "nitrotpm_pcrs" => {
            assert_eq!(document.kind == Kind::Enclave, name == "pcrs");
            document.pcrs.iter().map(|(index, value)| (index.to_string(), hex(value))).collect()
        }
        "user_data" => optional(&document.user_data),
        "nonce" => optional(&document.nonce),
        "public_key" => optional(&document.public_key),
        "debug_mode" => json!(document.is_debug()),
        "checks" => expected.clone(), // compared on their own
        other => panic!("field {other:?} is unknown to this test"),
    }
}

/// One check by itself, as the vectors list them.
fn document_check(vector: &Vector, document: &Document, name: &str, provider: &dyn Provider) -> bool {
    use casemate_verify::nitro::DocumentError as E;
    let now_ms = Certificate::parse(&document.certificate).map_or(0, |leaf| leaf.not_before_ms());
    let answer = authenticate_document(document.clone(), &nitro::ROOTS, now_ms, provider);
    match name {
        "signature" => answer.is_ok(),
        "chain" => !matches!(answer, Err(E::Path(_) | E::Certificate(_))),
        "root_is_aws" => {
            let root = vector.certificates("root.pem").remove(0);
            nitro::ROOTS.contains(&root.public_key_digest())
                && Certificate::parse(&document.cabundle[0]).is_ok_and(|first| first == root)
        }
        "parse" => !matches!(answer, Err(E::Certificate(_))),
        other => panic!("check {other:?} is unknown to this test"),
    }
}

/// The root of Azure's vTPM certificates is built in.
#[test]
fn azure_roots_of_quote_vectors() {
    for_each_vector("tpm-quote", |vector| {
        let roots = vector.certificates("roots.pem");
        if !roots.is_empty() {
            assert!(roots.iter().any(|root| azure::ROOTS.contains(&root.public_key_digest())));
        }
    });
}
