//! Why does a guest have no keys?

use casemate_crypto::{hash::Sha256, seal::SealError};
use casemate_record::{Error as RecordError, LeaseFault, VolumeName};

use crate::derive::DeriveError;

/// Why an attempt of a guest failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// Not one of the seats asked.
    #[error("an answer came from a seat that is not in the roster or was not asked")]
    UnknownSeat,
    /// A challenge reply that is none.
    #[error("a seat's answer is not a challenge: {0}")]
    NotAChallenge(casemate_canon::Error),
    /// A seat answered something else, or denied.
    #[error("a seat answered the wish for a challenge with something else")]
    UnexpectedAnswer,
    /// The seat goes by another roster.
    #[error("the seat goes by roster {found}, this guest by {expected}; fetch the roster chain again")]
    OtherRoster {
        /// Roster of the guest.
        expected: Sha256,
        /// Roster of the seat.
        found: Sha256,
    },
    /// Too few challenges to ask for keys.
    #[error("{found} seats sent a challenge, {needed} are needed; are the seats up?")]
    TooFewChallenges {
        /// Seats that did.
        found: usize,
        /// Seats needed.
        needed: usize,
    },
    /// Wanted keys that contradict each other.
    #[error("the keys wanted repeat, or exceed {maximum}; ask for each once")]
    Wanted {
        /// Most keys in one request.
        maximum: usize,
    },
    /// Too few seats said yes.
    #[error("{granted} seats granted, {needed} are needed; {} denied{}, {} silent, {} answered wrongly",
        denied.len(), first_denial(denied), silent.len(), invalid.len())]
    TooFewGrants {
        /// Seats that granted.
        granted: usize,
        /// Seats needed.
        needed: usize,
        /// Signed denials.
        denied: Vec<Denied>,
        /// Indexes of seats that said nothing.
        silent: Vec<u8>,
        /// Answers that do not count, and why.
        invalid: Vec<(u8, Invalid)>,
    },
    /// Seats gave different parts of the same key where all must agree.
    #[error("seats disagree about a part of the same key; at least one lies, keep the signed grants")]
    Conflict,
    /// Seats disagree about which set of secrets or class of trust this is.
    #[error("seats disagree about {what}; at least one lies")]
    Disagreement {
        /// About what.
        what: &'static str,
    },
    /// No t seats give a key that made the newest stamp.
    #[error(
        "no {threshold} seats give a key that vouches for the newest stamp of volume {volume}; the volume is not opened"
    )]
    NoKeyForVolume {
        /// The volume.
        volume: VolumeName,
        /// t.
        threshold: u8,
    },
    /// A key was not combined.
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// A seat's signed no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Index of the seat.
    pub seat: u8,
    /// Name of the check.
    pub check: String,
    /// What was found.
    pub found: String,
}

fn first_denial(denied: &[Denied]) -> String {
    denied.first().map_or_else(String::new, |denied| format!(" ({}: {})", denied.check, denied.found))
}

/// Why an answer does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// Not a response.
    #[error("not a response: {0}")]
    Encoding(#[from] casemate_canon::Error),
    /// Not signed by the seat, or not such a record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// An answer to another request: repeated, reordered, or the request was changed on the way.
    #[error("it answers another request; was it repeated, or the request changed on the way?")]
    OtherTranscript,
    /// An answer of another kind.
    #[error("an answer of another kind than asked for")]
    OtherKind,
    /// The sealed part does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Keys or volumes that were not asked for, or parts of the wrong subsets.
    #[error("it does not answer {what} as asked")]
    Shape {
        /// Which part.
        what: &'static str,
    },
    /// A lease that is not this seat's for this boot.
    #[error("its lease: {0}")]
    Lease(#[from] LeaseFault),
    /// A part that is not what the seat signed.
    #[error("a part of key {key} is not the one that the seat signed for; the seat lies")]
    Commitment {
        /// Place in the request.
        key: usize,
    },
    /// A key for another input than asked for.
    #[error("key {key} was derived for another input than asked for; the seat lies")]
    Input {
        /// Place in the request.
        key: usize,
    },
    /// A volume state that cannot be.
    #[error("the state of volume {volume} contradicts itself")]
    VolumeState {
        /// The volume.
        volume: VolumeName,
    },
}
