//! What Intel says: each member of each document, their dates and their lengths.

use std::collections::BTreeSet;

use casemate_crypto::AwsLc;
use casemate_evidence::intel::{CollateralError, EnclaveIdentity, Quote, TcbInfo};
use casemate_verify::intel::{
    AuthenticateError as E, AuthenticatedCollateral, ChainError as C, Collateral, CollateralFileError,
};
use casemate_verify::{AcceptSimulated, Channel, Expectations, Freshness, Policy, Verifier, Workload, tdx};
use serde_json::{Value, json};

use crate::machine::roots;
use crate::quote::variant;
use crate::support::intel::{Key, Machine};
use crate::support::{DAY_MS, NOW_MS};

#[test]
fn collateral_verified_once_does_not_outlive_its_dates() {
    let machine = Machine::tdx();
    let collateral = AuthenticatedCollateral::verify(&machine.collateral(), &roots(), NOW_MS, &AwsLc)
        .expect("nothing was changed");
    let quote = || Quote::parse(&machine.quote()).expect("a quote");
    assert!(tdx::authenticate_with(quote(), &collateral, NOW_MS, &AwsLc).is_ok());
    let end_ms = collateral.not_after_ms();
    assert_eq!(end_ms, NOW_MS + 20 * DAY_MS, "the revocation lists end first");
    assert!(tdx::authenticate_with(quote(), &collateral, end_ms, &AwsLc).is_ok());
    let late = tdx::authenticate_with(quote(), &collateral, end_ms + 1000, &AwsLc).err();
    assert!(matches!(late, Some(E::Chain(C::Expired { .. }))), "{late:?}");
    let early = tdx::authenticate_with(quote(), &collateral, NOW_MS - 6 * DAY_MS, &AwsLc).err();
    assert!(matches!(early, Some(E::Chain(C::NotYetValid { .. }))), "{early:?}");
}

/// A row: a member of a document, its new value, and what comes of it: an error of the parser or of
/// authentication by its name, the codes of failed checks, or nothing.
type Member = (&'static str, Value, fn(&mut Machine), &'static [&'static str]);

fn as_it_is(_: &mut Machine) {}

fn tcb_info_rows() -> Vec<Member> {
    let stale: &[&str] = &["policy.intel.tcb_statuses", "policy.intel.accepted_advisories"];
    let module_0: fn(&mut Machine) = |machine| {
        machine.td().tee_tcb_svn = [5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].into();
    };
    let module_0_marked: fn(&mut Machine) = |machine| {
        machine.td().tee_tcb_svn = [5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].into();
        machine.td().seam_attributes = [0, 0, 0, 0, 0, 0, 0, 1];
    };
    let marked: fn(&mut Machine) = |machine| machine.td().seam_attributes = [0, 0, 0, 0, 0, 0, 0, 1];
    let one = json!("0000000000000001");
    let none = json!("0000000000000000");
    vec![
        ("id", json!("SGX"), as_it_is, &["WrongTee"]),
        ("version", json!(4), as_it_is, &["Version"]),
        ("issueDate", json!("2026-01-02T00:00:00Z"), as_it_is, &["intel.tcb_info_time"]),
        ("nextUpdate", json!("2025-12-31T00:00:00Z"), as_it_is, &["intel.tcb_info_time"]),
        ("fmspc", json!("b0c06f000001"), as_it_is, &["intel.collateral_platform"]),
        ("pceId", json!("0001"), as_it_is, &["intel.collateral_platform"]),
        ("tcbType", json!(1), as_it_is, &["TcbType"]),
        ("tcbEvaluationDataNumber", json!(16), as_it_is, &["policy.intel.minimum_tcb_evaluation_number"]),
        ("tdxModule.mrsigner", json!("11".repeat(48)), module_0, &["tdx.module_signer"]),
        ("tdxModule.attributes", one.clone(), module_0, &["tdx.module_attributes"]),
        ("tdxModule.attributesMask", none.clone(), module_0_marked, &[]),
        ("tdxModuleIdentities[].id", json!("TDX_09"), as_it_is, &["tdx.module_version"]),
        ("tdxModuleIdentities[].mrsigner", json!("11".repeat(48)), as_it_is, &["tdx.module_signer"]),
        ("tdxModuleIdentities[].attributes", one, as_it_is, &["tdx.module_attributes"]),
        ("tdxModuleIdentities[].attributesMask", none, marked, &[]),
        ("tdxModuleIdentities[].tcbLevels[].tcb.isvsvn", json!(6), as_it_is, stale),
        ("tdxModuleIdentities[].tcbLevels[].tcbDate", json!("2026-01-01"), as_it_is, &["Json"]),
        ("tdxModuleIdentities[].tcbLevels[].tcbStatus", json!("OutOfDate"), as_it_is, &stale[..1]),
        ("tdxModuleIdentities[].tcbLevels[].advisoryIDs", json!(["INTEL-SA-00001"]), as_it_is, &stale[1..]),
        ("tcbLevels[].tcb.sgxtcbcomponents[].svn", json!(8), as_it_is, stale),
        ("tcbLevels[].tcb.pcesvn", json!(14), as_it_is, stale),
        // The first byte is the module's minor version; from major version 1 on its identity judges it.
        ("tcbLevels[].tcb.tdxtcbcomponents[].svn", json!(6), module_0, stale),
        ("tcbLevels[].tcbDate", json!("yesterday"), as_it_is, &["Json"]),
        ("tcbLevels[].tcbStatus", json!("ConfigurationNeeded"), as_it_is, &stale[..1]),
        ("tcbLevels[].advisoryIDs", json!(["INTEL-SA-00001"]), as_it_is, &stale[1..]),
    ]
}

fn qe_identity_rows() -> Vec<Member> {
    let stale: &[&str] = &["policy.intel.tcb_statuses", "policy.intel.accepted_advisories"];
    let selected: fn(&mut Machine) = |machine| machine.quoting_enclave.misc_select = [1, 0, 0, 0];
    let debugged: fn(&mut Machine) = |machine| machine.quoting_enclave.attributes.flags |= 0b10;
    vec![
        ("id", json!("QE"), as_it_is, &["intel.collateral_tee"]),
        ("version", json!(1), as_it_is, &["Version"]),
        ("issueDate", json!("2026-01-02T00:00:00Z"), as_it_is, &["intel.qe_identity_time"]),
        ("nextUpdate", json!("2025-12-31T00:00:00Z"), as_it_is, &["intel.qe_identity_time"]),
        ("tcbEvaluationDataNumber", json!(16), as_it_is, &["policy.intel.minimum_tcb_evaluation_number"]),
        ("miscselect", json!("00000001"), as_it_is, &["intel.qe_misc_select"]),
        ("miscselectMask", json!("00000000"), selected, &[]),
        ("attributes", json!("11".repeat(16)), as_it_is, &["intel.qe_attributes"]),
        ("attributesMask", json!("01".to_owned() + &"00".repeat(15)), debugged, &[]),
        ("mrsigner", json!("11".repeat(32)), as_it_is, &["intel.qe_signer"]),
        ("isvprodid", json!(1), as_it_is, &["intel.qe_product"]),
        ("tcbLevels[].tcb.isvsvn", json!(7), as_it_is, stale),
        ("tcbLevels[].tcbDate", json!(""), as_it_is, &["Json"]),
        ("tcbLevels[].tcbStatus", json!("Revoked"), as_it_is, &stale[..1]),
        ("tcbLevels[].advisoryIDs", json!(["INTEL-SA-00001"]), as_it_is, &stale[1..]),
    ]
}

#[test]
fn each_member_of_each_document_is_looked_at() {
    for (index, rows) in [tcb_info_rows(), qe_identity_rows()].into_iter().enumerate() {
        let plain: Value =
            serde_json::from_slice(&Machine::tdx().documents()[index]).expect("a document is JSON");
        let mut in_document = BTreeSet::new();
        paths(&plain, "", &mut in_document);
        let in_rows: BTreeSet<String> = rows.iter().map(|row| row.0.to_owned()).collect();
        assert_eq!(in_document, in_rows);
        for (path, value, change, expected) in rows {
            let mut machine = Machine::tdx();
            change(&mut machine);
            let mut document = plain.clone();
            *member(&mut document, path) = value;
            machine.documents[index] = Some(document.to_string().into_bytes());
            assert_eq!(outcome(&machine), expected, "{path}");
        }
    }
}

#[test]
fn documents_are_closed() {
    for index in [0, 1] {
        let plain: Value =
            serde_json::from_slice(&Machine::tdx().documents()[index]).expect("a document is JSON");
        let mut objects = BTreeSet::new();
        object_paths(&plain, "", &mut objects);
        assert!(objects.len() >= 3, "{objects:?}");
        for path in objects {
            let mut document = plain.clone();
            let object = if path.is_empty() { &mut document } else { member(&mut document, &path) };
            object.as_object_mut().expect("an object").insert("surprise".into(), json!(1));
            let mut machine = Machine::tdx();
            machine.documents[index] = Some(document.to_string().into_bytes());
            assert_eq!(outcome(&machine), ["Json"], "a new member in {path:?}");
        }
        for name in plain.as_object().expect("an object").keys() {
            let mut document = plain.clone();
            document.as_object_mut().expect("an object").remove(name);
            let mut machine = Machine::tdx();
            machine.documents[index] = Some(document.to_string().into_bytes());
            let expected = match name.as_str() {
                "id" if index == 0 => "Version",
                "tdxModule" => "WrongTee",
                "tdxModuleIdentities" => "tdx.module_version",
                _ => "Json",
            };
            assert_eq!(outcome(&machine), [expected], "{name} is missing");
            // Twice the same member: which one counts is not for the reader to guess.
            let text = plain.to_string();
            let doubled = format!("{{\"{name}\":{},{}", plain[name], &text[1..]);
            machine.documents[index] = Some(doubled.into_bytes());
            assert_eq!(outcome(&machine), ["Json"], "{name} stands twice");
        }
        let mut empty = plain.clone();
        empty["tcbLevels"] = json!([]);
        let mut machine = Machine::tdx();
        machine.documents[index] = Some(empty.to_string().into_bytes());
        assert_eq!(outcome(&machine), ["NoLevels"]);
    }
}

/// Names what comes of a platform's evidence under a policy that accepts it as it was.
fn outcome(machine: &Machine) -> Vec<String> {
    let collateral = match machine.try_collateral() {
        Ok(collateral) => collateral,
        Err(error) => return vec![variant(&error)],
    };
    let policy = Policy::example(&[machine.root_digest()])
        .replace("measurements = \"expected\"", "measurements = \"any\"")
        .replace("digests = \"expected\"", "digests = \"any\"")
        .replace("report_data = \"expected\"", "report_data = \"any\"");
    let policy = Policy::parse(&policy).expect("well formed");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: &AwsLc,
    };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let appraisal = verifier.verify_quote(&machine.quote(), &collateral, &expectations, NOW_MS);
    appraisal.verdict().failures().map(|check| check.code.as_str().to_owned()).collect()
}

/// The members that hold values; those in lists under the name of the list with `[]`. Lists of texts are
/// values.
fn paths(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                paths(value, &format!("{prefix}{dot}{name}"), into);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().for_each(|value| paths(value, &format!("{prefix}[]"), into));
        }
        _ => drop(into.insert(prefix.to_owned())),
    }
}

fn object_paths(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            into.insert(prefix.to_owned());
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                object_paths(value, &format!("{prefix}{dot}{name}"), into);
            }
        }
        Value::Array(list) => {
            list.iter().for_each(|value| object_paths(value, &format!("{prefix}[]"), into));
        }
        _ => {}
    }
}

/// The member at a path; of lists the first.
fn member<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(value, |value, name| match name.strip_suffix("[]") {
        Some(name) => &mut value[name][0],
        None => &mut value[name],
    })
}

#[test]
fn bombs_are_refused_by_their_length() {
    let bomb = vec![b'['; 10 << 20];
    assert!(matches!(Quote::parse(&bomb), Err(casemate_evidence::intel::QuoteError::TooLong { .. })));
    assert!(matches!(TcbInfo::parse(&bomb), Err(CollateralError::TooLong { .. })));
    assert!(matches!(EnclaveIdentity::parse(&bomb), Err(CollateralError::TooLong { .. })));
    assert!(matches!(TcbInfo::parse_response(&bomb), Err(CollateralError::TooLong { .. })));
    assert!(matches!(
        Collateral::parse_json(&bomb),
        Err(CollateralFileError::Document(CollateralError::TooLong { .. }))
    ));
    // Below the limit, nesting ends it.
    assert!(matches!(TcbInfo::parse(&bomb[..100_000]), Err(CollateralError::Json { .. })));
    assert!(matches!(Collateral::parse_json(&bomb[..500_000]), Err(CollateralFileError::Json { .. })));
}

#[test]
fn an_answer_of_intels_service_is_split_where_its_signature_begins() {
    let machine = Machine::tdx();
    let [tcb_info, qe_identity] = machine.documents();
    let signature = Key::TcbSigning.sign(&tcb_info);
    let text = String::from_utf8(tcb_info.clone()).expect("JSON is text");
    let response = format!("{{\"tcbInfo\":{text},\"signature\":\"{signature}\"}}");
    let (found, found_signature) = TcbInfo::parse_response(response.as_bytes()).expect("an answer");
    assert_eq!((found.signed_bytes(), found_signature), (&tcb_info[..], signature));
    assert!(EnclaveIdentity::parse_response(response.as_bytes()).is_err(), "another document");
    let text = String::from_utf8(qe_identity.clone()).expect("JSON is text");
    let response = format!("{{\"enclaveIdentity\":{text},\"signature\":\"{signature}\"}}");
    let (found, _) = EnclaveIdentity::parse_response(response.as_bytes()).expect("an answer");
    assert_eq!(found.signed_bytes(), qe_identity);
    for broken in
        [response.replace("signature", "sign"), response.replace("{\"enclave", "{\"x\":1,\"enclave")]
    {
        assert!(EnclaveIdentity::parse_response(broken.as_bytes()).is_err(), "{broken}");
    }
}
