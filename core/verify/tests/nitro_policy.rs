//! Documents of AWS before a policy: each field changed alone has its own refusal, and so has each rule.

#[path = "support/cloud.rs"]
mod cloud;
mod support;

use casemate_evidence::bundle::Item;
use casemate_verify::{NotEstablished, Outcome};
use cloud::{
    Cert, Document, NO_POLICY, Rule, cabundle, cbor, cbor_bytes, each_rule_is_broken_by_its_row, failures,
    p256_key, p256_spki, policy, registers, verdict, verdict_at,
};
use support::{DAY_MS, NOW_MS};

const RULES: &str = r#"
[roots]
aws = "builtin"

[nitro]
kinds = ["enclave"]
debug = "forbidden"
modules = ["i-1234-enc5678"]
maximum_age_seconds = 300

[nitro.pcrs]
1 = ["414141414141414141414141414141414141414141414141414141414141414141414141414141414141414141414141"]
others = "any"
"#;

/// Accepts the image of [`Document::enclave`] and no other.
fn strict(document: &Document) -> String {
    let image = "40".repeat(48);
    policy(RULES, &[document.root.key_digest()])
        .replace("measurements = \"any\"", &format!("measurements = [\"{image}\"]"))
}

fn judge(document: &Document) -> Vec<&'static str> {
    failures(&verdict(&strict(document), vec![document.item()]))
}

#[test]
fn a_document_that_keeps_every_rule_is_accepted_and_says_what_it_does_not_show() {
    let document = Document::enclave();
    let verdict = verdict(&strict(&document), vec![document.item()]);
    assert_eq!(verdict.outcome(), Outcome::Verified, "{:?}", failures(&verdict));
    for missing in [NotEstablished::Hypervisor, NotEstablished::Workload, NotEstablished::Revocation] {
        assert!(verdict.not_established().contains(&missing), "{missing:?}");
    }
    let claims = serde_json::to_value(verdict.claims().expect("claims")).expect("JSON");
    assert_eq!(claims["platform"], "nitro");
    assert_eq!(claims["measurement"], "40".repeat(48));
    assert_eq!(claims["nitro"]["module_id"], "i-1234-enc5678");
    assert_eq!(claims["nitro"]["pcrs"]["1"], "41".repeat(48));
    assert_eq!(claims["nitro"]["user_data"], "64617461");
}

/// Signed anew with one field changed.
#[test]
fn each_field_of_a_document_has_its_own_refusal() {
    let document = Document::enclave();
    let pcrs = |changed: u8| {
        let pcrs: Vec<(u8, [u8; 48])> =
            (0..5).map(|index| (index, [if index == changed { 9 } else { 0x40 + index }; 48])).collect();
        registers(&pcrs)
    };
    let without_image = registers(&[(1, [0x41; 48])]);
    let rows: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("module_id", cbor(|to| to.str("i-other").map(drop)), &["policy.nitro.modules"]),
        ("digest", cbor(|to| to.str("SHA512").map(drop)), &["nitro.document_format"]),
        ("timestamp", cbor(|to| to.u64(NOW_MS - 301_000).map(drop)), &["policy.nitro.maximum_age_seconds"]),
        ("timestamp", cbor(|to| to.u64(NOW_MS + 1).map(drop)), &["policy.nitro.maximum_age_seconds"]),
        ("pcrs", pcrs(0), &["policy.image.measurements"]),
        ("pcrs", pcrs(1), &["policy.nitro.pcrs"]),
        ("pcrs", pcrs(2), &[]),
        ("pcrs", without_image, &["nitro.image"]),
        ("certificate", cbor_bytes(&[0x30, 0]), &["chain.format"]),
        ("cabundle", cabundle(&[Cert::root("another").to_der()]), &["chain.issuer"]),
        // What the enclave chose itself is a claim and no more.
        ("public_key", cbor_bytes(b"other"), &[]),
        ("user_data", cbor_bytes(b"other"), &[]),
        ("nonce", cbor_bytes(&[0x78; 64]), &["policy.freshness.report_data"]),
        ("nonce", cbor_bytes(&[0x77; 32]), &["policy.freshness.report_data"]),
    ];
    for (field, _) in &document.fields {
        assert!(rows.iter().any(|(name, ..)| name == field), "field {field} has no row");
    }
    for (field, value, expected) in rows {
        let mut changed = document.clone();
        changed.set(field, value);
        assert_eq!(judge(&changed), expected, "{field}");
    }
}

/// Changed after it was signed.
#[test]
fn no_field_of_a_document_can_be_changed_after_it_was_signed() {
    let document = Document::enclave();
    let signed = document.sign();
    let payload = document.payload();
    let start = signed.windows(payload.len()).position(|part| part == payload).expect("the payload");
    let mut seen = 0;
    for (field, value) in &document.fields {
        let at = payload.windows(value.len()).position(|part| part == *value).expect("the field");
        let mut changed = signed.clone();
        let last = start + at + value.len() - 1;
        changed[last] ^= 1;
        let found = failures(&verdict(&strict(&document), vec![Item::NitroDocument(changed.into())]));
        assert_eq!(found.len(), 1, "{field}");
        let code = found[0];
        let expected =
            ["nitro.signature", "nitro.document_format", "chain.format", "chain.signature", "chain.root"];
        assert!(expected.contains(&code), "{field}: {code}");
        seen += usize::from(code == "nitro.signature");
    }
    assert!(seen >= 6, "most changes are seen by the signature alone");
}

/// Header, signature, chain: what is around the payload.
#[test]
fn what_is_around_a_document_has_refusals_of_its_own() {
    let good = Document::enclave();
    let judge_bytes =
        |bytes: Vec<u8>| failures(&verdict(&strict(&good), vec![Item::NitroDocument(bytes.into())]));
    let mut trailing = good.sign();
    trailing.push(0);
    assert_eq!(judge_bytes(trailing), ["nitro.document_format"]);
    let mut signature = good.sign();
    *signature.last_mut().expect("a signature") ^= 1;
    assert_eq!(judge_bytes(signature), ["nitro.signature"]);

    let with_leaf = |change: fn(&mut Cert)| {
        let mut document = good.clone();
        change(&mut document.leaf);
        document.set("certificate", cbor_bytes(&document.leaf.to_der()));
        judge(&document)
    };
    assert_eq!(with_leaf(|_| {}), [""; 0]);
    assert_eq!(with_leaf(|leaf| leaf.signer = p256_key(9)), ["chain.signature"]);
    assert_eq!(with_leaf(|leaf| leaf.issuer = "nobody".to_owned()), ["chain.issuer"]);
    assert_eq!(with_leaf(|leaf| leaf.not_after_ms = NOW_MS - 1000), ["chain.time"]);
    assert_eq!(with_leaf(|leaf| leaf.not_before_ms = NOW_MS + 1000), ["chain.time"]);
    assert_eq!(with_leaf(|leaf| leaf.spki = p256_spki(&p256_key(9))), ["nitro.key"]);

    let elsewhere = policy(RULES, &[]);
    assert_eq!(failures(&verdict(&elsewhere, vec![good.item()])), ["chain.root"]);
    assert_eq!(failures(&verdict_at(&strict(&good), vec![good.item()], NOW_MS + 2 * DAY_MS)), ["chain.time"]);
}

#[test]
fn each_rule_refuses_what_it_speaks_of() {
    let good = Document::enclave();
    let rows: [Rule<'_>; 6] = [
        ("nitro.kinds", "[\"instance\"]".to_owned(), &["policy.nitro.kinds"]),
        ("nitro.debug", "\"required\"".to_owned(), &["policy.nitro.debug"]),
        ("nitro.modules", "[\"i-9999\"]".to_owned(), &["policy.nitro.modules"]),
        ("nitro.maximum_age_seconds", "0".to_owned(), &["policy.nitro.maximum_age_seconds"]),
        ("nitro.pcrs.1", format!("[\"{}\"]", "09".repeat(48)), &["policy.nitro.pcrs"]),
        ("nitro.pcrs.others", "\"none\"".to_owned(), &[NO_POLICY]),
    ];
    each_rule_is_broken_by_its_row(&strict(&good), &["nitro"], &rows, |_, policy| {
        failures(&verdict(policy, vec![good.item()]))
    });
}

#[test]
fn registers_and_lists_that_are_not_there_are_refused() {
    let good = Document::enclave();
    let with = |from: &str, to: &str| {
        let text = strict(&good);
        assert!(text.contains(from), "{from}");
        failures(&verdict(&text.replace(from, to), vec![good.item()]))
    };
    assert_eq!(with("\n1 = [", "\n31 = ["), ["policy.nitro.pcrs"]);
    assert_eq!(
        with("revocation_list = \"optional\"", "revocation_list = \"required\""),
        ["policy.collateral.revocation_list"]
    );
    let mut debug = good.clone();
    debug.set("pcrs", registers(&[(0, [0; 48]), (1, [0; 48]), (2, [0; 48])]));
    let found = judge(&debug);
    assert!(found.contains(&"policy.nitro.debug"), "{found:?}");
}

#[test]
fn an_instance_is_measured_as_a_tpm_is() {
    let mut document = Document::enclave();
    let pcrs = document.fields.iter_mut().find(|(name, _)| *name == "pcrs").expect("PCRs");
    pcrs.0 = "nitrotpm_pcrs";
    assert_eq!(judge(&document), ["policy.nitro.kinds", "policy.image.measurements"]);
    let text = policy(&RULES.replace("\"enclave\"", "\"instance\""), &[document.root.key_digest()]);
    assert_eq!(failures(&verdict(&text, vec![document.item()])), [""; 0]);
}

#[test]
fn without_rules_a_document_is_refused_by_name() {
    let document = Document::enclave();
    let tpm_only = policy(
        &format!(
            "[tpm]\nroots = \"none\"\nkeys = [\"{}\"]\nbank = \"sha256\"\nsafe_clock = \"any\"\nfirmware_versions = \"any\"\n[tpm.pcrs]\nothers = \"any\"\n[roots]\n",
            document.root.key_digest()
        ),
        &[document.root.key_digest()],
    );
    let found = verdict(&tpm_only, vec![document.item()]);
    assert_eq!((found.outcome(), failures(&found)), (Outcome::Refused, vec!["policy.nitro"]));
    assert!(found.claims().is_none(), "nobody looked");
}
