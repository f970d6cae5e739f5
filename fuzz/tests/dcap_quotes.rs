//! Recorded quotes of TDX and SGX, judged by Casemate and by the `dcap-qvl` crate at every recorded time: the same
//! status, the same advisories, the same refusals, but for what `docs/reference/disagreements.md` lists.

use std::path::Path;

use casemate_evidence::intel::{Body, Quote};
use casemate_verify::intel::{Collateral, Standing};
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, Policy, Roots, Verifier, Workload, sgx, tdx,
};
use dcap_qvl::QuoteCollateralV3;

/// What `dcap-qvl` refuses on its own account, and which rule of a policy refuses it here.
const RULES_ELSEWHERE: &[(&str, &[Code])] = &[
    ("Debug mode is enabled", &[Code::TdDebug, Code::EnclaveDebug]),
    ("SEPT_VE_DISABLE is not enabled", &[Code::TdSeptVeDisable]),
    ("Invalid MR service TD", &[Code::ServiceTd]),
    ("No matching TCB level found", &[Code::TcbLevel]),
];

#[test]
fn dcap_qvl_judges_recorded_vector_quotes_alike() {
    let root = std::env::var("CASEMATE_VECTORS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors").to_owned());
    if !Path::new(&root).is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no vectors in {root}; CI needs them");
        eprintln!("NOT RUN: no vectors in {root}; set CASEMATE_VECTORS");
        return;
    }
    let (mut compared, mut wrong) = (0, Vec::new());
    for kind in ["tdx", "sgx"] {
        for entry in std::fs::read_dir(format!("{root}/{kind}")).expect("a folder of vectors") {
            let folder = entry.expect("a folder of vectors can be listed").path();
            let read = |name: &str| {
                std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
            };
            let vector: serde_json::Value = serde_json::from_slice(&read("vector.json")).expect("JSON");
            for run in vector["expected"]["runs"].as_array().into_iter().flatten() {
                let collateral = read(run["collateral"].as_str().expect("a run names its collateral"));
                let now_s = run["timestamp"].as_u64().expect("a run has a time");
                if let Err(difference) = compare(&read("quote.bin"), &collateral, now_s) {
                    wrong.push(format!("{} at {now_s}: {difference}", folder.display()));
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 40, "only {compared} runs were compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn compare(quote: &[u8], collateral: &[u8], now_s: u64) -> Result<(), String> {
    let ours = Collateral::parse_json(collateral).expect("recorded collateral is well formed");
    let standing = standing(quote, &ours, now_s * 1000);
    let theirs: QuoteCollateralV3 = serde_json::from_slice(collateral).expect("the format is theirs");
    match (dcap_qvl::verify::verify(quote, &theirs, now_s), standing) {
        (Ok(theirs), Ok(standing)) => {
            let status = standing.status.map(|status| status.name()).unwrap_or("none");
            let mut advisories =
                [standing.advisories(), theirs.advisory_ids.iter().map(String::as_str).collect()];
            advisories.iter_mut().for_each(|list| list.sort_unstable());
            if status == theirs.status && advisories[0] == advisories[1] {
                return Ok(());
            }
            Err(format!("{status} {:?}, theirs {} {:?}", advisories[0], theirs.status, advisories[1]))
        }
        (Err(_), Err(_)) => Ok(()),
        (Err(theirs), Ok(_)) => {
            let theirs = format!("{theirs:#}");
            let failed = failures(quote, &ours, now_s * 1000);
            let rule = RULES_ELSEWHERE.iter().find(|(text, _)| theirs.contains(text));
            match rule {
                Some((_, codes)) if codes.iter().any(|code| failed.contains(code)) => Ok(()),
                _ => Err(format!("genuine, failed {failed:?}, theirs refused: {theirs}")),
            }
        }
        (Ok(theirs), Err(ours)) => Err(format!("{ours}, theirs {}", theirs.status)),
    }
}

/// What Intel says of the platform, if the quote is genuine.
fn standing(quote: &[u8], collateral: &Collateral, now_ms: u64) -> Result<Standing, String> {
    let quote = Quote::parse(quote).map_err(|error| error.to_string())?;
    let (roots, provider) = (Roots::builtin(), casemate_crypto::provider());
    let standing = match quote.body() {
        Body::Tdx(_) => tdx::authenticate(quote, collateral, &roots, now_ms, provider)
            .map(|genuine| genuine.standing().clone()),
        Body::Sgx(_) => sgx::authenticate(quote, collateral, &roots, now_ms, provider)
            .map(|genuine| genuine.standing().clone()),
    };
    standing.map_err(|error| error.to_string())
}

/// What fails under the example policy.
fn failures(quote: &[u8], collateral: &Collateral, now_ms: u64) -> Vec<Code> {
    let rules = "\n[sgx]\nmr_signers = \"any\"\nisv_prod_ids = \"any\"\nminimum_isv_svn = 0\ndebug = \"forbidden\"\n\
                 provision_key = \"any\"\n";
    let policy = Policy::parse(&(Policy::hardware_only() + rules)).expect("a policy");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::No,
        provider: casemate_crypto::provider(),
    };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let appraisal = verifier.verify_quote(quote, collateral, &expectations, now_ms);
    appraisal.verdict().failures().map(|check| check.code).collect()
}
