//! Recorded quotes without their collateral: a service on this machine serves what `$CASEMATE_VECTORS` holds,
//! under Intel's real root.
//!
//! The vectors are not part of the project. Without them these tests say so and pass, except in CI.

#[path = "support/intel_service.rs"]
mod intel_service;
#[path = "support/server.rs"]
mod server;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use casemate_endorse::{Cache, CollateralServer, Error, Etiquette, Platform};
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::{Body, Certification, Pck, Quote, Tee};
use casemate_verify::Roots;
use casemate_verify::intel::{AuthenticatedCollateral, Collateral};
use intel_service::{Published, publish};
use serde_json::Value;
use server::Server;

const DAY_MS: u64 = 86_400_000;

/// A folder's name, its path and its `vector.json`.
type Vector = (String, PathBuf, Value);

fn vectors(kind: &str) -> Vec<Vector> {
    let root = std::env::var_os("CASEMATE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let Ok(listing) = std::fs::read_dir(root.join(kind)) else {
        assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root.display());
        eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root.display());
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in listing {
        let folder = entry.expect("a folder of vectors can be listed").path();
        if folder.is_dir() {
            let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(folder.join("vector.json")).expect("each vector has its json");
            found.push((name, folder, serde_json::from_str(&text).expect("it is JSON")));
        }
    }
    assert!(!found.is_empty(), "{} holds no vectors", root.join(kind).display());
    found
}

#[tokio::test]
async fn tdx_vectors_verify_with_what_is_fetched() {
    check("tdx").await;
}

#[tokio::test]
async fn sgx_vectors_verify_with_what_is_fetched() {
    check("sgx").await;
}

async fn check(kind: &str) {
    let all = vectors(kind);
    let mut fetched = 0;
    for (name, folder, json) in &all {
        let bytes = std::fs::read(folder.join("quote.bin")).expect("a quote");
        let quote = Quote::parse(&bytes).expect("well formed");
        let item = match quote.body() {
            Body::Sgx(_) => Item::SgxQuote(bytes.into()),
            Body::Tdx(_) => Item::TdxQuote(bytes.into()),
        };
        let bare = Bundle::new([item]);
        let nowhere = tempfile::tempdir().expect("a folder");
        if matches!(quote.signature().certification, Certification::Name(_)) {
            let answer = Cache::offline(nowhere.path(), Roots::builtin()).complete(bare, 0).await;
            assert!(matches!(answer, Err(Error::PckNotCarried)), "{name}: {answer:?}");
            continue;
        }
        if json["expected"]["result"] != "verify_ok" {
            continue;
        }
        for run in json["expected"]["runs"].as_array().expect("a list") {
            check_run(name, folder, &quote, &bare, run).await;
            fetched += 1;
        }
    }
    assert!(all.is_empty() || fetched > 0, "no vector was fetched");
}

/// One date: what is fetched is what was recorded, holds then, and serves offline until it ends.
async fn check_run(name: &str, folder: &Path, quote: &Quote, bare: &Bundle, run: &Value) {
    let now_ms = run["timestamp"].as_u64().expect("a run has a time") * 1000;
    let file = folder.join(run["collateral"].as_str().expect("a file"));
    let recorded = Collateral::parse_json(&std::fs::read(file).expect("collateral")).expect("readable");
    let chain = quote.signature().certification.certificates().expect("certificates");
    let platform = Platform {
        tee: if matches!(quote.body(), Body::Sgx(_)) { Tee::Sgx } else { Tee::Tdx },
        fmspc: Pck::read(&chain[0]).expect("a PCK").fmspc(),
        authority: intel_service::authority(&chain[1]),
    };
    let server = Server::start(HashMap::new()).await;
    publish(&server, &Published { collateral: &recorded, platform, pck_authority: &chain[1] });
    let home = tempfile::tempdir().expect("a folder");
    let service = CollateralServer::at(&server.base, Etiquette::person()).expect("a client");
    let offline = Cache::offline(home.path(), Roots::builtin());
    let online = offline.clone().with_collateral_server(service);
    let completed = online.complete(bare.clone(), now_ms).await;
    let completed = completed.unwrap_or_else(|error| panic!("{name} at {now_ms}: {error}"));
    let item = completed.bundle.intel_collateral().expect("it was added");
    let found = Collateral::from_bundle_item(item).expect("readable");
    assert_eq!(found, Collateral { pck_chain: Vec::new(), ..recorded }, "{name}");
    let provider = casemate_crypto::provider();
    let collateral = AuthenticatedCollateral::verify(&found, &Roots::builtin(), now_ms, provider);
    let authenticated =
        collateral.expect("it was verified").authenticate(quote.clone(), now_ms, provider).map(drop);
    assert_eq!(authenticated, Ok(()), "{name} at {now_ms}");
    let again = offline.complete(bare.clone(), now_ms).await.expect("stored");
    assert_eq!(again.bundle, completed.bundle, "{name}");
    let (_, end_ms) = found.window();
    let late = offline.complete(bare.clone(), end_ms + DAY_MS).await;
    assert!(matches!(late, Err(Error::NoCollateral { .. })), "{name}: {late:?}");
}
