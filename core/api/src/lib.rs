//! What do the services say to each other?
//!
//! Types that two sides must agree on: what a guest boots with and reports, what may be asked of a
//! host, of the validator and of a running guest. They decide nothing.
#![forbid(unsafe_code)]

pub mod agent;
pub mod handover;
pub mod host;
pub mod launch;
pub mod problem;
pub mod progress;
pub mod reach;
pub mod validator;
