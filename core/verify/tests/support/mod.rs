//! A TEE made of software, for tests: root, intermediate and leaf keys made on the spot, certificates
//! with AMD's extensions, and reports that the leaf signs. Anything about it can be changed and signed
//! anew, so that a test can break one rule at a time.
#![allow(dead_code)] // each test file uses its part

pub mod fields;
pub mod intel;

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA384, RsaKeyPair};
use casemate_crypto::P384Signature;
use casemate_crypto::hash::Sha256;
use casemate_evidence::ChipId;
use casemate_evidence::snp::{
    CpuId, Layout, Leaf, PlatformInfo, Product, Report, ReportBuilder, Tcb, TcbVersion,
};
use casemate_evidence::x509::Certificate;
use casemate_verify::SimulatedRoot;
use casemate_verify::snp::Endorsements;
use der::asn1::{BitString, GeneralizedTime, ObjectIdentifier, OctetString};
use der::{Any, Decode as _, Encode as _};
use p384::ecdsa::signature::Signer as _;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// 2026-01-01, in milliseconds since 1970.
pub const NOW_MS: u64 = 1_767_225_600_000;
pub const DAY_MS: u64 = 86_400_000;

/// Keys take long to make, so all tests of a process share them.
static ROOT_KEY: LazyLock<RsaKeyPair> = LazyLock::new(new_rsa_key);
static INTERMEDIATE_KEY: LazyLock<RsaKeyPair> = LazyLock::new(new_rsa_key);
static OTHER_KEY: LazyLock<RsaKeyPair> = LazyLock::new(new_rsa_key);

/// Which RSA key.
#[derive(Clone, Copy, PartialEq)]
pub enum Rsa {
    Root,
    Intermediate,
    Other,
}

/// Everything that a certificate states; see [`Tee::new`] for one that is right.
#[derive(Clone)]
pub struct CertificateParts {
    pub serial: Vec<u8>,
    pub issuer: String,
    pub subject: String,
    pub not_before_ms: u64,
    pub not_after_ms: u64,
    pub public_key: SubjectPublicKeyInfoOwned,
    pub extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
    pub signer: Rsa,
}

/// A software TEE with one chip.
#[derive(Clone)]
pub struct Tee {
    pub root: CertificateParts,
    pub intermediate: CertificateParts,
    pub leaf: CertificateParts,
    pub leaf_key: p384::ecdsa::SigningKey,
    pub report: ReportBuilder,
    pub revocation_list: Option<ListParts>,
}

/// Everything that a revocation list states.
#[derive(Clone)]
pub struct ListParts {
    pub issuer: String,
    pub this_update_ms: u64,
    pub next_update_ms: u64,
    pub revoked: Vec<Vec<u8>>,
    pub critical_extension: bool,
    pub signer: Rsa,
}

impl Tee {
    pub fn new(product: Product) -> Self {
        let leaf_key =
            p384::ecdsa::SigningKey::from_slice(&[0x11; 48]).expect("a number below the group order");
        let tcb = tcb(product).version(product);
        let chip_id = chip_id(product);
        let authority = |path_length: Option<u8>, usage: u8| {
            let mut constraints = vec![0x30, 3, 1, 1, 0xFF];
            if let Some(length) = path_length {
                constraints = vec![0x30, 6, 1, 1, 0xFF, 2, 1, length];
            }
            vec![(BASIC_CONSTRAINTS, true, constraints), (KEY_USAGE, true, vec![3, 2, 1, usage])]
        };
        let root_name = format!("ARK-{product} casemate-test");
        let intermediate_name = format!("SEV-{product}");
        let certificate = |issuer: &str, subject: &str, key, extensions, signer| CertificateParts {
            serial: vec![1],
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            not_before_ms: NOW_MS - 100 * DAY_MS,
            not_after_ms: NOW_MS + 1000 * DAY_MS,
            public_key: key,
            extensions,
            signer,
        };
        let leaf_extensions = Leaf::vcek_extensions(product, tcb, &chip_id)
            .into_iter()
            .map(|(id, value)| (id, false, value))
            .collect();
        let mut report = ReportBuilder::new(layout(product), tcb);
        report.chip_id = chip_id;
        report.platform_info = PlatformInfo::from_bits(0b10_0101);
        report.measurement = [0x4D; 48].into();
        report.host_data = [0x9C; 32].into();
        report.report_data = [0x77; 64].into();
        Self {
            root: certificate(&root_name, &root_name, rsa_spki(Rsa::Root), authority(None, 0x06), Rsa::Root),
            intermediate: certificate(
                &root_name,
                &intermediate_name,
                rsa_spki(Rsa::Intermediate),
                authority(Some(0), 0x04),
                Rsa::Root,
            ),
            leaf: certificate(
                &intermediate_name,
                "SEV-VCEK",
                p384_spki(&leaf_key),
                leaf_extensions,
                Rsa::Intermediate,
            ),
            leaf_key,
            report,
            revocation_list: None,
        }
    }

    /// The same TEE with a VLEK in place of the VCEK.
    pub fn with_vlek(mut self, product: Product) -> Self {
        self.intermediate.subject = format!("SEV-VLEK-{product}");
        self.leaf.issuer.clone_from(&self.intermediate.subject);
        self.leaf.subject = "SEV-VLEK".to_owned();
        self.leaf.extensions.retain(|(id, ..)| *id != HWID);
        self.leaf.extensions.push((CSP_ID, false, ia5("test provider")));
        self.report.key_info = casemate_evidence::snp::KeyInfo::from_bits(1 << 2).expect("names a VLEK");
        self
    }

    /// The same chip with other firmware everywhere.
    pub fn with_tcb(mut self, product: Product, tcb: TcbVersion) -> Self {
        let chip_id = self.report.chip_id;
        self.leaf.extensions = Leaf::vcek_extensions(product, tcb, &chip_id)
            .into_iter()
            .map(|(id, value)| (id, false, value))
            .collect();
        for version in [
            &mut self.report.current_tcb,
            &mut self.report.reported_tcb,
            &mut self.report.committed_tcb,
            &mut self.report.launch_tcb,
        ] {
            *version = tcb;
        }
        self
    }

    pub fn endorsements(&self) -> Endorsements {
        let certificate =
            |parts: &CertificateParts| Certificate::parse(&parts.to_der()).expect("a certificate");
        let endorsements = Endorsements {
            leaf: certificate(&self.leaf),
            intermediate: certificate(&self.intermediate),
            root: certificate(&self.root),
            revocation_list: None,
        };
        match &self.revocation_list {
            Some(list) => endorsements.with_revocation_list(&list.to_der()).expect("a revocation list"),
            None => endorsements,
        }
    }

    pub fn sign_report(&self) -> Report {
        let signature: p384::ecdsa::Signature = self.leaf_key.sign(&self.report.signed_bytes());
        self.report.finish(&P384Signature::from(<[u8; 96]>::from(signature.to_bytes())))
    }

    pub fn simulated_root(&self) -> SimulatedRoot {
        SimulatedRoot { key_digest: self.root_digest() }
    }

    pub fn root_digest(&self) -> Sha256 {
        self.endorsements().root.public_key_digest()
    }
}

impl CertificateParts {
    pub fn extension_mut(&mut self, id: ObjectIdentifier) -> &mut Vec<u8> {
        let found = self.extensions.iter_mut().find(|(candidate, ..)| *candidate == id);
        &mut found.expect("the extension is there").2
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
            tagged(2, &self.serial),
            PSS_SHA384.to_vec(),
            name(&self.issuer),
            sequence(&[time(self.not_before_ms), time(self.not_after_ms)]),
            name(&self.subject),
            self.public_key.to_der().expect("encodes"),
            tagged(0xA3, &extensions.to_der().expect("encodes")),
        ]);
        signed(tbs, self.signer)
    }
}

impl ListParts {
    pub fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            this_update_ms: NOW_MS - 10 * DAY_MS,
            next_update_ms: NOW_MS + 10 * DAY_MS,
            revoked: vec![vec![0x55]],
            critical_extension: false,
            signer: Rsa::Root,
        }
    }

    pub fn to_der(&self) -> Vec<u8> {
        let revoked: Vec<Vec<u8>> = self
            .revoked
            .iter()
            .map(|serial| sequence(&[tagged(2, serial), time(self.this_update_ms)]))
            .collect();
        // Delta CRL indicator: the list would name what changed since another one.
        let delta = sequence(&[vec![6, 3, 0x55, 0x1D, 27], vec![1, 1, 0xFF], vec![4, 3, 2, 1, 7]]);
        let extensions = if self.critical_extension { tagged(0xA0, &sequence(&[delta])) } else { Vec::new() };
        let tbs = sequence(&[
            vec![2, 1, 1], // version 2
            PSS_SHA384.to_vec(),
            name(&self.issuer),
            time(self.this_update_ms),
            time(self.next_update_ms),
            sequence(&revoked),
            extensions,
        ]);
        signed(tbs, self.signer)
    }
}

/// Firmware as new as the example policy asks for.
pub fn tcb(product: Product) -> Tcb {
    match product {
        Product::Milan => Tcb { fmc: None, bootloader: 4, tee: 0, snp: 29, microcode: 222 },
        Product::Genoa => Tcb { fmc: None, bootloader: 10, tee: 0, snp: 27, microcode: 86 },
        _ => Tcb { fmc: Some(1), bootloader: 1, tee: 1, snp: 4, microcode: 81 },
    }
}

pub fn layout(product: Product) -> Layout {
    match product {
        Product::Milan => Layout::V3 { cpuid: CpuId { family: 0x19, model: 1, stepping: 1 } },
        Product::Genoa => Layout::V3 { cpuid: CpuId { family: 0x19, model: 0x11, stepping: 1 } },
        _ => Layout::V5 {
            cpuid: CpuId { family: 0x1A, model: 2, stepping: 1 },
            launch_mitigations: 0x3F,
            current_mitigations: 0x3F,
        },
    }
}

pub fn chip_id(product: Product) -> ChipId {
    let mut bytes = [0; 64];
    let length = if product.has_short_hardware_id() { 8 } else { 64 };
    bytes[..length].fill(0x1F);
    bytes.into()
}

/// Any TCB version whose bytes differ from the right one in one part.
pub fn lower(version: TcbVersion, index: usize) -> TcbVersion {
    let mut bytes = *version.as_bytes();
    bytes[index] -= 1;
    bytes.into()
}

pub fn rsa_spki(key: Rsa) -> SubjectPublicKeyInfoOwned {
    SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(Any::null()) },
        subject_public_key: BitString::from_bytes(rsa_key(key).public_key().as_ref()).expect("short"),
    }
}

pub fn p384_spki(key: &p384::ecdsa::SigningKey) -> SubjectPublicKeyInfoOwned {
    let point = key.verifying_key().to_sec1_point(false);
    SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned {
            oid: EC_PUBLIC_KEY,
            parameters: Some(Any::encode_from(&SECP384R1).expect("encodes")),
        },
        subject_public_key: BitString::from_bytes(point.as_bytes()).expect("short"),
    }
}

pub fn ia5(text: &str) -> Vec<u8> {
    tagged(0x16, text.as_bytes())
}

pub fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..0x80 => out.push(length as u8),
        0x80..0x100 => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(content);
    out
}

pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(0x30, &parts.concat())
}

pub fn name(common_name: &str) -> Vec<u8> {
    let attribute = sequence(&[vec![6, 3, 0x55, 4, 3], tagged(0x0C, common_name.as_bytes())]);
    sequence(&[tagged(0x31, &attribute)])
}

pub fn time(ms: u64) -> Vec<u8> {
    let time =
        GeneralizedTime::from_unix_duration(std::time::Duration::from_millis(ms)).expect("before 10000");
    // RFC 5280 §4.1.2.5: UTCTime until 2049.
    let text = time.to_der().expect("encodes");
    tagged(0x17, &text[4..])
}

fn signed(tbs: Vec<u8>, signer: Rsa) -> Vec<u8> {
    let key = rsa_key(signer);
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &tbs, &mut signature).expect("RSA signs");
    let bits = BitString::from_bytes(&signature).expect("short").to_der().expect("encodes");
    sequence(&[tbs, PSS_SHA384.to_vec(), bits])
}

fn rsa_key(key: Rsa) -> &'static RsaKeyPair {
    match key {
        Rsa::Root => &ROOT_KEY,
        Rsa::Intermediate => &INTERMEDIATE_KEY,
        Rsa::Other => &OTHER_KEY,
    }
}

fn new_rsa_key() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).expect("a key of 2048 bits")
}

pub fn is_der(bytes: &[u8]) -> bool {
    Any::from_der(bytes).is_ok()
}

pub const HWID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
pub const CSP_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");
pub const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
pub const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes.
const PSS_SHA384: [u8; 67] = [
    0x30, 0x41, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A, 0x30, 0x34, 0xA0, 0x0F,
    0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xA1, 0x1C,
    0x30, 0x1A, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x08, 0x30, 0x0D, 0x06, 0x09,
    0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xA2, 0x03, 0x02, 0x01, 0x30,
];

/// Replaces the value of a key in a table of a policy's text.
pub fn set_rule(policy: &mut String, key: &str, value: &str) {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut inside = table.is_empty();
    let mut done = false;
    let lines: Vec<String> = policy
        .lines()
        .map(|line| {
            if let Some(header) = line.strip_prefix('[') {
                inside = header.split(']').next() == Some(table);
            }
            if inside && !done && line.split('=').next().is_some_and(|found| found.trim() == name) {
                done = true;
                return format!("{name} = {value}");
            }
            line.to_owned()
        })
        .collect();
    assert!(done, "the policy has no {key}");
    *policy = lines.join("\n") + "\n";
}
