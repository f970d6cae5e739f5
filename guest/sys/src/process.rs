//! How does PID 1 run programs, and what must it do for them?

use std::{
    ffi::CString,
    io::{Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};

use crate::{Error, sys};

/// Makes `command` run in `root`, as `chroot(8)` does.
///
/// # Errors
/// [`Error::Call`] where `root` holds a NUL byte.
pub fn in_root(command: &mut Command, root: &Path) -> Result<(), Error> {
    let path = CString::new(root.as_os_str().as_bytes())
        .map_err(|error| Error::call("chroot", root)(error.into()))?;
    sys::chroot_child(command, path);
    Ok(())
}

/// Runs `command` to its end with `input` on its standard input and no environment but `PATH`.
///
/// Secrets go through `input`: arguments and environments of a process are readable by others.
///
/// # Errors
/// [`Error::Run`] where it cannot be started; a program that fails is no error.
pub fn run(command: &mut Command, input: &[u8]) -> Result<Finished, Error> {
    let program = command.get_program().to_owned();
    let failed = |source| Error::Run { program: program.clone().into(), source };
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut standard_input = child.stdin.take().expect("standard input is piped");
    // A program that ends without reading its input says why by its status.
    let _ = standard_input.write_all(input);
    drop(standard_input);
    let mut complaint = Vec::new();
    let standard_error = child.stderr.take().expect("standard error is piped");
    standard_error.take(COMPLAINT_BYTES).read_to_end(&mut complaint).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    Ok(Finished { status, complaint: printable(&complaint) })
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// The beginning of what it wrote to its standard error, printable, on one line.
    pub complaint: String,
}

/// Takes leave of every child that has ended and says how it ended; never waits.
///
/// PID 1 inherits orphans; without this they stay in the process table.
pub fn reap() -> Vec<(Pid, WaitStatus)> {
    let mut ended = Vec::new();
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            Ok(status) => {
                if let Some(pid) = status.pid() {
                    ended.push((pid, status));
                }
            }
            Err(Errno::EINTR) => {}
            Err(_) => return ended,
        }
    }
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<_> =
        text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

const COMPLAINT_BYTES: u64 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_its_input_and_no_environment() {
        let finished =
            run(Command::new("/bin/sh").args(["-c", "read x; echo \"$x$HOME\" >&2; exit 3"]), b"hello\n");
        let finished = finished.unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.complaint, "hello");
    }

    #[test]
    fn a_program_that_reads_nothing_still_ends() {
        let finished = run(&mut Command::new("/bin/true"), &[0; 1 << 20]).unwrap();
        assert!(finished.status.success());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("/nonexistent/program"), b"").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/program"), "{error}");
    }

    #[test]
    fn complaints_are_one_printable_line() {
        assert_eq!(printable(b"a\n\x1b[31mb \xff"), "a [31mb \u{fffd}");
    }
}
