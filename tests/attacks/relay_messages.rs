//! Every message between guest and seat, flipped, cut, repeated, reordered and delayed on its way.
//!
//! Attack (issue: every relay message flipped, truncated, repeated, reordered, delayed; peers C2: 7, 12, 22):
//! the relay, which carries all of them. Real seat, real socket, the guest's own state machine; one row for each
//! message and mutation, with the name of what notices it. "granted" means that the mutation is harmless: the
//! message does what it would have done. Not one row ends in a key for somebody else, or a second stamp.
//!
//! Frames below the messages: `casemate-transport`, tests `frames` and `peers` (a late answer is a timeout and
//! is ignored then). Calls to the agent: `agent_messages.rs`.

use std::{collections::BTreeSet, time::Duration};

use casemate_release::{
    guest::{Challenged, GuestError, ReleaseAttempt, ReleaseSetup, Renewed},
    message::Step,
};
use casemate_tests::seat::{World, data, heard, name, next_stamp};
use getrandom::SysRng;
use rand_core::UnwrapErr;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    AskChallenge,
    AskKeys,
    AskPrepare,
    AskCommit,
    AskLease,
    Challenge,
    Grant,
    Denial,
    Prepared,
    Committed,
    Lease,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mutation {
    Flipped,
    Truncated,
    Repeated,
    Reordered,
    Delayed,
}

use Message::*;
use Mutation::*;

type Names = BTreeSet<String>;
type Mutate = fn(&[u8]) -> Vec<Vec<u8>>;
/// Message, mutation, the names that its outcomes may have, and what does it.
type Row = (Message, Mutation, &'static [&'static str], fn(&World) -> Names);

/// `SeatRequest::Challenge`.
const CHALLENGE: &[u8] = &[0x82, 0, 0x80];
/// What a guest makes of a signed answer that was changed.
const SPOILED: &[&str] = &["not a response", "not signed by the seat", "another kind of answer"];
/// Challenges are not signed: what was changed in one shows when it is used.
const SPOILED_CHALLENGE: &[&str] =
    &["not a challenge", "another kind of answer", "another roster", "challenge.foreign"];
const OTHER: &[&str] = &["answers another request"];

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    (AskChallenge, Flipped, &["another kind of answer"], |world| challenge_asked(world, flips)),
    (AskChallenge, Truncated, &["another kind of answer"], |world| challenge_asked(world, cuts)),
    (AskChallenge, Repeated, &["another challenge"], challenge_asked_twice),
    (AskChallenge, Reordered, &["granted"], challenge_asked_behind_the_keys),
    (AskChallenge, Delayed, &["granted"], challenge_asked_late),

    (AskKeys, Flipped, OTHER, |world| keys_asked(world, flips)),
    (AskKeys, Truncated, OTHER, |world| keys_asked(world, cuts)),
    (AskKeys, Repeated, &["challenge.used"], keys_asked_twice),
    (AskKeys, Reordered, OTHER, keys_swapped_between_two_guests),
    (AskKeys, Delayed, &["challenge.expired"], |_| keys_asked_late()),

    (AskPrepare, Flipped, OTHER, |world| step_asked(world, Step::Prepare, flips)),
    (AskPrepare, Truncated, OTHER, |world| step_asked(world, Step::Prepare, cuts)),
    (AskPrepare, Repeated, &["granted"], prepared_twice),
    (AskPrepare, Reordered, &["boot.superseded"], prepared_behind_a_later_boot),
    (AskPrepare, Delayed, &["session.unknown"], prepared_after_the_seat_restarted),

    (AskCommit, Flipped, OTHER, |world| step_asked(world, Step::Commit, flips)),
    (AskCommit, Truncated, OTHER, |world| step_asked(world, Step::Commit, cuts)),
    (AskCommit, Repeated, &["granted"], committed_twice),
    (AskCommit, Reordered, &["volume.not_prepared"], committed_before_it_is_prepared),
    (AskCommit, Delayed, &["boot.superseded"], committed_behind_a_later_boot),

    (AskLease, Flipped, OTHER, |world| lease_asked(world, flips)),
    (AskLease, Truncated, OTHER, |world| lease_asked(world, cuts)),
    (AskLease, Repeated, &["challenge.used"], lease_asked_twice),
    (AskLease, Reordered, &["boot.superseded"], |world| one(&name(&world.renew(1)))), // before its grant
    (AskLease, Delayed, &["challenge.expired"], |_| lease_asked_late()),

    (Challenge, Flipped, SPOILED_CHALLENGE, |world| challenge_changed(world, flips)),
    (Challenge, Truncated, &["not a challenge"], |world| challenge_changed(world, cuts)),
    (Challenge, Repeated, &["challenge.used"], challenge_for_two_guests),
    (Challenge, Reordered, &["another kind of answer"], |world| one(&use_challenge(world, 1, &world.ask(b"nonsense")))),
    (Challenge, Delayed, &["challenge.expired"], |_| challenge_that_comes_late()),

    (Grant, Flipped, SPOILED, |world| grant_changed(world, flips)),
    (Grant, Truncated, &["not a response"], |world| grant_changed(world, cuts)),
    (Grant, Repeated, OTHER, grant_of_an_earlier_request),
    (Grant, Reordered, &["another kind of answer"], lease_in_place_of_a_grant),
    (Grant, Delayed, &["silent"], grant_that_never_comes),

    (Denial, Flipped, SPOILED, |world| denial_changed(world, flips)),
    (Denial, Truncated, &["not a response"], |world| denial_changed(world, cuts)),
    (Denial, Repeated, OTHER, denial_of_an_earlier_request),
    (Denial, Reordered, OTHER, denial_in_place_of_a_grant),
    (Denial, Delayed, &["silent"], denial_that_never_comes),

    (Prepared, Flipped, SPOILED, |world| receipt_changed(world, Step::Prepare, flips)),
    (Prepared, Truncated, &["not a response"], |world| receipt_changed(world, Step::Prepare, cuts)),
    (Prepared, Repeated, OTHER, |world| receipt_of_an_earlier_boot(world, Step::Prepare)),
    (Prepared, Reordered, &["another kind of answer"], |world| receipt_of_the_other_step(world, Step::Prepare)),
    (Prepared, Delayed, &["silent"], |world| receipt_that_never_comes(world, Step::Prepare)),

    (Committed, Flipped, SPOILED, |world| receipt_changed(world, Step::Commit, flips)),
    (Committed, Truncated, &["not a response"], |world| receipt_changed(world, Step::Commit, cuts)),
    (Committed, Repeated, OTHER, |world| receipt_of_an_earlier_boot(world, Step::Commit)),
    (Committed, Reordered, &["another kind of answer"], |world| receipt_of_the_other_step(world, Step::Commit)),
    (Committed, Delayed, &["silent"], |world| receipt_that_never_comes(world, Step::Commit)),

    (Lease, Flipped, SPOILED, |world| lease_changed(world, flips)),
    (Lease, Truncated, &["not a response"], |world| lease_changed(world, cuts)),
    (Lease, Repeated, OTHER, |world| lease_given(world, |world| Some(world.ask(&world.renewal_request(1).1)))),
    (Lease, Reordered, &["another kind of answer"], |world| lease_given(world, |world| Some(world.ask(&world.release_request(world.setup(2)).1)))),
    (Lease, Delayed, &["silent"], |world| lease_given(world, |_| None)),
];

#[test]
fn every_message_and_mutation_has_a_row() {
    let rows: BTreeSet<_> = ROWS.iter().map(|(message, mutation, ..)| (*message, *mutation)).collect();
    assert_eq!(rows.len(), ROWS.len(), "a row twice");
    // Lease and Delayed are the last of their kinds.
    assert_eq!(rows.len(), (Lease as usize + 1) * (Delayed as usize + 1), "a row is missing");
}

#[test]
fn what_a_guest_asks_first() {
    expect(&[AskChallenge, Challenge]);
}

#[test]
fn what_is_asked_with_evidence() {
    expect(&[AskKeys, Grant, Denial]);
}

#[test]
fn what_is_asked_before_a_stamp_is_written() {
    expect(&[AskPrepare, Prepared]);
}

#[test]
fn what_is_asked_after_a_stamp_was_written() {
    expect(&[AskCommit, Committed]);
}

#[test]
fn what_is_asked_while_it_runs() {
    expect(&[AskLease, Lease]);
}

/// Runs the rows of these messages, each in a world of its own.
fn expect(messages: &[Message]) {
    let mut wrong = Vec::new();
    for (message, mutation, expected, attack) in ROWS.iter().filter(|row| messages.contains(&row.0)) {
        let found = attack(&World::new());
        eprintln!("{message:?} {mutation:?}: {found:?}");
        if found.is_empty() || found.iter().any(|name| !expected.contains(&name.as_str())) {
            wrong.push(format!("{message:?} {mutation:?}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// The mutations of bytes.

/// One bit changed in each of at most 40 bytes, the first and the last among them.
fn flips(bytes: &[u8]) -> Vec<Vec<u8>> {
    let step = (bytes.len() / 38).max(1);
    let places = (0..bytes.len()).step_by(step).chain([bytes.len() - 1]);
    let flip = |(number, place): (usize, usize)| {
        let mut changed = bytes.to_vec();
        changed[place] ^= 1 << (number % 8);
        changed
    };
    places.enumerate().map(flip).collect()
}

/// Cut at the beginning, in the middle, before the end, and to nothing.
fn cuts(bytes: &[u8]) -> Vec<Vec<u8>> {
    [0, 1, bytes.len() / 2, bytes.len() - 1].iter().map(|length| bytes[..*length].to_vec()).collect()
}

fn one(name: &str) -> Names {
    Names::from([name.to_owned()])
}

/// The outcome of each change.
fn each(changed: Vec<Vec<u8>>, outcome: impl FnMut(Vec<u8>) -> String) -> Names {
    changed.into_iter().map(outcome).collect()
}

/// As [`each`], where every attempt must be a new one: it is given the change to make to its own message.
fn each_anew(mutate: Mutate, attempt: impl Fn(&dyn Fn(&[u8]) -> Vec<u8>) -> String) -> Names {
    let count = mutate(&[0; 4096]).len();
    let change = |number: usize, bytes: &[u8]| {
        let mut changed = mutate(bytes);
        changed.swap_remove(number.min(changed.len() - 1))
    };
    (0..count).map(|number| attempt(&|bytes: &[u8]| change(number, bytes))).collect()
}

/// A world whose challenges are good for a moment, and the time in which they are no longer.
fn impatient() -> World {
    World::with_challenges_of(Duration::from_millis(1))
}

const EXPIRED: Duration = Duration::from_millis(20);

// Asking for a challenge, and the challenge.

fn challenge_asked(world: &World, mutate: Mutate) -> Names {
    each(mutate(CHALLENGE), |request| use_challenge(world, 1, &world.ask(&request)))
}

fn challenge_asked_twice(world: &World) -> Names {
    let same = world.ask(CHALLENGE) == world.ask(CHALLENGE);
    one(if same { "the same challenge" } else { "another challenge" })
}

/// The answer comes too late to matter.
fn challenge_asked_behind_the_keys(world: &World) -> Names {
    let (challenged, request) = world.release_request(world.setup(1));
    world.ask(CHALLENGE);
    let answer = world.ask(&request);
    one(&name(&world.finish(challenged, Some(answer))))
}

fn challenge_asked_late(world: &World) -> Names {
    std::thread::sleep(EXPIRED);
    one(&name(&world.release(1)))
}

/// What comes of a guest that is given `reply` in place of its challenge.
fn use_challenge(world: &World, boot: u8, reply: &[u8]) -> String {
    let mut attempt =
        ReleaseAttempt::new(world.setup(boot), &mut UnwrapErr(SysRng)).expect("keys wanted once");
    let taken = attempt.add_challenge(&world.seat(), reply);
    if taken.is_err() {
        return name(&taken);
    }
    let mut challenged = attempt.challenged().expect("one seat is enough");
    let evidence = world.evidence(challenged.report_data());
    let request = challenged.requests(&evidence, &mut UnwrapErr(SysRng))[0].1.clone();
    let answer = world.ask(&request);
    name(&world.finish(challenged, Some(answer)))
}

fn challenge_changed(world: &World, mutate: Mutate) -> Names {
    let reply = world.ask(CHALLENGE);
    each(mutate(&reply), |changed| use_challenge(world, 1, &changed))
}

fn challenge_for_two_guests(world: &World) -> Names {
    let reply = world.ask(CHALLENGE);
    assert_eq!(use_challenge(world, 1, &reply), "granted");
    one(&use_challenge(world, 2, &reply))
}

fn challenge_that_comes_late() -> Names {
    let world = impatient();
    let reply = world.ask(CHALLENGE);
    std::thread::sleep(EXPIRED);
    one(&use_challenge(&world, 1, &reply))
}

// Asking for keys, and the grant or denial.

fn keys_asked(world: &World, mutate: Mutate) -> Names {
    each_anew(mutate, |change| {
        let (challenged, request) = world.release_request(world.setup(1));
        let answer = world.ask(&change(&request));
        name(&world.finish(challenged, Some(answer)))
    })
}

fn keys_asked_twice(world: &World) -> Names {
    let (_, request) = world.release_request(world.setup(1));
    world.ask(&request);
    one(&world.denied(&world.ask(&request)).unwrap_or_default())
}

/// Two guests ask at the same time; each is given what the other asked for.
fn keys_swapped_between_two_guests(world: &World) -> Names {
    let (first, first_request) = world.release_request(world.setup(1));
    let (second, second_request) = world.release_request(world.setup(2));
    let to_second = world.ask(&second_request);
    let to_first = world.ask(&first_request);
    [world.finish(first, Some(to_second)), world.finish(second, Some(to_first))].iter().map(name).collect()
}

fn keys_asked_late() -> Names {
    let world = impatient();
    let (challenged, request) = world.release_request(world.setup(1));
    std::thread::sleep(EXPIRED);
    let answer = world.ask(&request);
    one(&name(&world.finish(challenged, Some(answer))))
}

fn grant_changed(world: &World, mutate: Mutate) -> Names {
    each_anew(mutate, |change| {
        let (challenged, request) = world.release_request(world.setup(1));
        let answer = world.ask(&request);
        name(&world.finish(challenged, Some(change(&answer))))
    })
}

fn grant_of_an_earlier_request(world: &World) -> Names {
    let earlier = world.ask(&world.release_request(world.setup(1)).1);
    let (challenged, request) = world.release_request(world.setup(1));
    world.ask(&request);
    one(&name(&world.finish(challenged, Some(earlier))))
}

fn lease_in_place_of_a_grant(world: &World) -> Names {
    world.boot(1).expect("it boots");
    let lease = world.ask(&world.renewal_request(1).1);
    let (challenged, request) = world.release_request(world.setup(2));
    world.ask(&request);
    one(&name(&world.finish(challenged, Some(lease))))
}

fn grant_that_never_comes(world: &World) -> Names {
    let (challenged, request) = world.release_request(world.setup(1));
    world.ask(&request);
    one(&name(&world.finish(challenged, None)))
}

/// A request that is denied: for an instance that nobody recorded.
fn refused_request(world: &World) -> (Challenged, Vec<u8>) {
    world.release_request(ReleaseSetup { instance: [9; 16].into(), ..world.setup(1) })
}

fn denial_changed(world: &World, mutate: Mutate) -> Names {
    each_anew(mutate, |change| {
        let (challenged, request) = refused_request(world);
        let answer = world.ask(&request);
        name(&world.finish(challenged, Some(change(&answer))))
    })
}

fn denial_of_an_earlier_request(world: &World) -> Names {
    let earlier = world.ask(&refused_request(world).1);
    let (challenged, request) = refused_request(world);
    world.ask(&request);
    one(&name(&world.finish(challenged, Some(earlier))))
}

/// The denial was another guest's.
fn denial_in_place_of_a_grant(world: &World) -> Names {
    let denial = world.ask(&refused_request(world).1);
    let (challenged, request) = world.release_request(world.setup(1));
    world.ask(&request);
    one(&name(&world.finish(challenged, Some(denial))))
}

fn denial_that_never_comes(world: &World) -> Names {
    let (challenged, request) = refused_request(world);
    world.ask(&request);
    one(&name(&world.finish(challenged, None)))
}

// The steps of a volume, and their receipts.

fn step_asked(world: &World, step: Step, mutate: Mutate) -> Names {
    let release = world.release(1).expect("granted");
    let stamp = next_stamp(&release, 1);
    if step == Step::Commit {
        world.step(&release, Step::Prepare, &stamp).expect("prepared");
    }
    let attempt = release.step(step, &data(), &stamp);
    let outcomes = each(mutate(&attempt.requests()[0].1), |changed| {
        let answer = world.ask(&changed);
        name(&attempt.finish(&[(world.seat(), heard(Some(answer)))]))
    });
    // None of them was taken for the step itself, and the step is as possible as before.
    assert_eq!(name(&world.step(&release, step, &stamp)), "granted");
    outcomes
}

fn prepared_twice(world: &World) -> Names {
    let release = world.release(1).expect("granted");
    let stamp = next_stamp(&release, 1);
    let prepare = || name(&world.step(&release, Step::Prepare, &stamp));
    Names::from([prepare(), prepare()])
}

fn prepared_behind_a_later_boot(world: &World) -> Names {
    let early = world.release(1).expect("granted");
    world.boot(2).expect("the later boot");
    one(&name(&world.step(&early, Step::Prepare, &next_stamp(&early, 1))))
}

fn prepared_after_the_seat_restarted(world: &World) -> Names {
    let release = world.release(1).expect("granted");
    world.restart();
    one(&name(&world.step(&release, Step::Prepare, &next_stamp(&release, 1))))
}

fn committed_twice(world: &World) -> Names {
    let (release, stamp) = world.boot(1).expect("it boots");
    one(&name(&world.step(&release, Step::Commit, &stamp)))
}

fn committed_before_it_is_prepared(world: &World) -> Names {
    let release = world.release(1).expect("granted");
    one(&name(&world.step(&release, Step::Commit, &next_stamp(&release, 1))))
}

fn committed_behind_a_later_boot(world: &World) -> Names {
    world.boot(1).expect("it boots");
    let slow = world.release(2).expect("granted");
    let stamp = next_stamp(&slow, 2);
    world.step(&slow, Step::Prepare, &stamp).expect("prepared");
    world.boot(3).expect("the later boot");
    one(&name(&world.step(&slow, Step::Commit, &stamp)))
}

fn receipt_changed(world: &World, step: Step, mutate: Mutate) -> Names {
    let release = world.release(1).expect("granted");
    let stamp = next_stamp(&release, 1);
    world.step(&release, Step::Prepare, &stamp).expect("prepared");
    let attempt = release.step(step, &data(), &stamp);
    let receipt = world.ask(&attempt.requests()[0].1);
    each(mutate(&receipt), |changed| name(&attempt.finish(&[(world.seat(), heard(Some(changed)))])))
}

fn receipt_of_an_earlier_boot(world: &World, step: Step) -> Names {
    let take = |boot| {
        let release = world.release(boot).expect("granted");
        let stamp = next_stamp(&release, boot);
        world.step(&release, Step::Prepare, &stamp).expect("prepared");
        let attempt = release.step(step, &data(), &stamp);
        let answer = world.ask(&attempt.requests()[0].1);
        (release, stamp, answer)
    };
    let (_, _, earlier) = take(1);
    let (release, stamp, _) = take(2);
    let attempt = release.step(step, &data(), &stamp);
    one(&name(&attempt.finish(&[(world.seat(), heard(Some(earlier)))])))
}

fn receipt_of_the_other_step(world: &World, step: Step) -> Names {
    let release = world.release(1).expect("granted");
    let stamp = next_stamp(&release, 1);
    let [prepared, committed] = [Step::Prepare, Step::Commit].map(|step| {
        let attempt = release.step(step, &data(), &stamp);
        world.ask(&attempt.requests()[0].1)
    });
    let other = if step == Step::Prepare { committed } else { prepared };
    let attempt = release.step(step, &data(), &stamp);
    one(&name(&attempt.finish(&[(world.seat(), heard(Some(other)))])))
}

fn receipt_that_never_comes(world: &World, step: Step) -> Names {
    let release = world.release(1).expect("granted");
    let stamp = next_stamp(&release, 1);
    world.step(&release, Step::Prepare, &stamp).expect("prepared");
    let attempt = release.step(step, &data(), &stamp);
    world.ask(&attempt.requests()[0].1);
    one(&name(&attempt.finish(&[(world.seat(), heard(None))])))
}

// Asking for a lease, and the lease.

fn lease_asked(world: &World, mutate: Mutate) -> Names {
    world.boot(1).expect("it boots");
    let (attempt, request) = world.renewal_request(1);
    each(mutate(&request), |changed| {
        let answer = world.ask(&changed);
        name(&attempt.finish(&[(world.seat(), heard(Some(answer)))]))
    })
}

fn lease_asked_twice(world: &World) -> Names {
    world.boot(1).expect("it boots");
    let (_, request) = world.renewal_request(1);
    world.ask(&request);
    one(&world.denied(&world.ask(&request)).unwrap_or_default())
}

fn lease_asked_late() -> Names {
    let world = impatient();
    let (attempt, request) = world.renewal_request(1);
    std::thread::sleep(EXPIRED);
    let answer = world.ask(&request);
    one(&name(&attempt.finish(&[(world.seat(), heard(Some(answer)))])))
}

fn lease_changed(world: &World, mutate: Mutate) -> Names {
    world.boot(1).expect("it boots");
    let (attempt, request) = world.renewal_request(1);
    let answer = world.ask(&request);
    each(mutate(&answer), |changed| name(&attempt.finish(&[(world.seat(), heard(Some(changed)))])))
}

/// What comes of a renewal that is given another answer in place of its own.
fn lease_given(world: &World, answer: impl Fn(&World) -> Option<Vec<u8>>) -> Names {
    world.boot(1).expect("it boots");
    let other = answer(world);
    let (attempt, request) = world.renewal_request(1);
    world.ask(&request);
    let renewed: Result<Renewed, GuestError> = attempt.finish(&[(world.seat(), heard(other))]);
    one(&name(&renewed))
}
