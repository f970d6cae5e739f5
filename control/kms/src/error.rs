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
    /// The operating system gives no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(getrandom::Error),
}
