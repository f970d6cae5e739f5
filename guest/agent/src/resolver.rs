//! Who answers the containers' questions about names?
//!
//! One thread on the bridge's address; a name that an egress rule grants is asked upstream by a thread
//! of its own, at most [`MAXIMUM_OPEN`] at a time, from a random port with a random id. Its addresses
//! are opened in the rules before the container hears of them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::names::{self, Decision, MAXIMUM_MESSAGE_BYTES, Resolved, Zone};

/// Opens addresses for egress rules: indices of rules, addresses, seconds.
pub type OpenEgress = dyn Fn(&[usize], &[Ipv4Addr], u32) -> bool + Send + Sync;

/// Answers on `socket` for ever, asking `upstream` where a rule grants it.
///
/// # Errors
/// If the socket fails for good.
pub fn serve(socket: UdpSocket, upstream: SocketAddr, zone: &Zone, open: Arc<OpenEgress>) -> io::Error {
    let socket = Arc::new(socket);
    let running = Arc::new(AtomicUsize::new(0));
    let mut buffer = [0; MAXIMUM_MESSAGE_BYTES];
    let mut failures = 0;
    loop {
        let (query, from) = match socket.recv_from(&mut buffer) {
            Ok((length, from)) => (&buffer[..length], from),
            Err(error) if failures > 100 => return error,
            Err(_) => {
                failures += 1; // an ICMP error of an earlier answer, for instance
                continue;
            }
        };
        failures = 0;
        match zone.decide(query) {
            Decision::Ignore => {}
            Decision::Reply(bytes) => drop(socket.send_to(&bytes, from)),
            Decision::Forward { name, rules } => {
                if running.fetch_add(1, Ordering::AcqRel) >= MAXIMUM_OPEN {
                    running.fetch_sub(1, Ordering::AcqRel);
                    continue; // the container asks again
                }
                let (socket, running, open, query) =
                    (socket.clone(), running.clone(), open.clone(), query.to_vec());
                let ask = move || {
                    let resolved = ask_upstream(upstream, &name).filter(|found| {
                        found.addresses.is_empty() || open(&rules, &found.addresses, found.ttl_seconds)
                    });
                    if let Some(bytes) = names::answer(&query, resolved.as_ref()) {
                        let _ = socket.send_to(&bytes, from);
                    }
                    running.fetch_sub(1, Ordering::AcqRel);
                };
                let _ = std::thread::Builder::new().name("names".into()).spawn(ask);
            }
        }
    }
}

/// Questions to the upstream resolver that are open at a time.
pub const MAXIMUM_OPEN: usize = 16;

fn ask_upstream(upstream: SocketAddr, name: &str) -> Option<Resolved> {
    // Port 0 is a random free one; `connect` drops datagrams from anyone else.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(upstream).ok()?;
    for _ in 0..ATTEMPTS {
        let mut id = [0; 2];
        getrandom::fill(&mut id).ok()?;
        let id = u16::from_ne_bytes(id);
        socket.send(&names::upstream_query(id, name)?).ok()?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; MAXIMUM_MESSAGE_BYTES];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
                break;
            }
            let Ok(length) = socket.recv(&mut buffer) else { break };
            if let Some(resolved) = names::read_upstream(&buffer[..length], id, name) {
                return Some(resolved);
            }
        }
    }
    None
}

const ATTEMPTS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{A, RData};
    use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

    use super::*;

    const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

    /// An upstream that first lies about the id, then answers.
    fn upstream() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let query = Packet::parse(&buffer[..length]).unwrap();
                for (id, last) in [(query.id() ^ 1, 66), (query.id(), 34)] {
                    let mut reply = Packet::new_reply(id);
                    reply.questions = query.questions.clone();
                    let data = RData::A(A { address: u32::from(Ipv4Addr::new(93, 184, 216, last)) });
                    let name = query.questions[0].qname.clone();
                    reply.answers.push(ResourceRecord::new(name, CLASS::IN, 300, data));
                    socket.send_to(&reply.build_bytes_vec().unwrap(), from).unwrap();
                }
            }
        });
        address
    }

    fn ask(resolver: SocketAddr, name: &str) -> (RCODE, Vec<Ipv4Addr>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut query = Packet::new_query(77);
        query.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(name).unwrap();
        query.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
        socket.send_to(&query.build_bytes_vec().unwrap(), resolver).unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        let reply = Packet::parse(&buffer[..length]).unwrap();
        let addresses = reply.answers.iter().filter_map(|record| match &record.rdata {
            RData::A(a) => Some(Ipv4Addr::from(a.address)),
            _ => None,
        });
        (reply.rcode(), addresses.collect())
    }

    #[test]
    fn names_are_answered_over_a_socket() {
        let zone = Zone::new(
            [("db".to_owned(), Ipv4Addr::new(172, 30, 0, 10))],
            [("api.example.org".to_owned(), 0), ("shut.example.org".to_owned(), 1)],
        );
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolver = socket.local_addr().unwrap();
        let upstream = upstream();
        // The rules of `shut` cannot be opened.
        let open: Arc<OpenEgress> =
            Arc::new(|rules, addresses, ttl| rules == [0] && addresses == [PUBLIC] && ttl == 300);
        std::thread::spawn(move || serve(socket, upstream, &zone, open));
        assert_eq!(ask(resolver, "db"), (RCODE::NoError, vec![Ipv4Addr::new(172, 30, 0, 10)]));
        assert_eq!(ask(resolver, "api.example.org"), (RCODE::NoError, vec![PUBLIC]));
        assert_eq!(ask(resolver, "shut.example.org"), (RCODE::ServerFailure, vec![]));
        assert_eq!(ask(resolver, "example.org"), (RCODE::Refused, vec![]));
    }
}
