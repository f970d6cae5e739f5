//! Recorded event logs: `tcg-eventlog` and `ccel` of the vectors.

mod recorded;

use std::collections::BTreeMap;

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::eventlog::{CcelTable, Event, EventLog, EventType, Format, LogEnd, LogKind, Replay};
use casemate_verify::eventlog::{GenuineLogError, Required, SignedRegisters, authenticate_log};
use recorded::{Vector, for_each_vector, root};
use serde_json::{Map, Value, json};

#[test]
fn tcg_event_log_vectors() {
    for_each_vector("tcg-eventlog", |vector| {
        let bytes = vector.file("eventlog.bin");
        check_log(vector, &bytes, LogKind::Tpm);
    });
}

#[test]
fn ccel_vectors() {
    for_each_vector("ccel", |vector| {
        let bytes = vector.file("ccel.bin");
        check_log(vector, &bytes, LogKind::Ccel);
        if let Some(table) = vector.optional_file("ccel-table.bin") {
            let table = CcelTable::parse(&table).expect("the table is good");
            assert_eq!(table.cc_type, 2, "{}: Intel TDX", vector.name);
            assert!(table.log_len >= bytes.len() as u64, "{}: the log fits into its memory", vector.name);
        }
    });
}

fn check_log(vector: &Vector, bytes: &[u8], kind: LogKind) {
    assert_eq!(vector.result(), "replays_to", "{}", vector.name);
    assert_eq!(vector.json["expected"]["pcrs"], "fields.replayed", "{}", vector.name);
    let log = match kind {
        LogKind::Tpm => EventLog::parse(bytes),
        LogKind::Ccel => EventLog::parse_ccel(bytes),
    };
    let log = log.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    let replay = log.replay().unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    vector.check_fields(|name, expected| match name {
        "format" => json!(match log.format {
            Format::Sha1 => "1.2",
            Format::CryptoAgile(_) => "2.0 (crypto agile)",
        }),
        "events" => json!(log.events.len()),
        "algorithms" => log.banks().iter().map(|bank| json!(bank_name(bank.algorithm))).collect(),
        "bytes_used" => json!(log.used),
        "bytes_total" => json!(bytes.len()),
        "replayed" => replayed(&log, &replay),
        "replayed_registers" => rtmrs(&replay),
        "event_types" => {
            // The vectors name some types and number others.
            assert_eq!(count(&log.events), numbered(expected), "{}: event types", vector.name);
            expected.clone()
        }
        "startup_locality" => json!(replay.startup_locality),
        "known_values" => {
            check_known_values(vector, &replay, expected);
            expected.clone()
        }
        "registers_found_in_quotes" => {
            check_registers_in_quotes(vector, &replay, expected);
            expected.clone()
        }
        "checks" => {
            check_checks(vector, &replay, expected);
            expected.clone()
        }
        other => panic!("{}: field {other:?} is unknown to this test", vector.name),
    });
    check_end(vector, bytes, &log);
    check_against_registers(vector, &log, &replay);
    for event in &log.events {
        // Whatever the data is: it decodes or says why not, and never panics.
        let _ = (event.decode(), event.coverage());
    }
}

fn check_end(vector: &Vector, bytes: &[u8], log: &EventLog) {
    let rest = &bytes[log.used..];
    match log.end {
        LogEnd::Exact => assert!(rest.is_empty(), "{}", vector.name),
        LogEnd::Padding { len, byte } => {
            assert_eq!(rest, vec![byte; len], "{}", vector.name);
        }
        LogEnd::Fragment { len } => assert_eq!(len, rest.len(), "{}", vector.name),
    }
}

/// The log is true for the registers to which it replays, and for no others.
fn check_against_registers(vector: &Vector, log: &EventLog, replay: &Replay) {
    let signed = SignedRegisters::of(replay.registers.clone());
    let genuine = authenticate_log(log.clone(), &signed, Required::All);
    if let LogEnd::Fragment { len } = log.end {
        assert_eq!(genuine, Err(GenuineLogError::Fragment { len }), "{}", vector.name);
        return;
    }
    if replay.registers.is_empty() {
        assert_eq!(genuine, Err(GenuineLogError::NothingInCommon), "{}", vector.name);
        return;
    }
    let genuine = genuine.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    assert_eq!(genuine.unexplained().count(), 0, "{}", vector.name);
    for (&(bank, register), &value) in &replay.registers {
        let mut other = replay.registers.clone();
        let expected = value.extend(&[0]);
        other.insert((bank, register), expected);
        let answer = authenticate_log(log.clone(), &SignedRegisters::of(other), Required::All);
        let mismatch = GenuineLogError::Mismatch {
            bank,
            register,
            found: Box::new(value),
            expected: Box::new(expected),
        };
        assert_eq!(answer, Err(mismatch), "{}", vector.name);
    }
}

/// By bank, also a bank that no event extends; not a bank of a hash function that is not known here.
fn replayed(log: &EventLog, replay: &Replay) -> Value {
    let known = |name: &&str| HashAlgorithm::ALL.iter().any(|algorithm| algorithm.name() == *name);
    let names = log.banks().into_iter().map(|bank| bank_name(bank.algorithm)).filter(known);
    let mut banks: BTreeMap<&str, Map<String, Value>> = names.map(|name| (name, Map::new())).collect();
    for ((bank, register), value) in &replay.registers {
        banks.entry(bank.name()).or_default().insert(register.to_string(), json!(value.to_string()));
    }
    json!(banks)
}

fn rtmrs(replay: &Replay) -> Value {
    let registers = replay.registers.iter().map(|((bank, register), value)| {
        assert_eq!(*bank, HashAlgorithm::Sha384, "RTMRs are of SHA-384");
        (format!("rtmr{}", register - 1), json!(value.to_string()))
    });
    Value::Object(registers.collect())
}

fn check_known_values(vector: &Vector, replay: &Replay, expected: &Value) {
    for (bank, values) in expected.as_object().expect("known values are by bank") {
        for (register, value) in values.as_object().expect("known values are by register") {
            let found = register_value(replay, bank, register);
            assert_eq!(found.map(|found| found.to_string()).as_deref(), value.as_str(), "{}", vector.name);
        }
    }
}

/// Each such register was found in a quote of another machine's vectors; where the TDX vectors hold one of
/// these, it must be there.
fn check_registers_in_quotes(vector: &Vector, replay: &Replay, expected: &Value) {
    let quotes: Vec<Vec<u8>> = std::fs::read_dir(root().join("tdx"))
        .map(|listing| {
            listing.filter_map(|entry| std::fs::read(entry.ok()?.path().join("quote.bin")).ok()).collect()
        })
        .unwrap_or_default();
    let mut found_any = quotes.is_empty();
    for register in expected.as_object().expect("registers are an object").keys() {
        let number: u32 = register.strip_prefix("rtmr").and_then(|n| n.parse().ok()).expect("an RTMR");
        let value = replay.registers[&(HashAlgorithm::Sha384, number + 1)];
        found_any |= quotes.iter().any(|quote| quote.windows(48).any(|window| window == value.as_bytes()));
    }
    assert!(found_any, "{}: no TDX vector has these registers", vector.name);
}

fn check_checks(vector: &Vector, replay: &Replay, expected: &Value) {
    for (name, expected) in expected.as_object().expect("checks are an object") {
        match name.as_str() {
            "tpm2_eventlog_agrees" | "tpm2_eventlog_note" => {} // asked again in tests/tpm_tools.rs
            "values_found_in_public_test_code" => {
                for value in expected.as_array().expect("a list") {
                    let (bank, register) =
                        value.as_str().and_then(|v| v.split_once(':')).expect("bank:register");
                    assert!(register_value(replay, bank, register).is_some(), "{}: {value}", vector.name);
                }
            }
            "matches_known_values" => {
                for (bank, values) in expected.as_object().expect("by bank") {
                    for (register, matches) in values.as_object().expect("by register") {
                        assert_eq!(*matches, true, "{}", vector.name);
                        assert!(register_value(replay, bank, register).is_some(), "{}", vector.name);
                    }
                }
            }
            other => panic!("{}: check {other:?} is unknown to this test", vector.name),
        }
    }
}

fn register_value<'a>(replay: &'a Replay, bank: &str, register: &str) -> Option<&'a Digest> {
    let bank = HashAlgorithm::ALL.into_iter().find(|known| known.name() == bank).expect("a known bank");
    replay.registers.get(&(bank, register.parse().expect("a register")))
}

fn bank_name(algorithm: u16) -> &'static str {
    match algorithm {
        0x0004 => "sha1",
        0x000B => "sha256",
        0x000C => "sha384",
        0x000D => "sha512",
        0x0012 => "sm3",
        other => panic!("bank {other:#06x} is unknown to this test"),
    }
}

fn count(events: &[Event]) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event.kind.0).or_default() += 1;
    }
    counts
}

fn numbered(expected: &Value) -> BTreeMap<u32, u64> {
    let number = |name: &str| match name.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).expect("a number"),
        None => named(name),
    };
    let counts = expected.as_object().expect("event types are an object");
    counts.iter().map(|(name, count)| (number(name), count.as_u64().expect("a count"))).collect()
}

fn named(name: &str) -> u32 {
    let numbers = (0..0x20).chain(0x8000_0000..0x8000_0100);
    numbers
        .into_iter()
        .find(|number| EventType(*number).name() == Some(name))
        .unwrap_or_else(|| panic!("event type {name:?} is unknown"))
}
