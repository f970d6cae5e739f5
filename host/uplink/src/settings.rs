//! What may pass, and what goes wrong?

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;

use casemate_api::reach::Reach;

/// What one guest may do on the network.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where connections from the guest may lead; `None`: nowhere.
    pub outbound: Option<Reach>,
    /// Ports that lead to the guest.
    pub published: Vec<Published>,
    /// Who is asked for names on the guest's behalf; by default the first of `/etc/resolv.conf`.
    pub resolver: Option<SocketAddr>,
}

/// A port of the host that leads to one of the guest, written `ADDRESS:PORT:GUEST_PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where to listen.
    pub listen: SocketAddrV4,
    /// Port in the guest.
    pub guest_port: u16,
}

impl FromStr for Published {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Published { found: text.chars().take(80).collect() };
        let (listen, guest_port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let (address, port) = listen.rsplit_once(':').ok_or_else(malformed)?;
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(malformed);
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        Ok(Self { listen: SocketAddrV4::new(address, number(port)?), guest_port: number(guest_port)? })
    }
}

/// Why a guest has no network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a published port.
    #[error("{found:?}; expected ADDRESS:PORT:GUEST_PORT with an IPv4 address and ports from 1 on")]
    Published {
        /// What was given, cut.
        found: String,
    },
    /// The port cannot be listened on.
    #[error("cannot listen on {address}: {source}; publish another port, or end its holder")]
    Listen {
        /// The port.
        address: SocketAddrV4,
        /// What the kernel says.
        source: io::Error,
    },
    /// QEMU's socket is not there.
    #[error("cannot reach QEMU at {}: {source}; it must run with `-netdev stream,server=on`", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The socket broke.
    #[error("QEMU's socket failed: {0}")]
    Stream(#[source] io::Error),
    /// What comes is no frame.
    #[error("a frame of {found} bytes, at most {maximum} are possible; is this QEMU's network socket?")]
    Frame {
        /// Length announced.
        found: usize,
        /// Longest frame.
        maximum: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_are_read_in_one_spelling() {
        let port: Published = "127.0.0.1:8080:80".parse().unwrap();
        assert_eq!((port.listen.to_string().as_str(), port.guest_port), ("127.0.0.1:8080", 80));
        for text in
            ["8080:80", "127.0.0.1:0:80", "127.0.0.1:80:0", "[::1]:80:80", "127.0.0.1:80", "a:1:1", "::"]
        {
            assert!(matches!(text.parse::<Published>(), Err(Error::Published { .. })), "{text}");
        }
    }
}
