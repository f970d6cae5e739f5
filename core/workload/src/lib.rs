//! What is to run?
//!
//! A tenant writes `compose.yaml`; the guest and every verifier read a [`Manifest`], whose digest
//! the hardware reports. Both go through this crate, so that what a verifier believes will run and
//! what the guest runs come from one parser.
//!
//! What the compose file does not grant is denied. It does not judge whether a workload is sensible,
//! and it knows no secret values: only the names under which they arrive later.
#![forbid(unsafe_code)]

pub mod compose;
pub mod manifest;
pub mod template;

pub use manifest::{Manifest, Substitutions};

/// Why bytes are no workload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest is not one this version reads, or contradicts its compose file.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
}
