//! What the end-to-end tests and the attacks share: real processes, started on free ports in scratch
//! folders, and stopped again.
#![forbid(unsafe_code)]

pub mod boot;
pub mod house;
