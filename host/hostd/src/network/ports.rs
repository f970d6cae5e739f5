//! Which ports lead to the guest?

use std::io;
use std::net::{SocketAddr, TcpListener};

use casemate_api::host::PublishedPort;

use super::NetworkError;

/// Checks that every published port is free and chooses numbers for those that have none. `taken` are the ports
/// of other VMs, with their ids: on tap networks nobody listens there.
///
/// # Errors
/// [`NetworkError::PortInUse`], [`NetworkError::Address`], [`NetworkError::NotIpv4`],
/// [`NetworkError::Twice`].
pub(crate) fn claim(
    wanted: &[PublishedPort],
    taken: &[(PublishedPort, String)],
) -> Result<Vec<PublishedPort>, NetworkError> {
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
        let chosen = loop {
            let listener = TcpListener::bind(address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => {
                    NetworkError::PortInUse { address, holder: holder(port.host_port) }
                }
                _ => NetworkError::Address { address, source },
            })?;
            let chosen = listener.local_addr().map_err(|source| NetworkError::Address { address, source })?;
            held.push(listener);
            let of_another = taken.iter().find(|(other, _)| overlap(other, chosen));
            match of_another {
                None => break chosen,
                // The number is held now, so that the next choice is another one.
                Some(_) if port.host_port == 0 => {}
                Some((_, id)) => {
                    return Err(NetworkError::PortInUse { address, holder: Some(format!("VM {id}")) });
                }
            }
        };
        claimed.push(PublishedPort { host_port: chosen.port(), ..port.clone() });
    }
    Ok(claimed)
}

fn overlap(port: &PublishedPort, address: SocketAddr) -> bool {
    let any = port.host_ip.is_unspecified() || address.ip().is_unspecified();
    port.host_port == address.port() && (any || port.host_ip == address.ip())
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
        // Both ask for "any", which is not the same port twice.
        let claimed = claim(&[port(0), port(0)], &[]).unwrap();
        assert_ne!(claimed[0].host_port, 0);
        assert_ne!(claimed[0].host_port, claimed[1].host_port);
    }

    #[test]
    fn a_port_in_use_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let Err(NetworkError::PortInUse { address, holder }) = claim(&[port(number)], &[]) else {
            panic!("the port was free")
        };
        assert_eq!(address.port(), number);
        // Another test may be starting a child, which holds our descriptors for a moment.
        assert!(holder.unwrap().starts_with("pid "));
    }

    #[test]
    fn a_port_of_another_vm_is_in_use_although_nobody_listens() {
        let number = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let other = |host_ip: [u8; 4]| {
            [(PublishedPort { host_ip: host_ip.into(), ..port(number) }, "other".to_owned())]
        };
        for host_ip in [[127, 0, 0, 1], [0, 0, 0, 0]] {
            let refused = claim(&[port(number)], &other(host_ip));
            let Err(NetworkError::PortInUse { holder, .. }) = refused else { panic!("{host_ip:?}") };
            assert_eq!(holder.unwrap(), "VM other");
        }
        assert!(claim(&[port(number)], &other([192, 0, 2, 1])).is_ok());
    }

    #[test]
    fn other_addresses_are_refused_by_name() {
        let elsewhere = PublishedPort { host_ip: [192, 0, 2, 1].into(), ..port(0) };
        assert!(matches!(claim(&[elsewhere], &[]), Err(NetworkError::Address { .. })));
        let ipv6 = PublishedPort { host_ip: "::1".parse().unwrap(), ..port(0) };
        assert!(matches!(claim(&[ipv6], &[]), Err(NetworkError::NotIpv4 { .. })));
    }
}
