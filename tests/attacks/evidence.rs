//! Evidence that is not good enough, at a real seat over its socket.
//!
//! Attacks (issue: replayed challenge, another VM's evidence, debug policy, wrong VMPL, old TCB, unknown root, a
//! simulated root under a production policy; peers C2: 9, 14 to 18, 21, 22): a host with a machine of its own
//! asks for the keys of somebody else's app. Expected: one signed denial each, which names the check.

use casemate_crypto::{seal::SealingKey, secret::Secret};
use casemate_evidence::snp::{GuestPolicy, PlatformInfo, TcbVersion, Vmpl};
use casemate_release::message::{ReleaseRequest, SeatRequest};
use casemate_tests::{
    findings::Findings,
    seat::{WORKLOAD, World, name},
    tee::{Rsa, Tee, rsa_spki},
};

type TeeChange = fn(&mut Tee);
type RequestChange = fn(&mut ReleaseRequest);

/// What the attacker's machine does differently, and the check that it meets.
const MACHINES: &[(&str, TeeChange, &str)] = &[
    ("another image", |tee| tee.report.measurement = [0x4e; 48].into(), "policy.image.measurements"),
    ("another workload in HOST_DATA", |tee| tee.report.host_data = [0x58; 32].into(), "caller.workload"),
    ("a guest that its host may debug", |tee| tee.report.policy = bits(1 << 19), "policy.guest_policy.debug"),
    (
        "a guest with a migration agent",
        |tee| tee.report.policy = bits(1 << 18),
        "policy.guest_policy.migrate_ma",
    ),
    ("a report from a lower privilege level", |tee| tee.report.vmpl = Vmpl::Guest(1), "policy.hardware.vmpl"),
    (
        "microcode older than EntrySign's fix",
        |tee| tee.report.launch_tcb = TcbVersion::from([10, 0, 0, 0, 0, 0, 27, 85]),
        "policy.minimum_tcb.microcode",
    ),
    (
        "SNP firmware older than the floor",
        |tee| tee.report.launch_tcb = TcbVersion::from([10, 0, 0, 0, 0, 0, 26, 86]),
        "policy.minimum_tcb.snp",
    ),
    (
        "memory that was not checked for aliases",
        |tee| tee.report.platform_info = PlatformInfo::from_bits(0),
        "policy.platform.alias_check",
    ),
    (
        "a chip that its certificate does not name",
        |tee| tee.report.chip_id = [0x2e; 64].into(),
        "snp.certified_chip",
    ),
    (
        "a root of the attacker's own",
        |tee| {
            tee.root.public_key = rsa_spki(Rsa::Other);
            tee.root.signer = Rsa::Other;
            tee.intermediate.signer = Rsa::Other;
        },
        "snp.root",
    ),
    (
        "a leaf that the trusted chain did not sign",
        |tee| tee.leaf.signer = Rsa::Other,
        "snp.certificate_signature",
    ),
    (
        "a report that the certified key did not sign",
        |tee| {
            tee.leaf_key =
                p384::ecdsa::SigningKey::from_slice(&[0x12; 48]).expect("a number below the order");
        },
        "snp.report_signature",
    ),
];

fn bits(set: u64) -> GuestPolicy {
    GuestPolicy::from_bits(1 << 17 | set).expect("defined bits")
}

#[test]
fn each_machine_that_is_not_good_enough_gets_its_own_denial() {
    let world = World::new();
    let mut findings = Findings::new();
    for (attack, change, check) in MACHINES {
        let mut tee = world.tee.clone();
        change(&mut tee);
        let (challenged, request) = world.release_request_with(world.setup(1), &tee);
        let answer = world.ask(&request);
        findings.same(attack, name(&world.finish(challenged, Some(answer))), check);
    }
    findings.same("the machine as it should be", name(&world.release(1)), "granted");
    findings.finish();
}

#[test]
fn evidence_and_challenges_are_good_for_one_request_of_one_vm() {
    let world = World::new();
    let mut findings = Findings::new();

    // A challenge that was answered before.
    let (challenged, request) = world.release_request(world.setup(1));
    let first = world.ask(&request);
    let second = world.ask(&request);
    findings.same("a replayed challenge", world.denied(&second).unwrap_or_default(), "challenge.used");
    findings.same("its first answer", name(&world.finish(challenged, Some(first))), "granted");

    // Evidence that another VM of the same app made for a request of its own.
    let (_, others) = world.release_request(world.setup(2));
    let (_, mine) = world.release_request(world.setup(3));
    let mixed = ReleaseRequest { evidence: keys_wanted(&others).evidence, ..keys_wanted(&mine) };
    findings.same("another VM's evidence", refusal(&world, mixed), "policy.freshness.report_data");

    // Evidence made for this very challenge, under another boot's name, for other keys, to another key.
    for (attack, change) in CHANGES {
        let (_, request) = world.release_request(world.setup(4));
        let mut request = keys_wanted(&request);
        change(&mut request);
        findings.same(attack, refusal(&world, request), "policy.freshness.report_data");
    }
    findings.finish();
}

/// Fields that the evidence must cover.
const CHANGES: &[(&str, RequestChange)] = &[
    ("evidence under another boot's name", |request| request.boot_id = [9; 16].into()),
    ("evidence for fewer keys", |request| drop(request.keys.pop())),
    ("evidence for another proposed salt", |request| request.keys[0].salt_digest = Some([9; 32].into())),
    ("evidence to another sealing key", |request| {
        let seed = Secret::from_slice(&[5; 32]).expect("32 bytes");
        request.ephemeral = SealingKey::from_seed(seed).public();
    }),
];

fn keys_wanted(request: &[u8]) -> ReleaseRequest {
    match SeatRequest::from_bytes(request) {
        Ok(SeatRequest::Release(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// The check at which the seat denies a request.
fn refusal(world: &World, request: ReleaseRequest) -> String {
    let answer = world.ask(&SeatRequest::Release(request).to_bytes());
    world.denied(&answer).unwrap_or_else(|| "granted".to_owned())
}

#[test]
fn a_simulated_root_is_nothing_to_a_production_seat() {
    let production = World::in_production();
    let mut findings = Findings::new();
    let outcome = name(&production.release(1));
    findings.same("a seat that does not accept simulation", outcome, "caller.accept_simulated");

    // The seat's own floor accepts the root; the owner's policy lists none.
    let mut world = World::new();
    let listed = world.tee.root_digest().to_string();
    world.policy = world.policy.replace(&format!("[\"{listed}\"]"), "\"none\"");
    world.authorise(2, WORKLOAD).expect("the seat takes the record");
    findings.same("a policy that lists no simulated root", name(&world.release(1)), "snp.root");
    findings.finish();
}
