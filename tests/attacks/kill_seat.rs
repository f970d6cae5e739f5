//! A seat that is killed between any two steps.
//!
//! Attack (issue: any process killed between any two steps; peers C2: 30): SIGKILL to a real `casemate-kms`
//! before it hears a request, at some moment while it decides, and after its answer; then the guest goes on, or
//! boots again. Expected: one challenge has one answer, one boot has one stamp, no volume is lost, and all that
//! a guest ever meets is `challenge.foreign` or `session.unknown`: ask again.

use std::collections::BTreeSet;

use casemate_record::Stamp;
use casemate_release::{
    guest::VolumeStanding,
    message::{SeatResponse, Step},
};
use casemate_tests::{
    findings::Findings,
    seat::{Kill, World, data, heard, name, next_stamp},
};

/// Moments of a kill: the seat appraises for some milliseconds and writes for some more.
const MOMENTS: &[Kill] = &[
    Kill::Before,
    Kill::After { micros: 0 },
    Kill::After { micros: 500 },
    Kill::After { micros: 1500 },
    Kill::After { micros: 3000 },
    Kill::After { micros: 6000 },
    Kill::After { micros: 12_000 },
    Kill::Answered,
];

#[test]
fn a_kill_at_any_moment_loses_no_volume_and_stamps_none_twice() {
    let world = World::new();
    let mut findings = Findings::new();
    let mut boots = 1_u8..;
    let mut next = || boots.next().expect("fewer than 255 boots");
    let (release, mut committed) = world.boot(next()).expect("it boots");
    let keys = release.volume(&data()).expect("wanted").keys.clone();

    for moment in MOMENTS {
        for step in [None, Some(Step::Prepare), Some(Step::Commit)] {
            let at = step.map_or("the release".to_owned(), |step| format!("{step:?}"));
            let attack = format!("killed {moment:?} at {at}");
            // A boot that is interrupted, and the next one: it finds a state that one of the two boots wrote.
            let possible = match step {
                None => interrupted_release(&world, next(), *moment, committed, &attack, &mut findings),
                Some(step) => {
                    interrupted_step(&world, next(), step, *moment, committed, &attack, &mut findings)
                }
            };
            let boot = next();
            let release = world.release(boot).expect("granted");
            let volume = release.volume(&data()).expect("wanted");
            let VolumeStanding::Live { committed: found, .. } = &volume.standing else {
                panic!("{attack}: the volume is no longer live");
            };
            let intact = possible.contains(found) && volume.keys == keys;
            let expected = "what was committed, under the same keys";
            findings.holds(&format!("{attack}: the volume"), intact, expected, &format!("{found:?}"));
            committed = next_stamp(&release, boot);
            world.step(&release, Step::Prepare, &committed).expect("prepared");
            world.step(&release, Step::Commit, &committed).expect("committed");
        }
    }
    one_boot_one_stamp(&world.process().logged(), &mut findings);
    findings.finish();
}

/// The stamps of which one must be found afterwards.
fn interrupted_release(
    world: &World,
    boot: u8,
    moment: Kill,
    committed: Stamp,
    attack: &str,
    findings: &mut Findings,
) -> Vec<Stamp> {
    let (_, request) = world.release_request(world.setup(boot));
    let _ = world.ask_and_kill(&request, moment);
    // The challenge died with the process that made it, whether or not it was answered.
    let check = world.denied(&world.ask(&request)).unwrap_or_else(|| "granted".into());
    findings.same(&format!("{attack}: the same request again"), check, "challenge.foreign");
    vec![committed]
}

/// As [`interrupted_release`].
fn interrupted_step(
    world: &World,
    boot: u8,
    step: Step,
    moment: Kill,
    committed: Stamp,
    attack: &str,
    findings: &mut Findings,
) -> Vec<Stamp> {
    let release = world.release(boot).expect("granted");
    let stamp = next_stamp(&release, boot);
    if step == Step::Commit {
        world.step(&release, Step::Prepare, &stamp).expect("prepared");
    }
    let attempt = release.step(step, &data(), &stamp);
    let answer = world.ask_and_kill(&attempt.requests()[0].1, moment);
    let taken = attempt.finish(&[(world.seat(), heard(answer))]).is_ok();
    // The seat that came back knows no session: nothing can be stamped on its grant.
    let late = name(&world.step(&release, step, &stamp));
    findings.same(&format!("{attack}: the same step again"), late, "session.unknown");
    match (step, taken) {
        (Step::Prepare, _) => vec![committed],
        (Step::Commit, true) => vec![stamp],
        (Step::Commit, false) => vec![committed, stamp],
    }
}

#[test]
fn a_challenge_has_one_answer_whoever_is_killed() {
    let world = World::new();
    let mut findings = Findings::new();
    for micros in [0, 1000, 2000, 4000, 8000, 16_000] {
        let (_, request) = world.release_request(world.setup(1));
        let first = world.ask_and_kill(&request, Kill::After { micros });
        let answers = first.into_iter().chain((0..3).map(|_| world.ask(&request)));
        let granted = answers.filter(|answer| is_grant(answer)).count();
        let attack = format!("killed {micros} us after the request, which is then repeated");
        findings.holds(&attack, granted <= 1, "at most one grant", &format!("{granted} grants"));
    }
    // And without a kill: the request is repeated at once, to the same process.
    let (_, request) = world.release_request(world.setup(2));
    let granted = (0..3).filter(|_| is_grant(&world.ask(&request))).count();
    findings.same("repeated without a kill", granted.to_string(), "1");
    findings.finish();
}

fn is_grant(answer: &[u8]) -> bool {
    matches!(SeatResponse::from_bytes(answer), Ok(SeatResponse::Granted(_)))
}

/// By the seat's own log: no boot committed two counters, and no counter was committed by two boots.
pub(crate) fn one_boot_one_stamp(log: &str, findings: &mut Findings) {
    let mut commits = BTreeSet::new();
    for line in log.lines() {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let fields = &event["fields"];
        if fields["message"] == "stamped" && fields["step"] == "Commit" {
            commits.insert((fields["boot"].to_string(), fields["counter"].to_string()));
        }
    }
    let boots: BTreeSet<_> = commits.iter().map(|(boot, _)| boot).collect();
    let counters: BTreeSet<_> = commits.iter().map(|(_, counter)| counter).collect();
    let unique = boots.len() == commits.len() && counters.len() == commits.len() && !commits.is_empty();
    findings.holds("one boot, one stamp", unique, "each boot and each counter once", &format!("{commits:?}"));
}

#[test]
fn the_check_for_two_stamps_finds_two_stamps() {
    let world = World::new();
    world.boot(1).expect("it boots");
    world.boot(2).expect("it boots");
    let log = world.process().logged();
    let mut findings = Findings::new();
    one_boot_one_stamp(&log, &mut findings);
    findings.finish();
    let doubled = format!("{log}{}", log.replace("\"counter\":2", "\"counter\":3"));
    let mut findings = Findings::new();
    one_boot_one_stamp(&doubled, &mut findings);
    assert!(std::panic::catch_unwind(|| findings.finish()).is_err());
}
