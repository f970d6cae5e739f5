//! What can this host do?

use std::path::Path;
use std::time::Duration;

use casemate_api::host::{Capabilities, TeeCapability};

use crate::accelerator::Probe;
use crate::vms::Settings;

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
        network: settings.network.kind(),
    }
}

fn tee(settings: &Settings, qemu_version: Option<&str>) -> TeeCapability {
    let parameter =
        |path: &str| std::fs::read_to_string(path).is_ok_and(|value| ["Y", "1"].contains(&value.trim()));
    let snp = parameter("/sys/module/kvm_amd/parameters/sev_snp") && Path::new("/dev/sev").exists();
    let tdx = parameter("/sys/module/kvm_intel/parameters/tdx");
    let new_enough = |minimum| is_at_least(qemu_version, minimum);
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

/// QEMU's version, as it says it; nothing if it does not run.
pub async fn qemu_version(qemu: &Path) -> Option<String> {
    let command = tokio::process::Command::new(qemu).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(5), command).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.split_whitespace().nth(3)?.trim_end_matches(',').to_owned())
}

/// Whether QEMU says that it is of this version or a later one.
pub async fn qemu_is_at_least(qemu: &Path, minimum: (u32, u32)) -> bool {
    is_at_least(qemu_version(qemu).await.as_deref(), minimum)
}

fn is_at_least(version: Option<&str>, minimum: (u32, u32)) -> bool {
    version.and_then(version_number).is_some_and(|version| version >= minimum)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version_number("10.0.2").unwrap() > version_number("9.1.0").unwrap());
        assert_eq!(version_number("QEMU"), None);
    }
}
