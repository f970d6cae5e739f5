//! What can the owner of the machine do? Everything here is done to the real host daemon, its files and
//! its guests, from outside.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use casemate_api::launch::LaunchBundle;
use serde_json::{Value, json};

use crate::{
    http,
    machine::{Machine, image},
    processes::program,
};

/// A guest fails or gets ready within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(150);

/// A host daemon in hostile hands: its own state, the tenant's key service.
#[derive(Debug)]
pub struct HostileHost {
    socket: PathBuf,
    state: PathBuf,
    daemon: Option<Child>,
}

/// How a guest's start ended.
#[derive(Debug)]
pub struct Ending {
    /// `ready`, or the code of the failure.
    pub code: String,
    /// The failure's message, and every notice before it.
    pub said: String,
}

impl HostileHost {
    /// The daemon that `casemate local` runs, whose socket and files are the host's own.
    pub fn of(machine: &Machine) -> Self {
        let local = machine.local();
        Self { socket: local.join("hostd.sock"), state: local.join("hostd"), daemon: None }
    }

    /// A second daemon that starts `qemu` in place of QEMU, and knows the simulated root of the first.
    pub fn with_qemu(machine: &Machine, name: &str, qemu: &Path) -> Self {
        let state = machine.scratch().join(name);
        let socket = machine.scratch().join(format!("{name}.sock"));
        let root = machine.home().join("local/hostd/simtee");
        let log = std::fs::File::create(machine.scratch().join(format!("{name}.log")))
            .expect("scratch is writable");
        let daemon = Command::new(program("casemate-hostd"))
            .arg("serve")
            .arg("--state")
            .arg(&state)
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()))
            .arg("--qemu")
            .arg(qemu)
            .arg("--simtee-state")
            .arg(&root)
            .args(["--accel", "tcg"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("casemate-hostd can be started");
        let host = Self { socket, state, daemon: Some(daemon) };
        let deadline = Instant::now() + Duration::from_secs(30);
        while host.try_call("GET", "/healthz", None).is_err() {
            assert!(Instant::now() < deadline, "the second host daemon does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        host
    }

    /// The state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Where a VM's data disk is.
    pub fn data_disk(&self, vm: &str) -> PathBuf {
        self.state.join("disks").join(format!("{vm}.img"))
    }

    /// What the daemon was told about a VM.
    pub fn spec(&self, vm: &str) -> Value {
        let path = self.state.join("vms").join(vm).join("vm.json");
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice::<Value>(&text).expect("the daemon writes JSON")["spec"].take()
    }

    /// Where the daemon keeps a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.state.join("blobs").join(digest)
    }

    /// Gives the daemon a file and returns its digest.
    pub fn put(&self, bytes: &[u8]) -> String {
        let digest = casemate_crypto::hash::sha256(bytes).to_string();
        let path = format!("/v1/blobs/{digest}");
        let answer = http::exchange(&self.socket, "PUT", &path, "application/octet-stream", bytes)
            .expect("the host daemon answers");
        assert!(answer.is_success(), "{} {}", answer.status, answer.text());
        digest
    }

    /// Hands bytes to a VM's agent, as the relay would, and returns what it says.
    ///
    /// # Panics
    /// If it does not answer.
    #[track_caller]
    pub fn agent(&self, vm: &str, request: &[u8]) -> Vec<u8> {
        let path = format!("/v1/vms/{vm}/agent");
        let answer = http::exchange(&self.socket, "POST", &path, http::CBOR, request)
            .expect("the host daemon answers");
        assert!(answer.is_success(), "{} {}", answer.status, answer.text());
        answer.body
    }

    /// Calls the daemon.
    ///
    /// # Panics
    /// If it refuses.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        match self.try_call(method, path, body) {
            Ok((status, value)) if (200..300).contains(&status) => value,
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    /// Calls the daemon.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = http::exchange(&self.socket, method, path, http::JSON, body.as_bytes())?;
        Ok((answer.status, answer.json()))
    }

    /// Makes a VM of `spec` under the id `id`.
    #[track_caller]
    pub fn define(&self, id: &str, mut spec: Value) {
        spec["id"] = json!(id);
        // Nobody is to meet the tenant's own port.
        for port in spec["network"]["ports"].as_array_mut().into_iter().flatten() {
            port["host_port"] = json!(0);
        }
        self.call("POST", "/v1/vms", Some(&spec));
    }

    /// Makes and starts a VM of `spec` under the id `id`, and says how its start ended.
    #[track_caller]
    pub fn run(&self, id: &str, spec: Value) -> Ending {
        self.define(id, spec);
        self.restart(id)
    }

    /// Starts a VM that does not run, and says how that ended.
    #[track_caller]
    pub fn restart(&self, id: &str) -> Ending {
        let (status, answer) =
            self.try_call("POST", &format!("/v1/vms/{id}/start"), None).expect("the host daemon answers");
        if !(200..300).contains(&status) {
            return Ending {
                code: answer["code"].as_str().unwrap_or_default().to_owned(),
                said: answer.to_string(),
            };
        }
        self.ending(id)
    }

    /// Waits until a VM is ready or has failed.
    #[track_caller]
    pub fn ending(&self, id: &str) -> Ending {
        self.wait(id, |phase| phase == "ready" || phase == "awaiting_secrets")
    }

    /// Waits until a VM that is ready has failed or stopped.
    #[track_caller]
    pub fn end(&self, id: &str) -> Ending {
        self.wait(id, |_| false)
    }

    /// Waits until a VM has come as far as `phase`, or has failed.
    #[track_caller]
    pub fn until(&self, id: &str, phase: &str) -> Ending {
        self.wait(id, |found| found == phase)
    }

    #[track_caller]
    fn wait(&self, id: &str, there: impl Fn(&str) -> bool) -> Ending {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let vm = self.call("GET", &format!("/v1/vms/{id}"), None);
            let notices = vm["notices"].as_array().cloned().unwrap_or_default();
            let phases = || notices.iter().map(|notice| &notice["progress"]["phase"]);
            let said = format!("{} {}", vm["failure"]["message"].as_str().unwrap_or_default(), vm["notices"]);
            if vm["state"] == "failed" || vm["state"] == "stopped" {
                // What the guest itself says is more than that it is gone.
                let last = phases().rev().find(|phase| phase["name"] == "failed");
                let code = last.and_then(|phase| phase["code"].as_str()).or(vm["failure"]["code"].as_str());
                return Ending { code: code.unwrap_or("stopped").to_owned(), said };
            }
            if let Some(name) = phases().filter_map(|phase| phase["name"].as_str()).find(|name| there(name)) {
                return Ending { code: name.to_owned(), said };
            }
            assert!(Instant::now() < deadline, "VM {id} neither started nor failed: {vm}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends a VM at once and forgets it.
    pub fn discard(&self, id: &str) {
        let _ = self.try_call("POST", &format!("/v1/vms/{id}/kill"), None);
        let _ = self.try_call("DELETE", &format!("/v1/vms/{id}?disks=true"), None);
    }
}

impl Drop for HostileHost {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The image's files as a host passes them to QEMU, each replaceable.
pub fn boot_files(host: &HostileHost) -> Value {
    let folder = image();
    let read = |name: &str| std::fs::read(folder.join(name)).expect("the image is complete");
    let description: toml::Table =
        String::from_utf8(read("image.toml")).expect("it is text").parse().expect("it is TOML");
    let name =
        |file: &str| description["files"][file]["name"].as_str().expect("each file has a name").to_owned();
    json!({"blobs": {
        "firmware": host.put(&read(&name("firmware"))),
        "kernel": host.put(&read(&name("kernel"))),
        "initrd": host.put(&read(&name("simulated_initrd"))),
        "command_line": description["cmdline"].as_str().expect("an image has a command line"),
        "root": host.put(&read(&name("root"))),
    }})
}

/// An initrd that boots as the image's own and is not the same: a byte behind its last archive.
pub fn changed_initrd() -> Vec<u8> {
    let folder = image();
    let mut bytes = std::fs::read(folder.join("initrd-simulated")).expect("the image is complete");
    // The kernel skips zeros between archives, so that only the measurement can tell.
    bytes.extend_from_slice(&[0; 512]);
    bytes
}

/// Where the LUKS2 header of the first volume lies on a data disk, in bytes: partitions begin at 1 MiB, headers
/// at 1 MiB of their partition (`docs/reference/volumes.md`).
pub const HEADER_AT: u64 = 2 << 20;

/// The launch disk of a specification with a letter of its compose file changed, and all of it well formed.
pub fn changed_launch(host: &HostileHost, spec: &Value) -> Vec<u8> {
    let digest = spec["launch"].as_str().expect("every VM has a launch disk");
    let disk = std::fs::read(host.blob(digest)).expect("the host has it");
    let mut bundle = LaunchBundle::from_disk(&disk).expect("the command line wrote it");
    let at =
        bundle.manifest.windows(6).position(|bytes| bytes == b"# Note").expect("the app's first comment");
    bundle.manifest[at + 2] = b'n';
    bundle.to_disk()
}

/// Digests of the disks that a specification names.
pub fn disks(spec: &Value) -> Vec<String> {
    let images = spec["image_disks"].as_array().into_iter().flatten().map(|disk| &disk["blob"]);
    let digests = images.chain([&spec["launch"]]);
    digests.map(|digest| digest.as_str().expect("digests are text").to_owned()).collect()
}

/// A program that starts QEMU with other values behind some options, with further arguments, and all else as
/// told: what a host does behind the back of whoever measured the guest.
pub fn qemu_with(folder: &Path, name: &str, replaced: &[(&str, &str)], added: &[&str]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let cases: String = replaced
        .iter()
        .map(|(option, value)| {
            format!(
                "    {option}) arguments+=(\"$1\" '{value}'); shift 2 ;;
"
            )
        })
        .collect();
    let added: String = added.iter().map(|argument| format!(" '{argument}'")).collect();
    let text = format!(
        "#!/bin/bash
arguments=()
while [ $# -gt 0 ]; do
  case \"$1\" in
{cases}    \
         *) arguments+=(\"$1\"); shift ;;
  esac
done
\
         exec qemu-system-x86_64 \"${{arguments[@]}}\"{added}
"
    );
    let script = folder.join(name);
    std::fs::write(&script, text).expect("scratch is writable");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it is our file");
    script
}

/// As [`qemu_with`], with `initrd` in place of the one that was measured.
pub fn qemu_with_other_initrd(folder: &Path, initrd: &[u8]) -> PathBuf {
    let other = folder.join("other-initrd");
    std::fs::write(&other, initrd).expect("scratch is writable");
    qemu_with(folder, "hostile-qemu", &[("-initrd", &other.display().to_string())], &[])
}
