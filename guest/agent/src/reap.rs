//! How does a container with `init: true` begin?
//!
//! This program is then the container's first process: it starts the real one, passes signals on to
//! it, waits for orphans and ends as it ends.

use std::ffi::OsString;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Runs `arguments` and returns the exit code to end with: 127 if it cannot be started.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let signals = SigSet::all();
    // Blocked here, taken one by one below; a started program begins with none blocked.
    if signals.thread_block().is_err() {
        return CANNOT_START;
    }
    let mut arguments = arguments.into_iter();
    let Some(program) = arguments.next() else { return CANNOT_START };
    let Ok(child) = Command::new(program).args(arguments).spawn() else { return CANNOT_START };
    let Ok(pid) = i32::try_from(child.id()).map(Pid::from_raw) else { return CANNOT_START };
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(pid) {
                    return code;
                }
            }
            Ok(signal) => drop(kill(pid, signal)),
            Err(_) => {}
        }
    }
}

/// Takes leave of every child that has ended; the code of `main`, if it is among them.
fn reap(main: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == main => code = Some(status.to_le_bytes()[0]),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                code = Some(128_u8.wrapping_add((signal as i32).to_le_bytes()[0]));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}

const CANNOT_START: u8 = 127;
