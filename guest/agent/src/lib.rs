//! Is the workload running as its manifest says, and who may ask it what?
#![forbid(unsafe_code)]

pub mod container;
pub mod images;
pub mod limiter;
pub mod logs;
pub mod names;
pub mod network;
pub mod processes;
pub mod resolver;
pub mod schedule;
pub mod seccomp;
pub mod system;
pub mod user;
pub mod volumes;
