//! Whole verifications: evidence bundles, loose files, calls from other languages, policies.

use std::path::Path;
use std::sync::OnceLock;

use casemate_crypto::{Provider, RustCrypto};
use casemate_evidence::azure::HclReport;
use casemate_evidence::bundle::{Bundle, Item, NvidiaDevice};
use casemate_evidence::intel::Quote;
use casemate_evidence::nitro::Document;
use casemate_evidence::snp::Report;
use casemate_intake::{Content, File, Sorted, call};
use casemate_verify::intel::Collateral;
use casemate_verify::snp::Endorsements;
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, Outcome, Policy, Section, Style, Verdict, Verifier,
    Workload,
};

use crate::parts::{join, split};
use crate::vectors::{file, pem_blocks, worked_bytes};
use crate::{Gullible, Target, Vectors};

pub const BUNDLE: Target = Target { name: "bundle", maximum_len: 32 << 10, check: bundle, seeds: bundles };
pub const INTAKE: Target =
    Target { name: "intake", maximum_len: 32 << 10, check: intake, seeds: loose_files };
pub const CALL: Target = Target { name: "call", maximum_len: 16 << 10, check: calls, seeds: questions };
pub const POLICY: Target = Target { name: "policy", maximum_len: 16 << 10, check: policy, seeds: policies };

fn bundle(bytes: &[u8]) {
    let Ok(bundle) = Bundle::parse(bytes) else { return };
    assert_eq!(bundle.to_bytes(), bytes);
    assert_eq!(Bundle::new(bundle.items().to_vec()), bundle);
    let verdict = judge(&bundle, &Gullible);
    assert_eq!(judge(&bundle, &Gullible), verdict, "the same evidence gets the same verdict");
    let json = serde_json::to_string(&verdict).expect("a verdict is JSON");
    assert!(json.len() < 1 << 20);
    let _ = (verdict.outline("fuzz"), verdict.render("fuzz", Style::plain()));
    if verdict.outcome() != Outcome::NotGenuine && bundle.nvidia_devices().is_empty() {
        only_what_was_recorded(&bundle);
    }
}

/// With real signatures nothing is genuine but what hardware signed.
fn only_what_was_recorded(bundle: &Bundle) {
    static SIGNED: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let Some(vectors) = Vectors::find() else { return };
    if judge(bundle, &RustCrypto).outcome() == Outcome::NotGenuine {
        return;
    }
    let signed = SIGNED.get_or_init(|| {
        let kinds = ["snp", "tdx", "sgx", "azure-hcl", "nitro", "tpm-quote"];
        let folders = kinds.iter().flat_map(|kind| vectors.folders(kind));
        folders
            .filter_map(|folder| bundle_of(&files_of(&folder)))
            .filter_map(|one| signed_bytes(&one))
            .collect()
    });
    let found = signed_bytes(bundle).expect("genuine evidence is well formed");
    assert!(signed.contains(&found), "genuine, and nobody recorded it");
}

/// What hardware, hypervisor or TPM signed of this evidence.
fn signed_bytes(bundle: &Bundle) -> Option<Vec<u8>> {
    let of_report = |report: &[u8]| Report::parse(report).ok().map(|report| report.signed_bytes().to_vec());
    bundle.items().iter().find_map(|item| match item {
        Item::SnpReport(report) => of_report(report),
        Item::TdxQuote(quote) | Item::SgxQuote(quote) => {
            Quote::parse(quote).ok().map(|quote| quote.signed_bytes().to_vec())
        }
        Item::AzureReport(report) => of_report(&HclReport::parse(report).ok()?.tee_report),
        Item::NitroDocument(document) => {
            Document::parse(document).ok().map(|document| document.signed_bytes())
        }
        Item::TpmQuote(quote) => Some(quote.statement.to_vec()),
        _ => None,
    })
}

/// The verdict under the policy for strangers, at the time of the collateral or in 2026.
fn judge(bundle: &Bundle, provider: &'static dyn Provider) -> Verdict {
    static POLICIES: OnceLock<[Policy; 2]> = OnceLock::new();
    let policies = POLICIES.get_or_init(|| {
        let text = Policy::hardware_only() + SGX;
        let others = Section::ALL.iter().filter(|section| **section != Section::Nvidia);
        let text = others.fold(text, |text, section| Policy::with_section(&text, *section));
        let with_devices = Policy::with_section(&text, Section::Nvidia);
        [text, with_devices].map(|text| {
            Policy::parse(&text).expect("the policy for strangers, and every section that it may have")
        })
    });
    // Rules for devices ask for devices.
    let policy = &policies[usize::from(!bundle.nvidia_devices().is_empty())];
    let verifier =
        Verifier { policy, roots: &policy.roots(), accept_simulated: AcceptSimulated::No, provider };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let collateral = bundle.intel_collateral().and_then(|item| Collateral::from_bundle_item(item).ok());
    let now_ms = collateral.map_or(IN_2026_MS, |collateral| {
        collateral.tcb_info.issued_ms().max(collateral.qe_identity.issued_ms())
    });
    verifier.verify_bundle(bundle, None, &expectations, now_ms).verdict().clone()
}

const IN_2026_MS: u64 = 1_767_225_600_000;

fn intake(bytes: &[u8]) {
    let files = |parts: &[&'_ [u8]]| -> Option<Bundle> {
        let files: Vec<File> = parts.iter().map(|bytes| File { name: "fuzz", bytes }).collect();
        Sorted::read(&files).ok().map(|sorted| sorted.bundle)
    };
    let Some(parts) = split::<3>(bytes) else {
        let _ = Content::read(&File { name: "fuzz", bytes });
        return;
    };
    let there: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let backwards: Vec<&[u8]> = there.iter().rev().copied().collect();
    assert_eq!(files(&there), files(&backwards), "the order of files does not matter");
}

/// A request in JSON, and a file.
fn calls(bytes: &[u8]) {
    let Some([request, file]) = split(bytes) else { return };
    let files = [File { name: "fuzz", bytes: file }];
    let reply = call(request, &files, &Gullible);
    let value: serde_json::Value = serde_json::from_str(&reply).expect("every reply is JSON");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(1), "{reply}");
}

fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    assert_eq!(Policy::parse(text).expect("as before"), policy);
    // A comment changes the digest and nothing else.
    let commented = Policy::parse(&format!("# comment\n{text}")).expect("comments are free");
    assert_ne!(commented.digest(), policy.digest());
    assert_eq!(commented.roots(), policy.roots());
}

fn bundles(vectors: &Vectors) -> Vec<Vec<u8>> {
    let mut seeds = worked_bytes("evidence-bundle.md");
    for folder in vectors.folders("snp") {
        let Some(report) = file(&folder, "report.bin") else { continue };
        let leaf = file(&folder, "vcek.der").or_else(|| file(&folder, "vlek.der"));
        let chain = file(&folder, "cert_chain.pem").and_then(|chain| String::from_utf8(chain).ok());
        let mut items = vec![Item::SnpReport(report.into())];
        if let (Some(leaf), Some(chain)) = (leaf, chain)
            && let Ok(endorsements) = Endorsements::parse_with_pem_chain(&leaf, &chain)
        {
            items.push(Item::SnpCertificates(endorsements.to_bundle_item()));
        }
        seeds.push(Bundle::new(items).to_bytes());
    }
    for (kind, item) in [("tdx", Item::TdxQuote as fn(_) -> _), ("sgx", Item::SgxQuote)] {
        for folder in vectors.folders(kind) {
            let Some(quote) = file(&folder, "quote.bin") else { continue };
            let collateral =
                file(&folder, "collateral.json").and_then(|text| Collateral::parse_json(&text).ok());
            let collateral = collateral.map(|collateral| Item::IntelCollateral(collateral.to_bundle_item()));
            seeds.push(Bundle::new([item(quote.into())].into_iter().chain(collateral)).to_bytes());
        }
    }
    for kind in ["nitro", "tpm-quote"] {
        seeds.extend(bundles_of(vectors.folders(kind).iter().map(|folder| files_of(folder))));
    }
    seeds.extend(bundles_of(vectors.folders("azure-hcl").iter().map(|folder| azures(vectors, folder))));
    seeds.extend(bundles_of(beside_a_quote(vectors).into_iter()));
    for log in vectors.files("ccel", &["ccel.bin"]).into_iter().take(4) {
        let quote = vectors.files("tdx", &["quote.bin"]).swap_remove(0);
        seeds.extend(bundle_of(&[quote, log]).map(|bundle| bundle.to_bytes()));
    }
    seeds.extend(device_bundles(vectors));
    seeds
}

/// Devices alone, and one with a manifest beside a report of SEV-SNP.
fn device_bundles(vectors: &Vectors) -> Vec<Vec<u8>> {
    let devices: Vec<NvidiaDevice> = vectors
        .folders("nvidia-report")
        .iter()
        .filter_map(|folder| {
            let chain = pem_blocks(&file(folder, "cert_chain.pem")?);
            let certificates = chain.into_iter().take(NvidiaDevice::MAXIMUM_CERTIFICATES).map(Into::into);
            Some(NvidiaDevice {
                report: file(folder, "report.bin")?.into(),
                certificates: certificates.collect(),
            })
        })
        .collect();
    let mut seeds: Vec<Vec<u8>> = devices
        .iter()
        .map(|device| Bundle::new([Item::NvidiaDevices(vec![device.clone()])]).to_bytes())
        .collect();
    let (manifests, reports) =
        (vectors.files("nvidia-rim", &["rim.xml"]), vectors.files("snp", &["report.bin"]));
    if let (Some(device), Some(manifest), Some(report)) =
        (devices.first(), manifests.first(), reports.first())
    {
        let bundle = Bundle::new([
            Item::SnpReport(report.clone().into()),
            Item::NvidiaDevices(vec![device.clone()]),
            Item::NvidiaManifests(vec![manifest.clone().into()]),
        ]);
        seeds.push(bundle.to_bytes());
    }
    seeds
}

fn bundles_of(sets: impl Iterator<Item = Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    sets.filter_map(|files| bundle_of(&files)).map(|bundle| bundle.to_bytes()).collect()
}

/// What the files are together, if they are evidence.
fn bundle_of(files: &[Vec<u8>]) -> Option<Bundle> {
    let files: Vec<File<'_>> = files.iter().map(|bytes| File { name: "seed", bytes }).collect();
    Sorted::read(&files).ok().map(|sorted| sorted.bundle)
}

/// The files of a vector that are evidence or belong to it.
fn files_of(folder: &Path) -> Vec<Vec<u8>> {
    const NAMES: [&str; 12] = [
        "report.bin",
        "quote.bin",
        "attestation.cbor",
        "hcl-report.bin",
        "quote.msg",
        "quote.sig",
        "pcrs.json",
        "pcrs.blob",
        "quotepcr.out",
        "ak.pub.pem",
        "ak.tpmt_public.bin",
        "eventlog.bin",
    ];
    NAMES.iter().filter_map(|name| file(folder, name)).filter(|bytes| !bytes.is_empty()).collect()
}

/// A report of Azure's with the quote of the same machine's vTPM, if one was recorded.
fn azures(vectors: &Vectors, folder: &Path) -> Vec<Vec<u8>> {
    let quotes = vectors.folders("tpm-quote");
    let quote = quotes.iter().find(|quote| quote.file_name() == folder.file_name());
    let mut files: Vec<Vec<u8>> = file(folder, "hcl-report.bin").into_iter().collect();
    files.extend(quote.into_iter().flat_map(|quote| files_of(quote)));
    files
}

/// A quote of a TPM, and in turn: each IMA list, and each chain of a cloud's.
fn beside_a_quote(vectors: &Vectors) -> Vec<Vec<Vec<u8>>> {
    let Some(quote) = vectors.folders("tpm-quote").into_iter().next() else { return Vec::new() };
    let part = |name| file(&quote, name);
    let signed: Vec<Vec<u8>> = ["quote.msg", "quote.sig", "pcrs.json"].into_iter().filter_map(part).collect();
    let lists = vectors.files("ima", &["ascii_runtime_measurements"]).into_iter().map(|list| vec![list]);
    let chains = vectors.folders("tpm-certs").into_iter().filter_map(|folder| {
        let leaf = file(&folder, "leaf.pem")?;
        let above = ["intermediates.pem", "roots.pem"].into_iter().filter_map(|name| file(&folder, name));
        Some(std::iter::once(leaf).chain(above).collect::<Vec<_>>())
    });
    lists.chain(chains).map(|beside| [signed.clone(), beside].concat()).collect()
}

fn loose_files(vectors: &Vectors) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for folder in vectors.folders("snp") {
        let parts =
            ["report.bin", "vcek.der", "cert_chain.pem"].map(|name| file(&folder, name).unwrap_or_default());
        seeds.push(join(parts.each_ref().map(Vec::as_slice)));
        seeds.push(casemate_canon::reexport::hex::encode(&parts[0]).into_bytes());
    }
    for folder in vectors.folders("tdx").into_iter().take(4) {
        let parts = ["quote.bin", "collateral.json"].map(|name| file(&folder, name).unwrap_or_default());
        seeds.push(join([&parts[0], &parts[1], b""]));
    }
    for folder in vectors.folders("tpm-quote") {
        let parts =
            ["quote.msg", "quote.sig", "pcrs.json"].map(|name| file(&folder, name).unwrap_or_default());
        seeds.push(join(parts.each_ref().map(Vec::as_slice)));
    }
    for folder in vectors.folders("azure-hcl") {
        let files = azures(vectors, &folder);
        let part = |index: usize| files.get(index).map(Vec::as_slice).unwrap_or_default();
        seeds.push(join([part(0), part(1), part(2)]));
    }
    for folder in vectors.folders("nvidia-report").into_iter().take(4) {
        let parts = ["report.bin", "cert_chain.pem"].map(|name| file(&folder, name).unwrap_or_default());
        seeds.push(join([&parts[0], &parts[1], b""]));
    }
    seeds.extend(alone(vectors));
    seeds
}

/// Files that are something by themselves, of each kind a few.
fn alone(vectors: &Vectors) -> Vec<Vec<u8>> {
    let kinds = [
        ("snp", "report.bin"),
        ("snp-certs", "crl.der"),
        ("snp-certs", "cert_chain.pem"),
        ("tdx", "quote.bin"),
        ("tpm-quote", "quote.msg"),
        ("tpm-quote", "ak.tpmt_public.bin"),
        ("tpm-certs", "leaf.pem"),
        ("azure-hcl", "hcl-report.bin"),
        ("nitro", "attestation.cbor"),
        ("ccel", "ccel.bin"),
        ("tcg-eventlog", "eventlog.bin"),
        ("ima", "ascii_runtime_measurements"),
    ];
    kinds.into_iter().flat_map(|(kind, name)| vectors.files(kind, &[name]).into_iter().take(3)).collect()
}

fn questions(vectors: &Vectors) -> Vec<Vec<u8>> {
    let question = serde_json::json!({ "verify": {
        "subject": "notes",
        "policy": Policy::hardware_only(),
        "at_ms": IN_2026_MS,
        "accept_simulated": true,
        "workload": { "digest": "00".repeat(32), "source": "compose.yaml" },
        "images": [{ "image": "lite", "measurement": "4d".repeat(48), "source": "image.lock" }],
        "challenge": { "nonce": { "value": "4e".repeat(32), "made_ms": IN_2026_MS } },
    }});
    let inspect = format!(r#"{{"inspect":{{"at_ms":{IN_2026_MS}}}}}"#);
    let requests =
        [question.to_string(), inspect, r#"{"recognise":{}}"#.to_owned(), r#"{"policies":{}}"#.to_owned()];
    let mut files = alone(vectors);
    files.push(Vec::new());
    let each =
        |request: &String| files.iter().map(|file| join([request.as_bytes(), file])).collect::<Vec<_>>();
    requests.iter().flat_map(each).collect()
}

fn policies(_: &Vectors) -> Vec<Vec<u8>> {
    let texts = [
        Policy::example(&[]),
        Policy::hardware_only(),
        Policy::hardware_only() + SGX,
        Policy::with_section(&Policy::example(&[]), Section::Nvidia),
    ];
    texts.map(String::into_bytes).to_vec()
}

/// The rules for strangers name no enclave.
const SGX: &str = "
[sgx]
mr_signers = \"any\"
isv_prod_ids = \"any\"
minimum_isv_svn = 0
debug = \"any\"
provision_key = \"any\"
";
