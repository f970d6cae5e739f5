//! What does a name mean inside the workload?
//!
//! A container asks the resolver on the bridge. Names of services have their fixed addresses; names
//! in an egress rule are asked of the host's resolver, whose answer decides only where the wire goes,
//! never what is trusted; every other name is refused, so that names are no way out either. This
//! module decides about messages (RFC 1035); [`crate::resolver`] sends and receives them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use simple_dns::rdata::{A, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};

/// The names that exist.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    services: BTreeMap<String, Ipv4Addr>,
    egress: BTreeMap<String, Vec<usize>>,
}

/// What to do about a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send this.
    Reply(Vec<u8>),
    /// Ask upstream for the addresses of `name`, which the egress rules of these indices name.
    Forward {
        /// Lower case, without the final dot.
        name: String,
        /// Indices into the manifest's egress rules.
        rules: Vec<usize>,
    },
    /// Not a query; say nothing.
    Ignore,
}

impl Zone {
    /// Names of services with their addresses, and names of egress rules with the rules' indices.
    pub fn new(
        services: impl IntoIterator<Item = (String, Ipv4Addr)>,
        egress: impl IntoIterator<Item = (String, usize)>,
    ) -> Self {
        let mut zone = Zone::default();
        zone.services
            .extend(services.into_iter().map(|(name, address)| (name.to_ascii_lowercase(), address)));
        for (name, rule) in egress {
            zone.egress.entry(name.to_ascii_lowercase()).or_default().push(rule);
        }
        zone
    }

    /// Decides about one datagram from a container.
    pub fn decide(&self, query: &[u8]) -> Decision {
        let Ok(packet) = Packet::parse(query) else { return Decision::Ignore };
        if packet.has_flags(PacketFlag::RESPONSE) {
            return Decision::Ignore;
        }
        let [question] = packet.questions.as_slice() else {
            return refuse(&packet, RCODE::FormatError);
        };
        if packet.opcode() != OPCODE::StandardQuery || question.qclass != QCLASS::CLASS(CLASS::IN) {
            return refuse(&packet, RCODE::NotImplemented);
        }
        let name = spelled(&question.qname);
        let wants_address = matches!(question.qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY);
        if let Some(&address) = self.services.get(&name) {
            let addresses: &[Ipv4Addr] = if wants_address { &[address] } else { &[] };
            return reply_or_ignore(reply(&packet, RCODE::NoError, addresses, SERVICE_TTL_SECONDS));
        }
        match self.egress.get(&name) {
            Some(rules) if wants_address => Decision::Forward { name, rules: rules.clone() },
            // It has no other records here: only IPv4 leads out.
            Some(_) => reply_or_ignore(reply(&packet, RCODE::NoError, &[], SERVICE_TTL_SECONDS)),
            None => refuse(&packet, RCODE::Refused),
        }
    }
}

/// Addresses that an upstream resolver gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    /// At most [`MAXIMUM_ADDRESSES`]; empty if the name has none.
    pub addresses: Vec<Ipv4Addr>,
    /// How long they hold, at least [`SHORTEST_TTL_SECONDS`] and at most [`LONGEST_TTL_SECONDS`].
    pub ttl_seconds: u32,
}

/// The query to send upstream for `name`, with a random `id`.
pub fn upstream_query(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().ok()
}

/// Reads the upstream resolver's answer to `upstream_query(id, name)`; `None` if it is not one.
pub fn read_upstream(message: &[u8], id: u16, name: &str) -> Option<Resolved> {
    let packet = Packet::parse(message).ok()?;
    let [question] = packet.questions.as_slice() else { return None };
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || spelled(&question.qname) != name {
        return None;
    }
    let records = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(a) if record.class == CLASS::IN => Some((Ipv4Addr::from(a.address), record.ttl)),
        _ => None,
    });
    let usable: Vec<(Ipv4Addr, u32)> =
        records.filter(|(address, _)| leads_out(*address)).take(MAXIMUM_ADDRESSES).collect();
    let ttl_seconds = usable.iter().map(|(_, ttl)| *ttl).min().unwrap_or(SHORTEST_TTL_SECONDS);
    Some(Resolved {
        addresses: usable.into_iter().map(|(address, _)| address).collect(),
        ttl_seconds: ttl_seconds.clamp(SHORTEST_TTL_SECONDS, LONGEST_TTL_SECONDS),
    })
}

/// The answer to a container's `query` once its name is resolved, or could not be (`None`).
pub fn answer(query: &[u8], resolved: Option<&Resolved>) -> Option<Vec<u8>> {
    let packet = Packet::parse(query).ok()?;
    match resolved {
        Some(found) => reply(&packet, RCODE::NoError, &found.addresses, found.ttl_seconds),
        None => reply(&packet, RCODE::ServerFailure, &[], 0),
    }
}

/// Largest datagram read from a container or from upstream, in bytes.
pub const MAXIMUM_MESSAGE_BYTES: usize = 1500;
/// Most addresses taken from one answer.
pub const MAXIMUM_ADDRESSES: usize = 16;
/// An opened address stays open at least this long.
pub const SHORTEST_TTL_SECONDS: u32 = 60;
/// An opened address closes after this long, whatever the resolver says.
pub const LONGEST_TTL_SECONDS: u32 = 3600;

const SERVICE_TTL_SECONDS: u32 = 5;

fn reply(query: &Packet, rcode: RCODE, addresses: &[Ipv4Addr], ttl_seconds: u32) -> Option<Vec<u8>> {
    let mut packet = Packet::new_reply(query.id());
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *packet.rcode_mut() = rcode;
    packet.questions = query.questions.iter().take(1).cloned().collect();
    for address in addresses {
        let name = packet.questions.first()?.qname.clone();
        let data = RData::A(A { address: u32::from(*address) });
        packet.answers.push(ResourceRecord::new(name, CLASS::IN, ttl_seconds, data));
    }
    packet.build_bytes_vec().ok()
}

fn refuse(query: &Packet, rcode: RCODE) -> Decision {
    reply_or_ignore(reply(query, rcode, &[], 0))
}

fn reply_or_ignore(message: Option<Vec<u8>>) -> Decision {
    message.map_or(Decision::Ignore, Decision::Reply)
}

fn spelled(name: &Name) -> String {
    name.to_string().to_ascii_lowercase()
}

/// Addresses of the guest itself, its bridge or nothing at all are no place to connect to outside.
fn leads_out(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_link_local()
        || a == 0
        || [a, b, c] == [172, 30, 0]
        || [a, b, c] == [10, 0, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        Zone::new(
            [("db".to_owned(), Ipv4Addr::new(172, 30, 0, 10))],
            [("api.example.org".to_owned(), 2), ("api.example.org".to_owned(), 5)],
        )
    }

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let name = Name::new(name).unwrap();
        packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().unwrap()
    }

    /// Response code and addresses of a reply.
    fn read(decision: Decision) -> (RCODE, Vec<Ipv4Addr>) {
        let Decision::Reply(bytes) = decision else { panic!("{decision:?} is no reply") };
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.id(), 7);
        assert!(packet.has_flags(PacketFlag::RESPONSE));
        let addresses = packet.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => Ipv4Addr::from(a.address),
            other => panic!("{other:?}"),
        });
        (packet.rcode(), addresses.collect())
    }

    fn upstream(id: u16, name: &str, records: &[(Ipv4Addr, u32)]) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        let name = Name::new(name).unwrap();
        packet.questions.push(Question::new(
            name.clone(),
            QTYPE::TYPE(TYPE::A),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        for (address, ttl) in records {
            let data = RData::A(A { address: u32::from(*address) });
            packet.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, *ttl, data));
        }
        packet.build_bytes_vec().unwrap()
    }

    const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

    #[test]
    fn services_have_their_addresses() {
        let address = Ipv4Addr::new(172, 30, 0, 10);
        assert_eq!(read(zone().decide(&query("db", TYPE::A))), (RCODE::NoError, vec![address]));
        assert_eq!(read(zone().decide(&query("DB", TYPE::A))), (RCODE::NoError, vec![address]));
        assert_eq!(read(zone().decide(&query("db", TYPE::AAAA))), (RCODE::NoError, vec![]));
    }

    #[test]
    fn granted_names_are_asked_upstream() {
        let expected = Decision::Forward { name: "api.example.org".into(), rules: vec![2, 5] };
        assert_eq!(zone().decide(&query("api.example.org", TYPE::A)), expected);
        assert_eq!(read(zone().decide(&query("api.example.org", TYPE::AAAA))), (RCODE::NoError, vec![]));
        assert_eq!(read(zone().decide(&query("api.example.org", TYPE::TXT))), (RCODE::NoError, vec![]));
    }

    #[test]
    fn every_other_name_is_refused() {
        for name in ["example.org", "x.api.example.org", "secret.attacker.example", "db.example.org"] {
            assert_eq!(read(zone().decide(&query(name, TYPE::A))), (RCODE::Refused, vec![]), "{name}");
        }
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        assert_eq!(zone().decide(b""), Decision::Ignore);
        assert_eq!(zone().decide(&[0xff; 40]), Decision::Ignore);
        assert_eq!(zone().decide(&upstream(7, "db", &[])), Decision::Ignore);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_survived() {
        let good = query("api.example.org", TYPE::A);
        for length in 0..good.len() {
            let _ = zone().decide(&good[..length]);
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let _ = zone().decide(&bad);
                let _ = read_upstream(&bad, 7, "api.example.org");
            }
        }
    }

    #[test]
    fn upstream_answers_are_bounded_and_filtered() {
        let own = [Ipv4Addr::new(172, 30, 0, 10), Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 2, 2)];
        let records: Vec<_> = own
            .iter()
            .map(|a| (*a, 5))
            .chain((0..20).map(|i| (Ipv4Addr::new(8, 8, 8, i), 9_999_999)))
            .collect();
        let found = read_upstream(&upstream(9, "api.example.org", &records), 9, "api.example.org").unwrap();
        assert_eq!(found.addresses.len(), MAXIMUM_ADDRESSES);
        assert!(found.addresses.iter().all(|a| a.octets()[0] == 8));
        assert_eq!(found.ttl_seconds, LONGEST_TTL_SECONDS);
    }

    #[test]
    fn an_answer_to_another_question_is_no_answer() {
        let good = upstream(9, "api.example.org", &[(PUBLIC, 300)]);
        assert_eq!(
            read_upstream(&good, 9, "api.example.org"),
            Some(Resolved { addresses: vec![PUBLIC], ttl_seconds: 300 })
        );
        assert_eq!(read_upstream(&good, 8, "api.example.org"), None);
        assert_eq!(read_upstream(&good, 9, "other.example.org"), None);
        assert_eq!(read_upstream(&query("api.example.org", TYPE::A), 7, "api.example.org"), None);
    }

    #[test]
    fn the_container_gets_what_upstream_gave() {
        let asked = query("api.example.org", TYPE::A);
        let resolved = Resolved { addresses: vec![PUBLIC], ttl_seconds: 300 };
        let given = Decision::Reply(answer(&asked, Some(&resolved)).unwrap());
        assert_eq!(read(given), (RCODE::NoError, vec![PUBLIC]));
        assert_eq!(read(Decision::Reply(answer(&asked, None).unwrap())), (RCODE::ServerFailure, vec![]));
    }

    #[test]
    fn a_query_goes_upstream_as_written() {
        let bytes = upstream_query(3, "api.example.org").unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.id(), spelled(&packet.questions[0].qname)), (3, "api.example.org".to_owned()));
    }
}
