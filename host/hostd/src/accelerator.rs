//! What runs guests here: the processor, or QEMU's translator?
//!
//! `/dev/kvm` may exist and still hang a guest, and may run a small one and hang a real one. So two
//! tests stand before KVM is used: nine bytes when the daemon starts, and before the first VM that VM's
//! own firmware and kernel. An image that starts nowhere says nothing about KVM: the same boot must
//! succeed without KVM before KVM is found unfit. Neither does a machine that is busy: whatever is late
//! is tried once more, for twice as long as it took without KVM.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_api::host::KvmCapability;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::capabilities;
use crate::qemu::{Accelerator, Launch};
use crate::trial::{Bench, Heard};

/// What was found out about the processor.
#[derive(Debug)]
pub struct Probe {
    found: watch::Sender<Option<(Accelerator, KvmCapability)>>,
    /// Whether `found` is the last word. One trial at a time.
    settled: Mutex<bool>,
    bench: Bench,
    /// Where the last word is kept.
    path: PathBuf,
    /// For which machine and QEMU it holds.
    valid_for: watch::Sender<Option<ValidFor>>,
    kvm_limit: Duration,
    tcg_limit: Duration,
    nine_bytes_limit: Duration,
}

/// The last word, on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    valid_for: ValidFor,
    kvm: KvmCapability,
}

/// Another boot may bring another kernel or other settings of KVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidFor {
    boot_id: String,
    qemu_version: String,
}

impl Probe {
    /// Begins to find out, in the background: `wished` decides if given, else what is remembered of
    /// this boot of the machine, else a test guest does.
    pub fn start(qemu: PathBuf, wished: Option<Accelerator>, folder: PathBuf) -> Arc<Self> {
        let probe = Arc::new(Self::new(qemu, &folder));
        let finding = probe.clone();
        tokio::spawn(async move {
            let (kvm, settled) = finding.find(wished).await;
            *finding.settled.lock().await = settled;
            let accelerator = match (&kvm, wished) {
                (_, Some(accelerator)) => accelerator,
                (KvmCapability::Usable { .. }, None) => Accelerator::Kvm,
                (_, None) => Accelerator::Tcg,
            };
            finding.set(accelerator, kvm);
        });
        probe
    }

    fn new(qemu: PathBuf, folder: &Path) -> Self {
        Self {
            found: watch::Sender::new(None),
            settled: Mutex::new(false),
            bench: Bench { qemu, folder: folder.join("trial") },
            path: folder.join("accelerator.json"),
            valid_for: watch::Sender::new(None),
            kvm_limit: KVM_LIMIT,
            tcg_limit: TCG_LIMIT,
            nine_bytes_limit: NINE_BYTES_LIMIT,
        }
    }

    /// What is to run `launch`, an ordinary VM. The first time it may take as long as a trial.
    pub async fn accelerator(&self, launch: &Launch) -> Accelerator {
        let (accelerator, _) = self.found().await;
        let mut settled = self.settled.lock().await;
        if *settled || accelerator == Accelerator::Tcg {
            return self.found().await.0;
        }
        let Some(kvm) = self.try_kvm(launch).await else { return accelerator };
        let accelerator = match kvm {
            KvmCapability::Usable { .. } => Accelerator::Kvm,
            _ => Accelerator::Tcg,
        };
        self.remember(&kvm);
        self.set(accelerator, kvm);
        *settled = true;
        accelerator
    }

    /// What is known about KVM; waits for the test guest.
    pub async fn kvm(&self) -> KvmCapability {
        self.found().await.1
    }

    async fn found(&self) -> (Accelerator, KvmCapability) {
        let mut found = self.found.subscribe();
        let known = found.wait_for(Option::is_some).await;
        known.ok().and_then(|found| found.clone()).unwrap_or((Accelerator::Tcg, KvmCapability::Absent))
    }

    fn set(&self, accelerator: Accelerator, kvm: KvmCapability) {
        tracing::info!(?accelerator, ?kvm, "what runs guests here");
        self.found.send_replace(Some((accelerator, kvm)));
    }

    /// The first answer, and whether it is the last.
    async fn find(&self, wished: Option<Accelerator>) -> (KvmCapability, bool) {
        if let Err(error) = self.bench.clear().await {
            tracing::warn!(%error, folder = %self.bench.folder.display(), "cannot prepare trials");
        }
        if let Some(accelerator) = wished {
            let accelerator = if accelerator == Accelerator::Kvm { "kvm" } else { "tcg" }.into();
            return (KvmCapability::Overridden { accelerator }, true);
        }
        if !Path::new("/dev/kvm").exists() {
            return (KvmCapability::Absent, true);
        }
        self.valid_for.send_replace(ValidFor::now(&self.bench.qemu).await);
        match self.recall() {
            Some(kvm) => (kvm, true),
            None => (self.try_nine_bytes().await, false),
        }
    }

    /// Boots what `launch` boots under KVM, then without it; nothing if the image starts nowhere.
    async fn try_kvm(&self, launch: &Launch) -> Option<KvmCapability> {
        let with = |accelerator| Launch { accelerator, ..launch.clone() };
        let usable = |after: Duration| KvmCapability::Usable { boot_ms: after.as_millis() as u64 };
        let reason = match self.bench.boot(&with(Accelerator::Kvm), self.kvm_limit).await {
            Heard::Byte { after } => return Some(usable(after)),
            Heard::Nothing { reason } => reason,
        };
        let without_kvm = match self.bench.boot(&with(Accelerator::Tcg), self.tcg_limit).await {
            Heard::Byte { after } => after,
            Heard::Nothing { reason } => {
                tracing::warn!(
                    reason,
                    "this image does not start without KVM either; that tells nothing about KVM"
                );
                return None;
            }
        };
        // A busy machine makes a good KVM late too; one that is worth using is not later than its absence.
        let patience = without_kvm * 2;
        if patience <= self.kvm_limit {
            return Some(KvmCapability::Unusable { reason });
        }
        Some(match self.bench.boot(&with(Accelerator::Kvm), patience).await {
            Heard::Byte { after } => usable(after),
            Heard::Nothing { reason } => KvmCapability::Unusable { reason },
        })
    }

    fn recall(&self) -> Option<KvmCapability> {
        let remembered: Remembered = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        let holds = self.valid_for.borrow().as_ref() == Some(&remembered.valid_for);
        // Rights may have been taken away since; the test guest then says so.
        let open = || fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
        match remembered.kvm {
            KvmCapability::Usable { .. } if !open() => None,
            kvm => holds.then_some(kvm),
        }
    }

    fn remember(&self, kvm: &KvmCapability) {
        let Some(valid_for) = self.valid_for.borrow().clone() else { return };
        let remembered = Remembered { valid_for, kvm: kvm.clone() };
        let bytes = serde_json::to_vec_pretty(&remembered).expect("words and numbers are JSON");
        if let Err(error) = crate::vms::replace(&self.path, &bytes) {
            tracing::warn!(%error, "the next daemon will try KVM again");
        }
    }

    /// Boots a guest of nine bytes behind QEMU's default firmware; if it is late, the same without KVM,
    /// which tells how slow this machine is now, and then once more.
    async fn try_nine_bytes(&self) -> KvmCapability {
        let first = self.boot_nine_bytes("kvm", self.nine_bytes_limit).await;
        if !matches!(first, NineBytes::Late { .. }) {
            return first.into();
        }
        let limit = match self.boot_nine_bytes("tcg", self.tcg_limit).await {
            NineBytes::Booted { after } => self.nine_bytes_limit.max(after * 2),
            _ => self.nine_bytes_limit,
        };
        self.boot_nine_bytes("kvm", limit).await.into()
    }

    async fn boot_nine_bytes(&self, accelerator: &str, limit: Duration) -> NineBytes {
        let disk = self.bench.folder.join("probe.img");
        if let Err(error) = fs::write(&disk, boot_disk()) {
            return NineBytes::Failed { reason: format!("cannot write the test guest: {error}") };
        }
        let began = Instant::now();
        let guest = nine_bytes(&self.bench.qemu, accelerator, &disk).output();
        match tokio::time::timeout(limit, guest).await {
            Err(_) => NineBytes::Late { limit },
            Ok(Err(error)) => {
                NineBytes::Failed { reason: format!("cannot start {}: {error}", self.bench.qemu.display()) }
            }
            Ok(Ok(output)) if output.status.code() == Some(EXIT_CODE) => {
                NineBytes::Booted { after: began.elapsed() }
            }
            Ok(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().last().unwrap_or("QEMU ended without a word");
                NineBytes::Failed { reason: said.chars().take(300).collect() }
            }
        }
    }
}

/// How the guest of nine bytes fared.
enum NineBytes {
    Booted { after: Duration },
    Late { limit: Duration },
    Failed { reason: String },
}

impl From<NineBytes> for KvmCapability {
    fn from(found: NineBytes) -> Self {
        match found {
            NineBytes::Booted { after } => KvmCapability::Usable { boot_ms: after.as_millis() as u64 },
            NineBytes::Late { limit } => KvmCapability::Unusable {
                reason: format!("a test guest did not boot in {:.1} s", limit.as_secs_f64()),
            },
            NineBytes::Failed { reason } => KvmCapability::Unusable { reason },
        }
    }
}

/// How long a real firmware may take to its first word under KVM. Good ones take less than a second.
const KVM_LIMIT: Duration = Duration::from_secs(8);

/// The same without KVM; an idle machine takes 1.5 s.
const TCG_LIMIT: Duration = Duration::from_secs(60);

/// How long the guest of nine bytes may take; an idle machine takes less than half a second.
const NINE_BYTES_LIMIT: Duration = Duration::from_secs(5);

impl ValidFor {
    async fn now(qemu: &Path) -> Option<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { boot_id, qemu_version: capabilities::qemu_version(qemu).await? })
    }
}

fn nine_bytes(qemu: &Path, accelerator: &str, disk: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(qemu);
    command
        .args(["-accel", accelerator, "-machine", "q35", "-cpu", "max", "-m", "64M"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive"])
        .arg(format!("if=ide,format=raw,snapshot=on,file={}", disk.display().to_string().replace(',', ",,")))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

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
    use std::os::unix::fs::PermissionsExt as _;

    use casemate_api::host::{NetworkKind, Platform};
    use casemate_measure::shape::{GuestFeatures, Machine, Shape, VcpuType};

    use super::*;
    use crate::image::BootFiles;

    #[tokio::test]
    async fn the_test_guest_of_the_probe_boots() {
        if !capabilities::program_exists(Path::new("qemu-system-x86_64")) {
            eprintln!("skipped: no qemu-system-x86_64");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("probe.img");
        fs::write(&disk, boot_disk()).unwrap();
        let output = nine_bytes(Path::new("qemu-system-x86_64"), "tcg", &disk).output();
        let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(EXIT_CODE));
    }

    /// Stands in for QEMU: `kvm` and `tcg` are what the shell does under each.
    fn probe(folder: &Path, kvm: &str, tcg: &str) -> Probe {
        let qemu = folder.join("qemu.sh");
        let script = format!(
            "#!/bin/sh\necho x >> {0}/boots\nspeak() {{ echo x > {0}/trial/console.log; exec sleep 60; }}\n\
             case \"$*\" in *'-accel kvm'*) {kvm} ;; *) {tcg} ;; esac\n",
            folder.display()
        );
        fs::write(&qemu, script).unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        let mut probe = Probe::new(qemu, folder);
        (probe.kvm_limit, probe.nine_bytes_limit) = (Duration::from_secs(2), Duration::from_secs(2));
        let version = ValidFor { boot_id: "this boot".into(), qemu_version: "7.2".into() };
        probe.valid_for.send_replace(Some(version));
        probe.set(Accelerator::Kvm, KvmCapability::Usable { boot_ms: 1 });
        probe
    }

    fn launch(folder: &Path) -> Launch {
        let file = |name: &str| folder.join(name);
        Launch {
            id: "notes".into(),
            folder: folder.to_owned(),
            platform: Platform::Simulated,
            accelerator: Accelerator::Kvm,
            shape: Shape {
                vcpus: 1,
                vcpu_type: VcpuType::EPYC_V4,
                memory_mib: 512,
                machine: Machine::Q35,
                guest_features: GuestFeatures::SNP,
            },
            boot: BootFiles {
                firmware: file("firmware.fd"),
                kernel: file("vmlinuz"),
                initrd: file("initrd"),
                command_line: "console=ttyS0".into(),
                root: None,
            },
            hash_table_address: 0x81_0c00,
            workload_digest: [0; 32].into(),
            disks: Vec::new(),
            network: NetworkKind::User,
            user: None,
        }
    }

    fn boots(folder: &Path) -> usize {
        fs::read_to_string(folder.join("boots")).map_or(0, |text| text.lines().count())
    }

    #[tokio::test]
    async fn kvm_is_used_once_a_real_guest_has_spoken_under_it() {
        let folder = tempfile::tempdir().unwrap();
        let probe = probe(folder.path(), "speak", "exit 1");
        for _ in 0..2 {
            assert_eq!(probe.accelerator(&launch(folder.path())).await, Accelerator::Kvm);
        }
        assert_eq!(boots(folder.path()), 1);
        // On a machine without a device that opens, what was remembered does not count.
        assert!(matches!(probe.recall(), None | Some(KvmCapability::Usable { .. })));
        let remembered = fs::read_to_string(folder.path().join("accelerator.json")).unwrap();
        assert!(remembered.contains("usable"), "{remembered}");
    }

    #[tokio::test]
    async fn a_kvm_under_which_no_real_guest_speaks_is_not_tried_again() {
        for (kvm, reason) in [
            ("exec sleep 60", "a guest's firmware did not start in 2 s"),
            (
                "echo 'KVM internal error. Suberror: 1' >&2; exec sleep 60",
                "a guest's firmware did not start: KVM internal error. Suberror: 1",
            ),
            ("echo refused >&2; exit 1", "a guest's firmware did not start: refused"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let probe = probe(folder.path(), kvm, "speak");
            for _ in 0..2 {
                assert_eq!(probe.accelerator(&launch(folder.path())).await, Accelerator::Tcg);
            }
            assert_eq!(boots(folder.path()), 2, "once with KVM, once without");
            let unusable = KvmCapability::Unusable { reason: reason.into() };
            assert_eq!(probe.kvm().await, unusable);
            assert_eq!(probe.recall(), Some(unusable));
            let needle = folder.path().join("trial").display().to_string();
            assert!(crate::processes::with_argument(&needle).is_empty());

            let other = ValidFor { boot_id: "another boot".into(), qemu_version: "7.2".into() };
            probe.valid_for.send_replace(Some(other));
            assert_eq!(probe.recall(), None);
        }
    }

    /// Does nothing the first time, and `then` afterwards.
    fn late(folder: &Path, then: &str) -> String {
        let mark = folder.join("late").display().to_string();
        format!("if [ -e {mark} ]; then {then}; else touch {mark}; exec sleep 60; fi")
    }

    #[tokio::test]
    async fn a_busy_machine_is_not_blamed_on_kvm() {
        let folder = tempfile::tempdir().unwrap();
        // Without KVM it takes more than half of what KVM was given.
        let probe = probe(folder.path(), &late(folder.path(), "speak"), "sleep 1.2; speak");
        assert_eq!(probe.accelerator(&launch(folder.path())).await, Accelerator::Kvm);
        assert_eq!(boots(folder.path()), 3);
    }

    #[tokio::test]
    async fn nine_bytes_that_are_late_are_tried_once_more() {
        let exit = format!("exit {EXIT_CODE}");
        let folder = tempfile::tempdir().unwrap();
        let good = probe(folder.path(), &late(folder.path(), &exit), &exit);
        good.bench.clear().await.unwrap();
        assert!(matches!(good.try_nine_bytes().await, KvmCapability::Usable { .. }));
        assert_eq!(boots(folder.path()), 3);

        let folder = tempfile::tempdir().unwrap();
        let hanging = probe(folder.path(), "exec sleep 60", &exit);
        hanging.bench.clear().await.unwrap();
        let unusable = KvmCapability::Unusable { reason: "a test guest did not boot in 2.0 s".into() };
        assert_eq!(hanging.try_nine_bytes().await, unusable);
        assert_eq!(boots(folder.path()), 3);
    }

    #[tokio::test]
    async fn an_image_that_starts_nowhere_is_not_blamed_on_kvm() {
        let folder = tempfile::tempdir().unwrap();
        let probe = probe(folder.path(), "exit 1", "exit 1");
        assert_eq!(probe.accelerator(&launch(folder.path())).await, Accelerator::Kvm);
        assert_eq!(probe.kvm().await, KvmCapability::Usable { boot_ms: 1 });
        assert_eq!(probe.recall(), None);
        probe.accelerator(&launch(folder.path())).await;
        assert_eq!(boots(folder.path()), 4, "it is tried again");
    }
}
