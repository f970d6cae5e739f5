//! How does a datagram cross, and its answer come back?
//!
//! One socket of the host per port of the guest and peer, connected, so that only that peer's answers
//! come in. Whatever has no room is dropped, as on any wire.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::MsgFlags;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::uplink::Event;

/// Port in the guest, and the peer as the guest sees it.
type Pair = (u16, SocketAddrV4);

/// Everything that answers may still come for.
pub(crate) struct Datagrams {
    open: HashMap<Pair, Open>,
    events: mpsc::Sender<Event>,
}

struct Open {
    socket: Arc<UdpSocket>,
    used: Instant,
    reader: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Datagrams {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { open: HashMap::new(), events }
    }

    /// Sends `payload` to `upstream`, which the guest calls `pair`'s peer.
    pub(crate) fn send(&mut self, pair: Pair, upstream: SocketAddr, payload: &[u8]) {
        if !self.open.contains_key(&pair) {
            self.make_room();
            let Ok(socket) = connected(upstream) else { return };
            let socket = Arc::new(socket);
            let reader = tokio::spawn(read(pair, socket.clone(), self.events.clone())).abort_handle();
            self.open.insert(pair, Open { socket, used: Instant::now(), reader });
        }
        if let Some(open) = self.open.get_mut(&pair) {
            open.used = Instant::now();
            // Not tokio's: it would drop what comes before it has looked at the socket.
            let _ = nix::sys::socket::send(open.socket.as_raw_fd(), payload, MsgFlags::MSG_DONTWAIT);
        }
    }

    /// An answer came: more may.
    pub(crate) fn answered(&mut self, pair: Pair) {
        if let Some(open) = self.open.get_mut(&pair) {
            open.used = Instant::now();
        }
    }

    /// Closes what was not used for a while.
    pub(crate) fn expire(&mut self) {
        self.open.retain(|_, open| open.used.elapsed() < IDLE_TIME);
    }

    /// The one that rested longest makes way.
    fn make_room(&mut self) {
        if self.open.len() < MAXIMUM_OPEN {
            return;
        }
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used).map(|(pair, _)| *pair);
        if let Some(oldest) = oldest {
            self.open.remove(&oldest);
        }
    }
}

fn connected(upstream: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(upstream)?;
    UdpSocket::from_std(socket)
}

async fn read(pair: Pair, socket: Arc<UdpSocket>, events: mpsc::Sender<Event>) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        match socket.recv(&mut bytes).await {
            Ok(length) => {
                let payload = bytes[..length].to_vec();
                let (guest_port, peer) = pair;
                let _ = events.try_send(Event::Datagram { guest_port, peer, payload });
            }
            // The peer's host said that nobody listens; the next datagram may find someone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

const MAXIMUM_OPEN: usize = 256;
const IDLE_TIME: Duration = Duration::from_secs(60);
