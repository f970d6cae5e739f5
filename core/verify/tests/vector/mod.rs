//! Recorded evidence: folders with a `vector.json` that says what must come out (`expected`) and what the
//! bytes say (`fields`). Not part of the project; `CASEMATE_VECTORS` names the folder.
//!
//! Without vectors the tests say so and pass, except in CI.
#![allow(dead_code)] // each test file uses its part

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// A vector's folder and its `vector.json`.
pub struct Vector {
    pub folder: PathBuf,
    pub name: String,
    pub json: Value,
}

pub fn for_each_vector(kind: &str, check: fn(&Vector)) {
    let root = std::env::var_os("CASEMATE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let Ok(listing) = std::fs::read_dir(root.join(kind)) else {
        assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root.display());
        eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root.display());
        return;
    };
    let (mut found, mut checked) = (0, 0);
    for entry in listing {
        let folder = entry.expect("a folder of vectors can be listed").path();
        if !folder.is_dir() {
            continue;
        }
        found += 1;
        let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(folder.join("vector.json"))
            .unwrap_or_else(|error| panic!("{name}: vector.json: {error}"));
        let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: vector.json: {error}"));
        println!("{kind}/{name}");
        check(&Vector { folder, name, json });
        checked += 1;
    }
    assert!(found > 0, "{} holds no vectors", root.join(kind).display());
    assert_eq!(checked, found, "vectors were skipped");
}

impl Vector {
    pub fn result(&self) -> String {
        self.json["expected"]["result"].as_str().expect("a vector expects a result").to_owned()
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(name)).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))
    }
}

pub fn check_fields(vector: &Vector, fields: &Map<String, Value>, found: impl Fn(&str, &Value) -> Value) {
    for (name, expected) in fields {
        assert_eq!(found(name, expected), *expected, "{}: field {name}", vector.name);
    }
}

pub fn hex(bytes: &[u8]) -> Value {
    json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub fn serial(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

pub fn unix_ms(text: &str) -> u64 {
    let utc = text.strip_suffix("+00:00").or(text.strip_suffix('Z'));
    let text = utc.unwrap_or_else(|| panic!("{text:?} is not in UTC"));
    let time: x509_cert::der::DateTime = format!("{text}Z").parse().expect("an RFC 3339 time");
    u64::try_from(time.unix_duration().as_millis()).expect("a time after 1970")
}

pub fn iso_time(ms: u64) -> String {
    let time = x509_cert::der::DateTime::from_unix_duration(std::time::Duration::from_millis(ms));
    time.expect("a time before year 10000").to_string().replace('Z', "+00:00")
}
