//! Known answers of X-Wing, over whatever folder `CASEMATE_VECTORS` names.

use std::{fs, io::Read as _, path::PathBuf};

use casemate_crypto::{
    seal::{SealError, SealingKey, SealingPublicKey},
    secret::Secret,
};

fn vectors() -> PathBuf {
    let root = std::env::var_os("CASEMATE_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    root.join("kem-age")
}

fn read(path: &str) -> Vec<u8> {
    let path = vectors().join(path);
    fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; set CASEMATE_VECTORS to the folder of vectors", path.display())
    })
}

#[test]
fn vector_xwing_seeds_give_their_public_keys() {
    let all: serde_json::Value = serde_json::from_slice(&read("xwing-draft/test-vectors.json")).unwrap();
    let all = all.as_array().unwrap();
    assert!(!all.is_empty());
    for vector in all {
        let bytes = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
        let key = SealingKey::from_seed(Secret::from_slice(&bytes("sk")).unwrap());
        assert_eq!(key.public().as_slice(), bytes("pk"));
    }
}

#[test]
fn vector_unreduced_mlkem_keys_are_refused() {
    let mut text = String::new();
    let packed = read("mlkem-modulus/ML-KEM-768.txt.gz");
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    assert!(text.lines().count() > 0);
    for line in text.lines() {
        let mut key = hex::decode(line.trim()).unwrap();
        key.extend_from_slice(&[9; 32]); // any X25519 public key
        assert!(matches!(SealingPublicKey::from_slice(&key), Err(SealError::PublicKey { found: 1216, .. })));
    }
}
