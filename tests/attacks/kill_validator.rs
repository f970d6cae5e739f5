//! A validator that is killed between any two steps.
//!
//! Attack (issue: any process killed between any two steps): SIGKILL to a real `casemate-validator` at every kind of
//! call that it makes to a host, before the host has heard it and after the host has done it, and right after each
//! of its own answers. The host is the test's, to be able to count; the real one is killed in `kill_machine.rs`.
//! Expected: `casemate stop`, `start` and `down`, run again, end well; the host made one VM, and has none left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use casemate_api::{
    host::{HostVm, HostVmSpec, HostVmState, NoticedProgress},
    progress::{Phase, Progress},
};
use casemate_tests::{
    findings::Findings,
    http,
    machine::limited,
    processes::{kill, program, wait_until},
    seat::World,
};
use serde_json::{Value, json};

/// When the validator is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// At each kind of call to the host, once, before it has an effect.
    BeforeTheHost,
    /// At each kind of call to the host, once, after it had its effect.
    AfterTheHost,
    /// Right after each answer to the owner.
    AfterItsAnswer,
}

#[test]
fn a_kill_at_any_call_leaves_one_vm_and_loses_no_command() {
    let mut findings = Findings::new();
    for when in [When::BeforeTheHost, When::AfterTheHost, When::AfterItsAnswer] {
        let house = House::new(when);
        house.create();
        for command in ["stop", "start", "stop", "start", "down"] {
            let (tries, state) = house.command(command);
            let wanted = if command == "down" { "gone" } else { wanted(command) };
            findings.same(&format!("killed {when:?}: `{command}`, {tries} times"), state, wanted);
        }
        let host = house.host();
        let made = host.done.iter().filter(|call| **call == "create").count();
        findings.same(&format!("killed {when:?}: VMs made"), made.to_string(), "1");
        findings.same(&format!("killed {when:?}: VMs left"), host.vms.len().to_string(), "0");
        if when != When::AfterItsAnswer {
            let all = BTreeSet::from(["create", "start", "stop", "delete", "look"]);
            let met = format!("{:?}", host.killed_at);
            findings.same(&format!("killed {when:?} at"), met, &format!("{all:?}"));
        }
    }
    findings.finish();
}

/// The state that a command is to end in.
fn wanted(command: &str) -> &'static str {
    match command {
        "stop" => "stopped",
        "start" => "running",
        _ => "gone",
    }
}

/// A validator, a seat, and a host that is counted.
struct House {
    when: When,
    validator: Mutex<Option<Child>>,
    host: Arc<Mutex<Host>>,
    seat: World,
    folder: tempfile::TempDir,
}

/// The host, as far as a validator sees one.
#[derive(Default)]
struct Host {
    vms: BTreeMap<String, HostVm>,
    /// What had an effect, in order.
    done: Vec<&'static str>,
    when: Option<When>,
    validator: Option<i32>,
    killed_at: BTreeSet<&'static str>,
}

impl House {
    fn new(when: When) -> Self {
        let folder = tempfile::Builder::new().prefix("cm").tempdir_in("/tmp").expect("/tmp is writable");
        let host = Arc::new(Mutex::new(Host { when: Some(when), ..Host::default() }));
        serve(&folder.path().join("host.sock"), host.clone());
        House { when, validator: Mutex::new(None), host, seat: World::new(), folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("validator.sock")
    }

    /// What the supervisor does: starts it where it does not run.
    fn ensure_validator(&self) {
        let mut validator = self.validator.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if validator.as_mut().is_some_and(runs) {
            return;
        }
        let _ = fs::remove_file(self.socket());
        let log = File::options().create(true).append(true).open(self.folder.path().join("validator.log"));
        let address = |path: &Path| format!("unix:{}", path.display());
        let mut child = Command::new(program("casemate-validator"))
            .arg("serve")
            .arg("--state")
            .arg(self.folder.path().join("validator"))
            .args(["--listen", &address(&self.socket())])
            .args(["--host", &address(&self.folder.path().join("host.sock"))])
            .args(["--seat", &address(&self.seat.process().socket)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("scratch is writable"))
            .spawn()
            .expect("casemate-validator can be started");
        self.host().validator = i32::try_from(child.id()).ok();
        // It may be killed again before it listens.
        wait_until("the validator", 20, || !runs(&mut child) || UnixStream::connect(self.socket()).is_ok());
        *validator = Some(child);
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `up` does: a VM of this name, unless there is one.
    fn create(&self) {
        wait_until("a VM", 60, || {
            self.ensure_validator();
            if self.state() == "running" {
                return true;
            }
            if self.state() == "gone" {
                self.order("POST", "/v1/vms", spec().to_string().as_bytes());
            }
            false
        });
    }

    /// Runs a command of the command line until it succeeds; how often, and the state then.
    fn command(&self, name: &str) -> (usize, String) {
        for tries in 1..20 {
            self.ensure_validator();
            if self.when == When::AfterItsAnswer {
                // The order by itself, and then the kill: nothing was done yet but written down.
                match name {
                    "down" => self.order("DELETE", "/v1/vms/notes", b""),
                    _ => self.order("POST", &format!("/v1/vms/notes/{name}"), b""),
                }
                self.ensure_validator();
            }
            let mut command = Command::new(program("casemate"));
            command
                .args(["--validator", &format!("unix:{}", self.socket().display()), name, "notes"])
                .env("CASEMATE_HOME", self.folder.path().join("home"))
                .env_remove("XDG_RUNTIME_DIR");
            let outcome = limited(command, Duration::from_secs(60));
            if outcome.status == 0 {
                self.ensure_validator();
                return (tries, self.state());
            }
            eprintln!("`{name}` once more: {}", outcome.stderr.trim());
        }
        panic!("`{name}` never succeeded");
    }

    /// A call to the validator, which may be killed right after its answer.
    fn order(&self, method: &str, path: &str, body: &[u8]) {
        let _ = http::exchange(&self.socket(), method, path, http::JSON, body);
        if self.when == When::AfterItsAnswer {
            self.host().validator.take().into_iter().for_each(kill);
            if let Some(child) = self.validator.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                let _ = child.wait();
            }
        }
    }

    fn state(&self) -> String {
        match http::exchange(&self.socket(), "GET", "/v1/vms/notes", "", b"") {
            Ok(answer) if answer.is_success() => {
                answer.json()["state"].as_str().unwrap_or_default().to_owned()
            }
            Ok(answer) if answer.status == 404 => "gone".to_owned(),
            _ => "no answer".to_owned(),
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut child) = self.validator.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn serve(socket: &Path, host: Arc<Mutex<Host>>) {
    let listener = UnixListener::bind(socket).expect("scratch is writable");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let host = host.clone();
            std::thread::spawn(move || answer(stream, &host));
        }
    });
}

/// One request per connection; nothing is answered where the validator is gone.
fn answer(mut stream: UnixStream, host: &Mutex<Host>) -> Option<()> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let (head, body) = loop {
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap_or(0));
        if bytes.len() >= at + 4 + length {
            break (head, bytes[at + 4..at + 4 + length].to_vec());
        }
    };
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let (status, body) = host.lock().unwrap_or_else(PoisonError::into_inner).call(method, path, &body)?;
    let text = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    stream.write_all(&[head.as_bytes(), text.as_bytes()].concat()).ok()
}

impl Host {
    /// Nothing where the validator was killed over it.
    fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Value)> {
        let path = path.split('?').next().unwrap_or_default().trim_start_matches("/v1/vms");
        let mut parts = path.split('/').skip(1);
        let (id, verb) = (parts.next().unwrap_or_default().to_owned(), parts.next());
        let call = match (method, verb) {
            ("GET", _) => "look",
            ("DELETE", _) => "delete",
            (_, Some("start")) => "start",
            (_, Some("stop")) => "stop",
            _ => "create",
        };
        if self.kill_at(call, When::BeforeTheHost) {
            return None;
        }
        let outcome = self.act(call, &id, body);
        if self.kill_at(call, When::AfterTheHost) {
            return None;
        }
        Some(outcome)
    }

    /// Kills the validator at the first call of each kind; whether it did.
    fn kill_at(&mut self, call: &'static str, when: When) -> bool {
        let now = self.when == Some(when) && self.killed_at.insert(call);
        if now {
            self.validator.take().into_iter().for_each(kill);
        }
        now
    }

    fn act(&mut self, call: &'static str, id: &str, body: &[u8]) -> (u16, Value) {
        let absent = (404, json!({"code": "absent", "message": "no such VM", "hint": null}));
        if call != "look" {
            self.done.push(call);
        }
        match call {
            "create" => {
                let spec: HostVmSpec = serde_json::from_slice(body).expect("the validator's specification");
                let vm = HostVm {
                    id: spec.id.clone(),
                    state: HostVmState::Created,
                    platform: spec.platform,
                    failure: None,
                    progress: None,
                    notices: Vec::new(),
                    endpoints: spec.network.ports,
                    started_at_ms: None,
                    stopped_at_ms: None,
                };
                self.vms.insert(spec.id, vm.clone());
                return (200, json!(vm));
            }
            "delete" => return self.vms.remove(id).map_or(absent, |_| (200, json!({}))),
            _ => {}
        }
        let Some(vm) = self.vms.get_mut(id) else { return absent };
        match call {
            "start" => {
                let progress = Progress { uptime_ms: 1, phase: Phase::Ready };
                let noticed = NoticedProgress { at_ms: 1, progress };
                vm.state = HostVmState::Running;
                vm.progress = Some(noticed.clone());
                vm.notices = vec![noticed];
            }
            "stop" => vm.state = HostVmState::Stopped,
            _ => {}
        }
        (200, json!(vm))
    }
}

fn spec() -> Value {
    json!({
        "name": "notes", "image": "lite", "simulated": true,
        "shape": {"vcpus": 2, "vcpu_type": "EPYC-v4", "memory_mib": 512, "machine": "q35", "guest_features": 1},
        "app_id": "11".repeat(32), "instance": "22".repeat(16), "workload_digest": "33".repeat(32),
        "launch_blob": "44".repeat(32),
        "volumes": [{"name": "data", "size_bytes": 1 << 30}],
        "ports": [{"host_ip": "127.0.0.1", "host_port": 0, "guest_port": 8080}],
        "egress": false
    })
}
