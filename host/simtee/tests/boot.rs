//! Does a guest get its report through the real device interface, in a boot that firmware enforces?
//!
//! Boots QEMU under emulation with OVMF.amdsev, Debian's kernel, the simulation segment and a tiny init
//! that asks `casemate_attester`. `tests/fetch-boot-files.sh` fetches what that needs.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_evidence::ReportData;
use casemate_measure::kernel_hashes::{KernelHashes, qemu_patched_kernel};
use casemate_measure::ovmf::Firmware;
use casemate_measure::shape::{GuestFeatures, VcpuType};
use casemate_measure::snp::{Kernel, SnpLaunch};
use casemate_measure::vmsa::Vmm;
use casemate_rootfs::cpio::Archive;
use casemate_verify::TrustClass;
use support::{Files, HOST_DATA, Signer, text};

#[test]
fn a_measured_guest_attests_and_another_initrd_does_not_start() {
    let Some(boot) = boot_files() else { return };
    let folder = tempfile::tempdir().unwrap();
    let report_data = ReportData::from([0xc5; 64]);
    // The kernel hands a word that it does not know to init, which asks for these report data.
    // Messages of a kernel that emulation starves would stand in the middle of what init prints.
    let cmdline = format!("console=ttyS0 quiet loglevel=1 panic=-1 {report_data}");
    let (base, simulation) = segments(&boot);

    // Without the simulation segment there is no device, and the guest says so.
    let plain =
        Guest { files: files(folder.path(), "plain", &boot, &base), cmdline: &cmdline, memory_mib: 512 };
    let said = plain.run(folder.path(), "plain", None, None, LIMIT);
    assert!(said.contains("NO EVIDENCE: no /dev/sev-guest"), "{said}");

    let initrd = [base, simulation].concat();
    let guest = Guest {
        files: files(folder.path(), "simulated", &boot, &initrd),
        cmdline: &cmdline,
        memory_mib: 512,
    };
    let socket = folder.path().join("tee");
    let signer = Signer::start(&socket, &guest.files, &cmdline, &[]);
    let start = Instant::now();
    let table = guest.hash_table(|_| {});
    let said = guest.run(folder.path(), "good", Some(&table), Some(&signer), LIMIT);
    let good = start.elapsed();
    let report =
        said.lines().find_map(|line| line.split_once("EVIDENCE ")).unwrap_or_else(|| panic!("{said}")).1;
    let genuine = signer.authenticate(&from_hex(report));
    for (name, file) in [("Vcek", "leaf"), ("Ask", "intermediate"), ("Ark", "root")] {
        let prefix = format!("CERTIFICATE {name} ");
        let sent =
            said.lines().find_map(|line| line.split_once(&prefix)).unwrap_or_else(|| panic!("{said}")).1;
        let stored = std::fs::read(signer.ready["certificates"][file].as_str().unwrap()).unwrap();
        assert_eq!(from_hex(sent), stored, "{name} as the host stores it");
    }
    assert_eq!(genuine.trust_class(), TrustClass::Simulated);
    assert_eq!(genuine.report().report_data(), report_data);
    assert_eq!(genuine.report().host_data().to_string(), HOST_DATA);
    assert_eq!(genuine.report().measurement(), guest.launch_digest());

    // The same guest, but the table names another initrd: the firmware starts nothing.
    let table = guest.hash_table(|hashes| hashes.initrd = [0; 32].into());
    let said =
        guest.run(folder.path(), "bad", Some(&table), Some(&signer), good * 2 + Duration::from_secs(5));
    assert_eq!(said, "", "a guest with another initrd must not print a byte");
}

/// The files of a guest and what else moves its boot.
struct Guest<'a> {
    files: Files,
    cmdline: &'a str,
    memory_mib: u32,
}

impl Guest<'_> {
    /// Starts QEMU and returns what the guest printed, once it has answered or stopped.
    ///
    /// With a table the firmware is the measuring one; without, QEMU's own.
    fn run(
        &self,
        folder: &Path,
        name: &str,
        table: Option<&Path>,
        signer: Option<&Signer>,
        limit: Duration,
    ) -> String {
        let serial = folder.join(format!("{name}.serial"));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", &self.memory_mib.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-serial").arg(format!("file:{}", text(&serial)));
        qemu.args([
            "-kernel",
            text(&self.files.kernel),
            "-initrd",
            text(&self.files.initrd),
            "-append",
            self.cmdline,
        ]);
        if let Some(table) = table {
            let address = self.firmware().require_hash_table().unwrap().address;
            qemu.args(["-bios", text(&self.files.firmware), "-device"]);
            qemu.arg(format!("loader,file={},addr={address:#x},force-raw=on", text(table)));
        }
        if let Some(signer) = signer {
            qemu.args(["-device", "virtio-serial-pci", "-chardev"]);
            qemu.arg(format!("socket,id=tee,path={}", text(&signer.socket)));
            qemu.args(["-device", "virtserialport,chardev=tee,name=casemate.tee"]);
        }
        let mut process =
            Running(qemu.stdin(Stdio::null()).spawn().expect("qemu-system-x86_64 is installed"));
        let start = Instant::now();
        loop {
            let ended = process.0.try_wait().unwrap().is_some();
            let said = String::from_utf8_lossy(&std::fs::read(&serial).unwrap_or_default()).into_owned();
            let answered =
                said.lines().any(|line| line.contains("EVIDENCE ") || line.contains("NO EVIDENCE"))
                    && said.ends_with('\n');
            if ended || answered || start.elapsed() > limit {
                return said;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn firmware(&self) -> Firmware {
        Firmware::parse(&std::fs::read(&self.files.firmware).unwrap()).unwrap()
    }

    fn hashes(&self, kernel: &[u8]) -> KernelHashes {
        KernelHashes::of(kernel, &std::fs::read(&self.files.initrd).unwrap(), self.cmdline)
    }

    /// The table that the firmware checks: of the kernel that QEMU hands to a guest without SEV.
    fn hash_table(&self, change: impl FnOnce(&mut KernelHashes)) -> PathBuf {
        let initrd_bytes = std::fs::metadata(&self.files.initrd).unwrap().len() as u32;
        let kernel = std::fs::read(&self.files.kernel).unwrap();
        let mut hashes = self.hashes(&qemu_patched_kernel(&kernel, initrd_bytes, self.memory_mib).unwrap());
        change(&mut hashes);
        let path = self.files.initrd.with_extension("table");
        std::fs::write(&path, hashes.table().as_bytes()).unwrap();
        path
    }

    /// What hardware would report: of the kernel as it is.
    fn launch_digest(&self) -> casemate_evidence::Measurement {
        let launch = SnpLaunch {
            firmware: &self.firmware(),
            kernel: Kernel::Measured(self.hashes(&std::fs::read(&self.files.kernel).unwrap())),
            vcpus: 2,
            vcpu_signature: VcpuType::EPYC_V4.signature(),
            guest_features: GuestFeatures::SNP,
            vmm: Vmm::Qemu,
        };
        launch.digest().unwrap()
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `None`, said aloud, where the files are not at hand; a failure under `CI=true`.
fn boot_files() -> Option<PathBuf> {
    let folder = std::env::var_os("CASEMATE_BOOT_FILES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/boot-files"), PathBuf::from);
    if folder.join("OVMF.amdsev.fd").is_file() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no boot files at {}", folder.display());
    eprintln!(
        "NOT TESTED: no boot files at {}; run host/simtee/tests/fetch-boot-files.sh, or set CASEMATE_BOOT_FILES",
        folder.display()
    );
    None
}

/// The initrd for hardware, with a test in the place of the real init, and the simulation segment.
fn segments(boot: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut base = Archive::new();
    for directory in ["dev", "proc", "sys"] {
        base.directory(directory, 0o755).unwrap();
    }
    base.file(
        "casemate-init",
        0o755,
        build("casemate-attester", &["--example", "attest"], "examples/attest"),
    )
    .unwrap();
    base.symlink("init", "/casemate-init").unwrap();

    let mut simulation = Archive::new();
    let device = "casemate-simtee-device";
    simulation.file("init", 0o755, build(device, &["--bin", device], device)).unwrap();
    let module = ["cuse.ko.xz", "cuse.ko"].iter().map(|name| boot.join(name)).find(|path| path.is_file());
    let module = module.expect("the boot files hold a cuse module");
    let name = format!("sim/{}", module.file_name().unwrap().to_str().unwrap());
    simulation.file(&name, 0o644, std::fs::read(&module).unwrap()).unwrap();
    (base.to_bytes(), simulation.to_bytes())
}

/// Builds what runs in the guest: static, in the profile of the image.
fn build(package: &str, what: &[&str], file: &str) -> Vec<u8> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", "guest", "--target", TARGET, "--package", package])
        .args(what)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success(), "{package} builds");
    std::fs::read(target.join(TARGET).join("guest").join(file)).unwrap()
}

fn files(folder: &Path, name: &str, boot: &Path, initrd: &[u8]) -> Files {
    let path = folder.join(format!("{name}.initrd"));
    std::fs::write(&path, initrd).unwrap();
    Files { firmware: boot.join("OVMF.amdsev.fd"), kernel: boot.join("vmlinuz"), initrd: path }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes();
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.unwrap_or_else(|| panic!("not hexadecimal: {text}"))
}

/// Emulated boots take ten seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(180);
