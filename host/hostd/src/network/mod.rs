//! How does a guest reach the network, and the network the guest?

pub(crate) mod ports;
pub mod tap;
mod uplink;

use std::io;
use std::net::{IpAddr, SocketAddr};

use casemate_api::host::NetworkKind;

use self::tap::{TapError, Taps};
pub use self::uplink::Uplink;
use crate::error::{Blame, Explain};
use crate::helper::HelperError;

/// Why a network cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Something else listens there.
    #[error("port {address} is in use{}", .holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default())]
    PortInUse {
        /// Address and port.
        address: SocketAddr,
        /// Name and number of the process, where the host may know it.
        holder: Option<String>,
    },
    /// The address is none of this host's, or not allowed to us.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// Address and port.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// Guests have no IPv6.
    #[error("ports are published on IPv4 addresses, not on {address}")]
    NotIpv4 {
        /// The address.
        address: IpAddr,
    },
    /// The same port twice.
    #[error("port {address} is published twice")]
    Twice {
        /// Address and port.
        address: SocketAddr,
    },
    /// The definition wants what this host does not have.
    #[error("the VM wants a {} network, this host has {} networks", word(*.wanted), word(*.found))]
    Kind {
        /// What the definition says.
        wanted: NetworkKind,
        /// What this host has.
        found: NetworkKind,
    },
    /// The process that carries packets did not start.
    #[error(transparent)]
    Uplink(#[from] HelperError),
    /// There is no tap network.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A VM runs on what this daemon does not offer.
    #[error("VM {id:?} runs with a {} network, and casemate-hostd was started with {} networks", word(*.found), word(*.offered))]
    RunsOn {
        /// The VM.
        id: String,
        /// Its network.
        found: NetworkKind,
        /// Those of this daemon.
        offered: NetworkKind,
    },
}

/// What carries packets on this host: one kind for all VMs.
///
/// Both publish TCP ports on IPv4 addresses, let a guest out only as far as [`casemate_api::reach`] says, and
/// give it the same addresses.
#[derive(Debug, Clone)]
pub enum Network {
    /// A process per VM, which needs no rights.
    User(Uplink),
    /// The kernel of the host.
    Tap(Taps),
}

impl Network {
    /// Which kind.
    pub fn kind(&self) -> NetworkKind {
        match self {
            Self::User(_) => NetworkKind::User,
            Self::Tap(_) => NetworkKind::Tap,
        }
    }
}

fn word(kind: NetworkKind) -> &'static str {
    match kind {
        NetworkKind::Tap => "tap",
        _ => "user",
    }
}

impl Explain for NetworkError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Self::PortInUse { .. } => {
                ("port_in_use", Blame::Conflict, "publish another port (0 chooses one), or end the holder")
            }
            Self::Address { .. } => {
                ("port_address", Blame::Request, "use an address of this host; below 1024 needs rights")
            }
            Self::NotIpv4 { .. } => ("port_ipv6", Blame::Request, "publish on 127.0.0.1 or 0.0.0.0"),
            Self::Twice { .. } => ("port_twice", Blame::Request, "publish each port once"),
            Self::Kind { .. } => (
                "network_kind",
                Blame::Request,
                "leave `network.kind` out: the host decides, guests see no difference",
            ),
            Self::Tap(error) => error.explain(),
            Self::RunsOn { .. } => (
                "network_kind",
                Blame::Host,
                "start it with the other `--network`, and stop that VM before you change it",
            ),
            Self::Uplink(_) => (
                "uplink_failed",
                Blame::Host,
                "run `casemate-uplink` by hand to see why, or reinstall Casemate",
            ),
        }
    }
}
