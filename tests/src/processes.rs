//! Which processes run, and how are they ended from outside?

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill as send},
    unistd::Pid,
};

/// A program of Casemate: of this build, or from the folder that `CASEMATE_PROGRAMS` names.
///
/// # Panics
/// If it is in neither.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let folder = this.parent().expect("a file has a folder");
    // Tests and benches run from `deps`, which lies beside the programs.
    let beside =
        if folder.ends_with("deps") { folder.parent().expect("deps lies in a folder") } else { folder };
    let elsewhere = std::env::var_os("CASEMATE_PROGRAMS").map(PathBuf::from);
    let found = [Some(beside.to_owned()), elsewhere].into_iter().flatten().find_map(|folder| {
        let path = folder.join(name);
        path.is_file().then_some(path)
    });
    found.unwrap_or_else(|| {
        panic!("{} is missing; run `cargo build --workspace`", beside.join(name).display())
    })
}

/// Ids of the processes that have `text` in their arguments, this one excepted. Arguments end with a zero byte.
pub fn naming(text: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).expect("process ids are small");
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let named = |id: &i32| {
        let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        arguments.windows(text.len()).any(|window| window == text.as_bytes())
    };
    ids.filter(|id| *id != own).filter(named).collect()
}

/// The one process that has `text` in its arguments.
///
/// # Panics
/// If there is none, or more than one.
#[track_caller]
pub fn one_naming(text: &str) -> i32 {
    let found = naming(text);
    assert_eq!(found.len(), 1, "processes with {text:?} in their arguments: {found:?}");
    found[0]
}

/// SIGKILL: the process gets no say in it.
pub fn kill(id: i32) {
    let _ = send(Pid::from_raw(id), Signal::SIGKILL);
}

/// SIGSTOP: the process stands still until [`resume`].
pub fn pause(id: i32) {
    let _ = send(Pid::from_raw(id), Signal::SIGSTOP);
}

/// SIGCONT.
pub fn resume(id: i32) {
    let _ = send(Pid::from_raw(id), Signal::SIGCONT);
}

/// Kills every process that has `folder` in its arguments, until none is left.
pub fn kill_all_naming(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = naming(&folder.display().to_string());
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        left.into_iter().for_each(kill);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `ready` says so, for at most `seconds`.
///
/// # Panics
/// With `what`, if it never does.
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not come in {seconds} s");
        std::thread::sleep(Duration::from_millis(50));
    }
}
