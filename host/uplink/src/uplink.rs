//! What happens to each frame, connection and datagram?

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use casemate_api::reach::{RESOLVER, ROUTER, Reach};
use smoltcp::iface::{Config, Interface};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc};

use crate::connections::Connections;
use crate::datagrams::Datagrams;
use crate::frames::Frames;
use crate::packet::{self, OWN_MAC, Packet};
use crate::resolver;
use crate::settings::{Error, Settings};
use crate::wire::Wire;

/// The network of one guest.
pub struct Uplink {
    settings: Settings,
    listeners: Vec<(TcpListener, u16)>,
}

/// What the tasks around the guest's wire tell.
pub(crate) enum Event {
    /// A peer that the guest asked for answered, or did not.
    Dialled { guest_port: u16, peer: SocketAddrV4, frame: Vec<u8>, stream: Option<TcpStream> },
    /// Someone connected to a published port.
    Accepted { guest_port: u16, client: SocketAddrV4, stream: TcpStream },
    /// An answer to a datagram.
    Datagram { guest_port: u16, peer: SocketAddrV4, payload: Vec<u8> },
}

impl Uplink {
    /// Listens on the published ports. Whoever connects waits until [`Uplink::run`].
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn new(settings: Settings) -> Result<Self, Error> {
        let mut listeners = Vec::new();
        for port in &settings.published {
            let listening = TcpListener::bind(port.listen).await;
            let listener = listening.map_err(|source| Error::Listen { address: port.listen, source })?;
            listeners.push((listener, port.guest_port));
        }
        Ok(Self { settings, listeners })
    }

    /// Carries packets until QEMU closes `qemu`.
    ///
    /// # Errors
    /// [`Error::Frame`], [`Error::Stream`].
    pub async fn run(self, qemu: UnixStream) -> Result<(), Error> {
        let (events, happened) = mpsc::channel(EVENTS);
        let moved = Arc::new(Notify::new());
        let mut acceptors = tokio::task::JoinSet::new();
        for (listener, guest_port) in self.listeners {
            acceptors.spawn(accept(listener, guest_port, events.clone()));
        }
        let mut wire = Wire::default();
        let mut guest = Guest {
            interface: interface(&mut wire),
            wire,
            connections: Connections::new(events.clone(), moved.clone()),
            datagrams: Datagrams::new(events),
            mac: None,
            settings: self.settings,
        };
        guest.run(Frames::new(qemu), happened, &moved).await
    }
}

const EVENTS: usize = 256;

/// The guest's side of everything.
struct Guest {
    settings: Settings,
    wire: Wire,
    interface: Interface,
    connections: Connections,
    datagrams: Datagrams,
    /// Where the guest's frames come from.
    mac: Option<EthernetAddress>,
}

impl Guest {
    async fn run(
        &mut self,
        mut frames: Frames,
        mut happened: mpsc::Receiver<Event>,
        moved: &Notify,
    ) -> Result<(), Error> {
        let mut expiry = tokio::time::interval(EXPIRY);
        loop {
            self.connections.poll(&mut self.interface, &mut self.wire, Instant::now());
            frames.send(&mut self.wire.to_guest)?;
            let read = self.wire.has_room();
            let write = frames.is_sending() || !self.wire.to_guest.is_empty();
            let delay = self.connections.poll_delay(&mut self.interface, Instant::now());
            tokio::select! {
                ready = frames.ready(read, write) => {
                    ready.map_err(Error::Stream)?;
                    let mut received = Vec::new();
                    if read && !frames.receive(|frame| received.push(frame))? {
                        return Ok(());
                    }
                    for frame in received {
                        self.take_from_guest(frame);
                    }
                }
                Some(event) = happened.recv() => self.handle(event),
                () = moved.notified() => {}
                () = sleep(delay) => {}
                _ = expiry.tick() => self.datagrams.expire(),
            }
        }
    }

    fn take_from_guest(&mut self, frame: Vec<u8>) {
        let Some((sender, packet)) = packet::read(&frame) else { return };
        self.mac = Some(sender);
        match packet {
            Packet::Arp => self.wire.from_guest.push_back(frame),
            Packet::Tcp { guest_port, peer, opens } => {
                let asks = opens && !self.connections.knows(guest_port, peer);
                if asks && self.is_reached(*peer.ip()) {
                    self.connections.dial(guest_port, peer, frame);
                } else {
                    // The stack refuses what it does not know.
                    self.wire.from_guest.push_back(frame);
                }
            }
            Packet::Udp { guest_port, peer, payload } => {
                if let Some(upstream) = self.upstream(peer) {
                    self.datagrams.send((guest_port, peer), upstream, &frame[payload]);
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let (interface, wire) = (&mut self.interface, &mut self.wire);
        match event {
            Event::Dialled { guest_port, peer, frame, stream } => {
                let refusal = frame.clone();
                let known = (guest_port, peer);
                if !self.connections.dialled(interface, wire, known, frame, stream, Instant::now()) {
                    self.wire.from_guest.push_back(refusal);
                }
            }
            Event::Accepted { guest_port, client, stream } => {
                self.connections.accepted(interface, guest_port, client, stream);
            }
            Event::Datagram { guest_port, peer, payload } => {
                self.datagrams.answered((guest_port, peer));
                let Some(mac) = self.mac else { return };
                if self.wire.has_room_to_guest()
                    && let Some(frame) = packet::datagram(mac, peer, guest_port, &payload)
                {
                    self.wire.to_guest.push_back(frame);
                }
            }
        }
    }

    /// Where a datagram for `peer` really goes; `None` if nowhere.
    fn upstream(&self, peer: SocketAddrV4) -> Option<SocketAddr> {
        if *peer.ip() != RESOLVER {
            return self.is_reached(*peer.ip()).then_some(SocketAddr::V4(peer));
        }
        // By design the one way to an address that guests do not reach: whom the host itself asks.
        let asks_names = self.settings.outbound.is_some() && peer.port() == DNS_PORT;
        asks_names.then(|| self.settings.resolver.or_else(resolver::of_this_host))?
    }

    fn is_reached(&self, address: Ipv4Addr) -> bool {
        // If the kernel does not tell which addresses are the host's, each of them may be.
        let permits = |reach: &Reach| own_addresses().is_ok_and(|own| reach.permits(address, &own).is_ok());
        self.settings.outbound.as_ref().is_some_and(permits)
    }
}

const EXPIRY: Duration = Duration::from_secs(5);
const DNS_PORT: u16 = 53;

/// Takes every connection that the stack is shown for its own; [`packet::read`] decides what it is shown.
fn interface(wire: &mut Wire) -> Interface {
    let mut config = Config::new(OWN_MAC.into());
    let mut seed = [0; 8];
    // Sequence numbers that the guest's peers cannot guess; these are only seen by the guest itself.
    getrandom::fill(&mut seed).expect("the kernel has random numbers");
    config.random_seed = u64::from_ne_bytes(seed);
    let mut interface = Interface::new(config, wire, Instant::now());
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(ROUTER.into(), 24)).expect("there is room for one");
    });
    interface.set_any_ip(true);
    interface
}

/// This host's addresses, as they are now.
fn own_addresses() -> nix::Result<Vec<Ipv4Addr>> {
    let ipv4 = |found: nix::ifaddrs::InterfaceAddress| Some(found.address?.as_sockaddr_in()?.ip());
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(ipv4).collect())
}

async fn sleep(delay: Option<Duration>) {
    match delay {
        Some(delay) => tokio::time::sleep(delay).await,
        None => std::future::pending().await,
    }
}

async fn accept(listener: TcpListener, guest_port: u16, events: mpsc::Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, SocketAddr::V4(client))) => {
                if events.send(Event::Accepted { guest_port, client, stream }).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            // Out of file descriptors, or the client went away before it was taken.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
