//! Does a seat, over its socket, give keys to whom it should and to nobody else?

mod world;

use std::time::Duration;

use casemate_crypto::{hash::sha256, sign::SigningKey};
use casemate_endorse::{Cache, Etiquette};
use casemate_evidence::{Measurement, ReportData};
use casemate_kms::{StateFolder, back_up, restore};
use casemate_record::{
    AuthorityRecord, BootId, PolicyDigest, RosterChain, Signed, Submission, SubmissionReceipt,
    SubmissionRequest, VolumeAction, WorkloadDigest,
};
use casemate_release::{
    derive::KeyPurpose,
    guest::{Answer, GuestError, ReleaseAttempt, ReleaseSetup, VolumeStanding},
    message::{SeatRequest, Step},
};
use casemate_verify::Roots;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use world::{MEASUREMENT, WORKLOAD, World, check, data, next_stamp, post_to, support};

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_back_with_every_boot_and_restart() {
    let mut world = World::new().await;
    let (first, stamp) = world.boot(1).await.unwrap();
    assert_eq!(first.volume(&data()).unwrap().standing, VolumeStanding::Creating);
    assert_eq!(stamp.counter, 1);
    world.restart().await;
    let second = world.release(2).await.unwrap();
    let volume = second.volume(&data()).unwrap();
    assert_eq!(volume.standing, VolumeStanding::Live { committed: stamp, prepared: vec![] });
    assert_eq!(volume.keys, first.volume(&data()).unwrap().keys);
    assert_eq!(second.key(KeyPurpose::Identity), first.key(KeyPurpose::Identity));
    assert_ne!(second.entropy(), first.entropy());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_any_two_steps_leaves_old_and_new_good_until_the_commit() {
    let mut world = World::new().await;
    let (_, old) = world.boot(1).await.unwrap();
    let release = world.release(2).await.unwrap();
    world.restart().await; // the session is gone
    let new = next_stamp(&release, 2);
    assert_eq!(check(world.step(&release, Step::Prepare, &new).await), "session.unknown");
    let release = world.release(2).await.unwrap();
    world.step(&release, Step::Prepare, &new).await.unwrap();
    world.restart().await;
    let third = world.release(3).await.unwrap();
    let expected = VolumeStanding::Live { committed: old, prepared: vec![new] };
    assert_eq!(third.volume(&data()).unwrap().standing, expected);
    assert_eq!(third.volume(&data()).unwrap().next_counter, 3);
    let newest = next_stamp(&third, 3);
    world.step(&third, Step::Prepare, &newest).await.unwrap();
    world.step(&third, Step::Commit, &newest).await.unwrap();
    world.step(&third, Step::Commit, &newest).await.unwrap(); // the answer was lost: nothing changes
    world.restart().await;
    let fourth = world.release(4).await.unwrap();
    let expected = VolumeStanding::Live { committed: newest, prepared: vec![] };
    assert_eq!(fourth.volume(&data()).unwrap().standing, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clones_the_one_that_commits_last_stays() {
    let world = World::new().await;
    world.boot(1).await.unwrap();
    let older = world.release(2).await.unwrap();
    let (_, _) = world.boot(3).await.unwrap();
    let stamp = next_stamp(&older, 2);
    assert_eq!(check(world.step(&older, Step::Prepare, &stamp).await), "boot.superseded");
    assert_eq!(check(world.renew(2).await), "boot.superseded");
    assert_eq!(check(world.renew(1).await), "boot.superseded");
    world.renew(3).await.unwrap();
    assert_eq!(check(world.release(2).await), "boot.superseded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_out_of_order_or_with_another_stamp_is_refused() {
    let world = World::new().await;
    let release = world.release(1).await.unwrap();
    let stamp = next_stamp(&release, 1);
    assert_eq!(check(world.step(&release, Step::Commit, &stamp).await), "volume.not_prepared");
    world.step(&release, Step::Prepare, &stamp).await.unwrap();
    let keys = &release.volume(&data()).unwrap().keys;
    let other = keys.stamp(1, sha256(b"another header"), BootId::from([1; 16]));
    assert_eq!(check(world.step(&release, Step::Prepare, &other).await), "volume.second_stamp");
    let foreign = keys.stamp(1, sha256(b"header"), BootId::from([9; 16]));
    assert_eq!(check(world.step(&release, Step::Prepare, &foreign).await), "volume.boot");
    // A prepare sent as a commit: the MAC covers which step it is.
    let attempt = release.step(Step::Prepare, &data(), &stamp);
    let SeatRequest::Prepare(step) = SeatRequest::from_bytes(&attempt.requests()[0].1).unwrap() else {
        panic!()
    };
    let answer = world.ask(&SeatRequest::Commit(step).to_bytes()).await;
    let outcome = attempt.finish(&[(world.seat(), Answer::Bytes(answer))]);
    assert!(matches!(outcome, Err(GuestError::TooFewGrants { granted: 0, .. })));
    world.step(&release, Step::Commit, &stamp).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_after_its_grant_stamps_nothing() {
    let mut world = World::new().await;
    world.boot(1).await.unwrap();
    let release = world.release(2).await.unwrap();
    let stamp = next_stamp(&release, 2);
    world.step(&release, Step::Prepare, &stamp).await.unwrap();
    // Another version, then the same under another policy.
    world.authorise(2, [0x58; 32]).await.unwrap();
    for step in [Step::Prepare, Step::Commit] {
        assert_eq!(check(world.step(&release, step, &stamp).await), "authority.workload");
    }
    let policy = world.policy.clone();
    world.policy.push_str("\n# stricter\n");
    world.authorise(3, WORKLOAD).await.unwrap();
    assert_eq!(check(world.step(&release, Step::Commit, &stamp).await), "authority.policy");
    // Nothing was committed meanwhile; what is allowed again goes on.
    world.policy = policy;
    world.authorise(4, WORKLOAD).await.unwrap();
    world.renew(1).await.unwrap();
    world.step(&release, Step::Commit, &stamp).await.unwrap();
    assert_eq!(check(world.renew(1).await), "boot.superseded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_volume_is_refused_for_good_and_its_salt_is_gone() {
    let mut world = World::new().await;
    world.boot(1).await.unwrap();
    assert_ne!(salts_on_disk(&world), 0);
    world.volume_record(1, VolumeAction::Erase).await.unwrap();
    assert_eq!(salts_on_disk(&world), 0);
    assert_eq!(check(world.release(2).await), "volume.erased");
    world.restart().await;
    assert_eq!(check(world.release(3).await), "volume.erased");
    assert_eq!(salts_on_disk(&world), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_fresh_each_time_and_comes_after_the_disk() {
    let mut world = World::new().await;
    world.boot(1).await.unwrap();
    let submission = world.volume_submission(1, VolumeAction::Erase);
    let request = |nonce: u8| SubmissionRequest { nonce: [nonce; 32].into(), submission: submission.clone() };
    let (status, first) = world.post("/v1/records", &request(1).to_bytes()).await;
    assert_eq!(status, 200);
    world.restart().await; // killed right after the answer: what was signed for is on the disk
    assert_eq!(check(world.release(2).await), "volume.erased");
    let (_, second) = world.post("/v1/records", &request(2).to_bytes()).await;
    let read =
        |bytes: &[u8]| Signed::<SubmissionReceipt>::from_bytes(bytes).unwrap().verify(&world.seat()).unwrap();
    let expected =
        SubmissionReceipt { nonce: [2; 32].into(), time_ms: read(&second).time_ms, ..read(&first) };
    assert_eq!(read(&second), expected, "the same meaning for another sending");
    assert!(world.roster.confirm(&request(2), &[&second]).is_ok());
    let replayed = world.roster.confirm(&request(2), &[&first]).unwrap_err().to_string();
    assert!(replayed.contains("answers an earlier sending"), "{replayed}");
}

/// How many salts any file of the state folder holds: a stored creating or live state begins with CBOR
/// `[1 or 2, generation 1, 32 bytes: salt ...`.
fn salts_on_disk(world: &World) -> usize {
    let files = std::fs::read_dir(world.folder.path().join("state")).unwrap();
    let count = |bytes: &[u8]| {
        bytes
            .windows(5)
            .filter(|w| matches!(w[0], 0x83..=0x87) && matches!(w[1], 1 | 2) && w[2..] == [1, 0x58, 32])
            .count()
    };
    files.map(|file| count(&std::fs::read(file.unwrap().path()).unwrap())).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_restores_an_older_stamp_and_counters_go_on() {
    let world = World::new().await;
    let (_, backup) = world.boot(1).await.unwrap();
    world.boot(2).await.unwrap();
    world.volume_record(1, VolumeAction::Restore(backup)).await.unwrap();
    let third = world.release(3).await.unwrap();
    let volume = third.volume(&data()).unwrap();
    assert_eq!(volume.standing, VolumeStanding::Live { committed: backup, prepared: vec![] });
    assert_eq!(volume.next_counter, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_taken_from_the_owner_only_and_never_older() {
    let world = World::new().await;
    world.authorise(5, [0x58; 32]).await.unwrap();
    assert!(world.authorise(4, WORKLOAD).await.unwrap_err().contains("not above 5"));
    assert!(world.authorise(5, WORKLOAD).await.unwrap_err().contains("already used"));
    let refused = check(world.release(1).await);
    assert!(refused.contains("workload"), "{refused}");
    let mut forged = world.genesis;
    forged.owner = SigningKey::from_bytes(&[8; 32]).unwrap().public();
    let record = AuthorityRecord {
        app_id: world.app_id(),
        number: 9,
        workload_digest: WorkloadDigest::from(WORKLOAD),
        policy_digest: PolicyDigest::from(*sha256(world.policy.as_bytes()).as_bytes()),
    };
    let record = Signed::sign(&SigningKey::from_bytes(&[8; 32]).unwrap(), &record);
    let policy = world.policy.clone().into_bytes().into();
    let refused = world.submit(&Submission::Authority { genesis: forged, record, policy }).await;
    assert!(refused.unwrap_err().contains("was the genesis changed?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_any_guest_passes_releases_nothing() {
    let mut world = World::new().await;
    let listed = format!("measurements = [\"{}\"]", Measurement::from(MEASUREMENT));
    for rule in ["\"any\"", "\"expected\"", "[\"lite 1\"]"] {
        let policy = world.policy.replace(&listed, &format!("measurements = {rule}"));
        let before = std::mem::replace(&mut world.policy, policy);
        let refused = world.authorise(2, WORKLOAD).await.unwrap_err();
        assert!(refused.contains("lists no launch measurement"), "{rule}: {refused}");
        world.policy = before;
    }
    world.tee.report.measurement = [0x4e; 48].into();
    assert_eq!(check(world.release(1).await), "policy.image.measurements");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_circumstance_has_its_own_denial() {
    let world = World::new().await;
    let other_instance = ReleaseSetup { instance: [9; 16].into(), ..world.setup(1) };
    assert_eq!(check(world.release_with(other_instance).await), "instance.unknown");
    let other_app = ReleaseSetup { app_id: [9; 32].into(), ..world.setup(1) };
    assert_eq!(check(world.release_with(other_app).await), "app.unknown");
    let other_workload = ReleaseSetup { workload_digest: [9; 32].into(), ..world.setup(1) };
    assert_eq!(check(world.release_with(other_workload).await), "evidence.workload");
    let production = World::with(false).await;
    let refused = check(production.release(1).await);
    assert!(refused.contains("root") || refused.contains("simulated"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_of_another_request_or_a_used_challenge_is_refused() {
    let world = World::new().await;
    let mut attempt = ReleaseAttempt::new(world.setup(1), &mut UnwrapErr(SysRng)).unwrap();
    let reply = world.ask(&attempt.challenge_request()).await;
    attempt.add_challenge(&world.seat(), &reply).unwrap();
    let mut challenged = attempt.challenged().unwrap();
    let foreign = world.evidence(ReportData::from([0x11; 64]));
    let requests = challenged.requests(&foreign, &mut UnwrapErr(SysRng));
    let answer = world.ask(&requests[0].1).await;
    let good = world.evidence(challenged.report_data());
    let again = challenged.requests(&good, &mut UnwrapErr(SysRng));
    let late = world.ask(&again[0].1).await;
    assert_eq!(check(challenged.finish(&[(world.seat(), Answer::Bytes(late))])), "challenge.used");
    let denial = casemate_release::message::SeatResponse::from_bytes(&answer).unwrap();
    let casemate_release::message::SeatResponse::Denied(signed) = denial else { panic!("not denied") };
    assert_eq!(signed.verify(&world.seat()).unwrap().check, "policy.freshness.report_data");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_on_the_way_is_noticed() {
    let world = World::new().await;
    let mut attempt = ReleaseAttempt::new(world.setup(1), &mut UnwrapErr(SysRng)).unwrap();
    let reply = world.ask(&attempt.challenge_request()).await;
    attempt.add_challenge(&world.seat(), &reply).unwrap();
    let mut challenged = attempt.challenged().unwrap();
    let evidence = world.evidence(challenged.report_data());
    let request = challenged.requests(&evidence, &mut UnwrapErr(SysRng))[0].1.clone();
    // Requests: whatever byte is changed, the seat's answer is no grant for this guest.
    for place in (0..request.len()).step_by(97) {
        let mut changed = request.clone();
        changed[place] ^= 0x40;
        let (status, answer) = world.post("/v1/guest", &changed).await;
        assert_eq!(status, 200);
        let granted = casemate_release::message::SeatResponse::from_bytes(&answer)
            .is_ok_and(|response| matches!(response, casemate_release::message::SeatResponse::Granted(_)));
        assert!(!granted, "byte {place} of the request");
    }
    assert_eq!(world.post("/v1/guest", &request[..request.len() - 1]).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_cut_or_foreign_answer_gives_no_key() {
    let world = World::new().await;
    for mutation in 0..6 {
        let mut attempt = ReleaseAttempt::new(world.setup(1), &mut UnwrapErr(SysRng)).unwrap();
        let reply = world.ask(&attempt.challenge_request()).await;
        assert!(attempt.add_challenge(&world.seat(), &reply[..20]).is_err());
        attempt.add_challenge(&world.seat(), &reply).unwrap();
        let mut challenged = attempt.challenged().unwrap();
        let evidence = world.evidence(challenged.report_data());
        let requests = challenged.requests(&evidence, &mut UnwrapErr(SysRng));
        let mut answer = world.ask(&requests[0].1).await;
        match mutation {
            0 => answer[10] ^= 1,
            1 => *answer.last_mut().unwrap() ^= 1,
            2 => answer.truncate(100),
            3 => answer = reply,
            4 => answer.push(0),
            _ => answer = Vec::new(),
        }
        let outcome = challenged.finish(&[(world.seat(), Answer::Bytes(answer))]);
        let Err(GuestError::TooFewGrants { granted: 0, invalid, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(invalid.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roster_is_served_and_proves_itself() {
    let world = World::new().await;
    let mut stream = tokio::net::UnixStream::connect(world.socket()).await.unwrap();
    stream.write_all(b"GET /v1/roster HTTP/1.1\r\nhost: seat\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let chain = RosterChain::from_bytes(&answer[end + 4..]).unwrap();
    assert_eq!(chain.verify(&world.roster.kms_id).unwrap(), world.roster);
    assert!(chain.verify(&[9; 32].into()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_the_same_keys_back() {
    let mut world = World::new().await;
    let (before, _) = world.boot(1).await.unwrap();
    world.task.take().unwrap().abort();
    let state = world.folder.path().join("state");
    let backup =
        back_up(&StateFolder::open(&state).unwrap(), b"correct horse", &mut UnwrapErr(SysRng)).unwrap();
    std::fs::rename(&state, world.folder.path().join("lost")).unwrap();
    assert!(restore(&state, &backup, b"wrong").is_err());
    restore(&state, &backup, b"correct horse").unwrap();
    let _ = std::fs::remove_file(world.socket());
    world.start(true).await;
    let after = world.release(2).await.unwrap();
    assert_eq!(after.volume(&data()).unwrap().keys, before.volume(&data()).unwrap().keys);
}

/// Certificates of the simulated chip hold around `NOW_MS`, and the seat goes by this machine's clock.
fn the_clock_suits_the_chip() -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis().abs_diff(u128::from(support::NOW_MS)) < u128::from(900 * support::DAY_MS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_fetches_what_evidence_lacks_and_asks_about_a_chip_once() {
    assert!(the_clock_suits_the_chip());
    let (mut world, server) = World::with_key_server(Etiquette::service()).await;
    world.boot(1).await.unwrap();
    world.renew(1).await.unwrap();
    world.restart().await;
    world.release(2).await.unwrap();
    assert_eq!(server.count("/vcek/v1/Genoa/1f"), 1);
    assert_eq!(server.count("cert_chain"), 1);
    server.go_away().await;
    world.release(3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_gets_no_certificates_says_whether_asking_again_may_help() {
    let (mut world, server) = World::with_key_server(Etiquette::service()).await;
    let known = world.tee.report.chip_id;
    world.tee.report.chip_id = [0x2F; 64].into();
    assert_eq!(check(world.release(1).await), "snp.endorsements_present", "the service knows no such chip");
    world.tee.report.chip_id = known;
    server.go_away().await;
    assert_eq!(check(world.release(2).await), "seat.endorsements");
    // Evidence that carries its own certificates needs nobody.
    world.bare = false;
    world.release(3).await.unwrap();
    // A seat that may not ask says the same of everything that it has not got.
    let roots = Roots::none().with_simulated([world.tee.simulated_root()]);
    world.endorsements = Some(Cache::offline(world.folder.path().join("nothing"), roots));
    world.restart().await;
    world.bare = true;
    assert_eq!(check(world.release(4).await), "snp.endorsements_present");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_certificates_keeps_nobody_else_waiting() {
    let (mut world, server) = World::with_key_server(Etiquette::service()).await;
    world.bare = false;
    world.release(99).await.unwrap();
    assert_eq!(server.asked(), ["/vcek/v1/Genoa/crl"]);
    world.bare = true;
    server.fall_silent();
    let mut waiting = Vec::new();
    for chip in 1..=16u8 {
        let (request, socket) = (world.request_on(chip).await, world.socket());
        waiting.push(tokio::spawn(async move { post_to(&socket, "/v1/guest", &request).await }));
    }
    // As many questions as one app may have asked at once.
    while server.count("snpSPL") < 8 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.bare = false;
    world.release(100).await.unwrap();
    assert!(waiting.iter().any(|one| !one.is_finished()), "strangers wait on while the guest has its keys");
    server.speak();
    for one in waiting {
        let (status, _) = one.await.unwrap();
        assert_eq!(status, 200, "a denial is an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_on_ever_new_chips_leaves_the_key_server_to_apps_that_had_keys() {
    let (mut world, server) = World::with_key_server(Etiquette::service()).await;
    world.bare = false;
    world.release(1).await.unwrap();
    world.bare = true;
    for app in 2..4 {
        world.turn_to_app(app);
        world.authorise(1, WORKLOAD).await.unwrap();
        world.create_instance(1).await.unwrap();
        for chip in 1..=8 {
            let request = world.request_on(10 * app + chip).await;
            assert_eq!(world.post("/v1/guest", &request).await.0, 200, "a denial is an answer");
        }
    }
    assert_eq!(server.count("snpSPL"), 5, "{:?}", server.asked());
    assert_eq!(check(world.release(2).await), "seat.endorsements", "a newcomer has to wait");
    world.turn_to_app(1);
    world.release(3).await.unwrap();
}
