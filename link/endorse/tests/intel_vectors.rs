//! Recorded quotes without their collateral: a service on this machine serves what `$CASEMATE_VECTORS` holds,
//! under Intel's real root.
//!
//! The vectors are not part of the project. Without them these tests say so and pass, except in CI.

#[path = "../../../core/verify/tests/vector/folders.rs"]
mod folders;
#[path = "support/intel_service.rs"]
mod intel_service;
#[path = "support/server.rs"]
mod server;

use std::collections::HashMap;
use std::path::Path;

use casemate_endorse::{
    Cache, CollateralParts, CollateralRefusal, CollateralServer, Error, Etiquette, Item as EndorsementItem,
    Platform, PlatformCollateral,
};
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::{Body, Certification, Pck, Quote, Tee};
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::Roots;
use casemate_verify::intel::{AuthenticatedCollateral, Collateral};
use folders::{Vector, vectors};
use intel_service::{Published, publish};
use serde_json::Value;
use server::Server;

const DAY_MS: u64 = 86_400_000;

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
    for Vector { name, folder, json } in &all {
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

#[test]
fn collateral_vectors_are_kept_as_one_file_and_in_parts() {
    let mut kept = 0;
    let all = vectors("tdx");
    for Vector { name, folder, json } in
        all.iter().filter(|vector| vector.json["expected"]["result"] == "verify_ok")
    {
        for run in json["expected"]["runs"].as_array().expect("a list") {
            let now_ms = run["timestamp"].as_u64().expect("seconds") * 1000;
            let text =
                std::fs::read(folder.join(run["collateral"].as_str().expect("a file"))).expect("readable");
            let whole =
                PlatformCollateral::parse_json(&text, name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let parts = parts(&text);
            let joined = parts.join(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(joined, whole, "{name}");
            let nowhere = tempfile::tempdir().expect("a folder");
            let cache = Cache::offline(nowhere.path(), Roots::builtin());
            for result in cache.import(&[EndorsementItem::IntelCollateral(Box::new(joined))], now_ms) {
                let key = result.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(cache.entries().iter().any(|entry| entry.key == key), "{name}");
            }
            kept += 1;
        }
    }
    assert!(all.is_empty() || kept > 0, "no collateral was kept");
}

/// The parts as Intel's service answers them.
fn parts(text: &[u8]) -> CollateralParts {
    let file: Value = serde_json::from_slice(text).expect("JSON");
    let member = |name: &str| file[name].as_str().expect("a text").to_owned();
    let mut parts = CollateralParts::default();
    assert!(parts.is_empty());
    for (name, inner) in [("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")] {
        let (body, signature) = (member(name), member(&format!("{name}_signature")));
        assert!(
            parts.add_answer(format!("{{\"{inner}\":{body},\"signature\":\"{signature}\"}}").as_bytes()),
            "{name}"
        );
        for certificate in Certificate::parse_pem(&member(&format!("{name}_issuer_chain"))).expect("PEM") {
            assert!(parts.add_certificate(&certificate), "{name}");
        }
    }
    for certificate in Certificate::parse_pem(&member("pck_crl_issuer_chain")).expect("PEM") {
        assert!(parts.add_certificate(&certificate));
    }
    for name in ["root_ca_crl", "pck_crl"] {
        let digits = member(name);
        let der: Vec<u8> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect();
        assert!(parts.add_list(&RevocationList::parse(&der).expect("a list")), "{name}");
    }
    parts
}

#[test]
fn a_part_that_is_not_there_is_named() {
    let error = |parts: &CollateralParts| {
        let Err(Error::Collateral { source, .. }) = parts.join("a test") else { panic!("parts are missing") };
        let CollateralRefusal::Missing { part } = *source else { panic!("{source}") };
        part
    };
    assert!(error(&CollateralParts::default()).starts_with("TCB info"));
    let quotes = vectors("tdx");
    let Some(Vector { folder, .. }) = quotes.iter().find(|vector| vector.name == "tdx-v4-dstack-lite") else {
        return;
    };
    let text = std::fs::read_to_string(folder.join("collateral.json")).expect("readable");
    let mut only = CollateralParts::default();
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let (body, signature) = (&file["tcb_info"], &file["tcb_info_signature"]);
    let body = format!("{{\"tcbInfo\":{},\"signature\":{signature}}}", body.as_str().expect("a text"));
    assert!(only.add_answer(body.as_bytes()) && !only.add_answer(b"{}"));
    assert!(error(&only).starts_with("the identity of the Quoting Enclave"));
    // The file names nobody who signed the list of revoked platforms.
    let without = text.replace("pck_crl_issuer_chain", "someone_else");
    let refused = PlatformCollateral::parse_json(without.as_bytes(), "a test");
    let Err(Error::Collateral { source, .. }) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, CollateralRefusal::Missing { .. }), "{source}");
}
