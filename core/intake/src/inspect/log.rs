//! What do an event log and an IMA list say, and to what do they replay?

use std::collections::BTreeMap;

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::eventlog::{Event, EventLog, Format, LogEnd, LogKind, Replay};
use casemate_evidence::ima::{BankRule, Entry, List};
use serde_json::{Map, Value, json};

use super::Fault;

/// The log of a TPM, or of a confidential guest: whose it is, its first event says (PFP §10.4.5: the header of a TPM's
/// log names PCR 0; EDK II, `TdxMeasurementLib`: that of a CCEL register 1).
pub(super) fn event_log(bytes: &[u8]) -> Result<Value, Fault> {
    let log = match bytes {
        [1, 0, 0, 0, ..] => EventLog::parse_ccel(bytes)?,
        _ => EventLog::parse(bytes)?,
    };
    let replay = log.replay()?;
    let mut event_types: BTreeMap<String, u64> = BTreeMap::new();
    for event in &log.events {
        *event_types.entry(event.kind.to_string()).or_default() += 1;
    }
    let event = |event: &Event| {
        json!({
            "register": event.register,
            "type": event.kind.to_string(),
            "digests": event.digests.iter().map(|digest| hex::encode(&digest.bytes)).collect::<Vec<_>>(),
            "data_bytes": event.data.len(),
        })
    };
    let mut fields = json!({
        "of": match log.kind {
            LogKind::Tpm => "tpm",
            LogKind::Ccel => "ccel",
        },
        "format": match log.format {
            Format::Sha1 => "sha1",
            Format::CryptoAgile(_) => "crypto-agile",
        },
        "event_count": log.events.len(),
        "algorithms": log.banks().iter().map(|bank| bank_name(bank.algorithm)).collect::<Vec<_>>(),
        "bytes_used": log.used,
        "bytes_total": bytes.len(),
        "end": match log.end {
            LogEnd::Exact => "exact",
            LogEnd::Padding { .. } => "padding",
            LogEnd::Fragment { .. } => "fragment",
        },
        "event_types": event_types,
        "startup_locality": replay.startup_locality,
        "replayed": registers(&log, &replay),
        "events": log.events.iter().map(event).collect::<Vec<_>>(),
    });
    if log.kind == LogKind::Ccel {
        fields["replayed_registers"] = rtmrs(&replay);
    }
    Ok(fields)
}

/// By bank, also one that no event extends; not one of a hash function that is not computed here.
fn registers(log: &EventLog, replay: &Replay) -> Value {
    let known =
        |bank: &HashAlgorithm| log.banks().iter().any(|other| bank_name(other.algorithm) == bank.name());
    let banks = HashAlgorithm::ALL.into_iter().filter(known);
    let mut banks: Map<String, Value> = banks.map(|bank| (bank.name().to_owned(), json!({}))).collect();
    for ((bank, register), value) in &replay.registers {
        banks[bank.name()][register.to_string()] = json!(value.to_string());
    }
    Value::Object(banks)
}

/// Registers 1 to 4 of a CCEL stand for RTMR 0 to 3.
fn rtmrs(replay: &Replay) -> Value {
    let rtmr = |register: &u32| format!("rtmr{}", register.saturating_sub(1));
    let values =
        replay.registers.iter().map(|((_, register), value)| (rtmr(register), json!(value.to_string())));
    Value::Object(values.collect())
}

/// TPM_ALG_ID, TCG Algorithm Registry §6.10.
fn bank_name(algorithm: u16) -> String {
    match algorithm {
        0x0004 => "sha1".to_owned(),
        0x000B => "sha256".to_owned(),
        0x000C => "sha384".to_owned(),
        0x000D => "sha512".to_owned(),
        0x0012 => "sm3".to_owned(),
        other => format!("{other:#06x}"),
    }
}

/// Line by line: one that cannot be believed is listed as refused, and does not hide the others. Of kinds of lines, and
/// of refusals, the first are listed, and all refusals counted.
pub(super) fn ima_list(bytes: &[u8]) -> Result<Value, Fault> {
    let mut violations = 0;
    let mut templates: BTreeMap<String, u64> = BTreeMap::new();
    let (mut mismatches, mut refused) = (0_u64, Vec::new());
    let mut first_error = None;
    let mut list = List::default();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (line, index) in lines.zip(1..) {
        let template = line.split(|byte| *byte == b' ').nth(2).unwrap_or_default();
        let template = String::from_utf8_lossy(template).into_owned();
        if templates.len() < MOST_LISTED || templates.contains_key(&template) {
            *templates.entry(template).or_default() += 1;
        }
        match Entry::parse_ascii(line).and_then(|entry| entry.check_template_hash().map(|()| entry)) {
            Ok(entry) => {
                violations += u64::from(entry.is_violation());
                list.entries.push(entry);
            }
            Err(error) => {
                mismatches += 1;
                if refused.len() < MOST_LISTED {
                    refused.push(json!({ "line": index, "error": error.to_string() }));
                }
                first_error.get_or_insert(error);
            }
        }
    }
    // Of which no line can be believed is no list.
    if let (true, Some(error)) = (list.entries.is_empty(), first_error) {
        return Err(error.into());
    }
    let good = list.entries.len() as u64;
    Ok(json!({
        "entry_count": good + mismatches,
        "templates": templates,
        "template_hash_ok": good - violations,
        "template_hash_mismatch": mismatches,
        "violations": violations,
        "refused": refused,
        "pcr10": replayed(&list),
        "entries": list.entries.iter().map(entry).collect::<Vec<_>>(),
    }))
}

fn entry(entry: &Entry) -> Value {
    json!({
        "pcr": entry.pcr,
        "template_hash": entry.template_hash.to_string(),
        "digest": format!("{}:{}", entry.digest.algorithm.name(), hex::encode(&entry.digest.bytes)),
        "name": entry.name_text(),
        "violation": entry.is_violation(),
    })
}

/// What PCR 10 holds after the entries, in the banks that kernels extend.
fn replayed(list: &List) -> Value {
    let banks = [HashAlgorithm::Sha1, HashAlgorithm::Sha256].into_iter().filter_map(|bank| {
        let last = list.replay(10, Digest::filled(bank, 0), BankRule::OwnDigest).last()?;
        Some((bank.name().to_owned(), json!(last.to_string())))
    });
    Value::Object(banks.collect())
}

/// Of what a list of the kernel has a few at most.
const MOST_LISTED: usize = 256;
