//! Is the workload running as its manifest says, and who may ask it what?
#![forbid(unsafe_code)]

pub mod container;
pub mod logs;
pub mod names;
pub mod network;
pub mod schedule;
pub mod seccomp;
pub mod user;
