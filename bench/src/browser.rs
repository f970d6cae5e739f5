//! How long does a browser take to verify?
//!
//! The package for JavaScript in headless Chromium, from files to the answer, turn by turn with one P-384
//! verification by the browser's own cryptography. `bench/browser/measure.mjs` drives it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use casemate_evidence::snp::Report;
use casemate_verify::{AcceptSimulated, Expectations, Freshness, Workload};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    evidence::Evidence,
    quote_evidence::QuoteEvidence,
    sample::Pairs,
    table::{Promise, Row, Section, Unit},
};

/// What `measure.mjs` answers, in seconds.
#[derive(Deserialize)]
struct Answer {
    start: Vec<f64>,
    pairs: [Times; 2],
    compressed: u32,
}

#[derive(Deserialize)]
struct Times {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// Measures every side `rounds` times; says what is missing if there is no module, Node or Chromium.
///
/// # Panics
/// If the browser does not verify the evidence.
pub fn measure(report: &Evidence, quote: &QuoteEvidence, rounds: usize) -> Section {
    if !root().join("client/js/casemate.wasm").is_file() {
        return Section::unanswered(TITLE, "client/js/casemate.wasm is not there; `make web` builds it");
    }
    let chromium = std::env::var("CASEMATE_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    for program in ["node", chromium.as_str()] {
        if !runs(program) {
            return Section::unanswered(TITLE, "node and chromium are needed; `make test` installs them");
        }
    }
    let Answer { start, pairs: [snp, tdx], compressed } = ask(report, quote, rounds);
    let within = |name, times: &[f64], says| {
        Row::alone(name, Unit::Seconds, times, says).promised(Promise::AtMost(0.15))
    };
    let rows = vec![
        within("SNP report with its chain", &snp.ours, "from files to the answer"),
        within("TDX quote with its collateral", &tdx.ours, "from files to the answer"),
        Row::new("SNP report with its chain", Unit::Seconds, &Pairs::of(snp.ours, snp.theirs), RAW),
        Row::new("TDX quote with its collateral", Unit::Seconds, &Pairs::of(tdx.ours, tdx.theirs), RAW),
        Row::alone("the first SNP report", Unit::Seconds, &start, "with the module compiled"),
        Row::alone("module with gzip, bytes", Unit::Count, &[f64::from(compressed)], "what a server sends")
            .promised(Promise::AtMost(700_000.0)),
    ];
    Section { title: TITLE, note: format!("{}; {}", report.name, quote.name), rows, not_measured: Vec::new() }
}

/// The question.
pub const TITLE: &str = "How long does a browser take to verify?";

const RAW: &str = "one P-384 verification by WebCrypto";

fn ask(report: &Evidence, quote: &QuoteEvidence, rounds: usize) -> Answer {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a temporary file");
        path
    };
    let [leaf, intermediate, root_certificate] = &report.certificates;
    let snp = [
        write("report.bin", &report.report),
        write("vcek.der", leaf),
        write("ask.der", intermediate),
        write("ark.der", root_certificate),
    ];
    let tdx = [write("quote.bin", &quote.quote), write("collateral.json", &quote.collateral)];
    let parsed = Report::parse(&report.report).expect("a report");
    let request = json!({
        "rounds": rounds,
        "cases": [
            {
                "files": snp,
                "question": question(&report.policy_text, &report.expectations, report.accept_simulated, report.now_ms),
            },
            {
                "files": tdx,
                "question": question(&quote.policy_text, &quote.expectations, quote.accept_simulated, quote.now_ms),
            },
        ],
        "raw": {
            "key": digits(&report.signing_key()),
            "message": digits(parsed.signed_bytes()),
            "signature": digits(parsed.signature().as_bytes()),
        },
    });
    let request = write("request.json", request.to_string().as_bytes());
    let output = Command::new("node")
        .arg(root().join("bench/browser/measure.mjs"))
        .arg(request)
        .output()
        .expect("node was there a moment ago");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("measure.mjs answers in JSON")
}

/// What the package for JavaScript is asked (`client/js/casemate.d.ts`).
fn question(policy: &str, expectations: &Expectations, accept: AcceptSimulated, now_ms: u64) -> Value {
    let images = expectations.images.iter().map(|value| {
        json!({
            "image": value.image, "measurement": value.measurement.to_string(), "source": value.source,
        })
    });
    let mut question = json!({
        "policy": policy,
        "at": now_ms,
        "acceptSimulated": accept == AcceptSimulated::Yes,
        "images": images.collect::<Vec<_>>(),
    });
    if let Workload::Digest { digest, source } = &expectations.workload {
        question["workload"] = json!({ "digest": digest.to_string(), "source": source });
    }
    if let Freshness::Challenge { report_data, made_ms } = &expectations.freshness {
        question["challenge"] = json!({ "reportData": digits(report_data.as_ref()), "madeAt": made_ms });
    }
    question
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
