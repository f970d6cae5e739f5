//! Whole verifications: evidence bundles, loose files, calls from other languages, policies.

use std::sync::OnceLock;

use casemate_crypto::{Provider, RustCrypto};
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::Quote;
use casemate_evidence::snp::Report;
use casemate_intake::{Content, File, Sorted, call};
use casemate_verify::intel::Collateral;
use casemate_verify::snp::Endorsements;
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, Outcome, Policy, Style, Verdict, Verifier, Workload,
};

use crate::parts::{join, split};
use crate::vectors::{file, worked_bytes};
use crate::{Gullible, Target, Vectors};

pub const BUNDLE: Target = Target { name: "bundle", maximum_len: 32 << 10, check: bundle, seeds: bundles };
pub const INTAKE: Target =
    Target { name: "intake", maximum_len: 32 << 10, check: intake, seeds: loose_files };
pub const CALL: Target = Target { name: "call", maximum_len: 16 << 10, check: calls, seeds: questions };
pub const POLICY: Target = Target { name: "policy", maximum_len: 16 << 10, check: policy, seeds: policies };

fn bundle(bytes: &[u8]) {
    let Ok(bundle) = Bundle::parse(bytes) else { return };
    assert_eq!(bundle.to_bytes(), bytes);
    assert_eq!(Bundle::new(bundle.items().to_vec()), bundle);
    let verdict = judge(&bundle, &Gullible);
    assert_eq!(judge(&bundle, &Gullible), verdict, "the same evidence gets the same verdict");
    let json = serde_json::to_string(&verdict).expect("a verdict is JSON");
    assert!(json.len() < 1 << 20);
    let _ = (verdict.outline("fuzz"), verdict.render("fuzz", Style::plain()));
    if verdict.outcome() != Outcome::NotGenuine {
        only_what_was_recorded(&bundle);
    }
}

/// With real signatures nothing is genuine but what hardware signed.
fn only_what_was_recorded(bundle: &Bundle) {
    static SIGNED: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let Some(vectors) = Vectors::find() else { return };
    if judge(bundle, &RustCrypto).outcome() == Outcome::NotGenuine {
        return;
    }
    let signed = SIGNED.get_or_init(|| {
        let reports = vectors.files("snp", &["report.bin"]);
        let quotes = ["tdx", "sgx"].iter().flat_map(|kind| vectors.files(kind, &["quote.bin"]));
        reports
            .iter()
            .filter_map(|report| signed_by_hardware(Some(report), None))
            .chain(quotes.filter_map(|quote| signed_by_hardware(None, Some(&quote))))
            .collect()
    });
    let quote = bundle.tdx_quote().or(bundle.sgx_quote());
    let found = signed_by_hardware(bundle.snp_report(), quote).expect("genuine evidence is well formed");
    assert!(signed.contains(&found), "genuine, and nobody recorded it");
}

fn signed_by_hardware(report: Option<&[u8]>, quote: Option<&[u8]>) -> Option<Vec<u8>> {
    match (report, quote) {
        (Some(report), _) => Report::parse(report).ok().map(|report| report.signed_bytes().to_vec()),
        (_, Some(quote)) => Quote::parse(quote).ok().map(|quote| quote.signed_bytes().to_vec()),
        _ => None,
    }
}

/// The verdict under the policy for strangers, at the time of the collateral or in 2026.
fn judge(bundle: &Bundle, provider: &'static dyn Provider) -> Verdict {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    let policy = POLICY.get_or_init(|| {
        let text = Policy::hardware_only() + SGX;
        Policy::parse(&text).expect("the policy for strangers, and rules for SGX")
    });
    let verifier =
        Verifier { policy, roots: &policy.roots(), accept_simulated: AcceptSimulated::No, provider };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let collateral = bundle.intel_collateral().and_then(|item| Collateral::from_bundle_item(item).ok());
    let now_ms = collateral.map_or(IN_2026_MS, |collateral| {
        collateral.tcb_info.issued_ms().max(collateral.qe_identity.issued_ms())
    });
    verifier.verify_bundle(bundle, None, &expectations, now_ms).verdict().clone()
}

const IN_2026_MS: u64 = 1_767_225_600_000;

fn intake(bytes: &[u8]) {
    let files = |parts: &[&'_ [u8]]| -> Option<Bundle> {
        let files: Vec<File> = parts.iter().map(|bytes| File { name: "fuzz", bytes }).collect();
        Sorted::read(&files).ok().map(|sorted| sorted.bundle)
    };
    let Some(parts) = split::<3>(bytes) else {
        let _ = Content::read(&File { name: "fuzz", bytes });
        return;
    };
    let there: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let backwards: Vec<&[u8]> = there.iter().rev().copied().collect();
    assert_eq!(files(&there), files(&backwards), "the order of files does not matter");
}

/// A request in JSON, and a file.
fn calls(bytes: &[u8]) {
    let Some([request, file]) = split(bytes) else { return };
    let files = [File { name: "fuzz", bytes: file }];
    let reply = call(request, &files, &Gullible);
    let value: serde_json::Value = serde_json::from_str(&reply).expect("every reply is JSON");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(1), "{reply}");
}

fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    assert_eq!(Policy::parse(text).expect("as before"), policy);
    // A comment changes the digest and nothing else.
    let commented = Policy::parse(&format!("# comment\n{text}")).expect("comments are free");
    assert_ne!(commented.digest(), policy.digest());
    assert_eq!(commented.roots(), policy.roots());
}

fn bundles(vectors: &Vectors) -> Vec<Vec<u8>> {
    let mut seeds = worked_bytes("evidence-bundle.md");
    for folder in vectors.folders("snp") {
        let Some(report) = file(&folder, "report.bin") else { continue };
        let leaf = file(&folder, "vcek.der").or_else(|| file(&folder, "vlek.der"));
        let chain = file(&folder, "cert_chain.pem").and_then(|chain| String::from_utf8(chain).ok());
        let mut items = vec![Item::SnpReport(report.into())];
        if let (Some(leaf), Some(chain)) = (leaf, chain)
            && let Ok(endorsements) = Endorsements::parse_with_pem_chain(&leaf, &chain)
        {
            items.push(Item::SnpCertificates(endorsements.to_bundle_item()));
        }
        seeds.push(Bundle::new(items).to_bytes());
    }
    for (kind, item) in [("tdx", Item::TdxQuote as fn(_) -> _), ("sgx", Item::SgxQuote)] {
        for folder in vectors.folders(kind) {
            let Some(quote) = file(&folder, "quote.bin") else { continue };
            let collateral =
                file(&folder, "collateral.json").and_then(|text| Collateral::parse_json(&text).ok());
            let collateral = collateral.map(|collateral| Item::IntelCollateral(collateral.to_bundle_item()));
            seeds.push(Bundle::new([item(quote.into())].into_iter().chain(collateral)).to_bytes());
        }
    }
    seeds
}

fn loose_files(vectors: &Vectors) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for folder in vectors.folders("snp") {
        let parts =
            ["report.bin", "vcek.der", "cert_chain.pem"].map(|name| file(&folder, name).unwrap_or_default());
        seeds.push(join(parts.each_ref().map(Vec::as_slice)));
        seeds.push(casemate_canon::reexport::hex::encode(&parts[0]).into_bytes());
    }
    for folder in vectors.folders("tdx").into_iter().take(4) {
        let parts = ["quote.bin", "collateral.json"].map(|name| file(&folder, name).unwrap_or_default());
        seeds.push(join([&parts[0], &parts[1], b""]));
    }
    seeds.extend(vectors.files("snp-certs", &["crl.der"]));
    seeds
}

fn questions(vectors: &Vectors) -> Vec<Vec<u8>> {
    let question = serde_json::json!({ "verify": {
        "subject": "notes",
        "policy": Policy::hardware_only(),
        "at_ms": IN_2026_MS,
        "accept_simulated": true,
        "workload": { "digest": "00".repeat(32), "source": "compose.yaml" },
        "images": [{ "image": "lite", "measurement": "4d".repeat(48), "source": "image.lock" }],
        "challenge": { "nonce": { "value": "4e".repeat(32), "made_ms": IN_2026_MS } },
    }});
    let requests = [question.to_string(), r#"{"recognise":{}}"#.to_owned(), r#"{"policies":{}}"#.to_owned()];
    let files = vectors.files("snp", &["report.bin"]);
    let report = files.first().map(Vec::as_slice).unwrap_or_default();
    requests.iter().map(|request| join([request.as_bytes(), report])).collect()
}

fn policies(_: &Vectors) -> Vec<Vec<u8>> {
    let texts = [Policy::example(&[]), Policy::hardware_only(), Policy::hardware_only() + SGX];
    texts.map(String::into_bytes).to_vec()
}

/// The rules for strangers name no enclave.
const SGX: &str = "
[sgx]
mr_signers = \"any\"
isv_prod_ids = \"any\"
minimum_isv_svn = 0
debug = \"any\"
provision_key = \"any\"
";
