//! Does a VM's own firmware start here?
//!
//! The first byte on the serial port answers: firmware, boot loader or kernel, whichever speaks first.
//! The trial has no disk, no network and no relay, and is ended at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::helper::last_line;
use crate::processes;
use crate::qemu::{self, Launch};

/// Where trials are run, and with what.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) qemu: PathBuf,
    /// Of the trial's own; every process with a path below it on its command line is a trial.
    pub(crate) folder: PathBuf,
}

/// What a trial found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The first byte, after this time.
    Byte { after: Duration },
    /// Nothing, and why, for people.
    Nothing { reason: String },
}

impl Bench {
    /// Makes the folder, and ends what a daemon that crashed left there.
    pub(crate) async fn clear(&self) -> std::io::Result<()> {
        for process in processes::with_argument(&format!("{}/", self.folder.display())) {
            if let Err(error) = process.end(Duration::ZERO).await {
                tracing::warn!(%error, "a trial of an earlier daemon does not end");
            }
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&self.folder),
        }
    }

    /// Boots what `launch` boots and waits at most `limit` for its first byte.
    pub(crate) async fn boot(&self, launch: &Launch, limit: Duration) -> Heard {
        let nothing = |reason| Heard::Nothing { reason };
        if let Err(error) = self.clear().await {
            return nothing(format!("cannot use {}: {error}", self.folder.display()));
        }
        let (console, log) = (self.folder.join("console.log"), self.folder.join("qemu.log"));
        let arguments = match qemu::trial_arguments(launch, &console) {
            Ok(arguments) => arguments,
            Err(error) => return nothing(error.to_string()),
        };
        let spawned = fs::File::create(&log).and_then(|log| {
            tokio::process::Command::new(&self.qemu)
                .args(&arguments)
                // The hash table lies in the VM's folder and is named relatively.
                .current_dir(&launch.folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
        });
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return nothing(format!("cannot start {}: {error}", self.qemu.display())),
        };
        let began = Instant::now();
        let heard = loop {
            if console.metadata().is_ok_and(|metadata| metadata.len() > 0) {
                break Heard::Byte { after: began.elapsed() };
            }
            if let Some(complaint) = kvm_gave_up(&log) {
                break nothing(format!("a guest's firmware did not start: {complaint}"));
            }
            if let Ok(Some(_)) = child.try_wait() {
                break nothing(format!("a guest's firmware did not start: {}", last_line(&log)));
            }
            if began.elapsed() > limit {
                break nothing(format!("a guest's firmware did not start in {} s", limit.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let _ = child.kill().await;
        heard
    }
}

/// KVM met an instruction that it can neither run nor emulate; QEMU then holds the guest for good.
fn kvm_gave_up(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    Some(text.lines().find(|line| line.starts_with("KVM internal error"))?.chars().take(200).collect())
}
