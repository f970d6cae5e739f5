//! What is to run?
//!
//! A tenant writes `compose.yaml`; the guest and every verifier read a [`Manifest`], whose digest
//! the hardware reports. Both go through this crate, so that what a verifier believes will run and
//! what the guest runs come from one parser.
//!
//! ```
//! use casemate_workload::{Substitutions, compose};
//!
//! let text = "services:\n  web:\n    image: nginx:1.27\n    ports: ['8080:80']\n";
//! let app = compose::parse(text, &Substitutions::default())?;
//! assert_eq!(app.services["web"].ports[0].container_port, 80);
//!
//! let refused = compose::parse("services: {web: {image: a, privileged: true}}", &Substitutions::default());
//! assert!(refused.unwrap_err().to_string().contains("privileged"));
//! # Ok::<(), casemate_workload::compose::Error>(())
//! ```
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
    /// The compose file says something that this profile does not run.
    #[error(transparent)]
    Compose(#[from] compose::Error),
    /// The manifest is not one this version reads, or contradicts its compose file.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
}
