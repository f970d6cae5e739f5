//! What does a guest ask, and with which evidence?

use std::collections::BTreeMap;

use casemate_crypto::{
    hash::sha256,
    seal::{self, SealingKey},
    secret::Secret,
    sign::PublicKey,
};
use casemate_evidence::ReportData;
use casemate_record::{AppId, BootId, InstanceId, LeaseHolder, Roster, VolumeName, WorkloadDigest};
use casemate_volume::VolumeSalt;
use rand_core::CryptoRng;

use super::GuestError;
use crate::{
    SALT_INFO,
    derive::KeyPurpose,
    message::{
        KeyRequest, MAXIMUM_KEYS, ReleaseFields, ReleaseRequest, SealedSalt, SeatChallenge, SeatRequest,
        SeatResponse, release_report_data,
    },
};

/// Who asks, and for what.
#[derive(Debug, Clone)]
pub struct ReleaseSetup {
    /// The verified roster ([`casemate_record::RosterChain::verify`]).
    pub roster: Roster,
    /// The app that the manifest names.
    pub app_id: AppId,
    /// Digest of the manifest.
    pub workload_digest: WorkloadDigest,
    /// The instance.
    pub instance: InstanceId,
    /// This boot.
    pub boot_id: BootId,
    /// The keys wanted, each once.
    pub keys: Vec<WantedKey>,
}

impl ReleaseSetup {
    /// The boot that the seats lease the instance to.
    pub(super) fn holder(&self) -> LeaseHolder {
        LeaseHolder {
            app_id: self.app_id,
            workload_digest: self.workload_digest,
            instance: self.instance,
            boot_id: self.boot_id,
        }
    }
}

/// One key wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedKey {
    /// The keys of a volume.
    Disk(VolumeName),
    /// The workload's identity.
    Identity,
    /// TLS of the workload.
    Tls,
    /// What rests under the guest's own care.
    Secrets,
}

/// First state: collects challenges.
#[derive(Debug)]
pub struct ReleaseAttempt {
    pub(super) setup: ReleaseSetup,
    pub(super) keys: Vec<KeyRequest>,
    pub(super) salts: BTreeMap<VolumeName, VolumeSalt>,
    pub(super) ephemeral: SealingKey,
    pub(super) challenges: Vec<SeatChallenge>,
}

impl ReleaseAttempt {
    /// Makes the ephemeral key and a fresh salt for each volume.
    ///
    /// # Errors
    /// [`GuestError::Wanted`].
    pub fn new(setup: ReleaseSetup, rng: &mut impl CryptoRng) -> Result<Self, GuestError> {
        let mut salts = BTreeMap::new();
        let mut keys = Vec::new();
        for wanted in &setup.keys {
            let (purpose, volume) = match wanted {
                WantedKey::Disk(volume) => (KeyPurpose::Disk, Some(volume.clone())),
                WantedKey::Identity => (KeyPurpose::Identity, None),
                WantedKey::Tls => (KeyPurpose::Tls, None),
                WantedKey::Secrets => (KeyPurpose::Secrets, None),
            };
            let salt_digest = volume.clone().map(|volume| {
                let salt = VolumeSalt::generate(rng);
                let digest = sha256(salt.expose());
                salts.insert(volume, salt);
                digest
            });
            keys.push(KeyRequest { purpose, volume, salt_digest });
        }
        keys.sort();
        let names = |key: &KeyRequest| (key.purpose, key.volume.clone());
        let repeated = keys.windows(2).any(|pair| names(&pair[0]) == names(&pair[1]));
        if repeated || keys.is_empty() || keys.len() > MAXIMUM_KEYS {
            return Err(GuestError::Wanted { maximum: MAXIMUM_KEYS });
        }
        let ephemeral = SealingKey::generate(rng);
        Ok(ReleaseAttempt { setup, keys, salts, ephemeral, challenges: Vec::new() })
    }

    /// What to send to every seat first.
    pub fn challenge_request(&self) -> Vec<u8> {
        SeatRequest::Challenge.to_bytes()
    }

    /// Takes a seat's answer to it; a second one from the same seat replaces the first.
    ///
    /// # Errors
    /// [`GuestError::UnknownSeat`], [`GuestError::NotAChallenge`], [`GuestError::UnexpectedAnswer`],
    /// [`GuestError::OtherRoster`].
    pub fn add_challenge(&mut self, seat: &PublicKey, reply: &[u8]) -> Result<(), GuestError> {
        take_challenge(&self.setup.roster, &mut self.challenges, seat, reply)
    }

    /// Closes the list of challenges.
    ///
    /// # Errors
    /// [`GuestError::TooFewChallenges`] below max(t, q).
    pub fn challenged(self) -> Result<Challenged, GuestError> {
        let needed = needed(&self.setup.roster);
        if self.challenges.len() < needed {
            return Err(GuestError::TooFewChallenges { found: self.challenges.len(), needed });
        }
        Ok(Challenged { attempt: self, sent: BTreeMap::new() })
    }
}

/// Second state: knows the report data, sends the requests.
#[derive(Debug)]
pub struct Challenged {
    pub(super) attempt: ReleaseAttempt,
    pub(super) sent: BTreeMap<PublicKey, Vec<u8>>,
}

impl Challenged {
    /// What the hardware must sign.
    pub fn report_data(&self) -> ReportData {
        let ReleaseAttempt { setup, keys, ephemeral, challenges, .. } = &self.attempt;
        release_report_data(&ReleaseFields {
            roster_digest: &setup.roster.digest(),
            challenges,
            ephemeral: &ephemeral.public(),
            app_id: &setup.app_id,
            workload_digest: &setup.workload_digest,
            instance: &setup.instance,
            boot_id: &setup.boot_id,
            keys,
        })
    }

    /// One request per seat that sent a challenge, with the same evidence for all.
    pub fn requests(&mut self, evidence: &[u8], rng: &mut impl CryptoRng) -> Vec<(PublicKey, Vec<u8>)> {
        let report_data = self.report_data();
        let ReleaseAttempt { setup, keys, salts, ephemeral, challenges } = &self.attempt;
        let mut request = ReleaseRequest {
            roster_digest: setup.roster.digest(),
            challenges: challenges.clone(),
            ephemeral: ephemeral.public(),
            app_id: setup.app_id,
            workload_digest: setup.workload_digest,
            instance: setup.instance,
            boot_id: setup.boot_id,
            keys: keys.clone(),
            salts: Vec::new(),
            evidence: evidence.to_vec().into(),
        };
        for asked in challenges {
            let seat = setup.roster.seat(&asked.seat).expect("only seats of the roster are taken");
            let seal = |(volume, salt): (&VolumeName, &Secret<32>)| SealedSalt {
                volume: volume.clone(),
                sealed: seal::seal(rng, &seat.sealing, SALT_INFO, report_data.as_bytes(), salt.expose()),
            };
            request.salts = salts.iter().map(seal).collect();
            self.sent.insert(asked.seat, SeatRequest::Release(request.clone()).to_bytes());
        }
        self.sent.iter().map(|(seat, bytes)| (*seat, bytes.clone())).collect()
    }
}

/// Seats that must answer for a first format and for freshness.
pub(super) fn needed(roster: &Roster) -> usize {
    usize::from(roster.threshold.max(roster.quorum))
}

pub(super) fn take_challenge(
    roster: &Roster,
    challenges: &mut Vec<SeatChallenge>,
    seat: &PublicKey,
    reply: &[u8],
) -> Result<(), GuestError> {
    roster.seat(seat).ok_or(GuestError::UnknownSeat)?;
    let SeatResponse::Challenge(reply) =
        SeatResponse::from_bytes(reply).map_err(GuestError::NotAChallenge)?
    else {
        return Err(GuestError::UnexpectedAnswer);
    };
    let expected = roster.digest();
    if reply.roster_digest != expected {
        return Err(GuestError::OtherRoster { expected, found: reply.roster_digest });
    }
    challenges.retain(|present| present.seat != *seat);
    challenges.push(SeatChallenge { seat: *seat, challenge: reply.challenge });
    challenges.sort();
    Ok(())
}
