//! A recorded TDX quote through the command itself, without its collateral: a service on this machine serves
//! what `$CASEMATE_VECTORS` holds.
//!
//! The vectors are not part of the project. Without them this test says so and passes, except in CI.

#[path = "../../../link/endorse/tests/support/intel_service.rs"]
mod intel_service;
#[path = "../../../link/endorse/tests/support/server.rs"]
mod server;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use casemate_endorse::Platform;
use casemate_evidence::intel::{Pck, Quote, Tee};
use casemate_verify::intel::Collateral;
use intel_service::{Published, publish};
use serde_json::Value;
use server::Server;

/// Of 8 June 2026.
const VECTOR: &str = "tdx/tdx-v4-dstack-lite";

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_without_collateral_verifies_with_what_is_fetched_kept_and_carried() {
    let folder = std::env::var_os("CASEMATE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
        .join(VECTOR);
    let Ok(bytes) = std::fs::read(folder.join("quote.bin")) else {
        assert!(std::env::var_os("CI").is_none(), "no {}; CI needs it", folder.display());
        eprintln!("NOT RUN: no {}; set CASEMATE_VECTORS", folder.display());
        return;
    };
    let recorded = std::fs::read(folder.join("collateral.json")).expect("collateral");
    let recorded = Collateral::parse_json(&recorded).expect("readable");
    let chain = Quote::parse(&bytes).expect("a quote").signature().certification.certificates();
    let chain = chain.expect("certificates");
    let platform = Platform {
        tee: Tee::Tdx,
        fmspc: Pck::read(&chain[0]).expect("a PCK").fmspc(),
        authority: intel_service::authority(&chain[1]),
    };
    let server = Server::start(HashMap::new()).await;
    publish(&server, &Published { collateral: &recorded, platform, pck_authority: &chain[1] });

    let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let quote = folder.join("quote.bin").display().to_string();
    let at = ["--at", "2026-06-08T13:00:00Z"];
    let verify = |home: &Path, more: &[&str]| {
        let output = run(home, &[&["verify", &quote], &at[..], more].concat());
        serde_json::from_slice::<Value>(&output.stdout).map_err(|_| output.status.code())
    };
    assert_eq!(verify(here.path(), &["--offline"]), Err(Some(10)), "nothing is kept yet");
    assert!(server.asked().is_empty(), "offline asks nobody");
    let first = verify(here.path(), &["--collateral-server", &server.base]).expect("a verdict");
    assert_eq!(first["trust_class"], "real", "{first}");
    let asked = server.asked().len();
    assert_eq!(asked, 5);
    assert_eq!(verify(here.path(), &["--offline"]), Ok(first.clone()));
    let file = here.path().join("endorsements.bin").display().to_string();
    assert!(run(here.path(), &["endorsements", "export", &file, "--offline"]).status.success());
    let import = [&["endorsements", "import", &file, "--offline"], &at[..]].concat();
    assert!(run(there.path(), &import).status.success());
    assert_eq!(verify(there.path(), &["--offline"]), Ok(first));
    assert_eq!(server.asked().len(), asked);
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate"))
        .arg("--json")
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("CASEMATE_HOME", home.join("home"))
        .output()
        .expect("casemate can be started")
}
