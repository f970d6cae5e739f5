//! What the end-to-end tests and the attacks share: real processes, started on free ports in scratch
//! folders, and stopped again.
//!
//! Nothing here is a mock. A test that needs a program or a file that is not there fails and says how
//! to make it.
#![forbid(unsafe_code)]

pub mod boot;
pub mod carrier;
pub mod hostile;
pub mod house;
pub mod machine;
pub mod page;
