//! Which certificates endorse this report, and where are they?
//!
//! Endorsements of SEV-SNP reports, from a cache on disk and, unless offline, from AMD's key
//! distribution service (KDS; AMD 57230 §4). What is fetched is stored, so that a chip is asked for once
//! and a Verifier can work without a network.
//!
//! ```no_run
//! use casemate_endorse::{Cache, KeyServer};
//! # async fn run(report: casemate_evidence::snp::Report, now_ms: u64) -> Result<(), casemate_endorse::Error> {
//! let cache = Cache::online("/var/cache/casemate/endorsements", KeyServer::amd()?);
//! let endorsements = cache.endorsements(&report, now_ms).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It decides nothing: signatures, roots, validity and revocation are checked by `casemate_verify`, so a
//! lying server or a changed cache can withhold a verdict and never fake one.
#![forbid(unsafe_code)]

mod cache;
mod error;
mod key_server;

pub use cache::Cache;
pub use error::Error;
pub use key_server::KeyServer;
