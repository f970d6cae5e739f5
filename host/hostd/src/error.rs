//! What went wrong, and what does the caller do now?

use casemate_api::problem::Problem;

use crate::{blobs, disks, image, network, processes, qemu, qmp, tee, vms};

/// Everything that can go wrong here, by the module that found it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// About stored files.
    #[error(transparent)]
    Blob(#[from] blobs::BlobError),
    /// About data disks.
    #[error(transparent)]
    Disk(#[from] disks::DiskError),
    /// About guest images.
    #[error(transparent)]
    Image(#[from] image::ImageError),
    /// About networks and ports.
    #[error(transparent)]
    Network(#[from] network::NetworkError),
    /// About child processes.
    #[error(transparent)]
    Process(#[from] processes::ProcessError),
    /// About QEMU's command line.
    #[error(transparent)]
    Qemu(#[from] qemu::QemuError),
    /// About QEMU's control socket.
    #[error(transparent)]
    Qmp(#[from] qmp::QmpError),
    /// About the simulated TEE.
    #[error(transparent)]
    Tee(#[from] tee::TeeError),
    /// About VMs and their lives.
    #[error(transparent)]
    Vm(#[from] vms::VmError),
}

/// Which kind of answer an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request cannot be right.
    Request,
    /// What is named does not exist.
    Absent,
    /// It does not go with how things are now.
    Conflict,
    /// It is too much.
    TooLarge,
    /// The host has no room.
    NoRoom,
    /// The guest does not answer.
    Guest,
    /// The host is at fault.
    Host,
}

/// Code, kind and hint of an error.
pub trait Explain: std::error::Error {
    /// Stable word for programs, kind, and what to do next.
    fn explain(&self) -> (&'static str, Blame, &'static str);
}

impl Error {
    /// Stable word for programs, kind, and what to do next.
    pub fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Error::Blob(error) => error.explain(),
            Error::Disk(error) => error.explain(),
            Error::Image(error) => error.explain(),
            Error::Network(error) => error.explain(),
            Error::Process(error) => error.explain(),
            Error::Qemu(error) => error.explain(),
            Error::Qmp(error) => error.explain(),
            Error::Tee(error) => error.explain(),
            Error::Vm(error) => error.explain(),
        }
    }

    /// As the API says it.
    pub fn problem(&self) -> Problem {
        let (code, _, hint) = self.explain();
        Problem { code: code.into(), message: self.to_string(), hint: Some(hint.into()) }
    }
}
