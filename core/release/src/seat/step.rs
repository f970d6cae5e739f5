//! May this boot stamp its volume, and may it go on?

use casemate_crypto::hash::Sha256;
use casemate_record::{
    AppId, AuthorityRecord, BootId, Genesis, InstanceId, InstanceRecord, LeaseHolder, PolicyDigest, Signed,
    WorkloadDigest,
};
use casemate_volume::VolumeState;

use super::{Attested, BootStanding, Refusal, ReleaseFacts, Seat, SeatSession};
use crate::{
    challenge::ChallengeKeeper,
    message::{Receipt, RenewRequest, Renewal, SeatResponse, Step, VolumeStep},
    session::verify_volume_step,
};

/// What the seat's storage knows about a step.
#[derive(Debug, Clone)]
pub struct StepFacts {
    /// The app's newest authority record.
    pub authority: Option<AuthorityRecord>,
    /// How the boot stands.
    pub boot: BootStanding,
    /// The volume.
    pub volume: VolumeState,
}

impl Seat {
    /// Refuses a step that is not authentic for its session, before storage is asked.
    ///
    /// # Errors
    /// [`Refusal::SessionUnknown`], [`Refusal::StepMac`], [`Refusal::VolumeNotGranted`].
    pub fn check_step<'a>(
        &self,
        session: Option<&'a SeatSession>,
        step: Step,
        request: &VolumeStep,
    ) -> Result<&'a SeatSession, Refusal> {
        let session = session.ok_or(Refusal::SessionUnknown { found: request.session })?;
        if !verify_volume_step(&session.secret, step, request) {
            return Err(Refusal::StepMac);
        }
        if !session.volumes.contains(&request.volume) {
            return Err(Refusal::VolumeNotGranted { volume: request.volume.clone() });
        }
        Ok(session)
    }

    /// Decides about an authentic step: the state to store first, and the answer to send then. A commit
    /// makes the boot the current one of its instance. What the owner has not allowed any more since the grant
    /// stamps nothing.
    ///
    /// # Errors
    /// [`Refusal::AuthorityMissing`], [`Refusal::WorkloadNotAuthorised`], [`Refusal::PolicyMissing`],
    /// [`Refusal::Superseded`], [`Refusal::Volume`].
    pub fn decide_step(
        &self,
        session: &SeatSession,
        step: Step,
        request: &VolumeStep,
        transcript: Sha256,
        facts: StepFacts,
        now_ms: u64,
    ) -> Result<(VolumeState, SeatResponse), Refusal> {
        let SeatSession { app_id, workload_digest, owner_policy, .. } = session;
        check_allowed(app_id, workload_digest, owner_policy, facts.authority.as_ref())?;
        check_boot(&session.boot_id, facts.boot)?;
        let next = match step {
            Step::Prepare => facts.volume.prepare(&session.boot_id, request.stamp),
            Step::Commit => facts.volume.commit(&session.boot_id, request.stamp),
        };
        let next = next.map_err(|source| Refusal::Volume { volume: request.volume.clone(), source })?;
        let receipt = Receipt {
            transcript,
            time_ms: now_ms,
            step,
            volume: request.volume.clone(),
            stamp: request.stamp,
        };
        let signed = Signed::sign(&self.signing, &receipt);
        let response = match step {
            Step::Prepare => SeatResponse::Prepared(signed),
            Step::Commit => SeatResponse::Committed(signed),
        };
        Ok((next, response))
    }

    /// Takes a renewal's challenge, before its evidence is looked at; tells when the challenge was made, in
    /// Unix milliseconds.
    ///
    /// # Errors
    /// [`Refusal::OtherRoster`], [`Refusal::ChallengeList`], [`Refusal::ChallengeMissing`],
    /// [`Refusal::Challenge`].
    pub fn check_renewal(
        &self,
        keeper: &mut ChallengeKeeper,
        request: &RenewRequest,
        now_ms: u64,
    ) -> Result<u64, Refusal> {
        self.redeem(keeper, &request.roster_digest, &request.challenges, now_ms)
    }

    /// Decides about a renewal whose evidence was accepted.
    ///
    /// # Errors
    /// [`Refusal`], by check.
    pub fn decide_renewal(
        &self,
        request: &RenewRequest,
        transcript: Sha256,
        attested: &Attested,
        facts: &ReleaseFacts,
        now_ms: u64,
    ) -> Result<SeatResponse, Refusal> {
        if attested.report_data != request.report_data() {
            return Err(Refusal::ReportData);
        }
        check_owner(
            &request.app_id,
            &request.workload_digest,
            &request.instance,
            attested,
            facts.genesis.as_ref(),
            facts.authority.as_ref(),
            facts.instance.as_ref(),
        )?;
        check_boot(&request.boot_id, facts.boot)?;
        let holder = LeaseHolder {
            app_id: request.app_id,
            workload_digest: request.workload_digest,
            instance: request.instance,
            boot_id: request.boot_id,
        };
        let lease = self.lease(&holder, now_ms, facts.lease_ms);
        let renewal = Renewal { transcript, time_ms: now_ms, lease };
        Ok(SeatResponse::Renewed(Signed::sign(&self.signing, &renewal)))
    }
}

/// The app's own genesis, its newest authority record and its instance allow what the evidence shows.
pub(super) fn check_owner(
    app_id: &AppId,
    workload_digest: &WorkloadDigest,
    instance: &InstanceId,
    attested: &Attested,
    genesis: Option<&Genesis>,
    authority: Option<&AuthorityRecord>,
    known: Option<&InstanceRecord>,
) -> Result<(), Refusal> {
    if attested.workload_digest != *workload_digest {
        return Err(Refusal::EvidenceWorkload { found: attested.workload_digest });
    }
    let genesis = genesis.ok_or(Refusal::AppUnknown { found: *app_id })?;
    genesis.check_app_id(app_id).map_err(|_| Refusal::AppId { found: *app_id })?;
    check_allowed(app_id, workload_digest, &attested.owner_policy, authority)?;
    known
        .filter(|record| record.app_id == *app_id && record.instance == *instance)
        .ok_or(Refusal::InstanceUnknown { found: *instance })?;
    Ok(())
}

/// The newest authority record allows this workload, under the policy that its evidence met.
fn check_allowed(
    app_id: &AppId,
    workload_digest: &WorkloadDigest,
    owner_policy: &PolicyDigest,
    authority: Option<&AuthorityRecord>,
) -> Result<(), Refusal> {
    let authority = authority
        .filter(|record| record.app_id == *app_id)
        .ok_or(Refusal::AuthorityMissing { found: *app_id })?;
    if authority.workload_digest != *workload_digest {
        return Err(Refusal::WorkloadNotAuthorised { found: *workload_digest });
    }
    if authority.policy_digest != *owner_policy {
        return Err(Refusal::PolicyMissing);
    }
    Ok(())
}

pub(super) fn check_boot(found: &BootId, standing: BootStanding) -> Result<(), Refusal> {
    match standing {
        BootStanding::Open => Ok(()),
        BootStanding::Superseded { by } => Err(Refusal::Superseded { found: *found, by }),
    }
}
