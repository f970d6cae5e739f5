//! Recorded reports and manifests of NVIDIA: every folder below `$CASEMATE_VECTORS/nvidia-report` and
//! `nvidia-rim`, with both back ends.

mod recorded;

use casemate_evidence::nvidia::{Manifest, Opaque, Report};
use casemate_verify::certificates::PathError;
use casemate_verify::nvidia::{
    DEVICE_ROOTS, GenuineReport, MANIFEST_ROOTS, ManifestError, ReportError, authenticate_manifest,
    authenticate_report, manifest_names,
};
use casemate_verify::signature::SignatureError;
use recorded::{BACK_ENDS, Vector, for_each_vector, hex, hex_text, iso_time};
use serde_json::{Value, json};

/// 2026-06-01; device certificates end in the year 9999.
const NOW_MS: u64 = 1_780_272_000_000;
const DAY_MS: u64 = 86_400_000;

#[test]
fn nvidia_report_vectors() {
    for_each_vector("nvidia-report", |vector| {
        let report = Report::parse(&vector.file("report.bin"))
            .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        check_report_fields(vector, &report);
        let chain = vector.certificates("cert_chain.pem");
        for provider in BACK_ENDS {
            let judge = |report: Report| authenticate_report(report, &chain, &DEVICE_ROOTS, NOW_MS, provider);
            let found = judge(report.clone());
            match expected_refusal(&vector.name) {
                None => {
                    assert_eq!(vector.result(), "verify_ok", "{}", vector.name);
                    let genuine = found.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
                    assert_eq!(genuine.path().root_name, "NVIDIA Device Identity CA");
                    check_names(&vector.name, &genuine);
                    assert_eq!(json!(genuine.device()), vector.fields()["leaf"]["validity"][0][0]);
                    // Whatever changes after signing, also in the request, is noticed.
                    for at in [5, 60, report.signed_bytes().len() - 1, report.as_bytes().len() - 1] {
                        let mut bytes = report.as_bytes().to_vec();
                        bytes[at] ^= 1;
                        let changed = Report::parse(&bytes).map(judge);
                        assert!(!matches!(changed, Ok(Ok(_))), "{}: byte {at}", vector.name);
                    }
                }
                Some(expected) => {
                    assert_eq!(vector.result(), "must_fail", "{}", vector.name);
                    assert_eq!(found.map(|_| ()), Err(expected), "{}", vector.name);
                }
            }
        }
    });
}

fn expected_refusal(name: &str) -> Option<ReportError> {
    match name {
        // The device's own certificate is missing, and an authority stands in its place.
        "hopper-coco-chain-case2" => {
            Some(ReportError::NotDevice { name: "NVIDIA Device Identity CA".to_owned() })
        }
        "hopper-coco-chain-case4" => Some(ReportError::NotDevice { name: "GH100 A01 GSP BROM".to_owned() }),
        // One in the middle is.
        "hopper-coco-chain-case3" => Some(ReportError::Path(PathError::MissingIssuer {
            depth: 1,
            issuer: "NVIDIA GH100 Provisioner ICA 1".to_owned(),
        })),
        "hopper-sdk-invalid-signature" | "switch-sdk-invalid-signature" => {
            Some(ReportError::Signature(SignatureError::Mismatch))
        }
        _ => None,
    }
}

/// Under which names NVIDIA publishes what these devices should measure.
fn check_names(vector: &str, genuine: &GenuineReport) {
    let names: Vec<String> = manifest_names(genuine).into_iter().map(|name| name.id).collect();
    let expected: &[&str] = match vector {
        "hopper-coco-a" => &["NV_GPU_DRIVER_GH100_550.90.07", "NV_GPU_VBIOS_1010_0200_882_96009F0001"],
        "blackwell-sdk-sample" => &["NV_GPU_CC_DRIVER_GB100_575.32", "NV_GPU_VBIOS_G525_0220_886_970088000F"],
        "switch-ppcie-1" => &["NV_SWITCH_BIOS_5612_0002_890_9610730001"],
        _ => return,
    };
    assert_eq!(names, expected, "{vector}");
}

fn check_report_fields(vector: &Vector, report: &Report) {
    let bytes = report.as_bytes();
    let fields = vector.fields();
    assert_eq!(fields["request"]["nonce"], hex(report.nonce()), "{}", vector.name);
    assert_eq!(fields["request"]["slot"], json!(report.slot()), "{}", vector.name);
    assert_eq!(fields["request"]["spdm_version"], json!(format!("{:#x}", bytes[0])));
    assert_eq!(fields["response"]["nonce"], hex(report.device_nonce()), "{}", vector.name);
    let count = report.measurements().len();
    assert_eq!(fields["response"]["number_of_blocks"], json!(count), "{}", vector.name);
    assert_eq!(fields["response"]["record_length"], json!(count * 55), "{}", vector.name);
    let expected = fields["measurements"].as_array().expect("a list");
    assert_eq!(expected.len(), count, "{}", vector.name);
    for one in expected {
        let index = u8::try_from(one["index"].as_u64().expect("a number")).expect("a byte");
        let found = report.measurement(index).expect("it is there");
        assert_eq!(one["value"], hex(found.as_bytes()), "{}: measurement {index}", vector.name);
    }
    let opaque = fields["opaque"].as_object().expect("an object");
    assert_eq!(report.opaque().fields().count(), opaque.len(), "{}", vector.name);
    for (name, expected) in opaque {
        check_opaque(&vector.name, report.opaque(), name, expected.as_str().expect("a text"));
    }
}

/// Kinds by the names that the vectors give them; some of these are guesses, the numbers are not.
fn check_opaque(vector: &str, opaque: &Opaque, name: &str, expected: &str) {
    let (kind, is_text) = match name {
        "driver_version" => (3, true),
        "gpu_info" => (4, false),
        "vbios_version" => (6, false),
        "board_id" => (11, false),
        "project" => (18, true),
        "project_sku" => (19, true),
        "protected_region" => (20, false),
        "feature_flag" => (21, false),
        "chip_info" => (22, false),
        other => (other.strip_prefix("type_").and_then(|digits| digits.parse().ok()).expect(other), false),
    };
    let value = opaque.field(kind).unwrap_or_else(|| panic!("{vector}: no {name}"));
    if is_text {
        let text = String::from_utf8_lossy(value);
        assert_eq!(text.trim_end_matches('\0'), expected, "{vector}: {name}");
    } else {
        let (digits, expected) = (hex_text(value), expected.trim_end_matches("..."));
        assert!(digits.starts_with(expected), "{vector}: {name} is {digits}");
    }
}

#[test]
fn nvidia_rim_vectors() {
    for_each_vector("nvidia-rim", |vector| {
        let manifest = Manifest::parse(&vector.file("rim.xml"))
            .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        check_manifest_fields(vector, &manifest);
        for provider in BACK_ENDS {
            let judge = |now_ms| authenticate_manifest(manifest.clone(), &MANIFEST_ROOTS, now_ms, provider);
            match vector.result() {
                "verify_ok" | "signature_ok_measurements_must_mismatch" => {
                    let window = vector.window();
                    for now_ms in [window.start, window.middle(), window.end] {
                        let genuine =
                            judge(now_ms).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
                        assert_eq!(genuine.path().root_name, "NVIDIA CoRIM signing Root CA");
                    }
                    let late = judge(window.end + DAY_MS);
                    assert!(
                        matches!(late, Err(ManifestError::Path(PathError::Expired { depth: 0, .. }))),
                        "{}: {late:?}",
                        vector.name
                    );
                }
                "must_fail" => {
                    // At a time at which the signer's certificate holds, if it ever does.
                    let leaf = &manifest.signature().certificates[0];
                    let found = judge(leaf.not_before_ms() + DAY_MS / 2);
                    let is_expected = match vector.name.as_str() {
                        "neg-driver-cert-chain" => {
                            matches!(found, Err(ManifestError::Path(_) | ManifestError::Digest { .. }))
                        }
                        _ => matches!(
                            found,
                            Err(ManifestError::Digest { .. }
                                | ManifestError::Signature(SignatureError::Mismatch))
                        ),
                    };
                    assert!(is_expected, "{}: {:?}", vector.name, found.map(|_| ()));
                    println!("{}: {:?}", vector.name, judge(NOW_MS).map(|_| ()));
                }
                other => panic!("{}: expected result {other:?} is unknown to this test", vector.name),
            }
        }
    });
}

fn check_manifest_fields(vector: &Vector, manifest: &Manifest) {
    let fields = vector.fields();
    let certificates: Vec<Value> = manifest
        .signature()
        .certificates
        .iter()
        .map(|one| {
            json!({
                "subject": one.subject_common_name(),
                "not_before": iso_time(one.not_before_ms()),
                "not_after": iso_time(one.not_after_ms()),
            })
        })
        .collect();
    assert_eq!(fields["tag_id"], json!(manifest.tag_id()), "{}", vector.name);
    assert_eq!(fields["name"], json!(manifest.product()), "{}", vector.name);
    assert_eq!(fields["version"], json!(manifest.version()), "{}", vector.name);
    assert_eq!(fields["measurements"], json!(manifest.references().len()), "{}", vector.name);
    assert_eq!(fields["certificates"], json!(certificates), "{}", vector.name);
}

/// No recorded report is of the versions of a recorded manifest, but firmware that did not change between two
/// versions shows how both count.
#[test]
fn vectors_of_manifests_count_from_0_and_those_of_reports_from_1() {
    let root = recorded::root();
    if !root.join("nvidia-rim").is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root.display());
        eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root.display());
        return;
    }
    let open = |kind: &str, name: &str| Vector::open(&root.join(kind).join(name));
    let text = open("nvidia-rim", "vbios-1010-0200-882-96005e0001-prod").file("rim.xml");
    let manifest = Manifest::parse(&text).expect("well formed");
    let bytes = open("nvidia-report", "hopper-sdk-expired").file("report.bin");
    let report = Report::parse(&bytes).expect("well formed");
    let shared = |offset: u8| {
        let active = manifest.references().iter().filter(|reference| reference.active);
        active
            .filter(|reference| {
                let found = report.measurement(reference.index + offset);
                found.is_some_and(|found| *found != [0; 48].into() && reference.values.contains(found))
            })
            .count()
    };
    assert_eq!((shared(0), shared(1)), (0, 6));
}
