//! What does a trust domain get that is none?
//!
//! Quotes of version 4 for what was launched, under a PCK chain of their own, and the collateral that speaks
//! of the platform: Intel's documents and lists, signed with keys made on the spot.

mod collateral;
mod launch;
mod platform;
mod serve;

pub(crate) use platform::{Platform, root_common_name};
pub(crate) use serve::{Arguments, run};
