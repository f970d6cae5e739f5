//! Which machines stand around the one under test?
//!
//! Network namespaces, each held by one thread. They go when the thread and everything that it started have ended.

use std::{
    process::{Command, Stdio},
    sync::mpsc::{Sender, channel},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

/// Moves this thread, and whatever it starts from now on, into a fresh namespace; says so and returns false where
/// it may not.
///
/// # Panics
/// In CI, if it may not.
pub fn enter_a_fresh_one() -> bool {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        assert!(std::env::var_os("CI").is_none(), "CI runs as root: {error}");
        eprintln!("not tested: a network namespace needs root");
        return false;
    }
    tell(&["ip", "link", "set", "lo", "up"]);
    true
}

/// Runs a command in the namespace of this thread.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn tell(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Another machine: a thread in a namespace of its own, which does what it is told.
#[derive(Debug)]
pub struct Neighbour {
    work: Sender<Box<dyn FnOnce() + Send>>,
    thread: String,
}

impl Neighbour {
    /// A machine at the other end of a new wire: this namespace's end is called `link` and has the address `own`,
    /// the neighbour's has `address`, both with their prefix.
    ///
    /// # Panics
    /// If there can be none.
    pub fn new(link: &str, own: &str, address: &str) -> Self {
        let (work, told) = channel::<Box<dyn FnOnce() + Send>>();
        let (known, thread) = channel();
        std::thread::spawn(move || {
            assert!(enter_a_fresh_one(), "a namespace could be had before");
            known.send(gettid().to_string()).expect("the test waits");
            told.into_iter().for_each(|work| work());
        });
        let neighbour = Self { work, thread: thread.recv().expect("the thread tells its number") };
        let far = ["peer", "name", "eth0", "netns", &neighbour.thread];
        tell(&[&["ip", "link", "add", link, "type", "veth"], &far[..]].concat());
        tell(&["ip", "addr", "add", own, "dev", link]);
        tell(&["ip", "link", "set", link, "up"]);
        let address = address.to_owned();
        neighbour.run(move || {
            tell(&["ip", "addr", "add", &address, "dev", "eth0"]);
            tell(&["ip", "link", "set", "eth0", "up"]);
        });
        neighbour
    }

    /// Does `work` there and returns what came of it.
    ///
    /// # Panics
    /// If `work` panics.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.work.send(Box::new(move || drop(done.send(work())))).expect("the neighbour lives");
        result.recv().expect("the work is done")
    }
}
