//! What do clouds say?

use casemate_crypto::hash::sha256;
use casemate_evidence::azure::{HclReport, Key, ReportType};
use casemate_evidence::nitro::Document;
use casemate_evidence::snp::Report;
use casemate_evidence::x509::Certificate;
use serde_json::{Map, Value, json};

use super::Fault;
use super::certificate::{Pool, utc};

/// An attestation document.
pub(super) fn nitro_document(bytes: &[u8], pool: &Pool<'_>) -> Result<Value, Fault> {
    let document = Document::parse(bytes)?;
    let optional = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(hex::encode);
    let certificate = |der: &[u8]| Certificate::parse(der).map_or(Value::Null, |one| pool.describe(&one));
    let pcrs: Map<String, Value> =
        document.pcrs.iter().map(|(index, value)| (index.to_string(), json!(hex::encode(value)))).collect();
    Ok(json!({
        "of": document.kind,
        "module_id": document.module_id,
        "timestamp_ms": document.timestamp_ms,
        "made": utc(document.timestamp_ms),
        // The only one that documents have.
        "digest": "SHA384",
        "pcrs": pcrs,
        "public_key": optional(&document.public_key),
        "user_data": optional(&document.user_data),
        "nonce": optional(&document.nonce),
        "debug": document.is_debug(),
        "certificate": certificate(&document.certificate),
        "authorities": document.cabundle.iter().map(|der| certificate(der)).collect::<Vec<_>>(),
    }))
}

/// The certificates that a document carries, as far as they can be read.
pub(super) fn nitro_certificates(bytes: &[u8]) -> Vec<Certificate> {
    let Ok(document) = Document::parse(bytes) else { return Vec::new() };
    let all = [&document.certificate].into_iter().chain(&document.cabundle);
    all.filter_map(|der| Certificate::parse(der).ok()).collect()
}

/// What a confidential VM of Azure keeps in its vTPM.
pub(super) fn azure_report(bytes: &[u8]) -> Result<Value, Fault> {
    let report = HclReport::parse(bytes)?;
    // Of data that breaks its format only that is said: whether it is the report's, its digest tells.
    let runtime = report.runtime().ok();
    let tee = match report.report_type {
        ReportType::Snp => Report::parse(&report.tee_report).map_or(Value::Null, |report| json!(report)),
        ReportType::Tdx => json!({ "bytes": report.tee_report.len() }),
    };
    let key = |key: &Key| json!({ "id": key.id, "operations": key.operations, "key_sha256": key.public_key.digest() });
    Ok(json!({
        "version": report.version,
        "report_size": report.report_size,
        "request_type": report.request_type,
        "runtime_data_size": report.data_size,
        "tee": report.report_type,
        "hash_type": report.hash.name(),
        "report_data": report.report_data(),
        "runtime_data_sha256": sha256(&report.runtime_data),
        "runtime_data_committed": report.report_data() == report.binding(),
        "vm_configuration": runtime.as_ref().map(|runtime| &runtime.vm_configuration),
        "keys": runtime.as_ref().map(|runtime| runtime.keys.iter().map(key).collect::<Vec<_>>()),
        "user_data": runtime.as_ref().and_then(|runtime| runtime.user_data).map(hex::encode),
        "report": tee,
    }))
}
