//! What does the paravisor of a confidential VM of Azure hand over?
//!
//! The report that it leaves in the vTPM's NV index 0x01400001: a TEE's report, and data of the paravisor
//! whose digest that report carries, the vTPM's keys among it. Source: Microsoft OpenHCL,
//! `openhcl_attestation_protocol::igvm_attest::get`; numbers are little-endian.

mod report;
mod runtime;

pub use report::{HclReport, HclReportError, ReportType};
pub use runtime::{Key, RuntimeData, RuntimeDataError, Scalar};
