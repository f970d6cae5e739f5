//! The cache against a key server on this machine: what is asked, what is kept, what is refused.

#[path = "../../../core/verify/tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use casemate_endorse::{Cache, Error, KeyServer};
use casemate_evidence::snp::{Product, Report};
use casemate_verify::snp::Endorsements;
use support::{NOW_MS, Tee};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Answers by path; everything else is 404.
struct Server {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: HashMap<String, (u16, Vec<u8>)>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).await.is_err() {
                        break;
                    }
                    request.push(byte[0]);
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, body) = answers.get(&path).cloned().unwrap_or((404, Vec::new()));
                log.lock().expect("no panic while locked").push(path);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&body).await;
            }
        });
        Self { base, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic while locked").clone()
    }
}

fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).expect("encodes")
}

fn vcek_path(tee: &Tee, product: Product) -> String {
    let server = KeyServer::at("").expect("a client");
    server.vcek_address(product, &tee.report.chip_id, &support::tcb(product))
}

/// Every call to `Tee::endorsements` signs anew, so tests that compare make them once.
fn answers(tee: &Tee, endorsements: &Endorsements, product: Product) -> HashMap<String, (u16, Vec<u8>)> {
    let chain = pem(endorsements.intermediate.as_der()) + &pem(endorsements.root.as_der());
    HashMap::from([
        (vcek_path(tee, product), (200, endorsements.leaf.as_der().to_vec())),
        (format!("/vcek/v1/{product}/cert_chain"), (200, chain.into_bytes())),
    ])
}

fn online(folder: &tempfile::TempDir, server: &Server) -> Cache {
    Cache::online(folder.path(), KeyServer::at(&server.base).expect("a client"))
}

fn setup(product: Product) -> (Tee, Report, tempfile::TempDir) {
    let tee = Tee::new(product);
    let report = tee.sign_report();
    (tee, report, tempfile::tempdir().expect("a folder"))
}

#[tokio::test]
async fn a_chip_is_asked_for_once_and_then_served_offline() {
    let (tee, report, folder) = setup(Product::Turin);
    let expected = tee.endorsements();
    let server = Server::start(answers(&tee, &expected, Product::Turin)).await;
    let cache = online(&folder, &server);
    assert_eq!(cache.endorsements(&report, NOW_MS).await.expect("fetched"), expected);
    assert_eq!(server.asked(), [vcek_path(&tee, Product::Turin), "/vcek/v1/Turin/cert_chain".to_owned()]);
    assert_eq!(cache.endorsements(&report, NOW_MS).await.expect("stored"), expected);
    assert_eq!(server.asked().len(), 2);
    let offline = Cache::offline(folder.path());
    assert_eq!(offline.endorsements(&report, NOW_MS).await.expect("stored"), expected);
}

#[tokio::test]
async fn offline_and_empty_says_where_it_looked() {
    let (_, report, folder) = setup(Product::Genoa);
    let error = Cache::offline(folder.path()).endorsements(&report, NOW_MS).await.expect_err("empty");
    assert!(
        matches!(&error, Error::NotCached { directory, .. } if directory.starts_with(folder.path())),
        "{error}"
    );
}

#[tokio::test]
async fn endorsements_that_came_with_the_evidence_can_be_stored() {
    let (tee, report, folder) = setup(Product::Milan);
    let cache = Cache::offline(folder.path());
    let expected = tee.endorsements();
    cache.store(&report, &expected).expect("stored");
    assert_eq!(cache.endorsements(&report, NOW_MS).await.expect("stored"), expected);
}

#[tokio::test]
async fn a_foreign_certificate_is_refused_and_not_kept() {
    let (tee, report, folder) = setup(Product::Genoa);
    let mut foreign = tee.clone();
    foreign.leaf.extension_mut(support::HWID)[0] ^= 1;
    let server = Server::start(answers(&foreign, &foreign.endorsements(), Product::Genoa)).await;
    let cache = online(&folder, &server);
    assert!(matches!(cache.endorsements(&report, NOW_MS).await, Err(Error::Foreign { .. })));
    assert!(cache.stored(&report).expect("readable").is_none());
}

#[tokio::test]
async fn answers_that_are_no_certificates_are_refused() {
    let (tee, report, folder) = setup(Product::Genoa);
    let path = vcek_path(&tee, Product::Genoa);
    for (answer, expected) in [
        ((429, Vec::new()), "429"),
        ((404, Vec::new()), "404"),
        ((200, vec![0; 70_000]), "more than"),
        ((200, b"x".to_vec()), "DER"),
    ] {
        let mut answers = answers(&tee, &tee.endorsements(), Product::Genoa);
        answers.insert(path.clone(), answer);
        let server = Server::start(answers).await;
        let error = online(&folder, &server).endorsements(&report, NOW_MS).await.expect_err("refused");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn nobody_is_asked_about_vleks_and_masked_chips() {
    let (tee, _, folder) = setup(Product::Genoa);
    let server = Server::start(HashMap::new()).await;
    let cache = online(&folder, &server);
    let vlek = tee.clone().with_vlek(Product::Genoa).sign_report();
    assert!(matches!(cache.endorsements(&vlek, NOW_MS).await, Err(Error::VlekNotServed)));
    let mut masked = tee;
    masked.report.chip_id = [0; 64].into();
    assert!(matches!(cache.endorsements(&masked.sign_report(), NOW_MS).await, Err(Error::ChipMasked)));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn version_2_tries_the_products_whose_layout_fits() {
    let (mut tee, _, folder) = setup(Product::Genoa);
    tee.report.layout = casemate_evidence::snp::Layout::V2;
    let expected = tee.endorsements();
    let server = Server::start(answers(&tee, &expected, Product::Genoa)).await;
    let found =
        online(&folder, &server).endorsements(&tee.sign_report(), NOW_MS).await.expect("found as Genoa");
    assert_eq!(found, expected);
    assert!(server.asked()[0].starts_with("/vcek/v1/Milan/"));
}

#[tokio::test]
async fn a_stored_revocation_list_is_added_while_it_is_current() {
    let (tee, report, folder) = setup(Product::Genoa);
    let cache = Cache::offline(folder.path());
    cache.store(&report, &tee.endorsements()).expect("stored");
    let list = support::ListParts::new(&tee.root.subject);
    std::fs::write(folder.path().join("snp/Genoa.crl"), list.to_der()).expect("written");
    let fresh = cache.endorsements(&report, NOW_MS).await.expect("stored");
    assert!(fresh.revocation_list.is_some());
    let late = cache.endorsements(&report, list.next_update_ms + 1).await.expect("stored");
    assert!(late.revocation_list.is_none());
}
