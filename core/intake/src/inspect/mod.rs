//! What do these files say, field by field, and what holds among them?
//!
//! Nothing is judged: there is no policy, and a signature that holds says only that key and bytes fit. Whether anybody
//! should trust the key, the verdict says ([`crate::verify`]). Reference: `docs/reference/question.md`.

mod certificate;
mod checks;
mod cloud;
mod device;
mod log;
mod name;
mod tee;
mod tpm;

use casemate_crypto::Provider;
use casemate_crypto::hash::sha256;
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::tpm::PcrValues;
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::intel::Collateral;
use serde_json::{Map, Value, json};

use crate::content::{Content, File, Kind};
use crate::error::Error;
use crate::sort::Sorted;
use certificate::Pool;
pub use certificate::{describe_certificate, describe_revocation_list};

/// What files say.
#[derive(Debug)]
pub struct Inspection {
    /// Of each file an object with its `kind` and its fields, or why it has none.
    pub files: Vec<Result<Value, Error>>,
    /// What holds among them, by name; only of what is there.
    pub checks: Map<String, Value>,
}

/// Describes files at time `at_ms` (milliseconds since 1970), which only the paths of certificates depend on.
///
/// # Errors
/// [`Error::TooMany`]. What is wrong with one file is said in its place.
pub fn inspect(files: &[File<'_>], at_ms: u64, provider: &dyn Provider) -> Result<Inspection, Error> {
    if files.len() > Sorted::MAXIMUM_FILES {
        return Err(Error::TooMany { found: files.len(), maximum: Sorted::MAXIMUM_FILES });
    }
    let contents: Vec<Result<Content, Error>> = files.iter().map(Content::read).collect();
    let readable = || contents.iter().flatten();
    let parts: Vec<Content> = readable().flat_map(parts).collect();
    let pool = Pool::of(readable().chain(&parts), at_ms, provider);
    let checks = checks::checks(readable().chain(&parts), &pool, provider);
    let describe = |(content, file): (Result<Content, Error>, &File<'_>)| {
        describe(&content?, &pool).map_err(|(kind, source)| Error::Format {
            name: file.name.to_owned(),
            kind,
            source,
        })
    };
    Ok(Inspection { files: contents.into_iter().zip(files).map(describe).collect(), checks })
}

/// Why bytes are not of the kind like which they begin.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// An object with the content's kind and its fields.
fn describe(content: &Content, pool: &Pool<'_>) -> Result<Value, (Kind, Fault)> {
    let fields = match content {
        Content::Bundle(bundle) => Ok(json!({ "items": items(bundle, pool) })),
        Content::SnpReport(bytes) => tee::snp_report(bytes, pool),
        Content::TdxQuote(bytes) | Content::SgxQuote(bytes) => tee::quote(bytes, pool),
        Content::Certificates(found) => {
            let mut described = json!({});
            pool.describe_file(found, &mut described);
            Ok(described)
        }
        Content::RevocationList(list) => Ok(pool.describe_list(list)),
        Content::IntelCollateral(found) => Ok(collateral(found, pool)),
        Content::NitroDocument(bytes) => cloud::nitro_document(bytes, pool),
        Content::AzureReport(bytes) => cloud::azure_report(bytes),
        Content::TpmQuote(bytes) => tpm::statement(bytes),
        Content::TpmSignature(bytes) => tpm::signature(bytes),
        Content::TpmPcrs(pcrs) => Ok(tpm::pcrs(pcrs)),
        Content::TpmPublicArea(bytes) => tpm::public_area(bytes),
        Content::PublicKey(der) => tpm::public_key(der),
        Content::EventLog(bytes) => log::event_log(bytes),
        Content::ImaList(bytes) => log::ima_list(bytes),
        Content::NvidiaReport(bytes) => device::report(bytes),
        Content::NvidiaManifest(bytes) => device::manifest(bytes, pool),
    };
    let kind = content.kind();
    let mut described = json!({ "kind": kind });
    match fields.map_err(|fault| (kind, fault))? {
        Value::Object(fields) => described.as_object_mut().expect("made above").extend(fields),
        other => described["value"] = other,
    }
    Ok(described)
}

/// What Intel publishes of a platform, as far as it tells which and when.
fn collateral(found: &Collateral, pool: &Pool<'_>) -> Value {
    json!({
        "root": pool.describe(&found.root),
        "tcb_info_signer": pool.describe(&found.tcb_info_signer),
        "qe_identity_signer": pool.describe(&found.qe_identity_signer),
        "root_revocation_list": pool.describe_list(&found.root_revocation_list),
        "pck_revocation_list": pool.describe_list(&found.pck_revocation_list),
        "pck_chain": pool.describe_all(&found.pck_chain),
    })
}

/// A bundle's items, each as a file of its kind would be described.
fn items(bundle: &Bundle, pool: &Pool<'_>) -> Vec<Value> {
    let describe_parts = |item: &Item| {
        let parts = parts_of_item(item).into_iter();
        parts
            .map(|part| {
                describe(&part, pool)
                    .unwrap_or_else(|(kind, fault)| json!({ "kind": kind, "error": fault.to_string() }))
            })
            .collect::<Vec<_>>()
    };
    bundle
        .items()
        .iter()
        .flat_map(|item| match item {
            Item::Manifest(bytes) => {
                vec![json!({ "kind": "manifest", "bytes": bytes.len(), "sha256": sha256(bytes) })]
            }
            Item::Session(session) => vec![json!({
                "kind": "session",
                "key_sha256": sha256(&session.key),
                "instance": hex::encode(session.instance),
                "boot_id": hex::encode(session.boot_id),
            })],
            item => match describe_parts(item) {
                parts if parts.is_empty() => vec![json!({ "kind": "item", "number": item.number() })],
                parts => parts,
            },
        })
        .collect()
}

fn parts(content: &Content) -> Vec<Content> {
    match content {
        Content::Bundle(bundle) => bundle.items().iter().flat_map(parts_of_item).collect(),
        _ => Vec::new(),
    }
}

/// An item as the files that it could have been; what cannot be read is left to the verdict.
fn parts_of_item(item: &Item) -> Vec<Content> {
    let certificates = |ders: &[&[u8]]| {
        let found: Vec<Certificate> = ders.iter().filter_map(|der| Certificate::parse(der).ok()).collect();
        (!found.is_empty()).then_some(Content::Certificates(found))
    };
    let list =
        |der: &[u8]| RevocationList::parse(der).ok().map(|list| Content::RevocationList(Box::new(list)));
    let present =
        |bytes: &[u8], content: fn(Vec<u8>) -> Content| (!bytes.is_empty()).then(|| content(bytes.to_vec()));
    match item {
        Item::SnpReport(bytes) => vec![Content::SnpReport(bytes.to_vec())],
        Item::SnpCertificates(chain) => {
            certificates(&[&chain.leaf, &chain.intermediate, &chain.root]).into_iter().collect()
        }
        Item::SnpRevocationList(der) => list(der).into_iter().collect(),
        Item::TdxQuote(bytes) => vec![Content::TdxQuote(bytes.to_vec())],
        Item::SgxQuote(bytes) => vec![Content::SgxQuote(bytes.to_vec())],
        Item::IntelCollateral(item) => Collateral::from_bundle_item(item)
            .map(|found| Content::IntelCollateral(Box::new(found)))
            .into_iter()
            .collect(),
        Item::NitroDocument(bytes) => vec![Content::NitroDocument(bytes.to_vec())],
        Item::AzureReport(bytes) => vec![Content::AzureReport(bytes.to_vec())],
        Item::TpmQuote(quote) => {
            let pcrs = PcrValues::read_items(&quote.pcrs).ok().map(|pcrs| Content::TpmPcrs(Box::new(pcrs)));
            let files = [
                present(&quote.statement, Content::TpmQuote),
                present(&quote.signature, Content::TpmSignature),
                pcrs,
            ];
            files.into_iter().flatten().collect()
        }
        Item::TpmKey(key) => {
            let ders: Vec<&[u8]> = key.certificates.iter().map(|der| der.as_slice()).collect();
            let files = [
                present(&key.public_key, Content::PublicKey),
                present(&key.public_area, Content::TpmPublicArea),
                certificates(&ders),
            ];
            files
                .into_iter()
                .flatten()
                .chain(key.revocation_lists.iter().filter_map(|der| list(der)))
                .collect()
        }
        Item::EventLog(bytes) => vec![Content::EventLog(bytes.to_vec())],
        Item::ImaList(bytes) => vec![Content::ImaList(bytes.to_vec())],
        Item::NvidiaDevices(devices) => {
            let files = devices.iter().flat_map(|device| {
                let ders: Vec<&[u8]> = device.certificates.iter().map(|der| der.as_slice()).collect();
                [present(&device.report, Content::NvidiaReport), certificates(&ders)]
            });
            files.flatten().collect()
        }
        Item::NvidiaManifests(manifests) => {
            manifests.iter().filter_map(|bytes| present(bytes, Content::NvidiaManifest)).collect()
        }
        _ => Vec::new(),
    }
}
