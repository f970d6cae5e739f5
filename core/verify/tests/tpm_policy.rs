//! TPM quotes before a policy: each field changed alone has its own refusal, and so has each rule and each
//! way in which nobody vouches for the key.

#[path = "support/cloud.rs"]
mod cloud;
mod support;

use casemate_crypto::hash::sha256;
use casemate_evidence::bundle::{Item, TpmKey, TpmPcr, TpmQuote};
use casemate_evidence::gcp::{Instance, SecurityProperties};
use casemate_verify::{NotEstablished, Outcome};
use cloud::{
    Cert, GCE_INSTANCE_ID, NO_POLICY, Rule, Tpm, each_rule_is_broken_by_its_row, failures, gce_instance,
    join, p256_key, p256_spki, policy, set, verdict,
};
use support::NOW_MS;

const RULES: &str = r#"
[roots]
google = "builtin"

[tpm]
roots = "none"
keys = ["@KEY@"]
bank = "sha256"
safe_clock = "required"
firmware_versions = ["2020031200120003"]

[tpm.pcrs]
7 = ["0707070707070707070707070707070707070707070707070707070707070707"]
others = "any"

[gcp]
projects = ["project"]
zones = ["zone-a"]
instances = ["99"]
production = "required"
"#;

/// Accepts the key of this TPM, and nothing that a certificate says.
fn enrolled(tpm: &Tpm) -> String {
    policy(&RULES.replace("@KEY@", &tpm.key_digest().to_string()), &[])
}

fn items(tpm: &Tpm) -> Vec<Item> {
    vec![Item::TpmQuote(tpm.quote()), Item::TpmKey(tpm.key_item())]
}

fn judge(tpm: &Tpm) -> Vec<&'static str> {
    failures(&verdict(&enrolled(tpm), items(tpm)))
}

#[test]
fn a_quote_that_keeps_every_rule_is_accepted_and_says_what_it_does_not_show() {
    let tpm = Tpm::new();
    let verdict = verdict(&enrolled(&tpm), items(&tpm));
    assert_eq!(verdict.outcome(), Outcome::Verified, "{:?}", failures(&verdict));
    for missing in [NotEstablished::Tee, NotEstablished::Workload] {
        assert!(verdict.not_established().contains(&missing), "{missing:?}");
    }
    let claims = serde_json::to_value(verdict.claims().expect("claims")).expect("JSON");
    assert_eq!(claims["platform"], "tpm");
    assert_eq!(claims["freshness_slot"]["value"], sha256(&[0x77; 64]).to_string());
    assert_eq!(claims["tpm"]["clock"]["reset_count"], 7);
    assert_eq!(claims["tpm"]["voucher"], "registrar");
    assert_eq!(claims["tpm"]["pcrs"]["sha256"]["7"], "07".repeat(32));
}

/// Signed anew with one field changed.
#[test]
fn each_field_of_a_quote_has_its_own_refusal() {
    let tpm = Tpm::new();
    let rows: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("magic", vec![0xFF, 0x54, 0x43, 0x48], &["tpm.statement"]),
        ("type", vec![0x80, 0x17], &["tpm.statement"]),
        // Which TPM, and since when, are claims: what they were before, only the caller knows.
        ("qualifiedSigner", [&[0, 34, 0, 0x0B][..], &[9; 32]].concat(), &[]),
        ("clockInfo.clock", 1_u64.to_be_bytes().to_vec(), &[]),
        ("clockInfo.resetCount", 1_u32.to_be_bytes().to_vec(), &[]),
        ("clockInfo.restartCount", 0_u32.to_be_bytes().to_vec(), &[]),
        ("extraData", [&[0, 32][..], &[0x5B; 32]].concat(), &["policy.freshness.report_data"]),
        ("extraData", vec![0, 2, 0x77, 0x77], &["policy.freshness.report_data"]),
        ("clockInfo.safe", vec![0], &["policy.tpm.safe_clock"]),
        ("clockInfo.safe", vec![2], &["tpm.statement"]),
        ("firmwareVersion", 5_u64.to_be_bytes().to_vec(), &["policy.tpm.firmware_versions"]),
        ("pcrSelect.count", 0_u32.to_be_bytes().to_vec(), &["tpm.statement"]),
        ("pcrSelect.hash", vec![0x00, 0x0C], &["tpm.pcr_present"]),
        ("pcrSelect.sizeofSelect", vec![2], &["tpm.statement"]),
        ("pcrSelect.pcrSelect", vec![0x80, 0, 0], &["tpm.pcr_digest"]),
        ("pcrSelect.pcrSelect", vec![0x91, 0, 0], &["tpm.pcr_present"]),
        ("pcrSelect.pcrSelect", vec![0, 0, 0], &["tpm.selection"]),
        ("pcrDigest", [&[0, 32][..], &[1; 32]].concat(), &["tpm.pcr_digest"]),
    ];
    for (field, _) in &tpm.statement {
        assert!(rows.iter().any(|(name, ..)| name == field), "field {field} has no row");
    }
    for (field, bytes, expected) in rows {
        let mut changed = tpm.clone();
        set(&mut changed.statement, field, bytes);
        assert_eq!(judge(&changed), expected, "{field}");
    }
}

/// Changed after it was signed.
#[test]
fn no_field_of_a_quote_can_be_changed_after_it_was_signed() {
    let tpm = Tpm::new();
    let signature = tpm.quote().signature;
    for (field, bytes) in &tpm.statement {
        let mut changed = tpm.clone();
        let mut other = bytes.clone();
        *other.last_mut().expect("a field has bytes") ^= 1;
        set(&mut changed.statement, field, other);
        let quote = TpmQuote { signature: signature.clone(), ..changed.quote() };
        let found =
            failures(&verdict(&enrolled(&tpm), vec![Item::TpmQuote(quote), Item::TpmKey(tpm.key_item())]));
        // What no longer reads is not looked at; everything else the signature sees.
        assert!(matches!(found[..], ["tpm.signature" | "tpm.statement"]), "{field}: {found:?}");
    }
}

/// What comes along beside the statement.
#[test]
fn each_part_beside_the_statement_has_its_own_refusal() {
    let tpm = Tpm::new();
    let with = |change: &dyn Fn(&mut TpmQuote, &mut TpmKey)| {
        let (mut quote, mut key) = (tpm.quote(), tpm.key_item());
        change(&mut quote, &mut key);
        failures(&verdict(&enrolled(&tpm), vec![Item::TpmQuote(quote), Item::TpmKey(key)]))
    };
    let other_key = p256_spki(&p256_key(9));
    assert_eq!(with(&|_, _| {}), [""; 0]);
    assert_eq!(with(&|quote, _| quote.signature = vec![0, 0x14, 0, 0x0B].into()), ["tpm.signature_format"]);
    assert_eq!(with(&|quote, _| quote.signature = Vec::new().into()), ["tpm.signature"]);
    assert_eq!(with(&|quote, _| quote.pcrs[0].bank = 99), ["tpm.pcr_format"]);
    assert_eq!(with(&|quote, _| quote.pcrs[0].index = 5), ["tpm.pcr_present"]);
    assert_eq!(with(&|quote, _| quote.pcrs[0].value = vec![5; 32].into()), ["tpm.pcr_digest"]);
    assert_eq!(with(&|quote, _| quote.pcrs[0].value = vec![5; 31].into()), ["tpm.pcr_format"]);
    let extra = TpmPcr { bank: 0x0B, index: 9, value: vec![9; 32].into() };
    assert_eq!(with(&|quote, _| quote.pcrs.push(extra.clone())), [""; 0], "what is not quoted is dropped");
    assert_eq!(with(&|_, key| key.public_key = vec![1].into()), ["tpm.key_format"]);
    assert_eq!(with(&|_, key| key.public_key = other_key.clone().into()), ["tpm.other_key"]);
    assert_eq!(with(&|_, key| key.public_area = vec![1].into()), ["tpm.key_format"]);
    assert_eq!(with(&|_, key| key.certificates = vec![vec![1].into()]), ["chain.format"]);
    assert_eq!(with(&|_, key| key.revocation_lists = vec![vec![1].into()]), ["chain.format"]);
    assert_eq!(with(&|_, key| *key = TpmKey::empty()), ["tpm.key_present"]);
    let alone = failures(&verdict(&enrolled(&tpm), vec![Item::TpmQuote(tpm.quote())]));
    assert_eq!(alone, ["tpm.key_present"]);
    let by_key = TpmKey { public_key: tpm.spki().into(), ..TpmKey::empty() };
    assert_eq!(with(&|_, key| *key = by_key.clone()), [""; 0], "an enrolled key by itself will do");
    let other = TpmKey { public_key: other_key.clone().into(), ..TpmKey::empty() };
    assert_eq!(with(&|_, key| *key = other.clone()), ["tpm.key_enrolled"]);
}

/// Of the public area what makes a key an attestation key; its digest does not cover it.
#[test]
fn a_key_that_is_no_attestation_key_is_refused_even_if_enrolled() {
    let tpm = Tpm::new();
    // sign, restricted, decrypt, fixedTPM, fixedParent, sensitiveDataOrigin.
    for bit in [18, 16, 17, 1, 4, 5] {
        let mut changed = tpm.clone();
        let attributes = 0x0005_0072_u32 ^ (1 << bit);
        set(&mut changed.public_area, "objectAttributes", attributes.to_be_bytes().to_vec());
        assert_eq!(judge(&changed), ["tpm.key_attributes"], "bit {bit}");
    }
}

#[test]
fn each_rule_refuses_what_it_speaks_of() {
    let tpm = Tpm::new();
    let other = "09".repeat(32);
    let listed = format!("[\"{other}\"]");
    let rows: [Rule<'_>; 7] = [
        ("tpm.roots", listed.clone(), &["chain.root"]),
        ("tpm.keys", listed.clone(), &["tpm.key_enrolled"]),
        ("tpm.bank", "\"sha384\"".to_owned(), &[NO_POLICY]), // the value listed for PCR 7 has another length
        ("tpm.safe_clock", "\"forbidden\"".to_owned(), &["policy.tpm.safe_clock"]),
        ("tpm.firmware_versions", "[\"2020031200120004\"]".to_owned(), &["policy.tpm.firmware_versions"]),
        ("tpm.pcrs.7", listed, &["policy.tpm.pcrs"]),
        ("tpm.pcrs.others", "\"none\"".to_owned(), &[NO_POLICY]),
    ];
    let root = Cert::root("TPM casemate-test");
    let certified = tpm.certified(&Cert::leaf(&root.subject, "ak", tpm.spki()), &root);
    let enrolled_key = format!("keys = [\"{}\"]", tpm.key_digest());
    each_rule_is_broken_by_its_row(&enrolled(&tpm), &["tpm"], &rows, |rule, policy| match rule {
        // A certificate counts for a key that is not enrolled.
        Some("tpm.roots") => {
            let policy = policy.replace(&enrolled_key, "keys = \"none\"");
            failures(&verdict(&policy, vec![Item::TpmQuote(tpm.quote()), Item::TpmKey(certified.clone())]))
        }
        _ => failures(&verdict(policy, items(&tpm))),
    });
}

#[test]
fn registers_and_banks_that_are_not_quoted_are_refused() {
    let tpm = Tpm::new();
    let with = |from: &str, to: &str| {
        let text = enrolled(&tpm);
        assert!(text.contains(from), "{from}");
        failures(&verdict(&text.replace(from, to), items(&tpm)))
    };
    let other = "09".repeat(32);
    assert_eq!(with("\n7 = [", "\n8 = ["), ["policy.tpm.pcrs"]);
    assert_eq!(
        with("measurements = \"any\"", &format!("measurements = [\"{other}\"]")),
        ["policy.image.measurements"]
    );
    let sha384 =
        enrolled(&tpm).replace("\"sha256\"", "\"sha384\"").replace(&"07".repeat(32), &"07".repeat(48));
    assert_eq!(failures(&verdict(&sha384, items(&tpm))), ["policy.tpm.bank", "policy.tpm.pcrs"]);
}

/// Who vouches by certificate, and who does not.
#[test]
fn a_certificate_counts_only_if_its_chain_its_use_and_its_key_do() {
    let tpm = Tpm::new();
    let root = Cert::root("TPM casemate-test");
    let text = enrolled(&tpm)
        .replace(&format!("keys = [\"{}\"]", tpm.key_digest()), "keys = \"none\"")
        .replace("roots = \"none\"", &format!("roots = [\"{}\"]", root.key_digest()));
    let judge = |text: &str, change: &dyn Fn(&mut Cert, &mut TpmKey)| {
        let mut leaf = Cert::leaf(&root.subject, "ak", tpm.spki());
        let mut key = tpm.key_item();
        change(&mut leaf, &mut key);
        let certificates = tpm.certified(&leaf, &root).certificates;
        let key = TpmKey { certificates, ..key };
        failures(&verdict(text, vec![Item::TpmQuote(tpm.quote()), Item::TpmKey(key)]))
    };
    assert_eq!(judge(&text, &|_, _| {}), [""; 0]);
    assert_eq!(judge(&text, &|leaf, _| leaf.signer = p256_key(9)), ["chain.signature"]);
    assert_eq!(judge(&text, &|leaf, _| leaf.not_after_ms = NOW_MS - 1000), ["chain.time"]);
    assert_eq!(judge(&text, &|leaf, _| leaf.issuer = "nobody".to_owned()), ["chain.issuer"]);
    assert_eq!(judge(&text, &|leaf, _| leaf.spki = p256_spki(&p256_key(9))), ["tpm.other_key"]);
    // keyEncipherment in place of digitalSignature: an endorsement key's.
    let encipher = |leaf: &mut Cert| leaf.extensions[1].2 = vec![3, 2, 5, 0x20];
    assert_eq!(judge(&text, &|leaf, _| encipher(leaf)), ["tpm.certificate_use"]);
    let unlisted = text.replace(&root.key_digest().to_string(), &"09".repeat(32));
    assert_eq!(judge(&unlisted, &|_, _| {}), ["chain.root"]);
    let revocation = text.replace("revocation_list = \"optional\"", "revocation_list = \"required\"");
    assert_eq!(judge(&revocation, &|_, _| {}), ["policy.collateral.revocation_list"]);
}

/// What Google names in its certificate, each field.
#[test]
fn each_part_of_an_instances_identity_has_its_own_refusal() {
    let tpm = Tpm::new();
    let root = Cert::root("EK/AK CA casemate-test");
    let text = policy(&RULES.replace("keys = [\"@KEY@\"]", "keys = \"none\""), &[root.key_digest()]);
    let with = |text: &str, instance: Vec<u8>| {
        let mut leaf = Cert::leaf(&root.subject, "ak", tpm.spki());
        leaf.extensions.push((GCE_INSTANCE_ID, false, instance));
        verdict(text, vec![Item::TpmQuote(tpm.quote()), Item::TpmKey(tpm.certified(&leaf, &root))])
    };
    let good = with(&text, gce_instance("zone-a", "project", 99, Some(true)));
    assert_eq!(good.outcome(), Outcome::Verified, "{:?}", failures(&good));
    let claims = serde_json::to_value(good.claims().expect("claims")).expect("JSON");
    assert_eq!(claims["platform"], "gcp");
    assert_eq!(claims["tpm"]["instance"]["project"], "project");
    assert!(good.not_established().contains(&NotEstablished::Tee), "Google's word is not hardware's");
    let judge = |instance| failures(&with(&text, instance));
    assert_eq!(judge(gce_instance("zone-b", "project", 99, Some(true))), ["policy.gcp.zones"]);
    assert_eq!(judge(gce_instance("zone-a", "other", 99, Some(true))), ["policy.gcp.projects"]);
    assert_eq!(judge(gce_instance("zone-a", "project", 98, Some(true))), ["policy.gcp.instances"]);
    assert_eq!(judge(gce_instance("zone-a", "project", 99, Some(false))), ["policy.gcp.production"]);
    // A new part of the identity does not compile here until somebody says what is asked of it.
    let mut leaf = Cert::leaf(&root.subject, "ak", tpm.spki());
    leaf.extensions.push((GCE_INSTANCE_ID, false, gce_instance("zone-a", "project", 99, Some(true))));
    let named = Instance::of(&cloud::certificate(&leaf)).expect("an instance");
    let Instance { zone: _, project: _, instance_number: _, security, project_number, instance } = named;
    assert_eq!((project_number, instance.as_str()), (42, "vm-1"), "claims that no rule speaks of");
    let SecurityProperties {
        is_production: _,
        security_version: None,
        tpm_data_always_encrypted: None,
        suspend_resume_disabled: None,
        vmtd_disabled: None,
        always_in_vmtd: None,
    } = security.expect("stated above")
    else {
        panic!("only one is stated")
    };
    assert_eq!(judge(gce_instance("zone-a", "project", 99, None)), ["policy.gcp.production"]);
    let none = "[\"none\"]".to_owned();
    let rows: [Rule<'_>; 4] = [
        ("gcp.projects", none.clone(), &["policy.gcp.projects"]),
        ("gcp.zones", none.clone(), &["policy.gcp.zones"]),
        ("gcp.instances", none, &["policy.gcp.instances"]),
        ("gcp.production", "\"forbidden\"".to_owned(), &["policy.gcp.production"]),
    ];
    each_rule_is_broken_by_its_row(&text, &["gcp"], &rows, |_, policy| {
        failures(&with(policy, gce_instance("zone-a", "project", 99, Some(true))))
    });
    // Without the rules of [gcp], by name.
    let (tpm_only, _) = text.split_once("[gcp]").expect("a table");
    let (_, rest) = text.split_once("production = \"required\"").expect("a rule");
    let tpm_only = format!("{tpm_only}{rest}").replace("google = \"builtin\"", "");
    let found = with(&tpm_only, gce_instance("zone-a", "project", 99, Some(true)));
    assert_eq!(failures(&found), ["policy.gcp"]);
}

#[test]
fn evidence_of_several_platforms_is_refused() {
    let tpm = Tpm::new();
    let mut both = items(&tpm);
    both.push(cloud::Document::enclave().item());
    assert_eq!(failures(&verdict(&enrolled(&tpm), both)), ["bundle.evidence"]);
    let orphan = vec![Item::TpmKey(tpm.key_item())];
    assert_eq!(failures(&verdict(&enrolled(&tpm), orphan)), ["bundle.evidence"]);
    assert!(!join(&tpm.statement).is_empty());
}
