//! What can the owner of the machine do? Everything here is done to the real host daemon, its files and
//! its guests, from outside.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use casemate_api::launch::LaunchBundle;
use serde_json::{Value, json};

use crate::machine::{Machine, image};

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
        let local = machine.home().join("local");
        Self { socket: local.join("hostd.sock"), state: local.join("hostd"), daemon: None }
    }

    /// A second daemon that starts `qemu` in place of QEMU, and knows the simulated root of the first.
    pub fn with_qemu(machine: &Machine, name: &str, qemu: &Path) -> Self {
        let state = machine.scratch().join(name);
        let socket = machine.scratch().join(format!("{name}.sock"));
        let root = machine.home().join("local/hostd/simtee");
        let log = std::fs::File::create(machine.scratch().join(format!("{name}.log")))
            .expect("scratch is writable");
        let daemon = Command::new(machine.program("casemate-hostd"))
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
        if self.try_call("HEAD", &format!("/v1/blobs/{digest}"), None).is_ok_and(|(status, _)| status == 200)
        {
            return digest; // it has it, and would not listen to the end
        }
        let head = format!(
            "PUT /v1/blobs/{digest} HTTP/1.0\r\nHost: host\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        );
        let (status, body) = self.raw(&[head.as_bytes(), bytes].concat()).expect("the host daemon answers");
        assert!((200..300).contains(&status), "{status} {body}");
        digest
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
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: host\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, body) = self.raw(request.as_bytes())?;
        Ok((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    fn raw(&self, request: &[u8]) -> std::io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }

    /// Makes and starts a VM of `spec` under the id `id`, and says how its start ended.
    #[track_caller]
    pub fn run(&self, id: &str, mut spec: Value) -> Ending {
        spec["id"] = json!(id);
        // Nobody is to meet the tenant's own port.
        for port in spec["network"]["ports"].as_array_mut().into_iter().flatten() {
            port["host_port"] = json!(0);
        }
        self.call("POST", "/v1/vms", Some(&spec));
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            let vm = self.call("GET", &format!("/v1/vms/{id}"), None);
            let phase = vm["progress"]["progress"]["phase"]["name"].as_str().unwrap_or_default();
            let said = format!("{} {}", vm["failure"]["message"].as_str().unwrap_or_default(), vm["notices"]);
            if vm["state"] == "failed" || vm["state"] == "stopped" {
                // What the guest itself says is more than that it is gone.
                let last = vm["notices"].as_array().and_then(|notices| {
                    let mut phases = notices.iter().rev().map(|notice| &notice["progress"]["phase"]);
                    phases.find(|phase| phase["name"] == "failed")?["code"].as_str()
                });
                let code = last.or(vm["failure"]["code"].as_str()).unwrap_or("stopped");
                return Ending { code: code.to_owned(), said };
            }
            if phase == "ready" || phase == "awaiting_secrets" {
                return Ending { code: phase.to_owned(), said };
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
        bundle.manifest.windows(6).position(|bytes| bytes == b"# Note").expect("the example's first comment");
    bundle.manifest[at + 2] = b'n';
    bundle.to_disk()
}

/// Digests of the disks that a specification names.
pub fn disks(spec: &Value) -> Vec<String> {
    let images = spec["image_disks"].as_array().into_iter().flatten().map(|disk| &disk["blob"]);
    let digests = images.chain([&spec["launch"]]);
    digests.map(|digest| digest.as_str().expect("digests are text").to_owned()).collect()
}

/// A program that starts QEMU with `initrd` in place of the one it is told, and all else as told: what
/// a host does that keeps the old hash table.
pub fn qemu_with_other_initrd(folder: &Path, initrd: &[u8]) -> PathBuf {
    let other = folder.join("other-initrd");
    std::fs::write(&other, initrd).expect("scratch is writable");
    let script = folder.join("hostile-qemu");
    let text = format!(
        "#!/bin/bash\n# Swaps the initrd behind the back of whoever measured it.\narguments=()\nwhile [ $# -gt 0 ]; do\n  \
         arguments+=(\"$1\")\n  if [ \"$1\" = -initrd ]; then shift; arguments+=({:?}); fi\n  shift\ndone\n\
         exec qemu-system-x86_64 \"${{arguments[@]}}\"\n",
        other.display().to_string()
    );
    std::fs::write(&script, text).expect("scratch is writable");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it is our file");
    script
}
