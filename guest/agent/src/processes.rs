//! Which programs has this one started, and how did they end?
//!
//! PID 1 inherits every orphan of the guest and has to wait for it, so one thread waits for all
//! children: the endings of its own programs go to who started them, the rest are forgotten. Nothing
//! else in this process may wait for a child.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// A program that was started.
#[derive(Debug)]
pub struct Program {
    pid: Pid,
    /// Its pipes; the handle is never waited on.
    child: Child,
    ending: Receiver<u8>,
}

/// How a short program ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; 128 + signal where a signal ended it; 124 where it was killed for taking too long.
    pub code: u8,
    /// The beginning of what it wrote to both outputs.
    pub output: Vec<u8>,
}

/// Starts `command`, whose ending only [`Program`] tells.
///
/// # Errors
/// What starting it answers.
pub fn start(command: &mut Command) -> io::Result<Program> {
    let table = table();
    // The lock is held until the child is known, so the waiting thread cannot forget it before.
    let mut children = lock(&table.children);
    let child = command.spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("process numbers are positive i32"));
    let (ended, ending) = channel();
    children.insert(pid, ended);
    table.some.notify_one();
    Ok(Program { pid, child, ending })
}

/// Runs `command` with `input` on its standard input, for at most `limit`, keeping at most
/// `output_bytes` of what it writes.
///
/// # Errors
/// What starting it answers; a program that fails or takes too long is no error.
pub fn run(
    command: &mut Command,
    input: &[u8],
    limit: Duration,
    output_bytes: usize,
) -> io::Result<Finished> {
    let (mut reader, writer) = io::pipe()?;
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
    let mut program = start(command)?;
    // The pipe's writing ends live on in `command`; it must see its end when the program is gone.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(mut standard_input) = program.child.stdin.take() {
        // A program that ends without reading its input says why by its code.
        let _ = standard_input.write_all(input);
    }
    let reading = std::thread::spawn(move || {
        let mut output = Vec::new();
        let _ = reader.by_ref().take(output_bytes as u64).read_to_end(&mut output);
        let _ = io::copy(&mut reader, &mut io::sink());
        output
    });
    let code = match program.wait_until(deadline) {
        Some(code) => code,
        None => {
            program.signal(Signal::SIGKILL);
            let _ = program.wait_until(Instant::now() + KILL_TIME);
            TIMED_OUT
        }
    };
    // What the program left behind may hold the pipe open: its output so far is enough.
    let patience = Instant::now() + LEFTOVER_TIME;
    while !reading.is_finished() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = if reading.is_finished() { reading.join().unwrap_or_default() } else { vec![] };
    Ok(Finished { code, output })
}

impl Program {
    /// Its process number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Takes its standard output and error, where they are pipes.
    pub fn outputs(&mut self) -> (Option<std::process::ChildStdout>, Option<std::process::ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits for its end: exit code, or 128 + signal.
    pub fn wait(&self) -> u8 {
        self.ending.recv().unwrap_or(LOST)
    }

    /// Waits for its end until `deadline`.
    pub fn wait_until(&self, deadline: Instant) -> Option<u8> {
        match self.ending.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(code) => Some(code),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(LOST),
        }
    }

    /// Sends `signal`, unless it has ended: its number may belong to another process by then.
    pub fn signal(&self, signal: Signal) {
        let children = lock(&table().children);
        if children.contains_key(&self.pid) {
            let _ = kill(self.pid, signal);
        }
    }
}

/// Ends every other process of the guest, at once and with nothing but a system call: no program has to
/// be read from a disk that the host may have stopped.
pub fn end_all() {
    // From any other process, -1 would mean whatever its user runs.
    if std::process::id() == 1 {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
}

/// Code of a program that was killed for taking too long, as timeout(1) gives it.
pub const TIMED_OUT: u8 = 124;

const LOST: u8 = 255;
const KILL_TIME: Duration = Duration::from_secs(5);
const LEFTOVER_TIME: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Table {
    children: Mutex<HashMap<Pid, Sender<u8>>>,
    some: Condvar,
}

/// Children belong to the process, so there is one table; its thread starts with the first use.
fn table() -> &'static Table {
    static TABLE: OnceLock<&'static Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let table: &'static Table = Box::leak(Box::default());
        std::thread::Builder::new()
            .name("wait".into())
            .spawn(move || wait_for_all(table))
            .expect("a thread can be started at the very beginning");
        table
    })
}

fn wait_for_all(table: &Table) -> ! {
    loop {
        // Look without taking: the child stays in the process table until the lock is held.
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(status) => {
                let Some(pid) = status.pid() else { continue };
                let mut children = lock(&table.children);
                if let Ok(ended) = waitpid(pid, Some(WaitPidFlag::WNOHANG))
                    && let Some(code) = exit_code(ended)
                    && let Some(starter) = children.remove(&pid)
                {
                    let _ = starter.send(code);
                }
            }
            Err(Errno::ECHILD) => {
                let children = lock(&table.children);
                let _ = table.some.wait_timeout(children, Duration::from_secs(1));
            }
            Err(_) => {}
        }
    }
}

fn exit_code(status: WaitStatus) -> Option<u8> {
    match status {
        WaitStatus::Exited(_, code) => Some(code.to_le_bytes()[0]),
        WaitStatus::Signaled(_, signal, _) => Some(128_u8.wrapping_add((signal as i32).to_le_bytes()[0])),
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_tells_its_code_and_both_outputs() {
        let finished = run(&mut shell("cat; echo err >&2; exit 7"), b"in\n", LONG, 100).unwrap();
        assert_eq!((finished.code, finished.output), (7, b"in\nerr\n".to_vec()));
    }

    #[test]
    fn output_is_cut_and_the_program_still_ends() {
        let finished = run(&mut shell("head -c 300000 /dev/zero"), b"", LONG, 10).unwrap();
        assert_eq!((finished.code, finished.output.len()), (0, 10));
    }

    #[test]
    fn a_slow_program_is_killed() {
        let begin = Instant::now();
        let finished = run(&mut shell("exec sleep 30"), b"", Duration::from_millis(200), 10).unwrap();
        assert_eq!(finished.code, TIMED_OUT);
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_signal_is_a_code() {
        let mut program = start(&mut shell("exec sleep 30")).unwrap();
        assert!(program.outputs().0.is_none());
        assert_eq!(program.wait_until(Instant::now() + Duration::from_millis(50)), None);
        program.signal(Signal::SIGTERM);
        assert_eq!(program.wait(), 143);
        program.signal(Signal::SIGTERM);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_and_no_panic() {
        for _ in 0..20 {
            assert!(start(&mut Command::new("/nonexistent/program")).is_err());
        }
    }

    #[test]
    fn many_at_once_each_get_their_own_code() {
        let programs: Vec<_> =
            (0..40_u8).map(|code| (code, start(&mut shell(&format!("exit {code}"))).unwrap())).collect();
        for (code, program) in programs {
            assert_eq!(program.wait(), code);
        }
    }
}
