//! Recorded IMA measurement lists: `ima` of the vectors.

mod recorded;

use std::collections::BTreeMap;

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::eventlog::EventLog;
use casemate_evidence::ima::{BankRule, Entry, List};
use casemate_evidence::tpm::PcrValues;
use casemate_verify::ima::{GenuineListError, RuntimePolicy, RuntimePolicyError, Start, authenticate_list};
use recorded::{Vector, for_each_vector, root, unhex};
use serde_json::{Value, json};

const LIST: &str = "ascii_runtime_measurements";

#[test]
fn ima_vectors() {
    for_each_vector("ima", |vector| match vector.result() {
        "replays_to" => check_list(vector),
        "per_entry" => check_entries(vector),
        other => panic!("{}: expected result {other:?} is unknown to this test", vector.name),
    });
}

/// A physical machine's list begins with the aggregate of the PCRs to which its event log replays.
#[test]
fn ima_boot_aggregate_of_an_event_log_vector() {
    let folder = root().join("tcg-eventlog/ima-evm-grub-8-9");
    let Ok(list) = std::fs::read(folder.join("ima-boot-aggregate.txt")) else {
        assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root().display());
        eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root().display());
        return;
    };
    let list = List::parse_ascii(&list).expect("the list is well formed");
    let log = EventLog::parse(&std::fs::read(folder.join("eventlog.bin")).expect("its log")).expect("a log");
    let mut pcrs = PcrValues::new();
    for ((bank, register), value) in log.replay().expect("it replays").registers {
        pcrs.insert(bank, u8::try_from(register).expect("a PCR"), value.as_bytes()).expect("a PCR value");
    }
    let after = list.replay(10, Digest::filled(HashAlgorithm::Sha256, 0), BankRule::OwnDigest).last();
    pcrs.insert(HashAlgorithm::Sha256, 10, after.expect("one entry").as_bytes()).expect("a PCR value");
    let genuine =
        authenticate_list(&list, Start::Boot, &pcrs, HashAlgorithm::Sha256, 10).expect("it replays");
    genuine.check_boot_aggregate(&pcrs).expect("the aggregate is of this boot");
}

fn check_list(vector: &Vector) {
    let bytes = vector.file(LIST);
    let list = List::parse_ascii(&bytes).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    vector.check_fields(|name, _| field(&list.entries, name));
    let expected = vector.json["expected"]["pcr10"].as_object().expect("values by bank");
    assert_eq!(json!(expected), vector.fields()["pcr10"], "{}", vector.name);
    for (bank, value) in expected {
        let bank = HashAlgorithm::ALL.into_iter().find(|known| known.name() == bank).expect("a known bank");
        let value = unhex(value.as_str().expect("a value is text"));
        let mut pcrs = PcrValues::new();
        pcrs.insert(bank, 10, &value).expect("a PCR value");
        let genuine = authenticate_list(&list, Start::Boot, &pcrs, bank, 10)
            .unwrap_or_else(|error| panic!("{} {bank}: {error}", vector.name));
        assert_eq!(genuine.entries(), list.entries, "{}", vector.name);
        assert_eq!((genuine.later(), genuine.rule()), (0, BankRule::OwnDigest), "{}", vector.name);
        check_parts(vector, &list, bank);
        check_changes(vector, &list, &pcrs, bank);
    }
}

/// A list in two parts, with a quote in between, is the list.
fn check_parts(vector: &Vector, list: &List, bank: HashAlgorithm) {
    let start = Digest::filled(bank, 0);
    let values: Vec<Digest> = list.replay(10, start, BankRule::OwnDigest).collect();
    let middle = values.len() / 2;
    let quoted = |value: &Digest| {
        let mut pcrs = PcrValues::new();
        pcrs.insert(bank, 10, value.as_bytes()).expect("a PCR value");
        pcrs
    };
    let first = if middle == 0 { start } else { values[middle - 1] };
    let early = authenticate_list(list, Start::Boot, &quoted(&first), bank, 10).expect("a prefix");
    assert_eq!(early.later(), list.entries.len() - middle, "{}", vector.name);
    let rest = List { entries: list.entries[middle..].to_vec() };
    let last = values.last().copied().unwrap_or(start);
    let late = authenticate_list(&rest, Start::After(early.register()), &quoted(&last), bank, 10);
    let late = late.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    assert_eq!((late.entries().len(), late.register()), (rest.entries.len(), last), "{}", vector.name);
}

/// Each entry counts: none can be left out, and none can change its place.
fn check_changes(vector: &Vector, list: &List, pcrs: &PcrValues, bank: HashAlgorithm) {
    let step = list.entries.len().div_ceil(20);
    for index in (0..list.entries.len()).step_by(step) {
        let mut without = list.clone();
        without.entries.remove(index);
        let answer = authenticate_list(&without, Start::Boot, pcrs, bank, 10);
        assert!(matches!(answer, Err(GenuineListError::Mismatch { .. })), "{}: {answer:?}", vector.name);
        let mut moved = list.clone();
        let last = moved.entries.len() - 1;
        moved.entries.swap(index, last);
        if moved.entries[index] != list.entries[index] {
            let answer = authenticate_list(&moved, Start::Boot, pcrs, bank, 10);
            assert!(matches!(answer, Err(GenuineListError::Mismatch { .. })), "{}: {answer:?}", vector.name);
        }
    }
}

/// Single entries, some of which must be refused.
fn check_entries(vector: &Vector) {
    let text = vector.file(LIST);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let refused: Vec<usize> = vector.json["expected"]["must_refuse_entries"]
        .as_array()
        .expect("a list of lines")
        .iter()
        .map(|entry| entry["line"].as_u64().expect("a line number") as usize)
        .collect();
    let mut entries = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let entry = Entry::parse_ascii(line).and_then(|entry| entry.check_template_hash().map(|()| entry));
        let number = index + 1;
        assert_eq!(entry.is_err(), refused.contains(&number), "{} line {number}: {entry:?}", vector.name);
        entries.extend(entry);
    }
    assert!(List::parse_ascii(&text).is_err(), "{}: one bad entry spoils the list", vector.name);
    vector.check_fields(|name, expected| match name {
        // The vector counts lines that must be refused as entries, under the template that they name.
        "entries" => json!(lines.len()),
        "template_hash_mismatch" => json!(refused.len()),
        "templates" => {
            let named = |line: &&[u8]| {
                String::from_utf8_lossy(line.split(|b| *b == b' ').nth(2).unwrap()).into_owned()
            };
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            lines.iter().for_each(|line| *counts.entry(named(line)).or_default() += 1);
            json!(counts)
        }
        _ => {
            let _ = expected;
            field(&entries, name)
        }
    });
}

/// One large expression is fine, ten thousand of them would take gigabytes.
#[test]
fn exclusions_share_what_they_may_take() {
    let policy = |count: usize| {
        let excludes = vec!["/tmp/a{900}"; count];
        let policy = json!({
            "meta": { "version": 1 }, "digests": {}, "excludes": excludes, "keyrings": {}, "ima-buf": {},
            "ima": { "ignored_keyrings": [], "log_hash_alg": "sha1" }, "verification-keys": "",
        });
        RuntimePolicy::parse(&policy.to_string())
    };
    assert!(policy(1).is_ok());
    let refused = policy(10_000);
    assert!(matches!(&refused, Err(RuntimePolicyError::Exclude { .. })), "{refused:?}");
}

fn field(entries: &[Entry], name: &str) -> Value {
    let checked = |entry: &&Entry| !entry.is_violation();
    match name {
        "entries" => json!(entries.len()),
        "templates" => {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            entries.iter().for_each(|entry| *counts.entry(entry.template.name()).or_default() += 1);
            json!(counts)
        }
        "template_hash_ok" => {
            json!(entries.iter().filter(checked).filter(|entry| entry.check_template_hash().is_ok()).count())
        }
        "template_hash_mismatch" => {
            json!(entries.iter().filter(|entry| entry.check_template_hash().is_err()).count())
        }
        "pcr10" => {
            let mut values = serde_json::Map::new();
            for bank in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
                let list = List { entries: entries.to_vec() };
                let last = list.replay(10, Digest::filled(bank, 0), BankRule::OwnDigest).last();
                values.insert(bank.name().to_owned(), json!(last.expect("an entry").to_string()));
            }
            Value::Object(values)
        }
        other => panic!("field {other:?} is unknown to this test"),
    }
}
