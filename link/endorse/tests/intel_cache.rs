//! The cache against a service of Intel's collateral on this machine: what is asked, what is kept, what is
//! refused. The platforms are simulated, their root is in the list that the cache is given.

#[path = "support/intel_service.rs"]
mod intel_service;
#[path = "support/server.rs"]
mod server;
#[path = "../../../core/verify/tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::time::Duration;

use casemate_endorse::{
    Cache, CollateralRefusal, CollateralServer, Edition, Error, Etiquette, Item, KeyServer, OfflineBundle,
    Part, PckAuthority, Platform, PlatformCollateral, Revocation,
};
use casemate_evidence::bundle::{Bundle, Item as EvidenceItem};
use casemate_evidence::intel::{Quote, Tee};
use casemate_evidence::x509::Certificate;
use casemate_verify::intel::Collateral;
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, Outcome, Policy, Roots, Verdict, Verifier,
    Workload,
};
use intel_service::{Published, numbers, paths, publish, publish_numbers};
use server::Server;
use support::intel::{Guest, Key, Machine};
use support::{DAY_MS, NOW_MS};

/// Nobody waits, nothing is remembered, everything is asked.
fn eager() -> Etiquette {
    Etiquette { burst: 1000, failures_kept: Duration::ZERO, ..Etiquette::person() }
}

/// A simulated platform, what Intel says of it, and a server that knows it.
struct World {
    machine: Machine,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(machine: Machine) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let world = Self { machine, server: Server::start(HashMap::new()).await, folder };
        world.serve(&world.machine);
        world
    }

    fn platform(&self) -> Platform {
        platform(&self.machine)
    }

    fn serve(&self, machine: &Machine) {
        let (collateral, chain) = (machine.collateral(), machine.pck_chain());
        let platform = self.platform();
        publish(&self.server, &Published { collateral: &collateral, platform, pck_authority: &chain[1] });
    }

    fn serve_numbers(&self, listed: &[u32], issued: &str, signer: Key) {
        let tee = self.platform().tee;
        let body = numbers(tee, issued, "2026-01-20T00:00:00Z", listed);
        let signature = signer.sign(&body);
        let collateral = self.machine.collateral();
        let chain = [&collateral.tcb_info_signer, &collateral.root];
        publish_numbers(&self.server, tee, &body, signature.as_bytes(), chain);
    }

    fn roots(&self) -> Roots {
        Roots::none().with_simulated([self.machine.simulated_root()])
    }

    fn with(&self, etiquette: Etiquette) -> Cache {
        let server = CollateralServer::at(&self.server.base, etiquette).expect("a client");
        self.offline().with_collateral_server(server)
    }

    fn online(&self) -> Cache {
        self.with(eager())
    }

    fn offline(&self) -> Cache {
        Cache::offline(self.folder.path(), self.roots())
    }

    fn bare(&self) -> Bundle {
        bare(&self.machine)
    }

    /// The one stored set, as if it had been fetched three days before `NOW_MS`.
    fn let_the_set_be_days_old(&self) {
        let file = std::fs::File::options().write(true).open(self.set_file()).expect("stored");
        let time = std::time::UNIX_EPOCH + Duration::from_millis(NOW_MS - 3 * DAY_MS);
        file.set_modified(time).expect("it is our file");
    }

    fn set_file(&self) -> std::path::PathBuf {
        let key = casemate_endorse::Key::IntelCollateral { platform: self.platform() };
        self.folder.path().join(key.path())
    }
}

fn platform(machine: &Machine) -> Platform {
    let tee = match machine.guest {
        Guest::Tdx(_) => Tee::Tdx,
        Guest::Sgx(_) => Tee::Sgx,
    };
    let authority = intel_service::authority(&machine.pck_chain()[1]);
    Platform { tee, fmspc: machine.platform.fmspc, authority }
}

fn bare(machine: &Machine) -> Bundle {
    Bundle::new([match machine.guest {
        Guest::Tdx(_) => EvidenceItem::TdxQuote(machine.quote().into()),
        Guest::Sgx(_) => EvidenceItem::SgxQuote(machine.quote().into()),
    }])
}

fn found(bundle: &Bundle) -> Collateral {
    Collateral::from_bundle_item(bundle.intel_collateral().expect("it was added")).expect("readable")
}

fn item(machine: &Machine) -> Item {
    Item::IntelCollateral(Box::new(PlatformCollateral {
        collateral: machine.collateral().to_bundle_item(),
        pck_authority: machine.pck_chain()[1].as_der().to_vec().into(),
    }))
}

/// The refusal itself, whoever asked first.
fn refusal(error: &Error) -> &CollateralRefusal {
    match error {
        Error::Shared(cause) => refusal(cause),
        Error::Collateral { source, .. } => source,
        other => panic!("not about collateral: {other}"),
    }
}

#[tokio::test]
async fn a_platform_is_asked_about_once_and_then_served_offline() {
    for machine in [Machine::tdx(), Machine::sgx()] {
        let world = World::new(machine).await;
        let completed = world.online().complete(world.bare(), NOW_MS).await.expect("fetched");
        assert!(matches!(completed.revocation, Revocation::Present));
        assert_eq!(found(&completed.bundle), world.machine.collateral());
        let (service, platform) = (paths(), world.platform());
        let asked = [
            service.tcb_info_address(&platform),
            service.qe_identity_address(platform.tee),
            service.pck_revocation_list_address(platform.authority),
            service.root_revocation_list_address(),
            service.evaluation_numbers_address(platform.tee),
        ];
        assert_eq!(world.server.asked(), asked);
        for cache in [world.online(), world.offline(), world.online().without_network()] {
            let again = cache.complete(world.bare(), NOW_MS).await.expect("stored");
            assert_eq!(again.bundle, completed.bundle);
        }
        assert_eq!(world.server.asked().len(), 5);
        let keys: Vec<_> = world.offline().entries().into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, [casemate_endorse::Key::IntelCollateral { platform }]);
    }
}

#[tokio::test]
async fn offline_and_empty_says_where_it_looked() {
    let world = World::new(Machine::tdx()).await;
    let error = world.offline().complete(world.bare(), NOW_MS).await.expect_err("empty");
    assert!(
        matches!(&error, Error::NoCollateral { directory, platform }
            if directory == world.folder.path() && *platform == world.platform()),
        "{error}"
    );
    assert!(world.server.asked().is_empty());
}

#[tokio::test]
async fn evidence_that_carries_collateral_or_cannot_be_read_comes_back_as_it_is() {
    let world = World::new(Machine::tdx()).await;
    let mut stale = world.machine.clone();
    stale.collateral.next_update_ms = NOW_MS - DAY_MS;
    let carried = world.bare().with(EvidenceItem::IntelCollateral(stale.collateral().to_bundle_item()));
    for bundle in [carried, Bundle::new([EvidenceItem::TdxQuote(vec![4, 0].into())])] {
        let completed = world.online().complete(bundle.clone(), NOW_MS).await.expect("unchanged");
        assert_eq!(completed.bundle, bundle);
    }
    assert!(world.server.asked().is_empty());
}

#[tokio::test]
async fn nobody_is_asked_about_platforms_that_no_trusted_root_certified() {
    let world = World::new(Machine::tdx()).await;
    let server = CollateralServer::at(&world.server.base, eager()).expect("a client");
    let strict = Cache::offline(world.folder.path(), Roots::builtin()).with_collateral_server(server);
    let mut forged = [world.machine.clone(), world.machine.clone(), world.machine.clone()];
    forged[0].pck.signer = Key::Other;
    forged[1].authority.signer = Key::Other;
    forged[2].root.not_after_ms = NOW_MS - DAY_MS;
    let forged = forged.map(|machine| (world.online(), bare(&machine)));
    for (cache, bundle) in forged.into_iter().chain([(strict, world.bare())]) {
        let completed = cache.complete(bundle.clone(), NOW_MS).await.expect("unchanged");
        assert_eq!(completed.bundle, bundle);
        assert!(matches!(completed.revocation, Revocation::NotServed));
    }
    assert!(world.server.asked().is_empty());
}

/// What is wrong, what is served, and which refusal says so.
type Wrong = (&'static str, fn(&World), fn(&Error) -> bool);

fn serve_changed(world: &World, change: impl FnOnce(&mut Machine)) {
    let mut machine = world.machine.clone();
    change(&mut machine);
    world.serve(&machine);
}

fn is(error: &Error, matches: fn(&CollateralRefusal) -> bool) -> bool {
    matches(refusal(error))
}

const WRONG: [Wrong; 16] = {
    use CollateralRefusal as R;
    [
        (
            "TCB info is garbage",
            |world| world.server.answer(&paths().tcb_info_address(&world.platform()), 200, b"{}".to_vec()),
            |error| is(error, |found| matches!(found, R::Format(_))),
        ),
        (
            "TCB info of another key",
            |world| serve_changed(world, |machine| machine.tcb_info_signer = Key::Other),
            |error| is(error, |found| matches!(found, R::NotEndorsed(_))),
        ),
        (
            "TCB info without its signer",
            |world| world.server.header(&paths().tcb_info_address(&world.platform()), "X", "y"),
            |error| is(error, |found| matches!(found, R::IssuerChain { name: "TCB-Info-Issuer-Chain" })),
        ),
        (
            "TCB info of other processors",
            |world| serve_changed(world, |machine| machine.collateral.fmspc = [1; 6].into()),
            |error| is(error, |found| matches!(found, R::OtherPlatform { .. })),
        ),
        (
            "expired",
            |world| serve_changed(world, |machine| machine.collateral.next_update_ms = NOW_MS - DAY_MS),
            |error| is(error, |found| matches!(found, R::NotEndorsed(_))),
        ),
        (
            "identity is garbage",
            |world| world.server.answer(&paths().qe_identity_address(Tee::Tdx), 200, b"[]".to_vec()),
            |error| is(error, |found| matches!(found, R::Format(_))),
        ),
        (
            "identity of another key",
            |world| serve_changed(world, |machine| machine.qe_identity_signer = Key::Other),
            |error| is(error, |found| matches!(found, R::NotEndorsed(_))),
        ),
        (
            "identity of the other TEE",
            |world| {
                let identity = Machine::sgx().collateral.qe_identity();
                serve_changed(world, |machine| machine.documents[1] = Some(identity));
            },
            |error| is(error, |found| matches!(found, R::OtherTee { found: Tee::Sgx, expected: Tee::Tdx })),
        ),
        (
            "identity without its signer",
            |world| world.server.header(&paths().qe_identity_address(Tee::Tdx), "X", "y"),
            |error| {
                is(error, |found| {
                    matches!(found, R::IssuerChain { name: "SGX-Enclave-Identity-Issuer-Chain" })
                })
            },
        ),
        (
            "signer that nobody certified",
            |world| serve_changed(world, |machine| machine.tcb_signing.signer = Key::Other),
            |error| is(error, |found| matches!(found, R::NotEndorsed(_))),
        ),
        (
            "list of platforms is garbage",
            |world| {
                let path = paths().pck_revocation_list_address(world.platform().authority);
                world.server.answer(&path, 200, b"no list".to_vec());
            },
            |error| is(error, |found| matches!(found, R::Format(_))),
        ),
        (
            "list of platforms of another key",
            |world| serve_changed(world, |machine| machine.pck_list.signer = Key::Other),
            |error| is(error, |found| matches!(found, R::Authority(_))),
        ),
        (
            "list of authorities is garbage",
            |world| world.server.answer(&paths().root_revocation_list_address(), 200, vec![0x30, 0x81, 1]),
            |error| is(error, |found| matches!(found, R::Format(_))),
        ),
        (
            "list of authorities of another key",
            |world| serve_changed(world, |machine| machine.root_list.signer = Key::Other),
            |error| is(error, |found| matches!(found, R::NotEndorsed(_))),
        ),
        (
            "an answer without end",
            |world| {
                let path = paths().root_revocation_list_address();
                world.server.answer(&path, 200, vec![0x30; Collateral::MAXIMUM_FILE_LEN + 1]);
            },
            |error| error.to_string().contains("more than"),
        ),
        (
            "an outage of one of four",
            |world| world.server.answer(&paths().qe_identity_address(Tee::Tdx), 503, Vec::new()),
            |error| error.is_passing() && error.to_string().contains("503"),
        ),
    ]
};

#[tokio::test]
async fn garbage_is_named_never_kept_and_ends_nothing_that_is_stored() {
    for (what, serve, expected) in WRONG {
        let world = World::new(Machine::tdx()).await;
        serve(&world);
        let error = world.online().complete(world.bare(), NOW_MS).await.expect_err(what);
        assert!(expected(&error), "{what}: {error}");
        assert!(world.offline().entries().is_empty(), "{what} was kept");

        // With good collateral in the folder, three days old: it is asked again, and the stored one serves.
        let world = World::new(Machine::tdx()).await;
        let good = world.online().complete(world.bare(), NOW_MS).await.expect("good").bundle;
        let stored = std::fs::read(world.set_file()).expect("stored");
        world.let_the_set_be_days_old();
        serve(&world);
        let asked = world.server.asked().len();
        let found = world.online().complete(world.bare(), NOW_MS).await.expect("the stored one serves");
        assert_eq!(found.bundle, good, "{what}");
        assert!(world.server.asked().len() > asked, "{what}: it was asked again");
        assert_eq!(std::fs::read(world.set_file()).expect("still there"), stored, "{what}");
    }
}

/// An older part, and its name.
type Older = (Part, fn(&mut Machine));

#[tokio::test]
async fn no_older_part_takes_the_place_of_a_newer_one() {
    let cases: [Older; 6] = [
        (Part::TcbInfo, |machine| machine.documents[0] = Some(with_number(machine.collateral.tcb_info()))),
        (Part::TcbInfo, |machine| machine.documents[0] = Some(older_documents(machine).tcb_info())),
        (Part::QeIdentity, |machine| machine.documents[1] = Some(older_documents(machine).qe_identity())),
        (Part::RootRevocationList, |machine| machine.root_list.this_update_ms -= DAY_MS),
        (Part::PckRevocationList, |machine| machine.pck_list.this_update_ms -= DAY_MS),
        (Part::PckRevocationList, |machine| machine.pck_list.number = Some(4)),
    ];
    for (part, change) in cases {
        let mut machine = Machine::tdx();
        machine.pck_list.number = Some(5);
        let world = World::new(machine).await;
        let good = world.online().complete(world.bare(), NOW_MS).await.expect("good").bundle;
        world.let_the_set_be_days_old();
        let mut older = world.machine.clone();
        change(&mut older);
        world.serve(&older);
        let found = world.online().complete(world.bare(), NOW_MS).await.expect("the stored one serves");
        assert_eq!(found.bundle, good, "{part}");
        // Said outright where it is imported.
        let imported = world.offline().import(&[item(&older)], NOW_MS).remove(0);
        let error = imported.expect_err("refused");
        assert!(
            matches!(refusal(&error), CollateralRefusal::Older { part: found, .. } if *found == part),
            "{part}: {error}"
        );
        // Also when what is stored has expired meanwhile: what it knows stays known.
        let late = NOW_MS + 25 * DAY_MS;
        let mut older_but_lasting = older.clone();
        for list in [&mut older_but_lasting.root_list, &mut older_but_lasting.pck_list] {
            list.next_update_ms += 100 * DAY_MS;
        }
        let imported = world.offline().import(&[item(&older_but_lasting)], late).remove(0);
        let error = imported.expect_err("refused");
        assert!(
            matches!(refusal(&error), CollateralRefusal::Older { part: found, .. } if *found == part),
            "{part}: {error}"
        );
    }
}

/// The same document of TCB evaluation data number 1.
fn with_number(document: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(document).expect("JSON is text");
    let (before, rest) = text.split_once("\"tcbEvaluationDataNumber\":").expect("it has a number");
    let (_, after) = rest.split_once(',').expect("more members follow");
    format!("{before}\"tcbEvaluationDataNumber\":1,{after}").into_bytes()
}

fn older_documents(machine: &Machine) -> casemate_evidence::intel::CollateralBuilder {
    let mut older = machine.collateral.clone();
    older.issued_ms -= DAY_MS;
    older
}

#[tokio::test]
async fn a_list_is_not_rolled_back_by_way_of_another_platform() {
    let world = World::new(Machine::tdx()).await;
    world.online().complete(world.bare(), NOW_MS).await.expect("fetched");
    let mut other = Machine::sgx();
    other.platform.fmspc = [3; 6].into();
    other.collateral.fmspc = [3; 6].into();
    other.root_list.this_update_ms -= DAY_MS;
    let error = world.offline().import(&[item(&other)], NOW_MS).remove(0).expect_err("refused");
    let older = matches!(refusal(&error), CollateralRefusal::Older { part: Part::RootRevocationList, .. });
    assert!(older, "{error}");
    // Documents of the other TEE are not compared: theirs rise for themselves.
    other.root_list.this_update_ms += DAY_MS;
    other.collateral.issued_ms -= DAY_MS;
    other.collateral.evaluation_number -= 1;
    world.offline().import(&[item(&other)], NOW_MS).remove(0).expect("kept");
}

#[tokio::test]
async fn newer_collateral_takes_the_place_of_what_is_a_day_old() {
    let world = World::new(Machine::tdx()).await;
    world.online().complete(world.bare(), NOW_MS).await.expect("fetched");
    let mut newer = world.machine.clone();
    newer.collateral.issued_ms += DAY_MS;
    newer.collateral.evaluation_number += 1;
    newer.pck_list.revoked.push(vec![0x56]);
    world.serve(&newer);
    let same_day = world.online().complete(world.bare(), NOW_MS).await.expect("stored");
    assert_eq!(found(&same_day.bundle), world.machine.collateral());
    world.let_the_set_be_days_old();
    let next = world.online().complete(world.bare(), NOW_MS).await.expect("fetched");
    assert_eq!(found(&next.bundle), newer.collateral());
}

/// The verdict about a completed bundle, under the recommended policy with an age.
fn verdict(world: &World, bundle: &Bundle, maximum_age_days: &str, now_ms: u64) -> Verdict {
    let text = Policy::example(&[world.machine.root_digest()]);
    let text = text.replace("maximum_age_days = \"any\"", &format!("maximum_age_days = {maximum_age_days}"));
    let text = text.replace("measurements = \"expected\"", "measurements = \"any\"");
    let policy = Policy::parse(&text).expect("a policy");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: casemate_crypto::provider(),
    };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    verifier.verify_bundle(bundle, None, &expectations, now_ms).verdict().clone()
}

#[tokio::test]
async fn during_an_outage_the_policy_says_how_old_collateral_may_be() {
    let world = World::new(Machine::tdx()).await;
    let cache = world.online();
    cache.complete(world.bare(), NOW_MS).await.expect("fetched");
    world.let_the_set_be_days_old();
    let World { machine, server, folder } = world;
    server.go_away().await;
    let world = World { machine, server: Server::start(HashMap::new()).await, folder };

    // The lists were made ten days before.
    let completed = cache.complete(world.bare(), NOW_MS).await.expect("the stored one serves");
    let failures = |days| {
        verdict(&world, &completed.bundle, days, NOW_MS)
            .failures()
            .map(|check| check.code)
            .collect::<Vec<_>>()
    };
    let without_age = failures("\"any\"");
    assert!(!without_age.contains(&Code::CollateralAge), "{without_age:?}");
    assert_eq!(failures("11"), without_age);
    let too_old: Vec<Code> = failures("9").into_iter().filter(|code| !without_age.contains(code)).collect();
    assert_eq!(too_old, [Code::CollateralAge]);
    assert_ne!(verdict(&world, &completed.bundle, "9", NOW_MS).outcome(), Outcome::Verified);

    // Beyond its own end it serves no policy.
    let late = NOW_MS + 25 * DAY_MS;
    let error = cache.complete(world.bare(), late).await.expect_err("nothing that holds, and nobody answers");
    assert!(error.is_passing(), "{error}");
    assert!(matches!(&error, Error::Shared(cause) if matches!(**cause, Error::Network { .. })), "{error}");
    let offline = world.offline().complete(world.bare(), late).await;
    assert!(matches!(offline, Err(Error::NoCollateral { .. })), "{offline:?}");
}

#[tokio::test]
async fn collateral_that_intel_withdrew_is_refused() {
    let world = World::new(Machine::tdx()).await;
    let number = world.machine.collateral.evaluation_number;
    world.serve_numbers(&[number, number + 1], "2025-12-30T00:00:00Z", Key::TcbSigning);
    world.online().complete(world.bare(), NOW_MS).await.expect("the least number is still published");
    assert_eq!(world.offline().entries().len(), 2, "set and numbers are kept");

    // Newer numbers: the stored set counts as absent, and the same from the server is refused by name.
    world.serve_numbers(&[number + 1], "2025-12-31T00:00:00Z", Key::TcbSigning);
    world.let_the_set_be_days_old();
    let refresh = world.online().complete(world.bare(), NOW_MS).await;
    refresh.expect("what was good when it was asked for serves once more");
    let error = world.online().complete(world.bare(), NOW_MS).await.expect_err("withdrawn");
    let withdrawn = |error: &Error| {
        use casemate_verify::intel::EvaluationNumbersError as E;
        matches!(refusal(error), CollateralRefusal::EvaluationNumbers(E::Withdrawn { found, least })
            if *found == number && *least == number + 1)
    };
    assert!(withdrawn(&error), "{error}");
    let imported = world.offline().import(&[item(&world.machine)], NOW_MS).remove(0).expect_err("withdrawn");
    assert!(withdrawn(&imported), "{imported}");
}

#[tokio::test]
async fn numbers_that_are_forged_foreign_or_older_are_refused() {
    let world = World::new(Machine::tdx()).await;
    let number = world.machine.collateral.evaluation_number;
    world.serve_numbers(&[number], "2025-12-30T00:00:00Z", Key::Other);
    let error = world.online().complete(world.bare(), NOW_MS).await.expect_err("forged");
    use casemate_verify::intel::EvaluationNumbersError as E;
    let forged = matches!(refusal(&error), CollateralRefusal::EvaluationNumbers(E::Signature));
    assert!(forged, "{error}");
    world.serve_numbers(&[number], "2026-01-02T00:00:00Z", Key::TcbSigning);
    let error = world.online().complete(world.bare(), NOW_MS).await.expect_err("from the future");
    let not_current = matches!(refusal(&error), CollateralRefusal::EvaluationNumbers(E::NotCurrent { .. }));
    assert!(not_current, "{error}");
    assert!(world.offline().entries().is_empty());

    world.serve_numbers(&[number], "2025-12-30T00:00:00Z", Key::TcbSigning);
    world.online().complete(world.bare(), NOW_MS).await.expect("good");
    let kept = world.offline().export();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let cache = Cache::offline(elsewhere.path(), world.roots());
    world.serve_numbers(&[number], "2025-12-31T00:00:00Z", Key::TcbSigning);
    let fresh = Cache::offline(elsewhere.path(), world.roots())
        .with_collateral_server(CollateralServer::at(&world.server.base, eager()).expect("a client"));
    fresh.complete(world.bare(), NOW_MS).await.expect("good");
    let refused = cache.import(kept.items(), NOW_MS);
    let older = refused.iter().filter_map(|result| result.as_ref().err()).map(refusal).collect::<Vec<_>>();
    assert!(
        matches!(
            older[..],
            [CollateralRefusal::Older { part: Part::EvaluationNumbers, found: Edition { .. }, .. }]
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_is_exported_serves_on_a_machine_without_a_network() {
    let world = World::new(Machine::tdx()).await;
    let number = world.machine.collateral.evaluation_number;
    world.serve_numbers(&[number], "2025-12-30T00:00:00Z", Key::TcbSigning);
    let completed = world.online().complete(world.bare(), NOW_MS).await.expect("fetched");
    let bytes = world.offline().export().to_bytes();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let cache = Cache::offline(elsewhere.path(), world.roots());
    let bundle = OfflineBundle::parse(&bytes).expect("a bundle");
    assert_eq!(bundle.items().len(), 2);
    for kept in cache.import(bundle.items(), NOW_MS) {
        kept.expect("kept");
    }
    assert_eq!(cache.complete(world.bare(), NOW_MS).await.expect("imported").bundle, completed.bundle);
    assert_eq!(cache.export(), bundle);
    // Evidence that carries its collateral is an offline bundle of its own.
    let carried = PlatformCollateral::from_bundle(&completed.bundle).expect("quote and collateral");
    assert_eq!(Item::IntelCollateral(Box::new(carried)), item(&world.machine));
    // Under other roots nothing of it is kept.
    let strict = Cache::offline(tempfile::tempdir().expect("a folder").path(), Roots::builtin());
    for refused in strict.import(bundle.items(), NOW_MS) {
        assert!(matches!(refused, Err(Error::Collateral { .. })), "{refused:?}");
    }
    assert!(strict.entries().is_empty());
}

#[tokio::test]
async fn garbage_on_disk_counts_as_absent() {
    let world = World::new(Machine::tdx()).await;
    let good = world.online().complete(world.bare(), NOW_MS).await.expect("fetched").bundle;
    let stored = std::fs::read(world.set_file()).expect("stored");
    let mut changed = stored.clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    for garbage in [Vec::new(), b"garbage".to_vec(), stored[..stored.len() - 1].to_vec(), changed] {
        std::fs::write(world.set_file(), garbage).expect("writable");
        let offline = world.offline().complete(world.bare(), NOW_MS).await;
        assert!(matches!(offline, Err(Error::NoCollateral { .. })), "{offline:?}");
        let again = world.online().complete(world.bare(), NOW_MS).await.expect("fetched again");
        assert_eq!(again.bundle, good);
    }
    // Genuine, and of another platform.
    let mut other = world.machine.clone();
    other.collateral.fmspc = [1; 6].into();
    let Item::IntelCollateral(set) = item(&other) else { unreachable!("made above") };
    std::fs::write(world.set_file(), casemate_canon::to_cbor(&set)).expect("writable");
    let offline = world.offline().complete(world.bare(), NOW_MS).await;
    assert!(matches!(offline, Err(Error::NoCollateral { .. })), "{offline:?}");
    assert!(world.offline().entries().is_empty(), "what lies in a wrong place is not listed");
}

#[tokio::test]
async fn a_service_asks_once_for_many() {
    let world = World::new(Machine::sgx()).await;
    let cache = world.with(Etiquette { burst: 1000, ..Etiquette::service() });
    world.server.fall_silent();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (cache, bundle) = (cache.clone(), world.bare());
            tokio::spawn(async move { cache.complete(bundle, NOW_MS).await })
        })
        .collect();
    while world.server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    world.server.speak();
    for one in waiting {
        one.await.expect("no panic").expect("fetched");
    }
    assert_eq!(world.server.count("/tcb?"), 1);
}

#[tokio::test]
async fn amd_s_service_and_intel_s_are_asked_about_their_own() {
    let world = World::new(Machine::tdx()).await;
    let amd = Server::start(HashMap::new()).await;
    let key_server = KeyServer::at(&amd.base, eager()).expect("a client");
    let cache = Cache::online(world.folder.path(), world.roots(), key_server)
        .with_collateral_server(CollateralServer::at(&world.server.base, eager()).expect("a client"));
    cache.complete(world.bare(), NOW_MS).await.expect("fetched");
    assert!(amd.asked().is_empty());
}

#[test]
fn a_platform_names_its_authority() {
    let mut machine = Machine::tdx();
    assert_eq!(platform(&machine).authority, PckAuthority::Platform);
    machine.authority.subject = "Intel SGX PCK Processor CA".to_owned();
    machine.pck.issuer = machine.authority.subject.clone();
    machine.pck_list.issuer = machine.authority.subject.clone();
    assert_eq!(platform(&machine).authority, PckAuthority::Processor);
    let chain: Vec<Certificate> = machine.pck_chain();
    assert_eq!(chain.len(), 3);
    let folder = tempfile::tempdir().expect("a folder");
    let roots = Roots::none().with_simulated([machine.simulated_root()]);
    let kept =
        Cache::offline(folder.path(), roots).import(&[item(&machine)], NOW_MS).remove(0).expect("kept");
    assert!(kept.path().to_string_lossy().ends_with("-processor.cbor"));
    assert!(Quote::parse(&machine.quote()).is_ok());
}
