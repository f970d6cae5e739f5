//! NVIDIA's devices and their manifests.

use casemate_crypto::hash::Sha256;
use casemate_evidence::nvidia::{Manifest, Report};
use casemate_verify::nvidia::authenticate_manifest;

use crate::{Gullible, Target, Vectors};

pub const REPORT: Target = Target {
    name: "nvidia-report",
    maximum_len: 8 << 10,
    check: report,
    seeds: |vectors: &Vectors| vectors.files("nvidia-report", &["report.bin"]),
};
pub const MANIFEST: Target = Target {
    name: "nvidia-manifest",
    maximum_len: 32 << 10,
    check: manifest,
    seeds: |vectors: &Vectors| vectors.files("nvidia-rim", &["rim.xml"]),
};

fn report(bytes: &[u8]) {
    let Ok(report) = Report::parse(bytes) else { return };
    assert!(bytes.starts_with(report.as_bytes()) && bytes.len() - report.as_bytes().len() <= 1);
    assert_eq!(Report::parse(report.as_bytes()).expect("it was read"), report);
    let opaque = report.opaque();
    let _ = (
        opaque.driver_version(),
        opaque.vbios_version(),
        opaque.board(),
        opaque.firmware_id(),
        opaque.mode(),
    );
}

fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let signature = manifest.signature();
    // What is left of the document without its signature is no manifest.
    assert!(Manifest::parse(&signature.document).is_err());
    // Its own root is trusted, and its time is that of its certificate.
    if let [leaf, .., root] = &signature.certificates[..] {
        let roots: [Sha256; 1] = [root.public_key_digest()];
        let genuine = authenticate_manifest(manifest.clone(), &roots, leaf.not_before_ms(), &Gullible);
        if let Ok(genuine) = genuine {
            assert_eq!(*genuine.manifest(), manifest);
        }
    }
}
