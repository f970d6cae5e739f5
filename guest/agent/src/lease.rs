//! May this boot go on?
//!
//! The seats lease the instance to one boot at a time. At half of each lease the guest shows fresh
//! evidence and asks for another; it stops when the lease has run out or when the seats say that a
//! newer boot has taken over. Time is the guest's own uptime, which the host cannot set back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate_release::guest::{Answer, GuestError, RenewalAttempt, RenewalSetup};
use casemate_transport::{Destination, Peer};

use crate::evidence;
use crate::workload::Workload;

/// When the lease ends, for whoever has to stop then.
#[derive(Debug)]
pub struct Lease {
    begun_ms: AtomicU64,
    length_ms: AtomicU64,
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
}

impl Lease {
    /// A lease of `length_ms` milliseconds from the uptime `begun_ms`.
    pub fn new(begun_ms: u64, length_ms: u64) -> Self {
        Lease { begun_ms: begun_ms.into(), length_ms: length_ms.into() }
    }

    /// Uptime at which the workload must have stopped, in milliseconds.
    pub fn ends_ms(&self) -> u64 {
        self.begun_ms.load(Ordering::Acquire).saturating_add(self.length_ms.load(Ordering::Acquire))
    }

    /// Uptime at which to ask for the next, in milliseconds.
    pub fn renewal_ms(&self) -> u64 {
        self.begun_ms.load(Ordering::Acquire).saturating_add(self.length_ms.load(Ordering::Acquire) / 2)
    }

    /// How long to wait after a renewal that failed, in milliseconds.
    pub fn retry_ms(&self) -> u64 {
        (self.length_ms.load(Ordering::Acquire) / RETRIES).clamp(SHORTEST_RETRY_MS, LONGEST_RETRY_MS)
    }

    /// Takes a renewal of `length_ms` that was asked for at uptime `asked_ms`: it counts from the
    /// question, since the answer may have been held back.
    pub fn renewed(&self, asked_ms: u64, length_ms: u64) {
        self.begun_ms.store(asked_ms, Ordering::Release);
        self.length_ms.store(length_ms, Ordering::Release);
    }
}

/// Asks the seats for another lease, with fresh evidence; milliseconds from when this was called.
///
/// # Errors
/// [`Error`]; see [`is_superseded`].
pub fn renew(workload: &Workload, relay: &Peer) -> Result<u64, Error> {
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
    Ok(attempt.finish(&answers)?.lease_ms)
}

/// Whether more seats than may lie say that a newer boot has taken over.
pub fn is_superseded(error: &Error, faulty: u8) -> bool {
    let Error::Seats(GuestError::TooFewGrants { denied, .. }) = error else { return false };
    denied.iter().filter(|denied| denied.check == SUPERSEDED).count() > usize::from(faulty)
}

type Asked = (casemate_crypto::sign::PublicKey, Vec<u8>);

/// Sends each request to its seat, all at the same time.
fn ask_all(relay: &Peer, requests: Vec<Asked>) -> Vec<(casemate_crypto::sign::PublicKey, Answer)> {
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

#[cfg(test)]
mod tests {
    use casemate_release::guest::Denied;

    use super::*;

    #[test]
    fn a_lease_is_renewed_at_its_half_and_counts_from_the_question() {
        let lease = Lease::new(10_000, 600_000);
        assert_eq!((lease.renewal_ms(), lease.ends_ms(), lease.retry_ms()), (310_000, 610_000, 37_500));
        lease.renewed(310_000, 300_000);
        assert_eq!((lease.renewal_ms(), lease.ends_ms(), lease.retry_ms()), (460_000, 610_000, 18_750));
    }

    #[test]
    fn a_lease_of_no_length_has_ended() {
        let lease = Lease::new(10_000, 0);
        assert_eq!((lease.ends_ms(), lease.retry_ms()), (10_000, SHORTEST_RETRY_MS));
        assert_eq!(Lease::new(u64::MAX, u64::MAX).ends_ms(), u64::MAX);
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
