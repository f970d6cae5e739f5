//! Why did the guest not start?

use casemate_api::progress::FailureCode;

use crate::{
    clock::ClockError, command_line::CommandLineError, environment::EnvironmentError,
    handover::HandoverError, launch::LaunchError, relay::RelayError, root::RootError, seats::SeatsError,
    volume::VolumeError, workload::WorkloadError,
};

/// Why the guest did not start, by step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What every guest needs of its kernel.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The measured command line.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    /// The stream to the host.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The root filesystem.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The launch disk.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The manifest and what belongs to it.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The key service.
    #[error(transparent)]
    Seats(#[from] SeatsError),
    /// The time.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// A volume.
    #[error("volume {name}: {source}")]
    Volume {
        /// Name in the manifest.
        name: String,
        /// What is wrong with it.
        source: VolumeError,
    },
    /// The agent.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

impl Error {
    /// The code in the public notice.
    pub fn code(&self) -> FailureCode {
        match self {
            Error::Environment(_) => FailureCode::Environment,
            Error::CommandLine(_) => FailureCode::CommandLine,
            Error::Relay(error) => error.code(),
            Error::Root(error) => error.code(),
            Error::Launch(error) => error.code(),
            Error::Workload(error) => error.code(),
            Error::Seats(error) => error.code(),
            Error::Clock(_) => FailureCode::ClockRefused,
            Error::Volume { source, .. } => source.code(),
            Error::Handover(_) => FailureCode::HandoverFailed,
        }
    }
}
