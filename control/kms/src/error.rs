//! Why does the service not start, or not answer?

use std::path::PathBuf;

use casemate_record::Error as RecordError;
use casemate_release::{derive::DeriveError, seat::SeatError};
use casemate_volume::StateError;

/// Why the service does not start or cannot serve a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the state folder.
    #[error("{}: {source}; check the folder and its owner", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder is in use already.
    #[error("{} exists already; a second birth would forget every key, choose another folder", path.display())]
    AlreadyBorn {
        /// The file.
        path: PathBuf,
    },
    /// The folder to be made holds something already.
    #[error("{} holds {found:?} and no whole seat; expected no folder or an empty one: choose another, or see what is there with `casemate-kms check`", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// Name of a file in it.
        found: Box<str>,
    },
    /// Another process makes the same folder.
    #[error("another birth or restore is at work in {}; wait for it, then see what is there", path.display())]
    BirthUnderway {
        /// Its folder until it has finished.
        path: PathBuf,
    },
    /// A whole folder that cannot be put in its place.
    #[error("{}: {source}; expected no folder there or an empty one, which is no mount point: name a folder within", path.display())]
    Place {
        /// The place.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No seat was born in this folder.
    #[error("no seat was born in {}: found {found}, expected what `casemate-kms init` or `restore` make; run one of them", path.display())]
    Unborn {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A seat was born in this folder, and one of its files is gone.
    #[error("{} is missing: a seat was born in this folder, and that file holds {holds}; move what is left aside and restore the whole folder from a backup (`casemate-kms restore`)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was in it.
        holds: &'static str,
    },
    /// The database of another version, or of none.
    #[error("{}: tables of version {found}, expected {expected} (0: none at all, the file was emptied); restore the folder from a backup, or use the casemate-kms that wrote it", path.display())]
    DatabaseVersion {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Newest version known.
        expected: i64,
    },
    /// The database of another seat.
    #[error("{} was written by seat {found}, and this folder is seat {expected}; files of two seats were mixed: restore the folder from a backup", path.display())]
    OtherSeat {
        /// The file.
        path: PathBuf,
        /// Seat that wrote it.
        found: Box<casemate_crypto::sign::PublicKey>,
        /// Seat of the folder.
        expected: Box<casemate_crypto::sign::PublicKey>,
    },
    /// The database's structure is broken.
    #[error("{} is damaged: {found}; move the folder aside and restore it from a backup (`casemate-kms restore`)", path.display())]
    DatabaseDamaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        found: Box<str>,
    },
    /// A file with secrets that others may read.
    #[error("{} has mode {mode:o}, expected 600; others may have read the seat's secrets", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Mode found.
        mode: u32,
    },
    /// A file that does not read back.
    #[error("{}: {source}; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: casemate_canon::Error,
    },
    /// A key that is none.
    #[error("{}: {source}; restore it from a backup", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: casemate_crypto::sign::Error,
    },
    /// The floor policy does not parse.
    #[error("floor policy: {source}")]
    FloorPolicy {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificates cannot be asked for.
    #[error("certificates: {source}")]
    Endorsements {
        /// Why.
        source: Box<casemate_endorse::Error>,
    },
    /// A record or roster.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A birth.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// The seat's parts do not belong together.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// A volume record that its state does not allow.
    #[error(transparent)]
    Volume(#[from] StateError),
    /// The database.
    #[error("state database: {0}; is the disk full, or the file held by another process?")]
    Store(#[from] sqlx::Error),
    /// What the database holds does not read back.
    #[error("state database: {what} does not read: {source}; restore the folder from a backup")]
    Stored {
        /// Which value.
        what: &'static str,
        /// Why.
        source: casemate_canon::Error,
    },
    /// A volume whose newest record erases it, and which is not erased.
    #[error(
        "volume {volume} was to be erased and its state says otherwise; restore the folder from a backup and \
         erase it again with a higher number"
    )]
    NotErased {
        /// The volume.
        volume: casemate_record::VolumeName,
    },
    /// An app that nobody sent.
    #[error("app {0} is not known here; send its authority record first")]
    AppUnknown(casemate_record::AppId),
    /// The policy is not the one that the record names.
    #[error("the policy has digest {found}, the record names {expected}; send the file byte for byte")]
    PolicyDigest {
        /// Digest in the record.
        expected: casemate_record::PolicyDigest,
        /// Digest of the file.
        found: casemate_record::PolicyDigest,
    },
    /// A policy under which any guest would get keys.
    #[error(
        "the policy lists no launch measurement, so any guest would get keys; list those of your images \
         under `image.measurements`"
    )]
    NoMeasurements,
    /// The policy does not parse.
    #[error("the policy is refused: {source}")]
    Policy {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An address to listen on.
    #[error(
        "{text:?} is no address to listen on; use unix:PATH or a loopback address such as 127.0.0.1:7070"
    )]
    Listen {
        /// What was given.
        text: Box<str>,
    },
    /// A backup that does not open.
    #[error("the backup does not open: another passphrase, or it was changed")]
    Backup,
    /// More calls than are served.
    #[error(transparent)]
    TooMany(#[from] crate::TooMany),
    /// More records than are kept.
    #[error(transparent)]
    Full(#[from] crate::Full),
    /// The operating system gives no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(getrandom::Error),
}
