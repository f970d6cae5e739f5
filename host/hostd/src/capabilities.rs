//! What can this host do?

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_api::host::{Capabilities, KvmCapability, TeeCapability};
use tokio::sync::watch;

use crate::qemu::Accelerator;
use crate::vms::Settings;

/// What was found out about the processor.
#[derive(Debug)]
pub struct Probe {
    found: watch::Sender<Option<(Accelerator, KvmCapability)>>,
    accelerator: watch::Sender<Option<Accelerator>>,
}

impl Probe {
    /// Begins to find out, in the background: `wished` decides if given, else a test guest does.
    pub fn start(qemu: PathBuf, wished: Option<Accelerator>, folder: PathBuf) -> std::sync::Arc<Self> {
        let probe = std::sync::Arc::new(Self {
            found: watch::Sender::new(None),
            accelerator: watch::Sender::new(None),
        });
        let finding = probe.clone();
        tokio::spawn(async move {
            let kvm = match wished {
                Some(accelerator) => KvmCapability::Overridden {
                    accelerator: if accelerator == Accelerator::Kvm { "kvm" } else { "tcg" }.into(),
                },
                None => probe_kvm(&qemu, &folder).await,
            };
            let accelerator = match (&kvm, wished) {
                (_, Some(accelerator)) => accelerator,
                (KvmCapability::Usable { .. }, None) => Accelerator::Kvm,
                (_, None) => Accelerator::Tcg,
            };
            tracing::info!(?accelerator, "what runs guests here");
            finding.found.send_replace(Some((accelerator, kvm)));
            finding.accelerator.send_replace(Some(accelerator));
        });
        probe
    }

    /// What runs guests, once it is known.
    pub fn accelerator(&self) -> watch::Receiver<Option<Accelerator>> {
        self.accelerator.subscribe()
    }

    async fn kvm(&self) -> KvmCapability {
        let mut found = self.found.subscribe();
        let known = found.wait_for(Option::is_some).await;
        known.ok().and_then(|found| found.clone()).map_or(KvmCapability::Absent, |(_, kvm)| kvm)
    }
}

/// What this host can do, now.
pub async fn describe(settings: &Settings, probe: &Probe) -> Capabilities {
    let qemu_version = qemu_version(&settings.qemu).await;
    let statistics = nix::sys::statvfs::statvfs(&settings.state).ok();
    let disk_free_bytes = statistics.map_or(0, |at| at.blocks_available() * at.fragment_size());
    Capabilities {
        version: env!("CARGO_PKG_VERSION").into(),
        tee: tee(settings, qemu_version.as_deref()),
        kvm: probe.kvm().await,
        qemu_version,
        disk_free_bytes,
        memory_available_mib: memory_available_mib(),
        cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        tap_networks: false,
    }
}

fn tee(settings: &Settings, qemu_version: Option<&str>) -> TeeCapability {
    let parameter =
        |path: &str| std::fs::read_to_string(path).is_ok_and(|value| ["Y", "1"].contains(&value.trim()));
    let snp = parameter("/sys/module/kvm_amd/parameters/sev_snp") && Path::new("/dev/sev").exists();
    let tdx = parameter("/sys/module/kvm_intel/parameters/tdx");
    let new_enough =
        |minimum| qemu_version.and_then(version_number).is_some_and(|version| version >= minimum);
    let reason = match (snp, tdx) {
        (false, false) => {
            "KVM offers neither SEV-SNP (kvm_amd.sev_snp, /dev/sev) nor TDX (kvm_intel.tdx) here".into()
        }
        (true, _) if !new_enough((9, 1)) => "SEV-SNP guests need QEMU 9.1 or later".into(),
        (_, true) if !new_enough((10, 1)) => "TDX guests need QEMU 10.1 or later".into(),
        _ => String::new(),
    };
    TeeCapability {
        sev_snp: snp && new_enough((9, 1)),
        tdx: tdx && new_enough((10, 1)),
        simulated: crate::capabilities::program_exists(&settings.simulated_tee.program),
        reason,
    }
}

/// Whether a program can be found, by path or on `PATH`.
pub fn program_exists(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

async fn qemu_version(qemu: &Path) -> Option<String> {
    let command = tokio::process::Command::new(qemu).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(5), command).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.split_whitespace().nth(3)?.trim_end_matches(',').to_owned())
}

fn version_number(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn memory_available_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib >> 10)
}

/// Boots a guest of nine bytes behind the usual firmware: `/dev/kvm` may exist and still hang it.
async fn probe_kvm(qemu: &Path, folder: &Path) -> KvmCapability {
    let unusable = |reason: String| KvmCapability::Unusable { reason };
    if !Path::new("/dev/kvm").exists() {
        return KvmCapability::Absent;
    }
    let disk = folder.join("probe.img");
    if let Err(error) = std::fs::write(&disk, boot_disk()) {
        return unusable(format!("cannot write the test guest: {error}"));
    }
    let began = Instant::now();
    let child = tokio::process::Command::new(qemu)
        .args([
            "-accel",
            "kvm",
            "-machine",
            "q35",
            "-cpu",
            "max",
            "-m",
            "64M",
            "-nodefaults",
            "-no-user-config",
        ])
        .args([
            "-display",
            "none",
            "-no-reboot",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-drive",
        ])
        .arg(format!("if=ide,format=raw,snapshot=on,file={}", disk.display().to_string().replace(',', ",,")))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(PROBE_TIME, child).await {
        Err(_) => unusable(format!("a test guest did not boot in {} s", PROBE_TIME.as_secs())),
        Ok(Err(error)) => unusable(format!("cannot start {}: {error}", qemu.display())),
        Ok(Ok(output)) if output.status.code() == Some(EXIT_CODE) => {
            KvmCapability::Usable { boot_ms: began.elapsed().as_millis() as u64 }
        }
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            unusable(said.lines().last().unwrap_or("QEMU ended without a word").chars().take(300).collect())
        }
    }
}

const PROBE_TIME: Duration = Duration::from_secs(5);

/// isa-debug-exit ends QEMU with twice the value written, plus one.
const EXIT_CODE: i32 = 2 * PROBE_VALUE as i32 + 1;
const PROBE_VALUE: u8 = 0x21;

/// A disk that begins with: mov al, value; mov dx, 0xf4; out dx, al; hlt; jmp back. Then the BIOS boot
/// signature. SeaBIOS cannot boot from a disk of a single sector.
fn boot_disk() -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    disk[..9].copy_from_slice(&[0xb0, PROBE_VALUE, 0xba, 0xf4, 0x00, 0xee, 0xf4, 0xeb, 0xfd]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version_number("10.0.2").unwrap() > version_number("9.1.0").unwrap());
        assert_eq!(version_number("QEMU"), None);
    }

    #[tokio::test]
    async fn the_test_guest_of_the_probe_boots() {
        if !program_exists(Path::new("qemu-system-x86_64")) {
            eprintln!("skipped: no qemu-system-x86_64");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("probe.img");
        std::fs::write(&disk, boot_disk()).unwrap();
        let output = tokio::process::Command::new("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg",
                "-machine",
                "q35",
                "-m",
                "64M",
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive"])
            .arg(format!("if=ide,format=raw,snapshot=on,file={}", disk.display()))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(EXIT_CODE));
    }
}
