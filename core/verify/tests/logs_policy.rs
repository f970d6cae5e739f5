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
use cloud::{NO_POLICY, Rule, Tpm, each_rule_is_broken_by_its_row, failures, policy, verdict};
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
    let listed = of_register(4);
    let list = |digests: &[String]| format!("[{}]", digests.join(", "));
    let policy = text.clone()
        + &EVENTS.replace("[events.digests]", &format!("[events.digests]\n4 = {}", list(&listed)));
    let judge = |policy: &str| without_freshness(&with_log(policy, &items, log.clone()));
    // Whichever the recorded machine has: the other is asked of it.
    let required = policy.replace("secure_boot = \"any\"", "secure_boot = \"required\"");
    let other = if judge(&required).is_empty() { "\"forbidden\"" } else { "\"required\"" };
    let rows: [Rule<'_>; 4] = [
        ("events.explained", "[\"20\"]".to_owned(), &["policy.events.explained"]),
        ("events.secure_boot", other.to_owned(), &["policy.events.secure_boot"]),
        ("events.digests.4", list(&listed[..1]), &["policy.events.digests"]),
        ("events.digests.others", "\"none\"".to_owned(), &[NO_POLICY]),
    ];
    each_rule_is_broken_by_its_row(&policy, &["events"], &rows, |_, policy| judge(policy));
    let unknown =
        text + &EVENTS.replace("[events.digests]", &format!("[events.digests]\n20 = {}", list(&listed[..1])));
    assert_eq!(judge(&unknown), ["policy.events.digests"], "a register of which nothing is known");
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
        // A violation: the kernel lists zeros.
        let hash = match digest {
            [0, ..] => "00".repeat(20),
            _ => recorded::hex_text(draft.template_digest(HashAlgorithm::Sha1).as_bytes()),
        };
        entries.push(Entry::parse_ascii(line(&hash).as_bytes()).expect("an entry"));
        text += &(line(&hash) + "\n");
    }
    (text.into_bytes(), entries)
}

/// PCR 10 after these entries.
fn register(entries: &[Entry]) -> [u8; 32] {
    let mut value = Digest::filled(HashAlgorithm::Sha256, 0);
    for entry in entries {
        value = match entry.is_violation() {
            true => value.extend(&[0xFF; 32]),
            false => value.extend(entry.template_digest(HashAlgorithm::Sha256).as_bytes()),
        };
    }
    value.as_bytes().try_into().expect("SHA-256")
}

/// A TPM that quotes a boot and a list of the kernel, and what somebody hands over of it.
struct Kernel {
    boot: Vec<(u8, [u8; 32])>,
    aggregate: (&'static str, [u8; 32]),
    rules: String,
}

impl Kernel {
    /// Good files are those of Keylime's policy: `/usr/bin/good` with one content; below `/tmp` whatever there is.
    fn new() -> Self {
        let boot: Vec<(u8, [u8; 32])> = (0..10).map(|index| (index, [index + 1; 32])).collect();
        let values: Vec<u8> = boot.iter().flat_map(|(_, value)| *value).collect();
        let runtime = format!(
            r#"{{"meta": {{"version": 1}}, "release": 0, "digests": {{"/usr/bin/good": ["{}"]}}, "excludes": ["/tmp/.*"],
            "keyrings": {{}}, "ima": {{"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null}},
            "ima-buf": {{}}, "verification-keys": ""}}"#,
            "05".repeat(32)
        );
        let aggregate = ("boot_aggregate", *sha256(&values).as_bytes());
        Self { boot, aggregate, rules: IMA.replace("@RUNTIME@", &runtime) }
    }

    /// The TPM after it measured these files; the same key each time.
    fn tpm(&self, quoted: &[(&str, [u8; 32])]) -> Tpm {
        let mut pcrs = self.boot.clone();
        pcrs.push((10, register(&list(quoted).1)));
        Tpm::quoting(&pcrs)
    }

    fn policy(&self, rules: &str) -> String {
        let key = self.tpm(&[]).key_digest().to_string();
        policy(&(TPM.replace("@KEY@", &key) + rules), &[])
    }

    fn judge(
        &self,
        policy: &str,
        files: Option<&[(&str, [u8; 32])]>,
        quoted: &[(&str, [u8; 32])],
    ) -> Vec<&'static str> {
        let tpm = self.tpm(quoted);
        let mut items = vec![Item::TpmQuote(tpm.quote()), Item::TpmKey(tpm.key_item())];
        items.extend(files.map(|files| Item::ImaList(list(files).0.into())));
        failures(&verdict(policy, items))
    }
}

#[test]
fn each_rule_of_ima_refuses_what_it_speaks_of() {
    let kernel = Kernel::new();
    let good = [kernel.aggregate, ("/usr/bin/good", [5; 32])];
    let elsewhere = [("boot_aggregate", [9; 32]), good[1]];
    let busy = [good[0], good[1], ("/tmp/busy", [0; 32])];
    let stranger = [good[0], good[1], ("/usr/bin/other", [6; 32])];
    let as_it_is = |rule: &str| {
        let file: toml::Table = kernel.policy(&kernel.rules).parse().expect("TOML");
        file["ima"][rule].to_string()
    };
    // The rules stay as they are, and the evidence breaks them.
    let rows: [Rule<'_>; 4] = [
        ("ima.list", as_it_is("list"), &["policy.ima.list"]),
        ("ima.boot_aggregate", as_it_is("boot_aggregate"), &["policy.ima.boot_aggregate"]),
        ("ima.violations", as_it_is("violations"), &["policy.ima.violations"]),
        ("ima.runtime_policy", as_it_is("runtime_policy"), &["policy.ima.runtime_policy"]),
    ];
    each_rule_is_broken_by_its_row(
        &kernel.policy(&kernel.rules),
        &["ima"],
        &rows,
        |rule, policy| match rule {
            Some("ima.list") => kernel.judge(policy, None, &good),
            Some("ima.boot_aggregate") => kernel.judge(policy, Some(&elsewhere), &elsewhere),
            Some("ima.violations") => kernel.judge(policy, Some(&busy), &busy),
            Some("ima.runtime_policy") => kernel.judge(policy, Some(&stranger), &stranger),
            _ => kernel.judge(policy, Some(&good), &good),
        },
    );
}

#[test]
fn a_list_of_the_kernel_is_judged_as_far_as_it_is_quoted() {
    let kernel = Kernel::new();
    let policy = kernel.policy(&kernel.rules);
    let good = [kernel.aggregate, ("/usr/bin/good", [5; 32])];
    let stranger = [good[0], good[1], ("/usr/bin/other", [6; 32])];
    let other = [good[0], ("/usr/bin/good", [6; 32])];
    // Another content, and another list than the quoted one.
    assert_eq!(kernel.judge(&policy, Some(&other), &other), ["policy.ima.runtime_policy"]);
    assert_eq!(kernel.judge(&policy, Some(&other), &good), ["ima.list"]);
    // What follows the quoted entries is not vouched for yet, and not judged.
    assert_eq!(kernel.judge(&policy, Some(&stranger), &good), [""; 0]);
    let any = kernel.policy(&IMA.replace("'''@RUNTIME@'''", "\"any\""));
    assert_eq!(kernel.judge(&any, Some(&stranger), &stranger), [""; 0]);
    assert_eq!(kernel.judge(&kernel.policy(""), Some(&good), &good), ["policy.ima"]);
}
