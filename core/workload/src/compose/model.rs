//! What is a compose file, once read?

use std::{collections::BTreeMap, net::IpAddr};

use crate::template::Template;

/// A compose file, normalised. Names are checked: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    /// `name:`, if the file has one.
    pub name: Option<String>,
    /// Services by name; at least one.
    pub services: BTreeMap<String, Service>,
    /// Named volumes, all of them on the instance's encrypted volume.
    pub volumes: Vec<String>,
    /// Configs by name.
    pub configs: BTreeMap<String, FileSource>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, FileSource>,
    /// `x-casemate:`; what it does not grant is denied.
    pub casemate: Extension,
}

impl Compose {
    /// Names under which values are delivered after verification; the value tells whether one is
    /// needed, having no default somewhere. Sorted.
    pub fn secret_names(&self) -> BTreeMap<String, bool> {
        let mut names = BTreeMap::new();
        let environments = self.services.values().flat_map(|service| service.environment.values());
        let contents = self.configs.values().chain(self.secrets.values()).filter_map(|source| match source {
            FileSource::Content(template) => Some(template),
            _ => None,
        });
        for template in environments.chain(contents) {
            let required = template.required_names();
            for name in template.names() {
                *names.entry(name.to_owned()).or_default() |= required.contains(name);
            }
        }
        for source in self.secrets.values() {
            if let FileSource::SecretFile { secret_name, .. } = source {
                names.insert(secret_name.clone(), true);
            }
        }
        names
    }

    /// Paths of the public files that configs are made of, sorted, each once.
    pub fn public_files(&self) -> Vec<String> {
        let paths: std::collections::BTreeSet<&String> = self
            .configs
            .values()
            .filter_map(|source| match source {
                FileSource::PublicFile(path) => Some(path),
                _ => None,
            })
            .collect();
        paths.into_iter().cloned().collect()
    }

    /// Names of the services in an order in which each comes after those it waits for.
    pub fn start_order(&self) -> Vec<&str> {
        let mut order: Vec<&str> = Vec::new();
        while order.len() < self.services.len() {
            let before = order.len();
            for (name, service) in &self.services {
                let ready = service.depends_on.keys().all(|other| order.contains(&other.as_str()));
                if ready && !order.contains(&name.as_str()) {
                    order.push(name);
                }
            }
            assert!(order.len() > before, "a compose file that was read has no circle in depends_on");
        }
        order
    }
}

/// One service: one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name, also its host name on the app's network.
    pub name: String,
    /// Where its root file system comes from.
    pub image: ImageSource,
    /// Arguments instead of the image's `Cmd`.
    pub command: Option<Vec<String>>,
    /// Program and first arguments instead of the image's `Entrypoint` (whose `Cmd` is then unused).
    pub entrypoint: Option<Vec<String>>,
    /// Environment by name; rendered with the delivered secrets when the container starts.
    pub environment: BTreeMap<String, Template>,
    /// Ports to publish.
    pub ports: Vec<Port>,
    /// Named volumes to mount.
    pub volumes: Vec<VolumeMount>,
    /// Memory file systems to mount.
    pub tmpfs: Vec<Tmpfs>,
    /// When to start it again.
    pub restart: Restart,
    /// How to tell whether it works; `None`: it counts as healthy once it runs.
    pub healthcheck: Option<Healthcheck>,
    /// What must be so before it starts, by service name. Free of cycles.
    pub depends_on: BTreeMap<String, Dependency>,
    /// Configs to mount.
    pub configs: Vec<FileMount>,
    /// Secrets to mount.
    pub secrets: Vec<FileMount>,
    /// `uid`, `uid:gid`, `name` or `name:group`, instead of the image's user.
    pub user: Option<String>,
    /// Absolute path instead of the image's working directory.
    pub working_dir: Option<String>,
    /// Host name instead of the service's name.
    pub hostname: Option<String>,
    /// Whether the root file system refuses writes.
    pub read_only: bool,
    /// Capabilities to add, out of [`CAPABILITIES`], upper case without `CAP_`.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, upper case without `CAP_`, or the one word `ALL`.
    pub cap_drop: Vec<String>,
    /// Time between the stop signal and the kill, in milliseconds.
    pub stop_grace_period_ms: u64,
    /// Signal that asks it to stop, e.g. `SIGINT`, instead of the image's.
    pub stop_signal: Option<String>,
    /// Whether a small init reaps its orphans.
    pub init: bool,
    /// Most memory, in bytes.
    pub mem_limit_bytes: Option<u64>,
    /// Most processes.
    pub pids_limit: Option<u32>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size_bytes: Option<u64>,
}

/// The capabilities that a container may be given: those Docker gives by default.
pub const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Where a service that may ask for evidence finds the socket to ask at, in its container.
pub const EVIDENCE_SOCKET: &str = "/run/casemate/evidence.sock";

/// Where a service's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// `image:` an OCI reference, `oci:PATH[:TAG]` or `oci-archive:FILE`.
    Reference(String),
    /// `build:` a context to build before the launch; the guest sees only its result.
    Build(Build),
}

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Folder, relative to the compose file.
    pub context: String,
    /// Recipe inside the context; `None`: `Dockerfile`.
    pub dockerfile: Option<String>,
    /// Stage to build.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
}

/// A TCP port to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Address on the host; `None`: the host's default.
    pub host_ip: Option<IpAddr>,
    /// Port on the host; `None`: the host chooses one.
    pub host_port: Option<u16>,
    /// Port in the container.
    pub container_port: u16,
}

impl Port {
    /// The port on the guest's network interface: the published one if it is stated, else the
    /// container's. No two services share one.
    pub fn guest_port(&self) -> u16 {
        self.host_port.unwrap_or(self.container_port)
    }
}

/// A named volume in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    /// Name in [`Compose::volumes`].
    pub volume: String,
    /// Absolute path in the container.
    pub target: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// A memory file system in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute path in the container.
    pub target: String,
    /// Most bytes.
    pub size_bytes: Option<u64>,
    /// Permissions, e.g. `0o1777`.
    pub mode: Option<u32>,
}

/// When to start a container again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// Whenever it ends.
    Always,
    /// When it ends with a failure, at most so many times (`None`: without limit).
    OnFailure(Option<u32>),
    /// Whenever it ends, unless it was stopped on request.
    UnlessStopped,
}

/// How to tell whether a service works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What to run in the container; success is exit code 0.
    pub test: HealthTest,
    /// Milliseconds between tests (default 30 s).
    pub interval_ms: u64,
    /// Milliseconds after which a test has failed (default 30 s).
    pub timeout_ms: u64,
    /// Milliseconds after the start in which failures do not count (default 0).
    pub start_period_ms: u64,
    /// Milliseconds between tests during the start period (default 5 s).
    pub start_interval_ms: u64,
    /// Failures in a row that make it unhealthy (default 3).
    pub retries: u32,
}

/// What a health check runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthTest {
    /// A program and its arguments.
    Command(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// What must be so before a service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// State the other service must reach.
    pub condition: Condition,
    /// Whether this service is restarted when the other one is.
    pub restart: bool,
}

/// A state of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It has been started.
    Started,
    /// Its health check succeeds.
    Healthy,
    /// It has ended with exit code 0.
    CompletedSuccessfully,
}

/// Where the content of a config or secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// Configs only: a file beside the compose file, public, named by digest in the manifest's
    /// `files` under this relative path.
    PublicFile(String),
    /// Secrets only: a file beside the compose file whose content is delivered as a secret.
    SecretFile {
        /// Relative path on the tenant's machine.
        path: String,
        /// Name it is delivered under: `secret:<name>`, which no variable can have.
        secret_name: String,
    },
    /// Inline text, rendered with the delivered secrets.
    Content(Template),
}

/// A config or secret in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMount {
    /// Name in [`Compose::configs`] or [`Compose::secrets`].
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions, e.g. `0o444`.
    pub mode: u32,
}

/// `x-casemate:`, what a compose file grants beyond running.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extension {
    /// Where the workload may connect to.
    pub egress: Vec<crate::manifest::EgressRule>,
    /// What the owner may see of it.
    pub observe: crate::manifest::Observe,
    /// Domain names it answers to.
    pub domains: Vec<String>,
    /// Names of the services that may ask for evidence, in order, each once.
    pub evidence: Vec<String>,
    /// Size of the encrypted volume, in bytes (default 1 GiB).
    pub volume_size_bytes: Option<u64>,
    /// Memory of the VM, in bytes; a wish, checked through the launch measurement's shape.
    pub memory_bytes: Option<u64>,
    /// Virtual CPUs; a wish, checked through the launch measurement's shape.
    pub vcpus: Option<u32>,
}
