//! Who signs the simulated guest's reports?
//!
//! One `casemate-simtee serve` per VM, on a socket that only this VM's QEMU is given. It measures the
//! very files that QEMU boots; the guest never supplies its own measurement.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_measure::shape::Shape;
use casemate_record::WorkloadDigest;

use crate::error::{Blame, Explain};
use crate::image::BootFiles;
use crate::processes::{ProcessError, ProcessId, start_detached};
use crate::qemu::file;

/// Why there is no simulated TEE.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeeError {
    /// It could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended before it was ready.
    #[error("casemate-simtee ended before it was ready: {last_line}")]
    Ended {
        /// What it said last.
        last_line: String,
    },
    /// It did not get ready.
    #[error("casemate-simtee was not ready after {limit_ms} ms")]
    Late {
        /// How long was waited, in milliseconds.
        limit_ms: u64,
    },
}

impl Explain for TeeError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        ("tee_failed", Blame::Host, "run `casemate-simtee serve` by hand to see why, or reinstall Casemate")
    }
}

/// The simulated TEE's program and the root that it plays.
#[derive(Debug, Clone)]
pub struct SimulatedTee {
    /// `casemate-simtee`.
    pub program: PathBuf,
    /// Folder of the simulated root: its keys and certificates.
    pub root: PathBuf,
}

impl SimulatedTee {
    /// Starts the TEE of one VM and waits until it listens.
    ///
    /// # Errors
    /// Each variant of [`TeeError`].
    pub async fn start(
        &self,
        folder: &Path,
        boot: &BootFiles,
        shape: &Shape,
        workload_digest: &WorkloadDigest,
    ) -> Result<ProcessId, TeeError> {
        self.ensure_root().await?;
        let (socket, log) = (folder.join(file::TEE), folder.join(file::TEE_LOG));
        for stale in [&socket, &log] {
            let _ = std::fs::remove_file(stale);
        }
        let arguments = self.arguments(&socket, boot, shape, workload_digest);
        let (process, mut child) = start_detached(&self.program, &arguments, folder, &log)?;
        let deadline = Instant::now() + READY_TIME;
        while !is_ready(&log) {
            if let Ok(Some(_)) = child.try_wait() {
                return Err(TeeError::Ended { last_line: last_line(&log) });
            }
            if Instant::now() > deadline {
                let _ = child.start_kill();
                return Err(TeeError::Late { limit_ms: READY_TIME.as_millis() as u64 });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::spawn(async move { child.wait().await });
        Ok(process)
    }

    /// Makes the simulated root, once.
    async fn ensure_root(&self) -> Result<(), TeeError> {
        static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _guard = ONE_AT_A_TIME.lock().await;
        if self.root.exists() {
            return Ok(());
        }
        let failed = |source| ProcessError::Start { program: self.program.clone(), source };
        let command = tokio::process::Command::new(&self.program)
            .args(["root", "create", "--state"])
            .arg(&self.root)
            .kill_on_drop(true)
            .output();
        // RSA-4096 keys take a few seconds on a slow machine.
        let limit_ms = ROOT_TIME.as_millis() as u64;
        let output = tokio::time::timeout(ROOT_TIME, command).await;
        let output = output.map_err(|_| TeeError::Late { limit_ms })?.map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last_line = said.lines().last().unwrap_or_default().chars().take(300).collect();
        Err(TeeError::Ended { last_line })
    }

    fn arguments(
        &self,
        socket: &Path,
        boot: &BootFiles,
        shape: &Shape,
        digest: &WorkloadDigest,
    ) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        [
            "serve".to_owned(),
            "--state".to_owned(),
            path(&self.root),
            "--socket".to_owned(),
            path(socket),
            "--firmware".to_owned(),
            path(&boot.firmware),
            "--kernel".to_owned(),
            path(&boot.kernel),
            "--initrd".to_owned(),
            path(&boot.initrd),
            "--cmdline".to_owned(),
            boot.command_line.clone(),
            "--vcpus".to_owned(),
            shape.vcpus.to_string(),
            "--vcpu-type".to_owned(),
            shape.vcpu_type.name().to_owned(),
            "--guest-features".to_owned(),
            shape.guest_features.to_string(),
            "--host-data".to_owned(),
            digest.to_string(),
        ]
        .into()
    }
}

const READY_TIME: Duration = Duration::from_secs(15);
const ROOT_TIME: Duration = Duration::from_secs(60);

/// Whether it has said that its socket can be used: one line of JSON.
fn is_ready(log: &Path) -> bool {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.split_inclusive('\n').any(|line| line.ends_with('\n') && line.contains("\"ready\":true"))
}

/// The last line of a log that is not empty, cut at 300 characters.
pub fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    line.chars().take(300).collect()
}
