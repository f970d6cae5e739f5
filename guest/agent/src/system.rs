//! What does the guest's kernel have to be told before a container can run?
//!
//! Mounts, control groups, the network and its rules. Each step is one call or one program from the
//! verified root, fed through standard input.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use casemate_guest_sys::mount::Mount;

use crate::network;
use crate::processes;

/// Why the guest cannot run containers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a mount or the like.
    #[error(transparent)]
    Kernel(#[from] casemate_guest_sys::Error),
    /// A kernel setting cannot be written.
    #[error("cannot write {path}: {source}; does the guest's kernel have this setting?")]
    Setting {
        /// The file.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program is not in the root.
    #[error("cannot run {program}: {source}; the image must hold it")]
    Missing {
        /// Its path.
        program: &'static str,
        /// What starting it answered.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} ended with code {code}: {complaint}")]
    Program {
        /// Its path.
        program: &'static str,
        /// Its exit code.
        code: u8,
        /// What it wrote, on one line.
        complaint: Complaint,
    },
}

/// The beginning of what a program of the guest's root wrote: printable, on one line. It comes from
/// `ip`, `nft` or `crun`, never from a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint(String);

impl Complaint {
    /// Makes `output` printable and short.
    pub fn new(output: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&output[..output.len().min(COMPLAINT_BYTES)]);
        let words: Vec<_> = text
            .split(|c: char| c.is_control() || c.is_whitespace())
            .filter(|word| !word.is_empty())
            .collect();
        Complaint(words.join(" "))
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Mounts what programs expect beside `/proc`, `/sys`, `/dev`, `/run`, `/tmp` and `/var`, which init left.
///
/// # Errors
/// [`Error::Kernel`], [`Error::Setting`].
pub fn prepare() -> Result<(), Error> {
    make_folders(&["/dev/pts", "/dev/shm", "/run/netns", "/run/lock"])?;
    Mount::new("devpts", "devpts", "/dev/pts").no_exec().options("mode=620,ptmxmode=666").mount()?;
    Mount::new("tmpfs", "tmpfs", "/dev/shm").no_exec().options("mode=1777").mount()?;
    control_groups()
}

/// Puts this process into a group of its own, so that controllers can be given to the services
/// (cgroup-v2.rst, "No Internal Process Constraint").
fn control_groups() -> Result<(), Error> {
    Mount::new("cgroup2", "cgroup2", GROUPS).no_exec().mount()?;
    make_folders(&["/sys/fs/cgroup/agent", "/sys/fs/cgroup/services"])?;
    write("/sys/fs/cgroup/agent/cgroup.procs", "1")?;
    write("/sys/fs/cgroup/cgroup.subtree_control", CONTROLLERS)?;
    write("/sys/fs/cgroup/services/cgroup.subtree_control", CONTROLLERS)
}

/// Sets up bridge, namespaces and rules. Rules come first: nothing is reachable before them.
///
/// # Errors
/// [`Error::Setting`], [`Error::Missing`], [`Error::Program`].
pub fn network(rules: &str, services: usize) -> Result<(), Error> {
    for (path, value) in network::SETTINGS {
        write(&format!("/proc/sys/{path}"), value)?;
    }
    for (path, value) in network::SETTINGS_IF_PRESENT {
        let path = format!("/proc/sys/{path}");
        if Path::new(&path).exists() {
            write(&path, value)?;
        }
    }
    nft(rules)?;
    run("ip", Command::new("ip").args(["-batch", "-"]), &network::links(services))?;
    let inside = |service: usize| {
        let mut command = Command::new("ip");
        command.args(["-netns", &network::namespace(service), "-batch", "-"]);
        run("ip", &mut command, &network::inside(service))
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..services).map(|service| scope.spawn(move || inside(service))).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}

/// Applies a text of rules in one transaction.
///
/// # Errors
/// [`Error::Missing`], [`Error::Program`].
pub fn nft(rules: &str) -> Result<(), Error> {
    run("nft", Command::new("nft").args(["-f", "-"]), rules)
}

fn run(program: &'static str, command: &mut Command, input: &str) -> Result<(), Error> {
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let finished = processes::run(command, input.as_bytes(), PROGRAM_TIME, COMPLAINT_BYTES)
        .map_err(|source| Error::Missing { program, source })?;
    match finished.code {
        0 => Ok(()),
        code => Err(Error::Program { program, code, complaint: Complaint::new(&finished.output) }),
    }
}

fn write(path: &str, value: &str) -> Result<(), Error> {
    std::fs::write(path, value).map_err(|source| Error::Setting { path: path.into(), source })
}

fn make_folders(paths: &[&str]) -> Result<(), Error> {
    paths.iter().try_for_each(|path| {
        std::fs::create_dir_all(path).map_err(|source| Error::Setting { path: (*path).into(), source })
    })
}

const GROUPS: &str = "/sys/fs/cgroup";
const CONTROLLERS: &str = "+cpu +memory +pids";
const PROGRAM_TIME: Duration = Duration::from_secs(30);
const COMPLAINT_BYTES: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_one_printable_line() {
        assert_eq!(Complaint::new(b"a\n\x1b[31mb \xff").to_string(), "a [31mb \u{fffd}");
        assert!(Complaint::new(&[b'x'; 5000]).to_string().len() <= COMPLAINT_BYTES);
    }

    #[test]
    fn a_failing_program_is_named_with_its_words() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read line; echo \"no $line\" >&2; exit 2"]);
        let error = run("/bin/sh", &mut command, "bridge\n").unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh ended with code 2: no bridge");
    }
}
