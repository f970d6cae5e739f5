//! Do enough seats of the key service give this guest its keys?
//!
//! [`casemate_release::guest`] decides what is asked and what counts; here requests are carried, all
//! seats at once, and asked again while they are silent.

use std::{thread, time::Duration};

use casemate_api::progress::{FailureCode, Phase};
use casemate_attester::Attester;
use casemate_crypto::sign::PublicKey;
use casemate_evidence::bundle::Bundle;
use casemate_guest_sys::clock::uptime_ms;
use casemate_record::{BootId, Error as RecordError, Stamp, VolumeName};
use casemate_release::{
    guest::{
        Answer, GuestError, Release, ReleaseAttempt, ReleaseSetup, ReleasedVolume, VolumeStanding, WantedKey,
    },
    message::Step,
};
use casemate_volume::VolumeKeys;
use rand_core::CryptoRng;

use crate::{
    relay::Relay,
    volume::{Granted, Known, Stamps},
    workload::Workload,
};

/// Keys, and since when the lease runs.
pub struct Attested {
    /// What the seats gave.
    pub release: Release,
    /// Uptime in milliseconds when they were asked: the lease began later.
    pub asked_uptime_ms: u64,
}

/// Asks every seat for a challenge, the hardware for one report over all of them, and the seats for
/// the keys.
///
/// # Errors
/// [`SeatsError`].
pub fn attest(
    relay: &mut Relay,
    workload: &Workload,
    boot_id: BootId,
    attester: &dyn Attester,
    rng: &mut impl CryptoRng,
) -> Result<Attested, SeatsError> {
    let seats: Vec<PublicKey> = workload.roster.seats.iter().map(|seat| seat.signing).collect();
    let count = u32::from(workload.roster.seat_count());
    relay.report(Phase::Attesting { seats: count });
    let setup = ReleaseSetup {
        roster: workload.roster.clone(),
        app_id: workload.manifest.app_id,
        workload_digest: workload.digest,
        instance: workload.instance.instance,
        boot_id,
        keys: wanted(workload)?,
    };
    let mut attempt = ReleaseAttempt::new(setup, rng)?;
    let request = attempt.challenge_request();
    let requests: Vec<_> = seats.iter().map(|seat| (*seat, request.clone())).collect();
    for (seat, answer) in ask_all(relay, &requests) {
        if let Answer::Bytes(bytes) = answer {
            // A seat that answers wrongly counts like one that does not answer.
            if let Err(error) = attempt.add_challenge(&seat, &bytes) {
                relay.say(&error);
            }
        }
    }
    let mut challenged = attempt.challenged()?;
    let evidence = Bundle::new(attester.evidence(&challenged.report_data())?.into_items());
    let requests = challenged.requests(&evidence.to_bytes(), rng);
    let asked_uptime_ms = uptime_ms();
    let answers = ask_all(relay, &requests);
    let release = challenged.finish(&answers)?;
    let granted = u32::try_from(release.granted()).expect("at most nine seats");
    relay.report(Phase::KeysGranted { granted, seats: count });
    Ok(Attested { release, asked_uptime_ms })
}

/// What the seats granted for the volume `name`, and where its stamps are recorded.
///
/// # Errors
/// [`SeatsError::VolumeName`], [`SeatsError::VolumeNotGranted`].
pub fn volume<'a>(
    relay: &'a Relay,
    release: &'a Release,
    name: &str,
) -> Result<(Granted<'a>, VolumeStamps<'a>), SeatsError> {
    let name = VolumeName::new(name).map_err(SeatsError::VolumeName)?;
    let released = release.volume(&name).ok_or(SeatsError::VolumeNotGranted)?;
    Ok((granted(released), VolumeStamps { relay, release, name }))
}

/// Records the stamps of one volume at the seats that granted its keys.
pub struct VolumeStamps<'a> {
    relay: &'a Relay,
    release: &'a Release,
    name: VolumeName,
}

impl VolumeStamps<'_> {
    fn take(&self, step: Step, stamp: &Stamp) -> Result<(), crate::Error> {
        let attempt = self.release.step(step, &self.name, stamp);
        let answers = ask_all(self.relay, attempt.requests());
        attempt.finish(&answers).map_err(|source| SeatsError::Stamp { step: step_name(step), source }.into())
    }
}

impl Stamps for VolumeStamps<'_> {
    fn prepare(&mut self, stamp: &Stamp) -> Result<(), crate::Error> {
        self.take(Step::Prepare, stamp)
    }

    fn commit(&mut self, stamp: &Stamp) -> Result<(), crate::Error> {
        self.take(Step::Commit, stamp)
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeatsError {
    /// The hardware gave no report over the challenges.
    #[error(transparent)]
    Report(#[from] casemate_attester::Error),
    /// Too few seats granted, or what they gave does not fit together.
    #[error(transparent)]
    Release(#[from] GuestError),
    /// Too few seats recorded a stamp.
    #[error("to {step} the volume's new stamp: {source}; until the commit the old state stays good")]
    Stamp {
        /// The step in words.
        step: &'static str,
        /// Why.
        source: GuestError,
    },
    /// The manifest names a volume that cannot be.
    #[error("a volume of the manifest: {0}")]
    VolumeName(#[source] RecordError),
    /// The seats granted other volumes than asked for.
    #[error("the seats granted no key for a volume of the manifest")]
    VolumeNotGranted,
}

impl SeatsError {
    /// The code in the public notice.
    pub fn code(&self) -> FailureCode {
        match self {
            SeatsError::Report(_) => FailureCode::NoReport,
            SeatsError::Stamp { .. } => FailureCode::CommitFailed,
            SeatsError::VolumeName(_) => FailureCode::ManifestRefused,
            SeatsError::Release(GuestError::TooFewGrants { denied, .. }) if !denied.is_empty() => {
                FailureCode::KeysDenied
            }
            SeatsError::Release(GuestError::TooFewGrants { invalid, .. }) if invalid.is_empty() => {
                FailureCode::SeatsSilent
            }
            SeatsError::Release(GuestError::TooFewChallenges { .. }) => FailureCode::SeatsSilent,
            SeatsError::Release(_) | SeatsError::VolumeNotGranted => FailureCode::AnswersRefused,
        }
    }
}

/// The keys of every volume; without volumes the workload's identity, so that there is a lease.
fn wanted(workload: &Workload) -> Result<Vec<WantedKey>, SeatsError> {
    let volumes = &workload.manifest.volumes;
    if volumes.is_empty() {
        return Ok(vec![WantedKey::Identity]);
    }
    let name = |name: &str| VolumeName::new(name).map(WantedKey::Disk).map_err(SeatsError::VolumeName);
    volumes.iter().map(|volume| name(&volume.name)).collect()
}

fn granted(released: &ReleasedVolume) -> Granted<'_> {
    let keys: &VolumeKeys = &released.keys;
    let known = match &released.standing {
        VolumeStanding::Creating => Known::Creating,
        VolumeStanding::Live { committed, prepared } => {
            Known::Live { committed: *committed, prepared: prepared.clone() }
        }
    };
    Granted { keys, known, next_counter: released.next_counter }
}

/// Asks seats at the same time; those that are silent are asked again for a while.
fn ask_all(relay: &Relay, requests: &[(PublicKey, Vec<u8>)]) -> Vec<(PublicKey, Answer)> {
    thread::scope(|scope| {
        let asked: Vec<_> = requests
            .iter()
            .map(|(seat, request)| (*seat, scope.spawn(move || ask_patiently(relay, *seat, request))))
            .collect();
        let answer = |thread: thread::ScopedJoinHandle<'_, Answer>| thread.join().unwrap_or(Answer::Silent);
        asked.into_iter().map(|(seat, thread)| (seat, answer(thread))).collect()
    })
}

fn ask_patiently(relay: &Relay, seat: PublicKey, request: &[u8]) -> Answer {
    for pause in PAUSES {
        match relay.ask_seat(seat, request.to_vec(), ANSWER_PATIENCE) {
            Ok(bytes) => return Answer::Bytes(bytes),
            Err(error) => relay.say(&format_args!("seat {}: {error}", seat.short())),
        }
        thread::sleep(pause);
    }
    Answer::Silent
}

const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// After each failed call; five calls in all.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::ZERO,
];

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Prepare => "prepare",
        Step::Commit => "commit",
    }
}
