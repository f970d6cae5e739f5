//! The cache against a key server on this machine: what is asked, what is kept, what is refused. The
//! chips are simulated, their root is in the list that the cache is given.

#[path = "support/server.rs"]
mod server;
#[path = "../../../core/verify/tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use casemate_endorse::{Cache, Error, Etiquette, Item, KeyServer, OfflineBundle, Revocation};
use casemate_evidence::bundle::{Bundle, Item as EvidenceItem};
use casemate_evidence::snp::{Product, Report};
use casemate_verify::Roots;
use casemate_verify::snp::{ChainError, Endorsements};
use server::Server;
use support::{DAY_MS, ListParts, NOW_MS, Rsa, Tee};

/// Nobody waits, nothing is remembered, everything is asked.
fn eager() -> Etiquette {
    Etiquette { burst: 1000, failures_kept: Duration::ZERO, ..Etiquette::person() }
}

fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).expect("encodes")
}

fn chain(endorsements: &Endorsements) -> Vec<u8> {
    (pem(endorsements.intermediate.as_der()) + &pem(endorsements.root.as_der())).into_bytes()
}

/// A simulated chip, what endorses it, and a server that knows both.
struct World {
    tee: Tee,
    report: Report,
    endorsements: Endorsements,
    product: Product,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    /// Every call to `Tee::endorsements` signs anew, so it is made once.
    async fn new(product: Product) -> Self {
        let tee = Tee::new(product);
        let (report, endorsements) = (tee.sign_report(), tee.endorsements());
        let world = Self {
            server: Server::start(HashMap::new()).await,
            folder: tempfile::tempdir().expect("a folder"),
            tee,
            report,
            endorsements,
            product,
        };
        world.serve(&world.endorsements.clone());
        world.serve_list(&ListParts::new(&world.tee.root.subject));
        world
    }

    fn serve(&self, endorsements: &Endorsements) {
        self.server.answer(&self.vcek_path(), 200, endorsements.leaf.as_der().to_vec());
        self.server.answer(&self.chain_path(), 200, chain(endorsements));
    }

    fn serve_list(&self, list: &ListParts) {
        self.server.answer(&self.list_path(), 200, list.to_der());
    }

    fn vcek_path(&self) -> String {
        let nowhere = KeyServer::at("", eager()).expect("a client");
        nowhere.vcek_address(self.product, &self.tee.report.chip_id, &support::tcb(self.product))
    }

    fn chain_path(&self) -> String {
        format!("/vcek/v1/{}/cert_chain", self.product)
    }

    fn list_path(&self) -> String {
        format!("/vcek/v1/{}/crl", self.product)
    }

    fn roots(&self) -> Roots {
        Roots::none().with_simulated([self.tee.simulated_root()])
    }

    fn online(&self) -> Cache {
        self.with(eager())
    }

    fn with(&self, etiquette: Etiquette) -> Cache {
        let server = KeyServer::at(&self.server.base, etiquette).expect("a client");
        Cache::online(self.folder.path(), self.roots(), server)
    }

    fn offline(&self) -> Cache {
        Cache::offline(self.folder.path(), self.roots())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("amd/{}", self.product)).join(name)
    }

    /// The one file that holds a signing key.
    fn leaf_file(&self) -> PathBuf {
        let listing = std::fs::read_dir(self.file("")).expect("the folder is there");
        let mut files = listing.map(|entry| entry.expect("an entry").path());
        files.find(|path| path.to_string_lossy().contains("/vcek-1f")).expect("a leaf is stored")
    }

    /// As if it had been fetched three days before `NOW_MS`.
    fn let_the_list_be_days_old(&self) {
        let file = std::fs::File::options().write(true).open(self.file("revocation.crl")).expect("stored");
        let time = std::time::UNIX_EPOCH + Duration::from_millis(NOW_MS - 3 * DAY_MS);
        file.set_modified(time).expect("it is our file");
    }

    fn bare(&self) -> Bundle {
        Bundle::new([EvidenceItem::SnpReport(self.report.as_bytes().to_vec().into())])
    }
}

/// The failure itself, whoever asked first.
fn cause(error: Error) -> String {
    error.to_string()
}

fn without_list(endorsements: &Endorsements) -> Endorsements {
    Endorsements { revocation_list: None, ..endorsements.clone() }
}

#[tokio::test]
async fn a_chip_is_asked_for_once_and_then_served_offline() {
    let world = World::new(Product::Turin).await;
    let cache = world.online();
    let found = cache.endorsements(&world.report, NOW_MS).await.expect("fetched");
    assert_eq!(without_list(&found), world.endorsements);
    assert!(found.revocation_list.is_some());
    assert_eq!(world.server.asked(), [world.vcek_path(), world.chain_path(), world.list_path()]);
    assert_eq!(cache.endorsements(&world.report, NOW_MS).await.expect("stored"), found);
    assert_eq!(world.offline().endorsements(&world.report, NOW_MS).await.expect("stored"), found);
    assert_eq!(world.server.asked().len(), 3);
}

#[tokio::test]
async fn offline_and_empty_says_where_it_looked() {
    let world = World::new(Product::Genoa).await;
    let error = world.offline().endorsements(&world.report, NOW_MS).await.expect_err("empty");
    assert!(
        matches!(&error, Error::NotStored { directory, .. } if directory == world.folder.path()),
        "{error}"
    );
}

#[tokio::test]
async fn evidence_gets_what_it_lacks_and_nothing_else() {
    let world = World::new(Product::Milan).await;
    let completed = world.online().complete(world.bare(), NOW_MS).await.expect("completed");
    assert!(matches!(completed.revocation, Revocation::Present));
    let found = Endorsements::from_bundle(&completed.bundle).expect("readable").expect("there");
    assert_eq!(without_list(&found), world.endorsements);
    let asked = world.server.asked().len();

    // A chain that is carried is kept, also a broken one, and only the list is added.
    let mut foreign = world.tee.clone();
    foreign.leaf.signer = Rsa::Other;
    for carried in [world.endorsements.clone(), foreign.endorsements()] {
        let bundle = world.bare().with(EvidenceItem::SnpCertificates(carried.to_bundle_item()));
        let completed = world.online().complete(bundle, NOW_MS).await.expect("completed");
        let found = Endorsements::from_bundle(&completed.bundle).expect("readable").expect("there");
        assert_eq!(without_list(&found), carried);
        assert!(matches!(completed.revocation, Revocation::Present));
    }
    // A list that is carried is kept.
    let carried = EvidenceItem::SnpRevocationList(ListParts::new("another root").to_der().into());
    let bundle = world.bare().with(EvidenceItem::SnpCertificates(world.endorsements.to_bundle_item()));
    let bundle = bundle.with(carried);
    let completed = world.online().complete(bundle.clone(), NOW_MS).await.expect("completed");
    assert_eq!(completed.bundle, bundle);
    assert_eq!(world.server.asked().len(), asked, "all of that was stored");
}

#[tokio::test]
async fn nobody_is_asked_about_roots_that_are_not_trusted() {
    let world = World::new(Product::Milan).await;
    let server = KeyServer::at(&world.server.base, eager()).expect("a client");
    let cache = Cache::online(world.folder.path(), Roots::builtin(), server);
    let bundle = world.bare().with(EvidenceItem::SnpCertificates(world.endorsements.to_bundle_item()));
    let completed = cache.complete(bundle.clone(), NOW_MS).await.expect("completed");
    assert_eq!(completed.bundle, bundle);
    assert!(matches!(completed.revocation, Revocation::NotServed));
    assert!(world.server.asked().is_empty());
    // What no trusted root vouches for is refused and not kept.
    let error = cache.complete(world.bare(), NOW_MS).await.expect_err("refused");
    assert!(cause(error).contains("is not trusted"));
    assert!(cache.entries().is_empty());
}

#[tokio::test]
async fn evidence_that_cannot_be_read_comes_back_as_it_is() {
    let world = World::new(Product::Genoa).await;
    for bundle in [
        Bundle::new([]),
        Bundle::new([EvidenceItem::SnpReport(vec![1, 2, 3].into())]),
        world.bare().with(EvidenceItem::SnpCertificates(casemate_evidence::bundle::SnpCertificates {
            leaf: vec![].into(),
            intermediate: vec![].into(),
            root: vec![].into(),
        })),
    ] {
        let completed = world.online().complete(bundle.clone(), NOW_MS).await.expect("unchanged");
        assert_eq!(completed.bundle, bundle);
    }
    assert!(world.server.asked().is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_chip_is_refused_and_not_kept() {
    let world = World::new(Product::Genoa).await;
    let mut foreign = world.tee.clone();
    foreign.leaf.extension_mut(support::HWID)[0] ^= 1;
    world.serve(&foreign.endorsements());
    let error = world.online().endorsements(&world.report, NOW_MS).await.expect_err("refused");
    assert!(matches!(&error, Error::Shared(cause) if matches!(**cause, Error::Foreign { .. })), "{error}");
    assert!(world.offline().entries().is_empty());
}

#[tokio::test]
async fn a_certificate_that_the_authority_did_not_sign_is_refused_and_not_kept() {
    let world = World::new(Product::Genoa).await;
    let mut forged = world.tee.clone();
    forged.leaf.signer = Rsa::Other;
    world.serve(&forged.endorsements());
    let error = world.online().endorsements(&world.report, NOW_MS).await.expect_err("refused");
    let is_signature = |error: &Error| match error {
        Error::NotEndorsed { source, .. } => matches!(**source, ChainError::Signature { .. }),
        _ => false,
    };
    assert!(matches!(&error, Error::Shared(cause) if is_signature(cause)), "{error}");
    // The chain itself is good and may stay.
    assert!(!world.offline().entries().iter().any(|entry| matches!(entry.item, Item::AmdSigningKey(_))));
}

#[tokio::test]
async fn answers_that_are_no_certificates_are_refused() {
    let world = World::new(Product::Genoa).await;
    for (answer, expected) in [
        ((429, Vec::new()), "429"),
        ((404, Vec::new()), "404"),
        ((302, Vec::new()), "302"),
        ((200, vec![0; 70_000]), "more than"),
        ((200, b"x".to_vec()), "DER"),
    ] {
        world.server.answer(&world.vcek_path(), answer.0, answer.1);
        let error = world.online().endorsements(&world.report, NOW_MS).await.expect_err("refused");
        assert!(cause(error).contains(expected), "{expected}");
        assert!(world.offline().entries().is_empty());
    }
}

#[tokio::test]
async fn an_outage_is_said_and_ends_nothing_that_is_stored() {
    let world = World::new(Product::Genoa).await;
    let cache = world.online();
    let known = cache.endorsements(&world.report, NOW_MS).await.expect("fetched");
    let mut other = world.tee.clone();
    other.report.chip_id = [0x2F; 64].into();
    let World { server, .. } = world;
    server.go_away().await;
    assert_eq!(cache.endorsements(&world.report, NOW_MS).await.expect("stored"), known);
    let error = cache.endorsements(&other.sign_report(), NOW_MS).await.expect_err("nobody answers");
    assert!(error.is_passing(), "{error}");
    assert!(matches!(&error, Error::Shared(cause) if matches!(**cause, Error::Network { .. })), "{error}");
}

#[tokio::test]
async fn nobody_is_asked_about_vleks_masked_chips_and_unsigned_reports() {
    let world = World::new(Product::Genoa).await;
    let cache = world.online();
    let vlek = world.tee.clone().with_vlek(Product::Genoa).sign_report();
    assert!(matches!(cache.endorsements(&vlek, NOW_MS).await, Err(Error::VlekNotServed)));
    let mut masked = world.tee.clone();
    masked.report.chip_id = [0; 64].into();
    assert!(matches!(cache.endorsements(&masked.sign_report(), NOW_MS).await, Err(Error::ChipMasked)));
    let mut unsigned = world.tee.clone();
    unsigned.report.key_info = casemate_evidence::snp::KeyInfo::from_bits(7 << 2).expect("names no key");
    assert!(matches!(cache.endorsements(&unsigned.sign_report(), NOW_MS).await, Err(Error::Unsigned)));
    assert!(world.server.asked().is_empty());
}

#[tokio::test]
async fn version_2_tries_the_products_whose_layout_fits() {
    let mut world = World::new(Product::Genoa).await;
    world.tee.report.layout = casemate_evidence::snp::Layout::V2;
    let found = world.online().endorsements(&world.tee.sign_report(), NOW_MS).await.expect("found as Genoa");
    assert_eq!(without_list(&found), world.endorsements);
    assert!(world.server.asked()[0].starts_with("/vcek/v1/Milan/"));
    assert!(world.server.asked()[1].starts_with("/vcek/v1/Genoa/"));
    assert_eq!(world.server.count("/vcek/v1/Turin/"), 0, "its layout does not fit");
}

#[tokio::test]
async fn of_several_providers_keys_the_one_that_signed_is_used() {
    let world = World::new(Product::Genoa).await;
    let mine = world.tee.clone().with_vlek(Product::Genoa);
    let mut other = mine.clone();
    other.leaf_key = p384::ecdsa::SigningKey::from_slice(&[0x22; 48]).expect("a key");
    other.leaf.public_key = support::p384_spki(&other.leaf_key);
    *other.leaf.extension_mut(support::CSP_ID) = support::ia5("another provider");
    let cache = world.offline();
    let (mine_endorsements, other_endorsements) = (mine.endorsements(), other.endorsements());
    let item = |endorsements: &Endorsements| {
        [
            Item::AmdSigningKey(endorsements.leaf.as_der().to_vec().into()),
            Item::AmdIntermediate(endorsements.intermediate.as_der().to_vec().into()),
            Item::AmdRoot(endorsements.root.as_der().to_vec().into()),
        ]
    };
    for result in cache.import(&[item(&other_endorsements), item(&mine_endorsements)].concat(), NOW_MS) {
        result.expect("kept");
    }
    // Signatures of intermediates differ from one call to the next; the leaf tells.
    let found = cache.endorsements(&mine.sign_report(), NOW_MS).await.expect("stored");
    assert_eq!(found.leaf, mine_endorsements.leaf);
    let found = cache.endorsements(&other.sign_report(), NOW_MS).await.expect("stored");
    assert_eq!(found.leaf, other_endorsements.leaf);
}

#[tokio::test]
async fn garbage_on_disk_counts_as_absent() {
    let world = World::new(Product::Genoa).await;
    let cache = world.online();
    let found = cache.endorsements(&world.report, NOW_MS).await.expect("fetched");
    let leaf = world.leaf_file();
    let mut changed = found.leaf.as_der().to_vec();
    *changed.last_mut().expect("not empty") ^= 1;
    for garbage in [b"garbage".to_vec(), Vec::new(), vec![0x30; 100_000], changed] {
        let before = world.server.count("/vcek/v1/Genoa/1f");
        std::fs::write(&leaf, &garbage).expect("writable");
        let offline = world.offline().endorsements(&world.report, NOW_MS).await;
        assert!(matches!(offline, Err(Error::NotStored { .. })), "{offline:?}");
        assert_eq!(cache.endorsements(&world.report, NOW_MS).await.expect("fetched again"), found);
        assert_eq!(world.server.count("/vcek/v1/Genoa/1f"), before + 1);
    }
    for name in ["root.der", "vcek-intermediate.der", "revocation.crl"] {
        for garbage in [b"garbage", found.leaf.as_der()] {
            std::fs::write(world.file(name), garbage).expect("writable");
            assert_eq!(cache.endorsements(&world.report, NOW_MS).await.expect("fetched again"), found);
        }
    }
}

#[tokio::test]
async fn a_file_of_another_chip_in_the_right_place_is_not_used() {
    let world = World::new(Product::Genoa).await;
    world.online().endorsements(&world.report, NOW_MS).await.expect("fetched");
    let mut foreign = world.tee.clone();
    foreign.leaf.extension_mut(support::HWID)[0] ^= 1;
    std::fs::write(world.leaf_file(), foreign.endorsements().leaf.as_der()).expect("writable");
    let offline = world.offline();
    assert!(matches!(offline.endorsements(&world.report, NOW_MS).await, Err(Error::NotStored { .. })));
    let named: Vec<_> = offline.entries().into_iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(named.len(), 3, "what lies in a wrong place is not listed: {named:?}");
}

#[tokio::test]
async fn certificates_that_are_no_longer_valid_are_fetched_anew() {
    let world = World::new(Product::Genoa).await;
    let cache = world.online();
    cache.endorsements(&world.report, NOW_MS).await.expect("fetched");
    let late = world.endorsements.leaf.not_after_ms() + 1000;
    assert!(world.offline().endorsements(&world.report, late).await.is_err());
    assert!(cache.endorsements(&world.report, late).await.is_err(), "the server's are as old");
    assert_eq!(world.server.count("/vcek/v1/Genoa/1f"), 2);
}

#[tokio::test]
async fn an_older_revocation_list_never_takes_the_place_of_a_newer_one() {
    let world = World::new(Product::Genoa).await;
    let cache = world.online();
    let newer = ListParts::new(&world.tee.root.subject);
    cache.endorsements(&world.report, NOW_MS).await.expect("fetched");
    world.let_the_list_be_days_old();
    let stored = std::fs::read(world.file("revocation.crl")).expect("stored");
    // The server forgets what was revoked meanwhile.
    let mut older = newer.clone();
    older.this_update_ms -= DAY_MS;
    older.revoked.clear();
    world.serve_list(&older);
    let found = cache.endorsements(&world.report, NOW_MS).await.expect("the stored list serves");
    assert_eq!(world.server.count("crl"), 2, "it was asked for a new one");
    let list = found.revocation_list.expect("a list");
    assert_eq!(list.this_update_ms(), newer.this_update_ms);
    assert_eq!(list.revoked().count(), 1);
    assert_eq!(std::fs::read(world.file("revocation.crl")).expect("stored"), stored);
    // Said outright where it was asked for by itself, and for files that are imported.
    let error = cache.fetch_product(Product::Genoa, NOW_MS).await.expect_err("refused");
    assert!(matches!(error, Error::OlderRevocationList { .. }), "{error}");
    let imported = world.offline().import(&[Item::AmdRevocationList(older.to_der().into())], NOW_MS);
    assert!(matches!(imported[0], Err(Error::OlderRevocationList { .. })), "{imported:?}");
    // A newer one does.
    let mut newest = newer.clone();
    newest.this_update_ms += DAY_MS;
    newest.revoked.push(vec![0x56]);
    world.serve_list(&newest);
    cache.fetch_product(Product::Genoa, NOW_MS).await.expect("newer");
    let found = world.offline().endorsements(&world.report, NOW_MS).await.expect("stored");
    assert_eq!(found.revocation_list.expect("a list").revoked().count(), 2);
}

#[tokio::test]
async fn a_list_that_is_not_the_roots_or_not_current_is_not_kept() {
    let world = World::new(Product::Genoa).await;
    let good = ListParts::new(&world.tee.root.subject);
    type Change = fn(&mut ListParts);
    let wrong: [(&str, Change); 4] = [
        ("signer", |list| list.signer = Rsa::Other),
        ("issuer", |list| list.issuer = "another root".to_owned()),
        ("expired", |list| list.next_update_ms = NOW_MS - DAY_MS),
        ("from the future", |list| list.this_update_ms = NOW_MS + DAY_MS),
    ];
    for (what, change) in wrong {
        let mut list = good.clone();
        change(&mut list);
        world.serve_list(&list);
        let completed = world.online().complete(world.bare(), NOW_MS).await.expect("the chain is there");
        assert!(matches!(completed.revocation, Revocation::Missing(_)), "{what}");
        assert_eq!(completed.bundle.snp_revocation_list(), None, "{what}");
        assert!(!world.file("revocation.crl").exists(), "{what}");
    }
}

#[tokio::test]
async fn a_list_serves_while_it_holds_and_no_longer() {
    let world = World::new(Product::Genoa).await;
    let found = world.online().endorsements(&world.report, NOW_MS).await.expect("fetched");
    assert_eq!(found, world.offline().endorsements(&world.report, NOW_MS).await.expect("stored"));
    let late = ListParts::new(&world.tee.root.subject).next_update_ms + 1000;
    let found = world.offline().endorsements(&world.report, late).await.expect("stored");
    assert_eq!(found.revocation_list, None);
    let completed = world.offline().complete(world.bare(), late).await.expect("the chain is there");
    assert!(matches!(completed.revocation, Revocation::Missing(Error::NotStored { .. })));
}

#[tokio::test]
async fn a_service_answers_with_the_stored_list_while_it_fetches_a_newer_one() {
    let world = World::new(Product::Genoa).await;
    let cache = world.with(Etiquette { burst: 1000, ..Etiquette::service() });
    let first = cache.endorsements(&world.report, NOW_MS).await.expect("fetched");
    world.let_the_list_be_days_old();
    let mut newer = ListParts::new(&world.tee.root.subject);
    newer.this_update_ms += DAY_MS;
    world.serve_list(&newer);
    world.server.fall_silent();
    assert_eq!(cache.endorsements(&world.report, NOW_MS).await.expect("at once"), first);
    world.server.speak();
    let made = |found: Endorsements| found.revocation_list.map(|list| list.this_update_ms());
    loop {
        let found = world.offline().endorsements(&world.report, NOW_MS).await.expect("stored");
        if made(found) == Some(newer.this_update_ms) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_service_asks_once_for_many_and_remembers_what_does_not_exist() {
    let world = World::new(Product::Genoa).await;
    let cache = world.with(Etiquette { burst: 1000, ..Etiquette::service() });
    world.server.fall_silent();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (cache, report) = (cache.clone(), world.report.clone());
            tokio::spawn(async move { cache.endorsements(&report, NOW_MS).await })
        })
        .collect();
    while world.server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    world.server.speak();
    for one in waiting {
        one.await.expect("no panic").expect("fetched");
    }
    assert_eq!(world.server.count("/vcek/v1/Genoa/1f"), 1);
    assert_eq!(world.server.count("cert_chain"), 1);
    assert_eq!(world.server.count("crl"), 1);

    let mut unknown = world.tee.clone();
    unknown.report.chip_id = [0x2F; 64].into();
    let unknown = unknown.sign_report();
    for _ in 0..20 {
        let error = cache.endorsements(&unknown, NOW_MS).await.expect_err("not served");
        assert!(cause(error).contains("404"));
    }
    assert_eq!(world.server.count("/vcek/v1/Genoa/2f"), 1);
}

#[tokio::test]
async fn strangers_with_ever_new_chips_do_not_make_a_service_hammer_its_maker() {
    let world = World::new(Product::Genoa).await;
    let cache = world.with(Etiquette { burst: 5, ..Etiquette::service() });
    let mut refused = 0;
    for chip in 1..=50 {
        let mut stranger = world.tee.clone();
        stranger.report.chip_id = [chip; 64].into();
        let error = cache.endorsements(&stranger.sign_report(), NOW_MS).await.expect_err("not served");
        refused += usize::from(error.is_passing());
    }
    assert_eq!(world.server.asked().len(), 5);
    assert_eq!(refused, 45, "told to come back, not that the chip is unknown");
}

#[tokio::test]
async fn a_caller_waits_only_so_long_and_the_answer_is_kept_all_the_same() {
    let world = World::new(Product::Genoa).await;
    let cache = world.with(Etiquette { patience: Duration::from_millis(50), ..Etiquette::service() });
    world.server.fall_silent();
    let error = cache.endorsements(&world.report, NOW_MS).await.expect_err("nobody answers yet");
    assert!(matches!(error, Error::Slow { .. }) && error.is_passing(), "{error}");
    world.server.speak();
    while world.offline().endorsements(&world.report, NOW_MS).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_exported_serves_on_a_machine_without_a_network() {
    let world = World::new(Product::Turin).await;
    let found = world.online().endorsements(&world.report, NOW_MS).await.expect("fetched");
    let bytes = world.offline().export().to_bytes();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let cache = Cache::offline(elsewhere.path(), world.roots());
    let bundle = OfflineBundle::parse(&bytes).expect("a bundle");
    assert_eq!(bundle.items().len(), 4);
    let kept: Vec<_> = cache.import(bundle.items(), NOW_MS).into_iter().map(Result::unwrap).collect();
    assert_eq!(kept.len(), 4);
    assert_eq!(cache.endorsements(&world.report, NOW_MS).await.expect("imported"), found);
    assert_eq!(cache.export(), bundle, "the same items in the same order");
    // Under other roots nothing of it is kept.
    let strict = Cache::offline(tempfile::tempdir().expect("a folder").path(), Roots::builtin());
    for refused in strict.import(bundle.items(), NOW_MS) {
        assert!(matches!(refused, Err(Error::NotEndorsed { .. } | Error::AuthorityMissing { .. })));
    }
    assert!(strict.entries().is_empty());
}

#[test]
fn what_is_no_item_is_refused_by_an_import() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::offline(folder.path(), Roots::builtin());
    let tee = Tee::new(Product::Genoa);
    let root = tee.endorsements().root.as_der().to_vec();
    let items = [
        Item::AmdSigningKey(vec![].into()),
        Item::AmdSigningKey(root.clone().into()),
        Item::AmdRoot(root.into()),
        Item::AmdIntermediate(vec![1].into()),
        Item::AmdIntermediate(tee.endorsements().intermediate.as_der().to_vec().into()),
        Item::AmdRevocationList(b"x".to_vec().into()),
        Item::AmdRevocationList(ListParts::new("nobody").to_der().into()),
        Item::AmdRevocationList(ListParts::new("ARK-Milan").to_der().into()),
    ];
    let results = cache.import(&items, NOW_MS);
    assert!(matches!(results[0], Err(Error::Unreadable { .. })), "{results:?}");
    assert!(matches!(results[1], Err(Error::NotEndorsed { .. })), "{results:?}");
    assert!(matches!(results[2], Err(Error::NotEndorsed { .. })), "a root that nobody trusts: {results:?}");
    assert!(matches!(results[3], Err(Error::Unreadable { .. })), "{results:?}");
    assert!(matches!(results[4], Err(Error::AuthorityMissing { .. })), "{results:?}");
    assert!(matches!(results[5], Err(Error::Unreadable { .. })), "{results:?}");
    assert!(matches!(results[6], Err(Error::UnknownName { .. })), "{results:?}");
    assert!(matches!(results[7], Err(Error::AuthorityMissing { .. })), "{results:?}");
}
