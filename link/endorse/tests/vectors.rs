//! Recorded certificates through the cache: a key server on this machine serves what `$CASEMATE_VECTORS`
//! holds, under AMD's real roots.
//!
//! The vectors are not part of the project. Without them these tests say so and pass, except in CI.

#[path = "../../../core/verify/tests/vector/folders.rs"]
mod folders;
#[path = "support/server.rs"]
mod server;

use std::collections::HashMap;

use casemate_endorse::{AzureHost, Cache, Error, Etiquette, Item, Key, KeyServer, Revocation};
use casemate_evidence::bundle::{Bundle, Item as EvidenceItem};
use casemate_evidence::snp::{Leaf, Report, SigningKeyKind};
use casemate_evidence::x509::Certificate;
use casemate_verify::Roots;
use casemate_verify::snp::{AuthenticatedChain, Endorsements};
use folders::{Vector, vectors};
use server::Server;

impl Vector {
    fn file(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join(name)).ok()
    }

    fn result(&self) -> &str {
        self.json["expected"]["result"].as_str().expect("a vector expects a result")
    }

    /// A moment at which it holds, in milliseconds since 1970.
    fn now_ms(&self) -> u64 {
        let at = |name: &str| {
            let text = self.json["expected"][name].as_str()?.strip_suffix("+00:00")?;
            let time: der::DateTime = format!("{text}Z").parse().ok()?;
            u64::try_from(time.unix_duration().as_millis()).ok()
        };
        let (start, end) = (at("valid_from").unwrap_or(1_770_000_000_000), at("valid_until"));
        end.map_or(start, |end| start + (end - start) / 2)
    }
}

/// Where AMD would serve this certificate.
fn path_of(leaf: &Leaf) -> Option<String> {
    let server = KeyServer::at("", Etiquette::person()).expect("a client");
    let tcb = leaf.tcb().components(leaf.product()).ok()?;
    Some(server.vcek_address(leaf.product(), &leaf.hardware_id()?.chip_id(), &tcb))
}

#[tokio::test]
async fn snp_vectors_that_verify_do_so_with_what_is_fetched_and_imported() {
    let mut fetched = 0;
    let all = vectors("snp");
    for vector in all.iter().filter(|vector| vector.result() == "verify_ok") {
        let report = Report::parse(&vector.file("report.bin").expect("a report")).expect("well formed");
        let chain = vector.file("cert_chain.pem").expect("a chain");
        let kind = report.key_info().signing_key();
        let leaf =
            vector.file(if kind == SigningKeyKind::Vlek { "vlek.der" } else { "vcek.der" }).expect("a leaf");
        let endorsements =
            Endorsements::parse_with_pem_chain(&leaf, &String::from_utf8_lossy(&chain)).expect("readable");
        let product = Leaf::read(&endorsements.leaf).expect("a leaf").product();
        let folder = tempfile::tempdir().expect("a folder");
        let bare = Bundle::new([EvidenceItem::SnpReport(report.as_bytes().to_vec().into())]);
        let found = if kind == SigningKeyKind::Vlek {
            // AMD does not serve VLEKs: they are imported.
            let cache = Cache::offline(folder.path(), Roots::builtin());
            let items = [
                Item::AmdSigningKey(leaf.into()),
                Item::AmdIntermediate(endorsements.intermediate.as_der().to_vec().into()),
                Item::AmdRoot(endorsements.root.as_der().to_vec().into()),
            ];
            for result in cache.import(&items, vector.now_ms()) {
                result.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
            }
            cache.complete(bare, vector.now_ms()).await
        } else {
            fetched += 1;
            let address = path_of(&Leaf::read(&endorsements.leaf).expect("a leaf")).expect("it is served");
            let answers = HashMap::from([
                (address, (200, leaf)),
                (format!("/vcek/v1/{product}/cert_chain"), (200, chain)),
            ]);
            let server = Server::start(answers).await;
            let server = KeyServer::at(&server.base, Etiquette::person()).expect("a client");
            Cache::online(folder.path(), Roots::builtin(), server).complete(bare, vector.now_ms()).await
        };
        let completed = found.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        let found = Endorsements::from_bundle(&completed.bundle).expect("readable").expect("there");
        assert_eq!(found, endorsements, "{}", vector.name);
        assert!(
            matches!(completed.revocation, Revocation::Missing(_)),
            "{}: no list was served",
            vector.name
        );
        let verified = AuthenticatedChain::verify(
            &found,
            &Roots::builtin(),
            vector.now_ms(),
            casemate_crypto::provider(),
        )
        .expect("the chain holds")
        .authenticate(report, vector.now_ms());
        assert!(verified.is_ok(), "{}: {verified:?}", vector.name);
    }
    assert!(all.is_empty() || fetched > 0, "no vector was fetched");
}

#[tokio::test]
async fn azure_hcl_vectors_get_what_endorses_the_report_inside_them() {
    let mut fetched = 0;
    let (all, reports) = (vectors("azure-hcl"), vectors("snp"));
    for vector in &all {
        let Some(hcl) = vector.file("hcl-report.bin") else { continue };
        let bundle = Bundle::new([EvidenceItem::AzureReport(hcl.into())]);
        let Some(report) = casemate_endorse::snp_report(&bundle) else {
            assert!(
                vector.json["platform"].as_str().is_some_and(|name| name.contains("TDX")),
                "{}",
                vector.name
            );
            continue;
        };
        let is_same =
            |other: &&Vector| other.file("report.bin").is_some_and(|bytes| bytes == report.as_bytes());
        let endorsed = reports.iter().filter(|other| other.result() == "verify_ok").find(is_same);
        let Some(endorsed) = endorsed else { continue };
        let (leaf, chain) =
            (endorsed.file("vcek.der").expect("a VCEK"), endorsed.file("cert_chain.pem").expect("a chain"));
        let certificate = Certificate::parse(&leaf).expect("readable");
        let stated = Leaf::read(&certificate).expect("a VCEK");
        let answers = HashMap::from([
            (path_of(&stated).expect("it is served"), (200, leaf)),
            (format!("/vcek/v1/{}/cert_chain", stated.product()), (200, chain)),
        ]);
        let service = Server::start(answers).await;
        let server = KeyServer::at(&service.base, Etiquette::person()).expect("a client");
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::online(folder.path(), Roots::builtin(), server);
        let completed = cache.complete(bundle.clone(), endorsed.now_ms()).await;
        let completed = completed.unwrap_or_else(|error| panic!("{}: {error}", vector.name)).bundle;
        let found = Endorsements::from_bundle(&completed).expect("readable").expect("there");
        assert_eq!(found.leaf, certificate, "{}", vector.name);
        assert!(completed.azure_report().is_some(), "{}", vector.name);
        // From then on without a network; what was changed comes back as it is, for its appraisal to refuse.
        service.go_away().await;
        let offline = cache.without_network().complete(bundle, endorsed.now_ms()).await.expect("kept").bundle;
        assert_eq!(offline.snp_certificates(), completed.snp_certificates(), "{}", vector.name);
        let broken = Bundle::new([EvidenceItem::AzureReport(b"HCLA".to_vec().into())]);
        let same = cache.complete(broken.clone(), endorsed.now_ms()).await.expect("unchanged").bundle;
        assert_eq!(same, broken);
        fetched += 1;
    }
    assert!(all.is_empty() || fetched > 0, "no vector was fetched");
}

#[test]
fn snp_certificate_vectors_are_kept_while_they_hold() {
    for vector in vectors("snp-certs") {
        let items = items(&vector);
        assert!(!items.is_empty(), "{}: nothing to keep", vector.name);
        assert!(
            ["chain_ok", "crl_signature_ok"].contains(&vector.result()),
            "{}: {}",
            vector.name,
            vector.result()
        );
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::offline(folder.path(), Roots::builtin());
        for (item, result) in items.iter().zip(cache.import(&items, vector.now_ms())) {
            let key = result.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
            assert!(cache.entries().iter().any(|entry| entry.key == key && entry.item == *item), "{key}");
        }
        assert_eq!(cache.entries().len(), items.len(), "{}", vector.name);
        // Before they were made nothing of it counts.
        let early = tempfile::tempdir().expect("a folder");
        let results = Cache::offline(early.path(), Roots::builtin()).import(&items, 1_500_000_000_000);
        assert!(results.iter().all(Result::is_err), "{}: {results:?}", vector.name);
    }
}

#[tokio::test]
async fn vectors_from_azure_s_hosts_are_kept_as_their_host_sends_them() {
    let all = vectors("snp-certs");
    let azure: Vec<&Vector> = all.iter().filter(|vector| vector.name.contains("aci-thim")).collect();
    assert!(all.is_empty() || !azure.is_empty(), "no vector of Azure's");
    for vector in azure {
        let text = |name: &str| {
            let bytes = vector.file(name).unwrap_or_else(|| panic!("{}: {name}", vector.name));
            String::from_utf8(bytes).expect("PEM is text")
        };
        let leaf = Certificate::parse(&vector.file("vcek.der").expect("a VCEK")).expect("readable");
        let leaf = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, leaf.as_der());
        let mut answer = serde_json::json!({
            "vcekCert": leaf.expect("encodes"),
            "tcbm": "DB18000000000004",
            "certificateChain": text("cert_chain.pem"),
            "cacheControl": "86400",
        });
        let server = Server::start(HashMap::new()).await;
        let serve = |answer: &serde_json::Value| {
            server.answer("/metadata/THIM/amd/certification", 200, answer.to_string().into_bytes());
        };
        serve(&answer);
        let host = AzureHost::at(&server.base, Etiquette::person()).expect("a client");
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::offline(folder.path(), Roots::builtin());
        let keys = cache.fetch_from_azure_host(&host, vector.now_ms()).await.expect("kept");
        assert!(matches!(keys[0], Key::AmdSigningKey { .. }), "{keys:?}");
        assert_eq!((keys.len(), cache.entries().len()), (3, 3));

        // Half an answer, and one with a chain of nobody's, leave nothing behind.
        let strict = Cache::offline(tempfile::tempdir().expect("a folder").path(), Roots::none());
        let refused = strict.fetch_from_azure_host(&host, vector.now_ms()).await;
        assert!(
            matches!(refused, Err(Error::AuthorityMissing { .. } | Error::NotEndorsed { .. })),
            "{refused:?}"
        );
        answer.as_object_mut().expect("an object").remove("vcekCert");
        serve(&answer);
        let refused = strict.fetch_from_azure_host(&host, vector.now_ms()).await;
        assert!(matches!(refused, Err(Error::AzureHost { .. })), "{refused:?}");
        assert!(strict.entries().is_empty());
    }
}

/// Every certificate and list of a vector, told apart by what they say.
fn items(vector: &Vector) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for name in vector.json["files"].as_object().expect("a vector lists its files").keys() {
        let bytes = vector.file(name).unwrap_or_else(|| panic!("{}: {name} is missing", vector.name));
        if name.ends_with(".crl") || name == "crl.der" {
            items.push(Item::AmdRevocationList(bytes.into()));
            continue;
        }
        let certificates = match name.ends_with(".pem") {
            true => Certificate::parse_pem(&String::from_utf8_lossy(&bytes)),
            false => Certificate::parse(&bytes).map(|one| vec![one]),
        };
        let certificates = certificates.unwrap_or_else(|error| panic!("{}: {name}: {error}", vector.name));
        items.extend(certificates.iter().map(Item::amd_certificate));
    }
    items
}
