//! Recorded quotes of Intel platforms: every folder below `$CASEMATE_VECTORS/tdx` and `sgx`, with both
//! back ends. Each vector states what must come out at which time (`expected`) and what its bytes say
//! (`fields`).

mod vector;

use casemate_crypto::hash::sha256;
use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::{Body, Certification, EnclaveIdentity, Pck, Quote, TcbInfo};
use casemate_evidence::x509::{Certificate, PublicKey, RevocationList};
use casemate_verify::intel::{
    AuthenticateError, ChainError, Collateral, DocumentError, Link, Standing, check_attestation_key,
    check_qe_report_signature, check_quote_signature, verify_certificate, verify_root,
};
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, Outcome, Policy, Roots, TrustClass, Verdict,
    Verifier, Workload, sgx, tdx,
};
use serde_json::{Map, Value, json};
use vector::{Vector, check_fields, for_each_vector, hex, iso_time, serial, unix_ms};

const BACK_ENDS: [&dyn Provider; 2] = [&AwsLc, &RustCrypto];
const DAY_MS: u64 = 86_400_000;

#[test]
fn tdx_vectors() {
    for_each_vector("tdx", check_vector);
}

#[test]
fn sgx_vectors() {
    for_each_vector("sgx", check_vector);
}

fn check_vector(vector: &Vector) {
    let bytes = vector.file("quote.bin");
    let quote = Quote::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    assert_eq!(quote.as_bytes(), bytes, "{}: the vectors end with the quote", vector.name);
    let chain = pck_chain(vector, &quote);
    let fields = vector.json["fields"].as_object().expect("a vector has fields");
    check_fields(vector, fields, |name, expected| field(vector, &quote, &chain, name, expected));
    let runs = vector.json["expected"]["runs"].as_array().cloned().unwrap_or_default();
    for provider in BACK_ENDS {
        match vector.result().as_str() {
            "verify_ok" => runs.iter().for_each(|run| check_good_run(vector, &quote, run, provider)),
            "signature_ok_collateral_or_policy_rejects" | "must_fail" => {
                assert!(!runs.is_empty(), "{}: a refusal has a time", vector.name);
                runs.iter().for_each(|run| check_bad_run(vector, &quote, run, provider));
            }
            "signature_chain_ok_no_collateral" => {
                assert_eq!(chain.len(), 3, "{}", vector.name);
                assert_signed(vector, &quote, &chain, provider);
                let trust = verify_root(&chain[2], &Roots::builtin(), chain[0].not_before_ms(), provider);
                assert_eq!(trust, Ok(TrustClass::Real), "{}", vector.name);
            }
            "quote_signature_ok_no_pck_chain" => {
                let certification = &quote.signature().certification;
                assert!(matches!(certification, Certification::Name(_)), "{}", vector.name);
                check_quote_signature(&quote, provider).expect("the attestation key signed");
                check_attestation_key(quote.signature()).expect("the Quoting Enclave made the key");
            }
            "must_fail_under_production_root" => check_test_root(vector, &quote, &chain, provider),
            "parse_only" => assert!(!fields.is_empty(), "{}", vector.name),
            other => panic!("{}: expected result {other:?} is unknown to this test", vector.name),
        }
    }
}

/// At the run's time everything holds, with Intel's word as recorded; a day after its end nothing does.
fn check_good_run(vector: &Vector, quote: &Quote, run: &Value, provider: &dyn Provider) {
    let (collateral, now_ms) = (collateral(vector, run), time_ms(run));
    let context = format!("{} at {now_ms} with {}", vector.name, provider.name());
    let standing = authenticate(quote, &collateral, &Roots::builtin(), now_ms, provider)
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    let word =
        |status: Option<casemate_evidence::intel::TcbStatus>| json!(status.map(|status| status.name()));
    assert_eq!(word(standing.status), run["tcb_status"], "{context}: {standing:?}");
    let enclave = standing.quoting_enclave.as_ref().map(|judgement| judgement.status);
    assert_eq!(word(enclave), run["qe_status"], "{context}");
    if run["platform_status"] != run["tcb_status"] {
        assert_eq!(word(standing.platform.as_ref().map(|found| found.status)), run["platform_status"]);
    }
    let mut found: Vec<&str> = standing.advisories();
    let mut expected: Vec<&str> = run["advisory_ids"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|id| id.as_str().expect("a text"))
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{context}");

    let until_ms = unix_ms(run["valid_until"].as_str().expect("a run ends"));
    authenticate(quote, &collateral, &Roots::builtin(), until_ms, provider)
        .unwrap_or_else(|error| panic!("{context}: not valid until its end: {error}"));
    assert!(run["one_day_after_valid_until"].as_str().is_some_and(|text| text.starts_with("must_fail")));
    let late = authenticate(quote, &collateral, &Roots::builtin(), until_ms + DAY_MS, provider);
    assert!(is_expired(&late), "{context}: {late:?}");

    // Through the whole verifier, and as a bundle.
    let verdict = appraise(quote, &collateral, now_ms, provider);
    let status = verdict.checks().find(|check| check.code == Code::TcbStatus).expect("a status is asked for");
    assert_eq!(serde_json::to_value(&status.found).expect("JSON"), run["tcb_status"], "{context}");
    let expected = if run["tcb_status"] == "UpToDate" { Outcome::Verified } else { Outcome::Refused };
    assert_eq!(verdict.outcome(), expected, "{context}: {:?}", failures(&verdict));
    let refused: Vec<Code> = failures(&verdict);
    assert!(refused.iter().all(|code| [Code::TcbStatus, Code::Advisories].contains(code)), "{refused:?}");
}

/// Every signature may hold, but the run is refused for the reason recorded.
fn check_bad_run(vector: &Vector, quote: &Quote, run: &Value, provider: &dyn Provider) {
    let (collateral, now_ms) = (collateral(vector, run), time_ms(run));
    let verdict = appraise(quote, &collateral, now_ms, provider);
    let context = format!("{} with {}: {:?}", vector.name, provider.name(), failures(&verdict));
    assert_ne!(verdict.outcome(), Outcome::Verified, "{context}");
    let reason = run.get("reason").or(vector.json["expected"].get("reason")).and_then(Value::as_str);
    let expected: &[Code] = match reason.unwrap_or_default() {
        "Debug mode is enabled" => &[Code::EnclaveDebug, Code::TdDebug],
        "SEPT_VE_DISABLE is not enabled" => &[Code::TdSeptVeDisable],
        "Invalid MR service TD" => &[Code::ServiceTd],
        "No matching TCB level found" => &[Code::TcbLevel],
        "ISV enclave report signature is invalid" | "quote signature" => &[Code::QuoteSignature],
        "QE identity signature" => &[Code::QeIdentitySignature],
        "TCB info signature" => &[Code::TcbInfoSignature],
        "collateral not yet valid" => &[Code::TcbInfoTime, Code::QeIdentityTime, Code::IntelCertificateTime],
        "collateral expired" => &[Code::TcbInfoTime, Code::QeIdentityTime, Code::IntelCertificateTime],
        // A reason that this test does not know: refused it is, above.
        _ => return,
    };
    assert!(failures(&verdict).iter().any(|code| expected.contains(code)), "{context}: {reason:?}");
    if vector.result() != "must_fail" {
        let genuine = authenticate(quote, &collateral, &Roots::builtin(), now_ms, provider);
        let signed = run["reason"] == "ISV enclave report signature is invalid";
        assert!(genuine.is_ok() || signed, "{context}: {genuine:?}");
    }
}

/// Samples of Intel's verification library under a root of its own: good signatures, no trust.
fn check_test_root(vector: &Vector, quote: &Quote, chain: &[Certificate], provider: &dyn Provider) {
    let (leaf, root) = (&chain[0], &chain[2]);
    let now_ms = leaf.not_before_ms() + DAY_MS;
    let refused = verify_root(root, &Roots::builtin(), now_ms, provider);
    assert!(matches!(refused, Err(ChainError::UntrustedRoot { .. })), "{}: {refused:?}", vector.name);
    assert_signed(vector, quote, chain, provider);
    let with_test_root = vector.json["expected"]["with_test_root"].as_object().expect("an object");
    for (name, expected) in with_test_root {
        assert_eq!(json!(single_check(name, quote, chain, provider)), *expected, "{}: {name}", vector.name);
    }
    // As a simulated root it carries a whole verification, where the sample's collateral keeps to Intel's
    // format (the sample for TDX has security versions above 255).
    let Ok(info) = TcbInfo::parse_response(&vector.file("tcbInfo.json")) else { return };
    let identity = EnclaveIdentity::parse_response(&vector.file("qeIdentity.json")).expect("an identity");
    let signers = in_order(pem(vector, "tcbSignChain.pem"));
    let list = |file| RevocationList::parse(&vector.file(file)).expect("a revocation list");
    let collateral = Collateral {
        tcb_info: info.0,
        tcb_info_signature: info.1,
        tcb_info_signer: signers[0].clone(),
        qe_identity: identity.0,
        qe_identity_signature: identity.1,
        qe_identity_signer: signers[0].clone(),
        root: root.clone(),
        root_revocation_list: list("rootCaCrl.der"),
        pck_revocation_list: list("intermediateCaCrl.der"),
        pck_chain: chain.to_vec(),
    };
    let simulated = casemate_verify::SimulatedRoot { key_digest: root.public_key_digest() };
    let roots = Roots::none().with_simulated([simulated]);
    let found = authenticate(quote, &collateral, &roots, now_ms, provider);
    assert!(found.is_ok(), "{}: {found:?}", vector.name);
}

fn authenticate(
    quote: &Quote,
    collateral: &Collateral,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<Standing, AuthenticateError> {
    let quote = quote.clone();
    Ok(match quote.body() {
        Body::Tdx(_) => tdx::authenticate(quote, collateral, roots, now_ms, provider)?.standing().clone(),
        Body::Sgx(_) => sgx::authenticate(quote, collateral, roots, now_ms, provider)?.standing().clone(),
    })
}

fn is_expired(found: &Result<Standing, AuthenticateError>) -> bool {
    use {ChainError as C, DocumentError as D};
    let Err(AuthenticateError::Collateral(error)) = found else { return false };
    matches!(error, D::Expired { .. } | D::Chain(C::Expired { .. }))
}

/// Under a policy that asks for nothing that depends on who runs the guest.
fn appraise(quote: &Quote, collateral: &Collateral, now_ms: u64, provider: &dyn Provider) -> Verdict {
    let policy = Policy::example(&[])
        .replace("minimum_tcb_evaluation_number = 17", "minimum_tcb_evaluation_number = \"any\"")
        .replace("measurements = \"expected\"", "measurements = \"any\"")
        .replace("digests = \"expected\"", "digests = \"any\"")
        .replace("report_data = \"expected\"", "report_data = \"any\"")
        + SGX_RULES;
    let policy = Policy::parse(&policy).expect("the policy is well formed");
    let verifier =
        Verifier { policy: &policy, roots: &policy.roots(), accept_simulated: AcceptSimulated::No, provider };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let alone = verifier.verify_quote(quote.as_bytes(), collateral, &expectations, now_ms);
    let bytes = quote.as_bytes().to_vec().into();
    let item =
        if matches!(quote.body(), Body::Tdx(_)) { Item::TdxQuote(bytes) } else { Item::SgxQuote(bytes) };
    let bundle = Bundle::new([item, Item::IntelCollateral(collateral.to_bundle_item())]);
    let bundle = Bundle::parse(&bundle.to_bytes()).expect("a bundle");
    let bundled = verifier.verify_bundle(&bundle, None, &expectations, now_ms);
    assert_eq!(alone.verdict(), bundled.verdict());
    alone.verdict().clone()
}

const SGX_RULES: &str = r#"
[sgx]
mr_signers = "any"
isv_prod_ids = "any"
minimum_isv_svn = 0
debug = "forbidden"
provision_key = "any"
"#;

fn failures(verdict: &Verdict) -> Vec<Code> {
    verdict.failures().map(|check| check.code).collect()
}

fn collateral(vector: &Vector, run: &Value) -> Collateral {
    let file = run["collateral"].as_str().expect("a run names its collateral");
    Collateral::parse_json(&vector.file(file))
        .unwrap_or_else(|error| panic!("{}: {file}: {error}", vector.name))
}

fn time_ms(run: &Value) -> u64 {
    run["timestamp"].as_u64().expect("a run has a time") * 1000
}

/// PCK certificate, authority, root: from the quote, or from files beside it.
fn pck_chain(vector: &Vector, quote: &Quote) -> Vec<Certificate> {
    if vector.folder.join("pckCert.pem").exists() {
        let mut chain = pem(vector, "pckCert.pem");
        chain.extend(in_order(pem(vector, "pckSignChain.pem")));
        return chain;
    }
    let certificates = quote.signature().certification.certificates();
    certificates.unwrap_or_else(|error| panic!("{}: {error}", vector.name))
}

/// The root last.
fn in_order(mut chain: Vec<Certificate>) -> Vec<Certificate> {
    chain.sort_by_key(|certificate| certificate.subject() == certificate.issuer());
    chain
}

fn pem(vector: &Vector, file: &str) -> Vec<Certificate> {
    let text = String::from_utf8(vector.file(file)).expect("PEM is text");
    Certificate::parse_pem(&text).unwrap_or_else(|error| panic!("{}: {file}: {error}", vector.name))
}

fn assert_signed(vector: &Vector, quote: &Quote, chain: &[Certificate], provider: &dyn Provider) {
    for name in CHAIN_CHECKS {
        assert!(single_check(name, quote, chain, provider), "{}: {name}", vector.name);
    }
}

const CHAIN_CHECKS: [&str; 6] = [
    "quote_signature",
    "qe_report_data_binds_attestation_key",
    "qe_report_signature_by_pck",
    "pck_by_ca",
    "ca_by_root",
    "root_self_signed",
];

/// One check by itself, as the vectors list them.
fn single_check(name: &str, quote: &Quote, chain: &[Certificate], provider: &dyn Provider) -> bool {
    let issued =
        |link, index: usize, by: usize| verify_certificate(link, &chain[index], &chain[by], provider).is_ok();
    match name {
        "quote_signature" => check_quote_signature(quote, provider).is_ok(),
        "qe_report_data_binds_attestation_key" => check_attestation_key(quote.signature()).is_ok(),
        "qe_report_signature_by_pck" => {
            let PublicKey::P256(key) = chain[0].public_key() else { return false };
            check_qe_report_signature(quote.signature(), key, provider).is_ok()
        }
        "pck_by_ca" => issued(Link::Pck, 0, 1),
        "ca_by_root" => issued(Link::PckAuthority, 1, 2),
        "root_self_signed" => issued(Link::Root, 2, 2),
        "root_is_intel_production_root" => {
            let found = chain[2].public_key_digest();
            Roots::builtin().intel().iter().any(|root| root.key_digest == found)
        }
        other => panic!("check {other:?} is unknown to this test"),
    }
}

fn field(vector: &Vector, quote: &Quote, chain: &[Certificate], name: &str, expected: &Value) -> Value {
    match name {
        "version" => json!(quote.version().number()),
        "att_key_type" => json!(casemate_evidence::intel::ENCLAVE_QUOTE_KEY_TYPE),
        "tee_type" => json!(format!("{:#x}", quote.tee_type())),
        "qe_svn" => json!(quote.qe_svn()),
        "pce_svn" => json!(quote.pce_svn()),
        "qe_vendor_id" => hex(&quote.qe_vendor_id()),
        "user_data" => hex(&quote.user_data()),
        "body_type" => json!(quote.body_type()),
        "signature_section_size" => json!(quote.signature_data_len()),
        "trailing_bytes" => json!(quote.padding_len()),
        "cert_data_type" => json!(quote.signature().certification.kind()),
        "qe_report" => {
            let report = &quote.signature().qe_report;
            json!({
                "mr_signer": report.mr_signer(),
                "isv_prod_id": report.isv_prod_id(),
                "isv_svn": report.isv_svn(),
            })
        }
        "fmspc" => json!(chain.first().map(|leaf| Pck::read(leaf).expect("a PCK certificate").fmspc())),
        "pck" => pck_fields(&chain[0], expected),
        "pck_revoked" => {
            let list = RevocationList::parse(&vector.file("intermediateCaCrl.der")).expect("a list");
            json!(list.revoked().any(|revoked| revoked == chain[0].serial_number()))
        }
        "intermediate_crl_revoked" => {
            let list = RevocationList::parse(&vector.file("intermediateCaCrl.der")).expect("a list");
            json!(list.revoked().map(serial).collect::<Vec<_>>())
        }
        "checks" => Value::Object(
            expected
                .as_object()
                .expect("checks are an object")
                .keys()
                .map(|check| {
                    let found = BACK_ENDS.map(|provider| single_check(check, quote, chain, provider));
                    assert_eq!(found[0], found[1], "{}: the back ends disagree about {check}", vector.name);
                    (check.clone(), json!(found[0]))
                })
                .collect(),
        ),
        _ => match quote.body() {
            Body::Tdx(report) => tdx_field(report, name),
            Body::Sgx(report) => sgx_field(report, name),
        },
    }
}

fn pck_fields(leaf: &Certificate, expected: &Value) -> Value {
    let found = |name: &str| match name {
        "issuer" => json!(leaf.issuer_common_name()),
        "serial" => json!(serial(leaf.serial_number())),
        "not_before" => json!(iso_time(leaf.not_before_ms())),
        "not_after" => json!(iso_time(leaf.not_after_ms())),
        other => panic!("PCK field {other:?} is unknown to this test"),
    };
    let names = expected.as_object().expect("an object").keys();
    Value::Object(names.map(|name| (name.clone(), found(name))).collect::<Map<_, _>>())
}

fn tdx_field(report: &casemate_evidence::tdx::Report, name: &str) -> Value {
    let service = || report.service_td().expect("reports of TDX 1.5 only");
    match name {
        "tee_tcb_svn" => json!(report.tee_tcb_svn()),
        "mr_seam" => json!(report.mr_seam()),
        "mr_signer_seam" => json!(report.mr_signer_seam()),
        "seam_attributes" => hex(&report.seam_attributes()),
        "td_attributes" => hex(&report.td_attributes().bits().to_le_bytes()),
        "xfam" => hex(&report.xfam().bits().to_le_bytes()),
        "mr_td" => json!(report.mr_td()),
        "mr_config_id" => hex(&report.mr_config_id()),
        "mr_owner" => hex(&report.mr_owner()),
        "mr_owner_config" => hex(&report.mr_owner_config()),
        "rtmr0" => json!(report.rtmr(0)),
        "rtmr1" => json!(report.rtmr(1)),
        "rtmr2" => json!(report.rtmr(2)),
        "rtmr3" => json!(report.rtmr(3)),
        "report_data" => json!(report.report_data()),
        "tee_tcb_svn_2" => json!(service().tee_tcb_svn_2),
        "mr_service_td" => json!(service().mr_service_td),
        "td_attributes_bits" => {
            let found = report.td_attributes();
            json!({
                "debug": found.debug(),
                "sept_ve_disable": found.sept_ve_disable(),
                "migratable": found.migratable(),
                "pks": found.pks(),
                "kl": found.key_locker(),
                "perfmon": found.perfmon(),
            })
        }
        other => panic!("field {other:?} is unknown to this test"),
    }
}

fn sgx_field(report: &casemate_evidence::sgx::Report, name: &str) -> Value {
    match name {
        "cpu_svn" => hex(&report.cpu_svn()),
        "misc_select" => hex(&report.misc_select()),
        "attributes" => hex(&report.attributes().to_bytes()),
        "mr_enclave" => json!(report.mr_enclave()),
        "mr_signer" => json!(report.mr_signer()),
        "isv_prod_id" => hex(&report.isv_prod_id().to_le_bytes()),
        "isv_svn" => hex(&report.isv_svn().to_le_bytes()),
        "report_data" => json!(report.report_data()),
        "debug" => json!(report.attributes().debug()),
        other => panic!("field {other:?} is unknown to this test"),
    }
}

/// Every vector is the file that its description speaks of.
#[test]
fn intel_vector_files_are_whole() {
    for kind in ["tdx", "sgx"] {
        for_each_vector(kind, |vector| {
            for (file, expected) in vector.json["files"].as_object().expect("files are an object") {
                assert_eq!(json!(sha256(&vector.file(file))), expected["sha256"], "{}: {file}", vector.name);
            }
        });
    }
}
