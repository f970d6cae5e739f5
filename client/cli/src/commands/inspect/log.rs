//! What do logs say?

use casemate_evidence::eventlog::{EventLog, Format, LogError, LogKind};
use casemate_evidence::ima::{List, ListError};
use serde_json::{Value, json};

/// An event log of a TPM, or a CCEL.
pub fn events(bytes: &[u8]) -> Result<Value, LogError> {
    // TCG PFP §10.2: the header is in PCR 0, and of a CCEL in register 1.
    let log = match bytes.first() {
        Some(1) => EventLog::parse_ccel(bytes)?,
        _ => EventLog::parse(bytes)?,
    };
    let events: Vec<Value> = log
        .events
        .iter()
        .map(|event| {
            json!({
                "register": event.register,
                "type": event.kind.to_string(),
                "digests": event.digests.iter().map(|digest| hex::encode(&digest.bytes)).collect::<Vec<_>>(),
                "data_bytes": event.data.len(),
            })
        })
        .collect();
    Ok(json!({
        "kind": "event-log",
        "of": match log.kind { LogKind::Tpm => "tpm", LogKind::Ccel => "ccel" },
        "format": match log.format { Format::Sha1 => "sha1", Format::CryptoAgile(_) => "crypto-agile" },
        "events": events,
    }))
}

/// What the running kernel measured.
pub fn ima(bytes: &[u8]) -> Result<Value, ListError> {
    let list = List::parse_ascii(bytes)?;
    let entries: Vec<Value> = list
        .entries
        .iter()
        .map(|entry| {
            json!({
                "pcr": entry.pcr,
                "template_hash": entry.template_hash.to_string(),
                "digest": format!("{}:{}", entry.digest.algorithm.name(), hex::encode(&entry.digest.bytes)),
                "name": entry.name_text(),
                "violation": entry.is_violation(),
            })
        })
        .collect();
    Ok(json!({ "kind": "ima-list", "entries": entries }))
}
