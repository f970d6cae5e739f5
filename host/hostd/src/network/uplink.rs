//! Who carries a VM's packets?
//!
//! One `casemate-uplink` per VM, between QEMU's socket and this host's ordinary sockets. It runs as the
//! daemon's user and needs no rights; it ends with its QEMU.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use casemate_api::host::PublishedPort;
use casemate_api::reach::Reach;

use crate::helper::{self, HelperError};
use crate::processes::ProcessId;
use crate::qemu::file;

/// The program and what it lets through on this host.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// `casemate-uplink`.
    pub program: PathBuf,
    /// What guests reach beyond public addresses.
    pub reach: Reach,
    /// Who resolves names for guests; by default the first of `/etc/resolv.conf`.
    pub resolver: Option<SocketAddr>,
}

impl Uplink {
    /// Starts the uplink of the VM in `folder`, and waits until its ports are open.
    ///
    /// # Errors
    /// Each variant of [`HelperError`].
    pub(crate) async fn start(
        &self,
        folder: &Path,
        outbound: bool,
        ports: &[PublishedPort],
    ) -> Result<ProcessId, HelperError> {
        let arguments = self.arguments(folder, outbound, ports);
        helper::start(&self.program, &arguments, folder, &folder.join(file::NETWORK_LOG)).await
    }

    fn arguments(&self, folder: &Path, outbound: bool, ports: &[PublishedPort]) -> Vec<String> {
        let mut arguments = vec!["--socket".to_owned(), folder.join(file::NETWORK).display().to_string()];
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        for port in ports {
            option("--publish", format!("{}:{}:{}", port.host_ip, port.host_port, port.guest_port));
        }
        if outbound {
            for network in &self.reach.opened {
                option("--open", network.to_string());
            }
            if let Some(resolver) = self.resolver {
                option("--resolver", resolver.to_string());
            }
            arguments.push("--outbound".to_owned());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_stays_inside_opens_nothing() {
        let uplink = Uplink {
            program: "casemate-uplink".into(),
            reach: Reach { opened: vec!["192.168.1.0/24".parse().unwrap()] },
            resolver: Some("192.0.2.53:53".parse().unwrap()),
        };
        let ports = [PublishedPort { host_ip: [127, 0, 0, 1].into(), host_port: 8080, guest_port: 80 }];
        let line = |outbound| uplink.arguments(Path::new("/vms/notes"), outbound, &ports).join(" ");
        assert_eq!(line(false), "--socket /vms/notes/net.sock --publish 127.0.0.1:8080:80");
        assert_eq!(
            line(true),
            "--socket /vms/notes/net.sock --publish 127.0.0.1:8080:80 --open 192.168.1.0/24 \
             --resolver 192.0.2.53:53 --outbound"
        );
    }
}
