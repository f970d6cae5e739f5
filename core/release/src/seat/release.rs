//! May this guest have these keys?

use std::collections::BTreeMap;

use casemate_crypto::{
    hash::{Sha256, sha256},
    seal,
    secret::Secret,
};
use casemate_record::{
    AuthorityRecord, Genesis, InstanceRecord, LeaseHolder, Signed, SubsetCommitment, VolumeName,
};
use casemate_volume::{Standing, VolumeSalt, VolumeState};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Attested, BootStanding, Refusal, Seat, SeatSession};
use crate::{
    GRANT_INFO, SALT_INFO,
    challenge::ChallengeKeeper,
    derive::{KeyInput, KeyPurpose},
    message::{Grant, GrantedKey, GrantedVolume, KeyRequest, MAXIMUM_KEYS, ReleaseRequest, SeatResponse},
};

/// What the seat's storage knows about what a request names.
#[derive(Debug, Clone)]
pub struct ReleaseFacts {
    /// The app's genesis.
    pub genesis: Option<Genesis>,
    /// The app's newest authority record.
    pub authority: Option<AuthorityRecord>,
    /// The instance's record.
    pub instance: Option<InstanceRecord>,
    /// How the boot stands.
    pub boot: BootStanding,
    /// The volumes asked for; those missing are absent.
    pub volumes: BTreeMap<VolumeName, VolumeState>,
    /// The lease to give, in milliseconds.
    pub lease_ms: u64,
}

/// A yes: what to store first, and what to send then.
#[derive(Debug)]
pub struct Decision {
    /// The new states of the volumes asked for.
    pub volumes: BTreeMap<VolumeName, VolumeState>,
    /// The session to remember under the transcript.
    pub session: SeatSession,
    /// Whether the grant makes the boot the current one: it has no volume to commit.
    pub supersedes: bool,
    /// The answer.
    pub response: SeatResponse,
}

impl Seat {
    /// Takes a request's form and challenge, before its evidence is looked at; tells when the challenge
    /// was made, in Unix milliseconds.
    ///
    /// # Errors
    /// [`Refusal::KeyList`], [`Refusal::SaltList`], [`Refusal::OtherRoster`], [`Refusal::ChallengeList`],
    /// [`Refusal::ChallengeMissing`], [`Refusal::Challenge`].
    pub fn check_release(
        &self,
        keeper: &mut ChallengeKeeper,
        request: &ReleaseRequest,
        now_ms: u64,
    ) -> Result<u64, Refusal> {
        check_keys(&request.keys)?;
        let volumes = request.keys.iter().filter_map(|key| key.volume.as_ref());
        if !request.salts.iter().map(|salt| &salt.volume).eq(volumes) {
            return Err(Refusal::SaltList { found: request.salts.len() });
        }
        self.redeem(keeper, &request.roster_digest, &request.challenges, now_ms)
    }

    /// Decides about a request whose evidence was accepted under the owner's policy and the seat's own.
    ///
    /// # Errors
    /// [`Refusal`], by check; nothing is to be stored then.
    pub fn decide_release(
        &self,
        request: &ReleaseRequest,
        transcript: Sha256,
        attested: &Attested,
        facts: ReleaseFacts,
        now_ms: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Decision, Refusal> {
        check_authority(request, attested, &facts)?;
        let mut volumes = BTreeMap::new();
        for sealed in &request.salts {
            let salt = self.open_salt(request, &sealed.volume)?;
            let state = facts.volumes.get(&sealed.volume).cloned().unwrap_or_default();
            let state = state
                .begin(&request.boot_id, Some(salt))
                .map_err(|source| Refusal::Volume { volume: sealed.volume.clone(), source })?;
            volumes.insert(sealed.volume.clone(), state);
        }
        let (response, secret) =
            self.grant(request, transcript, attested, &volumes, (now_ms, facts.lease_ms), rng);
        let session = SeatSession {
            secret,
            app_id: request.app_id,
            instance: request.instance,
            boot_id: request.boot_id,
            workload_digest: request.workload_digest,
            owner_policy: attested.owner_policy,
            volumes: volumes.keys().cloned().collect(),
        };
        Ok(Decision { supersedes: volumes.is_empty(), volumes, session, response })
    }

    fn open_salt(&self, request: &ReleaseRequest, volume: &VolumeName) -> Result<VolumeSalt, Refusal> {
        let refused = || Refusal::SaltSealed { volume: volume.clone() };
        let sealed = request.salts.iter().find(|salt| salt.volume == *volume).ok_or_else(refused)?;
        let report_data = request.report_data();
        let plain =
            self.sealing.open(SALT_INFO, report_data.as_bytes(), &sealed.sealed).map_err(|_| refused())?;
        let salt = VolumeSalt::from_slice(&plain).ok_or_else(refused)?;
        let wanted = request.keys.iter().find(|key| key.volume.as_ref() == Some(volume));
        let digest = wanted.and_then(|key| key.salt_digest);
        if digest != Some(sha256(salt.expose())) {
            return Err(Refusal::SaltDigest { volume: volume.clone() });
        }
        Ok(salt)
    }

    fn grant(
        &self,
        request: &ReleaseRequest,
        transcript: Sha256,
        attested: &Attested,
        volumes: &BTreeMap<VolumeName, VolumeState>,
        (time_ms, lease_ms): (u64, u64),
        rng: &mut impl CryptoRng,
    ) -> (SeatResponse, Secret<32>) {
        let mut plain = Zeroizing::new(Secret::<32>::generate(rng).expose().to_vec());
        let mut keys = Vec::new();
        for wanted in &request.keys {
            let input = self.input(request, attested, wanted, volumes);
            let input_digest = input.digest();
            let mut commitments = Vec::new();
            for part in self.secrets.share(&input) {
                let commitment = part.commitment(&input_digest);
                commitments.push(SubsetCommitment { subset: part.subset, commitment });
                plain.extend_from_slice(part.value.expose());
            }
            keys.push(GrantedKey { input_digest, commitments });
        }
        let (sealed, session) =
            seal::seal_session(rng, &request.ephemeral, GRANT_INFO, transcript.as_bytes(), &plain);
        let holder = LeaseHolder {
            app_id: request.app_id,
            workload_digest: request.workload_digest,
            instance: request.instance,
            boot_id: request.boot_id,
        };
        let grant = Grant {
            transcript,
            time_ms,
            lease: self.lease(&holder, time_ms, lease_ms),
            trust_class: attested.trust_class,
            key_epoch: self.roster.key_epoch,
            keys,
            volumes: volumes.iter().map(|(name, state)| granted_volume(name, state)).collect(),
            sealed,
        };
        (SeatResponse::Granted(Signed::sign(&self.signing, &grant)), session.secret().clone())
    }

    fn input(
        &self,
        request: &ReleaseRequest,
        attested: &Attested,
        wanted: &KeyRequest,
        volumes: &BTreeMap<VolumeName, VolumeState>,
    ) -> KeyInput {
        let volume = wanted.volume.as_ref().map(|name| match &volumes[name] {
            VolumeState::Creating { generation, salt, .. } | VolumeState::Live { generation, salt, .. } => {
                (name.clone(), *generation, salt.clone())
            }
            VolumeState::Absent | VolumeState::Erased { .. } => unreachable!("begin leaves creating or live"),
        });
        KeyInput {
            trust_class: attested.trust_class,
            kms_id: self.roster.kms_id,
            key_epoch: self.roster.key_epoch,
            app_id: request.app_id,
            instance: request.instance,
            purpose: wanted.purpose,
            volume,
            workload_digest: request.workload_digest,
        }
    }
}

/// Sorted, unique, at most [`MAXIMUM_KEYS`], with volume and salt digest exactly where the purpose is disk.
fn check_keys(keys: &[KeyRequest]) -> Result<(), Refusal> {
    let names = |key: &KeyRequest| (key.purpose, key.volume.clone());
    let ordered = keys.windows(2).all(|pair| names(&pair[0]) < names(&pair[1]));
    let formed = keys.iter().all(|key| {
        let disk = key.purpose == KeyPurpose::Disk;
        key.volume.is_some() == disk && key.salt_digest.is_some() == disk
    });
    if ordered && formed && !keys.is_empty() && keys.len() <= MAXIMUM_KEYS {
        Ok(())
    } else {
        Err(Refusal::KeyList { found: keys.len() })
    }
}

fn check_authority(
    request: &ReleaseRequest,
    attested: &Attested,
    facts: &ReleaseFacts,
) -> Result<(), Refusal> {
    if attested.report_data != request.report_data() {
        return Err(Refusal::ReportData);
    }
    super::step::check_owner(
        &request.app_id,
        &request.workload_digest,
        &request.instance,
        attested,
        facts.genesis.as_ref(),
        facts.authority.as_ref(),
        facts.instance.as_ref(),
    )?;
    super::step::check_boot(&request.boot_id, facts.boot)
}

fn granted_volume(name: &VolumeName, state: &VolumeState) -> GrantedVolume {
    let (generation, stamp, prepared) = match state {
        VolumeState::Creating { generation, pending, .. } => (*generation, None, *pending),
        VolumeState::Live { generation, stamp, pending, .. } => (*generation, Some(*stamp), *pending),
        VolumeState::Absent | VolumeState::Erased { .. } => unreachable!("begin leaves creating or live"),
    };
    let standing = if stamp.is_some() { Standing::Live } else { Standing::Creating };
    GrantedVolume {
        volume: name.clone(),
        standing,
        generation,
        stamp,
        prepared,
        next_counter: state.next_counter(),
    }
}
