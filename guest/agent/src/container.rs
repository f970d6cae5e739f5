//! What is the engine told to run?
//!
//! The OCI runtime configuration (opencontainers/runtime-spec, `config.md`) of one service, from the
//! compose file and the image's own configuration. A container gets its own namespaces, no device
//! beyond `/dev/null` and its like, no route to the TEE, to vsock or to the relay, a system call list
//! ([`crate::seccomp`]) and no way to gain privileges. `docs/explanation/guest-isolation.md`.

use std::path::Path;

use casemate_workload::{compose::Service, manifest::ImageConfig};
use serde_json::{Value, json};

use crate::{seccomp, user::User};

/// Everything the configuration of one service is made from.
#[derive(Debug)]
pub struct Container<'a> {
    /// What the compose file says.
    pub service: &'a Service,
    /// What the image says.
    pub image: &'a ImageConfig,
    /// Whom it runs as.
    pub user: &'a User,
    /// The rendered environment of the compose file. Secret: it may hold delivered values.
    pub environment: &'a [(String, String)],
    /// Files and folders of the guest that it sees.
    pub binds: &'a [Bind],
    /// Its root filesystem.
    pub rootfs: &'a Path,
    /// Its network namespace.
    pub network_namespace: &'a Path,
    /// This program, which also serves as `init` where the compose file asks for one.
    pub own_program: &'a Path,
}

/// A file or folder of the guest that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path in the guest.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// Why a service cannot be described to the engine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Neither the compose file nor the image names a program.
    #[error("service {service} has nothing to run: neither the image nor `command` names a program")]
    NothingToRun {
        /// Service.
        service: String,
    },
}

impl Container<'_> {
    /// The configuration, `config.json`.
    ///
    /// # Errors
    /// [`Error::NothingToRun`].
    pub fn config(&self) -> Result<Value, Error> {
        let capabilities = self.capabilities();
        let (in_force, bounding) = match self.user.uid {
            0 => (capabilities.clone(), capabilities),
            _ => (vec![], capabilities),
        };
        Ok(json!({
            "ociVersion": "1.0.2",
            "hostname": self.hostname(),
            "root": { "path": self.rootfs, "readonly": self.service.read_only },
            "process": {
                "terminal": false,
                "user": { "uid": self.user.uid, "gid": self.user.gid, "additionalGids": self.user.groups },
                "args": self.arguments()?,
                "env": self.environment(),
                "cwd": self.working_dir(),
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": bounding,
                    "effective": in_force,
                    "permitted": in_force,
                    "inheritable": [],
                    "ambient": [],
                },
                "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": OPEN_FILES_SOFT, "hard": OPEN_FILES_HARD }],
                "oomScoreAdj": 0,
            },
            "mounts": self.mounts(),
            "linux": {
                "cgroupsPath": format!("/services/{}", self.service.name),
                "namespaces": [
                    { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                    { "type": "cgroup" }, { "type": "network", "path": self.network_namespace },
                ],
                "resources": self.resources(),
                // As Docker: a container's own network namespace has no privileged ports.
                "sysctl": { "net.ipv4.ip_unprivileged_port_start": "0" },
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
                "seccomp": seccomp::profile(),
            },
        }))
    }

    /// Program and arguments: a new entrypoint leaves the image's `Cmd` unused, as in Compose.
    fn arguments(&self) -> Result<Vec<String>, Error> {
        let (service, image) = (self.service, self.image);
        let mut arguments = service.entrypoint.clone().unwrap_or_else(|| image.entrypoint.clone());
        match (&service.command, &service.entrypoint) {
            (Some(command), _) => arguments.extend(command.iter().cloned()),
            (None, None) => arguments.extend(image.cmd.iter().cloned()),
            (None, Some(_)) => {}
        }
        if arguments.first().is_none_or(String::is_empty) {
            return Err(Error::NothingToRun { service: service.name.clone() });
        }
        if service.init {
            arguments.splice(0..0, [INIT_PATH.to_owned(), "reap".to_owned()]);
        }
        Ok(arguments)
    }

    /// The image's environment, overridden by the compose file's, completed as Docker does.
    fn environment(&self) -> Vec<String> {
        let mut names: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| match names.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value.to_owned(),
            None => names.push((name.to_owned(), value.to_owned())),
        };
        set("PATH", DEFAULT_PATH);
        set("HOSTNAME", self.hostname());
        set("HOME", &self.user.home);
        for variable in &self.image.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            set(name, value);
        }
        for (name, value) in self.environment {
            set(name, value);
        }
        names.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn hostname(&self) -> &str {
        self.service.hostname.as_deref().unwrap_or(&self.service.name)
    }

    fn working_dir(&self) -> &str {
        let image = Some(self.image.working_dir.as_str()).filter(|path| path.starts_with('/'));
        self.service.working_dir.as_deref().or(image).unwrap_or("/")
    }

    fn capabilities(&self) -> Vec<String> {
        let dropped = |name: &str| self.service.cap_drop.iter().any(|drop| drop == name || drop == "ALL");
        let kept = DEFAULT_CAPABILITIES.iter().copied().filter(|name| !dropped(name));
        let added = self.service.cap_add.iter().map(String::as_str);
        let names: std::collections::BTreeSet<&str> = kept.chain(added).collect();
        names.into_iter().map(|name| format!("CAP_{name}")).collect()
    }

    fn mounts(&self) -> Vec<Value> {
        let shared_memory = self.service.shm_size_bytes.unwrap_or(DEFAULT_SHARED_MEMORY_BYTES);
        let mut mounts = vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", &format!("size={shared_memory}")],
            ),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ];
        for tmpfs in &self.service.tmpfs {
            let mode = format!("mode={:o}", tmpfs.mode.unwrap_or(0o1777));
            let size = tmpfs.size_bytes.map(|bytes| format!("size={bytes}"));
            let mut options = vec!["nosuid", "nodev", mode.as_str()];
            options.extend(size.as_deref());
            mounts.push(mount(&tmpfs.target, "tmpfs", "tmpfs", &options));
        }
        for bind in self.binds {
            let access = if bind.read_only { "ro" } else { "rw" };
            mounts.push(mount(
                &bind.target,
                "bind",
                &bind.source,
                &["rbind", "rprivate", "nosuid", "nodev", access],
            ));
        }
        if self.service.init {
            let program = self.own_program.to_string_lossy();
            mounts.push(mount(INIT_PATH, "bind", &program, &["bind", "rprivate", "nosuid", "nodev", "ro"]));
        }
        // A folder is mounted before what lies inside it.
        mounts.sort_by_key(|mount| mount["destination"].as_str().map_or(0, |path| path.matches('/').count()));
        mounts
    }

    fn resources(&self) -> Value {
        let mut resources = json!({
            "devices": [{ "allow": false, "access": "rwm" }],
            "pids": { "limit": self.service.pids_limit.unwrap_or(DEFAULT_PROCESSES) },
        });
        if let Some(bytes) = self.service.mem_limit_bytes {
            resources["memory"] = json!({ "limit": bytes });
        }
        resources
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// Where this program is mounted in a container that asks for an init.
pub const INIT_PATH: &str = "/dev/casemate-init";

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHARED_MEMORY_BYTES: u64 = 64 << 20;
const DEFAULT_PROCESSES: u32 = 4096;
const OPEN_FILES_SOFT: u64 = 65_536;
const OPEN_FILES_HARD: u64 = 1_048_576;

/// Docker's default set without AUDIT_WRITE, MKNOD and NET_RAW, which `cap_add` brings back.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Docker's list, and `/sys/kernel` with the guest's debugging and security switches.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel",
];

const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
