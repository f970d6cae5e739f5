//! What did the kernel refuse?

use std::{io, path::PathBuf};

/// Why the kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{call} {subject}: {source}")]
    Call {
        /// What was asked, in the kernel's words.
        call: &'static str,
        /// On which file, device or name.
        subject: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No disk carries this serial number.
    #[error("no disk has serial {serial:?} among {found:?}; the host must attach it")]
    NoDisk {
        /// Serial looked for.
        serial: String,
        /// Serials found.
        found: Vec<String>,
    },
    /// Several disks carry this serial number.
    #[error("{count} disks have serial {serial:?}, expected one; the host must attach each disk once")]
    AmbiguousDisk {
        /// Serial looked for.
        serial: String,
        /// Disks with it.
        count: usize,
    },
    /// No partition, or more than one, has this name.
    #[error(
        "{count} partitions named {name:?} on {disk}, expected one; the host lays out one partition per volume"
    )]
    Partition {
        /// Name looked for.
        name: String,
        /// The disk.
        disk: PathBuf,
        /// Partitions with that name.
        count: usize,
    },
    /// A device-mapper name or parameter does not fit the kernel's structures.
    #[error("device-mapper {what} has {found} bytes, at most {maximum} fit")]
    DeviceMapperTooLong {
        /// Which field.
        what: &'static str,
        /// Its length in bytes.
        found: usize,
        /// Largest length in bytes.
        maximum: usize,
    },
    /// A device is smaller than what is stated to be on it.
    #[error("{device} has {found} bytes, its contents need {expected}")]
    DeviceTooSmall {
        /// The device.
        device: PathBuf,
        /// Bytes needed.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A program could not be started.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn call(call: &'static str, subject: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let subject = subject.into();
        move |source| Error::Call { call, subject, source }
    }

    /// The kernel's error number, where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Call { source, .. } | Error::Run { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
