//! Does the process that we started still run?
//!
//! A number names a process only together with the moment it started. Processes that were started
//! for a VM are found by the VM's folder on their command line, so that none is lost however the
//! daemon ended.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Blame, Explain};

/// Why a child process cannot be started or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program is not there or cannot be run.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// It survived SIGKILL.
    #[error("process {pid} does not end")]
    Stuck {
        /// Its number.
        pid: i32,
    },
}

impl Explain for ProcessError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Self::Start { .. } => {
                ("program_missing", Blame::Host, "install it (Debian: qemu-system-x86), or name it by option")
            }
            Self::Stuck { .. } => ("process_stuck", Blame::Host, "look for hanging storage with `dmesg`"),
        }
    }
}

/// One process, told from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did (proc(5), `starttime`).
    pub start_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        let (start_ticks, state) = stat(pid)?;
        (state != b'Z').then_some(Self { pid, start_ticks })
    }

    /// True while it runs; a process that has ended and was not waited for does not.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Ends it, at once or after `grace` if it does not heed SIGTERM, and waits until it has.
    ///
    /// # Errors
    /// [`ProcessError::Stuck`] if it is still there 5 s after SIGKILL.
    pub async fn end(&self, grace: Duration) -> Result<(), ProcessError> {
        for (signal, patience) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, Duration::from_secs(5))] {
            if patience.is_zero() {
                continue;
            }
            if !self.is_alive() {
                return Ok(());
            }
            let _ = kill(Pid::from_raw(self.pid), signal);
            if self.gone_within(patience).await {
                return Ok(());
            }
        }
        Err(ProcessError::Stuck { pid: self.pid })
    }

    /// Waits until it has ended, at most `patience`.
    pub async fn gone_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }
}

/// Starts a program that outlives the daemon: in a process group of its own, with its output in `log`.
///
/// # Errors
/// [`ProcessError::Start`].
pub fn start_detached(
    program: &Path,
    arguments: &[String],
    folder: &Path,
    log: &Path,
) -> Result<(ProcessId, tokio::process::Child), ProcessError> {
    let failed = |source| ProcessError::Start { program: program.to_owned(), source };
    let log = std::fs::File::options().create(true).append(true).open(log).map_err(failed)?;
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .map_err(failed)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it was not waited for");
    // One that has ended already is found dead by whoever asks next.
    let start_ticks = stat(pid).map_or(0, |(start_ticks, _)| start_ticks);
    Ok((ProcessId { pid, start_ticks }, child))
}

/// Processes with an argument that contains `needle`.
pub fn with_argument(needle: &str) -> Vec<ProcessId> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).skip(1).any(|argument| contains(argument, needle.as_bytes()))
        })
        .filter_map(ProcessId::of)
        .filter(|process| process.pid != std::process::id() as i32)
        .collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Start time and state of a process (proc(5), /proc/pid/stat fields 22 and 3).
fn stat(pid: i32) -> Option<(u64, u8)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything, parentheses included.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_found_by_its_arguments_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let needle = folder.path().join("needle").display().to_string();
        let arguments = ["-c".to_owned(), "sleep 100; true".to_owned(), needle.clone()];
        let log = folder.path().join("log");
        let (process, mut child) =
            start_detached(Path::new("/bin/sh"), &arguments, folder.path(), &log).unwrap();
        tokio::spawn(async move { child.wait().await });
        // The kernel lets the parent go on a moment before the arguments can be read.
        let deadline = Instant::now() + Duration::from_secs(10);
        while with_argument(&needle) != [process] {
            assert!(Instant::now() < deadline, "not found");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.end(Duration::from_secs(5)).await.unwrap();
        assert!(!process.is_alive());
        assert!(with_argument(&needle).is_empty());
    }

    #[test]
    fn a_number_with_another_start_is_another_process() {
        let own = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { start_ticks: own.start_ticks + 1, ..own }.is_alive());
    }
}
