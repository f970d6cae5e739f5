//! casemate-verify
#![forbid(unsafe_code)]
pub mod snp;
mod trust;
pub use trust::{AcceptSimulated, AmdRoot, Roots, SimulatedRoot, TrustClass};
