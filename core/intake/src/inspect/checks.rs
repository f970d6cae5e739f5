//! What holds among the files, whoever made them?
//!
//! Each check is there if all of it is: of a report without a certificate of its key, none can be said to hold.

use casemate_crypto::hash::HashAlgorithm;
use casemate_crypto::{Curve, Provider};
use casemate_evidence::azure::{HclReport, RuntimeData};
use casemate_evidence::intel::Quote;
use casemate_evidence::nitro::Document;
use casemate_evidence::nvidia::{Manifest, Report as DeviceReport};
use casemate_evidence::snp::Report;
use casemate_evidence::tpm::{Attest, Attested, PcrValues, Public, Signature};
use casemate_evidence::x509::PublicKey;
use casemate_verify::intel::{check_attestation_key, check_qe_report_signature, check_quote_signature};
use casemate_verify::nvidia::{check_manifest_signature, check_report_signature};
use casemate_verify::snp::{check_chip, check_tcb};
use casemate_verify::tpm::{AttestationKey, QuoteError, authenticate_quote, pcr_digest};
use serde_json::{Map, Value, json};

use super::certificate::Pool;
use super::tee::{leaf, pck};
use super::tpm::scheme_name;
use crate::content::Content;

/// Of several files of one kind a check holds if it holds of each.
pub(super) fn checks<'c>(
    contents: impl Iterator<Item = &'c Content>,
    pool: &Pool<'_>,
    provider: &dyn Provider,
) -> Map<String, Value> {
    let contents: Vec<&Content> = contents.collect();
    let mut found = Map::new();
    for content in &contents {
        let more = match content {
            Content::SnpReport(bytes) => of_report(bytes, pool, provider),
            Content::TdxQuote(bytes) | Content::SgxQuote(bytes) => of_quote(bytes, pool, provider),
            Content::NitroDocument(bytes) => of_document(bytes, provider),
            Content::TpmQuote(bytes) => of_statement(bytes, &contents, pool, provider),
            Content::NvidiaReport(bytes) => of_device(bytes, pool, provider),
            Content::NvidiaManifest(bytes) => of_manifest(bytes, provider),
            _ => Vec::new(),
        };
        for (name, value) in more {
            if value == json!(false) {
                found.insert(name.to_owned(), value);
            } else {
                found.entry(name).or_insert(value);
            }
        }
    }
    found
}

type Checks = Vec<(&'static str, Value)>;

fn of_report(bytes: &[u8], pool: &Pool<'_>, provider: &dyn Provider) -> Checks {
    let (Ok(report), Some(leaf)) = (Report::parse(bytes), leaf(pool)) else { return Vec::new() };
    let signed = provider.verify_p384(leaf.public_key(), report.signed_bytes(), &report.signature());
    vec![
        ("report_signature", json!(signed.is_ok())),
        ("certified_tcb", json!(check_tcb(&report, &leaf).is_ok())),
        ("certified_chip", json!(check_chip(&report, &leaf).is_ok())),
    ]
}

fn of_quote(bytes: &[u8], pool: &Pool<'_>, provider: &dyn Provider) -> Checks {
    let Ok(quote) = Quote::parse(bytes) else { return Vec::new() };
    let signature = quote.signature();
    let mut checks = vec![
        ("quote_signature", json!(check_quote_signature(&quote, provider).is_ok())),
        ("attestation_key", json!(check_attestation_key(signature).is_ok())),
    ];
    let chain = signature.certification.certificates().unwrap_or_default();
    if let Some(pck) = pck(&chain, pool) {
        let signed = check_qe_report_signature(signature, pck.public_key(), provider);
        checks.push(("qe_report_signature", json!(signed.is_ok())));
    }
    checks
}

fn of_document(bytes: &[u8], provider: &dyn Provider) -> Checks {
    let Ok(document) = Document::parse(bytes) else { return Vec::new() };
    let certificate = casemate_evidence::x509::Certificate::parse(&document.certificate);
    let signed = certificate.as_ref().is_ok_and(|certificate| match certificate.public_key() {
        PublicKey::P384(key) => {
            let (message, signature) = (document.signed_bytes(), document.signature());
            provider
                .verify_ecdsa(Curve::P384, HashAlgorithm::Sha384, key.as_bytes(), &message, signature)
                .is_ok()
        }
        _ => false,
    });
    vec![("document_certificate_readable", json!(certificate.is_ok())), ("document_signature", json!(signed))]
}

fn of_statement(bytes: &[u8], contents: &[&Content], pool: &Pool<'_>, provider: &dyn Provider) -> Checks {
    let signature = contents.iter().find_map(|content| match content {
        Content::TpmSignature(bytes) => Signature::parse_structured_or_raw(bytes).ok(),
        _ => None,
    });
    let pcrs = contents.iter().find_map(|content| match content {
        Content::TpmPcrs(pcrs) => Some((**pcrs).clone()),
        _ => None,
    });
    let attest = Attest::parse(bytes).ok();
    let mut checks = Vec::new();
    if let (Some(signature), Some(key)) = (signature, attestation_key(contents, pool)) {
        // A statement that no TPM made is signed by none.
        let key = AttestationKey::enrolled_without_public_area(key);
        let signed = attest.clone().is_some_and(|attest| {
            let answer = authenticate_quote(attest, &signature, &key, &PcrValues::new(), provider);
            !matches!(answer, Err(QuoteError::Signature(_) | QuoteError::NotAQuote { .. }))
        });
        let found = if signed { json!(scheme_name(signature.scheme)) } else { json!(false) };
        checks.push(("statement_signature", found));
    }
    if let Some(Attested::Quote { selection, digest }) = attest.as_ref().map(|attest| &attest.attested) {
        let pcrs = pcrs.unwrap_or_default();
        let fits = |hash: &HashAlgorithm| pcr_digest(selection, &pcrs, *hash).as_bytes() == digest.as_slice();
        let found = HashAlgorithm::ALL.into_iter().find(fits);
        checks.push(("pcr_digest", found.map_or(json!(false), |hash| json!(hash.name()))));
    }
    checks
}

/// Of a device's report: whether one of the certified keys that may sign data signed it.
fn of_device(bytes: &[u8], pool: &Pool<'_>, provider: &dyn Provider) -> Checks {
    let Ok(report) = DeviceReport::parse(bytes) else { return Vec::new() };
    if pool.certificates().is_empty() {
        return Vec::new();
    }
    let mut keys = pool.certificates().iter().filter(|one| one.may_sign_data() == Some(true));
    let signed = keys.any(|one| check_report_signature(&report, one, provider).is_ok());
    vec![("device_signature", json!(signed))]
}

/// Of a manifest: whether its document is the one that its signer signed.
fn of_manifest(bytes: &[u8], provider: &dyn Provider) -> Checks {
    let Ok(manifest) = Manifest::parse(bytes) else { return Vec::new() };
    vec![("manifest_signature", json!(check_manifest_signature(&manifest, provider).is_ok()))]
}

/// The key that is said to have signed a statement: by itself, as a public area, from Azure's report, or certified.
fn attestation_key(contents: &[&Content], pool: &Pool<'_>) -> Option<PublicKey> {
    let of = |read: fn(&Content) -> Option<PublicKey>| contents.iter().find_map(|content| read(content));
    of(|content| match content {
        Content::PublicKey(der) => PublicKey::parse_spki(der).ok(),
        _ => None,
    })
    .or(of(|content| match content {
        Content::TpmPublicArea(bytes) => Public::parse(bytes).ok()?.public_key(),
        _ => None,
    }))
    .or(of(|content| match content {
        Content::AzureReport(bytes) => {
            let runtime = HclReport::parse(bytes).ok()?.runtime().ok()?;
            Some(runtime.key(RuntimeData::ATTESTATION_KEY)?.public_key.clone())
        }
        _ => None,
    }))
    .or(pool
        .certificates()
        .iter()
        .find(|one| !one.may_sign_certificates())
        .map(|one| one.public_key().clone()))
}
