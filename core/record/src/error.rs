//! Why is a record refused?

use crate::{AppId, KmsId, MAXIMUM_SEATS};

/// Why a record is refused; one variant per check.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not the one encoding of such a record.
    #[error("not a {what}: {source}")]
    Encoding {
        /// Purpose of the record.
        what: &'static str,
        /// What is wrong.
        source: casemate_canon::Error,
    },
    /// Another key signed, or other bytes, or another kind of record.
    #[error("{purpose}: {source}; sign it with the key that its genesis or roster names")]
    Signature {
        /// Purpose of the record.
        purpose: &'static str,
        /// What is wrong.
        source: casemate_crypto::sign::Error,
    },
    /// The genesis or record belongs to another app.
    #[error("app id {found}, expected {expected}; was the genesis changed?")]
    AppIdMismatch {
        /// The app that was asked about.
        expected: AppId,
        /// The app that was found.
        found: AppId,
    },
    /// The genesis or record belongs to another key service.
    #[error("key service {found}, the manifest pins {expected}")]
    KmsIdMismatch {
        /// The service that is pinned.
        expected: KmsId,
        /// The service that was found.
        found: KmsId,
    },
    /// Another key epoch.
    #[error("key epoch {found}, expected {expected}")]
    KeyEpochMismatch {
        /// The epoch expected (for a later roster: at least).
        expected: u32,
        /// The epoch found.
        found: u32,
    },
    /// Numbers begin at 1.
    #[error("record number 0; numbers begin at 1")]
    NumberZero,
    /// An older record.
    #[error(
        "record number {found} is not above {highest}; an older record is not taken back, sign a new one"
    )]
    NumberNotRisen {
        /// Number found.
        found: u64,
        /// Highest number taken so far.
        highest: u64,
    },
    /// Two different records with one number.
    #[error("record number {number} was already used for another content; sign a higher number")]
    NumberReused {
        /// The number.
        number: u64,
    },
    /// The app may never change.
    #[error("the app is frozen at authority record {number}; its genesis allows no other")]
    Frozen {
        /// Number of the only record.
        number: u64,
    },
    /// Not a volume name.
    #[error(
        "a name of {characters} characters is no volume name: use 1 to 36 of a-z, 0-9 and -, beginning with a letter"
    )]
    VolumeName {
        /// Length found in characters.
        characters: usize,
    },
    /// Too few or too many seats.
    #[error("{found} seats, expected 1 to {MAXIMUM_SEATS}")]
    SeatCount {
        /// Seats found.
        found: usize,
    },
    /// A threshold that the derivation does not allow.
    #[error(
        "threshold {threshold} of {seats} seats; it must be at least 1 and below the number of seats (or 1 of 1)"
    )]
    Threshold {
        /// t.
        threshold: u8,
        /// n.
        seats: u8,
    },
    /// A quorum that does not show the newest state.
    #[error("quorum {quorum} of {seats} seats does not tolerate {faulty} faulty ones; 2q must exceed n + f")]
    Quorum {
        /// q.
        quorum: u8,
        /// n.
        seats: u8,
        /// f.
        faulty: u8,
    },
    /// Seats out of order, or a signature of a seat that is not there.
    #[error("seat index {found}, expected {expected}")]
    SeatIndex {
        /// Index found.
        found: u8,
        /// Index expected (for signatures: at most).
        expected: u8,
    },
    /// One key in two seats.
    #[error("seat {index} repeats the key of another seat")]
    SeatRepeated {
        /// Index of the second one.
        index: u8,
    },
    /// A roster that does not follow its predecessor.
    #[error("roster number {found}, expected {expected}; is a roster missing from the chain?")]
    RosterNumber {
        /// Number found.
        found: u64,
        /// Number expected.
        expected: u64,
    },
    /// A roster that follows another predecessor.
    #[error("roster {number} does not follow the one before it: the chain was forked or mixed")]
    RosterForked {
        /// Its number.
        number: u64,
    },
    /// Signatures not in rising order of seats.
    #[error("seat signatures are not in rising order of index, each once")]
    SignatureOrder,
    /// Too few signatures.
    #[error("{found} seat signatures, {needed} are needed")]
    SignatureCount {
        /// Signatures found.
        found: usize,
        /// Signatures needed.
        needed: usize,
    },
    /// A birth record that does not cover each subset once, in order.
    #[error("{found} commitments, expected one for each of {expected} subsets in rising order")]
    Commitments {
        /// Commitments found.
        found: usize,
        /// Subsets of the roster.
        expected: usize,
    },
    /// No roster, or too many.
    #[error("a chain of {found} rosters, expected 1 to {maximum}")]
    ChainLength {
        /// Rosters found.
        found: usize,
        /// Most rosters accepted.
        maximum: usize,
    },
}
