//! Who signs the simulated guest's reports?
//!
//! One `casemate-simtee serve` per VM, on a socket that only this VM's QEMU is given. It measures the
//! very files that QEMU boots; the guest never supplies its own measurement.

use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_measure::shape::Shape;
use casemate_record::WorkloadDigest;

use crate::error::{Blame, Explain};
use crate::helper::{self, HelperError};
use crate::image::BootFiles;
use crate::processes::{ProcessError, ProcessId};
use crate::qemu::file;

/// Why there is no simulated TEE.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TeeError(#[from] HelperError);

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
    /// [`TeeError`].
    pub async fn start(
        &self,
        folder: &Path,
        boot: &BootFiles,
        shape: &Shape,
        workload_digest: &WorkloadDigest,
    ) -> Result<ProcessId, TeeError> {
        self.ensure_root().await?;
        let socket = folder.join(file::TEE);
        let _ = std::fs::remove_file(&socket);
        let arguments = self.arguments(&socket, boot, shape, workload_digest);
        Ok(helper::start(&self.program, &arguments, folder, &folder.join(file::TEE_LOG)).await?)
    }

    /// Makes the simulated root, once.
    async fn ensure_root(&self) -> Result<(), HelperError> {
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
        let program = || helper::name(&self.program);
        let output = tokio::time::timeout(ROOT_TIME, command).await;
        let late = |_| HelperError::Late { program: program(), limit_ms };
        let output = output.map_err(late)?.map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last_line = said.lines().last().unwrap_or_default().chars().take(300).collect();
        Err(HelperError::Ended { program: program(), last_line })
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

const ROOT_TIME: Duration = Duration::from_secs(60);
