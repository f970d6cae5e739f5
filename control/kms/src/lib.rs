//! One seat of the key service: who gets which key, decided once and on the record.
//!
//! The service parses, appraises (with `casemate-verify`), keeps state and clock; every decision is
//! `casemate_release::seat`'s. Keys are derived for each answer, sealed to the guest and forgotten.
//!
//! ```no_run
//! # async fn run() -> Result<(), casemate_kms::Error> {
//! use casemate_kms::{Options, StateFolder, serve};
//!
//! let folder = StateFolder::open("/var/lib/casemate-kms".as_ref())?;
//! let options = Options::default(); // no simulated roots, whatever the floor policy lists
//! serve(folder, options, "unix:/run/casemate-kms.sock".parse()?, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Whoever can write its state folder can roll it back: with a single seat (n = 1) that brings back old
//! volume states. More seats, and a confidential VM around each, are what protects against that.
#![forbid(unsafe_code)]

mod admission;
mod appraise;
mod backup;
mod check;
mod error;
mod folder;
mod http;
mod limit;
mod lookups;
mod recent;
mod records;
mod service;
mod store;
mod unfinished;

pub use admission::TooMany;
pub use backup::{back_up, restore};
pub use check::{Finding, Report, Standing, State, check};
pub use error::Error;
pub use folder::{Birthday, StateFolder};
pub use http::{Listen, serve};
pub use limit::{Full, Limits};
pub use service::{Options, Service};
