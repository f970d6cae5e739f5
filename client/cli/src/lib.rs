//! How does a person run an app where nobody can look, and check that it is so?
//!
//! The `casemate` command: one file per command under [`commands`], thin over the modules beside it.
//! It reads a compose file ([`project`]), turns container images into disks ([`oci`]), keeps the
//! owner's key ([`key`]) and the app's identity ([`app`]), speaks to a validator ([`api`]) or starts
//! this machine's own services ([`local`]), and believes only evidence that it verified itself, and seats
//! that signed ([`key_service`]).
//!
//! ```
//! use casemate_cli::oci::Reference;
//!
//! assert!(matches!("oci:images/db".parse()?, Reference::Layout { .. }));
//! # Ok::<(), casemate_cli::oci::OciError>(())
//! ```
//!
//! It decides nothing about evidence: `casemate-verify` does.
#![forbid(unsafe_code)]

pub mod answer;
pub mod api;
pub mod app;
pub mod application_data;
pub mod clock;
pub mod commands;
pub mod deployment;
pub mod ear;
pub mod endorsements;
mod error;
pub mod evidence;
pub mod files;
pub mod guest_image;
pub mod home;
pub mod key;
pub mod key_service;
pub mod local;
pub mod lock;
pub mod oci;
pub mod output;
pub mod policy;
pub mod project;
pub mod random;
pub mod session;
pub mod tee;
pub mod token;

pub use error::{Error, exit};
