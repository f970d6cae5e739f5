//! Which certificates endorse this evidence, and where are they?
//!
//! Endorsements come with the evidence, from a folder on disk, or from their maker: AMD's key
//! distribution service (KDS; AMD 57230 §4), Intel's provisioning certification service (PCS, version 4),
//! a cloud's cache of either, or NVIDIA's RIM service. What was fetched is kept, so that a chip is asked about once and a
//! Verifier can work without a network; a file carries it to a machine that has none.
//!
//! ```no_run
//! use casemate_endorse::{Cache, CollateralServer, Etiquette, KeyServer};
//! use casemate_verify::Roots;
//! # async fn run(bundle: casemate_evidence::bundle::Bundle, now_ms: u64) -> Result<(), casemate_endorse::Error> {
//! let server = KeyServer::amd(Etiquette::person())?;
//! let cache = Cache::online("/var/cache/casemate/endorsements", Roots::builtin(), server)
//!     .with_collateral_server(CollateralServer::intel(Etiquette::person())?);
//! let completed = cache.complete(bundle, now_ms).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It decides nothing. Only what a trusted root vouches for is kept, checked by `casemate_verify` when
//! it comes and whenever it is read; and whoever appraises checks it again. A lying server or a changed
//! file can withhold a verdict and never fake one. Time is always the caller's.
#![forbid(unsafe_code)]

mod amd;
mod azure;
mod cache;
mod error;
mod flight;
mod intel;
mod item;
mod key_server;
mod nvidia;
mod service;
mod store;

pub use azure::{AzureHost, snp_report};
pub use cache::{Cache, Completed, Revocation};
pub use error::Error;
pub use intel::{
    CollateralParts, CollateralRefusal, CollateralServer, Edition, Part, PckAuthority, Platform,
};
pub use item::{Item, Key, OfflineBundle, PlatformCollateral, SignedNumbers};
pub use key_server::KeyServer;
pub use nvidia::{ManifestRefusal, ManifestServer};
pub use service::Etiquette;
pub use store::Entry;
