//! Does the program of a service run, and has it been read?
//!
//! When the engine has made a container, its first process is still the engine. A service counts as started
//! only when the program that it names has taken that process over, and when every file that was mapped for
//! it by then, its loader among them, has been read to its end: a block that is not the image's is known
//! before anyone hears that the service works.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::Pid;

/// The process in which the entry program of a container runs, once the kernel has loaded it. `first` is the
/// container's first process, made by `engine`; with `init`, this program comes first and starts the other.
pub fn program(first: Pid, engine: Pid, init: bool) -> Option<Pid> {
    let first = loaded(first, engine)?;
    if init { children(first).into_iter().find_map(|child| loaded(child, first)) } else { Some(first) }
}

/// Reads the files that are mapped into `process`, up to a bound. What fails is left to whoever watches the
/// disks: the kernel has noted it.
pub fn read_through(process: Pid) {
    let mut left = MAXIMUM_BYTES;
    let mut read = BTreeSet::new();
    let mapped = fs::read_dir(format!("/proc/{process}/map_files")).into_iter().flatten().flatten();
    for path in mapped.map(|entry| entry.path()) {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() && read.insert((metadata.dev(), metadata.ino())) {
            left -= read_to_end(&path, left).unwrap_or(0);
        }
    }
}

/// `process`, once it executes another file than `before` and the kernel has mapped that and its loader.
fn loaded(process: Pid, before: Pid) -> Option<Pid> {
    let executes = |process: Pid| {
        let metadata = fs::metadata(format!("/proc/{process}/exe")).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    if executes(process)? == executes(before)? {
        return None;
    }
    // The auxiliary vector is written last (fs/binfmt_elf.c, create_elf_tables); until then it is zero.
    let mut word = [0; 8];
    File::open(format!("/proc/{process}/auxv")).and_then(|mut file| file.read_exact(&mut word)).ok()?;
    (word != [0; 8]).then_some(process)
}

/// Children of the main thread of `process`.
fn children(process: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).map(Pid::from_raw).collect()
}

fn read_to_end(path: &Path, maximum: u64) -> io::Result<u64> {
    io::copy(&mut File::open(path)?.take(maximum), &mut io::sink())
}

/// Of all files together: enough for any program, and no data file holds a start up.
const MAXIMUM_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    use super::*;

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(i32::try_from(child.id()).unwrap())
    }

    /// Asks until there is an answer.
    fn soon<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(Instant::now() < deadline, "no answer in 20 s");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_program_runs_once_it_is_another_than_the_one_before() {
        let own = Pid::this();
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        assert_eq!(soon(|| program(pid(&child), own, false)), pid(&child));
        // The same program is still the engine.
        let mut engine = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        soon(|| program(pid(&engine), own, false));
        assert_eq!(program(pid(&child), pid(&engine), false), None);
        for child in [&mut child, &mut engine] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(program(pid(&child), own, false), None, "it has ended");
    }

    #[test]
    fn behind_an_init_the_program_is_its_child() {
        // The shell stands for the init: it waits for a child that is another program.
        let mut init = Command::new("/bin/sh")
            .args(["-c", "read line; sleep 60; true"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let own = Pid::this();
        soon(|| program(pid(&init), own, false));
        assert_eq!(program(pid(&init), own, true), None, "it has started nothing yet");
        drop(init.stdin.take());
        let child = soon(|| program(pid(&init), own, true));
        assert_ne!(child, pid(&init));
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        init.wait().unwrap();
    }

    #[test]
    fn mapped_files_are_read_and_a_process_that_is_gone_has_none() {
        read_through(Pid::this());
        read_through(Pid::from_raw(i32::MAX));
        assert!(read_to_end(&std::env::current_exe().unwrap(), 100).unwrap() == 100);
    }
}
