//! Intel SGX: what an enclave's report says.
//!
//! Casemate runs no enclaves; it reads their reports because Intel's Quoting Enclave vouches for TDX
//! quotes with one, and because peers run in them. Source: Intel SDM volume 3D, §38.15 (REPORT), and
//! "Intel SGX ECDSA QuoteGenReference" (Quote Library Reference), appendix A.4, "Enclave Report Body".

mod builder;
mod report;

pub use builder::ReportBuilder;
pub use report::{Attributes, Report, ReportError};
