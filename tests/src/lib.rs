//! What the end-to-end tests and the attacks share: real processes, started on free ports in scratch
//! folders, and stopped again.
//!
//! Nothing here is a mock. A test that needs a program or a file that is not there fails and says how
//! to make it.
#![forbid(unsafe_code)]

pub mod boot;
pub mod carrier;
pub mod findings;
pub mod hostile;
pub mod house;
pub mod http;
pub mod keys;
pub mod machine;
pub mod memory;
pub mod namespaces;
pub mod page;
pub mod partition;
pub mod processes;
pub mod seat;
pub mod seat_process;
pub mod services;
pub mod tap;
// The machine made of software that `casemate-verify` tests itself with.
#[allow(missing_docs)]
#[path = "../../core/verify/tests/support/mod.rs"]
pub mod tee;
