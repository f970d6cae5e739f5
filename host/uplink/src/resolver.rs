//! Whom does this host ask for names?

use std::net::{IpAddr, SocketAddr};

/// The first name server of `/etc/resolv.conf` (resolv.conf(5)), as it says now.
pub(crate) fn of_this_host() -> Option<SocketAddr> {
    first(&std::fs::read_to_string("/etc/resolv.conf").ok()?)
}

fn first(text: &str) -> Option<SocketAddr> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let address = (words.next()? == "nameserver").then(|| words.next()?.parse::<IpAddr>().ok())??;
        Some(SocketAddr::new(address, PORT))
    })
}

const PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_usable_line_counts() {
        let text = "# nameserver 192.0.2.1\nsearch example.org\nnameserver none\n nameserver 127.0.0.53 \nnameserver ::1";
        assert_eq!(first(text), Some("127.0.0.53:53".parse().unwrap()));
        assert_eq!(first("nameserver ::1\n"), Some("[::1]:53".parse().unwrap()));
        assert_eq!(first("options ndots:1\n"), None);
    }
}
