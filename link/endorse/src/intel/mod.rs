//! What does Intel publish about a kind of platform, and does its root vouch for it?
//!
//! Source: Provisioning Certification Service API, version 4. The checks themselves are
//! `casemate_verify::intel`'s.

mod cache;
mod error;
mod file;
mod server;
mod set;

pub use error::{CollateralRefusal, Edition, Part};
pub use file::CollateralParts;
pub use server::CollateralServer;
pub use set::{PckAuthority, Platform};

pub(crate) use cache::Question;
pub(crate) use server::tee_path;
pub(crate) use set::{dates, dates_of_numbers, key_of_numbers, key_of_set, tee_name};
