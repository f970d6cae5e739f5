//! What does a certificate say, who signed it, and where does its path end?

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use casemate_crypto::Provider;
use casemate_crypto::hash::{Sha256, sha256};
use casemate_evidence::intel::Pck;
use casemate_evidence::snp::{Leaf, SigningKeyKind};
use casemate_evidence::tpm::TcgCertificate;
use casemate_evidence::x509::{Certificate, PublicKey, RevocationList, SignatureAlgorithm};
use casemate_verify::certificates::{Endorsers, MAXIMUM_CERTIFICATES, Profile, authenticate_certificate};
use casemate_verify::signature::{Sha1, verify_x509};
use casemate_verify::{Roots, azure, gcp, nitro, nvidia};
use serde_json::{Value, json};

use super::name::write_name;
use crate::content::Content;

/// All certificates and lists that were handed over, whatever file they are in.
pub(super) struct Pool<'a> {
    certificates: Vec<Certificate>,
    lists: Vec<RevocationList>,
    at_ms: u64,
    provider: &'a dyn Provider,
    /// By their bytes: one that stands in many places is looked at once.
    described: RefCell<BTreeMap<Vec<u8>, Value>>,
}

impl<'a> Pool<'a> {
    pub(super) fn of<'c>(
        contents: impl Iterator<Item = &'c Content>,
        at_ms: u64,
        provider: &'a dyn Provider,
    ) -> Self {
        let (mut certificates, mut lists) = (Vec::new(), Vec::new());
        for content in contents {
            match content {
                Content::Certificates(found) => certificates.extend(found.iter().cloned()),
                Content::RevocationList(list) => lists.push((**list).clone()),
                Content::IntelCollateral(found) => {
                    certificates.extend(
                        [&found.root, &found.tcb_info_signer, &found.qe_identity_signer].map(Clone::clone),
                    );
                    certificates.extend(found.pck_chain.iter().cloned());
                    lists.extend([&found.root_revocation_list, &found.pck_revocation_list].map(Clone::clone));
                }
                Content::TdxQuote(bytes) | Content::SgxQuote(bytes) => {
                    certificates.extend(super::tee::pck_chain(bytes))
                }
                Content::NitroDocument(bytes) => certificates.extend(super::cloud::nitro_certificates(bytes)),
                Content::NvidiaManifest(bytes) => {
                    certificates.extend(super::device::manifest_certificates(bytes))
                }
                _ => {}
            }
        }
        let mut pool =
            Self { certificates: Vec::new(), lists, at_ms, provider, described: RefCell::default() };
        for one in certificates {
            if !pool.certificates.contains(&one) && pool.certificates.len() <= MAXIMUM_CERTIFICATES {
                pool.certificates.push(one);
            }
        }
        pool
    }

    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    pub(super) fn describe_all(&self, certificates: &[Certificate]) -> Vec<Value> {
        certificates.iter().map(|one| self.describe(one)).collect()
    }

    /// Certificates of one file as `certificates`; and as `in_order` whether each was signed by the next.
    pub(super) fn describe_file(&self, certificates: &[Certificate], described: &mut Value) {
        let signs = |pair: &[Certificate]| {
            let [one, next] = pair else { unreachable!("pairs") };
            let (algorithm, message) = (one.signature_algorithm(), one.signed_bytes());
            one.issuer() == next.subject()
                && self.verifies(next.public_key(), algorithm, message, one.signature())
        };
        let looked_at = if certificates.len() > MAXIMUM_CERTIFICATES { &[] } else { certificates };
        let signed: Vec<bool> = looked_at.windows(2).map(signs).collect();
        let shown = |(pair, signed): (&[Certificate], &bool)| {
            json!({
                "subject": pair[0].subject_common_name(), "next": pair[1].subject_common_name(), "signed": signed,
            })
        };
        described["certificates"] = json!(self.describe_all(certificates));
        described["in_order"] = looked_at.windows(2).zip(&signed).map(shown).collect();
        described["in_order_signed"] = json!(!looked_at.is_empty() && signed.iter().all(|one| *one));
    }

    /// [`describe_certificate`], and what holds between it and the others.
    pub(super) fn describe(&self, certificate: &Certificate) -> Value {
        if let Some(known) = self.described.borrow().get(certificate.as_der()) {
            return known.clone();
        }
        let described = self.look_at(certificate);
        self.described.borrow_mut().insert(certificate.as_der().to_vec(), described.clone());
        described
    }

    fn look_at(&self, certificate: &Certificate) -> Value {
        let mut described = describe_certificate(certificate);
        let signed = self.signed_by(
            |one| one.subject() == certificate.issuer(),
            certificate.signature_algorithm(),
            certificate.signed_bytes(),
            certificate.signature(),
        );
        let issued_itself = issued_itself(certificate);
        described["signed_by_issuer"] = json!(signed);
        described["signer"] = match signed {
            Some(true) if issued_itself => json!("itself"),
            Some(true) => json!("given"),
            _ => json!("unknown"),
        };
        described["revoked"] = json!(self.is_revoked(certificate));
        described["chain"] = self.chain(certificate);
        described["path"] = if issued_itself { Value::Null } else { self.path(certificate) };
        described
    }

    /// [`describe_revocation_list`], and whether its issuer signed it; `null` of more lists than are looked at.
    pub(super) fn describe_list(&self, list: &RevocationList) -> Value {
        let mut described = describe_revocation_list(list);
        let signed = || {
            let named = |one: &&Certificate| one.subject() == list.issuer();
            self.signed_by(named, list.signature_algorithm(), list.signed_bytes(), list.signature())
        };
        let looked_at = self.lists.len() <= MAXIMUM_CERTIFICATES;
        described["signed_by_issuer"] = json!(looked_at.then(signed).flatten());
        described
    }

    /// Whether one of those who are `named` made the signature; `None` if nobody is, or more are here than are looked at.
    fn signed_by(
        &self,
        named: impl Fn(&&Certificate) -> bool,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let mut issuers = self.candidates().iter().filter(named).peekable();
        issuers.peek()?;
        Some(issuers.any(|one| self.verifies(one.public_key(), algorithm, message, signature)))
    }

    /// Whose signatures are tried: everybody's, unless there are too many.
    fn candidates(&self) -> &[Certificate] {
        if self.certificates.len() > MAXIMUM_CERTIFICATES { &[] } else { &self.certificates }
    }

    fn verifies(
        &self,
        key: &PublicKey,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        verify_x509(key, algorithm, Sha1::AcceptedForAuthorities, message, signature, self.provider).is_ok()
    }

    /// Whether a list of its issuer names it; `None` without one.
    fn is_revoked(&self, certificate: &Certificate) -> Option<bool> {
        let mut lists = self.lists.iter().filter(|list| list.issuer() == certificate.issuer()).peekable();
        lists.peek()?;
        Some(lists.any(|list| list.revoked().any(|serial| serial == certificate.serial_number())))
    }

    /// Upwards by signatures alone: each and who signed it, and where that ends, if at one that issued itself.
    fn chain(&self, certificate: &Certificate) -> Value {
        let mut links = Vec::new();
        let mut current = certificate;
        while !issued_itself(current) && links.len() < MAXIMUM_LINKS {
            let signs = |one: &&Certificate| {
                let (algorithm, message) = (current.signature_algorithm(), current.signed_bytes());
                one.subject() == current.issuer()
                    && self.verifies(one.public_key(), algorithm, message, current.signature())
            };
            let Some(issuer) = self.candidates().iter().find(signs) else { break };
            links.push(json!({
                "subject": current.subject_common_name(), "issuer": issuer.subject_common_name(), "signed": true,
            }));
            current = issuer;
        }
        let root = issued_itself(current).then(|| current.subject_common_name());
        json!({ "links": links, "root": root, "built_in_root": built_in_root(&current.public_key_digest()) })
    }

    /// The path to a certificate that issued itself: validity, rights and lists on it. Whether to trust where it ends,
    /// `built_in_root` there says.
    fn path(&self, certificate: &Certificate) -> Value {
        let issued_themselves = self.certificates.iter().filter(|one| issued_itself(one));
        let roots: Vec<Sha256> = issued_themselves.map(Certificate::public_key_digest).collect();
        let endorsers = Endorsers { certificates: &self.certificates, revocation_lists: &self.lists };
        match authenticate_certificate(certificate, &endorsers, &roots, &PROFILE, self.at_ms, self.provider) {
            Ok(path) => json!({
                "root": path.root_name,
                "root_key_sha256": path.root_key_digest,
                "not_before": utc(path.not_before_ms),
                "not_after": utc(path.not_after_ms),
            }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }
}

/// A certificate's fields, by itself.
pub fn describe_certificate(certificate: &Certificate) -> Value {
    let mut described = json!({
        "subject": certificate.subject_common_name(),
        "subject_name": write_name(certificate.subject()),
        "issuer": certificate.issuer_common_name(),
        "issuer_name": write_name(certificate.issuer()),
        "serial": serial(certificate.serial_number()),
        "not_before": utc(certificate.not_before_ms()),
        "not_after": utc(certificate.not_after_ms()),
        "sha256": sha256(certificate.as_der()),
        "key_type": key_type(certificate.public_key()),
        "key_sha256": certificate.public_key_digest(),
        "authority": certificate.may_sign_certificates(),
        "issued_itself": issued_itself(certificate),
        "built_in_root": built_in_root(&certificate.public_key_digest()),
        // TPMs of one vendor order the parts of names in their own way.
        "strict_der": Certificate::parse(certificate.as_der()).is_ok(),
    });
    if let Ok(leaf) = Leaf::read(certificate) {
        described["snp"] = json!({
            "signing_key": leaf.kind(),
            "structure_version": leaf.structure_version(),
            "product_name": leaf.product_name(),
            "product": leaf.product(),
            "tcb": leaf.tcb(),
            "tcb_parts": leaf.tcb().components(leaf.product()).ok(),
            "patch_levels": leaf.patch_levels().map(|(name, level)| (name.to_owned(), json!(level))).collect::<Value>(),
        });
        match leaf.kind() {
            SigningKeyKind::Vlek => described["snp"]["provider"] = json!(leaf.provider()),
            _ => {
                described["snp"]["hardware_id"] =
                    json!(leaf.hardware_id().map(|id| hex::encode(id.as_bytes())))
            }
        }
    }
    if let Ok(pck) = Pck::read(certificate) {
        described["pck"] = json!({
            "fmspc": pck.fmspc(),
            "pce_id": hex::encode(pck.pce_id()),
            "tcb": pck.tcb(),
            "sgx_type": pck.sgx_type(),
        });
    }
    described
}

/// A revocation list's fields, by itself.
pub fn describe_revocation_list(list: &RevocationList) -> Value {
    json!({
        "issuer": list.issuer_common_name(),
        "issuer_name": write_name(list.issuer()),
        "this_update": utc(list.this_update_ms()),
        "next_update": utc(list.next_update_ms()),
        "revoked": list.revoked().map(serial).collect::<Vec<_>>(),
    })
}

/// A moment as RFC 3339 writes it, in UTC, to the second; beyond the year 9999 as a number.
pub(super) fn utc(ms: u64) -> String {
    der::DateTime::from_unix_duration(Duration::from_secs(ms / 1000))
        .map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

/// A serial number as people compare it: hexadecimal, without leading zeros.
fn serial(bytes: &[u8]) -> String {
    let digits = hex::encode(bytes);
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

fn key_type(key: &PublicKey) -> &'static str {
    match key {
        PublicKey::Rsa { .. } => "RSA",
        _ => "EC",
    }
}

fn issued_itself(certificate: &Certificate) -> bool {
    certificate.issuer() == certificate.subject()
}

/// Who has this key as a root that is built in.
fn built_in_root(digest: &Sha256) -> Option<&'static str> {
    let roots = Roots::builtin();
    let is = |found: bool, name: &'static str| found.then_some(name);
    is(roots.amd().iter().any(|root| root.key_digest == *digest), "AMD")
        .or(is(roots.intel().iter().any(|root| root.key_digest == *digest), "Intel"))
        .or(is(nitro::ROOTS.contains(digest), "AWS"))
        .or(is(gcp::ROOTS.contains(digest), "Google"))
        .or(is(azure::ROOTS.contains(digest), "Microsoft"))
        .or(is(nvidia::DEVICE_ROOTS.contains(digest), "NVIDIA devices"))
        .or(is(nvidia::MANIFEST_ROOTS.contains(digest), "NVIDIA manifests"))
}

/// What any certificate's path must keep to.
const PROFILE: Profile = Profile {
    known_extensions: &TcgCertificate::KNOWN_EXTENSIONS,
    sha1: Sha1::Refused,
    maximum_authorities: MAXIMUM_LINKS,
};

/// More certificates than any vendor has above a key.
const MAXIMUM_LINKS: usize = 6;
