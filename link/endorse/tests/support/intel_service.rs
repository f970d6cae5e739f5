//! Intel's provisioning certification service on this machine: whatever collateral it is given, at the
//! paths and with the headers of its API.
#![allow(dead_code)] // each test file uses its part

use casemate_endorse::{CollateralServer, Etiquette, PckAuthority, Platform};
use casemate_evidence::intel::Tee;
use casemate_evidence::x509::Certificate;
use casemate_verify::intel::Collateral;

use crate::server::Server;

/// The paths of the service.
pub fn paths() -> CollateralServer {
    CollateralServer::at("", Etiquette::person()).expect("a client")
}

/// A platform's two lists, documents and the certificates behind them.
pub struct Published<'a> {
    pub collateral: &'a Collateral,
    pub platform: Platform,
    pub pck_authority: &'a Certificate,
}

/// Everything at its place.
pub fn publish(server: &Server, published: &Published) {
    let Published { collateral, platform, pck_authority } = published;
    let root = &collateral.root;
    let document = |name: &str, body: &[u8], signature: &[u8; 64]| {
        let body = std::str::from_utf8(body).expect("JSON is text");
        let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{\"{name}\":{body},\"signature\":\"{digits}\"}}").into_bytes()
    };
    let path = paths().tcb_info_address(platform);
    let signature = collateral.tcb_info_signature.as_bytes();
    server.answer(&path, 200, document("tcbInfo", collateral.tcb_info.signed_bytes(), signature));
    server.header(&path, "TCB-Info-Issuer-Chain", &encoded(&[&collateral.tcb_info_signer, root]));
    let path = paths().qe_identity_address(platform.tee);
    let signature = collateral.qe_identity_signature.as_bytes();
    server.answer(&path, 200, document("enclaveIdentity", collateral.qe_identity.signed_bytes(), signature));
    server.header(
        &path,
        "SGX-Enclave-Identity-Issuer-Chain",
        &encoded(&[&collateral.qe_identity_signer, root]),
    );
    let path = paths().pck_revocation_list_address(platform.authority);
    server.answer(&path, 200, collateral.pck_revocation_list.as_der().to_vec());
    server.header(&path, "SGX-PCK-CRL-Issuer-Chain", &encoded(&[pck_authority, root]));
    // As caches send it: digits of the DER.
    let digits: String =
        collateral.root_revocation_list.as_der().iter().map(|byte| format!("{byte:02x}")).collect();
    server.answer(&paths().root_revocation_list_address(), 200, digits.into_bytes());
}

/// The list of TCB evaluation data numbers, which begins with the least.
pub fn numbers(tee: Tee, issued: &str, next_update: &str, numbers: &[u32]) -> Vec<u8> {
    let tee = if tee == Tee::Sgx { "SGX" } else { "TDX" };
    let day = "2025-05-13T00:00:00Z";
    let listed: Vec<String> = numbers
        .iter()
        .map(|number| {
            format!(
                r#"{{"tcbEvaluationDataNumber":{number},"tcbRecoveryEventDate":"{day}","tcbDate":"{day}"}}"#
            )
        })
        .collect();
    let listed = listed.join(",");
    format!(
        r#"{{"id":"{tee}","version":1,"issueDate":"{issued}","nextUpdate":"{next_update}","tcbEvalNumbers":[{listed}]}}"#
    )
    .into_bytes()
}

/// Signed numbers at their place.
pub fn publish_numbers(
    server: &Server,
    tee: Tee,
    body: &[u8],
    signature: &[u8; 64],
    chain: [&Certificate; 2],
) {
    let path = paths().evaluation_numbers_address(tee);
    let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = std::str::from_utf8(body).expect("JSON is text");
    let answer = format!("{{\"tcbEvaluationDataNumbers\":{body},\"signature\":\"{digits}\"}}");
    server.answer(&path, 200, answer.into_bytes());
    server.header(&path, "TCB-Evaluation-Data-Numbers-Issuer-Chain", &encoded(&chain));
}

/// Which authority a certificate is of.
pub fn authority(certificate: &Certificate) -> PckAuthority {
    match certificate.subject_common_name().as_str() {
        "Intel SGX PCK Platform CA" => PckAuthority::Platform,
        "Intel SGX PCK Processor CA" => PckAuthority::Processor,
        other => panic!("{other} is no authority of PCKs"),
    }
}

fn encoded(chain: &[&Certificate]) -> String {
    let pem: String = chain.iter().map(|certificate| pem(certificate.as_der())).collect();
    pem.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).expect("encodes")
}
