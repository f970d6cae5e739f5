//! How are `ip`, `nft` and the kernel asked?
//!
//! Arguments and input are [`super::plan`]'s and [`super::names`]'; nothing that a guest or a caller wrote gets
//! here. Each question has a limit on its time.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::io::AsyncWriteExt as _;

use super::TapError;
use super::names::Name;

/// Runs `program` in hostd's own namespace with `input`, and returns what it prints.
///
/// # Errors
/// [`TapError::Program`], [`TapError::Refused`], [`TapError::Late`].
pub(super) async fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<String, TapError> {
    finish(program, spawn(program, arguments).map_err(|source| TapError::Program { program, source })?, input)
        .await
}

/// As [`run`], in the namespace of a VM.
///
/// # Errors
/// Those of [`run`]; [`TapError::Namespace`].
pub(super) async fn run_inside(
    name: Name,
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, TapError> {
    let child = inside(name, || spawn(program, arguments))?;
    finish(program, child.map_err(|source| TapError::Program { program, source })?, input).await
}

/// Does `work` in the namespace of a VM, on a thread of its own; processes that it starts stay there.
///
/// # Errors
/// [`TapError::Namespace`].
pub(super) fn inside<T: Send>(name: Name, work: impl FnOnce() -> T + Send) -> Result<T, TapError> {
    let path = namespace(name);
    let failed = |source| TapError::Namespace { path: path.clone(), source };
    let entrance = File::open(&path).map_err(failed)?;
    // Children are waited for by the runtime of whoever asks.
    let runtime = tokio::runtime::Handle::current();
    let done = std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            setns(&entrance, CloneFlags::CLONE_NEWNET)?;
            let _runtime = runtime.enter();
            Ok(work())
        });
        there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    done.map_err(|error: nix::Error| failed(error.into()))
}

/// Writes a setting of the kernel, its path below `/proc/sys`. Each namespace has its own.
///
/// # Errors
/// [`TapError::Setting`].
pub(super) fn set(path: &str, value: &str) -> Result<(), TapError> {
    let path = PathBuf::from("/proc/sys").join(path);
    fs::write(&path, value).map_err(|source| TapError::Setting { path, source })
}

/// Where `ip netns` keeps the namespace of a VM (ip-netns(8)).
pub(super) fn namespace(name: Name) -> PathBuf {
    PathBuf::from(NAMESPACES).join(name.link())
}

/// See [`namespace`].
pub(super) const NAMESPACES: &str = "/run/netns";

fn spawn(program: &str, arguments: &[&str]) -> io::Result<tokio::process::Child> {
    tokio::process::Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

async fn finish(
    program: &'static str,
    mut child: tokio::process::Child,
    input: &str,
) -> Result<String, TapError> {
    let stdin = child.stdin.take();
    let whole = async {
        if let Some(mut stdin) = stdin {
            // One that has ended already says why below.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(TIME, whole).await {
        Ok(output) => output.map_err(|source| TapError::Program { program, source })?,
        Err(_) => return Err(TapError::Late { program, limit_s: TIME.as_secs() }),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(TapError::Refused { program, said: said.chars().take(300).collect() })
}

const TIME: Duration = Duration::from_secs(10);
