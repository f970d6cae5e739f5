//! What did a seat answer, and does it count?

use casemate_crypto::hash::Sha256;
use casemate_record::{Lease, LeaseHolder, Roster, Seat, Signed};

use super::{Denied, Invalid};
use crate::message::{SeatResponse, transcript};

/// What came back from a seat, as far as the relay let it.
#[derive(Debug, Clone)]
pub enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing in time.
    Silent,
}

/// An answer sorted, before its content is looked at.
pub(super) enum Sorted {
    Response(SeatResponse),
    Denied(Denied),
    Silent,
    Invalid(Invalid),
}

/// Parses an answer to `request` and recognises a signed denial of this very request.
pub(super) fn sort(seat: &Seat, request: &[u8], answer: &Answer) -> (Sha256, Sorted) {
    let transcript = transcript(&seat.signing, request);
    let Answer::Bytes(bytes) = answer else { return (transcript, Sorted::Silent) };
    let sorted = match SeatResponse::from_bytes(bytes) {
        Err(error) => Sorted::Invalid(error.into()),
        Ok(SeatResponse::Denied(signed)) => match signed.verify(&seat.signing) {
            Err(error) => Sorted::Invalid(error.into()),
            Ok(denial) if denial.transcript != transcript => Sorted::Invalid(Invalid::OtherTranscript),
            Ok(denial) => {
                Sorted::Denied(Denied { seat: seat.index, check: denial.check, found: denial.found })
            }
        },
        Ok(response) => Sorted::Response(response),
    };
    (transcript, sorted)
}

/// The lease in a seat's answer, if it is that seat's for this boot, from the time in the answer.
pub(super) fn check_lease(
    roster: &Roster,
    seat: &Seat,
    lease: &Signed<Lease>,
    holder: &LeaseHolder,
    time_ms: u64,
) -> Result<Lease, Invalid> {
    let lease = roster.check_lease(lease, holder)?;
    if lease.seat == seat.index && lease.begins_ms == time_ms {
        Ok(lease)
    } else {
        Err(Invalid::Shape { what: "the lease" })
    }
}

/// Collects answers until they are counted.
#[derive(Default)]
pub(super) struct Tally {
    pub denied: Vec<Denied>,
    pub silent: Vec<u8>,
    pub invalid: Vec<(u8, Invalid)>,
}

impl Tally {
    /// Notes everything but a response, which it hands back.
    pub fn note(&mut self, index: u8, sorted: Sorted) -> Option<SeatResponse> {
        match sorted {
            Sorted::Response(response) => return Some(response),
            Sorted::Denied(denied) => self.denied.push(denied),
            Sorted::Silent => self.silent.push(index),
            Sorted::Invalid(invalid) => self.invalid.push((index, invalid)),
        }
        None
    }

    pub fn too_few(self, granted: usize, needed: usize) -> super::GuestError {
        let Tally { denied, silent, invalid } = self;
        super::GuestError::TooFewGrants { granted, needed, denied, silent, invalid }
    }
}
