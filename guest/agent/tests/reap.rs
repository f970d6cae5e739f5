//! The small init of a container, as a process.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn reap(script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate-agent"));
    command.args(["reap", "/bin/sh", "-c", script]);
    command
}

#[test]
fn it_ends_as_its_program_ends() {
    assert_eq!(reap("exit 7").status().unwrap().code(), Some(7));
    assert_eq!(reap("kill -KILL $$").status().unwrap().code(), Some(137));
}

#[test]
fn it_passes_signals_on() {
    let mut child = reap("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_program_that_is_not_there_is_127() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate-agent"));
    assert_eq!(command.args(["reap", "/nonexistent"]).status().unwrap().code(), Some(127));
}

#[test]
fn outside_a_guest_the_agent_refuses_to_run() {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate-agent")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PID 1"));
}
