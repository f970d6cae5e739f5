//! Why does a seat say no?

use casemate_crypto::hash::Sha256;
use casemate_record::{AppId, BootId, InstanceId, VolumeName, WorkloadDigest};
use casemate_verify::TrustClass;
use casemate_volume::StateError;

use crate::challenge::ChallengeError;

/// Why a seat refuses a request. What a stranger learns is [`Refusal::check`] and [`Refusal::found`];
/// the message itself is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a request.
    #[error("{bytes} bytes are not a request of the guest protocol")]
    Encoding {
        /// Length in bytes.
        bytes: usize,
    },
    /// The guest goes by another roster.
    #[error("the guest goes by roster {found}")]
    OtherRoster {
        /// Digest of the guest's roster.
        found: Sha256,
    },
    /// Challenges out of order, repeated, or more than seats.
    #[error("the list of {found} challenges is not sorted and unique, or longer than the roster")]
    ChallengeList {
        /// Challenges found.
        found: usize,
    },
    /// This seat's challenge is not in the list.
    #[error("the request answers no challenge of this seat")]
    ChallengeMissing,
    /// The challenge is not good.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// Keys out of order, repeated, too many, or of a wrong shape.
    #[error("the list of {found} keys is not sorted, unique and well-formed")]
    KeyList {
        /// Keys found.
        found: usize,
    },
    /// No salt, or a salt for something else.
    #[error("the {found} proposed salts are not one for each volume asked for")]
    SaltList {
        /// Salts found.
        found: usize,
    },
    /// A salt that does not open.
    #[error("the salt proposed for volume {volume} does not open; it was sealed to another seat or changed")]
    SaltSealed {
        /// The volume.
        volume: VolumeName,
    },
    /// A salt with another digest than the evidence covers.
    #[error("the salt proposed for volume {volume} is not the one that the evidence covers")]
    SaltDigest {
        /// The volume.
        volume: VolumeName,
    },
    /// The evidence was not accepted; names the first check that failed.
    #[error("evidence refused at {check}: found {found}")]
    Evidence {
        /// Name of the check.
        check: String,
        /// What was found.
        found: String,
    },
    /// Owner and seat trust the root in different ways.
    #[error(
        "owner's policy and seat's policy disagree whether the root is hardware; the owner's says {found}"
    )]
    TrustClass {
        /// By the owner's policy.
        found: TrustClass,
    },
    /// The evidence was made for another request.
    #[error("the evidence covers other report data than this request")]
    ReportData,
    /// The evidence shows another workload than the request names.
    #[error("the evidence shows workload {found}, the request names another")]
    EvidenceWorkload {
        /// Workload found.
        found: WorkloadDigest,
    },
    /// No such app.
    #[error("app {found} is not known here; send its genesis and authority record")]
    AppUnknown {
        /// The app.
        found: AppId,
    },
    /// The stored genesis does not hash to the app id.
    #[error("the genesis does not hash to app {found}")]
    AppId {
        /// The app.
        found: AppId,
    },
    /// No authority record.
    #[error("app {found} has no authority record here")]
    AuthorityMissing {
        /// The app.
        found: AppId,
    },
    /// The newest authority record names another workload.
    #[error("workload {found} is not the one that the newest authority record allows")]
    WorkloadNotAuthorised {
        /// The workload.
        found: WorkloadDigest,
    },
    /// The evidence was not appraised under the policy that the newest authority record names.
    #[error("the evidence was not appraised under the policy of the newest authority record; ask again")]
    PolicyMissing,
    /// No such instance.
    #[error("instance {found} is not known here; send its record")]
    InstanceUnknown {
        /// The instance.
        found: InstanceId,
    },
    /// A newer boot has committed.
    #[error("boot {found} was superseded by boot {by}")]
    Superseded {
        /// The boot that asks.
        found: BootId,
        /// The boot that took over.
        by: BootId,
    },
    /// The volume does not allow the step.
    #[error("volume {volume}: {source}")]
    Volume {
        /// The volume.
        volume: VolumeName,
        /// Why.
        source: StateError,
    },
    /// No such session: never granted here, or the seat restarted.
    #[error("session {found} is not known; ask for a grant again")]
    SessionUnknown {
        /// Transcript of the grant.
        found: Sha256,
    },
    /// The step was not sent by the guest of the session.
    #[error("the step is not authentic for its session")]
    StepMac,
    /// The session is for other volumes.
    #[error("the session's grant does not cover volume {volume}")]
    VolumeNotGranted {
        /// The volume.
        volume: VolumeName,
    },
    /// Too much at once.
    #[error("the seat holds as many sessions or volumes as it can; try again later")]
    Busy,
}

impl Refusal {
    /// The stable name of the check that failed.
    pub fn check(&self) -> &str {
        match self {
            Refusal::Encoding { .. } => "request.encoding",
            Refusal::OtherRoster { .. } => "request.roster",
            Refusal::ChallengeList { .. } => "request.challenges",
            Refusal::ChallengeMissing => "challenge.missing",
            Refusal::Challenge(ChallengeError::Foreign) => "challenge.foreign",
            Refusal::Challenge(ChallengeError::Expired { .. }) => "challenge.expired",
            Refusal::Challenge(ChallengeError::Used) => "challenge.used",
            Refusal::Challenge(ChallengeError::Busy { .. }) => "challenge.busy",
            Refusal::KeyList { .. } => "request.keys",
            Refusal::SaltList { .. } => "request.salts",
            Refusal::SaltSealed { .. } => "salt.sealed",
            Refusal::SaltDigest { .. } => "salt.digest",
            Refusal::Evidence { check, .. } => check,
            Refusal::TrustClass { .. } => "evidence.trust_class",
            Refusal::ReportData => "evidence.report_data",
            Refusal::EvidenceWorkload { .. } => "evidence.workload",
            Refusal::AppUnknown { .. } => "app.unknown",
            Refusal::AppId { .. } => "app.id",
            Refusal::AuthorityMissing { .. } => "authority.missing",
            Refusal::WorkloadNotAuthorised { .. } => "authority.workload",
            Refusal::PolicyMissing => "authority.policy",
            Refusal::InstanceUnknown { .. } => "instance.unknown",
            Refusal::Superseded { .. } => "boot.superseded",
            Refusal::Volume { source: StateError::Erased, .. } => "volume.erased",
            Refusal::Volume { source: StateError::Counter { .. }, .. } => "volume.counter",
            Refusal::Volume { source: StateError::NotPrepared { .. }, .. } => "volume.not_prepared",
            Refusal::Volume { source: StateError::Boot { .. }, .. } => "volume.boot",
            Refusal::Volume { source: StateError::BootAlreadyStamped { .. }, .. } => "volume.second_stamp",
            Refusal::Volume { source: StateError::OtherCreator { .. }, .. } => "volume.other_creator",
            Refusal::Volume { .. } => "volume.state",
            Refusal::SessionUnknown { .. } => "session.unknown",
            Refusal::StepMac => "session.mac",
            Refusal::VolumeNotGranted { .. } => "session.volume",
            Refusal::Busy => "seat.busy",
        }
    }

    /// What was found, without what was expected.
    pub fn found(&self) -> String {
        match self {
            Refusal::Encoding { bytes } => format!("{bytes} bytes"),
            Refusal::OtherRoster { found } => found.to_string(),
            Refusal::ChallengeList { found } | Refusal::KeyList { found } | Refusal::SaltList { found } => {
                format!("{found} entries")
            }
            Refusal::Challenge(ChallengeError::Expired { late_ms }) => format!("{late_ms} ms late"),
            Refusal::SaltSealed { volume }
            | Refusal::SaltDigest { volume }
            | Refusal::VolumeNotGranted { volume } => volume.to_string(),
            Refusal::Volume { volume, source } => match source {
                StateError::Counter { found, .. } => format!("{volume} counter {found}"),
                _ => volume.to_string(),
            },
            Refusal::Evidence { found, .. } => found.clone(),
            Refusal::TrustClass { found } => found.to_string(),
            Refusal::EvidenceWorkload { found } | Refusal::WorkloadNotAuthorised { found } => {
                found.to_string()
            }
            Refusal::AppUnknown { found }
            | Refusal::AppId { found }
            | Refusal::AuthorityMissing { found } => found.to_string(),
            Refusal::InstanceUnknown { found } => found.to_string(),
            Refusal::Superseded { found, .. } => found.to_string(),
            Refusal::SessionUnknown { found } => found.to_string(),
            Refusal::ReportData
            | Refusal::ChallengeMissing
            | Refusal::Challenge(_)
            | Refusal::PolicyMissing
            | Refusal::StepMac
            | Refusal::Busy => String::new(),
        }
    }
}
