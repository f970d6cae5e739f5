//! Which links and rules carry the packets of one VM?
//!
//! ```text
//!  hostd's namespace            │ the VM's namespace                       │ the guest
//!  LINK 198.18.0.1/30 ──── host0 198.18.0.2   10.0.2.2 tap0 ──── QEMU ──── eth0 10.0.2.15
//!  table casemate_…: ports,     │ table casemate: which of the guest's     │
//!  the host's own addresses     │ packets leave, translation               │
//! ```
//!
//! Every guest has the same address (`docs/reference/boot.md`), so each has a namespace of its own, where its
//! address is translated into one that the host knows. There too stands what a guest may reach
//! ([`casemate_api::reach`]): whoever flushes the rules of the host does not open it. Pure: what is written
//! here is the input of `ip -batch` and `nft -f`, made of numbers and addresses only.

use std::fmt::{Display, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};

use casemate_api::host::PublishedPort;
use casemate_api::reach::{GUEST, GUEST_NETWORK, NEVER, Network, PRIVATE, RESOLVER, ROUTER, Reach};

use super::names::Name;

/// The network of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What its parts are called.
    pub name: Name,
    /// The addresses between host and namespace.
    pub link: LinkNetwork,
    /// Ports of the host that lead to the guest; IPv4.
    pub published: Vec<PublishedPort>,
    /// Where the guest may go; nothing keeps it inside.
    pub outbound: Option<Outbound>,
}

/// What a guest that may go out reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// What the operator opened beyond public addresses.
    pub reach: Reach,
    /// Who answers at [`RESOLVER`]; not on loopback, which is another one in the VM's namespace.
    pub resolver: SocketAddrV4,
}

/// One of the small networks between the host and the namespace of a VM: four addresses of 198.18.0.0/15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkNetwork(u16);

impl LinkNetwork {
    /// The network with this number, below [`LinkNetwork::COUNT`].
    pub fn new(number: u16) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// How many there are.
    pub const COUNT: u16 = 1 << 15;

    /// The host's end.
    pub fn host(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The VM's end.
    pub fn guest(self) -> Ipv4Addr {
        self.address(2)
    }

    /// Whether it has an address in common with `address`/`prefix`.
    pub fn overlaps(self, address: Ipv4Addr, prefix: u8) -> bool {
        let shorter = u32::from(prefix.min(PREFIX));
        let mask = u32::MAX.checked_shl(32 - shorter).unwrap_or(0);
        (u32::from(self.address(0)) ^ u32::from(address)) & mask == 0
    }

    fn address(self, host: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(FIRST) + u32::from(self.0) * 4 + host)
    }
}

/// 198.18.0.0/15 (RFC 2544) is for links that lead nowhere else.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const PREFIX: u8 = 30;

impl Plan {
    /// Lines for `ip -batch -` in hostd's namespace. The VM's namespace must exist.
    pub fn links(&self) -> String {
        let (link, address) = (self.name.link(), self.link.host());
        format!(
            "link add {link} type veth peer name {OUTSIDE} netns {link}\n\
             addr add {address}/{PREFIX} dev {link}\n\
             link set {link} up\n"
        )
    }

    /// Lines for `ip -batch -` in the VM's namespace: the tap, which QEMU takes, and the way out.
    pub fn inside(&self) -> String {
        let (own, host) = (self.link.guest(), self.link.host());
        let prefix = GUEST_NETWORK.prefix();
        format!(
            "tuntap add dev {TAP} mode tap\n\
             addr add {ROUTER}/{prefix} dev {TAP}\n\
             addr add {RESOLVER}/{prefix} dev {TAP}\n\
             addr add {own}/{PREFIX} dev {OUTSIDE}\n\
             link set {OUTSIDE} up\n\
             link set {TAP} up\n\
             route add default via {host}\n"
        )
    }

    /// Whether programs of the host reach the guest at an address that begins with 127.
    pub fn is_published_on_loopback(&self) -> bool {
        self.ports().any(|(address, _, _)| address.is_loopback() || address.is_unspecified())
    }

    /// Rules for `nft -f -` in hostd's namespace; they replace those of the same VM as a whole.
    pub fn host_rules(&self) -> String {
        let (link, table) = (self.name.link(), self.name.table());
        let own = self.link.guest();
        let mut text = format!(
            "table inet {table} {{\n}}\ndelete table inet {table}\ntable inet {table} {{\n \
             chain from_guest {{\n  type filter hook prerouting priority mangle; policy accept;\n  \
               iifname != \"{link}\" accept\n  \
               ct state established,related accept\n"
        );
        if let Some(outbound) = &self.outbound {
            let (resolver, port) = (outbound.resolver.ip(), outbound.resolver.port());
            let _ = writeln!(text, "  ip daddr {resolver} udp dport {port} accept");
            if let Some(opened) = set(&outbound.reach.opened) {
                let _ = writeln!(text, "  ip daddr {opened} accept");
            }
        }
        let _ = write!(
            text,
            "  fib daddr type != unicast drop\n }}\n \
             chain to_guest {{\n  type filter hook postrouting priority filter; policy accept;\n  \
               oifname != \"{link}\" accept\n  \
               ct state established,related accept\n  \
               ct status dnat accept\n  \
               drop\n }}\n \
             chain ports {{\n  type nat hook prerouting priority dstnat; policy accept;\n"
        );
        for (address, port, guest_port) in self.ports() {
            // To loopback from another machine: the kernel would refuse it after this, by an address that is no
            // longer there.
            if address.is_unspecified() {
                let _ = write!(text, "  ip daddr != 127.0.0.0/8 fib daddr type local");
            } else if !address.is_loopback() {
                let _ = write!(text, "  ip daddr {address}");
            } else {
                continue;
            }
            let _ = writeln!(text, " tcp dport {port} dnat ip to {own}:{guest_port}");
        }
        let _ =
            write!(text, " }}\n chain own_ports {{\n  type nat hook output priority -100; policy accept;\n");
        for (address, port, guest_port) in self.ports() {
            let _ = if address.is_unspecified() {
                write!(text, "  fib daddr type local")
            } else {
                write!(text, "  ip daddr {address}")
            };
            let _ = writeln!(text, " tcp dport {port} dnat ip to {own}:{guest_port}");
        }
        // Addresses that the guest would take for its own, or for its network's.
        let _ = write!(
            text,
            " }}\n chain sources {{\n  type nat hook postrouting priority srcnat; policy accept;\n  \
               oifname \"{link}\" ip saddr {{ {GUEST_NETWORK}, 127.0.0.0/8 }} masquerade\n  \
               oifname != \"{link}\" ip saddr {own} masquerade\n }}\n}}\n"
        );
        text
    }

    /// Rules for `nft -f -` in the VM's namespace.
    pub fn guest_rules(&self) -> String {
        let mut text = format!(
            "table inet casemate {{\n \
             chain from_guest {{\n  type filter hook prerouting priority mangle; policy accept;\n  \
               iifname != \"{TAP}\" accept\n  \
               meta nfproto != ipv4 drop\n  \
               ip saddr != {GUEST} drop\n  \
               ct state established,related accept\n  \
               limit rate over {CONNECTIONS_PER_SECOND}/second burst {CONNECTIONS_AT_ONCE} packets drop\n"
        );
        match &self.outbound {
            None => text.push_str("  drop\n"),
            Some(outbound) => {
                let _ = write!(
                    text,
                    "  ip protocol != {{ tcp, udp }} drop\n  ip daddr {RESOLVER} udp dport 53 accept\n"
                );
                let mut verdict = |networks: &[Network], verdict: &str| {
                    if let Some(set) = set(networks) {
                        let _ = writeln!(text, "  ip daddr {set} {verdict}");
                    }
                };
                verdict(NEVER, "drop");
                verdict(&outbound.reach.opened, "accept");
                verdict(PRIVATE, "drop");
            }
        }
        let _ = write!(
            text,
            " }}\n chain destinations {{\n  type nat hook prerouting priority dstnat; policy accept;\n  \
               iifname \"{OUTSIDE}\" meta l4proto tcp dnat ip to {GUEST}\n"
        );
        if let Some(outbound) = &self.outbound {
            let resolver = outbound.resolver;
            let _ =
                writeln!(text, "  iifname \"{TAP}\" ip daddr {RESOLVER} udp dport 53 dnat ip to {resolver}");
        }
        let _ = write!(
            text,
            " }}\n chain sources {{\n  type nat hook postrouting priority srcnat; policy accept;\n  \
               oifname \"{OUTSIDE}\" masquerade\n }}\n}}\n"
        );
        text
    }

    fn ports(&self) -> impl Iterator<Item = (Ipv4Addr, u16, u16)> {
        self.published.iter().filter_map(|port| match port.host_ip {
            std::net::IpAddr::V4(address) => Some((address, port.host_port, port.guest_port)),
            std::net::IpAddr::V6(_) => None, // ports::claim has refused it
        })
    }
}

/// The tap in the VM's namespace.
pub const TAP: &str = "tap0";
/// The other end of the host's link, in the VM's namespace.
pub const OUTSIDE: &str = "host0";

/// Kernel settings of a VM's namespace, each a path below `/proc/sys` and what is written there. New namespaces
/// begin with settings of the host; which packets pass is for the rules to say.
pub const SETTINGS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/route_localnet", "0"),
    ("net/ipv4/conf/default/route_localnet", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
];

/// Kernel settings that a kernel without IPv6 does not have.
pub const SETTINGS_IF_PRESENT: &[(&str, &str)] =
    &[("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1")];

/// New connections of one guest: each takes room in the tables of its host.
const CONNECTIONS_PER_SECOND: u32 = 200;
const CONNECTIONS_AT_ONCE: u32 = 400;

/// As a set of nftables, which takes no empty ones and no overlaps.
fn set(networks: &[Network]) -> Option<String> {
    let apart = networks.iter().enumerate().filter(|(index, network)| {
        !networks.iter().enumerate().any(|(other_index, other)| {
            let wider = other.prefix() < network.prefix();
            let earlier = other.prefix() == network.prefix() && other_index < *index;
            (wider || earlier) && other.contains(network.address())
        })
    });
    let members: Vec<&dyn Display> = apart.map(|(_, network)| network as &dyn Display).collect();
    if members.is_empty() {
        return None;
    }
    let members: Vec<_> = members.iter().map(ToString::to_string).collect();
    Some(format!("{{ {} }}", members.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::names::Owner;
    use super::*;

    fn plan() -> Plan {
        let port = |host_ip: [u8; 4], host_port, guest_port| PublishedPort {
            host_ip: host_ip.into(),
            host_port,
            guest_port,
        };
        Plan {
            name: Owner::of(Path::new("/state")).name("notes"),
            link: LinkNetwork::new(0).unwrap(),
            published: vec![
                port([127, 0, 0, 1], 8080, 80),
                port([203, 0, 113, 1], 443, 8443),
                port([0, 0, 0, 0], 9000, 9000),
            ],
            outbound: Some(Outbound {
                reach: Reach { opened: vec!["192.168.1.0/24".parse().unwrap()] },
                resolver: "192.0.2.53:53".parse().unwrap(),
            }),
        }
    }

    #[test]
    fn a_guest_that_goes_out() {
        insta::assert_snapshot!("outbound", whole(&plan()));
    }

    #[test]
    fn a_guest_that_stays_inside() {
        let plan = Plan { published: Vec::new(), outbound: None, ..plan() };
        assert!(!plan.is_published_on_loopback());
        insta::assert_snapshot!("inside", whole(&plan));
    }

    fn whole(plan: &Plan) -> String {
        let (links, inside) = (plan.links(), plan.inside());
        let (host, guest) = (plan.host_rules(), plan.guest_rules());
        format!(
            "# host: links\n{links}# host: rules\n{host}# namespace: links\n{inside}# namespace: rules\n{guest}"
        )
    }

    #[test]
    fn loopback_is_published_where_an_address_says_so() {
        let only = |address: [u8; 4]| {
            let published = vec![PublishedPort { host_ip: address.into(), ..plan().published[0].clone() }];
            Plan { published, ..plan() }.is_published_on_loopback()
        };
        assert!(only([127, 0, 0, 1]) && only([0, 0, 0, 0]) && !only([203, 0, 113, 1]));
    }

    #[test]
    fn links_have_networks_of_their_own() {
        let network = |number| LinkNetwork::new(number).unwrap();
        assert_eq!((network(0).host(), network(0).guest()), ([198, 18, 0, 1].into(), [198, 18, 0, 2].into()));
        assert_eq!(network(LinkNetwork::COUNT - 1).guest(), Ipv4Addr::new(198, 19, 255, 254));
        assert_eq!(LinkNetwork::new(LinkNetwork::COUNT), None);
        assert!(
            network(1).overlaps([198, 18, 0, 4].into(), 30)
                && network(1).overlaps([198, 18, 0, 7].into(), 32)
        );
        assert!(network(1).overlaps([198, 18, 0, 0].into(), 15));
        assert!(
            !network(1).overlaps([198, 18, 0, 0].into(), 30) && !network(1).overlaps([10, 0, 0, 0].into(), 8)
        );
    }

    #[test]
    fn a_set_holds_no_network_twice() {
        let networks =
            |texts: &[&str]| -> Vec<Network> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        assert_eq!(set(&[]), None);
        let overlapping =
            networks(&["192.168.1.0/24", "192.168.0.0/16", "192.168.1.7", "10.1.1.1", "10.1.1.1"]);
        assert_eq!(set(&overlapping).unwrap(), "{ 192.168.0.0/16, 10.1.1.1/32 }");
        assert_eq!(set(NEVER).unwrap().matches(", ").count(), NEVER.len() - 1);
    }
}
