//! Which ports lead to the guest, and where may it go?

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use casemate_api::host::PublishedPort;

use crate::error::{Blame, Explain};

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
    /// QEMU's user network publishes on IPv4 only.
    #[error("user networks publish ports on IPv4 addresses, not on {address}")]
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
    /// Taps need rights that hostd does not have.
    #[error("tap networks need CAP_NET_ADMIN, /dev/net/tun and nft")]
    NoTaps,
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
            Self::NoTaps => ("no_taps", Blame::Host, "run hostd as root, or use the `user` network"),
        }
    }
}

/// Checks that every published port is free and chooses numbers for those that have none.
///
/// # Errors
/// Each variant of [`NetworkError`] but the last.
pub fn claim_ports(wanted: &[PublishedPort]) -> Result<Vec<PublishedPort>, NetworkError> {
    // All are held until the last is known, or two that the host chooses could be the same.
    let mut held = Vec::new();
    let mut claimed: Vec<PublishedPort> = Vec::new();
    for port in wanted {
        if port.host_ip.is_ipv6() {
            return Err(NetworkError::NotIpv4 { address: port.host_ip });
        }
        let address = SocketAddr::new(port.host_ip, port.host_port);
        let same = |other: &PublishedPort| (other.host_ip, other.host_port) == (port.host_ip, port.host_port);
        if claimed.iter().any(same) {
            return Err(NetworkError::Twice { address });
        }
        let listener = TcpListener::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => NetworkError::PortInUse { address, holder: holder(port.host_port) },
            _ => NetworkError::Address { address, source },
        })?;
        let chosen = listener.local_addr().map_err(|source| NetworkError::Address { address, source })?;
        claimed.push(PublishedPort { host_port: chosen.port(), ..port.clone() });
        held.push(listener);
    }
    Ok(claimed)
}

/// Name of a VM's tap device: at most 15 bytes, as the kernel wants.
pub fn tap_name(id: &str) -> String {
    format!("cm{}", &casemate_crypto::hash::sha256(id.as_bytes()).to_string()[..10])
}

/// Who listens on this port, if `/proc` says so.
fn holder(port: u16) -> Option<String> {
    const LISTENING: &str = "0A";
    let suffix = format!(":{port:04X}");
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        std::fs::read_to_string(table).ok()?.lines().skip(1).find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTENING;
            listens.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
        })
    })?;
    for entry in std::fs::read_dir("/proc").ok()? {
        let process = entry.ok()?.path();
        let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { continue };
        let mut links = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.ok()?.path()).ok());
        if links.any(|link| link.as_os_str() == inode.as_str()) {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            return Some(format!("pid {} ({})", process.file_name()?.to_str()?, name.trim_end()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16) -> PublishedPort {
        PublishedPort { host_ip: [127, 0, 0, 1].into(), host_port, guest_port: 80 }
    }

    #[test]
    fn port_zero_is_chosen_and_no_two_are_the_same() {
        let claimed = claim_ports(&[port(0), port(0)]);
        // Both ask for "any", which is not the same port twice.
        let claimed = claimed.unwrap();
        assert_ne!(claimed[0].host_port, 0);
        assert_ne!(claimed[0].host_port, claimed[1].host_port);
    }

    #[test]
    fn a_port_in_use_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let Err(NetworkError::PortInUse { address, holder }) = claim_ports(&[port(number)]) else {
            panic!("the port was free")
        };
        assert_eq!(address.port(), number);
        // Another test may be starting a child, which holds our descriptors for a moment.
        assert!(holder.unwrap().starts_with("pid "));
    }

    #[test]
    fn other_addresses_are_refused_by_name() {
        let elsewhere = PublishedPort { host_ip: [192, 0, 2, 1].into(), ..port(0) };
        assert!(matches!(claim_ports(&[elsewhere]), Err(NetworkError::Address { .. })));
        let ipv6 = PublishedPort { host_ip: "::1".parse().unwrap(), ..port(0) };
        assert!(matches!(claim_ports(&[ipv6]), Err(NetworkError::NotIpv4 { .. })));
    }
}
