//! Does a daemon with tap networks leave exactly those of VMs that run, however it ended?
//!
//! Each test has a network namespace of its own, in which the daemon runs too. Needs root, QEMU, `ip`, `nft` and a
//! built guest image ([`guest`]); in CI it fails without them.

#[path = "support/guest.rs"]
mod guest;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use casemate_hostd::network::tap::names::{Name, Owner};
use casemate_hostd::processes;
use guest::{STAYS, define, processes_of, stand_in_tee};
use nix::sched::{CloneFlags, unshare};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::Daemon;

#[tokio::test]
async fn the_network_of_a_vm_is_there_while_it_runs_whatever_ends() {
    let Some(host) = TestHost::new() else { return };
    forward(true);
    let foreign = host.foreign();
    let mut daemon = host.daemon("tap").await;
    let (_, capabilities) = daemon.json(Method::GET, "/v1/capabilities", &Value::Null).await;
    assert_eq!(capabilities["network"], "tap");
    let ports = json!([{"host_ip": "127.0.0.1", "host_port": 8080, "guest_port": 80}]);
    for id in ["stays", "late"] {
        let change = |spec: &mut Value| spec["network"] = json!({"outbound": true, "ports": ports});
        if !define(&daemon, id, STAYS, change).await {
            return;
        }
    }
    let name = host.name("stays");
    assert_eq!(Parts::of(name), Parts::NONE);
    post(&daemon, "stays", "start").await;
    assert_eq!(Parts::of(name), Parts::ALL);

    // QEMU is nobody, and sees the guest's wire and nothing of the host.
    let qemu = host.qemu("stays");
    let status = std::fs::read_to_string(format!("/proc/{qemu}/status")).unwrap();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("proc(5) has it");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let user = name.user().to_string();
    assert_eq!((line("Uid:"), line("Gid:")), (vec![user.clone(); 4], vec![user.clone(); 4]));
    assert_eq!((line("Groups:"), line("NoNewPrivs:")), (vec![user], vec!["1".to_owned()]));
    for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(capabilities), ["0000000000000000"], "{capabilities}");
    }
    let shown = show(&["nsenter", "--target", &qemu.to_string(), "--net", "ip", "-o", "link"]);
    let mut links: Vec<_> =
        shown.lines().filter_map(|line| line.split([':', '@']).nth(1)).map(str::trim).collect();
    links.sort_unstable();
    assert_eq!(links, ["host0", "lo", "tap0"], "{shown}");
    assert!(shown.lines().any(|line| line.contains("tap0") && line.contains("LOWER_UP")), "{shown}");

    // Nobody listens on the port, and still it is taken.
    let (status, answer) = daemon.json(Method::POST, "/v1/vms/late/start", &Value::Null).await;
    assert_eq!((status, answer["code"].as_str()), (StatusCode::CONFLICT, Some("port_in_use")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("VM stays"), "{answer}");
    assert_eq!(Parts::of(host.name("late")), Parts::NONE);

    // Somebody flushes the rules.
    let rules = show(&["nft", "list", "table", "inet", &name.table()]);
    show(&["nft", "delete", "table", "inet", &name.table()]);
    until("the rules are back", || Parts::of(name) == Parts::ALL);
    assert_eq!(show(&["nft", "list", "table", "inet", &name.table()]), rules);

    // The daemon is killed: the VM's network stays as it is, also for the next daemon.
    let link = show(&["ip", "-o", "link", "show", "dev", &name.link()]);
    daemon.crash_and_restart().await;
    assert_eq!(daemon.json(Method::GET, "/v1/vms/stays", &Value::Null).await.1["state"], "running");
    assert_eq!(Parts::of(name), Parts::ALL);
    assert_eq!(host.qemu("stays"), qemu);
    assert_eq!(show(&["ip", "-o", "link", "show", "dev", &name.link()]), link);

    post(&daemon, "stays", "kill").await;
    until("the network is gone", || Parts::of(name) == Parts::NONE);

    // Daemon and guest are killed together: the next daemon removes what nobody owns.
    post(&daemon, "late", "start").await;
    assert_eq!(Parts::of(host.name("late")), Parts::ALL);
    daemon.kill();
    let needle = host.state().join("vms").display().to_string();
    for process in processes::with_argument(&needle) {
        process.end(Duration::ZERO).await.unwrap();
    }
    assert_eq!(Parts::of(host.name("late")), Parts::ALL, "a crash removes nothing");
    daemon.restart().await;
    assert_eq!(Parts::of(host.name("late")), Parts::NONE);
    assert_eq!(daemon.json(Method::GET, "/v1/vms/late", &Value::Null).await.1["state"], "failed");

    foreign.assert_untouched();
    assert_eq!(processes_of(host.state()), 0);
}

#[tokio::test]
async fn a_daemon_with_other_networks_does_not_take_over_a_vm() {
    let Some(host) = TestHost::new() else { return };
    forward(true);
    let mut daemon = host.daemon("tap").await;
    if !define(&daemon, "stays", STAYS, |spec| spec["network"]["kind"] = json!("tap")).await {
        return;
    }
    post(&daemon, "stays", "start").await;
    daemon.kill();
    let said = host.refused("user");
    assert!(said.contains("runs with a tap network") && said.contains("hint: "), "{said}");
    daemon.restart().await;
    post(&daemon, "stays", "kill").await;
    daemon.kill();
    // What does not run is no hindrance, and nobody's network is left.
    let daemon = host.daemon("user").await;
    let (status, answer) = daemon.json(Method::POST, "/v1/vms/stays/start", &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(Parts::of(host.name("stays")), Parts::NONE);
    post(&daemon, "stays", "kill").await;
}

#[tokio::test]
async fn what_a_machine_lacks_is_said_at_once() {
    let Some(host) = TestHost::new() else { return };
    forward(false);
    let said = host.refused("tap");
    assert!(said.contains("net.ipv4.ip_forward is \"0\""), "{said}");
    assert!(said.contains("hint: run `sysctl -w net.ipv4.ip_forward=1`"), "{said}");
    forward(true);
    let said = host.refused_with(&["--network", "tap", "--resolver", "127.0.0.53:53"]);
    assert!(said.contains("resolver 127.0.0.53:53") && said.contains("hint: name one"), "{said}");

    // All addresses for links are somebody's.
    show(&["ip", "route", "add", "198.18.0.0/15", "dev", "lo"]);
    let daemon = host.daemon("tap").await;
    if !define(&daemon, "stays", STAYS, |_| {}).await {
        return;
    }
    let (_, answer) = daemon.json(Method::POST, "/v1/vms/stays/start", &Value::Null).await;
    assert_eq!(answer["code"], "tap_addresses", "{answer}");
    assert_eq!(Parts::of(host.name("stays")), Parts::NONE);
}

/// A network namespace and a state folder, removed with everything that runs there.
struct TestHost {
    folder: tempfile::TempDir,
}

impl TestHost {
    /// Moves this thread, and what it starts from now on, into a fresh namespace.
    fn new() -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            assert!(std::env::var_os("CI").is_none(), "CI runs as root: {error}");
            eprintln!("not tested: a network namespace needs root");
            return None;
        }
        show(&["ip", "link", "set", "lo", "up"]);
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("simtee")).unwrap();
        stand_in_tee(folder.path());
        Some(Self { folder })
    }

    fn state(&self) -> &Path {
        self.folder.path()
    }

    fn name(&self, id: &str) -> Name {
        Owner::of(&self.state().canonicalize().unwrap()).name(id)
    }

    async fn daemon(&self, network: &str) -> Daemon {
        let tee = self.state().join("tee.sh").display().to_string();
        Daemon::start(self.state(), &["--simtee", &tee, "--network", network, "--resolver", "192.0.2.53:53"])
            .await
    }

    /// What a daemon says that does not start.
    fn refused(&self, network: &str) -> String {
        self.refused_with(&["--network", network])
    }

    fn refused_with(&self, arguments: &[&str]) -> String {
        let output = Command::new("timeout")
            .args(["60", env!("CARGO_BIN_EXE_casemate-hostd"), "serve", "--listen", "127.0.0.1:0", "--state"])
            .arg(self.state())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn qemu(&self, id: &str) -> i32 {
        let socket = self.state().canonicalize().unwrap().join("vms").join(id).join("qmp.sock");
        let [process] = processes::with_argument(&socket.display().to_string())[..] else {
            panic!("one QEMU")
        };
        process.pid
    }

    /// Things of others, with names that are nearly ours.
    fn foreign(&self) -> Foreign {
        let other = Owner::of(Path::new("/somebody/else")).name("stays");
        for table in
            ["inet other".to_owned(), "ip casemate_nat".to_owned(), format!("inet {}", other.table())]
        {
            show(&["nft", &format!("add table {table}")]);
        }
        for (link, peer) in [(other.link(), "lan0"), ("cm-lan".to_owned(), "lan1")] {
            show(&["ip", "link", "add", &link, "type", "veth", "peer", "name", peer]);
        }
        Foreign { tables: foreign_tables(&other), links: foreign_links(&other), other }
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        let folder = self.state().display().to_string();
        for process in processes::with_argument(&folder) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid), nix::sys::signal::SIGKILL);
        }
        for id in ["stays", "late"] {
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.name(id).link()])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// What others had before a daemon was there.
struct Foreign {
    other: Name,
    tables: Vec<String>,
    links: Vec<String>,
}

impl Foreign {
    fn assert_untouched(&self) {
        assert_eq!(foreign_tables(&self.other), self.tables);
        assert_eq!(self.tables.len(), 3);
        assert_eq!(foreign_links(&self.other), self.links);
        assert_eq!(self.links.len(), 2);
    }
}

fn foreign_tables(other: &Name) -> Vec<String> {
    let shown = show(&["nft", "list", "tables"]);
    let foreign = |line: &&str| {
        line.contains("other") || line.contains("casemate_nat") || line.contains(&other.table())
    };
    shown.lines().filter(foreign).map(str::to_owned).collect()
}

fn foreign_links(other: &Name) -> Vec<String> {
    let shown = show(&["ip", "-o", "link"]);
    let foreign = |line: &&str| line.contains(&format!(" {}@", other.link())) || line.contains(" cm-lan@");
    shown.lines().filter(foreign).map(str::to_owned).collect()
}

/// Which parts of a VM's network are there.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    link: bool,
    table: bool,
    namespace: bool,
}

impl Parts {
    const ALL: Self = Self { link: true, table: true, namespace: true };
    const NONE: Self = Self { link: false, table: false, namespace: false };

    fn of(name: Name) -> Self {
        Self {
            link: show(&["ip", "-o", "link"]).contains(&name.link()),
            table: show(&["nft", "list", "tables"]).contains(&name.table()),
            namespace: PathBuf::from("/run/netns").join(name.link()).exists(),
        }
    }
}

fn forward(on: bool) {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", if on { "1" } else { "0" }).unwrap();
}

fn show(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn post(daemon: &Daemon, id: &str, verb: &str) {
    let (status, answer) = daemon.json(Method::POST, &format!("/v1/vms/{id}/{verb}"), &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

fn until(what: &str, found: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !found() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
