//! Which ports are published?

use core::net::IpAddr;

use super::{
    error::Error,
    fields::{Fields, Public, sequence},
    keys::Section,
    model::Port,
    yaml::{Node, Value},
};

/// Reads `ports`, in both syntaxes.
pub(super) fn read(node: Option<Node>, public: &Public) -> Result<Vec<Port>, Error> {
    let Some(node) = node else { return Ok(Vec::new()) };
    sequence("ports", node)?
        .into_iter()
        .map(|item| match item.value {
            Value::Mapping(_) => long(item, public),
            _ => public.value("ports", &item, SHORT, short),
        })
        .collect()
}

const SHORT: &str = "[IP:][HOST:]CONTAINER[/tcp] with single TCP ports";
const PORT: &str = "a port from 1 to 65535";

fn short(text: &str) -> Option<Port> {
    let text = text.strip_suffix("/tcp").unwrap_or(text);
    let (before, container) = match text.rsplit_once(':') {
        Some((before, container)) => (Some(before), container),
        None => (None, text),
    };
    let (host_ip, host_port) = match before {
        None => (None, None),
        Some(before) => match before.rsplit_once(':') {
            None => (None, Some(number(before)?)),
            Some((address, port)) => {
                let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
                let port = if port.is_empty() { None } else { Some(number(port)?) };
                (Some(address.parse().ok()?), port)
            }
        },
    };
    Some(Port { host_ip, host_port, container_port: number(container)? })
}

fn long(node: Node, public: &Public) -> Result<Port, Error> {
    let mut fields = Fields::open(Section::Port, "ports", node)?;
    fields.take("name");
    if let Some(node) = fields.take("mode") {
        public.value("mode", &node, "host or ingress", |text| {
            matches!(text, "host" | "ingress").then_some(())
        })?;
    }
    if let Some(node) = fields.take("protocol") {
        public.value("protocol", &node, "tcp", |text| (text == "tcp").then_some(()))?;
    }
    let host_ip = match fields.take("host_ip") {
        Some(node) => {
            Some(public.value("host_ip", &node, "an IP address", |text| text.parse::<IpAddr>().ok())?)
        }
        None => None,
    };
    let host_port =
        fields.take("published").map(|node| public.value("published", &node, PORT, number)).transpose()?;
    let container_port = public.value("target", &fields.require("target")?, PORT, number)?;
    Ok(Port { host_ip, host_port, container_port })
}

fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_syntax() {
        let port = |host_ip: Option<&str>, host_port, container_port| {
            Some(Port { host_ip: host_ip.map(|ip| ip.parse().unwrap()), host_port, container_port })
        };
        assert_eq!(short("80"), port(None, None, 80));
        assert_eq!(short("8080:80/tcp"), port(None, Some(8080), 80));
        assert_eq!(short("127.0.0.1:8080:80"), port(Some("127.0.0.1"), Some(8080), 80));
        assert_eq!(short("127.0.0.1::80"), port(Some("127.0.0.1"), None, 80));
        assert_eq!(short("[::1]:8080:80"), port(Some("::1"), Some(8080), 80));
        for text in ["", "0", "80/udp", "8000-8001:80", "a:80", "1:2:80", "65536", "080", "+80", ":80"] {
            assert_eq!(short(text), None, "{text}");
        }
    }
}
