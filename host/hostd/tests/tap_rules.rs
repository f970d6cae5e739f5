//! Do packets go where the rules of a tap network say, and is there a rule that nobody would miss?
//!
//! Two VMs, their host and the world, each a network namespace, all inside fresh ones of `unshare`; a veth
//! stands in for each tap and a program for each guest. Needs root or user namespaces, `nft`, `ip` and `python3`;
//! where these are missing it says so, and in CI it fails.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use casemate_api::host::PublishedPort;
use casemate_api::reach::Reach;
use casemate_hostd::network::tap::names::Owner;
use casemate_hostd::network::tap::plan::{LinkNetwork, Outbound, Plan, SETTINGS};

/// What may be tried, and what is seen with all rules.
struct Probe {
    name: &'static str,
    command: &'static str,
    seen: &'static str,
}

const fn probe(name: &'static str, command: &'static str, seen: &'static str) -> Probe {
    Probe { name, command, seen }
}

/// `try_` prints what a server answers: its name, and the address that it sees.
const PROBES: &[Probe] = &[
    // In.
    probe("own-loopback", "try_ - 127.0.0.1 8080", "a 198.18.0.1"),
    probe("own-address", "try_ - 203.0.113.1 443", "a 203.0.113.1"),
    probe("own-any", "try_ - 203.0.113.1 9000", "a 203.0.113.1"),
    probe("from-world", "try_ world 203.0.113.1 443", "a 203.0.113.2"),
    probe("from-world-any", "try_ world 203.0.113.1 9000", "a 203.0.113.2"),
    probe("from-twin", "try_ world 203.0.113.1 443 10.0.2.77", "a 198.18.0.1"),
    probe("loopback-from-world", "frame_to_loopback", "nothing"),
    probe("not-published", "try_ world 198.18.0.2 81", "no"),
    probe("not-published-own", "try_ - 198.18.0.2 81", "no"),
    probe("other-port", "try_ world 203.0.113.1 81", "no"),
    probe("host-itself", "try_ world 203.0.113.1 7000", "host 203.0.113.2"),
    // Out.
    probe("public", "try_ guest-a 203.0.113.2 9001", "world 203.0.113.1"),
    probe("opened", "try_ guest-a 192.168.8.2 9001", "world 192.168.8.1"),
    probe("private", "try_ guest-a 192.168.7.2 9001", "no"),
    probe("never", "try_ guest-a 240.0.0.1 9001", "no"),
    probe("names", "ask guest-a 10.0.2.3 53", "names"),
    probe("spoofed", "try_ guest-a 203.0.113.2 9001 10.0.2.77", "no"),
    probe("echo", "echo_ guest-a 203.0.113.2", "no"),
    probe("ipv6", "try_ guest-a fd00::2 9", "no"),
    // To the host and to others.
    probe("host-address", "try_ guest-a 203.0.113.1 7000", "no"),
    probe("host-link", "try_ guest-a 198.18.0.1 7000", "no"),
    probe("host-loopback", "frame_from_guest 127.0.0.1 7001", "nothing"),
    probe("host-zero", "frame_from_guest 0.0.0.0 7001", "nothing"),
    probe("host-opened", "try_ guest-a 192.168.8.1 7000", "host 198.18.0.2"),
    probe("vm-to-vm", "try_ guest-a 198.18.0.6 81", "no"),
    // Its own rules let it go anywhere; it is the other's that do not.
    probe("vm-to-vm-opened", "try_ guest-b 198.18.0.2 81", "no"),
    probe("vm-to-own-port", "try_ guest-a 203.0.113.1 443", "no"),
    // Last: it takes all that there is.
    probe("flood", "flood guest-a 203.0.113.2", "bounded"),
];

/// Whose rules, in which chain, which one; and the probe that sees that it is gone, with what it sees then.
type Loss = (&'static str, &'static str, &'static str, &'static str, &'static str);

const HOST: &str = "host";
const GUEST: &str = "guest";

const LOSSES: &[Loss] = &[
    (HOST, "from_guest", "iifname != \"LINK\" accept", "host-itself", "no"),
    (HOST, "from_guest", "ct state established,related accept", "own-loopback", "no"),
    (HOST, "from_guest", "ip daddr 203.0.113.1 udp dport 5353 accept", "names", "no"),
    (HOST, "from_guest", "ip daddr { 192.168.8.0/24 } accept", "host-opened", "no"),
    (HOST, "from_guest", "fib daddr type != unicast drop", "host-address", "host 198.18.0.2"),
    (HOST, "to_guest", "oifname != \"LINK\" accept", "public", "no"),
    (HOST, "to_guest", "ct state established,related accept", "public", "no"),
    (HOST, "to_guest", "ct status dnat accept", "from-world", "no"),
    (HOST, "to_guest", "drop", "not-published", "hidden 203.0.113.2"),
    (HOST, "to_guest", "drop", "not-published-own", "hidden 198.18.0.1"),
    (HOST, "to_guest", "drop", "vm-to-vm-opened", "hidden 198.18.0.1"),
    (HOST, "ports", "ip daddr 203.0.113.1 tcp dport 443 dnat ip to 198.18.0.2:80", "from-world", "no"),
    (
        HOST,
        "ports",
        "ip daddr != 127.0.0.0/8 fib daddr type local tcp dport 9000 dnat ip to 198.18.0.2:80",
        "from-world-any",
        "no",
    ),
    (HOST, "own_ports", "ip daddr 127.0.0.1 tcp dport 8080 dnat ip to 198.18.0.2:80", "own-loopback", "no"),
    (HOST, "own_ports", "ip daddr 203.0.113.1 tcp dport 443 dnat ip to 198.18.0.2:80", "own-address", "no"),
    (HOST, "own_ports", "fib daddr type local tcp dport 9000 dnat ip to 198.18.0.2:80", "own-any", "no"),
    (
        HOST,
        "sources",
        "oifname \"LINK\" ip saddr { 10.0.2.0/24, 127.0.0.0/8 } masquerade",
        "own-loopback",
        "no",
    ),
    (HOST, "sources", "oifname != \"LINK\" ip saddr 198.18.0.2 masquerade", "public", "world 198.18.0.2"),
    (GUEST, "from_guest", "iifname != \"tap0\" accept", "from-world", "no"),
    (GUEST, "from_guest", "meta nfproto != ipv4 drop", "ipv6", "refused"),
    (GUEST, "from_guest", "ip saddr != 10.0.2.15 drop", "spoofed", "world 203.0.113.1"),
    (GUEST, "from_guest", "ct state established,related accept", "own-loopback", "no"),
    (GUEST, "from_guest", "limit rate over 200/second burst 400 packets drop", "flood", "all"),
    (GUEST, "from_guest", "ip protocol != { tcp, udp } drop", "echo", "echo"),
    (GUEST, "from_guest", "ip daddr 10.0.2.3 udp dport 53 accept", "names", "no"),
    (
        GUEST,
        "from_guest",
        "ip daddr { 0.0.0.0/8, 10.0.2.0/24, 127.0.0.0/8, 224.0.0.0/4, 240.0.0.0/4 } drop",
        "never",
        "world 203.0.113.1",
    ),
    (GUEST, "from_guest", "ip daddr { 192.168.8.0/24 } accept", "opened", "no"),
    (
        GUEST,
        "from_guest",
        "ip daddr { 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 198.18.0.0/15 } drop",
        "private",
        "world 203.0.113.1",
    ),
    (GUEST, "destinations", "iifname \"host0\" meta l4proto tcp dnat ip to 10.0.2.15", "from-world", "no"),
    (
        GUEST,
        "destinations",
        "iifname \"tap0\" ip daddr 10.0.2.3 udp dport 53 dnat ip to 203.0.113.1:5353",
        "names",
        "no",
    ),
    (GUEST, "sources", "oifname \"host0\" masquerade", "public", "no"),
];

/// Conditions of rules: what stands instead of what, and the probe that sees it.
const WEAKENED: &[(&str, &str, &str, &str)] = &[
    (
        "ip daddr != 127.0.0.0/8 fib daddr type local tcp dport 9000",
        "fib daddr type local tcp dport 9000",
        "loopback-from-world",
        "arrived",
    ),
    (
        "ip saddr { 10.0.2.0/24, 127.0.0.0/8 } masquerade",
        "ip saddr 127.0.0.0/8 masquerade",
        "from-twin",
        "no",
    ),
];

#[test]
fn packets_go_where_they_may_and_nowhere_else() {
    let (first, second) = plans();
    let all: Vec<&Probe> = PROBES.iter().collect();
    let Some(found) = try_out(&Machine::of(&first), &Machine::of(&second), &all) else { return };
    let expected: String = PROBES.iter().map(|probe| format!("{} {}\n", probe.name, probe.seen)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_guest_that_stays_inside_is_reached_and_reaches_nothing() {
    let (first, second) = plans();
    let inside = Plan { outbound: None, ..first };
    let named: Vec<_> =
        ["own-loopback", "from-world", "public", "opened", "names", "host-opened"].map(find).into();
    let Some(found) = try_out(&Machine::of(&inside), &Machine::of(&second), &named) else { return };
    assert_eq!(
        found,
        "own-loopback a 198.18.0.1\nfrom-world a 203.0.113.2\npublic no\nopened no\nnames no\nhost-opened no\n"
    );
    let mut open = Machine::of(&inside);
    open.guest = without(&open.guest, "from_guest", "drop");
    let found = try_out(&open, &Machine::of(&second), &[find("public")]).unwrap();
    assert_eq!(found, "public world 203.0.113.1\n");
}

#[test]
fn each_rule_is_missed_by_a_probe() {
    let (first, second) = plans();
    let (whole, other) = (Machine::of(&first), Machine::of(&second));
    let mut cases = Vec::new();
    for &(whose, chain, rule, name, seen) in LOSSES {
        let rule = rule.replace("LINK", &first.name.link());
        let mut less = whole.clone();
        let text = if whose == HOST { &mut less.host } else { &mut less.guest };
        *text = without(text, chain, &rule);
        cases.push((format!("without {whose} {chain}: {rule}"), less, name, seen));
    }
    for &(from, to, name, seen) in WEAKENED {
        let mut less = whole.clone();
        assert!(less.host.contains(from), "{from}");
        less.host = less.host.replace(from, to);
        cases.push((format!("with {to}"), less, name, seen));
    }
    // A rule that is in no case was forgotten above.
    let covered = LOSSES
        .iter()
        .map(|&(whose, chain, rule, ..)| (whose, chain.to_owned(), rule.replace("LINK", &first.name.link())));
    let covered: Vec<_> = covered.collect();
    for (whose, text) in [(HOST, &whole.host), (GUEST, &whole.guest)] {
        for (chain, rule) in rules(text) {
            assert!(
                covered.contains(&(whose, chain.clone(), rule.clone())),
                "no probe for {whose} {chain}: {rule}"
            );
        }
    }
    let cases = Mutex::new(cases.into_iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((what, less, name, seen)) = cases.lock().unwrap().next() else { return };
                    let Some(found) = try_out(&less, &other, &[find(name)]) else { return };
                    if found != format!("{name} {seen}\n") {
                        wrong.lock().unwrap().push(format!("{what}: expected {seen:?}, found {found:?}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// They wait more than they work.
const CASES_AT_ONCE: usize = 6;

fn find(name: &str) -> &'static Probe {
    PROBES.iter().find(|probe| probe.name == name).unwrap_or_else(|| panic!("no probe {name}"))
}

/// Two VMs: one with ports and an opened network, and one that its operator let go anywhere.
fn plans() -> (Plan, Plan) {
    let owner = Owner::of(Path::new("/state"));
    let port =
        |host_ip: [u8; 4], host_port| PublishedPort { host_ip: host_ip.into(), host_port, guest_port: 80 };
    let outbound = |opened: &str| {
        let reach = Reach { opened: vec![opened.parse().unwrap()] };
        Some(Outbound { reach, resolver: "203.0.113.1:5353".parse().unwrap() })
    };
    let first = Plan {
        name: owner.name("first"),
        link: LinkNetwork::new(0).unwrap(),
        published: vec![port([127, 0, 0, 1], 8080), port([203, 0, 113, 1], 443), port([0, 0, 0, 0], 9000)],
        outbound: outbound("192.168.8.0/24"),
    };
    let second = Plan {
        name: owner.name("second"),
        link: LinkNetwork::new(1).unwrap(),
        published: Vec::new(),
        outbound: outbound("0.0.0.0/0"),
    };
    (first, second)
}

/// What is told to the kernel for one VM.
#[derive(Clone)]
struct Machine {
    link: String,
    links: String,
    inside: String,
    host: String,
    guest: String,
}

impl Machine {
    fn of(plan: &Plan) -> Self {
        let (links, inside) = (plan.links(), plan.inside());
        assert!(inside.starts_with(TAP_LINE), "{inside}");
        Self { link: plan.name.link(), links, inside, host: plan.host_rules(), guest: plan.guest_rules() }
    }

    /// Sets it up, with the guest in namespace `guest` at the other end of the tap.
    fn script(&self, guest: &str) -> String {
        let Self { link, links, inside, host, guest: rules } = self;
        let veth = format!("link add tap0 type veth peer name eth0 netns {guest}\n");
        let inside = inside.replace(TAP_LINE, &veth);
        let settings: String = SETTINGS.iter().map(|(path, value)| format!("{path}={value} ")).collect();
        format!(
            "nft -f - <<'RULES'\n{host}RULES
ip netns add {link}; ip netns add {guest}
nsenter --net=/run/netns/{link} sh -c 'for s in {settings}; do echo ${{s#*=}} > /proc/sys/${{s%=*}}; done'
nsenter --net=/run/netns/{link} nft -f - <<'RULES'\n{rules}RULES
ip -batch - <<'LINKS'\n{links}LINKS
echo 1 > /proc/sys/net/ipv4/conf/{link}/route_localnet
ip -netns {link} -batch - <<'LINKS'\n{inside}LINKS
if [ -e /proc/sys/net/ipv6 ]; then ip -netns {link} addr add fd00::2/64 dev tap0 nodad; fi
ip -netns {guest} -batch - <<'LINKS'
link set lo up
link set eth0 up
addr add 10.0.2.15/24 dev eth0
addr add 10.0.2.77/24 dev eth0
addr add fd00::15/64 dev eth0 nodad
route add default via 10.0.2.2
LINKS
"
        )
    }
}

const TAP_LINE: &str = "tuntap add dev tap0 mode tap\n";

/// Chain and text of every rule.
fn rules(text: &str) -> Vec<(String, String)> {
    let mut chain = String::new();
    let mut rules = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.trim().strip_prefix("chain ") {
            name.trim_end_matches(" {").clone_into(&mut chain);
        } else if line.starts_with("  ") && !line.starts_with("  type ") {
            rules.push((chain.clone(), line.trim().to_owned()));
        }
    }
    rules
}

fn without(text: &str, chain: &str, rule: &str) -> String {
    let begin =
        text.find(&format!("chain {chain} {{")).unwrap_or_else(|| panic!("no chain {chain} in\n{text}"));
    let line = format!("\n  {rule}\n");
    let at = text[begin..].find(&line).unwrap_or_else(|| panic!("no rule {rule:?} in\n{}", &text[begin..]));
    let (before, after) = text.split_at(begin + at);
    format!("{before}\n{}", &after[line.len()..])
}

/// Sets everything up in fresh namespaces and tries `probes`; what they print, if namespaces can be had.
fn try_out(first: &Machine, second: &Machine, probes: &[&Probe]) -> Option<String> {
    let mut script = String::from(WORLD);
    script += &first.script("guest-a");
    script += &second.script("guest-b");
    script += PROGRAMS;
    // Those that only connect do not disturb each other, and mostly wait.
    let (connecting, alone): (Vec<&Probe>, Vec<&Probe>) =
        probes.iter().partition(|probe| probe.command.starts_with("try_"));
    for Probe { name, command, .. } in connecting {
        script += &format!("{{ echo {name} $({command}) > /run/seen-{name}; }} & tries=\"$tries $!\"\n");
    }
    script += "if [ -n \"$tries\" ]; then wait $tries; fi\n";
    for Probe { name, command, .. } in alone {
        script += &format!("echo {name} $({command}) > /run/seen-{name}\n");
    }
    for Probe { name, .. } in probes {
        script += &format!("cat /run/seen-{name}\n");
    }
    let isolate = ["-rnmpf", "--kill-child", "--mount-proc"];
    let possible = Command::new("unshare")
        .args(isolate)
        .args(["sh", "-c", "nft list ruleset && ip link && python3 -V && nsenter -V"])
        .output();
    if !possible.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI machines have namespaces, nft, ip, nsenter and python3"
        );
        eprintln!("not tested: no network namespaces, nft, ip, nsenter or python3 here");
        return None;
    }
    let mut child = Command::new("timeout")
        .args(["--kill-after=1", "120", "unshare"])
        .args(isolate)
        .args(["sh", "-eu"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The host, with its neighbours behind one wire.
const WORLD: &str = "mount -t tmpfs run /run; mkdir -p /run/netns
mount -t sysfs sys /sys 2>/dev/null || true
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link set lo up
ip netns add world
ip link add eth0 type veth peer name eth0 netns world
ip -batch - <<'LINKS'
addr add 203.0.113.1/24 dev eth0
addr add 192.168.8.1/24 dev eth0
link set eth0 up
route add 192.168.7.0/24 via 203.0.113.2
route add 240.0.0.1 via 203.0.113.2
route add 10.0.2.0/24 via 203.0.113.2
LINKS
ip -netns world -batch - <<'LINKS'
link set lo up
link set eth0 up
addr add 203.0.113.2/24 dev eth0
addr add 192.168.8.2/24 dev eth0
addr add 192.168.7.2/32 dev eth0
addr add 240.0.0.1/32 dev eth0
addr add 10.0.2.77/32 dev eth0
route add 198.18.0.0/15 via 203.0.113.1
LINKS
";

/// Servers and probes. A server names itself and whoever asks.
const PROGRAMS: &str = r#"
cat > /run/serve.py <<'PYTHON'
import socket, sys, threading
def tcp(port, word):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('0.0.0.0', port)); s.listen()
    def run():
        while True:
            c, peer = s.accept(); c.sendall((word + ' ' + peer[0]).encode()); c.close()
    threading.Thread(target=run).start()
def udp(port, word):
    # One that is bound to no address would answer from the one nearest to the guest.
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('0.0.0.0' if word == 'arrival' else '203.0.113.1', port))
    def run():
        while True:
            if s.recv(99) == b'loopback': open('/run/arrived', 'w').close()
    def answer():
        while True:
            data, peer = s.recvfrom(99); s.sendto(word.encode(), peer)
    threading.Thread(target=run if word == 'arrival' else answer).start()
for told in sys.argv[2:]:
    kind, port, word = told.split(':')
    (tcp if kind == 'tcp' else udp)(int(port), word)
open('/run/ready-' + sys.argv[1], 'w').close()
PYTHON
cat > /run/probe.py <<'PYTHON'
import socket, struct, sys, time
def reach(address, port, source=None):
    try:
        s = socket.create_connection((address, int(port)), 2, source_address=(source, 0) if source else None)
        return s.recv(99).decode()
    except ConnectionRefusedError:
        return 'refused' if ':' in address else 'no'
    except OSError:
        return 'no'
def ask(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); s.connect((address, int(port)))
    try:
        s.send(b'?'); return s.recv(99).decode()
    except OSError:
        return 'no'
def echo(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); s.settimeout(2)
    s.sendto(struct.pack('!BBHHH', 8, 0, 0xf7fd, 1, 1), (address, 0))
    try:
        return 'echo' if s.recv(99)[20] == 0 else 'no'
    except OSError:
        return 'no'
def flood(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in range(10000, 13000):
        try: s.sendto(b'x', (address, port))
        except OSError: pass
    time.sleep(0.5)
    return ''
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def frame(mac, source, to, protocol, payload):
    ends = socket.inet_aton(source) + socket.inet_aton(to)
    if protocol == 6:
        pseudo = ends + struct.pack('!BBH', 0, 6, len(payload))
        payload = payload[:16] + struct.pack('!H', checksum(pseudo + payload)) + payload[18:]
    head = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0)
    head = head[:10] + struct.pack('!H', checksum(head + ends)) + ends
    own = open('/run/mac').read().strip()
    bytes_of = lambda text: bytes.fromhex(text.replace(':', ''))
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
    s.send(bytes_of(mac) + bytes_of(own) + b'\x08\x00' + head + payload)
    return ''
def syn(mac, source, to, port):
    return frame(mac, source, to, 6, struct.pack('!HHIIBBHHH', 4321, int(port), 1, 0, 0x50, 2, 1000, 0, 0)[:20])
def datagram(mac, source, to, port):
    return frame(mac, source, to, 17, struct.pack('!HHHH', 4321, int(port), 16, 0) + b'loopback')
def watch():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0800)); s.bind(('eth0', 0x0800))
    open('/run/watching', 'w').close()
    deadline = time.time() + 2
    while time.time() < deadline:
        s.settimeout(max(deadline - time.time(), 0.01))
        try: data = s.recv(2000)
        except OSError: break
        if data[23] == 6 and struct.unpack('!H', data[34:36])[0] == 4321: return 'arrived'
    return 'nothing'
print(globals()[sys.argv[1]](*sys.argv[2:]))
PYTHON
in_() { if [ "$1" = - ]; then shift; "$@"; else where=$1; shift; nsenter --net=/run/netns/$where "$@"; fi; }
serve() { where=$1; name=$2; shift 2; in_ $where python3 /run/serve.py $name "$@" < /dev/null > /dev/null 2>&1 & }
try_() { where=$1; shift; in_ $where python3 /run/probe.py reach "$@"; }
ask() { where=$1; shift; in_ $where python3 /run/probe.py ask "$@"; }
echo_() { where=$1; shift; in_ $where python3 /run/probe.py echo "$@"; }
udp_seen() { in_ world python3 -c "
names, values = [line.split() for line in open('/proc/self/net/snmp') if line.startswith('Udp:')]
print(values[names.index('NoPorts')])"; }
flood() { before=$(udp_seen); in_ $1 python3 /run/probe.py flood $2 > /dev/null
    if [ $(($(udp_seen) - before)) -eq 3000 ]; then echo all; else echo bounded; fi; }
mac() { in_ $1 ip -o link show $2 | sed 's/.*link.ether \([0-9a-f:]*\).*/\1/'; }
frame_to_loopback() {
    mac world eth0 > /run/mac; rm -f /run/watching
    in_ guest-a python3 /run/probe.py watch > /run/watched & watcher=$!
    until [ -e /run/watching ]; do sleep 0.05; done
    in_ world python3 /run/probe.py syn $(mac - eth0) 203.0.113.2 127.0.0.1 9000 > /dev/null
    wait $watcher; cat /run/watched; }
frame_from_guest() {
    mac guest-a eth0 > /run/mac; rm -f /run/arrived
    link=$(ip netns list | sed -n 's/^\(cm-[0-9a-f]*\).*/\1/p' | while read l; do
        if in_ $l ip -o addr show host0 | grep -q '198\.18\.0\.2/'; then echo $l; fi; done)
    in_ guest-a python3 /run/probe.py datagram $(mac $link tap0) 10.0.2.15 $1 $2 > /dev/null
    sleep 0.5; if [ -e /run/arrived ]; then echo arrived; else echo nothing; fi; }
tries=
serve guest-a a tcp:80:a tcp:81:hidden
serve guest-b b tcp:81:hidden
serve world w tcp:9001:world
serve - h tcp:7000:host udp:5353:names udp:7001:arrival
waited=0
until [ -e /run/ready-a ] && [ -e /run/ready-b ] && [ -e /run/ready-w ] && [ -e /run/ready-h ]; do
    sleep 0.1; waited=$((waited + 1)); if [ $waited -gt 300 ]; then echo 'servers do not start'; exit 1; fi
done
"#;
