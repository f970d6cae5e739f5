//! What do clouds say?

use casemate_evidence::azure::{HclReport, HclReportError, ReportType};
use casemate_evidence::nitro::{Document, DocumentError};
use casemate_evidence::snp::Report;
use casemate_evidence::x509::Certificate;
use serde_json::{Value, json};

/// An attestation document of AWS.
pub fn nitro(bytes: &[u8]) -> Result<Value, DocumentError> {
    let document = Document::parse(bytes)?;
    let hex_of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(hex::encode);
    let certificate =
        |der: &[u8]| Certificate::parse(der).map_or(Value::Null, |one| super::certificate(&one));
    Ok(json!({
        "kind": "nitro-document",
        "of": document.kind,
        "module_id": document.module_id,
        "made": crate::clock::utc(document.timestamp_ms),
        "debug": document.is_debug(),
        "pcrs": document.pcrs.iter().map(|(index, value)| (index.to_string(), json!(hex::encode(value))))
            .collect::<serde_json::Map<_, _>>(),
        "public_key": hex_of(&document.public_key),
        "user_data": hex_of(&document.user_data),
        "nonce": hex_of(&document.nonce),
        "certificate": certificate(&document.certificate),
        "authorities": document.cabundle.iter().map(|der| certificate(der)).collect::<Vec<_>>(),
    }))
}

/// What a confidential VM of Azure keeps in its vTPM.
pub fn azure(bytes: &[u8]) -> Result<Value, HclReportError> {
    let report = HclReport::parse(bytes)?;
    let runtime = report.runtime()?;
    let tee = match report.report_type {
        ReportType::Snp => Report::parse(&report.tee_report).map_or(Value::Null, |report| json!(report)),
        ReportType::Tdx => json!({ "bytes": report.tee_report.len() }),
    };
    let keys: Vec<Value> = runtime
        .keys
        .iter()
        .map(|key| json!({ "id": key.id, "operations": key.operations, "key_sha256": key.public_key.digest() }))
        .collect();
    Ok(json!({
        "kind": "azure-report",
        "version": report.version,
        "tee": report.report_type,
        "report_data": report.report_data(),
        "runtime_data_committed": report.binding() == report.report_data(),
        "keys": keys,
        "vm_configuration": runtime.vm_configuration,
        "user_data": runtime.user_data.map(hex::encode),
        "report": tee,
    }))
}
