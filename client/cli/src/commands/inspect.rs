//! What does this evidence say?

use std::path::{Path, PathBuf};

use casemate_crypto::hash::sha256;
use casemate_evidence::{
    bundle::{Bundle, Item},
    snp::{Leaf, Report, SigningKeyKind},
    x509::{Certificate, RevocationList},
};
use serde_json::{Value, json};

use crate::{Error, clock, commands::Context, evidence::Evidence, exit, files};

/// Show every field of evidence or of a certificate, without judging it
///
/// What is shown is what the bytes say, whoever wrote them; `casemate verify` tells whether it is true.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A file, or - for standard input: an evidence bundle, an SEV-SNP report, certificates (DER or PEM) or a
    /// revocation list (DER)
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// [`Error::File`], [`Error::UnknownEvidence`], [`Error::NotEvidence`], [`Error::NotReport`],
/// [`Error::Certificates`].
pub fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let path = &arguments.file;
    let bytes = files::read_input(path, Evidence::MAXIMUM_LEN as u64)?;
    let unknown = || Error::UnknownEvidence { path: path.to_owned() };
    let found = match Evidence::recognise(bytes).ok_or_else(unknown)? {
        Evidence::SnpReport(bytes) => report(path, &bytes)?,
        Evidence::Quote(quote) => show(path, &quote)?,
        Evidence::Bundle(bundle) => {
            let refused = |source| Error::NotEvidence { path: path.to_owned(), source: Box::new(source) };
            json!({ "kind": "evidence-bundle", "items": items(path, bundle.map_err(refused)?.as_ref())? })
        }
        Evidence::Certificates(certificates) => {
            let certificates = certificates.map_err(|source| unreadable(path, source))?;
            json!({ "kind": "certificates", "certificates": certificates.iter().map(certificate).collect::<Vec<_>>() })
        }
        Evidence::RevocationList(list) => revocation_list(&list),
    };
    context.output.answer(&found, || {
        let mut fields = Vec::new();
        flatten("", &found, &mut fields);
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let mut lines: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
        lines.push("Nothing of this is verified: `casemate verify` does that.".to_owned());
        lines.join("\n")
    });
    Ok(exit::DONE)
}

/// A certificate, as data: also what `casemate endorsements` shows.
pub fn certificate(certificate: &Certificate) -> Value {
    let mut shown = json!({
        "subject": certificate.subject_common_name(),
        "issuer": certificate.issuer_common_name(),
        "serial": serial(certificate.serial_number()),
        "not_before": clock::utc(certificate.not_before_ms()),
        "not_after": clock::utc(certificate.not_after_ms()),
        "sha256": sha256(certificate.as_der()),
        "key_sha256": certificate.public_key_digest(),
        "authority": certificate.may_sign_certificates(),
    });
    if let Ok(leaf) = Leaf::read(certificate) {
        shown["snp"] = json!({
            "signing_key": leaf.kind(),
            "structure_version": leaf.structure_version(),
            "product_name": leaf.product_name(),
            "product": leaf.product(),
            "tcb": leaf.tcb(),
            "tcb_parts": leaf.tcb().components(leaf.product()).ok(),
        });
        match leaf.kind() {
            SigningKeyKind::Vlek => shown["snp"]["provider"] = json!(leaf.provider()),
            _ => shown["snp"]["hardware_id"] = json!(leaf.hardware_id().map(|id| hex::encode(id.as_bytes()))),
        }
    }
    shown
}

fn report(path: &Path, bytes: &[u8]) -> Result<Value, Error> {
    let refused = |source| Error::NotReport { path: path.to_owned(), source: Box::new(source) };
    Ok(json!({ "kind": "snp-report", "report": Report::parse(bytes).map_err(refused)? }))
}

/// A revocation list, as data.
pub fn revocation_list(list: &RevocationList) -> Value {
    json!({
        "kind": "revocation-list",
        "issuer": list.issuer_common_name(),
        "this_update": clock::utc(list.this_update_ms()),
        "next_update": clock::utc(list.next_update_ms()),
        "revoked": list.revoked().map(serial).collect::<Vec<_>>(),
    })
}

fn items(path: &Path, bundle: &Bundle) -> Result<Vec<Value>, Error> {
    bundle.items().iter().map(|item| show(path, item)).collect()
}

fn show(path: &Path, item: &Item) -> Result<Value, Error> {
    let der = |bytes: &[u8]| {
        Certificate::parse(bytes)
            .map(|parsed| certificate(&parsed))
            .map_err(|source| unreadable(path, source))
    };
    Ok(match item {
        Item::SnpReport(bytes) => report(path, bytes)?,
        Item::SnpCertificates(chain) => {
            let chain = [&chain.leaf, &chain.intermediate, &chain.root].map(|bytes| der(bytes));
            let [leaf, intermediate, root] = chain;
            json!({ "kind": "certificates", "certificates": [leaf?, intermediate?, root?] })
        }
        Item::SnpRevocationList(bytes) => {
            revocation_list(&RevocationList::parse(bytes).map_err(|source| unreadable(path, source))?)
        }
        Item::Manifest(bytes) => {
            json!({ "kind": "manifest", "bytes": bytes.len(), "sha256": sha256(bytes) })
        }
        Item::Session(session) => json!({
            "kind": "session",
            "key_sha256": sha256(&session.key),
            "instance": hex::encode(session.instance),
            "boot_id": hex::encode(session.boot_id),
        }),
        other => json!({ "kind": "item", "number": other.number() }),
    })
}

fn unreadable(path: &Path, source: casemate_evidence::x509::Error) -> Error {
    Error::Unreadable { path: path.to_owned(), source: Box::new(source) }
}

/// A serial number as people compare it: hexadecimal, without leading zeros.
fn serial(bytes: &[u8]) -> String {
    let digits = hex::encode(bytes);
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

/// Each value with its path. Texts come from strangers: what could steer a terminal is replaced.
fn flatten(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let inner = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    let shown = match value {
        Value::Object(members) => {
            return members.iter().for_each(|(key, value)| flatten(&inner(key), value, fields));
        }
        Value::Array(list) if !list.is_empty() => {
            return list
                .iter()
                .enumerate()
                .for_each(|(index, value)| flatten(&inner(&index.to_string()), value, fields));
        }
        Value::Array(_) | Value::Null => "none".to_owned(),
        Value::String(text) => {
            text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
        }
        other => other.to_string(),
    };
    fields.push((name.to_owned(), shown));
}
