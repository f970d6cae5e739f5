//! Event logs and IMA lists.

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::eventlog::{CcelTable, EventLog, LogEnd};
use casemate_evidence::ima::{BankRule, Entry, FileSignature, List, Template};
use casemate_evidence::tpm::PcrValues;
use casemate_verify::eventlog::{Required, SignedRegisters, authenticate_log};
use casemate_verify::ima::{RuntimePolicy, Start, Violations, authenticate_list};

use crate::parts::{join, split};
use crate::{Gullible, Target, Vectors};

pub const EVENT_LOG: Target = Target {
    name: "event-log",
    maximum_len: 128 << 10,
    check: |bytes| EventLog::parse(bytes).into_iter().for_each(|log| event_log(log, bytes)),
    seeds: |vectors: &Vectors| {
        ["tcg-eventlog", "tpm-quote"].iter().flat_map(|kind| vectors.files(kind, &["eventlog.bin"])).collect()
    },
};
pub const CCEL: Target = Target { name: "ccel", maximum_len: 128 << 10, check: ccel, seeds: ccels };
pub const IMA_ASCII: Target =
    Target { name: "ima-ascii", maximum_len: 64 << 10, check: ima_ascii, seeds: ima_lists };
pub const IMA_BINARY: Target =
    Target { name: "ima-binary", maximum_len: 64 << 10, check: ima_binary, seeds: binary_lists };
pub const IMA_POLICY: Target =
    Target { name: "ima-policy", maximum_len: 64 << 10, check: ima_policy, seeds: policies };

fn event_log(log: EventLog, bytes: &[u8]) {
    for event in &log.events {
        let _ = (event.decode(), event.coverage());
    }
    let _ = log.banks();
    let Ok(replay) = log.replay() else { return };
    // What a log replays to, it explains; and nothing else.
    let mut registers: Vec<((HashAlgorithm, u32), Digest)> =
        replay.registers.iter().map(|(at, value)| (*at, *value)).collect();
    let signed = SignedRegisters::of(registers.clone());
    let genuine = authenticate_log(log.clone(), &signed, Required::All);
    assert_eq!(genuine.is_ok(), !registers.is_empty() && !matches!(log.end, LogEnd::Fragment { .. }));
    if let Ok(genuine) = genuine {
        let _ = genuine.secure_boot();
        assert!(genuine.events().len() <= log.events.len() && log.events.len() <= bytes.len());
    }
    if let Some((_, value)) = registers.first_mut() {
        let mut other = value.as_bytes().to_vec();
        other[0] ^= 1;
        *value = Digest::from_slice(value.algorithm(), &other).expect("as long as before");
        assert!(authenticate_log(log, &SignedRegisters::of(registers), Required::All).is_err());
    }
}

fn ccel(bytes: &[u8]) {
    let _ = CcelTable::parse(bytes);
    if let Ok(log) = EventLog::parse_ccel(bytes) {
        event_log(log, bytes);
    }
}

fn ima_list(list: &List) {
    for entry in &list.entries {
        let _ = (entry.name_text(), entry.is_violation(), entry.check_template_hash());
        let _ = entry.template_digest(HashAlgorithm::Sha256);
    }
    let start = Digest::filled(HashAlgorithm::Sha256, 0);
    let Some(last) = list.replay(10, start, BankRule::OwnDigest).last() else { return };
    let mut pcrs = PcrValues::new();
    pcrs.insert(HashAlgorithm::Sha256, 10, last.as_bytes()).expect("PCR 10 holds a SHA-256 digest");
    let genuine = authenticate_list(list, Start::Boot, &pcrs, HashAlgorithm::Sha256, 10);
    let all_hold = list.entries.iter().all(|entry| entry.check_template_hash().is_ok());
    assert!(!all_hold || genuine.is_ok(), "a list explains what it replays to");
    if let Ok(genuine) = genuine {
        assert_eq!(genuine.register(), last);
        let _ = genuine.check_boot_aggregate(&pcrs);
    }
}

fn ima_ascii(bytes: &[u8]) {
    let _ = (Entry::parse_ascii(bytes), FileSignature::parse(bytes));
    if let Ok(list) = List::parse_ascii(bytes) {
        ima_list(&list);
    }
}

fn ima_binary(bytes: &[u8]) {
    for algorithm in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
        if let Ok(list) = List::parse_binary(bytes, algorithm) {
            ima_list(&list);
        }
    }
}

/// A runtime policy, and a list that it judges.
fn ima_policy(bytes: &[u8]) {
    let Some([policy, list]) = split(bytes) else { return };
    let Ok(policy) = RuntimePolicy::parse(&String::from_utf8_lossy(policy)) else { return };
    let Ok(list) = List::parse_ascii(list) else { return };
    let algorithm = HashAlgorithm::Sha256;
    let last = list.replay(10, Digest::filled(algorithm, 0), BankRule::OwnDigest).last();
    let mut pcrs = PcrValues::new();
    let last = last.unwrap_or(Digest::filled(algorithm, 0));
    pcrs.insert(algorithm, 10, last.as_bytes()).expect("PCR 10 holds a SHA-256 digest");
    let Ok(genuine) = authenticate_list(&list, Start::Boot, &pcrs, algorithm, 10) else { return };
    let refused = genuine.findings(&policy, Violations::Refused, &Gullible);
    let ignored = genuine.findings(&policy, Violations::Accepted, &Gullible);
    assert!(ignored.len() <= refused.len() && refused.len() <= genuine.entries().len());
}

fn ccels(vectors: &Vectors) -> Vec<Vec<u8>> {
    vectors.files("ccel", &["ccel.bin", "ccel-table.bin"])
}

fn ima_lists(vectors: &Vectors) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for list in vectors.files("ima", &["ascii_runtime_measurements"]) {
        let lines: Vec<&[u8]> = list.split_inclusive(|byte| *byte == b'\n').take(20).collect();
        seeds.push(lines.concat());
        seeds.extend(lines.into_iter().map(<[u8]>::to_vec));
    }
    seeds
}

/// The same lists as `binary_runtime_measurements` holds them.
fn binary_lists(vectors: &Vectors) -> Vec<Vec<u8>> {
    let lists = ima_lists(vectors);
    lists.iter().filter_map(|bytes| List::parse_ascii(bytes).ok()).map(|list| binary(&list)).collect()
}

fn binary(list: &List) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    let mut all = Vec::new();
    for entry in &list.entries {
        all.extend(u32::from(entry.pcr).to_le_bytes());
        all.extend(entry.template_hash.as_bytes());
        all.extend(sized(entry.template.name().as_bytes()));
        let name = [&entry.name[..], &[0]].concat();
        if entry.template == Template::Ima {
            all.extend_from_slice(&entry.digest.bytes);
            all.extend(sized(&entry.name));
            continue;
        }
        let digest = [entry.digest.algorithm.name().as_bytes(), b":\0", &entry.digest.bytes].concat();
        let mut data = [sized(&digest), sized(&name)].concat();
        match entry.template {
            Template::ImaSig | Template::ImaSigV2 => data.extend(sized(&entry.signature)),
            Template::ImaBuf => data.extend(sized(&entry.buffer)),
            _ => {}
        }
        all.extend(sized(&data));
    }
    all
}

fn policies(vectors: &Vectors) -> Vec<Vec<u8>> {
    const POLICY: &[u8] =
        br#"{"meta":{"version":1},"release":0,"digests":{"/bin/sh":["ab"],"boot_aggregate":["00"]},
"excludes":["/tmp/.*","(/var|/run)/[a-z]+$"],"keyrings":{},"ima":{"ignored_keyrings":["*"],
"log_hash_alg":"sha1","dm_policy":null},"ima-buf":{},"verification-keys":""}"#;
    ima_lists(vectors).iter().map(|list| join([POLICY, list])).collect()
}
