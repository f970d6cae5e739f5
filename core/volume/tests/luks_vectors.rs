//! Recorded LUKS headers, over whatever folder `CASEMATE_VECTORS` names.

use std::{fs, path::PathBuf};

use casemate_volume::luks::{Header, LuksError};

fn vectors() -> PathBuf {
    let root = std::env::var_os("CASEMATE_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    root.join("luks2")
}

/// One recorded header: its name, what must come of it, its bytes.
fn each() -> Vec<(String, String, Vec<u8>)> {
    let folder = vectors();
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| {
        panic!("{}: {error}; set CASEMATE_VECTORS to the folder of vectors", folder.display())
    });
    let mut all = Vec::new();
    for entry in entries {
        let folder = entry.unwrap().path();
        let text = fs::read_to_string(folder.join("vector.json")).unwrap();
        let vector: serde_json::Value = serde_json::from_str(&text).unwrap();
        let result = vector["expected"]["result"].as_str().unwrap().to_owned();
        for name in vector["files"].as_object().unwrap().keys() {
            let packed = fs::read(folder.join(name)).unwrap();
            let mut bytes = Vec::new();
            lzma_rs::xz_decompress(&mut &packed[..], &mut bytes).unwrap();
            bytes.truncate(1 << 20);
            all.push((folder.file_name().unwrap().to_string_lossy().into_owned(), result.clone(), bytes));
        }
    }
    assert!(!all.is_empty(), "{} holds no vector", folder.display());
    all
}

#[test]
fn vector_headers_parse_or_are_refused_as_recorded() {
    for (name, expected, bytes) in each() {
        let parsed = Header::parse(&bytes);
        match expected.as_str() {
            "parses" => {
                // Another program's shape: well formed, and still not one that a guest opens.
                assert!(parsed.is_ok(), "{name}: {parsed:?}");
                assert!(parsed.unwrap().check().is_err(), "{name}");
            }
            "must_fail" => assert!(parsed.and_then(|header| header.check()).is_err(), "{name}"),
            other => panic!("{name}: expectation {other:?} is not known to this test"),
        }
    }
}

#[test]
fn vector_refusals_name_the_attack() {
    for (name, _, bytes) in each() {
        let outcome = Header::parse(&bytes).and_then(|header| header.check()).unwrap_err();
        let named = match name.as_str() {
            "derived-cipher-null" => {
                matches!(outcome, LuksError::NullCipher { field: "segment encryption" })
            }
            "derived-keyslot-cipher-null" => {
                matches!(outcome, LuksError::NullCipher { field: "key slot encryption" })
            }
            "derived-segment-linear" => matches!(outcome, LuksError::PlainSegment),
            "cryptsetup-luks2-invalid-cipher" => {
                matches!(outcome, LuksError::NotAllowed { field: "segment encryption", .. })
            }
            "cryptsetup-evil-hdr-stripes-payload-dmg" => matches!(outcome, LuksError::Version { found: 1 }),
            _ => true,
        };
        assert!(named, "{name}: {outcome:?}");
    }
}
