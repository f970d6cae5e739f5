//! Records that the app's owner did not sign, or signed for another time.
//!
//! Attacks (issue: forged app id, the attacker's own authority, older record): whoever carries records to a
//! real seat changes, replaces or withholds them; an attacker with an app of its own asks for the victim's
//! keys. Expected: each record is refused by the rule it breaks, each request by a signed denial. In a real
//! guest: `volumes.rs`, "another owner's genesis". Carriers that lie about what seats said: `tests/tests/records.rs`.

use casemate_crypto::sign::SigningKey;
use casemate_record::{
    AppId, Genesis, InstanceId, InstanceRecord, Signed, Submission, VolumeAction, VolumeRecord,
};
use casemate_release::guest::{Release, ReleaseSetup};
use casemate_tests::{
    findings::Findings,
    seat::{WORKLOAD, World, data, name},
};

/// What a seat says to a signature by another key.
const OTHER_SIGNER: &str = "sign it with the key that its genesis or roster names";

#[test]
fn records_of_anyone_but_the_owner_are_refused() {
    let world = World::new();
    let mut findings = Findings::new();
    let attacker = SigningKey::from_bytes(&[8; 32]).expect("a key");
    let forged = Genesis { owner: attacker.public(), ..world.genesis };
    let app_id = world.app_id();
    let instance = InstanceRecord { app_id, instance: InstanceId::from([9; 16]), number: 9 };
    let erasure = VolumeRecord {
        app_id,
        instance: world.instance(),
        volume: data(),
        number: 9,
        action: VolumeAction::Erase,
    };
    let table = [
        (
            "a forged app id",
            world.authority(&attacker, &forged, app_id, 9, WORKLOAD),
            "was the genesis changed?",
        ),
        (
            "another owner's signature",
            world.authority(&attacker, &world.genesis, app_id, 9, WORKLOAD),
            OTHER_SIGNER,
        ),
        ("another owner's instance", Submission::Instance(Signed::sign(&attacker, &instance)), OTHER_SIGNER),
        ("another owner's erasure", Submission::Volume(Signed::sign(&attacker, &erasure)), OTHER_SIGNER),
    ];
    for (attack, submission, because) in table {
        findings.says(attack, world.submit(submission).expect_err("refused"), because);
    }
    findings.same("the owner's app goes on", name(&world.release(1)), "granted");
    findings.finish();
}

#[test]
fn older_records_do_not_come_back() {
    let world = World::new();
    let mut findings = Findings::new();
    world.boot(1).expect("it boots");
    let old = world.authority(&world.owner, &world.genesis, world.app_id(), 1, WORKLOAD);
    world.authorise(5, [0x58; 32]).expect("the owner upgrades");
    findings.says("an older record", world.submit(old).expect_err("refused"), "not above 5");
    let same = world.authorise(5, WORKLOAD).expect_err("refused");
    findings.says("another record of the same number", same, "already used");
    // A guest of the version that was withdrawn.
    findings.same("the older version", name(&world.release(2)), "caller.workload");
    findings.same("its renewal", name(&world.renew(1)), "caller.workload");
    let record = InstanceRecord { app_id: world.app_id(), instance: InstanceId::from([4; 16]), number: 1 };
    let older = Submission::Instance(Signed::sign(&world.owner, &record));
    findings.says("an older instance record", world.submit(older).expect_err("refused"), "not above 1");
    findings.finish();
}

#[test]
fn an_authority_of_ones_own_gives_ones_own_keys_only() {
    let world = World::new();
    let mut findings = Findings::new();
    let (victim, _) = world.boot(1).expect("it boots");

    // The attacker owns an app and may authorise whatever it likes for it, the victim's workload included.
    let attacker = SigningKey::from_bytes(&[8; 32]).expect("a key");
    let genesis = Genesis { owner: attacker.public(), ..world.genesis };
    let authorise = |number, workload| {
        let record = world.authority(&attacker, &genesis, genesis.app_id(), number, workload);
        world.submit(record).expect("anyone may have an app");
    };
    authorise(1, WORKLOAD);
    let record = InstanceRecord { app_id: genesis.app_id(), instance: world.instance(), number: 1 };
    world.submit(Submission::Instance(Signed::sign(&attacker, &record))).expect("and instances of it");

    let setup = |app_id: AppId, boot| ReleaseSetup { app_id, ..world.setup(boot) };
    let granted = world.release_with(setup(genesis.app_id(), 2)).expect("its own keys");
    let keys = |release: &Release| release.volume(&data()).expect("wanted").keys.clone();
    let same = keys(&granted) == keys(&victim);
    findings.holds("an authority of one's own", !same, "other keys than the victim's", "the victim's keys");

    // Another workload of the attacker's, under the victim's name.
    let mut tee = world.tee.clone();
    tee.report.host_data = [0x58; 32].into();
    authorise(2, [0x58; 32]);
    let posing = ReleaseSetup { workload_digest: [0x58; 32].into(), ..setup(world.app_id(), 3) };
    let (challenged, request) = world.release_request_with(posing, &tee);
    let answer = world.ask(&request);
    let outcome = name(&world.finish(challenged, Some(answer)));
    findings.same("the victim's app id in another workload", outcome, "caller.workload");
    findings.finish();
}
