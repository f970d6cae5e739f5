//! Who keeps this machine's services running?
//!
//! A process without a terminal that holds a lock on `supervisor.pid`, starts each service and starts
//! it again when it ends, ever more slowly, until it is told to stop.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{LocalError, SERVICES, address, log, program, state};
use crate::{Error, files, home::Home};

/// Process id of the supervisor, if one runs.
pub fn running(home: &Home) -> Option<i32> {
    let mut file = OpenOptions::new().read(true).write(true).open(pid_file(home)).ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // Nobody holds it: whoever wrote the number is gone.
        Ok(_) => None,
        Err(_) => text.trim().parse().ok(),
    }
}

/// Runs the services until a signal asks it to stop. The body of `casemate local run`.
///
/// # Errors
/// [`LocalError`] if it cannot begin; afterwards services that end are started again.
pub async fn run(home: &Home, accept_simulated: bool) -> Result<(), Error> {
    let Some(_lock) = take_lock(home)? else { return Ok(()) };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|source| LocalError::Supervisor { source })?;
    let _ = nix::unistd::setsid(); // may be the leader of a group already

    for service in SERVICES {
        files::make_private_folder(&state(home, service))?;
    }
    let simulates = super::simulates(crate::tee::is_here(), accept_simulated);
    let mut services: Vec<Supervised> =
        SERVICES.iter().map(|name| Supervised::new(name, simulates)).collect();
    loop {
        for service in &mut services {
            service.keep_running(home)?;
        }
        tokio::select! {
            _ = terminate.recv() => break,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
    // The validator first, so that nobody asks for what is going away.
    for service in services.iter_mut().rev() {
        service.end().await;
    }
    Ok(())
}

/// Ends services that a killed supervisor left behind: two processes on one state would contradict each other.
/// VMs go on, and the next host daemon finds them. Whether there were any.
pub(super) async fn end_leftovers(home: &Home) -> bool {
    let mut any = false;
    for service in SERVICES.iter().rev() {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let deadline = Instant::now() + Duration::from_secs(10);
            for process in leftovers(home, service) {
                any = true;
                let _ = nix::sys::signal::kill(process, signal);
            }
            while !leftovers(home, service).is_empty() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    any
}

/// Whether the operator of this machine said to `process`, a supervisor, that simulated hardware counts.
pub(super) fn was_told_to_simulate(process: i32) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|argument| argument == ACCEPT_SIMULATED.as_bytes())
}

/// Processes of a service on the state of this home.
fn leftovers(home: &Home, service: &str) -> Vec<Pid> {
    let (program, state) = (format!("casemate-{service}"), state(home, service));
    let is_left = |id: &i32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let mut arguments = line.split(|byte| *byte == 0).map(|word| Path::new(OsStr::from_bytes(word)));
        let named = arguments.next().and_then(Path::file_name) == Some(OsStr::new(&program));
        named && arguments.any(|argument| argument == state)
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(is_left).map(Pid::from_raw).collect()
}

struct Supervised {
    name: &'static str,
    simulates: bool,
    child: Option<Child>,
    failures: u32,
    not_before: Instant,
    started: Instant,
}

impl Supervised {
    fn new(name: &'static str, simulates: bool) -> Self {
        Supervised {
            name,
            simulates,
            child: None,
            failures: 0,
            not_before: Instant::now(),
            started: Instant::now(),
        }
    }

    fn keep_running(&mut self, home: &Home) -> Result<(), Error> {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return Ok(()),
                Ok(Some(status)) => say(&format!("casemate-{} ended: {status}", self.name)),
                Err(error) => say(&format!("casemate-{} cannot be waited for: {error}", self.name)),
            }
            self.child = None;
            let was_stable = self.started.elapsed() > Duration::from_secs(60);
            self.failures = if was_stable { 1 } else { self.failures + 1 };
            let delay = Duration::from_millis(500 << self.failures.min(7));
            self.not_before = Instant::now() + delay;
        }
        if Instant::now() < self.not_before {
            return Ok(());
        }
        let log = open_log(home, self.name)?;
        let mut command = Command::new(program(&format!("casemate-{}", self.name))?);
        command
            .args(arguments(home, self.name, self.simulates))
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().map_err(|source| LocalError::Supervisor { source })?)
            .stderr(log)
            .kill_on_drop(true);
        match command.spawn() {
            Ok(child) => {
                say(&format!("casemate-{} started, process {}", self.name, child.id().unwrap_or_default()));
                self.child = Some(child);
                self.started = Instant::now();
            }
            Err(error) => {
                say(&format!("casemate-{} cannot be started: {error}", self.name));
                self.not_before = Instant::now() + Duration::from_secs(5);
            }
        }
        Ok(())
    }

    async fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(process) = child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), Signal::SIGTERM);
        }
        if tokio::time::timeout(Duration::from_secs(30), child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
        say(&format!("casemate-{} stopped", self.name));
    }
}

/// With what a service is started. `simulates` says whether simulated hardware counts on this machine.
fn arguments(home: &Home, service: &str, simulates: bool) -> Vec<String> {
    let mut arguments = vec![
        "serve".to_owned(),
        "--state".to_owned(),
        state(home, service).display().to_string(),
        "--listen".to_owned(),
        address(home, service),
    ];
    if service == "kms" && simulates && state(home, "hostd").join("simtee").exists() {
        // The seat of a machine that simulates: its floor policy lists that root and no other.
        arguments.push(ACCEPT_SIMULATED.to_owned());
    }
    if service == "hostd" {
        arguments.extend(["--images".to_owned(), home.guest_images().display().to_string()]);
    }
    if service == "validator" {
        arguments.extend(["--host".to_owned(), address(home, "hostd")]);
        arguments.extend(["--seat".to_owned(), address(home, "kms")]);
        // Who asks this validator is this very user, who could read the folder anyway.
        arguments.push("--accept-image-paths".to_owned());
    }
    arguments
}

fn take_lock(home: &Home) -> Result<Option<Flock<File>>, Error> {
    let path = pid_file(home);
    let fail = |source| files::error("write", &path, source);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let Ok(mut lock) = Flock::lock(file.map_err(fail)?, FlockArg::LockExclusiveNonblock) else {
        return Ok(None);
    };
    lock.set_len(0).map_err(fail)?;
    lock.rewind().map_err(fail)?;
    writeln!(lock, "{}", std::process::id()).map_err(fail)?;
    Ok(Some(lock))
}

fn open_log(home: &Home, service: &str) -> Result<File, Error> {
    let path = log(home, service);
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| files::error("write", &path, source))
}

/// To the supervisor and to the seat: simulated hardware counts.
pub(super) const ACCEPT_SIMULATED: &str = "--accept-simulated";

fn pid_file(home: &Home) -> PathBuf {
    home.local().join("supervisor.pid")
}

fn say(text: &str) {
    eprintln!("{} {text}", crate::clock::now_ms());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(home: &Home, service: &str, simulates: bool, argument: &str) -> bool {
        arguments(home, service, simulates).iter().any(|found| found == argument)
    }

    #[test]
    fn the_seat_is_told_of_simulation_only_without_a_tee_or_when_the_operator_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        // (the machine has a TEE, the operator says so) and whether simulated hardware counts.
        let table = [(false, false, true), (false, true, true), (true, false, false), (true, true, true)];
        for root_is_here in [false, true] {
            if root_is_here {
                std::fs::create_dir_all(state(&home, "hostd").join("simtee")).unwrap();
            }
            for (has_tee, accept_simulated, counts) in table {
                let simulates = super::super::simulates(has_tee, accept_simulated);
                assert_eq!(simulates, counts, "{has_tee} {accept_simulated}");
                let seat = told(&home, "kms", simulates, "--accept-simulated");
                assert_eq!(seat, counts && root_is_here, "{has_tee} {accept_simulated}");
                for other in ["hostd", "validator"] {
                    assert!(!told(&home, other, simulates, "--accept-simulated"), "{other}");
                }
            }
        }
    }

    #[test]
    fn the_validator_of_this_machine_alone_takes_paths_of_images() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        for simulates in [false, true] {
            assert!(told(&home, "validator", simulates, "--accept-image-paths"));
            assert!(!told(&home, "kms", simulates, "--accept-image-paths"));
            assert!(!told(&home, "hostd", simulates, "--accept-image-paths"));
        }
    }
}
