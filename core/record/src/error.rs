//! Why is a record refused?

use casemate_crypto::hash::Sha256;

use crate::{AppId, KmsId, MAXIMUM_SEATS, ReceiptFault, SeenRoster, Taken};

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
    /// A chain that ends before a roster that was seen.
    #[error(
        "the chain ends at roster {found}, roster {} was seen before; whoever serves it holds back the newer \
         ones",
        seen.number
    )]
    RosterOlder {
        /// Number of the chain's newest roster.
        found: u64,
        /// What was seen.
        seen: SeenRoster,
    },
    /// A chain with another roster in the place of one that was seen.
    #[error(
        "roster {} is {} in this chain, {} was seen before: the operators signed two, do not trust them",
        seen.number, found.short(), seen.digest.short()
    )]
    RosterOtherThanSeen {
        /// Digest of the roster with that number.
        found: Sha256,
        /// What was seen.
        seen: SeenRoster,
    },
    /// More receipts than are looked at.
    #[error("{found} receipts, at most {maximum} are looked at")]
    ReceiptCount {
        /// Receipts found.
        found: usize,
        /// Most that are looked at.
        maximum: usize,
    },
    /// Too few seats signed that they took a submission.
    #[error(
        "{} of the {needed} seats that are needed signed that they took {expected}{}",
        found.len(), listed(found, faults)
    )]
    TooFewReceipts {
        /// What they were to take.
        expected: Taken,
        /// The seats that signed, by index.
        found: Vec<u8>,
        /// q.
        needed: usize,
        /// Why other receipts do not count.
        faults: Vec<ReceiptFault>,
    },
}

/// ` (seats 1, 3)`, and `; ` and each fault.
fn listed(seats: &[u8], faults: &[ReceiptFault]) -> String {
    let seats: Vec<_> = seats.iter().map(u8::to_string).collect();
    let seats = if seats.is_empty() { String::new() } else { format!(" (seats {})", seats.join(", ")) };
    faults.iter().fold(seats, |text, fault| format!("{text}; {fault}"))
}
