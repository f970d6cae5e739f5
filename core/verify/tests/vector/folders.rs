//! Where is recorded evidence, and what should come of it?
//!
//! Each folder has a `vector.json` that says what must come out (`expected`) and what the bytes say (`fields`).
//! The vectors are not part of the project; `CASEMATE_VECTORS` names the folder. Without them the tests say so
//! and pass, except in CI.
#![allow(dead_code)] // each test file uses its part

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A vector's folder and its `vector.json`.
pub struct Vector {
    pub folder: PathBuf,
    pub name: String,
    pub json: Value,
}

impl Vector {
    pub fn open(folder: &Path) -> Self {
        let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(folder.join("vector.json"))
            .unwrap_or_else(|error| panic!("{name}: vector.json: {error}"));
        let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: vector.json: {error}"));
        Self { folder: folder.to_owned(), name, json }
    }
}

/// Where the vectors are.
pub fn root() -> PathBuf {
    std::env::var_os("CASEMATE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
}

/// Every vector of this kind; none is left out.
pub fn vectors(kind: &str) -> Vec<Vector> {
    let root = root();
    let Ok(listing) = std::fs::read_dir(root.join(kind)) else {
        assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root.display());
        eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root.display());
        return Vec::new();
    };
    let folders = listing.map(|entry| entry.expect("a folder of vectors can be listed").path());
    let found: Vec<_> =
        folders.filter(|folder| folder.is_dir()).map(|folder| Vector::open(&folder)).collect();
    assert!(!found.is_empty(), "{} holds no vectors", root.join(kind).display());
    found
}

/// Runs `check` on every vector of this kind.
pub fn for_each_vector(kind: &str, mut check: impl FnMut(&Vector)) {
    for vector in vectors(kind) {
        println!("{kind}/{}", vector.name);
        check(&vector);
    }
}
