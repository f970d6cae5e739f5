//! May this boot go on?
//!
//! The seats lease the instance to one boot at a time. At half of each lease the guest shows fresh
//! evidence and asks for another; it stops when the lease has run out or when the seats say that a
//! newer boot has taken over. Time is the guest's own uptime, which the host cannot set back.
//!
//! A host can pause a guest. Where uptime goes on meanwhile, the jump is noticed and nothing is answered
//! before the seats were asked again. Where it does not, the guest cannot know: whoever asks for evidence
//! compares the signed end of the lease with a clock of its own, and what an owner sends in is carried out
//! only after the seats have renewed the lease since it came ([`Keeper::confirm`]).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use casemate_guest_sys::clock;
use casemate_record::{Lease as SignedLease, Signed};
use casemate_release::guest::{Answer, GuestError, RenewalAttempt, RenewalSetup, Renewed};
use casemate_transport::{Destination, Peer};

use crate::evidence;
use crate::workload::Workload;

/// When the lease ends, for whoever has to stop then, and what the seats signed.
#[derive(Debug)]
pub struct Lease(Mutex<State>);

#[derive(Debug)]
struct State {
    begun_ms: u64,
    length_ms: u64,
    signed: Vec<Signed<SignedLease>>,
    /// Uptime when somebody looked last.
    looked_ms: u64,
    /// Jumps of the clock noticed, and those before the newest renewal that succeeded was asked for.
    jumps: u64,
    settled_jumps: u64,
    /// The lease ran out, and somebody was told.
    lapsed: bool,
    /// Renewals begun, and the newest of them that succeeded.
    begun: u64,
    succeeded: u64,
}

/// A lease that runs, as the seats signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// When the first of them ends by its seat's clock, Unix milliseconds.
    pub ends_ms: u64,
    /// Each as its seat encoded it.
    pub signed: Vec<Vec<u8>>,
}

/// A renewal that was begun.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    number: u64,
    at_ms: u64,
    jumps: u64,
}

/// Why a renewal did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The seats did not grant it.
    #[error(transparent)]
    Seats(#[from] GuestError),
    /// The platform gave no evidence.
    #[error(transparent)]
    Evidence(#[from] evidence::Error),
    /// There is no way to the seats yet.
    #[error("the relay is not open yet; ask again")]
    NoRelay,
}

impl Lease {
    /// A lease of `length_ms` milliseconds from the uptime `begun_ms`, which is not after `now_ms`.
    pub fn new(begun_ms: u64, length_ms: u64, signed: Vec<Signed<SignedLease>>, now_ms: u64) -> Self {
        Lease(Mutex::new(State {
            begun_ms,
            length_ms,
            signed,
            looked_ms: now_ms,
            jumps: 0,
            settled_jumps: 0,
            lapsed: false,
            begun: 0,
            succeeded: 0,
        }))
    }

    /// Uptime at which the workload must have stopped, in milliseconds; never, once [`Lease::lapse`] told.
    pub fn ends_ms(&self) -> u64 {
        let state = self.state();
        if state.lapsed { u64::MAX } else { state.ends_ms() }
    }

    /// Uptime at which to ask for the next, in milliseconds: at once after a jump.
    pub fn renewal_ms(&self) -> u64 {
        let state = self.state();
        if state.has_jumped() { 0 } else { state.begun_ms.saturating_add(state.length_ms / 2) }
    }

    /// How long to wait after a renewal that failed, in milliseconds.
    pub fn retry_ms(&self) -> u64 {
        (self.state().length_ms / RETRIES).clamp(SHORTEST_RETRY_MS, LONGEST_RETRY_MS)
    }

    /// Notes how far the clock has come. More than ten seconds since anyone looked, though somebody looks
    /// each second, are a pause.
    pub fn look(&self, now_ms: u64) {
        self.state().look(now_ms);
    }

    /// By how many milliseconds the lease has run out, told once: stopping takes its time without another
    /// word. A lease that ran out does not come back.
    pub fn lapse(&self, now_ms: u64) -> Option<u64> {
        let mut state = self.state();
        if state.lapsed || now_ms < state.ends_ms() {
            return None;
        }
        state.lapsed = true;
        Some(now_ms - state.ends_ms())
    }

    /// What to show of it now: nothing once it has run out, and nothing after a jump until the seats have
    /// renewed it.
    pub fn held(&self, now_ms: u64) -> Option<Held> {
        let mut state = self.state();
        state.look(now_ms);
        if state.lapsed || state.has_jumped() || now_ms >= state.ends_ms() {
            return None;
        }
        let ends = state.signed.iter().map(|lease| lease.claimed().map_or(0, |lease| lease.ends_ms));
        let signed = state.signed.iter().map(Signed::to_bytes).collect();
        Some(Held { ends_ms: ends.min()?, signed })
    }

    /// Begins a renewal.
    pub fn ask(&self, now_ms: u64) -> Asked {
        let mut state = self.state();
        state.look(now_ms);
        state.begun += 1;
        Asked { number: state.begun, at_ms: now_ms, jumps: state.jumps }
    }

    /// Takes what was granted: it counts from the question, since the answer may have been held back.
    /// A jump between the two stays noted.
    pub fn renewed(&self, asked: Asked, renewed: Renewed, now_ms: u64) {
        let mut state = self.state();
        state.look(now_ms);
        state.settled_jumps = asked.jumps;
        state.begun_ms = asked.at_ms;
        state.length_ms = renewed.lease_ms;
        state.signed = renewed.leases;
        state.succeeded = asked.number;
    }

    /// Renewals begun so far.
    fn begun(&self) -> u64 {
        self.state().begun
    }

    /// Whether a renewal succeeded that was begun after `number` others.
    fn has_renewed_since(&self, number: u64) -> bool {
        self.state().succeeded > number
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ends_ms(&self) -> u64 {
        self.begun_ms.saturating_add(self.length_ms)
    }

    fn look(&mut self, now_ms: u64) {
        self.jumps += u64::from(now_ms.saturating_sub(self.looked_ms) > JUMP_MS);
        self.looked_ms = self.looked_ms.max(now_ms);
    }

    fn has_jumped(&self) -> bool {
        self.jumps > self.settled_jumps
    }
}

/// Renews the lease, one renewal at a time.
pub struct Keeper {
    lease: Arc<Lease>,
    workload: Arc<Workload>,
    relay: OnceLock<Peer>,
    turn: Mutex<()>,
}

impl Keeper {
    /// Cannot reach the seats before [`Keeper::reach_by`].
    pub fn new(lease: Arc<Lease>, workload: Arc<Workload>) -> Self {
        Keeper { lease, workload, relay: OnceLock::new(), turn: Mutex::new(()) }
    }

    /// Gives it the way to the seats, once.
    pub fn reach_by(&self, relay: Peer) {
        let _ = self.relay.set(relay);
    }

    /// The lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Renews the lease with evidence made now.
    ///
    /// # Errors
    /// [`Error`]; see [`is_superseded`].
    pub fn renew(&self) -> Result<(), Error> {
        let turn = self.turn();
        self.renew_in_turn(&turn)
    }

    /// Has the seats say that this boot may go on, after this was called: no clock of this guest is asked.
    ///
    /// # Errors
    /// [`Error`]; see [`is_superseded`].
    pub fn confirm(&self) -> Result<(), Error> {
        let begun = self.lease.begun();
        let turn = self.turn();
        if self.lease.has_renewed_since(begun) {
            return Ok(());
        }
        self.renew_in_turn(&turn)
    }

    fn renew_in_turn(&self, _: &MutexGuard<'_, ()>) -> Result<(), Error> {
        let relay = self.relay.get().ok_or(Error::NoRelay)?;
        let asked = self.lease.ask(clock::uptime_ms());
        let renewed = renew(&self.workload, relay)?;
        follow_clock(renewed.time_ms);
        self.lease.renewed(asked, renewed, clock::uptime_ms());
        Ok(())
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether more seats than may lie say that a newer boot has taken over.
pub fn is_superseded(error: &Error, faulty: u8) -> bool {
    let Error::Seats(GuestError::TooFewGrants { denied, .. }) = error else { return false };
    denied.iter().filter(|denied| denied.check == SUPERSEDED).count() > usize::from(faulty)
}

/// Asks the seats for another lease, with fresh evidence.
fn renew(workload: &Workload, relay: &Peer) -> Result<Renewed, Error> {
    let mut attempt = RenewalAttempt::new(RenewalSetup {
        roster: workload.roster.clone(),
        app_id: workload.manifest.app_id,
        workload_digest: workload.digest,
        instance: workload.instance,
        boot_id: workload.boot_id,
    });
    let question = attempt.challenge_request();
    let seats = workload.roster.seats.iter().map(|seat| (seat.signing, question.clone()));
    for (seat, answer) in ask_all(relay, seats.collect()) {
        if let Answer::Bytes(reply) = answer {
            // A seat that answers something else is one seat fewer; the quorum is counted below.
            let _ = attempt.add_challenge(&seat, &reply);
        }
    }
    let bundle = evidence::collect(&attempt.report_data()?, vec![])?;
    let answers = ask_all(relay, attempt.requests(&bundle));
    Ok(attempt.finish(&answers)?)
}

/// Sets the system clock forward if it is behind the seats' time: that time has passed, whatever a paused
/// clock says. It is never set back.
fn follow_clock(seats_ms: u64) {
    if clock::now_ms() < seats_ms {
        // A clock that stays behind shortens nothing: leases are counted in uptime.
        let _ = clock::set(seats_ms);
    }
}

type Call = (casemate_crypto::sign::PublicKey, Vec<u8>);

/// Sends each request to its seat, all at the same time.
fn ask_all(relay: &Peer, requests: Vec<Call>) -> Vec<(casemate_crypto::sign::PublicKey, Answer)> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = requests
            .into_iter()
            .map(|(seat, request)| {
                (seat, scope.spawn(move || relay.call(Destination::Seat(seat), request, PATIENCE)))
            })
            .collect();
        let answer = |(seat, thread): (_, std::thread::ScopedJoinHandle<'_, Result<Vec<u8>, _>>)| {
            let reply = thread.join().ok().and_then(Result::ok);
            (seat, reply.map_or(Answer::Silent, Answer::Bytes))
        };
        asked.into_iter().map(answer).collect()
    })
}

/// The check that a seat names when a newer boot has taken over.
const SUPERSEDED: &str = "boot.superseded";
const PATIENCE: Duration = Duration::from_secs(10);
const RETRIES: u64 = 16;
const SHORTEST_RETRY_MS: u64 = 1_000;
const LONGEST_RETRY_MS: u64 = 60_000;
/// A guest that is only slow looks at its clock more often than this.
const JUMP_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use casemate_crypto::sign::SigningKey;
    use casemate_release::guest::Denied;

    use super::*;

    fn signed(ends_ms: u64) -> Signed<SignedLease> {
        let lease = SignedLease {
            kms_id: [1; 32].into(),
            roster_digest: [2; 32].into(),
            key_epoch: 1,
            seat: 1,
            app_id: [3; 32].into(),
            workload_digest: [4; 32].into(),
            instance: [5; 16].into(),
            boot_id: [6; 16].into(),
            begins_ms: 1,
            ends_ms,
        };
        Signed::sign(&SigningKey::from_bytes(&[9; 32]).unwrap(), &lease)
    }

    fn renewed(lease_ms: u64) -> Renewed {
        Renewed { time_ms: 7, lease_ms, leases: vec![signed(900), signed(800)] }
    }

    #[test]
    fn a_lease_is_renewed_at_its_half_and_counts_from_the_question() {
        let lease = Lease::new(10_000, 600_000, vec![signed(1)], 12_000);
        assert_eq!((lease.renewal_ms(), lease.ends_ms(), lease.retry_ms()), (310_000, 610_000, 37_500));
        (12..310).for_each(|second| lease.look(second * 1000));
        let asked = lease.ask(310_000);
        lease.renewed(asked, renewed(300_000), 312_000);
        assert_eq!((lease.renewal_ms(), lease.ends_ms(), lease.retry_ms()), (460_000, 610_000, 18_750));
        assert_eq!(lease.held(312_000).unwrap().ends_ms, 800, "the seats' own word, the first to end");
    }

    #[test]
    fn a_lease_of_no_length_has_ended() {
        let lease = Lease::new(10_000, 0, vec![signed(1)], 10_000);
        assert_eq!((lease.ends_ms(), lease.retry_ms()), (10_000, SHORTEST_RETRY_MS));
        assert_eq!(lease.held(10_000), None);
        assert_eq!(Lease::new(u64::MAX, u64::MAX, vec![], 0).ends_ms(), u64::MAX);
    }

    #[test]
    fn a_lease_that_ran_out_is_told_once_and_does_not_come_back() {
        let lease = Lease::new(0, 5_000, vec![signed(1)], 0);
        assert_eq!(lease.lapse(4_999), None);
        assert!(lease.held(4_999).is_some());
        assert_eq!(lease.held(5_000), None, "before anyone was told");
        let asked = lease.ask(4_999);
        assert_eq!((lease.lapse(5_300), lease.lapse(5_400)), (Some(300), None));
        lease.renewed(asked, renewed(60_000), 5_500);
        assert_eq!(lease.held(5_500), None, "a late answer revives nothing");
    }

    #[test]
    fn after_a_jump_nothing_is_shown_until_the_seats_were_asked() {
        let lease = Lease::new(0, 600_000, vec![signed(1)], 0);
        lease.look(10_000);
        assert!(lease.held(20_000).is_some(), "slow, not paused");
        assert_eq!(lease.held(30_001), None);
        assert_eq!(lease.held(30_002), None, "looking again does not mend it");
        assert_eq!(lease.renewal_ms(), 0);
        let asked = lease.ask(30_003);
        assert_eq!(lease.held(30_004), None, "asked, not answered");
        lease.renewed(asked, renewed(600_000), 31_000);
        assert!(lease.held(31_000).is_some());
        assert_eq!(lease.renewal_ms(), 330_003);
    }

    #[test]
    fn a_jump_while_the_answer_was_held_back_stays_noted() {
        let lease = Lease::new(0, 600_000, vec![signed(1)], 0);
        let asked = lease.ask(1_000);
        lease.renewed(asked, renewed(600_000), 60_000);
        assert_eq!(lease.held(60_000), None);
        let asked = lease.ask(61_000);
        lease.look(90_000);
        lease.look(91_000);
        lease.renewed(asked, renewed(600_000), 91_500);
        assert_eq!(lease.held(91_500), None, "noticed by another thread");
        let asked = lease.ask(92_000);
        lease.renewed(asked, renewed(600_000), 92_500);
        assert!(lease.held(92_500).is_some());
    }

    #[test]
    fn only_a_renewal_begun_later_confirms() {
        let lease = Lease::new(0, 600_000, vec![signed(1)], 0);
        let early = lease.ask(1);
        let before_the_order = lease.begun();
        lease.renewed(early, renewed(600_000), 2);
        assert!(!lease.has_renewed_since(before_the_order));
        let late = lease.ask(2);
        assert!(!lease.has_renewed_since(before_the_order), "begun is not granted");
        lease.renewed(late, renewed(600_000), 2);
        assert!(lease.has_renewed_since(before_the_order));
    }

    #[test]
    fn as_many_seats_as_may_lie_do_not_stop_a_guest() {
        let denied = |count: u8, check: &str| {
            let denied = (0..count).map(|seat| Denied { seat, check: check.into(), found: String::new() });
            let (silent, invalid) = (vec![], vec![]);
            Error::Seats(GuestError::TooFewGrants {
                granted: 0,
                needed: 4,
                denied: denied.collect(),
                silent,
                invalid,
            })
        };
        assert!(is_superseded(&denied(1, SUPERSEDED), 0));
        assert!(!is_superseded(&denied(2, SUPERSEDED), 2));
        assert!(is_superseded(&denied(3, SUPERSEDED), 2));
        assert!(!is_superseded(&denied(3, "policy.tcb"), 0));
    }
}
