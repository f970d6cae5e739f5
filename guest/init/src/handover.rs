//! What does the agent begin with?

use std::{convert::Infallible, fs, io, io::Write, os::unix::fs::OpenOptionsExt};

use casemate_api::handover::{self, Handover};
use casemate_canon::to_cbor;

use crate::root;

/// Leaves `handover` for the agent.
///
/// # Errors
/// [`HandoverError::Write`].
pub fn write(handover: &Handover) -> Result<(), HandoverError> {
    let write = || {
        if let Some(folder) = std::path::Path::new(handover::PATH).parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(handover::PATH)?;
        file.write_all(&to_cbor(handover))
    };
    write().map_err(HandoverError::Write)
}

/// Becomes the agent.
///
/// # Errors
/// [`HandoverError::Execute`]; returns only then.
pub fn execute() -> Result<Infallible, HandoverError> {
    root::become_agent().map_err(HandoverError::Execute)
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// What it needs cannot be left.
    #[error("writing {path}: {0}", path = handover::PATH)]
    Write(#[source] io::Error),
    /// It cannot be executed.
    #[error("executing {path}: {0}; the image must hold the agent", path = handover::AGENT)]
    Execute(#[source] io::Error),
}
