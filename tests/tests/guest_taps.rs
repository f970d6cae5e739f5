//! Is a real guest on a tap network reached through its port, and does it reach what it may and nothing else?

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_tests::{
    machine::{Machine, NAME},
    namespaces::{self, Neighbour, tell},
    services::Services,
};

/// It asks everybody once and serves what it heard. Its own rules let it ask: those of the host do not.
const APP: &str = "\
services:
  web:
    image: oci:images/web
    entrypoint: [\"/bin/busybox\"]
    command:
      - sh
      - -c
      - >-
        /bin/busybox nc -w 5 203.0.113.2 9001 > /data/allowed < /dev/null;
        /bin/busybox nc -w 3 203.0.113.1 7000 > /data/host < /dev/null;
        /bin/busybox nc -w 3 198.18.0.1 7000 > /data/link < /dev/null;
        /bin/busybox nc -w 3 10.0.2.2 7000 > /data/router < /dev/null;
        /bin/busybox nc -w 3 198.18.0.6 9001 > /data/other < /dev/null;
        exec /bin/busybox httpd -f -p 8080 -h /data
    user: \"0:0\"
    read_only: true
    ports: [\"203.0.113.1:8080:8080\"]
    volumes: [\"data:/data\"]
volumes:
  data:
x-casemate:
  memory: 512m
  vcpus: 1
  volume_size: 64m
  egress: [\"203.0.113.2:9001\", \"203.0.113.1:7000\", \"198.18.0.1:7000\", \"10.0.2.2:7000\", \"198.18.0.6:9001\"]
";

#[test]
fn guest_on_a_tap_is_reached_and_reaches_what_it_may() {
    let machine = Machine::new();
    // Its image may have to be downloaded, which nothing can where the test goes.
    let folder = machine.example("hello");
    if !namespaces::enter_a_fresh_one() {
        return;
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("the namespace is ours");
    // What is beyond the host, and what another VM of it is to this one.
    let world = Neighbour::new("eth0", "203.0.113.1/24", "203.0.113.2/24");
    let other = Neighbour::new("other0", "198.18.0.5/30", "198.18.0.6/30");
    world.run(|| greet("0.0.0.0:9001", "the world"));
    other.run(|| {
        tell(&["ip", "route", "add", "default", "via", "198.18.0.5"]);
        greet("0.0.0.0:9001", "another VM");
    });
    greet("0.0.0.0:7000", "the host");

    let taps = ["--network", "tap", "--resolver", "203.0.113.2:53"];
    let _services = Services::start_with(&machine, Arc::new(|_| {}), &taps);
    std::fs::write(folder.join("compose.yaml"), APP).expect("it is our copy");
    let folder = folder.display().to_string();
    let up = machine.casemate(["--json", "up", &folder, "--name", NAME]).success().json();
    assert_eq!(up["ports"][0]["host_ip"], "203.0.113.1", "{up}");

    assert_eq!(world.run(|| page("/allowed")), "the world 203.0.113.1");
    for closed in ["/host", "/link", "/router", "/other"] {
        assert_eq!(world.run(move || page(closed)), "", "{closed}");
    }
    // The host's own programs reach the port too, and nobody another one of the guest.
    assert_eq!(page("/allowed"), "the world 203.0.113.1");
    let direct =
        |address: &str| TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(2));
    assert!(direct("198.18.0.2:8080").is_err(), "the link's address is no way in");
    // All of these answer where nothing stands between.
    assert_eq!(hear("203.0.113.2:9001"), "the world 203.0.113.1");
    assert_eq!(hear("198.18.0.6:9001"), "another VM 198.18.0.5");
    assert_eq!(world.run(|| hear("203.0.113.1:7000")), "the host 203.0.113.2");

    machine.casemate(["down", NAME, "--volumes"]).success();
    let links = std::process::Command::new("ip").args(["-o", "link"]).output().expect("ip runs");
    assert!(!String::from_utf8_lossy(&links.stdout).contains("cm-"), "the link is gone");
}

/// Tells everyone who connects who answers, and to whom.
fn greet(address: &str, name: &'static str) {
    let listener = TcpListener::bind(address).expect("the namespace is ours");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
            let _ = write!(stream, "{name} {peer}");
        }
    });
}

fn hear(address: &str) -> String {
    let mut heard = String::new();
    let stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5));
    stream
        .and_then(|mut stream| stream.read_to_string(&mut heard))
        .unwrap_or_else(|error| panic!("{address}: {error}"));
    heard
}

/// The body of a page of the guest. It asks everybody before it serves.
fn page(path: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = ask(path);
        match &answer {
            Ok(text) if text.contains(" 200 ") => {
                return text.split_once("\r\n\r\n").expect("an HTTP answer").1.to_owned();
            }
            _ if Instant::now() > deadline => panic!("no page {path}: {answer:?}"),
            _ => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}

fn ask(path: &str) -> std::io::Result<String> {
    let address = "203.0.113.1:8080".parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
