//! How does a container start, answer and end?
//!
//! `crun` in the foreground: it stays for as long as its container, and its exit code is the
//! container's. What the container writes goes to its log and nowhere else.

use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use casemate_api::agent::Stream;
use casemate_guest_sys::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::entry;
use crate::logs::{Log, MAXIMUM_LINE_BYTES};
use crate::processes::{self, Finished, Program, TIMED_OUT};

/// Runs the container `name` as `bundle/config.json` says.
///
/// # Errors
/// What starting the engine answers.
pub fn run(name: &str, bundle: &Path, log: Log) -> io::Result<Program> {
    let pid_file = bundle.join("pid");
    let _ = std::fs::remove_file(&pid_file);
    let mut command = crun();
    command.arg("run").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file).arg(name);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = processes::start(&mut command)?;
    let log = Arc::new(Mutex::new(log));
    let (output, error) = program.outputs();
    if let Some(output) = output {
        keep(output, Stream::Output, log.clone());
    }
    if let Some(error) = error {
        keep(error, Stream::Error, log);
    }
    Ok(program)
}

/// Waits until the entry program of the container in `bundle` runs and has been read, or until `engine`, which
/// makes and accompanies it, has ended.
///
/// # Errors
/// The exit code of the engine, which is the container's or says why there is none.
pub fn wait_until_begun(bundle: &Path, engine: &Program, init: bool) -> Result<(), u8> {
    let pid_file = bundle.join("pid");
    loop {
        let first = process_in(&pid_file);
        if let Some(process) = first.and_then(|first| entry::program(first, engine.pid(), init)) {
            entry::read_through(process);
            return Ok(());
        }
        if let Some(code) = engine.wait_until(Instant::now() + POLL) {
            return Err(code);
        }
    }
}

/// Runs `arguments` in the running container `name`, made from `bundle`, for at most `limit`.
///
/// # Errors
/// What starting the engine answers.
pub fn exec(
    name: &str,
    bundle: &Path,
    arguments: &[String],
    limit: Duration,
    output_bytes: usize,
) -> io::Result<Finished> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let pid_file = bundle.join(format!("exec-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let mut command = crun();
    command.arg("exec").arg("--pid-file").arg(&pid_file).arg(name).args(arguments);
    let finished = processes::run(&mut command, b"", limit, output_bytes);
    if finished.as_ref().is_ok_and(|finished| finished.code == TIMED_OUT) {
        // Killing the engine leaves the program behind, in the container; it is this process's child
        // now, so its number stays its own until it is waited for.
        if let Some(process) = process_in(&pid_file) {
            let _ = kill(process, Signal::SIGKILL);
        }
    }
    let _ = std::fs::remove_file(&pid_file);
    finished
}

/// Sends `signal`, such as `SIGTERM`, to the container's first process.
///
/// # Errors
/// What starting the engine answers; a container that is gone is no error.
pub fn signal(name: &str, signal: &str) -> io::Result<()> {
    processes::run(crun().args(["kill", name, signal]), b"", SIGNAL_TIME, 0).map(drop)
}

/// Forgets a container that has ended, if the engine did not do so itself.
///
/// # Errors
/// What starting the engine answers.
pub fn remove(name: &str) -> io::Result<()> {
    if !Path::new(STATE).join(name).exists() {
        return Ok(());
    }
    processes::run(crun().args(["delete", "--force", name]), b"", SIGNAL_TIME, 0).map(drop)
}

/// The process whose number the engine wrote to a file.
fn process_in(pid_file: &Path) -> Option<Pid> {
    let number = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok();
    number.filter(|number| *number > 1).map(Pid::from_raw)
}

fn crun() -> Command {
    let mut command = Command::new("crun");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(["--cgroup-manager=cgroupfs", "--root", STATE]);
    command
}

/// Moves lines from `source` to the log until the container has closed it.
fn keep(source: impl Read + Send + 'static, stream: Stream, log: Arc<Mutex<Log>>) {
    let moving = move || {
        let mut reader = BufReader::new(source);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(MAXIMUM_LINE_BYTES as u64).read_until(b'\n', &mut line);
            if !matches!(read, Ok(length) if length > 0) {
                return;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            // A full disk must not stop the service: the line is lost, the pipe is read on.
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = log.write(clock::now_ms(), stream, &line);
        }
    };
    let _ = std::thread::Builder::new().name("log".into()).spawn(moving);
}

const STATE: &str = "/run/crun";
const POLL: Duration = Duration::from_millis(4);
const SIGNAL_TIME: Duration = Duration::from_secs(10);
