//! A cloud and a TPM made of software, for tests: a root, certificates below it, documents of AWS and
//! quotes, of which everything can be changed and is signed anew. Beside `mod support`.
#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeSet;

use casemate_crypto::hash::{HashAlgorithm, Sha256, sha256};
use casemate_evidence::bundle::{Bundle, Item, TpmKey, TpmQuote};
use casemate_evidence::tpm::PcrValues;
use casemate_evidence::x509::Certificate;
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, Policy, Verdict, Verifier, Workload,
};
use der::Encode as _;
use der::asn1::{BitString, ObjectIdentifier, OctetString};
use minicbor::Encoder;
use p256::ecdsa::signature::Signer as _;

use crate::support::intel::{authority, leaf};
use crate::support::{DAY_MS, NOW_MS, name, p384_spki, sequence, tagged, time};

/// A certificate of ECDSA on P-256.
#[derive(Debug, Clone)]
pub struct Cert {
    pub issuer: String,
    pub subject: String,
    pub not_before_ms: u64,
    pub not_after_ms: u64,
    /// DER `SubjectPublicKeyInfo`.
    pub spki: Vec<u8>,
    pub extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
    pub signer: p256::ecdsa::SigningKey,
}

/// A key of P-256, the same for each number.
pub fn p256_key(number: u8) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[number; 32]).expect("a number below the group order")
}

pub fn p256_spki(key: &p256::ecdsa::SigningKey) -> Vec<u8> {
    let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
    sequence(&[EC_P256.to_vec(), BitString::from_bytes(&point).expect("short").to_der().expect("encodes")])
}

impl Cert {
    /// A root that signed itself.
    pub fn root(subject: &str) -> Self {
        Self::new(subject, subject, p256_spki(&p256_key(1)), authority(None))
    }

    /// A leaf that the root of this name issued.
    pub fn leaf(issuer: &str, subject: &str, spki: Vec<u8>) -> Self {
        Self::new(issuer, subject, spki, leaf())
    }

    fn new(
        issuer: &str,
        subject: &str,
        spki: Vec<u8>,
        extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
    ) -> Self {
        Self {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            not_before_ms: NOW_MS - DAY_MS,
            not_after_ms: NOW_MS + DAY_MS,
            spki,
            extensions,
            signer: p256_key(1),
        }
    }

    pub fn to_der(&self) -> Vec<u8> {
        let extensions: Vec<x509_cert::ext::Extension> = self
            .extensions
            .iter()
            .map(|(id, critical, value)| x509_cert::ext::Extension {
                extn_id: *id,
                critical: *critical,
                extn_value: OctetString::new(value.clone()).expect("short"),
            })
            .collect();
        let tbs = sequence(&[
            tagged(0xA0, &[2, 1, 2]), // version 3
            tagged(2, &[1]),
            ECDSA_SHA256.to_vec(),
            name(&self.issuer),
            sequence(&[time(self.not_before_ms), time(self.not_after_ms)]),
            name(&self.subject),
            self.spki.clone(),
            tagged(0xA3, &extensions.to_der().expect("encodes")),
        ]);
        let signature: p256::ecdsa::Signature = self.signer.sign(&tbs);
        let numbers: Vec<Vec<u8>> = signature
            .to_bytes()
            .chunks_exact(32)
            .map(|number| der::asn1::UintRef::new(number).expect("short").to_der().expect("encodes"))
            .collect();
        let bits = BitString::from_bytes(&sequence(&numbers)).expect("short").to_der().expect("encodes");
        sequence(&[tbs, ECDSA_SHA256.to_vec(), bits])
    }

    pub fn key_digest(&self) -> Sha256 {
        sha256(&self.spki)
    }
}

/// Everything that a document of AWS states; the payload field by field, each as CBOR.
#[derive(Clone)]
pub struct Document {
    pub fields: Vec<(&'static str, Vec<u8>)>,
    pub root: Cert,
    pub leaf: Cert,
    pub leaf_key: p384::ecdsa::SigningKey,
}

impl Document {
    /// Of an enclave, with PCR 0 to 4.
    pub fn enclave() -> Self {
        let leaf_key =
            p384::ecdsa::SigningKey::from_slice(&[0x21; 48]).expect("a number below the group order");
        let root = Cert::root("nitro casemate-test");
        let spki = p384_spki(&leaf_key).to_der().expect("encodes");
        let leaf = Cert::leaf(&root.subject, "i-1234-enc5678.test", spki);
        let mut document = Self { fields: Vec::new(), root, leaf, leaf_key };
        let pcrs: Vec<(u8, [u8; 48])> = (0..5).map(|index| (index, [0x40 + index; 48])).collect();
        document.fields = vec![
            ("module_id", cbor(|to| to.str("i-1234-enc5678").map(drop))),
            ("digest", cbor(|to| to.str("SHA384").map(drop))),
            ("timestamp", cbor(|to| to.u64(NOW_MS - 1000).map(drop))),
            ("pcrs", registers(&pcrs)),
            ("certificate", cbor_bytes(&document.leaf.to_der())),
            ("cabundle", cabundle(&[document.root.to_der()])),
            ("public_key", cbor_bytes(b"key")),
            ("user_data", cbor_bytes(b"data")),
            ("nonce", cbor_bytes(&[0x77; 64])),
        ];
        document
    }

    pub fn set(&mut self, name: &str, value: Vec<u8>) {
        self.fields.iter_mut().find(|(found, _)| *found == name).expect("a field of that name").1 = value;
    }

    pub fn payload(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        encoder.map(self.fields.len() as u64).expect("memory");
        for (name, value) in &self.fields {
            encoder.str(name).expect("memory");
            encoder.writer_mut().extend_from_slice(value);
        }
        encoder.into_writer()
    }

    /// Signed by the leaf's key.
    pub fn sign(&self) -> Vec<u8> {
        let payload = self.payload();
        let signed = cbor(|to| {
            to.array(4)?.str("Signature1")?.bytes(&PROTECTED)?.bytes(&[])?.bytes(&payload).map(drop)
        });
        let signature: p384::ecdsa::Signature = self.leaf_key.sign(&signed);
        cbor(|to| {
            to.array(4)?.bytes(&PROTECTED)?.map(0)?.bytes(&payload)?.bytes(&signature.to_bytes()).map(drop)
        })
    }

    pub fn item(&self) -> Item {
        Item::NitroDocument(self.sign().into())
    }
}

/// PCRs as a document holds them.
pub fn registers(pcrs: &[(u8, [u8; 48])]) -> Vec<u8> {
    cbor(|to| {
        to.map(pcrs.len() as u64)?;
        for (index, value) in pcrs {
            to.u8(*index)?.bytes(value)?;
        }
        Ok(())
    })
}

pub fn cabundle(certificates: &[Vec<u8>]) -> Vec<u8> {
    cbor(|to| {
        to.array(certificates.len() as u64)?;
        for der in certificates {
            to.bytes(der)?;
        }
        Ok(())
    })
}

pub fn cbor_bytes(bytes: &[u8]) -> Vec<u8> {
    cbor(|to| to.bytes(bytes).map(drop))
}

pub fn cbor(
    write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Result<(), minicbor::encode::Error<std::convert::Infallible>>,
) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder).expect("memory takes everything");
    encoder.into_writer()
}

/// Bytes of one field: its name, and what it holds.
pub type Field = (&'static str, Vec<u8>);

/// A TPM with an attestation key, and what it quotes.
#[derive(Clone)]
pub struct Tpm {
    /// TPMS_ATTEST of a quote over PCR 4 and 7 of the SHA-256 bank.
    pub statement: Vec<Field>,
    /// TPMT_PUBLIC.
    pub public_area: Vec<Field>,
    pub pcrs: PcrValues,
    pub key: p256::ecdsa::SigningKey,
}

impl Tpm {
    pub fn new() -> Self {
        let key = p256_key(7);
        let point = key.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec();
        let public_area = vec![
            ("type", vec![0x00, 0x23]),
            ("nameAlg", vec![0x00, 0x0B]),
            ("objectAttributes", 0x0005_0072_u32.to_be_bytes().to_vec()),
            ("authPolicy", vec![0, 0]),
            ("symmetric", vec![0x00, 0x10]),
            ("scheme", vec![0x00, 0x18, 0x00, 0x0B]),
            ("curveID", vec![0x00, 0x03]),
            ("kdf", vec![0x00, 0x10]),
            ("unique.x", [&[0, 32], &point[..32]].concat()),
            ("unique.y", [&[0, 32], &point[32..]].concat()),
        ];
        let digest = HashAlgorithm::Sha256.digest_parts(&[&[4; 32], &[7; 32]]);
        let report_data = sha256(&[0x77; 64]);
        let statement = vec![
            ("magic", 0xFF54_4347_u32.to_be_bytes().to_vec()),
            ("type", vec![0x80, 0x18]),
            ("qualifiedSigner", [&[0, 34, 0, 0x0B][..], &[6; 32]].concat()),
            ("extraData", [&[0, 32], report_data.as_ref()].concat()),
            ("clockInfo.clock", 2_000_u64.to_be_bytes().to_vec()),
            ("clockInfo.resetCount", 7_u32.to_be_bytes().to_vec()),
            ("clockInfo.restartCount", 1_u32.to_be_bytes().to_vec()),
            ("clockInfo.safe", vec![1]),
            ("firmwareVersion", 0x2020_0312_0012_0003_u64.to_be_bytes().to_vec()),
            ("pcrSelect.count", 1_u32.to_be_bytes().to_vec()),
            ("pcrSelect.hash", vec![0x00, 0x0B]),
            ("pcrSelect.sizeofSelect", vec![3]),
            ("pcrSelect.pcrSelect", vec![0x90, 0, 0]),
            ("pcrDigest", [&[0, 32], digest.as_bytes()].concat()),
        ];
        let mut pcrs = PcrValues::new();
        for index in [4, 7] {
            pcrs.insert(HashAlgorithm::Sha256, index, &[index; 32]).expect("a PCR value");
        }
        Self { statement, public_area, pcrs, key }
    }

    /// Quotes other PCRs of the SHA-256 bank, and answers with other report data.
    pub fn quoting(pcrs: &[(u8, [u8; 32])]) -> Self {
        let mut tpm = Self::new();
        tpm.pcrs = PcrValues::new();
        let mut bits = [0_u8; 3];
        for (index, value) in pcrs {
            bits[usize::from(index / 8)] |= 1 << (index % 8);
            tpm.pcrs.insert(HashAlgorithm::Sha256, *index, value).expect("a PCR value");
        }
        let values: Vec<Vec<u8>> = tpm.pcrs.iter().map(|(.., value)| value.as_bytes().to_vec()).collect();
        let digest = sha256(&values.concat());
        set(&mut tpm.statement, "pcrSelect.pcrSelect", bits.to_vec());
        set(&mut tpm.statement, "pcrDigest", [&[0, 32], digest.as_ref()].concat());
        tpm
    }

    pub fn spki(&self) -> Vec<u8> {
        p256_spki(&self.key)
    }

    pub fn key_digest(&self) -> Sha256 {
        sha256(&self.spki())
    }

    /// The quote, signed whatever the bytes are, as a TPM would not.
    pub fn quote(&self) -> TpmQuote {
        let statement = join(&self.statement);
        let signature: p256::ecdsa::Signature = self.key.sign(&statement);
        let signature = signature.to_bytes();
        let tpmt =
            [&[0x00, 0x18, 0x00, 0x0B, 0, 32][..], &signature[..32], &[0, 32], &signature[32..]].concat();
        TpmQuote { statement: statement.into(), signature: tpmt.into(), pcrs: self.pcrs.to_items() }
    }

    /// The key with its public area and nothing else.
    pub fn key_item(&self) -> TpmKey {
        TpmKey { public_area: join(&self.public_area).into(), ..TpmKey::empty() }
    }

    /// The key with a certificate of it, and the root.
    pub fn certified(&self, leaf: &Cert, root: &Cert) -> TpmKey {
        TpmKey { certificates: vec![leaf.to_der().into(), root.to_der().into()], ..TpmKey::empty() }
    }
}

pub fn set(fields: &mut [Field], name: &str, bytes: Vec<u8>) {
    fields.iter_mut().find(|(found, _)| *found == name).expect("a field of that name").1 = bytes;
}

pub fn join(fields: &[Field]) -> Vec<u8> {
    fields.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
}

/// The extension with which Google names an instance.
pub fn gce_instance(zone: &str, project: &str, instance: u64, production: Option<bool>) -> Vec<u8> {
    let text = |text: &str| tagged(0x0C, text.as_bytes());
    let number = |number: u64| number.to_der().expect("encodes");
    let mut fields = vec![text(zone), number(42), text(project), number(instance), text("vm-1")];
    if let Some(production) = production {
        let flag = tagged(1, &[if production { 0xFF } else { 0 }]);
        fields.push(tagged(0xA0, &sequence(&[tagged(0xA1, &flag)])));
    }
    sequence(&fields)
}

pub fn certificate(cert: &Cert) -> Certificate {
    Certificate::parse(&cert.to_der()).expect("a certificate")
}

pub const GCE_INSTANCE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.1.21");
const PROTECTED: [u8; 4] = [0xA1, 0x01, 0x38, 0x22]; // {1: -35}, ES384
const ECDSA_SHA256: [u8; 12] = [0x30, 10, 6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2];
const EC_P256: [u8; 21] =
    [0x30, 19, 6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];

/// A policy with these tables and these simulated roots, that accepts any image and workload, and evidence
/// that answers the caller's challenge.
pub fn policy(tables: &str, simulated: &[Sha256]) -> String {
    let listed: Vec<String> = simulated.iter().map(|digest| format!("\"{digest}\"")).collect();
    let simulated =
        if listed.is_empty() { "\"none\"".to_owned() } else { format!("[{}]", listed.join(", ")) };
    format!(
        "version = 1\n{tables}\n\
         [simulated_roots]\nspki_sha256 = {simulated}\n\
         [image]\nmeasurements = \"any\"\n\
         [workload]\ndigests = \"any\"\napps = \"none\"\n\
         [collateral]\nrevocation_list = \"optional\"\nmaximum_age_days = \"any\"\n\
         [freshness]\nreport_data = \"expected\"\nmaximum_age_seconds = 300\n"
    )
}

/// The verdict on these items at [`NOW_MS`]; the challenge is 64 times 0x77.
pub fn verdict(policy: &str, items: Vec<Item>) -> Verdict {
    verdict_at(policy, items, NOW_MS)
}

pub fn verdict_at(policy: &str, items: Vec<Item>, now_ms: u64) -> Verdict {
    let policy = Policy::parse(policy).unwrap_or_else(|error| panic!("{error}\n{policy}"));
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: casemate_crypto::provider(),
    };
    let expectations = Expectations {
        freshness: Freshness::Challenge { report_data: [0x77; 64].into(), made_ms: now_ms },
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    // Over the wire and back.
    let bundle = Bundle::parse(&Bundle::new(items).to_bytes()).expect("a bundle");
    verifier.verify_bundle(&bundle, None, &expectations, now_ms).verdict().clone()
}

/// The verdict on these items with nothing expected, and no challenge.
pub fn verdict_unasked(
    policy: &str,
    items: Vec<Item>,
    accept_simulated: AcceptSimulated,
    now_ms: u64,
) -> Verdict {
    let policy = Policy::parse(policy).unwrap_or_else(|error| panic!("{error}\n{policy}"));
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated,
        provider: casemate_crypto::provider(),
    };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let bundle = Bundle::parse(&Bundle::new(items).to_bytes()).expect("a bundle");
    verifier.verify_bundle(&bundle, None, &expectations, now_ms).verdict().clone()
}

pub fn failures(verdict: &Verdict) -> Vec<&'static str> {
    verdict.failures().map(|check| check.code.as_str()).collect()
}

/// A rule of a policy, a value for it, and what fails with it; [`NO_POLICY`] where no other value is accepted.
pub type Rule<'a> = (&'a str, String, &'a [&'a str]);

/// What fails where the text is no policy.
pub const NO_POLICY: &str = "not a policy";

/// Breaks each rule of the `tables` of a policy by its row, alone. A rule of the file without a row fails; and as every
/// rule must be written, a rule that is new to a table makes the file no policy until it stands there.
///
/// `judge` is given the rule, or none while all are kept, so that it can choose the evidence that breaks it.
pub fn each_rule_is_broken_by_its_row(
    policy: &str,
    tables: &[&str],
    rows: &[Rule<'_>],
    judge: impl Fn(Option<&str>, &str) -> Vec<&'static str>,
) {
    let file: toml::Table = policy.parse().expect("the policy is TOML");
    let mut in_file = BTreeSet::new();
    rules(&file, "", &mut in_file);
    in_file.retain(|rule| tables.iter().any(|table| rule.starts_with(&format!("{table}."))));
    let in_rows: BTreeSet<String> = rows.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(in_file, in_rows);
    assert_eq!(judge(None, policy), [""; 0], "all rules are kept");
    for (rule, value, expected) in rows {
        let changed = with_rule(&file, rule, value);
        let found = match Policy::parse(&changed) {
            Ok(_) => judge(Some(rule), &changed),
            Err(_) => vec![NO_POLICY],
        };
        assert_eq!(found, *expected, "{rule} = {value}");
    }
}

/// The paths of all rules below a table.
fn rules(table: &toml::Table, prefix: &str, into: &mut BTreeSet<String>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => rules(inner, &format!("{prefix}{name}."), into),
            _ => drop(into.insert(format!("{prefix}{name}"))),
        }
    }
}

fn with_rule(file: &toml::Table, rule: &str, value: &str) -> String {
    let mut file = file.clone();
    let (tables, name) = rule.rsplit_once('.').expect("a rule stands in a table");
    let mut table = &mut file;
    for part in tables.split('.') {
        table = table.get_mut(part).and_then(toml::Value::as_table_mut).expect("the table is there");
    }
    let value: toml::Table = format!("value = {value}").parse().expect("a value of TOML");
    table.insert(name.to_owned(), value["value"].clone());
    toml::to_string(&file).expect("a policy is TOML")
}
