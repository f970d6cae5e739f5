//! How does a VM come to run on this host?
//!
//! `casemate-hostd` keeps files by their digest, makes disks, starts QEMU, and carries messages
//! between a guest and the seats of the key service. It is the adversary's side: it holds no secret,
//! and everything a guest or tenant sends through it is opaque to it. It may refuse service; it
//! cannot read or change a guest that is measured and attested.
//!
//! VMs outlive the daemon: it finds running ones again when it restarts.
#![forbid(unsafe_code)]

pub mod accelerator;
pub mod api;
pub mod blobs;
pub mod capabilities;
pub mod disks;
pub mod error;
pub mod gpt;
pub mod helper;
pub mod image;
pub mod network;
pub mod processes;
pub mod qemu;
pub mod qmp;
pub mod relay;
mod supervise;
pub mod tee;
mod trial;
pub mod vms;

pub use error::Error;
