//! Which certificates are kept here, and how do they come and go?

use std::path::{Path, PathBuf};

use casemate_endorse::{CollateralParts, Item, OfflineBundle, PlatformCollateral, snp_report};
use casemate_evidence::{
    intel::{EvaluationNumbers, TcbInfo},
    nvidia::Manifest,
    snp::{Product, Report},
    x509::{Certificate, RevocationList},
};
use casemate_intake::{Content, File, describe_certificate, describe_revocation_list};
use casemate_verify::snp::Endorsements;
use serde_json::{Value, json};

use crate::{
    Error,
    clock::{self, Moment},
    commands::Context,
    endorsements::{azure_host, failed},
    evidence, exit, files,
    output::{size, table},
};

/// Certificates, collateral and revocation lists that endorse hardware: fetch, carry to a machine without a network, list
///
/// Only what a vendor's own root vouches for is kept. `verify` and `up` fetch what they lack by themselves;
/// with --offline they use what is kept here.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Fetch what endorses evidence, or what all chips of a product share
    Fetch {
        /// Evidence: bundles, SEV-SNP reports, also inside Azure's, TDX and SGX quotes
        #[arg(required_unless_present_any = ["product", "azure_host"])]
        files: Vec<PathBuf>,
        /// Product whose authority and revocation list are fetched; may be repeated
        #[arg(long, value_parser = product, value_name = "Milan|Genoa|Turin")]
        product: Vec<Product>,
        /// In an SEV-SNP VM of Azure: ask its host for the VCEK
        #[arg(long, conflicts_with = "offline")]
        azure_host: bool,
        /// For recorded evidence: the time to judge it at, in UTC, such as 2026-05-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        at: Option<Moment>,
    },
    /// Write everything that is kept to one file
    Export {
        /// File to write
        file: PathBuf,
    },
    /// Keep what files hold: an exported file, an evidence bundle, certificates, revocation lists, Intel's collateral as
    /// one JSON file or in the parts that Intel's service answers
    Import {
        /// Files to read
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The time at which they must hold, in UTC, such as 2026-05-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        at: Option<Moment>,
    },
    /// List what is kept, and until when it holds
    Status,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Endorsements`], [`Error::File`], [`Error::Intake`].
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    match arguments.command {
        Command::Fetch { files, product, azure_host, at } => {
            if azure_host {
                fetch_from_azure_host(context, now_ms(at)).await?;
            }
            fetch(context, &files, &product, now_ms(at)).await
        }
        Command::Export { file } => export(context, &file),
        Command::Import { files, at } => import(context, &files, now_ms(at)),
        Command::Status => status(context),
    }
}

async fn fetch(context: &Context, files: &[PathBuf], products: &[Product], now_ms: u64) -> Result<u8, Error> {
    let cache = context.endorsements()?;
    for product in products {
        let step =
            context.output.long_step("Fetching", &format!("authority and revocation list of {product}"));
        cache.fetch_product(*product, now_ms).await.map_err(failed)?;
        step.done(&format!("ARK, ASK and revocation list of {product}"));
    }
    for path in files {
        let bundle = evidence::sort(std::slice::from_ref(path))?.bundle;
        if bundle.tdx_quote().is_some() || bundle.sgx_quote().is_some() {
            let step = context.output.long_step("Fetching", &format!("collateral of {}", path.display()));
            cache.complete(bundle, now_ms).await.map_err(failed)?;
            step.done("Intel's collateral of its platform");
            continue;
        }
        if !bundle.nvidia_devices().is_empty() {
            let step = context.output.long_step("Fetching", &format!("manifests of {}", path.display()));
            let completed = cache.complete(bundle, now_ms).await.map_err(failed)?;
            if let Some(error) = completed.missing_manifests.into_iter().next() {
                return Err(failed(error));
            }
            step.done("NVIDIA's manifests of its devices");
            continue;
        }
        let unreadable = |source| Error::NotReport { path: path.to_owned(), source: Box::new(source) };
        bundle.snp_report().map(Report::parse).transpose().map_err(unreadable)?;
        let report = snp_report(&bundle).ok_or_else(|| Error::NothingToVerify { path: path.to_owned() })?;
        let step = context.output.long_step("Fetching", &format!("what endorses {}", path.display()));
        cache.endorsements(&report, now_ms).await.map_err(failed)?;
        step.done(&format!("chain of chip {}", report.chip_id().short()));
    }
    status(context)
}

async fn fetch_from_azure_host(context: &Context, now_ms: u64) -> Result<(), Error> {
    let step = context.output.long_step("Fetching", "what Azure's host has of this VM");
    let cache = context.endorsements()?;
    let keys = cache.fetch_from_azure_host(&azure_host()?, now_ms).await.map_err(failed)?;
    step.done(&keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    Ok(())
}

fn export(context: &Context, file: &Path) -> Result<u8, Error> {
    let bundle = context.endorsements()?.export();
    let bytes = bundle.to_bytes();
    files::write(file, &bytes)?;
    let answer = json!({ "file": file, "items": bundle.items().len(), "bytes": bytes.len() });
    context.output.answer(&answer, || {
        format!("{} holds {} items, {}", file.display(), bundle.items().len(), size(bytes.len() as u64))
    });
    Ok(exit::DONE)
}

fn import(context: &Context, files: &[PathBuf], now_ms: u64) -> Result<u8, Error> {
    let cache = context.endorsements()?;
    let mut items = Vec::new();
    let mut parts = CollateralParts::default();
    for path in files {
        items.extend(read_items(path, &mut parts)?.into_iter().map(|item| (path, item)));
    }
    if let (false, Some(last)) = (parts.is_empty(), files.last()) {
        let joined = parts.join("the files").map_err(failed)?;
        items.push((last, Item::IntelCollateral(Box::new(joined))));
    }
    let bare: Vec<Item> = items.iter().map(|(_, item)| item.clone()).collect();
    let results = cache.import(&bare, now_ms);
    let refused = results.iter().filter(|result| result.is_err()).count();
    let rows: Vec<Value> = items
        .iter()
        .zip(&results)
        .map(|((path, item), result)| {
            let mut row = json!({ "file": path, "kind": item.kind_name(), "kept": result.is_ok() });
            match result {
                Ok(key) => {
                    row["item"] = json!(key.to_string());
                    row["content"] = content(item);
                }
                Err(error) => row["error"] = json!(error.to_string()),
            }
            row
        })
        .collect();
    context.output.answer(&rows, || {
        let line = |((path, item), result): (&(&PathBuf, Item), &Result<_, _>)| match result {
            Ok(key) => format!("kept     {key}"),
            Err(error) => format!("refused  {} in {}: {error}", item.kind_name(), path.display()),
        };
        items.iter().zip(&results).map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(if refused == 0 { exit::DONE } else { exit::NOT_GENUINE })
}

/// What a file holds that can be kept by itself; what belongs to parts of Intel's collateral goes there.
fn read_items(path: &Path, parts: &mut CollateralParts) -> Result<Vec<Item>, Error> {
    let bytes = files::read_input(path, OfflineBundle::MAXIMUM_LEN as u64)?;
    if let Ok(bundle) = OfflineBundle::parse(&bytes) {
        return Ok(bundle.items().to_vec());
    }
    if parts.add_answer(&bytes) {
        return Ok(Vec::new());
    }
    let name = path.display().to_string();
    match Content::read(&File { name: &name, bytes: &bytes })? {
        Content::Certificates(mut certificates) => {
            certificates.retain(|one| !parts.add_certificate(one));
            Ok(certificates.iter().map(Item::amd_certificate).collect())
        }
        Content::RevocationList(list) if parts.add_list(&list) => Ok(Vec::new()),
        Content::RevocationList(list) => Ok(vec![Item::AmdRevocationList(list.as_der().to_vec().into())]),
        Content::IntelCollateral(_) => {
            let set = PlatformCollateral::parse_json(&bytes, &name).map_err(failed)?;
            Ok(vec![Item::IntelCollateral(Box::new(set))])
        }
        Content::NvidiaManifest(document) => Ok(vec![Item::NvidiaManifest(document.into())]),
        Content::Bundle(bundle) => {
            let carried = Endorsements::from_bundle(&bundle)
                .map_err(|source| Error::Certificates { source: Box::new(source) })?;
            let chain =
                carried.iter().flat_map(|carried| [&carried.root, &carried.intermediate, &carried.leaf]);
            let mut items: Vec<Item> = chain.map(Item::amd_certificate).collect();
            items.extend(
                bundle.snp_revocation_list().map(|list| Item::AmdRevocationList(list.to_vec().into())),
            );
            items.extend(
                PlatformCollateral::from_bundle(&bundle).map(|set| Item::IntelCollateral(Box::new(set))),
            );
            items.extend(bundle.nvidia_manifests().iter().cloned().map(Item::NvidiaManifest));
            Ok(items)
        }
        other => Err(Error::NotEndorsement { path: path.to_owned(), kind: other.kind() }),
    }
}

fn status(context: &Context) -> Result<u8, Error> {
    let cache = context.endorsements()?;
    let now_ms = clock::now_ms();
    let entries = cache.entries();
    let rows: Vec<Value> = entries
        .iter()
        .map(|entry| {
            json!({
                "item": entry.key.to_string(),
                "kind": entry.item.kind_name(),
                "not_before": clock::utc(entry.not_before_ms),
                "not_after": clock::utc(entry.not_after_ms),
                "fetched": clock::utc(entry.written_ms),
                "holds": (entry.not_before_ms..=entry.not_after_ms).contains(&now_ms),
                "content": content(&entry.item),
            })
        })
        .collect();
    let answer = json!({ "folder": cache.directory(), "items": rows });
    context.output.answer(&answer, || {
        let lines: Vec<Vec<String>> = entries
            .iter()
            .map(|entry| {
                let holds = (entry.not_before_ms..=entry.not_after_ms).contains(&now_ms);
                vec![
                    entry.key.to_string(),
                    if holds { "holds" } else { "OUT OF DATE" }.to_owned(),
                    clock::utc(entry.not_after_ms),
                    clock::utc(entry.written_ms),
                ]
            })
            .collect();
        if lines.is_empty() {
            return format!("nothing is kept in {}", cache.directory().display());
        }
        table(&["ITEM", "STATE", "UNTIL", "SINCE"], &lines)
    });
    Ok(exit::DONE)
}

/// What an item says, as `casemate inspect` shows it.
fn content(item: &Item) -> Value {
    match item {
        Item::AmdRevocationList(der) => {
            let shown = |list| {
                let mut shown = describe_revocation_list(&list);
                shown["kind"] = "revocation-list".into();
                shown
            };
            RevocationList::parse(der).map_or(Value::Null, shown)
        }
        Item::IntelCollateral(set) => TcbInfo::parse(&set.collateral.tcb_info).map_or(Value::Null, |info| {
            json!({
                "tee": info.tee(),
                "fmspc": info.fmspc(),
                "tcb_evaluation_data_number": info.evaluation_number(),
            })
        }),
        Item::IntelEvaluationNumbers(numbers) => {
            EvaluationNumbers::parse(&numbers.body).map_or(Value::Null, |list| {
                let numbers: Vec<u32> = list.numbers().iter().map(|one| one.number).collect();
                json!({ "tee": list.tee(), "tcb_evaluation_data_numbers": numbers })
            })
        }
        Item::NvidiaManifest(document) => Manifest::parse(document).map_or(Value::Null, |manifest| {
            json!({
                "product": manifest.product(),
                "version": manifest.version(),
                "tag_id": manifest.tag_id(),
            })
        }),
        other => Certificate::parse(&other.bytes()).map_or(Value::Null, |one| describe_certificate(&one)),
    }
}

fn now_ms(at: Option<Moment>) -> u64 {
    at.map_or_else(clock::now_ms, |moment| moment.0)
}

fn product(text: &str) -> Result<Product, String> {
    let known = Product::ALL.into_iter().find(|product| product.name().eq_ignore_ascii_case(text));
    known.ok_or_else(|| "expected Milan, Genoa (also Bergamo and Siena) or Turin".to_owned())
}
