//! Does this seat give its part?
//!
//! Pure decisions: the service around it parses bytes, appraises evidence, keeps state and clock, and
//! carries out what is decided here. [`Seat::new`] refuses secrets that the birth record does not commit
//! to, so that no seat answers with others.

mod refusal;
mod release;
mod step;

use casemate_crypto::{
    hash::Sha256,
    seal::SealingKey,
    secret::Secret,
    sign::{PublicKey, SigningKey},
};
use casemate_evidence::ReportData;
use casemate_record::{
    AppId, Birth, BootId, InstanceId, Lease, LeaseHolder, PolicyDigest, Roster, Signed, SubmissionReceipt,
    SubmissionRequest, Taken, VolumeName, WorkloadDigest,
};
use casemate_verify::{Accepted, Code, TrustClass};
use rand_core::CryptoRng;

use crate::{
    challenge::{Challenge, ChallengeKeeper},
    derive::{DeriveError, SubsetSecrets},
    message::{ChallengeReply, Denial, SeatChallenge, SeatResponse},
};
pub use refusal::Refusal;
pub use release::{Decision, ReleaseFacts};
pub use step::StepFacts;

/// A seat: who it is, and what it holds.
#[derive(Debug)]
pub struct Seat {
    roster: Roster,
    roster_digest: Sha256,
    index: u8,
    signing: SigningKey,
    sealing: SealingKey,
    secrets: SubsetSecrets,
}

/// Why a seat cannot begin to answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeatError {
    /// The roster does not name this seat.
    #[error("the roster has no seat with this signing key; were keys of another seat restored?")]
    NotInRoster,
    /// The roster names another sealing key.
    #[error("the roster names another sealing key for this seat; restore the keys that belong together")]
    SealingKey,
    /// The secrets are not those of the birth record.
    #[error(transparent)]
    Secrets(#[from] DeriveError),
}

/// What two accepted appraisals say about a guest: the owner's policy's and the seat's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attested {
    trust_class: TrustClass,
    workload_digest: WorkloadDigest,
    report_data: ReportData,
    owner_policy: PolicyDigest,
}

impl Attested {
    /// Takes the same evidence accepted twice; nothing less makes this type.
    ///
    /// # Errors
    /// [`Refusal::TrustClass`] if the policies anchor it differently, [`Refusal::ReportData`] if it is
    /// not the same evidence.
    pub fn new(owner: &Accepted, floor: &Accepted) -> Result<Self, Refusal> {
        if owner.trust_class() != floor.trust_class() {
            return Err(Refusal::TrustClass { found: owner.trust_class() });
        }
        if owner.evidence_digest() != floor.evidence_digest() {
            return Err(Refusal::ReportData);
        }
        let workload_digest = owner.workload_digest().ok_or_else(|| Refusal::Evidence {
            check: Code::ExpectedWorkload.as_str().to_owned(),
            found: "no workload digest".to_owned(),
        })?;
        Ok(Attested {
            trust_class: owner.trust_class(),
            workload_digest,
            report_data: owner.report_data().ok_or(Refusal::ReportData)?,
            owner_policy: owner.verdict().policy_digest(),
        })
    }

    /// What stands behind the evidence.
    pub fn trust_class(&self) -> TrustClass {
        self.trust_class
    }
}

/// How a boot stands among the boots of its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootStanding {
    /// No newer boot has committed.
    Open,
    /// A boot that was granted later has committed; this one must stop.
    Superseded {
        /// The boot that took over.
        by: BootId,
    },
}

/// What a seat remembers of a grant, in memory only.
#[derive(Debug, Clone)]
pub struct SeatSession {
    /// Shared with the guest.
    pub secret: Secret<32>,
    /// The app.
    pub app_id: AppId,
    /// The instance.
    pub instance: InstanceId,
    /// The boot.
    pub boot_id: BootId,
    /// What it runs, by its evidence.
    pub workload_digest: WorkloadDigest,
    /// The owner's policy that its evidence met.
    pub owner_policy: PolicyDigest,
    /// The volumes whose keys were given.
    pub volumes: Vec<VolumeName>,
}

impl Seat {
    /// Takes up the seat that `signing` has in `roster`.
    ///
    /// # Errors
    /// [`SeatError`], by check.
    pub fn new(
        roster: Roster,
        birth: &Birth,
        signing: SigningKey,
        sealing: SealingKey,
        secrets: SubsetSecrets,
    ) -> Result<Self, SeatError> {
        let seat = roster.seat(&signing.public()).ok_or(SeatError::NotInRoster)?;
        if seat.sealing != sealing.public() {
            return Err(SeatError::SealingKey);
        }
        let index = seat.index;
        secrets.check(birth, index)?;
        Ok(Seat { roster_digest: roster.digest(), roster, index, signing, sealing, secrets })
    }

    /// The seat's name.
    pub fn public(&self) -> PublicKey {
        self.signing.public()
    }

    /// Its index in the roster.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// The roster that it goes by.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Answers the wish for a challenge.
    pub fn challenge(&self, keeper: &ChallengeKeeper, rng: &mut impl CryptoRng, now_ms: u64) -> SeatResponse {
        let challenge = keeper.issue(rng, now_ms);
        SeatResponse::Challenge(ChallengeReply { challenge, roster_digest: self.roster_digest })
    }

    /// Says that a submission is on this seat's disk, and what is true since. Not before it is.
    pub fn receipt(
        &self,
        request: &SubmissionRequest,
        taken: Taken,
        now_ms: u64,
    ) -> Signed<SubmissionReceipt> {
        let receipt = SubmissionReceipt {
            kms_id: self.roster.kms_id,
            roster_digest: self.roster_digest,
            seat: self.index,
            nonce: request.nonce,
            submission_digest: request.submission.digest(),
            taken,
            time_ms: now_ms,
        };
        Signed::sign(&self.signing, &receipt)
    }

    /// Says no to the request with this transcript: the check and what was found, signed.
    pub fn deny(&self, transcript: Sha256, refusal: &Refusal, now_ms: u64) -> SeatResponse {
        let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let denial = Denial {
            transcript,
            time_ms: now_ms,
            check: cut(refusal.check(), 64),
            found: cut(&refusal.found(), 256),
        };
        SeatResponse::Denied(Signed::sign(&self.signing, &denial))
    }

    /// Leases an instance to a boot for `length_ms` milliseconds from now.
    fn lease(&self, holder: &LeaseHolder, now_ms: u64, length_ms: u64) -> Signed<Lease> {
        let LeaseHolder { app_id, workload_digest, instance, boot_id } = *holder;
        let lease = Lease {
            kms_id: self.roster.kms_id,
            roster_digest: self.roster_digest,
            key_epoch: self.roster.key_epoch,
            seat: self.index,
            app_id,
            workload_digest,
            instance,
            boot_id,
            begins_ms: now_ms,
            ends_ms: now_ms.saturating_add(length_ms),
        };
        Signed::sign(&self.signing, &lease)
    }

    /// Uses up this seat's challenge in a request's list; tells when it was made.
    fn redeem(
        &self,
        keeper: &mut ChallengeKeeper,
        roster_digest: &Sha256,
        challenges: &[SeatChallenge],
        now_ms: u64,
    ) -> Result<u64, Refusal> {
        if *roster_digest != self.roster_digest {
            return Err(Refusal::OtherRoster { found: *roster_digest });
        }
        let ordered = challenges.windows(2).all(|pair| pair[0].seat < pair[1].seat);
        if !ordered || challenges.len() > self.roster.seats.len() {
            return Err(Refusal::ChallengeList { found: challenges.len() });
        }
        let own = self.public();
        let mine: Option<&Challenge> =
            challenges.iter().find(|entry| entry.seat == own).map(|entry| &entry.challenge);
        Ok(keeper.redeem(mine.ok_or(Refusal::ChallengeMissing)?, now_ms)?)
    }
}
