//! Is the workload running as its manifest says, and who may ask it what?
//!
//! The agent is PID 1 of the guest once init has unlocked the volume and switched to the verified
//! root. [`supervisor::run`] opens the images ([`images`]), sets up the network ([`network`],
//! [`names`]), waits for secrets ([`secrets`]), runs the containers ([`container`], [`engine`]) as
//! [`schedule`] says, answers calls ([`session`]), gives services evidence ([`service_evidence`]) and keeps the lease ([`lease`]). What decides is pure
//! and tested without a guest; what acts is thin.
//!
//! ```
//! use casemate_agent::schedule::{Action, Rules, Schedule};
//! use casemate_workload::compose::Restart;
//!
//! let rules = Rules { restart: Restart::No, healthcheck: None, depends_on: vec![], stop_grace_period_ms: 10_000 };
//! assert_eq!(Schedule::new(vec![rules]).advance(0), [Action::Start(0)]);
//! ```
//!
//! It does not protect containers of one workload from each other beyond what namespaces do, and it
//! does not protect the workload from its own owner. `docs/explanation/guest-isolation.md`.
#![forbid(unsafe_code)]

pub mod container;
pub mod engine;
pub mod entry;
pub mod evidence;
pub mod failure;
pub mod images;
pub mod lease;
pub mod limiter;
pub mod logs;
pub mod names;
pub mod network;
pub mod notices;
pub mod processes;
pub mod reap;
pub mod request;
pub mod resolver;
pub mod root;
pub mod schedule;
pub mod seccomp;
pub mod secrets;
pub mod service;
pub mod service_evidence;
pub mod session;
pub mod shutdown;
pub mod supervisor;
pub mod system;
pub mod turns;
pub mod user;
pub mod volumes;
pub mod workload;
