//! Does a program that a VM needs say that it is ready?
//!
//! Such a program runs beside its QEMU and outlives the daemon. It writes one line of JSON with
//! `"ready":true` once its QEMU may start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::processes::{ProcessError, ProcessId, start_detached};

/// Why it is not ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// It could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended before it was ready.
    #[error("{program} ended before it was ready: {last_line}")]
    Ended {
        /// Its name.
        program: String,
        /// What it said last.
        last_line: String,
    },
    /// It did not get ready.
    #[error("{program} was not ready after {limit_ms} ms")]
    Late {
        /// Its name.
        program: String,
        /// How long was waited, in milliseconds.
        limit_ms: u64,
    },
}

/// Starts `program` with its output in a fresh `log`, and waits until it is ready.
///
/// # Errors
/// Each variant of [`HelperError`].
pub(crate) async fn start(
    program: &Path,
    arguments: &[String],
    folder: &Path,
    log: &Path,
) -> Result<ProcessId, HelperError> {
    let _ = std::fs::remove_file(log);
    let (process, mut child) = start_detached(program, arguments, folder, log)?;
    let deadline = Instant::now() + READY_TIME;
    while !is_ready(log) {
        if let Ok(Some(_)) = child.try_wait() {
            return Err(HelperError::Ended { program: name(program), last_line: last_line(log) });
        }
        if Instant::now() > deadline {
            let _ = child.start_kill();
            return Err(HelperError::Late {
                program: name(program),
                limit_ms: READY_TIME.as_millis() as u64,
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::spawn(async move { child.wait().await });
    Ok(process)
}

/// A program of Casemate: beside this one, else by its name on `PATH`.
pub fn beside_this_program(name: &str) -> PathBuf {
    match std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name))) {
        Some(beside) if beside.is_file() => beside,
        _ => name.into(),
    }
}

/// The last line of a log that is not empty, cut at 300 characters.
pub fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    line.chars().take(300).collect()
}

pub(crate) fn name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_ready(log: &Path) -> bool {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.split_inclusive('\n').any(|line| line.ends_with('\n') && line.contains("\"ready\":true"))
}

const READY_TIME: Duration = Duration::from_secs(15);
