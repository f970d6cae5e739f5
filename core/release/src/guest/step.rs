//! Did enough seats take this stamp?

use casemate_crypto::sign::PublicKey;
use casemate_record::{Seat, Stamp, VolumeName};

use super::{
    Answer, GuestError, Invalid, Release,
    answer::{Tally, sort},
};
use crate::{
    message::{SeatRequest, SeatResponse, Step},
    session::volume_step,
};

/// One step of one volume at all seats that granted.
#[derive(Debug)]
pub struct StepAttempt<'a> {
    release: &'a Release,
    step: Step,
    volume: VolumeName,
    stamp: Stamp,
    sent: Vec<(PublicKey, Vec<u8>)>,
}

impl Release {
    /// Begins to prepare or commit `stamp` for `volume`.
    pub fn step(&self, step: Step, volume: &VolumeName, stamp: &Stamp) -> StepAttempt<'_> {
        let request = |session: &super::finish::SeatSession| {
            let message = volume_step(session.session.secret(), session.transcript, step, volume, stamp);
            let request = match step {
                Step::Prepare => SeatRequest::Prepare(message),
                Step::Commit => SeatRequest::Commit(message),
            };
            (session.seat, request.to_bytes())
        };
        let sent = self.sessions.iter().map(request).collect();
        StepAttempt { release: self, step, volume: volume.clone(), stamp: *stamp, sent }
    }
}

impl StepAttempt<'_> {
    /// What to send, and to whom. Sending it again is harmless.
    pub fn requests(&self) -> &[(PublicKey, Vec<u8>)] {
        &self.sent
    }

    /// Whether at least q seats signed that they took the step.
    ///
    /// # Errors
    /// [`GuestError::TooFewGrants`].
    pub fn finish(&self, answers: &[(PublicKey, Answer)]) -> Result<(), GuestError> {
        let roster = &self.release.roster;
        let mut tally = Tally::default();
        let mut taken = 0;
        for (seat, request) in &self.sent {
            let seat = roster.seat(seat).expect("only seats of the roster grant");
            let answer =
                answers.iter().find(|(from, _)| *from == seat.signing).map_or(&Answer::Silent, |(_, a)| a);
            let (transcript, sorted) = sort(seat, request, answer);
            let Some(response) = tally.note(seat.index, sorted) else { continue };
            match self.check(seat, &transcript, response) {
                Ok(()) => taken += 1,
                Err(invalid) => tally.invalid.push((seat.index, invalid)),
            }
        }
        let needed = usize::from(roster.quorum);
        if taken < needed { Err(tally.too_few(taken, needed)) } else { Ok(()) }
    }

    fn check(
        &self,
        seat: &Seat,
        transcript: &casemate_crypto::hash::Sha256,
        response: SeatResponse,
    ) -> Result<(), Invalid> {
        let signed = match (self.step, response) {
            (Step::Prepare, SeatResponse::Prepared(signed))
            | (Step::Commit, SeatResponse::Committed(signed)) => signed,
            _ => return Err(Invalid::OtherKind),
        };
        let receipt = signed.verify(&seat.signing)?;
        if receipt.transcript != *transcript {
            return Err(Invalid::OtherTranscript);
        }
        let same = receipt.step == self.step && receipt.volume == self.volume && receipt.stamp == self.stamp;
        if same { Ok(()) } else { Err(Invalid::Shape { what: "the step" }) }
    }
}
