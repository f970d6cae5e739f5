//! What does this evidence say?

mod cloud;
mod log;
mod tpm;

use std::path::{Path, PathBuf};

use casemate_crypto::hash::sha256;
use casemate_evidence::{
    bundle::{Bundle, Item},
    intel::{Body, Quote},
    sgx,
    snp::{Leaf, Report, SigningKeyKind},
    tdx,
    x509::{Certificate, RevocationList},
};
use casemate_intake::{Content, Kind};
use casemate_verify::intel::Collateral;
use serde_json::{Value, json};

use crate::{Error, clock, commands::Context, evidence, exit};

/// Show every field of evidence or of a certificate, without judging it
///
/// What is shown is what the bytes say, whoever wrote them; `casemate verify` tells whether it is true.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A file, or - for standard input, also as hexadecimal or base64 text: an evidence bundle, an SEV-SNP report, a
    /// TDX or SGX quote, a document of AWS, Azure's HCL report, a TPM's quote, signature, PCR values or public area, an
    /// event log, an IMA list, certificates, a revocation list, or Intel's collateral
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// [`Error::File`], [`Error::Intake`], [`Error::NotReport`], [`Error::NotQuote`], [`Error::NotOfItsKind`].
pub fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let path = &arguments.file;
    let found = match evidence::read(path)? {
        Content::SnpReport(bytes) => report(path, &bytes)?,
        Content::TdxQuote(bytes) | Content::SgxQuote(bytes) => quote(path, &bytes)?,
        Content::Bundle(bundle) => json!({ "kind": "evidence-bundle", "items": items(path, &bundle)? }),
        Content::Certificates(certificates) => {
            json!({ "kind": "certificates", "certificates": certificates.iter().map(certificate).collect::<Vec<_>>() })
        }
        Content::RevocationList(list) => revocation_list(&list),
        Content::IntelCollateral(found) => collateral(&found),
        Content::NitroDocument(bytes) => read(path, Kind::NitroDocument, cloud::nitro(&bytes))?,
        Content::AzureReport(bytes) => read(path, Kind::AzureReport, cloud::azure(&bytes))?,
        Content::TpmQuote(bytes) => read(path, Kind::TpmQuote, tpm::statement(&bytes))?,
        Content::TpmSignature(bytes) => tpm::signature(&bytes),
        Content::TpmPcrs(values) => tpm::pcrs(&values),
        Content::TpmPublicArea(bytes) => read(path, Kind::TpmPublicArea, tpm::public_area(&bytes))?,
        Content::PublicKey(der) => tpm::public_key(&der),
        Content::EventLog(bytes) => read(path, Kind::EventLog, log::events(&bytes))?,
        Content::ImaList(bytes) => read(path, Kind::ImaList, log::ima(&bytes))?,
        other => json!({ "kind": other.kind() }),
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

fn quote(path: &Path, bytes: &[u8]) -> Result<Value, Error> {
    let refused = |source| Error::NotQuote { path: path.to_owned(), source: Box::new(source) };
    let quote = Quote::parse(bytes).map_err(refused)?;
    Ok(match quote.body() {
        Body::Tdx(report) => json!({ "kind": "tdx-quote", "report": trust_domain(report) }),
        Body::Sgx(report) => json!({ "kind": "sgx-quote", "report": enclave(report) }),
    })
}

fn trust_domain(report: &tdx::Report) -> Value {
    json!({
        "tee_tcb_svn": report.tee_tcb_svn(),
        "mr_seam": report.mr_seam(),
        "mr_signer_seam": report.mr_signer_seam(),
        "seam_attributes": hex::encode(report.seam_attributes()),
        "td_attributes": report.td_attributes(),
        "xfam": report.xfam(),
        "mr_td": report.mr_td(),
        "mr_config_id": hex::encode(report.mr_config_id()),
        "mr_owner": hex::encode(report.mr_owner()),
        "mr_owner_config": hex::encode(report.mr_owner_config()),
        "rtmr": (0..4).map(|index| report.rtmr(index)).collect::<Vec<_>>(),
        "report_data": report.report_data(),
        "service_td": report.service_td(),
    })
}

fn enclave(report: &sgx::Report) -> Value {
    json!({
        "cpu_svn": hex::encode(report.cpu_svn()),
        "misc_select": hex::encode(report.misc_select()),
        "attributes": report.attributes(),
        "mr_enclave": report.mr_enclave(),
        "mr_signer": report.mr_signer(),
        "config_id": hex::encode(report.config_id()),
        "config_svn": report.config_svn(),
        "isv_prod_id": report.isv_prod_id(),
        "isv_svn": report.isv_svn(),
        "isv_family_id": hex::encode(report.isv_family_id()),
        "isv_ext_prod_id": hex::encode(report.isv_ext_prod_id()),
        "report_data": report.report_data(),
    })
}

/// What Intel publishes of a platform, as far as it tells which and when.
fn collateral(found: &Collateral) -> Value {
    json!({
        "kind": "intel-collateral",
        "root": certificate(&found.root),
        "tcb_info_signer": certificate(&found.tcb_info_signer),
        "qe_identity_signer": certificate(&found.qe_identity_signer),
        "root_revocation_list": revocation_list(&found.root_revocation_list),
        "pck_revocation_list": revocation_list(&found.pck_revocation_list),
        "pck_chain": found.pck_chain.iter().map(certificate).collect::<Vec<_>>(),
    })
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
        Item::TdxQuote(bytes) | Item::SgxQuote(bytes) => quote(path, bytes)?,
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
        Item::NitroDocument(bytes) => read(path, Kind::NitroDocument, cloud::nitro(bytes))?,
        Item::AzureReport(bytes) => read(path, Kind::AzureReport, cloud::azure(bytes))?,
        Item::TpmQuote(quote) => read(path, Kind::TpmPcrs, tpm::quote(quote))?,
        Item::TpmKey(key) => read(path, Kind::TpmPublicArea, tpm::key(key))?,
        Item::EventLog(bytes) => read(path, Kind::EventLog, log::events(bytes))?,
        Item::ImaList(bytes) => read(path, Kind::ImaList, log::ima(bytes))?,
        other => json!({ "kind": "item", "number": other.number() }),
    })
}

/// What was read, or why it is not of its kind.
fn read<E>(path: &Path, kind: Kind, shown: Result<Value, E>) -> Result<Value, Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    shown.map_err(|source| Error::NotOfItsKind { path: path.to_owned(), kind, source: Box::new(source) })
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
