//! Who may talk to whom?
//!
//! One bridge for the workload, one network namespace and fixed address per service, and rules that
//! deny whatever the manifest does not grant: from outside only published ports, to outside only
//! egress rules. The host owns the wire, so nothing here protects what is on it; the rules keep the
//! *workload* from connecting elsewhere, and the host from reaching what is not published. This
//! module writes the input of `ip -batch` and `nft -f`; [`crate::system`] runs them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use casemate_workload::manifest::{EgressRule, EgressTarget, Protocol};

/// Address of the bridge, where containers find their resolver.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
/// Address of the guest's interface (QEMU user networking, fixed by `docs/reference/boot.md`).
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Where QEMU's user network answers DNS.
pub const UPSTREAM_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// Most services of one workload: what fits behind [`address`] in the bridge's network.
pub const MAXIMUM_SERVICES: usize = 200;

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const NETWORK: &str = "172.30.0.0/24";
const FIRST_HOST: u8 = 10;

/// A published port: `guest_port` of the guest's interface leads to `container_port` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Index of the service.
    pub service: usize,
    /// TCP port on the guest's interface.
    pub guest_port: u16,
    /// TCP port in the container.
    pub container_port: u16,
}

/// Address of the service with this index, below [`MAXIMUM_SERVICES`].
pub fn address(service: usize) -> Ipv4Addr {
    let host = FIRST_HOST.saturating_add(u8::try_from(service).unwrap_or(u8::MAX));
    Ipv4Addr::new(172, 30, 0, host)
}

/// Name of the network namespace of the service with this index; its path is `/run/netns/` and this.
pub fn namespace(service: usize) -> String {
    format!("s{service}")
}

/// Lines for `ip -batch -` in the guest's own namespace.
pub fn links(services: usize) -> String {
    let mut batch = format!(
        "link set lo up\n\
         link set eth0 up\n\
         addr add {GUEST}/24 dev eth0\n\
         route add default via {ROUTER}\n\
         link add cm0 type bridge\n\
         addr add {GATEWAY}/24 dev cm0\n\
         link set cm0 up\n"
    );
    for service in 0..services {
        let name = namespace(service);
        let _ = write!(
            batch,
            "netns add {name}\n\
             link add v{service} type veth peer name eth0 netns {name}\n\
             link set v{service} master cm0 up\n"
        );
    }
    batch
}

/// Lines for `ip -netns NAME -batch -` in the namespace of one service.
pub fn inside(service: usize) -> String {
    format!(
        "link set lo up\n\
         link set eth0 up\n\
         addr add {}/24 dev eth0\n\
         route add default via {GATEWAY}\n",
        address(service)
    )
}

/// Kernel settings, each a path below `/proc/sys` and what is written there.
pub const SETTINGS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    // A packet from outside that claims an inside address is dropped (RFC 3704, strict).
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/default/rp_filter", "1"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
];

/// Kernel settings that a kernel without IPv6 does not have.
pub const SETTINGS_IF_PRESENT: &[(&str, &str)] =
    &[("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1")];

/// Rules for `nft -f -`: all of them in one transaction, before any container runs.
pub fn rules(published: &[Publish], egress: &[EgressRule]) -> String {
    let named = egress.iter().any(|rule| matches!(rule.to, EgressTarget::Name(_)));
    let mut text = String::from("table inet casemate {\n");
    for (index, rule) in egress.iter().enumerate() {
        if matches!(rule.to, EgressTarget::Name(_)) {
            let set = egress_set(index);
            let _ = writeln!(text, " set {set} {{ type ipv4_addr; flags timeout; size {SET_ENTRIES}; }}");
        }
    }
    let _ = write!(
        text,
        " chain input {{\n  type filter hook input priority filter; policy drop;\n  \
           iifname \"lo\" accept\n  \
           ct state established,related accept\n  \
           iifname \"cm0\" ip daddr {GATEWAY} udp dport 53 accept\n }}\n \
         chain output {{\n  type filter hook output priority filter; policy drop;\n  \
           oifname \"lo\" accept\n  \
           ct state established,related accept\n"
    );
    if named {
        let _ = writeln!(text, "  oifname \"eth0\" ip daddr {UPSTREAM_RESOLVER} udp dport 53 accept");
    }
    text.push_str(
        " }\n chain forward {\n  type filter hook forward priority filter; policy drop;\n  \
         ct state established,related accept\n  \
         iifname \"eth0\" oifname \"cm0\" ct status dnat accept\n  \
         iifname \"cm0\" oifname \"cm0\" accept\n", // seen here only where bridges call netfilter
    );
    for (index, rule) in egress.iter().enumerate() {
        let _ = writeln!(text, "  iifname \"cm0\" oifname \"eth0\" {} accept", condition(index, rule));
    }
    // A container hears at once that it may not, instead of waiting; the host hears nothing.
    text.push_str("  iifname \"cm0\" reject with icmpx admin-prohibited\n");
    text.push_str(" }\n}\ntable ip casemate_nat {\n chain prerouting {\n  type nat hook prerouting priority dstnat; policy accept;\n");
    for port in published {
        let _ = writeln!(
            text,
            "  iifname \"eth0\" ip daddr {GUEST} tcp dport {} dnat to {}:{}",
            port.guest_port,
            address(port.service),
            port.container_port
        );
    }
    let _ = write!(
        text,
        " }}\n chain postrouting {{\n  type nat hook postrouting priority srcnat; policy accept;\n  \
         oifname \"eth0\" ip saddr {NETWORK} masquerade\n }}\n}}\n"
    );
    text
}

/// A command for `nft -f -` that lets the egress rules of these indices reach `addresses` for `ttl`
/// seconds; addresses already known get the new lifetime.
pub fn open_egress(rules: &[usize], addresses: &[Ipv4Addr], ttl_seconds: u32) -> String {
    let mut text = String::new();
    for &rule in rules {
        for address in addresses {
            let set = egress_set(rule);
            // Adding an element again does not renew its timeout; deleting one that is not there fails.
            let _ = write!(
                text,
                "add element inet casemate {set} {{ {address} timeout {ttl_seconds}s }}\n\
                 delete element inet casemate {set} {{ {address} }}\n\
                 add element inet casemate {set} {{ {address} timeout {ttl_seconds}s }}\n"
            );
        }
    }
    text
}

fn condition(index: usize, rule: &EgressRule) -> String {
    let protocol = match rule.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let port = rule.port;
    match &rule.to {
        EgressTarget::Name(_) => format!("ip daddr @{} {protocol} dport {port}", egress_set(index)),
        EgressTarget::Ipv4 { address, prefix } => {
            format!("ip daddr {}/{prefix} {protocol} dport {port}", Ipv4Addr::from(*address))
        }
    }
}

fn egress_set(rule: usize) -> String {
    format!("egress{rule}")
}

/// Addresses that one name may have open at a time.
const SET_ENTRIES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn egress() -> Vec<EgressRule> {
        vec![
            EgressRule {
                to: EgressTarget::Name("api.example.org".into()),
                port: 443,
                protocol: Protocol::Tcp,
            },
            EgressRule {
                to: EgressTarget::Ipv4 { address: u32::from(Ipv4Addr::new(192, 0, 2, 0)), prefix: 24 },
                port: 123,
                protocol: Protocol::Udp,
            },
        ]
    }

    const PUBLISHED: &[Publish] = &[Publish { service: 1, guest_port: 8080, container_port: 80 }];

    #[test]
    fn nothing_granted_opens_nothing() {
        assert_eq!(
            rules(&[], &[]),
            r#"table inet casemate {
 chain input {
  type filter hook input priority filter; policy drop;
  iifname "lo" accept
  ct state established,related accept
  iifname "cm0" ip daddr 172.30.0.1 udp dport 53 accept
 }
 chain output {
  type filter hook output priority filter; policy drop;
  oifname "lo" accept
  ct state established,related accept
 }
 chain forward {
  type filter hook forward priority filter; policy drop;
  ct state established,related accept
  iifname "eth0" oifname "cm0" ct status dnat accept
  iifname "cm0" oifname "cm0" accept
  iifname "cm0" reject with icmpx admin-prohibited
 }
}
table ip casemate_nat {
 chain prerouting {
  type nat hook prerouting priority dstnat; policy accept;
 }
 chain postrouting {
  type nat hook postrouting priority srcnat; policy accept;
  oifname "eth0" ip saddr 172.30.0.0/24 masquerade
 }
}
"#
        );
    }

    #[test]
    fn each_grant_is_one_rule() {
        let text = rules(PUBLISHED, &egress());
        for line in [
            " set egress0 { type ipv4_addr; flags timeout; size 1024; }",
            "  oifname \"eth0\" ip daddr 10.0.2.3 udp dport 53 accept",
            "  iifname \"cm0\" oifname \"eth0\" ip daddr @egress0 tcp dport 443 accept",
            "  iifname \"cm0\" oifname \"eth0\" ip daddr 192.0.2.0/24 udp dport 123 accept",
            "  iifname \"eth0\" ip daddr 10.0.2.15 tcp dport 8080 dnat to 172.30.0.11:80",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("egress1"), "a network needs no set");
    }

    #[test]
    fn each_service_has_its_own_place() {
        assert_eq!(address(0), Ipv4Addr::new(172, 30, 0, 10));
        assert_eq!(address(MAXIMUM_SERVICES - 1), Ipv4Addr::new(172, 30, 0, 209));
        let batch = links(2);
        assert!(batch.contains("link add v1 type veth peer name eth0 netns s1\n"));
        assert!(inside(1).contains("addr add 172.30.0.11/24 dev eth0\n"));
    }

    #[test]
    fn an_opened_address_closes_again() {
        let text = open_egress(&[0], &[Ipv4Addr::new(192, 0, 2, 7)], 300);
        assert!(text.ends_with("add element inet casemate egress0 { 192.0.2.7 timeout 300s }\n"), "{text}");
    }
}
