//! May this boot go on?

use std::collections::BTreeMap;

use casemate_crypto::{hash::Sha256, sign::PublicKey};
use casemate_evidence::ReportData;
use casemate_record::{AppId, BootId, InstanceId, Lease, LeaseHolder, Roster, Seat, Signed, WorkloadDigest};

use super::{
    Answer, GuestError, Invalid,
    answer::{Tally, check_lease, sort},
    attempt::take_challenge,
};
use crate::message::{RenewRequest, SeatChallenge, SeatRequest, SeatResponse};

/// Who renews.
#[derive(Debug, Clone)]
pub struct RenewalSetup {
    /// The verified roster.
    pub roster: Roster,
    /// The app that the manifest names.
    pub app_id: AppId,
    /// Digest of the manifest.
    pub workload_digest: WorkloadDigest,
    /// The instance.
    pub instance: InstanceId,
    /// This boot.
    pub boot_id: BootId,
}

/// A renewal under way: challenges first, then one report, then the requests.
#[derive(Debug)]
pub struct RenewalAttempt {
    setup: RenewalSetup,
    challenges: Vec<SeatChallenge>,
    sent: BTreeMap<PublicKey, Vec<u8>>,
}

/// A lease renewed by at least q seats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// The seats' clock: the lower median, Unix milliseconds.
    pub time_ms: u64,
    /// The shortest lease, in milliseconds from now.
    pub lease_ms: u64,
    /// The leases, one by each seat that renewed.
    pub leases: Vec<Signed<Lease>>,
}

impl RenewalAttempt {
    /// Begins a renewal.
    pub fn new(setup: RenewalSetup) -> Self {
        RenewalAttempt { setup, challenges: Vec::new(), sent: BTreeMap::new() }
    }

    /// What to send to every seat first.
    pub fn challenge_request(&self) -> Vec<u8> {
        SeatRequest::Challenge.to_bytes()
    }

    /// Takes a seat's answer to it.
    ///
    /// # Errors
    /// As [`super::ReleaseAttempt::add_challenge`].
    pub fn add_challenge(&mut self, seat: &PublicKey, reply: &[u8]) -> Result<(), GuestError> {
        take_challenge(&self.setup.roster, &mut self.challenges, seat, reply)
    }

    /// What the hardware must sign.
    ///
    /// # Errors
    /// [`GuestError::TooFewChallenges`] below q.
    pub fn report_data(&self) -> Result<ReportData, GuestError> {
        let needed = usize::from(self.setup.roster.quorum);
        if self.challenges.len() < needed {
            return Err(GuestError::TooFewChallenges { found: self.challenges.len(), needed });
        }
        Ok(self.request(&[]).report_data())
    }

    /// One request per seat that sent a challenge.
    pub fn requests(&mut self, evidence: &[u8]) -> Vec<(PublicKey, Vec<u8>)> {
        let bytes = SeatRequest::Renew(self.request(evidence)).to_bytes();
        self.sent = self.challenges.iter().map(|asked| (asked.seat, bytes.clone())).collect();
        self.sent.clone().into_iter().collect()
    }

    /// Whether at least q seats renewed the lease.
    ///
    /// # Errors
    /// [`GuestError::TooFewGrants`]; a denial with check `boot.superseded` means that a newer boot of
    /// the instance has taken over: stop at once.
    pub fn finish(&self, answers: &[(PublicKey, Answer)]) -> Result<Renewed, GuestError> {
        let roster = &self.setup.roster;
        let mut tally = Tally::default();
        let mut renewed = Vec::new();
        for (seat, request) in &self.sent {
            let seat = roster.seat(seat).expect("only seats of the roster are asked");
            let answer =
                answers.iter().find(|(from, _)| *from == seat.signing).map_or(&Answer::Silent, |(_, a)| a);
            let (transcript, sorted) = sort(seat, request, answer);
            let Some(response) = tally.note(seat.index, sorted) else { continue };
            match self.check(seat, &transcript, response) {
                Ok(found) => renewed.push(found),
                Err(invalid) => tally.invalid.push((seat.index, invalid)),
            }
        }
        let needed = usize::from(roster.quorum);
        if renewed.len() < needed {
            return Err(tally.too_few(renewed.len(), needed));
        }
        let mut times: Vec<u64> = renewed.iter().map(|(lease, _)| lease.begins_ms).collect();
        times.sort_unstable();
        let lease_ms = renewed.iter().map(|(lease, _)| lease.length_ms()).min().unwrap_or(0);
        let leases = renewed.into_iter().map(|(_, signed)| signed).collect();
        Ok(Renewed { time_ms: times[(times.len() - 1) / 2], lease_ms, leases })
    }

    fn check(
        &self,
        seat: &Seat,
        transcript: &Sha256,
        response: SeatResponse,
    ) -> Result<(Lease, Signed<Lease>), Invalid> {
        let SeatResponse::Renewed(signed) = response else { return Err(Invalid::OtherKind) };
        let renewal = signed.verify(&seat.signing)?;
        if renewal.transcript != *transcript {
            return Err(Invalid::OtherTranscript);
        }
        let RenewalSetup { roster, app_id, workload_digest, instance, boot_id } = &self.setup;
        let holder = LeaseHolder {
            app_id: *app_id,
            workload_digest: *workload_digest,
            instance: *instance,
            boot_id: *boot_id,
        };
        let lease = check_lease(roster, seat, &renewal.lease, &holder, renewal.time_ms)?;
        Ok((lease, renewal.lease))
    }

    fn request(&self, evidence: &[u8]) -> RenewRequest {
        RenewRequest {
            roster_digest: self.setup.roster.digest(),
            challenges: self.challenges.clone(),
            app_id: self.setup.app_id,
            workload_digest: self.setup.workload_digest,
            instance: self.setup.instance,
            boot_id: self.setup.boot_id,
            evidence: evidence.to_vec().into(),
        }
    }
}
