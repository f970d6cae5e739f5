//! Which packets of this guest leave its host, and which come in?
//!
//! One process per VM speaks Ethernet with QEMU over a Unix socket and ordinary sockets with the rest
//! of the world, so that a guest has a network without its host giving anyone rights. TCP ends here on
//! both sides ([`smoltcp`] towards the guest), datagrams are repacked: no packet of the guest's making
//! ever reaches the host's network, only connections that [`casemate_api::reach`] permits.
//!
//! ```no_run
//! # async fn carry() -> Result<(), casemate_uplink::Error> {
//! use casemate_uplink::{Settings, Uplink};
//! let uplink = Uplink::new(Settings { published: vec!["127.0.0.1:8080:80".parse()?], ..Settings::default() }).await?;
//! let qemu = tokio::net::UnixStream::connect("net.sock").await.expect("QEMU listens");
//! uplink.run(qemu).await
//! # }
//! ```
//!
//! It does not decide what the workload may reach: that is the agent's, inside the guest. IPv6, ICMP and
//! fragments do not exist here. Why it exists: `docs/decisions/0008-our-own-uplink.md`.
#![forbid(unsafe_code)]

mod connections;
mod datagrams;
mod frames;
mod packet;
mod resolver;
mod settings;
mod uplink;
mod wire;

pub use settings::{Error, Published, Settings};
pub use uplink::Uplink;
