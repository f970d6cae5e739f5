//! Logs beside registers before a policy: what they must explain, what may be in them, and what is refused
//! where they say something else than the registers.

#[path = "support/cloud.rs"]
mod cloud;
mod recorded;
mod support;

use casemate_crypto::hash::{Digest, HashAlgorithm, sha256};
use casemate_evidence::bundle::{Item, TpmKey, TpmQuote};
use casemate_evidence::eventlog::EventLog;
use casemate_evidence::ima::Entry;
use casemate_verify::{NotEstablished, Outcome, Verdict};
use cloud::{Tpm, failures, policy, verdict};
use recorded::{Vector, root};
use support::intel::Machine;

const TPM: &str = r#"
[roots]

[tpm]
roots = "none"
keys = ["@KEY@"]
bank = "sha256"
safe_clock = "any"
firmware_versions = "any"

[tpm.pcrs]
others = "any"
"#;

const EVENTS: &str = r#"
[events]
explained = ["0", "2", "4", "7"]
secure_boot = "any"

[events.digests]
others = "any"
"#;

const IMA: &str = r#"
[ima]
list = "required"
boot_aggregate = "required"
violations = "forbidden"
runtime_policy = '''@RUNTIME@'''
"#;

fn vector(kind: &str, name: &str) -> Option<Vector> {
    let folder = root().join(kind).join(name);
    if folder.is_dir() {
        return Some(Vector::open(&folder));
    }
    assert!(std::env::var_os("CI").is_none(), "no vectors; CI needs them");
    None
}

/// A recorded quote of Google's with its key, its log, and a policy that lists the key.
fn google() -> Option<(String, Vec<Item>, Vec<u8>)> {
    let vector = vector("tpm-quote", "gcp-cos85-nonce-sha256")?;
    let pcrs = casemate_evidence::tpm::read_pcr_json(&vector.file("pcrs.json")).expect("PCR values");
    let quote = TpmQuote {
        statement: vector.file("quote.msg").into(),
        signature: vector.file("quote.sig").into(),
        pcrs: pcrs.to_items(),
    };
    let spki = vector.pem("ak.pub.pem").remove(0);
    let text = policy(&TPM.replace("@KEY@", &sha256(&spki).to_string()), &[])
        .replace("report_data = \"expected\"", "report_data = \"any\"");
    let area = vector.file("ak.tpmt_public.bin").into();
    let key = TpmKey { public_key: spki.into(), public_area: area, ..TpmKey::empty() };
    Some((text, vec![Item::TpmQuote(quote), Item::TpmKey(key)], vector.file("eventlog.bin")))
}

fn with_log(text: &str, items: &[Item], log: Vec<u8>) -> Verdict {
    let mut items = items.to_vec();
    items.push(Item::EventLog(log.into()));
    // The recorded nonce is not this challenge: only what the log adds is looked at.
    verdict(text, items)
}

fn without_freshness(verdict: &Verdict) -> Vec<&'static str> {
    let mut found = failures(verdict);
    found.retain(|code| *code != "policy.freshness.report_data");
    found
}

#[test]
fn a_recorded_log_explains_the_recorded_registers() {
    let Some((text, items, log)) = google() else { return };
    let text = text + EVENTS;
    let found = with_log(&text, &items, log.clone());
    assert_eq!(without_freshness(&found), [""; 0]);
    let claims = serde_json::to_value(found.claims().expect("claims")).expect("JSON");
    let explained: Vec<u64> = claims["logs"]["events"]["explained"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|register| register.as_u64().expect("a number"))
        .collect();
    for register in [0, 2, 4, 7] {
        assert!(explained.contains(&register), "{explained:?}");
    }
    // Without a log the rule that asks for one fails; without rules a log is refused by name.
    assert_eq!(without_freshness(&verdict(&text, items.clone())), ["policy.events.explained"]);
    let (without_rules, _) = text.split_once("\n[events]").expect("a table");
    assert_eq!(failures(&with_log(without_rules, &items, log)), ["policy.events"]);
}

#[test]
fn each_way_in_which_a_log_disagrees_has_its_own_refusal() {
    let Some((text, items, log)) = google() else { return };
    let text = text + EVENTS;
    let judge = |log: Vec<u8>| without_freshness(&with_log(&text, &items, log));
    assert_eq!(judge(log[..10].to_vec()), ["events.log"], "no log at all");
    let parsed = EventLog::parse(&log).expect("a log");
    let event = parsed
        .events
        .iter()
        .find(|event| event.register == 4 && event.digest(HashAlgorithm::Sha256).is_some())
        .expect("an event of PCR 4");
    let digest = event.digest(HashAlgorithm::Sha256).expect("a digest");
    let at = log.windows(32).position(|part| part == digest).expect("the digest");
    let mut changed = log.clone();
    changed[at] ^= 1;
    let found = with_log(&text, &items, changed);
    assert_eq!(without_freshness(&found), ["policy.events.explained"], "PCR 4 is not explained");
    assert!(found.not_established().contains(&NotEstablished::Registers));
    // A log of another machine: where both measured a separator and nothing else, they agree.
    let Some(other) = vector("tcg-eventlog", "arch-linux-workstation") else { return };
    assert_eq!(judge(other.file("eventlog.bin")), ["policy.events.explained"]);
}

#[test]
fn each_rule_of_events_refuses_what_it_speaks_of() {
    let Some((text, items, log)) = google() else { return };
    let parsed = EventLog::parse(&log).expect("a log");
    let of_register = |register| -> Vec<String> {
        let events = parsed.events.iter().filter(|event| event.register == register);
        let digests = events.filter_map(|event| event.digest(HashAlgorithm::Sha256));
        digests.map(|digest| format!("\"{}\"", recorded::hex_text(digest))).collect()
    };
    let judge = |from: &str, to: &str| {
        let text = text.clone() + &EVENTS.replace(from, to);
        without_freshness(&with_log(&text, &items, log.clone()))
    };
    let listed = of_register(4);
    let all = format!("[events.digests]\n4 = [{}]", listed.join(", "));
    assert_eq!(judge("[events.digests]", &all), [""; 0]);
    let fewer = format!("[events.digests]\n4 = [{}]", listed[..1].join(", "));
    assert_eq!(judge("[events.digests]", &fewer), ["policy.events.digests"]);
    let unknown = format!("[events.digests]\n20 = [{}]", listed[..1].join(", "));
    assert_eq!(judge("[events.digests]", &unknown), ["policy.events.digests"]);
    assert_eq!(judge("\"7\"]", "\"20\"]"), ["policy.events.explained"]);
    let on = judge("secure_boot = \"any\"", "secure_boot = \"required\"");
    let off = judge("secure_boot = \"any\"", "secure_boot = \"forbidden\"");
    assert!(
        [&on, &off].iter().any(|found| **found == ["policy.events.secure_boot"]),
        "at most one of both holds: {on:?} {off:?}"
    );
}

/// A recorded CCEL beside a simulated quote with the registers to which it replays.
#[test]
fn a_log_of_a_trust_domain_explains_its_rtmrs() {
    let Some(ccel) = vector("ccel", "cos-113") else { return };
    let log = ccel.file("ccel.bin");
    let replay = EventLog::parse_ccel(&log).expect("a log").replay().expect("a replay");
    let mut machine = Machine::tdx();
    machine.td().report_data = [0x77; 64].into();
    for index in 0..4_u32 {
        let value = replay.registers.get(&(HashAlgorithm::Sha384, index + 1));
        let value: [u8; 48] = value.map_or([0; 48], |value| value.as_bytes().try_into().expect("SHA-384"));
        machine.td().rtmr[index as usize] = value.into();
    }
    let rules = EVENTS.replace("[\"0\", \"2\", \"4\", \"7\"]", "[\"0\", \"1\", \"2\"]");
    let text = casemate_verify::Policy::example(&[machine.root_digest()])
        .replace("measurements = \"expected\"", "measurements = \"any\"")
        .replace("digests = \"expected\"", "digests = \"any\"")
        + &rules;
    let judge = |machine: &Machine| {
        let items = vec![
            Item::TdxQuote(machine.quote().into()),
            Item::IntelCollateral(machine.collateral().to_bundle_item()),
        ];
        with_log(&text, &items, log.clone())
    };
    let found = judge(&machine);
    assert_eq!(found.outcome(), Outcome::Verified, "{:?}", failures(&found));
    let mut other = machine.clone();
    other.td().rtmr[1] = [9; 48].into();
    let found = judge(&other);
    assert_eq!(failures(&found), ["policy.events.explained"]);
    assert!(found.not_established().contains(&NotEstablished::Registers));
}

/// Lines of a kernel's list, whose digests are right.
fn list(files: &[(&str, [u8; 32])]) -> (Vec<u8>, Vec<Entry>) {
    let (mut text, mut entries) = (String::new(), Vec::new());
    for (path, digest) in files {
        let line = |hash: &str| format!("10 {hash} ima-ng sha256:{} {path}", recorded::hex_text(digest));
        let draft = Entry::parse_ascii(line(&"ab".repeat(20)).as_bytes()).expect("an entry");
        let hash = recorded::hex_text(draft.template_digest(HashAlgorithm::Sha1).as_bytes());
        entries.push(Entry::parse_ascii(line(&hash).as_bytes()).expect("an entry"));
        text += &(line(&hash) + "\n");
    }
    (text.into_bytes(), entries)
}

/// PCR 10 after these entries.
fn register(entries: &[Entry]) -> [u8; 32] {
    let mut value = Digest::filled(HashAlgorithm::Sha256, 0);
    for entry in entries {
        value = value.extend(entry.template_digest(HashAlgorithm::Sha256).as_bytes());
    }
    value.as_bytes().try_into().expect("SHA-256")
}

#[test]
fn a_list_of_the_kernel_is_judged_by_keylimes_policy() {
    let boot: Vec<(u8, [u8; 32])> = (0..10).map(|index| (index, [index + 1; 32])).collect();
    let values: Vec<u8> = boot.iter().flat_map(|(_, value)| *value).collect();
    let aggregate = *sha256(&values).as_bytes();
    let files = [("boot_aggregate", aggregate), ("/usr/bin/good", [5; 32])];
    let runtime = format!(
        r#"{{"meta": {{"version": 1}}, "release": 0, "digests": {{"/usr/bin/good": ["{}"]}}, "excludes": [],
        "keyrings": {{}}, "ima": {{"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null}},
        "ima-buf": {{}}, "verification-keys": ""}}"#,
        "05".repeat(32)
    );
    let judge = |files: &[(&str, [u8; 32])], quoted: &[(&str, [u8; 32])], rules: &str| {
        let (text, _) = list(files);
        let (_, entries) = list(quoted);
        let mut pcrs = boot.clone();
        pcrs.push((10, register(&entries)));
        let tpm = Tpm::quoting(&pcrs);
        let key = tpm.key_digest().to_string();
        let policy = policy(&(TPM.replace("@KEY@", &key) + rules), &[]);
        let items =
            vec![Item::TpmQuote(tpm.quote()), Item::TpmKey(tpm.key_item()), Item::ImaList(text.into())];
        failures(&verdict(&policy, items))
    };
    let rules = IMA.replace("@RUNTIME@", &runtime);
    assert_eq!(judge(&files, &files, &rules), [""; 0]);
    // A file that the policy does not list, and one with other content.
    let stranger = [files[0], files[1], ("/usr/bin/other", [6; 32])];
    assert_eq!(judge(&stranger, &stranger, &rules), ["policy.ima.runtime_policy"]);
    let other = [files[0], ("/usr/bin/good", [6; 32])];
    assert_eq!(judge(&other, &other, &rules), ["policy.ima.runtime_policy"]);
    // What follows the quoted entries is not vouched for yet, and not judged.
    assert_eq!(judge(&stranger, &files, &rules), [""; 0]);
    // Another list than the quoted one, and one of another boot.
    assert_eq!(judge(&other, &files, &rules), ["ima.list"]);
    let elsewhere = [("boot_aggregate", [9; 32]), files[1]];
    assert_eq!(judge(&elsewhere, &elsewhere, &rules), ["policy.ima.boot_aggregate"]);
    let any = IMA.replace("'''@RUNTIME@'''", "\"any\"");
    assert_eq!(judge(&stranger, &stranger, &any), [""; 0]);
    assert_eq!(judge(&files, &files, ""), ["policy.ima"]);
}

#[test]
fn a_list_that_is_asked_for_must_come_along() {
    let tpm = Tpm::new();
    let rules =
        TPM.replace("@KEY@", &tpm.key_digest().to_string()) + &IMA.replace("'''@RUNTIME@'''", "\"any\"");
    let items = vec![Item::TpmQuote(tpm.quote()), Item::TpmKey(tpm.key_item())];
    assert_eq!(failures(&verdict(&policy(&rules, &[]), items)), ["policy.ima.list"]);
}
