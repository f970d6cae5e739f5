//! Where on its host's side may a guest's egress lead?
//!
//! A workload's egress rules are its agent's; these are the host's own. A guest that is let out reaches
//! public addresses, never the loopback of its host, and neither the host's own addresses nor private
//! networks unless the operator names them. Every network that a host offers applies this one list: the
//! user network asks [`Reach::permits`], the tap network writes it as nftables rules.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::str::FromStr;

/// The guest's address on every host; `docs/reference/boot.md` fixes it.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The guest's router.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Where the guest asks for names.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The guest's own network, which exists once per guest.
pub const GUEST_NETWORK: Network = Network::of([10, 0, 2, 0], 24);

/// Networks that no operator can open (IANA IPv4 Special-Purpose Address Registry).
///
/// Linux takes a connection to 0.0.0.0 for one to its own loopback.
pub const NEVER: &[Network] = &[
    Network::of([0, 0, 0, 0], 8),
    GUEST_NETWORK,
    Network::of([127, 0, 0, 0], 8),
    Network::of([224, 0, 0, 0], 4),
    Network::of([240, 0, 0, 0], 4),
];

/// Networks that lead behind the host, closed unless the operator opens them.
pub const PRIVATE: &[Network] = &[
    Network::of([10, 0, 0, 0], 8),
    Network::of([100, 64, 0, 0], 10), // RFC 6598; also the addresses of the overlay
    Network::of([169, 254, 0, 0], 16), // RFC 3927; clouds serve credentials there
    Network::of([172, 16, 0, 0], 12),
    Network::of([192, 168, 0, 0], 16),
    Network::of([198, 18, 0, 0], 15), // RFC 2544; the links of tap networks
];

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: Ipv4Addr,
    prefix: u8,
}

impl Network {
    const fn of(address: [u8; 4], prefix: u8) -> Self {
        Self { address: Ipv4Addr::new(address[0], address[1], address[2], address[3]), prefix }
    }

    /// The network's first address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Length of the prefix, 0 to 32.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ u32::from(self.address)) & self.mask() == 0
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

/// Why text is no network that can be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Not a network.
    #[error("{found:?}; expected an IPv4 network such as 192.168.1.0/24, or one address")]
    Malformed {
        /// What was given, cut.
        found: String,
    },
    /// Bits beyond the prefix.
    #[error("{found}: bits beyond the prefix are set; did you mean {meant}?")]
    HostBits {
        /// What was given, cut.
        found: String,
        /// The network that holds it.
        meant: Network,
    },
    /// A network that stays closed.
    #[error("{found} lies in {closed}, which no guest reaches: leave it out")]
    Never {
        /// What was given.
        found: Network,
        /// The closed network.
        closed: Network,
    },
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let found = || text.chars().take(40).collect::<String>();
        let malformed = || NetworkError::Malformed { found: found() };
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        let plain = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| plain && *prefix <= 32).ok_or_else(malformed)?;
        let network = Network { address, prefix };
        let meant = Network { address: Ipv4Addr::from(u32::from(address) & network.mask()), prefix };
        if meant != network {
            return Err(NetworkError::HostBits { found: found(), meant });
        }
        let inside = |closed: &&Network| closed.prefix <= prefix && closed.contains(address);
        match NEVER.iter().find(inside) {
            Some(closed) => Err(NetworkError::Never { found: network, closed: *closed }),
            None => Ok(network),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What an operator opens beyond public addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Networks that guests reach although they are private, or hold the host itself.
    pub opened: Vec<Network>,
}

/// Why an address is not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// No guest reaches it, whatever the operator says.
    Never,
    /// It is the host's own.
    Host,
    /// It leads behind the host.
    Private,
}

impl Reach {
    /// Whether a guest may talk to `address`, on a host that has the addresses `own`.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn permits(&self, address: Ipv4Addr, own: &[Ipv4Addr]) -> Result<(), Closed> {
        let lies_in = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        if lies_in(NEVER) {
            return Err(Closed::Never);
        }
        if lies_in(&self.opened) {
            return Ok(());
        }
        if own.contains(&address) {
            return Err(Closed::Host);
        }
        if lies_in(PRIVATE) { Err(Closed::Private) } else { Ok(()) }
    }
}

/// The name servers of a file such as `/etc/resolv.conf` (resolv.conf(5)), in its order.
pub fn name_servers(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = (words.next()? == "nameserver").then(|| words.next()?.parse::<IpAddr>().ok())??;
        Some(SocketAddr::new(address, NAME_SERVER_PORT))
    })
}

const NAME_SERVER_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_are_open_and_the_rest_has_its_reason() {
        let own = [address("203.0.113.1"), address("192.168.1.2")];
        let found = |text: &str| Reach::default().permits(address(text), &own);
        for open in ["1.1.1.1", "203.0.113.2", "11.0.0.0", "172.32.0.1", "223.255.255.255", "192.0.2.1"] {
            assert_eq!(found(open), Ok(()), "{open}");
        }
        for never in ["127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "10.0.2.2", "10.0.2.15"] {
            assert_eq!(found(never), Err(Closed::Never), "{never}");
        }
        for never in ["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"] {
            assert_eq!(found(never), Err(Closed::Never), "{never}");
        }
        for host in ["203.0.113.1", "192.168.1.2"] {
            assert_eq!(found(host), Err(Closed::Host), "{host}");
        }
        for private in
            ["10.0.3.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.3", "198.19.0.1"]
        {
            assert_eq!(found(private), Err(Closed::Private), "{private}");
        }
    }

    #[test]
    fn an_operator_opens_private_networks_and_never_the_loopback() {
        let own = [address("192.168.1.2")];
        let reach = Reach { opened: vec!["192.168.1.0/24".parse().unwrap(), "0.0.0.0/0".parse().unwrap()] };
        assert_eq!(reach.permits(address("192.168.1.2"), &own), Ok(()));
        assert_eq!(reach.permits(address("10.9.9.9"), &own), Ok(()));
        for never in ["127.0.0.1", "0.0.0.0", "10.0.2.2", "255.255.255.255"] {
            assert_eq!(reach.permits(address(never), &own), Err(Closed::Never), "{never}");
        }
    }

    #[test]
    fn name_servers_are_those_of_usable_lines() {
        let found = |text: &str| name_servers(text).map(|server| server.to_string()).collect::<Vec<_>>();
        let text = "# nameserver 192.0.2.1\nsearch example.org\nnameserver none\n nameserver 127.0.0.53 \nnameserver ::1";
        assert_eq!(found(text), ["127.0.0.53:53", "[::1]:53"]);
        assert!(found("options ndots:1\n").is_empty());
    }

    #[test]
    fn networks_are_read_in_one_spelling() {
        let read = |text: &str| text.parse::<Network>();
        assert_eq!(read("192.168.1.0/24").unwrap().to_string(), "192.168.1.0/24");
        assert_eq!(read("192.168.1.7").unwrap().to_string(), "192.168.1.7/32");
        for text in ["", "192.168.1.0/33", "192.168.1.0/+8", "192.168.1/24", "localhost", "::1", "1.1.1.1/"] {
            assert!(matches!(read(text), Err(NetworkError::Malformed { .. })), "{text}");
        }
        assert!(
            matches!(read("192.168.1.7/24"), Err(NetworkError::HostBits { meant, .. }) if meant.to_string() == "192.168.1.0/24")
        );
        for text in ["127.0.0.1", "127.0.0.0/8", "10.0.2.0/25", "0.0.0.0/8", "255.255.255.255"] {
            assert!(matches!(read(text), Err(NetworkError::Never { .. })), "{text}");
        }
    }
}
