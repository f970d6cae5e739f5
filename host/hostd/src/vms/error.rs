//! Why can this not be done to this VM?

use std::io;
use std::path::{Path, PathBuf};

use casemate_transport::CallError;

use crate::error::{Blame, Explain};

/// Why a verb was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// No such VM.
    #[error("no VM {id:?} on this host")]
    Absent {
        /// The id asked for.
        id: String,
    },
    /// Another VM has this id.
    #[error("a VM {id:?} with another definition exists")]
    Exists {
        /// The id.
        id: String,
    },
    /// As many as may be.
    #[error("{maximum} VMs exist, no more are allowed")]
    TooMany {
        /// The limit.
        maximum: usize,
    },
    /// It runs.
    #[error("VM {id:?} runs already")]
    AlreadyRuns {
        /// The id.
        id: String,
    },
    /// It runs, and what was asked needs it not to.
    #[error("VM {id:?} runs; only a stopped VM can be removed")]
    StillRuns {
        /// The id.
        id: String,
    },
    /// It does not run.
    #[error("VM {id:?} does not run")]
    NotRunning {
        /// The id.
        id: String,
    },
    /// It was never started.
    #[error("VM {id:?} was never started")]
    NeverRan {
        /// The id.
        id: String,
    },
    /// Not an id.
    #[error("VM id {found:?}; expected 1 to 40 of a-z, 0-9 and '-', not beginning with '-'")]
    Id {
        /// What was given.
        found: String,
    },
    /// Not a seat's address.
    #[error("seat address {found:?}; expected http://HOST:PORT or unix:/absolute/path")]
    SeatUrl {
        /// What was given.
        found: String,
    },
    /// Not an image disk's serial, or the same one twice.
    #[error("disk serial {found:?}; expected 20 hexadecimal digits of the root hash, each once")]
    Serial {
        /// What was given.
        found: String,
    },
    /// Sockets would have longer names than the kernel takes.
    #[error("state directory {} is too long for Unix sockets below it", path.display())]
    StatePathTooLong {
        /// The directory.
        path: PathBuf,
    },
    /// QEMU ended at once.
    #[error("QEMU ended before it ran the guest: {last_line}")]
    QemuEnded {
        /// What it said last.
        last_line: String,
    },
    /// The guest's agent did not answer.
    #[error("the guest's agent did not answer: {source}")]
    Agent {
        /// Why.
        source: CallError,
    },
    /// The state directory cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A file of the daemon's own is not what it wrote.
    #[error("{} is not as casemate-hostd wrote it: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl VmError {
    pub(crate) fn storage(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Storage { path, source }
    }
}

impl Explain for VmError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Self::Absent { .. } => ("vm_absent", Blame::Absent, "list VMs with GET /v1/vms"),
            Self::Exists { .. } => {
                ("vm_exists", Blame::Conflict, "choose another id, or remove that VM first")
            }
            Self::TooMany { .. } => ("too_many_vms", Blame::NoRoom, "remove a VM, or raise --max-vms"),
            Self::AlreadyRuns { .. } => ("vm_runs", Blame::Conflict, "stop it first"),
            Self::StillRuns { .. } => ("vm_runs", Blame::Conflict, "stop or kill it first"),
            Self::NotRunning { .. } => ("vm_not_running", Blame::Conflict, "start it first"),
            Self::NeverRan { .. } => ("vm_never_ran", Blame::Conflict, "start it, or remove it"),
            Self::Id { .. } => ("vm_id", Blame::Request, "choose a shorter, plainer id"),
            Self::SeatUrl { .. } => ("seat_url", Blame::Request, "correct the seat's address"),
            Self::Serial { .. } => ("disk_serial", Blame::Request, "take the digits from compose.lock"),
            Self::StatePathTooLong { .. } => ("state_path", Blame::Host, "choose a shorter --state"),
            Self::QemuEnded { .. } => ("qemu_refused", Blame::Host, "run `casemate doctor`"),
            Self::Agent { source: CallError::Frame(_) } => {
                ("agent_request", Blame::TooLarge, "send less than 1 MiB at a time")
            }
            Self::Agent { .. } => {
                ("agent_silent", Blame::Guest, "wait until its phase is ready; its console may say more")
            }
            Self::Storage { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ("disk_full", Blame::NoRoom, "free space in the state directory")
            }
            Self::Storage { .. } => ("storage", Blame::Host, "check owner and mode of the state directory"),
            Self::Record { .. } => ("record", Blame::Host, "restore the file, or remove that VM's folder"),
        }
    }
}
