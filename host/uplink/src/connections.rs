//! How does a connection cross from the guest to the world, or back?
//!
//! Each is two: one with the guest, in the TCP stack here, and one with its peer, a socket of the host.
//! A connection that the guest opens is answered only once its peer has answered, so that the guest
//! sees a refusal as a refusal.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use casemate_api::reach::{GUEST, GUEST_NETWORK, ROUTER};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::Instant;
use smoltcp::wire::IpEndpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::uplink::Event;
use crate::wire::Wire;

/// Every connection of the guest.
pub(crate) struct Connections {
    sockets: SocketSet<'static>,
    open: HashMap<SocketHandle, Connection>,
    /// Connections that the guest asked for and whose peer has not answered yet.
    dialled: HashSet<(u16, SocketAddrV4)>,
    next_port: u16,
    events: mpsc::Sender<Event>,
    /// Wakes whoever moves bytes.
    moved: Arc<Notify>,
}

struct Connection {
    guest_port: u16,
    /// The other end, as the guest sees it.
    peer: SocketAddrV4,
    /// Nothing once the guest has said its last.
    to_peer: Option<mpsc::Sender<Vec<u8>>>,
    from_peer: mpsc::Receiver<FromPeer>,
    /// What the peer sent and the guest has no room for yet.
    unsent: Vec<u8>,
    peer_is_done: bool,
    /// Nothing once the peer is to hear a reset, after which the carrier ends by itself.
    carrier: Option<AbortHandle>,
    reset: Option<oneshot::Sender<()>>,
}

enum FromPeer {
    Bytes(Vec<u8>),
    End,
    Reset,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(carrier) = &self.carrier {
            carrier.abort();
        }
    }
}

impl Connections {
    pub(crate) fn new(events: mpsc::Sender<Event>, moved: Arc<Notify>) -> Self {
        Self {
            sockets: SocketSet::new(Vec::new()),
            open: HashMap::new(),
            dialled: HashSet::new(),
            next_port: FIRST_PORT,
            events,
            moved,
        }
    }

    /// Whether the stack is to see a segment that asks for this connection: one that it knows.
    pub(crate) fn knows(&mut self, guest_port: u16, peer: SocketAddrV4) -> bool {
        let found = self.open.iter().find(|(_, open)| (open.guest_port, open.peer) == (guest_port, peer));
        let Some((&handle, _)) = found else { return false };
        // The guest begins anew what was closed a moment ago.
        if self.sockets.get::<tcp::Socket>(handle).state() == State::TimeWait {
            self.forget(handle);
            return false;
        }
        true
    }

    /// Connects to `peer` for the guest, which asked by `frame`. The outcome is an event.
    pub(crate) fn dial(&mut self, guest_port: u16, peer: SocketAddrV4, frame: Vec<u8>) {
        // The guest asks again while it waits; beyond the limit it may ask later.
        if self.dialled.len() >= MAXIMUM_DIALLED || !self.dialled.insert((guest_port, peer)) {
            return;
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            let connected = tokio::time::timeout(DIAL_TIME, TcpStream::connect(peer)).await;
            let stream = connected.ok().and_then(Result::ok);
            let _ = events.send(Event::Dialled { guest_port, peer, frame, stream }).await;
        });
    }

    /// Goes on with what [`Connections::dial`] began; false if the guest is to hear a refusal.
    pub(crate) fn dialled(
        &mut self,
        interface: &mut Interface,
        wire: &mut Wire,
        (guest_port, peer): (u16, SocketAddrV4),
        frame: Vec<u8>,
        stream: Option<TcpStream>,
        now: Instant,
    ) -> bool {
        self.dialled.remove(&(guest_port, peer));
        let Some(stream) = stream else { return false };
        if !self.make_room() {
            return false;
        }
        let mut socket = new_socket();
        if socket.listen((*peer.ip(), peer.port())).is_err() {
            return false;
        }
        let handle = self.sockets.add(socket);
        // At once and alone: no other segment may be taken for this one.
        wire.from_guest.push_front(frame);
        interface.poll_ingress_single(now, wire, &mut self.sockets);
        let found = self.sockets.get::<tcp::Socket>(handle).remote_endpoint();
        if found != Some(IpEndpoint::new(GUEST.into(), guest_port)) {
            self.sockets.remove(handle);
            return true;
        }
        self.begin(handle, guest_port, peer, stream);
        true
    }

    /// Leads a connection that came in at a published port to the guest.
    pub(crate) fn accepted(
        &mut self,
        interface: &mut Interface,
        guest_port: u16,
        client: SocketAddrV4,
        stream: TcpStream,
    ) {
        if !self.make_room() {
            return;
        }
        let Some(peer) = self.as_the_guest_sees(guest_port, client) else { return };
        let mut socket = new_socket();
        let connecting = socket.connect(interface.context(), (GUEST, guest_port), peer);
        if connecting.is_ok() {
            let handle = self.sockets.add(socket);
            self.begin(handle, guest_port, peer, stream);
        }
    }

    /// Lets the stack work and moves what can be moved, until nothing can.
    pub(crate) fn poll(&mut self, interface: &mut Interface, wire: &mut Wire, now: Instant) {
        loop {
            interface.poll(now, wire, &mut self.sockets);
            let mut moved = false;
            for (&handle, connection) in &mut self.open {
                let socket = self.sockets.get_mut(handle);
                moved |= connection.take_from_guest(socket);
                moved |= connection.give_to_guest(socket);
            }
            if !moved {
                break;
            }
        }
        let is_over = |handle: &&SocketHandle| {
            let socket = self.sockets.get::<tcp::Socket>(**handle);
            // A socket that is to send a reset still knows to whom. One that listens was given up by
            // the guest before it was open.
            socket.is_listening() || (socket.state() == State::Closed && socket.remote_endpoint().is_none())
        };
        let over: Vec<SocketHandle> = self.open.keys().filter(is_over).copied().collect();
        for handle in over {
            self.forget(handle);
        }
    }

    /// When the stack wants to work again by itself.
    pub(crate) fn poll_delay(&self, interface: &mut Interface, now: Instant) -> Option<Duration> {
        interface.poll_delay(now, &self.sockets).map(Duration::from)
    }

    fn begin(&mut self, handle: SocketHandle, guest_port: u16, peer: SocketAddrV4, stream: TcpStream) {
        let (to_peer, outgoing) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let (incoming, from_peer) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let _ = stream.set_nodelay(true);
        let (reset, resets) = oneshot::channel();
        let carrying = carry(stream, outgoing, incoming, resets, self.moved.clone());
        let carrier = Some(tokio::spawn(carrying).abort_handle());
        let connection = Connection {
            guest_port,
            peer,
            to_peer: Some(to_peer),
            from_peer,
            unsent: Vec::new(),
            peer_is_done: false,
            carrier,
            reset: Some(reset),
        };
        self.open.insert(handle, connection);
    }

    /// True if one more connection may be; what only waits to be forgotten makes way.
    fn make_room(&mut self) -> bool {
        if self.open.len() < MAXIMUM_CONNECTIONS {
            return true;
        }
        let mut handles = self.open.keys().copied();
        let waiting =
            |handle: &SocketHandle| self.sockets.get::<tcp::Socket>(*handle).state() == State::TimeWait;
        let Some(handle) = handles.find(waiting) else { return false };
        self.forget(handle);
        true
    }

    fn forget(&mut self, handle: SocketHandle) {
        self.open.remove(&handle);
        self.sockets.remove(handle);
    }

    /// The client's own address, unless the guest could not answer to it; then the router's.
    fn as_the_guest_sees(&mut self, guest_port: u16, client: SocketAddrV4) -> Option<SocketAddrV4> {
        let taken = |peer: SocketAddrV4| {
            self.open.values().any(|open| (open.guest_port, open.peer) == (guest_port, peer))
        };
        if answerable(*client.ip()) && !taken(client) {
            return Some(client);
        }
        for _ in 0..=MAXIMUM_CONNECTIONS {
            let peer = SocketAddrV4::new(ROUTER, self.next_port);
            let free = !taken(peer);
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            if free {
                return Some(peer);
            }
        }
        None
    }
}

/// Whether a guest can send to this address through its router.
fn answerable(address: Ipv4Addr) -> bool {
    let special = address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_link_local();
    !special && !GUEST_NETWORK.contains(address)
}

impl Connection {
    /// Moves bytes from the guest to the carrier; true if any, or their end, were moved.
    fn take_from_guest(&mut self, socket: &mut tcp::Socket) -> bool {
        let Some(to_peer) = &self.to_peer else { return false };
        let mut moved = false;
        while socket.can_recv() {
            match to_peer.try_reserve() {
                Ok(room) => {
                    let taken = socket.recv(|bytes| {
                        let length = bytes.len().min(CHUNK_BYTES);
                        (length, bytes[..length].to_vec())
                    });
                    room.send(taken.unwrap_or_default());
                    moved = true;
                }
                Err(TrySendError::Full(())) => return moved,
                // The peer reads no more; its reset follows.
                Err(TrySendError::Closed(())) => break,
            }
        }
        match socket.state() {
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait => {
                self.to_peer = None;
                true
            }
            // Without a last word: the guest refused the connection or broke it off.
            State::Closed => {
                self.to_peer = None;
                self.carrier = None;
                self.reset = None;
                true
            }
            _ => moved,
        }
    }

    /// Moves bytes from the carrier to the guest; true if any, or their end, were moved.
    fn give_to_guest(&mut self, socket: &mut tcp::Socket) -> bool {
        let mut moved = false;
        loop {
            if !self.unsent.is_empty() {
                let sent = if socket.can_send() { socket.send_slice(&self.unsent).unwrap_or(0) } else { 0 };
                self.unsent.drain(..sent);
                moved |= sent > 0;
                if !self.unsent.is_empty() {
                    return moved;
                }
            }
            if self.peer_is_done {
                break;
            }
            match self.from_peer.try_recv() {
                Ok(FromPeer::Bytes(bytes)) => self.unsent = bytes,
                Ok(FromPeer::End) => self.peer_is_done = true,
                Ok(FromPeer::Reset) | Err(TryRecvError::Disconnected) => {
                    self.peer_is_done = true;
                    socket.abort();
                    return true;
                }
                Err(TryRecvError::Empty) => return moved,
            }
        }
        if socket.may_send() {
            socket.close();
            moved = true;
        }
        moved
    }
}

/// Carries bytes between the peer's socket and the two queues until both ways have ended. Once `resets`
/// is dropped it breaks off, and the peer hears that it did.
async fn carry(
    stream: TcpStream,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
    incoming: mpsc::Sender<FromPeer>,
    resets: oneshot::Receiver<()>,
    moved: Arc<Notify>,
) {
    let (mut reader, mut writer) = stream.into_split();
    let to_peer = async {
        while let Some(bytes) = outgoing.recv().await {
            writer.write_all(&bytes).await?;
            moved.notify_one();
        }
        writer.shutdown().await
    };
    let from_peer = async {
        loop {
            let mut bytes = vec![0; CHUNK_BYTES];
            let length = reader.read(&mut bytes).await?;
            bytes.truncate(length);
            let message = if length == 0 { FromPeer::End } else { FromPeer::Bytes(bytes) };
            // Nobody listens once the guest's side is gone.
            if incoming.send(message).await.is_err() || length == 0 {
                moved.notify_one();
                return std::io::Result::Ok(());
            }
            moved.notify_one();
        }
    };
    let both = async { tokio::try_join!(to_peer, from_peer) };
    let ended = tokio::select! {
        // First, or the end of the queue would be taken for the guest's last word.
        biased;
        _ = resets => None,
        ended = both => Some(ended),
    };
    match ended {
        // The queue stays until the guest has closed too: its end would count as a reset.
        Some(Ok(_)) => incoming.closed().await,
        Some(Err(_)) => {
            let _ = incoming.send(FromPeer::Reset).await;
            moved.notify_one();
        }
        None => {
            let _ = reader.as_ref().set_zero_linger();
            // Dropped, it would say goodbye first.
            writer.forget();
        }
    }
}

fn new_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_timeout(Some(smoltcp::time::Duration::from_secs(SILENCE_SECONDS)));
    socket.set_nagle_enabled(false);
    socket
}

/// Most connections of a guest at a time; each takes at most a quarter of a MiB.
const MAXIMUM_CONNECTIONS: usize = 384;
/// Most connections that wait for their peer's answer.
const MAXIMUM_DIALLED: usize = 64;
const DIAL_TIME: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 64 << 10;
const CHUNK_BYTES: usize = 16 << 10;
const CHUNKS_IN_FLIGHT: usize = 2;
/// A guest that has something to acknowledge and says nothing for so long is given up.
const SILENCE_SECONDS: u64 = 60;
const FIRST_PORT: u16 = 32_768;
