//! Where does a guest come through the real program, with real frames, and where not?

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use casemate_api::reach::{GUEST, RESOLVER, ROUTER};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use smoltcp::socket::tcp::State;
use support::Guest;

/// An address of this machine that is not its loopback; says so where there is none.
fn own_address() -> Option<Ipv4Addr> {
    let addresses = nix::ifaddrs::getifaddrs().unwrap();
    let found = addresses
        .filter_map(|found| Some(found.address?.as_sockaddr_in()?.ip()))
        .find(|address| !address.is_loopback() && !address.is_link_local());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI machines have an address");
        eprintln!("skipped: this machine has no IPv4 address but its loopback");
    }
    found
}

fn listen(address: Ipv4Addr) -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, SocketAddrV4::new(address, port))
}

/// A port that nobody had a moment ago.
fn free_port() -> u16 {
    listen(Ipv4Addr::LOCALHOST).1.port()
}

#[test]
fn the_hosts_loopback_is_never_reached() {
    let Some(own) = own_address() else { return };
    // It listens everywhere: on the loopback, and on every address of this machine.
    let (listener, at) = listen(Ipv4Addr::UNSPECIFIED);
    listener.set_nonblocking(true).unwrap();
    let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, at.port())).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    let (allowed, allowed_at) = listen(own);

    // The most that an operator can open: everything, and this machine's own address.
    let open_own = format!("{own}/32");
    let mut guest = Guest::start(&["--outbound", "--open", "0.0.0.0/0", "--open", &open_own]);
    let loopbacks =
        ["127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "255.255.255.255", "10.0.2.255", "10.0.2.2"];
    for destination in loopbacks.map(|text| text.parse::<Ipv4Addr>().unwrap()).into_iter().chain([GUEST]) {
        let to = SocketAddrV4::new(destination, at.port());
        guest.send_syn(GUEST, to);
        guest.send_datagram(to, b"through?");
    }
    // From an address that is not the guest's.
    guest.send_syn(Ipv4Addr::LOCALHOST, SocketAddrV4::new(own, at.port()));
    // By now each of them was dealt with: frames are taken in their order.
    assert!(guest.reaches(allowed_at), "the allowed address is reached");
    allowed.accept().unwrap();
    for _ in 0..100 {
        guest.turn();
    }
    assert!(listener.accept().is_err(), "a connection came through");
    assert!(datagrams.recv(&mut [0; 16]).is_err(), "a datagram came through");
}

#[test]
fn the_host_and_private_networks_are_closed_unless_opened() {
    let Some(own) = own_address() else { return };
    let (listener, at) = listen(own);
    let mut guest = Guest::start(&["--outbound"]);
    assert!(!guest.reaches(at), "the host's own address");
    assert!(!guest.reaches("192.168.255.254:80".parse().unwrap()), "a private network");
    assert!(!guest.reaches("169.254.169.254:80".parse().unwrap()), "the cloud's credentials");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());

    let mut inside = Guest::start(&[]);
    assert!(!inside.reaches(at), "a guest that may not go out");
    assert!(!inside.reaches("1.1.1.1:443".parse().unwrap()));
}

#[test]
fn bytes_cross_whole_both_ways_and_ends_are_ends() {
    let Some(own) = own_address() else { return };
    let (listener, at) = listen(own);
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let mut guest = Guest::start(&["--outbound", "--open", &own.to_string()]);
    let handle = guest.connect(at);
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(|number| number.to_be_bytes()[1..].to_vec()).collect();
    let mut rest = sent.as_slice();
    guest.until("sent", |guest| {
        let socket = guest.socket(handle);
        if socket.can_send() {
            rest = &rest[socket.send_slice(rest).unwrap()..];
        }
        rest.is_empty().then(|| socket.close())
    });
    let mut received = Vec::new();
    guest.until("received the end", |guest| {
        let socket = guest.socket(handle);
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), received.extend_from_slice(bytes))).unwrap();
        }
        (!socket.may_recv()).then_some(())
    });
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    echo.join().unwrap();
}

#[test]
fn a_refused_connection_is_refused_and_a_reset_is_a_reset() {
    let Some(own) = own_address() else { return };
    let (listener, at) = listen(own);
    let mut guest = Guest::start(&["--outbound", "--open", &own.to_string()]);
    let (unused, nobody) = listen(own);
    drop(unused);
    assert!(!guest.reaches(nobody));

    let handle = guest.connect(at);
    guest.until("open", |guest| (guest.socket(handle).state() == State::Established).then_some(()));
    let (mut peer, _) = listener.accept().unwrap();
    guest.socket(handle).abort();
    guest.turn();
    peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let heard = std::thread::spawn(move || peer.read(&mut [0; 1]).map_err(|error| error.kind()));
    while !heard.is_finished() {
        guest.turn();
    }
    assert_eq!(heard.join().unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn a_published_port_leads_to_the_guest_and_no_other_does() {
    let port = free_port();
    let mut guest = Guest::start(&["--publish", &format!("127.0.0.1:{port}:80")]);
    let handle = guest.listen(80);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let peer = guest.until("a request", |guest| {
        let socket = guest.socket(handle);
        (socket.recv_queue() == 5 && !socket.is_listening()).then(|| socket.remote_endpoint().unwrap())
    });
    // Loopback means nothing to the guest: it sees its router.
    assert_eq!(peer.addr, ROUTER.into());
    guest.socket(handle).send_slice(b"world").unwrap();
    guest.socket(handle).close();
    let answer = std::thread::spawn(move || {
        let mut answer = String::new();
        client.read_to_string(&mut answer).map(|_| answer)
    });
    while !answer.is_finished() {
        guest.turn();
    }
    assert_eq!(answer.join().unwrap().unwrap(), "world");

    // Nobody listens in the guest now: the client hears it.
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let refused = std::thread::spawn(move || client.read(&mut [0; 1]).map_err(|error| error.kind()));
    while !refused.is_finished() {
        guest.turn();
    }
    assert_eq!(refused.join().unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn names_are_asked_of_the_hosts_resolver_and_nothing_else_on_it() {
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    resolver.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let at = resolver.local_addr().unwrap().to_string();
    let mut guest = Guest::start(&["--outbound", "--resolver", &at]);
    let dns = SocketAddrV4::new(RESOLVER, 53);
    // Another port of the resolver's address leads nowhere.
    guest.send_datagram(SocketAddrV4::new(RESOLVER, resolver.local_addr().unwrap().port()), b"other");
    guest.send_datagram(dns, b"question");
    let mut bytes = [0; 32];
    let (length, from) = resolver.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"question");
    resolver.send_to(b"answer", from).unwrap();
    guest.until("an answer", |guest| (!guest.datagrams(dns).is_empty()).then_some(()));
    assert_eq!(guest.datagrams(dns), [b"answer"]);

    let mut inside = Guest::start(&["--publish", &format!("127.0.0.1:{}:80", free_port())]);
    inside.send_datagram(dns, b"way out?");
    for _ in 0..200 {
        inside.turn();
    }
    resolver.set_nonblocking(true).unwrap();
    assert!(resolver.recv(&mut bytes).is_err(), "names are no way out");
}

#[test]
fn a_port_in_use_is_named_and_qemus_end_is_the_end() {
    let (_listener, at) = listen(Ipv4Addr::LOCALHOST);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_casemate-uplink"))
        .args(["--socket", "/nonexistent/net.sock", "--publish", &format!("{at}:80")])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("cannot listen on {at}")), "{said}");

    assert!(Guest::start(&[]).close().success());
}

#[test]
fn no_frame_ends_the_uplink() {
    let port = free_port();
    let mut guest = Guest::start(&["--outbound", "--publish", &format!("127.0.0.1:{port}:80")]);
    // A frame that is right up to a few bytes reaches furthest.
    let syn: Vec<u8> = {
        let mut frame = vec![0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0];
        frame.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
        frame.extend([0; 20]);
        frame
    };
    let frames = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec((0..54_usize, any::<u8>()), 0..8).prop_map(move |changes| {
            let mut frame = syn.clone();
            changes.into_iter().for_each(|(at, byte)| frame[at] = byte);
            frame
        }),
    ];
    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let sent = std::cell::RefCell::new(&mut guest);
    runner
        .run(&frames, |frame| {
            sent.borrow_mut().send_frame(&frame);
            Ok(())
        })
        .unwrap();
    let handle = guest.listen(80);
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    guest.until("a connection", |guest| guest.socket(handle).may_send().then_some(()));
    assert!(guest.is_alive());
}
