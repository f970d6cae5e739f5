//! What is the app granted beyond running?

use core::net::Ipv4Addr;
use std::collections::BTreeSet;

use super::{
    error::Error,
    fields::{Fields, Public, sequence},
    keys::Section,
    model::Extension,
    units,
    yaml::Node,
};
use crate::manifest::{EgressRule, EgressTarget, Observe, Protocol};

/// Reads `x-casemate`.
pub(super) fn read(node: Node, public: &Public) -> Result<Extension, Error> {
    let mut fields = Fields::open(Section::Extension, "x-casemate", node)?;
    if let Some(node) = fields.take("profile") {
        public.value("profile", &node, "lite", |text| (text == "lite").then_some(()))?;
    }
    let mut extension = Extension {
        volume_size_bytes: match fields.take("volume_size") {
            Some(node) => Some(public.value("volume_size", &node, "a size from 64m to 16384g", |text| {
                units::size_bytes(text).filter(|size| (64 << 20..=16 << 40).contains(size))
            })?),
            None => None,
        },
        memory_bytes: match fields.take("memory") {
            Some(node) => Some(public.value("memory", &node, "whole megabytes from 256m on", |text| {
                units::size_bytes(text).filter(|size| *size >= 256 << 20 && size % (1 << 20) == 0)
            })?),
            None => None,
        },
        vcpus: match fields.take("vcpus") {
            Some(node) => Some(public.value("vcpus", &node, "a number from 1 to 255", |text| {
                text.parse().ok().filter(|vcpus| (1..=255).contains(vcpus))
            })?),
            None => None,
        },
        observe: fields
            .take("observe")
            .map(|node| read_observe(node, public))
            .transpose()?
            .unwrap_or_default(),
        ..Extension::default()
    };
    if let Some(node) = fields.take("egress") {
        for item in sequence("egress", node)? {
            let rule = public.value("egress", &item, EGRESS, read_egress)?;
            if !extension.egress.contains(&rule) {
                extension.egress.push(rule);
            }
        }
    }
    if let Some(node) = fields.take("domains") {
        for item in sequence("domains", node)? {
            let domain = public.value("domains", &item, "a lower-case domain name", |text| {
                units::is_dns_name(text).then(|| text.to_owned())
            })?;
            if !extension.domains.contains(&domain) {
                extension.domains.push(domain);
            }
        }
    }
    if let Some(node) = fields.take("evidence") {
        let names = sequence("evidence", node)?;
        let names = names.iter().map(|name| public.text("evidence", name));
        extension.evidence = names.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect();
    }
    Ok(extension)
}

fn read_observe(node: Node, public: &Public) -> Result<Observe, Error> {
    let mut fields = Fields::open(Section::Observe, "observe", node)?;
    let mut granted = |key| fields.take(key).map_or(Ok(false), |node| public.boolean(key, &node));
    Ok(Observe { logs: granted("logs")?, status: granted("status")?, exec: granted("exec")? })
}

const EGRESS: &str = "NAME:PORT or IPV4[/BITS]:PORT, with '/udp' at the end for UDP";

fn read_egress(text: &str) -> Option<EgressRule> {
    let (text, protocol) = match text.strip_suffix("/udp") {
        Some(text) => (text, Protocol::Udp),
        None => (text.strip_suffix("/tcp").unwrap_or(text), Protocol::Tcp),
    };
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0 && !text.contains('+'))?;
    let to = if units::is_dns_name(host) {
        EgressTarget::Name(host.to_owned())
    } else {
        let (address, prefix) = match host.split_once('/') {
            Some((address, prefix)) => (address, prefix.parse().ok().filter(|prefix| *prefix <= 32)?),
            None => (host, 32u8),
        };
        let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        if address & !mask != 0 {
            return None;
        }
        EgressTarget::Ipv4 { address, prefix }
    };
    Some(EgressRule { to, port, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn egress_rules() {
        let rule = |to, port, protocol| Some(EgressRule { to, port, protocol });
        assert_eq!(
            read_egress("mirror.example.org:443"),
            rule(EgressTarget::Name("mirror.example.org".into()), 443, Protocol::Tcp)
        );
        assert_eq!(
            read_egress("10.0.0.0/8:53/udp"),
            rule(EgressTarget::Ipv4 { address: 10 << 24, prefix: 8 }, 53, Protocol::Udp)
        );
        assert_eq!(
            read_egress("0.0.0.0/0:443"),
            rule(EgressTarget::Ipv4 { address: 0, prefix: 0 }, 443, Protocol::Tcp)
        );
        for text in [
            "example.org",
            "example.org:0",
            "example.org:*",
            "*.example.org:1",
            "10.0.0.1/8:1",
            "10.0.0.0/33:1",
            "localhost:1",
            "Example.org:1",
            "example.org:+1",
            ":1",
            "999.0.0.1:1",
        ] {
            assert_eq!(read_egress(text), None, "{text}");
        }
    }
}
