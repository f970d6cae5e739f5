//! Recorded hardware evidence: every folder below `$CASEMATE_VECTORS/snp` and `snp-certs`, with both
//! back ends. Each vector states what must come out (`expected`) and what its bytes say (`fields`).
//!
//! The vectors are not part of the project. Without them these tests say so and pass, except in CI.

mod vector;

use std::collections::BTreeMap;

use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_evidence::snp::{Leaf, Product, Report, SigningKeyKind, TcbVersion};
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::snp::{
    AuthenticateError, AuthenticatedChain, ChainError, Endorsements, Link, check_chip, check_tcb,
    verify_certificate, verify_revocation_list,
};
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, Policy, Roots, TrustClass, Verifier, Workload,
};
use serde_json::{Map, Value, json};
use vector::{Vector, check_fields, for_each_vector, hex, iso_time, serial, unix_ms};

const BACK_ENDS: [&dyn Provider; 2] = [&AwsLc, &RustCrypto];

#[test]
fn snp_vectors() {
    for_each_vector("snp", check_report_vector);
}

#[test]
fn snp_certificate_vectors() {
    for_each_vector("snp-certs", check_certificate_vector);
}

/// A policy that asks for VMPL 0 and nothing that was not possible when the vectors were recorded.
#[test]
fn snp_vectors_meet_a_policy_that_asks_for_vmpl_0() {
    for_each_vector("snp", |vector| {
        if vector.result() != "verify_ok" {
            return; // refused before a policy is asked; see above
        }
        let mut policy = Policy::example(&[])
            .replace("signing_keys = [\"VCEK\"]", "signing_keys = \"any\"")
            .replace("minimum_report_version = 3", "minimum_report_version = 2")
            .replace("alias_check = \"required\"", "alias_check = \"any\"")
            .replace("measurements = \"expected\"", "measurements = \"any\"")
            .replace("digests = \"expected\"", "digests = \"any\"")
            .replace("report_data = \"expected\"", "report_data = \"any\"");
        for floor in [
            "Milan = 222",
            "Milan-X = 71",
            "Genoa = 86",
            "Genoa-X = 81",
            "Bergamo = 25",
            "Turin = 81",
            "Turin-Dense = 71",
        ] {
            let (design, _) = floor.split_once(" = ").expect("a design and its floor");
            assert!(policy.contains(floor), "{floor}");
            policy = policy.replace(floor, &format!("{design} = 0"));
        }
        for part in ["fmc", "bootloader", "tee", "snp"] {
            policy = policy
                .lines()
                .map(|line| {
                    if line.starts_with(&format!("{part} = ")) { format!("{part} = 0") } else { line.into() }
                })
                .collect::<Vec<String>>()
                .join("\n");
        }
        let policy = Policy::parse(&policy).expect("the policy is well formed");
        let expectations = Expectations {
            freshness: Freshness::Unchecked,
            workload: Workload::Unchecked,
            images: Vec::new(),
            channel: Channel::Unchecked,
        };
        for provider in BACK_ENDS {
            let verifier = Verifier {
                policy: &policy,
                roots: &policy.roots(),
                accept_simulated: AcceptSimulated::No,
                provider,
            };
            let now_ms = vector.window().middle();
            let report = vector.file("report.bin");
            let appraisal = verifier.verify_report(&report, &vector.endorsements(), &expectations, now_ms);
            let verdict = appraisal.verdict();
            let failures: Vec<_> = verdict.failures().map(|check| check.code).collect();
            let expected: &[Code] = if vector.json["fields"]["vmpl"] == 0 { &[] } else { &[Code::Vmpl] };
            assert_eq!(failures, expected, "{}", vector.name);
            assert_eq!(verdict.trust_class(), Some(TrustClass::Real), "{}", vector.name);
        }
    });
}

fn check_report_vector(vector: &Vector) {
    let result = vector.result();
    let parsed = Report::parse(&vector.file("report.bin"));
    let fields = vector.json["fields"].as_object().expect("a vector has fields");
    if let Ok(report) = &parsed {
        let product = fields.get("product").and_then(Value::as_str).map(product_named);
        check_fields(vector, fields, |name, expected| report_field(report, product, name, expected));
    }
    let leaf = vector.leaf().map(|bytes| Certificate::parse(&bytes));
    if let Some(expected) = fields.get("leaf") {
        let leaf =
            leaf.as_ref().expect("a vector with leaf fields has a leaf").as_ref().expect("the leaf parses");
        check_leaf_fields(vector, leaf, expected.as_object().expect("leaf fields are an object"));
    }
    for provider in BACK_ENDS {
        let context = format!("{} with {}", vector.name, provider.name());
        if let (Ok(report), Some(checks)) = (&parsed, fields.get("checks")) {
            let endorsements = vector.endorsements();
            for (name, expected) in checks.as_object().expect("checks are an object") {
                let found = single_check(name, Some(report), &endorsements, provider);
                assert_eq!(json!(found), *expected, "{context}: {name}");
            }
        }
        match result.as_str() {
            "parse_only" => assert!(parsed.is_ok(), "{context}: {parsed:?}"),
            "must_fail" => {
                for now_ms in vector.times() {
                    let outcome = verify(&parsed, vector, now_ms, provider);
                    assert!(outcome.is_err(), "{context} at {now_ms}: must be refused, but verifies");
                }
            }
            "verify_ok" => {
                let window = vector.window();
                for now_ms in [window.start, window.middle(), window.end] {
                    let class = verify(&parsed, vector, now_ms, provider)
                        .unwrap_or_else(|error| panic!("{context} at {now_ms}: {error}"));
                    assert_eq!(class, TrustClass::Real, "{context}");
                }
                let early = verify(&parsed, vector, window.start - 1000, provider);
                assert!(early.is_err(), "{context}: accepted a second before its window");
                let late = verify(&parsed, vector, window.end + 1000, provider);
                assert!(late.is_err(), "{context}: accepted a second after its window");
            }
            other => panic!("{context}: expected result {other:?} is unknown to this test"),
        }
    }
}

fn check_certificate_vector(vector: &Vector) {
    let fields = vector.json["fields"].as_object().expect("a vector has fields");
    for provider in BACK_ENDS {
        let context = format!("{} with {}", vector.name, provider.name());
        match vector.result().as_str() {
            "crl_signature_ok" => {
                let list = RevocationList::parse(&vector.file("crl.der")).expect("the list parses");
                let root = vector.pem("ark.pem").remove(0);
                verify_revocation_list(&list, &root, provider)
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
                let window = vector.window();
                assert_eq!(
                    (list.this_update_ms(), list.next_update_ms()),
                    (window.start, window.end),
                    "{context}"
                );
                check_fields(vector, fields, |name, _| match name {
                    "issuer" => json!(list.issuer_common_name()),
                    "revoked" => json!(list.revoked().map(serial).collect::<Vec<_>>()),
                    // The serial number of the ASK in force: not on the list.
                    "current_ask_serial" => {
                        let current = fields[name].as_str().expect("a serial number is text");
                        assert!(list.revoked().all(|revoked| serial(revoked) != current), "{context}");
                        json!(current)
                    }
                    other => panic!("{context}: field {other:?} is unknown to this test"),
                });
            }
            "chain_ok" if fields.contains_key("ark") => {
                let [ark, ask, asvk] =
                    ["ark.pem", "ask.pem", "asvk.pem"].map(|file| vector.pem(file).remove(0));
                verify_certificate(Link::Root, &ark, &ark, provider).expect(&context);
                verify_certificate(Link::Intermediate, &ask, &ark, provider).expect(&context);
                verify_certificate(Link::Intermediate, &asvk, &ark, provider).expect(&context);
                assert!(
                    Roots::builtin().amd().iter().any(|root| root.key_digest == ark.public_key_digest()),
                    "{context}: this root is not built in"
                );
                let by_name = BTreeMap::from([("ark", &ark), ("ask", &ask), ("asvk", &asvk)]);
                check_fields(vector, fields, |name, _| {
                    let certificate =
                        by_name.get(name).unwrap_or_else(|| panic!("{context}: field {name:?}"));
                    json!({
                        "serial": serial(certificate.serial_number()),
                        "sha256": casemate_crypto::hash::sha256(certificate.as_der()).to_string(),
                        "not_after": iso_time(certificate.not_after_ms()),
                    })
                });
            }
            "chain_ok" => {
                let endorsements = vector.endorsements();
                let window = vector.window();
                for now_ms in [window.start, window.middle(), window.end] {
                    AuthenticatedChain::verify(&endorsements, &Roots::builtin(), now_ms, provider)
                        .unwrap_or_else(|error| panic!("{context} at {now_ms}: {error}"));
                }
                for now_ms in [window.start - 1000, window.end + 1000] {
                    let outcome =
                        AuthenticatedChain::verify(&endorsements, &Roots::builtin(), now_ms, provider);
                    assert!(
                        matches!(outcome, Err(ChainError::NotYetValid { .. } | ChainError::Expired { .. })),
                        "{context} at {now_ms}: {outcome:?}"
                    );
                }
                check_fields(vector, fields, |name, expected| match name {
                    "leaf" => {
                        let fields = expected.as_object().expect("leaf fields are an object");
                        check_leaf_fields(vector, &endorsements.leaf, fields);
                        expected.clone()
                    }
                    "checks" => Value::Object(
                        expected
                            .as_object()
                            .expect("checks are an object")
                            .keys()
                            .map(|check| {
                                let passed = single_check(check, None, &endorsements, provider);
                                (check.clone(), json!(passed))
                            })
                            .collect(),
                    ),
                    other => panic!("{context}: field {other:?} is unknown to this test"),
                });
            }
            other => panic!("{context}: expected result {other:?} is unknown to this test"),
        }
    }
}

fn verify(
    parsed: &Result<Report, casemate_evidence::snp::ReportError>,
    vector: &Vector,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<TrustClass, String> {
    let report = parsed.clone().map_err(|error| error.to_string())?;
    let genuine = casemate_verify::snp::authenticate(
        report,
        &vector.endorsements(),
        &Roots::builtin(),
        now_ms,
        provider,
    )
    .map_err(|error| error.to_string())?;
    Ok(genuine.trust_class())
}

/// One check by itself, as the vectors list them.
fn single_check(
    name: &str,
    report: Option<&Report>,
    endorsements: &Endorsements,
    provider: &dyn Provider,
) -> bool {
    let Endorsements { leaf, intermediate, root, .. } = endorsements;
    let statements = || Leaf::read(leaf).expect("the leaf's extensions are readable");
    let report = || report.expect("this check needs a report");
    match name {
        "root_self_signed" => verify_certificate(Link::Root, root, root, provider).is_ok(),
        "intermediate_by_root" => {
            verify_certificate(Link::Intermediate, intermediate, root, provider).is_ok()
        }
        "leaf_by_intermediate" => verify_certificate(Link::Leaf, leaf, intermediate, provider).is_ok(),
        "report_signature_by_leaf" => provider
            .verify_p384(statements().public_key(), report().signed_bytes(), &report().signature())
            .is_ok(),
        "tcb_in_cert_equals_reported_tcb" => {
            !matches!(check_tcb(report(), &statements()), Err(AuthenticateError::Tcb { .. }))
        }
        "hwid_in_cert_equals_chip_id" => check_chip(report(), &statements()).is_ok(),
        other => panic!("check {other:?} is unknown to this test"),
    }
}

fn report_field(report: &Report, product: Option<Product>, name: &str, expected: &Value) -> Value {
    let tcb = |version: TcbVersion| tcb_json(version, report, product);
    match name {
        "version" => json!(report.version().number()),
        "guest_svn" => json!(report.guest_svn()),
        "policy" => json!(format!("{:#x}", report.policy().bits())),
        "policy_bits" => {
            let policy = report.policy();
            json!({
                "abi_minor": policy.abi_minor(),
                "abi_major": policy.abi_major(),
                "smt": policy.smt(),
                "migrate_ma": policy.migrate_ma(),
                "debug": policy.debug(),
                "single_socket": policy.single_socket(),
                "cxl_allow": policy.cxl_allow(),
                "mem_aes_256_xts": policy.mem_aes_256_xts(),
                "rapl_dis": policy.rapl_dis(),
                "ciphertext_hiding": policy.ciphertext_hiding(),
            })
        }
        "cpuid" => {
            let cpuid = report.cpuid().expect("a vector states the CPUID of version 3 and later only");
            json!({ "family_id": cpuid.family, "model_id": cpuid.model, "stepping": cpuid.stepping })
        }
        // Version 2 does not name the processor: the certificate does.
        "product" => {
            json!(report.cpuid().map_or(product, |cpuid| cpuid.product()).map(Product::name))
        }
        "family_id" => hex(&report.family_id()),
        "image_id" => hex(&report.image_id()),
        "vmpl" => json!(report.vmpl()),
        "signature_algo" => json!(report.signature_algorithm()),
        "current_tcb" => tcb(report.current_tcb()),
        "reported_tcb" => tcb(report.reported_tcb()),
        "committed_tcb" => tcb(report.committed_tcb()),
        "launch_tcb" => tcb(report.launch_tcb()),
        "platform_info" => json!(format!("{:#x}", report.platform_info().bits())),
        "flags" => {
            let flags = report.key_info();
            json!({
                "raw": format!("{:#x}", flags.bits()),
                "author_key_en": flags.author_key_enabled(),
                "mask_chip_key": flags.mask_chip_key(),
                "signing_key": flags.signing_key(),
            })
        }
        "report_data" => hex(report.report_data().as_ref()),
        "measurement" => hex(report.measurement().as_ref()),
        "host_data" => hex(report.host_data().as_ref()),
        "id_key_digest" => hex(&report.id_key_digest()),
        "author_key_digest" => hex(&report.author_key_digest()),
        "report_id" => hex(&report.report_id()),
        "report_id_ma" => hex(&report.report_id_ma()),
        "chip_id" => hex(report.chip_id().as_ref()),
        "current_build" => json!(report.current_version().build),
        "current_minor" => json!(report.current_version().minor),
        "current_major" => json!(report.current_version().major),
        "committed_build" => json!(report.committed_version().build),
        "committed_minor" => json!(report.committed_version().minor),
        "committed_major" => json!(report.committed_version().major),
        "launch_mit_vector" => json!(report.launch_mitigations().map(|vector| format!("{vector:#x}"))),
        "current_mit_vector" => json!(report.current_mitigations().map(|vector| format!("{vector:#x}"))),
        "leaf" | "checks" => expected.clone(), // compared on their own
        other => panic!("field {other:?} is unknown to this test"),
    }
}

fn tcb_json(version: TcbVersion, report: &Report, product: Option<Product>) -> Value {
    // Where nothing names the product, the vectors use the layout of Milan and Genoa.
    let product = report.cpuid().and_then(|cpuid| cpuid.product()).or(product).unwrap_or(Product::Milan);
    let tcb = version.components(product).expect("recorded TCB versions keep to their layout");
    let mut fields = json!({
        "raw": version.to_string(),
        "bootloader": tcb.bootloader,
        "tee": tcb.tee,
        "snp": tcb.snp,
        "microcode": tcb.microcode,
    });
    if let Some(fmc) = tcb.fmc {
        fields["fmc"] = json!(fmc);
    }
    fields
}

fn check_leaf_fields(vector: &Vector, certificate: &Certificate, fields: &Map<String, Value>) {
    let leaf = Leaf::read(certificate).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    let byte = |milan: usize, turin: usize| {
        json!(leaf.tcb().as_bytes()[if leaf.product() == Product::Turin { turin } else { milan }])
    };
    check_fields(vector, fields, |name, _| match name {
        "struct_version" => json!(leaf.structure_version()),
        "product_name" => json!(leaf.product_name()),
        "fmcSPL" => byte(usize::MAX, 0),
        "blSPL" => byte(0, 1),
        "teeSPL" => byte(1, 2),
        "spl4" => byte(2, usize::MAX),
        "spl5" => byte(3, 4),
        "spl6" => byte(4, 5),
        "spl7" => byte(5, 6),
        "snpSPL" => byte(6, 3),
        "ucodeSPL" => byte(7, 7),
        "hwid" => json!(leaf.hardware_id().map(|id| hex(id.as_bytes()))),
        "cspId" => json!(leaf.provider()),
        "not_before" => json!(iso_time(certificate.not_before_ms())),
        "not_after" => json!(iso_time(certificate.not_after_ms())),
        "subject_cn" => json!(certificate.subject_common_name()),
        "issuer_cn" => json!(certificate.issuer_common_name()),
        "serial" => json!(serial(certificate.serial_number())),
        other => panic!("{}: leaf field {other:?} is unknown to this test", vector.name),
    });
    let kind = if fields.contains_key("hwid") { SigningKeyKind::Vcek } else { SigningKeyKind::Vlek };
    assert_eq!(leaf.kind(), kind, "{}", vector.name);
}

trait SnpVector {
    fn pem(&self, name: &str) -> Vec<Certificate>;
    fn leaf(&self) -> Option<Vec<u8>>;
    fn endorsements(&self) -> Endorsements;
    fn window(&self) -> Window;
    fn times(&self) -> Vec<u64>;
}

impl SnpVector for Vector {
    fn pem(&self, name: &str) -> Vec<Certificate> {
        let text = String::from_utf8(self.file(name)).expect("PEM is text");
        Certificate::parse_pem(&text).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))
    }

    fn leaf(&self) -> Option<Vec<u8>> {
        ["vcek.der", "vlek.der"].iter().find_map(|name| std::fs::read(self.folder.join(name)).ok())
    }

    fn endorsements(&self) -> Endorsements {
        let chain = String::from_utf8(self.file("cert_chain.pem")).expect("PEM is text");
        let leaf = self.leaf().unwrap_or_else(|| panic!("{}: no leaf certificate", self.name));
        Endorsements::parse_with_pem_chain(&leaf, &chain)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn window(&self) -> Window {
        let at = |name: &str| {
            let text = self.json["expected"][name].as_str();
            unix_ms(text.unwrap_or_else(|| panic!("{}: expected.{name}", self.name)))
        };
        Window { start: at("valid_from"), end: at("valid_until") }
    }

    /// Times at which a refusal must hold: the vector's window, else inside the leaf's validity.
    fn times(&self) -> Vec<u64> {
        if self.json["expected"].get("valid_from").is_some() {
            let window = self.window();
            return vec![window.start, window.middle(), window.end];
        }
        let endorsements = self.endorsements();
        let leaf = &endorsements.leaf;
        vec![Window { start: leaf.not_before_ms(), end: leaf.not_after_ms() }.middle()]
    }
}

/// A span of time in milliseconds since 1970.
struct Window {
    start: u64,
    end: u64,
}

impl Window {
    fn middle(&self) -> u64 {
        self.start + (self.end - self.start) / 2
    }
}

fn product_named(name: &str) -> Product {
    Product::from_extension(name).unwrap_or_else(|| panic!("product {name:?}"))
}
