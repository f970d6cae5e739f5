//! A guest of one's own: what QEMU and a guest's kernel do, with every frame in the test's hands.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_api::reach::{GUEST, ROUTER};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpCidr, IpProtocol, Ipv4Packet, Ipv4Repr,
    TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

pub const MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const ROUTER_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
const PATIENCE: Duration = Duration::from_secs(30);

/// A guest with its uplink.
pub struct Guest {
    uplink: Child,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    next_port: u16,
    _folder: tempfile::TempDir,
}

impl Guest {
    /// Starts `casemate-uplink` with these options, and connects as QEMU does.
    pub fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("net.sock");
        let mut uplink = Command::new(env!("CARGO_BIN_EXE_casemate-uplink"))
            .arg("--socket")
            .arg(&socket)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(uplink.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "{\"ready\":true}\n");
        // The uplink waits for QEMU, which may be slower.
        let stream = UnixListener::bind(&socket).unwrap().accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        let mut wire = Wire { stream, received: Vec::new(), frames: VecDeque::new(), seen: Vec::new() };
        let mut interface = Interface::new(Config::new(MAC.into()), &mut wire, StackInstant::now());
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(GUEST.into(), 24)).unwrap());
        interface.routes_mut().add_default_ipv4_route(ROUTER).unwrap();
        let sockets = SocketSet::new(Vec::new());
        Self { uplink, wire, interface, sockets, next_port: 40_000, _folder: folder }
    }

    /// Lets the guest's stack work for a moment.
    pub fn turn(&mut self) {
        self.wire.read();
        self.interface.poll(StackInstant::now(), &mut self.wire, &mut self.sockets);
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Turns until `done` says something.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.turn();
            if let Some(found) = done(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "never {what}");
        }
    }

    pub fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn add(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    /// Begins a connection from the guest.
    pub fn connect(&mut self, to: SocketAddrV4) -> SocketHandle {
        let handle = self.add();
        self.next_port += 1;
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(self.interface.context(), (*to.ip(), to.port()), self.next_port).unwrap();
        handle
    }

    /// Whether a connection from the guest is taken (`true`) or refused.
    #[track_caller]
    pub fn reaches(&mut self, to: SocketAddrV4) -> bool {
        let handle = self.connect(to);
        self.until("answered", |guest| match guest.socket(handle).state() {
            tcp::State::Established => Some(true),
            tcp::State::Closed => Some(false),
            _ => None,
        })
    }

    /// Waits for connections to a port of the guest.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let handle = self.add();
        self.socket(handle).listen(port).unwrap();
        handle
    }

    /// Puts a segment that opens a connection on the wire as it stands, whatever its addresses.
    pub fn send_syn(&mut self, from: Ipv4Addr, to: SocketAddrV4) {
        self.next_port += 1;
        let segment = TcpRepr {
            src_port: self.next_port,
            dst_port: to.port(),
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(1000),
            ack_number: None,
            window_len: 65_535,
            window_scale: None,
            max_seg_size: Some(1460),
            sack_permitted: false,
            sack_ranges: [None, None, None],
            timestamp: None,
            payload: &[],
        };
        let frame = packet(from, *to.ip(), IpProtocol::Tcp, segment.buffer_len(), |bytes| {
            let checksums = ChecksumCapabilities::default();
            segment.emit(&mut TcpPacket::new_unchecked(bytes), &from.into(), &(*to.ip()).into(), &checksums);
        });
        self.wire.write(&frame);
    }

    /// Puts a datagram on the wire as it stands.
    pub fn send_datagram(&mut self, to: SocketAddrV4, payload: &[u8]) {
        let head = UdpRepr { src_port: 5000, dst_port: to.port() };
        let length = head.header_len() + payload.len();
        let frame = packet(GUEST, *to.ip(), IpProtocol::Udp, length, |bytes| {
            head.emit(
                &mut UdpPacket::new_unchecked(bytes),
                &GUEST.into(),
                &(*to.ip()).into(),
                payload.len(),
                |room| room.copy_from_slice(payload),
                &ChecksumCapabilities::default(),
            );
        });
        self.wire.write(&frame);
    }

    /// Puts any bytes on the wire as one frame.
    pub fn send_frame(&mut self, frame: &[u8]) {
        self.wire.write(frame);
    }

    /// Payloads of datagrams that came from `peer`.
    pub fn datagrams(&self, peer: SocketAddrV4) -> Vec<Vec<u8>> {
        let payload = |frame: &Vec<u8>| {
            let ethernet = EthernetFrame::new_checked(frame).ok()?;
            let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            let udp = UdpPacket::new_checked(ip.payload()).ok()?;
            let right = ip.next_header() == IpProtocol::Udp
                && SocketAddrV4::new(ip.src_addr(), udp.src_port()) == peer
                && udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into());
            right.then(|| udp.payload().to_vec())
        };
        self.wire.seen.iter().filter_map(payload).collect()
    }

    /// How the uplink ended, once QEMU has closed the socket.
    pub fn close(mut self) -> std::process::ExitStatus {
        self.wire.stream.shutdown(std::net::Shutdown::Both).unwrap();
        self.uplink.wait().unwrap()
    }

    /// Whether the uplink runs.
    pub fn is_alive(&mut self) -> bool {
        self.uplink.try_wait().unwrap().is_none()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.uplink.kill();
        let _ = self.uplink.wait();
    }
}

fn packet(
    from: Ipv4Addr,
    to: Ipv4Addr,
    kind: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let ip = Ipv4Repr { src_addr: from, dst_addr: to, next_header: kind, payload_len: length, hop_limit: 64 };
    let mut frame = vec![0; 14 + ip.buffer_len() + length];
    let ethernet = EthernetRepr { src_addr: MAC, dst_addr: ROUTER_MAC, ethertype: EthernetProtocol::Ipv4 };
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    ip.emit(&mut packet, &ChecksumCapabilities::default());
    fill(packet.payload_mut());
    frame
}

/// QEMU's side of the socket.
struct Wire {
    stream: UnixStream,
    received: Vec<u8>,
    frames: VecDeque<Vec<u8>>,
    seen: Vec<Vec<u8>>,
}

impl Wire {
    fn read(&mut self) {
        let mut bytes = [0; 1 << 16];
        while let Ok(length @ 1..) = self.stream.read(&mut bytes) {
            self.received.extend_from_slice(&bytes[..length]);
        }
        while let Some(head) = self.received.first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            if self.received.len() < 4 + length {
                break;
            }
            let frame: Vec<u8> = self.received.drain(..4 + length).skip(4).collect();
            if frame.len() < 600 {
                self.seen.push(frame.clone());
            }
            self.frames.push_back(frame);
        }
    }

    fn write(&mut self, frame: &[u8]) {
        let bytes = [&(frame.len() as u32).to_be_bytes(), frame].concat();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    // A QEMU that only wrote would never be read: it reads meanwhile.
                    self.read();
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Device for Wire {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Writer<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(Frame, Writer<'_>)> {
        let frame = self.frames.pop_front()?;
        Some((Frame(frame), Writer(self)))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Writer<'_>> {
        Some(Writer(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

pub struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub struct Writer<'a>(&'a mut Wire);

impl TxToken for Writer<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let written = write(&mut frame);
        self.0.write(&frame);
        written
    }
}
