//! What clouds add to a TEE.

use casemate_crypto::hash::Sha256;
use casemate_evidence::azure::{HclReport, RuntimeData};
use casemate_evidence::nitro::Document;
use casemate_evidence::x509::Certificate;
use casemate_verify::nitro::authenticate_document;

use crate::{Gullible, Target, Vectors};

pub const AZURE: Target =
    Target { name: "azure-hcl", maximum_len: 16 << 10, check: azure, seeds: hcl_reports };
pub const NITRO: Target = Target {
    name: "nitro",
    maximum_len: 16 << 10,
    check: nitro,
    seeds: |vectors: &Vectors| vectors.files("nitro", &["attestation.cbor"]),
};

fn azure(bytes: &[u8]) {
    runtime(bytes);
    let Ok(report) = HclReport::parse(bytes) else { return };
    let _ = (report.binding(), report.report_data());
    runtime(&report.runtime_data);
}

fn runtime(bytes: &[u8]) {
    if let Ok(runtime) = RuntimeData::parse(bytes) {
        for key in &runtime.keys {
            assert_eq!(runtime.key(&key.id).map(|found| &found.id), Some(&key.id));
        }
    }
}

fn nitro(bytes: &[u8]) {
    let Ok((document, used)) = Document::parse_at_start(bytes) else { return };
    assert_eq!(Document::parse(&bytes[..used]).expect("it ends there"), document);
    assert_eq!(Document::parse(bytes).is_ok(), used == bytes.len());
    let _ = (document.signed_bytes(), document.is_debug());
    // Its own root is trusted, and its time is that of its certificate.
    let root = document.cabundle.first().and_then(|der| Certificate::parse(der).ok());
    let leaf = Certificate::parse(&document.certificate);
    if let (Some(root), Ok(leaf)) = (root, leaf) {
        let roots: [Sha256; 1] = [root.public_key_digest()];
        let genuine = authenticate_document(document.clone(), &roots, leaf.not_before_ms(), &Gullible);
        if let Ok(genuine) = genuine {
            assert_eq!(*genuine.document(), document);
            assert_eq!(genuine.path().root_key_digest, roots[0]);
        }
    }
}

fn hcl_reports(vectors: &Vectors) -> Vec<Vec<u8>> {
    vectors.files("azure-hcl", &["hcl-report.bin", "runtime-data.json"])
}
