//! Do the kernel and its tools accept what this crate writes, and does traffic go where it may?
//!
//! In network namespaces of their own, so it needs user namespaces (or root), `nft`, `ip` and `python3`; where
//! these are missing it says so and tests nothing.

use std::io::Write as _;
use std::process::{Command, Stdio};

use casemate_agent::network::{self, Publish};
use casemate_workload::manifest::{EgressRule, EgressTarget, Protocol};

/// Runs a script in fresh user, mount and network namespaces; its output, if it could run at all.
fn in_namespace(script: &str) -> Option<(bool, String)> {
    let probe = Command::new("unshare")
        .args(["-rnmpf", "--mount-proc", "sh", "-c", "nft list ruleset && ip link && python3 -V"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "no network namespaces, nft, ip or python3 here: the rules are not tested against a kernel"
        );
        return None;
    }
    let mut child = Command::new("unshare")
        .args(["-rnmpf", "--mount-proc", "sh", "-eu"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn egress() -> Vec<EgressRule> {
    let network = EgressTarget::Ipv4 { address: u32::from_be_bytes([10, 0, 2, 2]), prefix: 32 };
    vec![
        EgressRule { to: EgressTarget::Name("api.example.org".into()), port: 443, protocol: Protocol::Tcp },
        EgressRule { to: network, port: 9001, protocol: Protocol::Tcp },
    ]
}

/// The guest's network with two services, and a host at the other end of its wire.
fn guest() -> String {
    let published = [Publish { service: 0, guest_port: 8080, container_port: 80 }];
    format!(
        "mount -t tmpfs run /run; mkdir -p /run/netns
mount -t sysfs sys /sys 2>/dev/null || true
for setting in {settings}; do echo ${{setting#*=}} > /proc/sys/${{setting%=*}}; done
nft -f - <<'RULES'
{rules}RULES
ip netns add host
ip link add eth0 type veth peer name eth0 netns host
ip -netns host -batch - <<'HOST'
link set lo up
link set eth0 up
addr add 10.0.2.2/24 dev eth0
route add 172.30.0.0/24 via 10.0.2.15
HOST
ip -batch - <<'LINKS'
{links}LINKS
ip -netns s0 -batch - <<'ZERO'
{zero}ZERO
ip -netns s1 -batch - <<'ONE'
{one}ONE
serve() {{ ip netns exec $1 python3 -c \"
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('0.0.0.0', $2)); s.listen()
while True: s.accept()[0].sendall(b'$3')\" < /dev/null > /dev/null 2>&1 & }}
reach() {{ ip netns exec $1 python3 -c \"
import socket
try:
    s = socket.create_connection(('$2', $3), 1); print(s.recv(9).decode())
except OSError as e: print('no')\"; }}
",
        settings = network::SETTINGS.iter().map(|(path, value)| format!("{path}={value} ")).collect::<String>(),
        rules = network::rules(&published, &egress()),
        links = network::links(2),
        zero = network::inside(0),
        one = network::inside(1),
    )
}

#[test]
fn nft_takes_the_rules_and_the_opening_of_addresses() {
    let open = network::open_egress(&[0], &["192.0.2.7".parse().unwrap()], 300);
    let script = format!(
        "nft -f - <<'RULES'\n{rules}RULES\nfor again in 1 2; do nft -f - <<'OPEN'\n{open}OPEN\ndone\n\
         nft list set inet casemate egress0\n",
        rules = network::rules(&[], &egress())
    );
    let Some((success, text)) = in_namespace(&script) else { return };
    assert!(success && text.contains("192.0.2.7 timeout 5m"), "{text}");
}

#[test]
fn traffic_goes_where_it_may_and_nowhere_else() {
    let script = guest()
        + "
serve s0 80 zero; serve s0 81 hidden; serve s1 80 one; serve host 9001 open; serve host 9002 shut
sleep 1
echo published $(reach host 10.0.2.15 8080)
echo unpublished $(reach host 10.0.2.15 81)
echo inside-address $(reach host 172.30.0.10 80)
echo other-service $(reach s1 172.30.0.10 81)
echo granted $(reach s1 10.0.2.2 9001)
echo not-granted $(reach s1 10.0.2.2 9002)
echo guest-itself $(reach s1 172.30.0.1 22)
";
    let Some((success, text)) = in_namespace(&script) else { return };
    let expected = "published zero\nunpublished no\ninside-address no\nother-service hidden\n\
                    granted open\nnot-granted no\nguest-itself no\n";
    assert!(success && text == expected, "{text}");
}
