//! Quotes of TDX and SGX, and what Intel publishes.

use casemate_evidence::intel::{EnclaveIdentity, Quote, TcbInfo};
use casemate_evidence::{sgx, tdx};
use casemate_verify::intel::Collateral;
use casemate_verify::{Roots, sgx as verify_sgx, tdx as verify_tdx};

use crate::parts::{join, split};
use crate::vectors::file;
use crate::{Gullible, Target, Vectors};

pub const QUOTE: Target = Target { name: "intel-quote", maximum_len: 8 << 10, check: quote, seeds: quotes };
pub const COLLATERAL: Target =
    Target { name: "intel-collateral", maximum_len: 64 << 10, check: collateral, seeds: collaterals };
pub const AUTHENTICATE: Target =
    Target { name: "intel-authenticate", maximum_len: 64 << 10, check: authenticate, seeds: pairs };

fn quote(bytes: &[u8]) {
    let _ = (tdx::Report::parse(bytes), sgx::Report::parse(bytes));
    let Ok(quote) = Quote::parse(bytes) else { return };
    let len = quote.as_bytes().len();
    assert_eq!(quote.as_bytes(), &bytes[..len]);
    assert_eq!(bytes.len() - len, quote.padding_len());
    assert!(quote.as_bytes().starts_with(quote.signed_bytes()));
    assert_eq!(
        Quote::parse(quote.as_bytes()).expect("padding may be left out").signature(),
        quote.signature()
    );
    let _ = (quote.body_type(), quote.report_data(), quote.signature_data_len());
    let certificates = quote.signature().certification.certificates();
    assert!(certificates.is_err() || certificates.is_ok_and(|found| found.len() <= 8));
}

fn collateral(bytes: &[u8]) {
    let _ = (TcbInfo::parse(bytes), EnclaveIdentity::parse(bytes));
    let _ = (TcbInfo::parse_response(bytes), EnclaveIdentity::parse_response(bytes));
    if let Ok(read) = Collateral::parse_json(bytes) {
        let again =
            Collateral::from_bundle_item(&read.to_bundle_item()).expect("a bundle carries any collateral");
        assert_eq!(again.to_bundle_item(), read.to_bundle_item());
    }
}

/// Quote and collateral that every signature covers, at the time of the collateral.
fn authenticate(bytes: &[u8]) {
    let Some([quote, collateral]) = split(bytes) else { return };
    let (Ok(quote), Ok(collateral)) = (Quote::parse(quote), Collateral::parse_json(collateral)) else {
        return;
    };
    let now_ms = collateral.tcb_info.issued_ms().max(collateral.qe_identity.issued_ms());
    let roots = Roots::builtin();
    let once = |quote: Quote| {
        let tdx = verify_tdx::authenticate(quote.clone(), &collateral, &roots, now_ms, &Gullible);
        let sgx = verify_sgx::authenticate(quote, &collateral, &roots, now_ms, &Gullible);
        assert!(tdx.is_err() || sgx.is_err(), "one quote is of one TEE");
        (tdx.map(|genuine| genuine.standing().clone()), sgx.map(|genuine| genuine.standing().clone()))
    };
    assert_eq!(format!("{:?}", once(quote.clone())), format!("{:?}", once(quote)));
}

fn quotes(vectors: &Vectors) -> Vec<Vec<u8>> {
    ["tdx", "sgx"].iter().flat_map(|kind| vectors.files(kind, &["quote.bin"])).collect()
}

fn collaterals(vectors: &Vectors) -> Vec<Vec<u8>> {
    let ends = ["collateral.json", "tcbInfo.json", "qeIdentity.json"];
    let mut seeds: Vec<Vec<u8>> = ["tdx", "sgx"].iter().flat_map(|kind| vectors.files(kind, &ends)).collect();
    let parsed: Vec<Collateral> = seeds.iter().filter_map(|seed| Collateral::parse_json(seed).ok()).collect();
    for collateral in parsed {
        seeds.push(collateral.tcb_info.signed_bytes().to_vec());
        seeds.push(collateral.qe_identity.signed_bytes().to_vec());
    }
    seeds
}

fn pairs(vectors: &Vectors) -> Vec<Vec<u8>> {
    let folders = ["tdx", "sgx"].iter().flat_map(|kind| vectors.folders(kind));
    folders
        .filter_map(|folder| Some(join([&file(&folder, "quote.bin")?, &file(&folder, "collateral.json")?])))
        .collect()
}
