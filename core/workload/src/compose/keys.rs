//! Which keys may a compose file have?

/// What a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Section {
    /// The file itself.
    File,
    /// `services.*`.
    Service,
    /// `services.*.build`.
    Build,
    /// `services.*.healthcheck`.
    Healthcheck,
    /// `services.*.depends_on.*`.
    DependsOn,
    /// `services.*.ports[]`.
    Port,
    /// `services.*.volumes[]`.
    Mount,
    /// `services.*.volumes[].tmpfs`.
    MountTmpfs,
    /// `services.*.configs[]` and `services.*.secrets[]`.
    FileMount,
    /// `volumes.*`.
    Volume,
    /// `configs.*`.
    Config,
    /// `secrets.*`.
    Secret,
    /// `x-casemate`.
    Extension,
    /// `x-casemate.observe`.
    Observe,
}

impl Section {
    /// All sections, in the order of the reference.
    pub const ALL: &[Section] = &[
        Section::File,
        Section::Service,
        Section::Build,
        Section::Healthcheck,
        Section::DependsOn,
        Section::Port,
        Section::Mount,
        Section::MountTmpfs,
        Section::FileMount,
        Section::Volume,
        Section::Config,
        Section::Secret,
        Section::Extension,
        Section::Observe,
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Section::File => "the file",
            Section::Service => "a service",
            Section::Build => "build",
            Section::Healthcheck => "healthcheck",
            Section::DependsOn => "depends_on",
            Section::Port => "ports",
            Section::Mount => "a service's volumes",
            Section::MountTmpfs => "a volume's tmpfs",
            Section::FileMount => "a service's configs or secrets",
            Section::Volume => "volumes",
            Section::Config => "configs",
            Section::Secret => "secrets",
            Section::Extension => "x-casemate",
            Section::Observe => "x-casemate.observe",
        }
    }
}

/// A key that is read.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// What it stands in.
    pub section: Section,
    /// Its name.
    pub name: &'static str,
    /// The syntaxes it may have.
    pub forms: &'static str,
    /// What it means here, where that is not plain or differs from Docker.
    pub note: &'static str,
}

/// Whether `name` may stand in `section`.
pub(super) fn is_known(section: Section, name: &str) -> bool {
    KEYS.iter().any(|key| key.section == section && key.name == name)
}

/// What to do about a key that may not stand in `section`.
pub(super) fn advice(section: Section, name: &str) -> &'static str {
    REFUSED
        .iter()
        .find(|(refused_in, refused, _)| *refused_in == section && *refused == name)
        .map_or("remove it (docs/reference/compose.md lists what is supported)", |(_, _, advice)| advice)
}

const fn key(section: Section, name: &'static str, forms: &'static str, note: &'static str) -> Key {
    Key { section, name, forms, note }
}

/// Every key that is read; all others are refused, except `x-*` in the file and in a service, which
/// are ignored.
pub const KEYS: &[Key] = &[
    key(Section::File, "name", "text", "name for people; without it, the folder's"),
    key(Section::File, "version", "text", "ignored, as Docker does"),
    key(Section::File, "services", "mapping", "at least one"),
    key(Section::File, "volumes", "mapping", "all live on the instance's one encrypted volume"),
    key(Section::File, "configs", "mapping", ""),
    key(Section::File, "secrets", "mapping", ""),
    key(Section::File, "x-casemate", "mapping", "what the app is granted beyond running"),
    key(
        Section::Service,
        "image",
        "OCI reference, `oci:PATH[:TAG]`, `oci-archive:FILE`",
        "pinned by digest in compose.lock",
    ),
    key(
        Section::Service,
        "build",
        "folder, or mapping",
        "built on the tenant's machine; the guest sees the result by digest",
    ),
    key(Section::Service, "platform", "`linux/amd64`", "the only one"),
    key(Section::Service, "pull_policy", "text", "ignored: images are pinned"),
    key(Section::Service, "command", "text or list", ""),
    key(Section::Service, "entrypoint", "text or list", "drops the image's command, as Docker does"),
    key(
        Section::Service,
        "environment",
        "mapping or list",
        "variables here are secrets, delivered after verification",
    ),
    key(Section::Service, "ports", "`[IP:][HOST:]CONTAINER[/tcp]`, or mapping", "TCP, single ports"),
    key(Section::Service, "expose", "list", "ignored: services reach each other on every port"),
    key(
        Section::Service,
        "volumes",
        "`NAME:PATH[:ro]`, or mapping",
        "named volumes and tmpfs; nothing of the host can be mounted",
    ),
    key(Section::Service, "tmpfs", "`PATH[:size=SIZE,mode=MODE]`, or a list of these", ""),
    key(Section::Service, "restart", "`no`, `always`, `on-failure[:N]`, `unless-stopped`", ""),
    key(Section::Service, "healthcheck", "mapping", ""),
    key(Section::Service, "depends_on", "list, or mapping", ""),
    key(Section::Service, "configs", "list of names or mappings", ""),
    key(Section::Service, "secrets", "list of names or mappings", ""),
    key(Section::Service, "user", "`UID[:GID]` or `NAME[:GROUP]`", ""),
    key(Section::Service, "working_dir", "absolute path", ""),
    key(Section::Service, "hostname", "text", ""),
    key(Section::Service, "read_only", "`true` or `false`", ""),
    key(Section::Service, "cap_add", "list", "only capabilities that Docker gives by default"),
    key(Section::Service, "cap_drop", "list, `ALL`", ""),
    key(Section::Service, "privileged", "`false`", "nothing may be privileged"),
    key(Section::Service, "security_opt", "`no-new-privileges:true`", "always so"),
    key(Section::Service, "stop_grace_period", "duration", "default 10 s"),
    key(Section::Service, "stop_signal", "signal", ""),
    key(Section::Service, "init", "`true` or `false`", ""),
    key(Section::Service, "mem_limit", "size", ""),
    key(Section::Service, "pids_limit", "number", ""),
    key(Section::Service, "shm_size", "size", ""),
    key(Section::Service, "labels", "mapping or list", "ignored, but covered by the workload digest"),
    key(Section::Build, "context", "folder", ""),
    key(Section::Build, "dockerfile", "file", ""),
    key(Section::Build, "target", "text", ""),
    key(Section::Build, "args", "mapping or list", "public: values stand in compose.lock"),
    key(Section::Healthcheck, "test", "text, or list beginning `CMD`, `CMD-SHELL` or `NONE`", ""),
    key(Section::Healthcheck, "interval", "duration", "default 30 s"),
    key(Section::Healthcheck, "timeout", "duration", "default 30 s"),
    key(Section::Healthcheck, "start_period", "duration", "default 0"),
    key(Section::Healthcheck, "start_interval", "duration", "default 5 s"),
    key(Section::Healthcheck, "retries", "number", "default 3"),
    key(Section::Healthcheck, "disable", "`true` or `false`", ""),
    key(
        Section::DependsOn,
        "condition",
        "`service_started`, `service_healthy`, `service_completed_successfully`",
        "",
    ),
    key(Section::DependsOn, "restart", "`true` or `false`", ""),
    key(Section::DependsOn, "required", "`true`", ""),
    key(Section::Port, "target", "number", ""),
    key(Section::Port, "published", "number", ""),
    key(Section::Port, "host_ip", "address", ""),
    key(Section::Port, "protocol", "`tcp`", ""),
    key(Section::Port, "mode", "`host` or `ingress`", "ignored"),
    key(Section::Port, "name", "text", "ignored"),
    key(Section::Mount, "type", "`volume` or `tmpfs`", ""),
    key(Section::Mount, "source", "name", ""),
    key(Section::Mount, "target", "absolute path", ""),
    key(Section::Mount, "read_only", "`true` or `false`", ""),
    key(Section::Mount, "tmpfs", "mapping", ""),
    key(Section::MountTmpfs, "size", "size", ""),
    key(Section::MountTmpfs, "mode", "octal number", ""),
    key(Section::FileMount, "source", "name", ""),
    key(Section::FileMount, "target", "path", "default `/NAME` for configs, `/run/secrets/NAME` for secrets"),
    key(Section::FileMount, "uid", "number", "default 0"),
    key(Section::FileMount, "gid", "number", "default 0"),
    key(Section::FileMount, "mode", "octal number", "default `0444`"),
    key(Section::Volume, "driver", "`local`", ""),
    key(Section::Volume, "labels", "mapping or list", "ignored"),
    key(Section::Config, "file", "relative path", "public: named by digest in the manifest"),
    key(Section::Config, "content", "text", "variables here are secrets, delivered after verification"),
    key(Section::Config, "environment", "variable", "a secret, delivered after verification"),
    key(Section::Secret, "file", "relative path", "its content is a secret, delivered after verification"),
    key(Section::Secret, "environment", "variable", "a secret, delivered after verification"),
    key(
        Section::Extension,
        "egress",
        "list of `NAME:PORT`, `ADDRESS[/BITS]:PORT`, each with `/udp` at the end for UDP",
        "everything else is denied",
    ),
    key(Section::Extension, "observe", "mapping", "everything else is denied"),
    key(Section::Extension, "domains", "list of names", ""),
    key(
        Section::Extension,
        "evidence",
        "list of services",
        "may ask for evidence over bytes of their own, at `/run/casemate/evidence.sock`; no other service has that",
    ),
    key(Section::Extension, "volume_size", "size", "of the encrypted volume; default 1 GiB"),
    key(Section::Extension, "memory", "size", "of the VM"),
    key(Section::Extension, "vcpus", "number", "of the VM"),
    key(Section::Extension, "profile", "`lite`", "the only one"),
    key(Section::Observe, "logs", "`true` or `false`", "what services print, to the owner"),
    key(Section::Observe, "status", "`true` or `false`", "states of services, to the owner"),
    key(Section::Observe, "exec", "`true` or `false`", "commands in services, by the owner"),
];

/// Keys that people try, and what to do instead.
const REFUSED: &[(Section, &str, &str)] = &[
    (Section::File, "networks", "all services share one private network; remove it"),
    (Section::File, "include", "write one file"),
    (Section::Service, "networks", "all services share one private network; remove it"),
    (Section::Service, "network_mode", "all services share one private network; remove it"),
    (Section::Service, "env_file", "write the names under 'environment', with values as ${NAME}"),
    (Section::Service, "extends", "write the keys out"),
    (Section::Service, "profiles", "every service of the file runs; remove it, or the service"),
    (Section::Service, "deploy", "use 'mem_limit' and 'pids_limit', or 'x-casemate: memory, vcpus'"),
    (Section::Service, "devices", "the guest has no devices to share; remove it"),
    (Section::Service, "container_name", "services are reached by their own names; remove it"),
    (Section::Service, "links", "services are reached by their own names; remove it"),
    (Section::Service, "extra_hosts", "grant names under 'x-casemate: egress'"),
    (Section::Service, "dns", "the guest resolves the names granted under 'x-casemate: egress'"),
    (Section::Service, "logging", "grant 'x-casemate: observe: logs: true' and use `casemate logs`"),
    (Section::Service, "pid", "services share no processes; remove it"),
    (Section::Service, "ipc", "services share no memory; remove it"),
    (Section::Service, "cpus", "use 'x-casemate: vcpus' for the whole VM"),
    (Section::Config, "external", "use 'file', 'content' or 'environment'"),
    (Section::Secret, "external", "use 'file' or 'environment'"),
    (Section::Secret, "content", "use 'environment', so that the value stays out of the file"),
    (Section::Volume, "external", "volumes belong to the instance; remove it"),
    (Section::Volume, "driver_opts", "volumes live on the instance's encrypted volume; remove it"),
    (Section::Volume, "name", "volumes belong to the instance; remove it"),
    (Section::Mount, "bind", "nothing of the host can be mounted; use 'configs' for files"),
];
