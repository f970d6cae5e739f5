//! Who may have this key?
//!
//! A guest shows one report to all seats of a key service; each seat that is satisfied gives its part of
//! every key asked for, sealed to a key in that report. The host carries the messages; it learns nothing
//! and can change nothing but availability.
//!
//! - [`report_data`]: what the hardware signs, for which purpose
//! - [`challenge`]: freshness at a seat
//! - [`derive`]: which key follows from which inputs, t of n
//! - [`message`], [`session`]: what travels
//! - [`guest`], [`seat`]: both sides, as pure state machines
//!
//! ```
//! use casemate_release::report_data::{MAGIC, Purpose, report_data};
//!
//! let data = report_data(Purpose::Application, &[b"chosen by a workload"]);
//! assert_eq!(data.as_bytes()[..8], *b"CSM1appl");
//! assert_eq!(data.as_bytes()[..4], MAGIC);
//! ```
//!
//! It does not judge evidence: a seat hands it what `casemate-verify` accepted, and nothing less.
#![forbid(unsafe_code)]

pub mod challenge;
pub mod derive;
pub mod guest;
pub mod message;
pub mod report_data;
pub mod seat;
pub mod session;

#[cfg(test)]
mod test_random;

/// HPKE info of a proposed salt.
pub(crate) const SALT_INFO: &[u8] = b"casemate/1/volume-salt";
/// HPKE info of a grant.
pub(crate) const GRANT_INFO: &[u8] = b"casemate/1/grant";
/// Generation of a volume that was never erased.
pub(crate) const VOLUME_FIRST_GENERATION: u32 = 1;
