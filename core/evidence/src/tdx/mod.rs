//! Intel TDX: what a trust domain's report says.
//!
//! Source: "Intel TDX DCAP Quoting Library API", revision 0.9, appendix A.3 and A.4, and "Intel TDX
//! Module Base Architecture / ABI Specification" 1.5 (344425, 348551), structures TDREPORT and
//! TDINFO. The quote around a report is in [`crate::intel`].

mod attributes;
mod builder;
mod registers;
mod report;

pub use attributes::{AttributesError, TdAttributes, Xfam};
pub use builder::ReportBuilder;
pub use registers::LaunchRegisters;
pub use report::{Report, ReportError, ServiceTd, TeeTcbSvn};
