//! Evidence of other origin than the vectors: what OVMF and Linux log in a guest with a software TPM, and what
//! that TPM quotes. Logs and list must replay to the quote, and say what was started.
//!
//! The guest runs programs of this machine. Needs boot files (`tests/fetch-boot-files.sh`), QEMU, `swtpm`,
//! `swtpm_setup` and tpm2-tools. Without them the test says so and passes, except in CI.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_crypto::hash::{HashAlgorithm, Sha384, sha256, sha384};
use casemate_evidence::eventlog::{Event, EventLog, EventType};
use casemate_evidence::ima::List;
use casemate_evidence::tpm::{Attest, PcrValues, Public, Signature, read_pcr_file};
use casemate_measure::kernel_hashes::{KernelHashes, qemu_patched_kernel};
use casemate_measure::ovmf::Firmware;
use casemate_measure::tdx::boot::{self, InitrdOption};
use casemate_rootfs::cpio::Archive;
use casemate_verify::eventlog::{GenuineLogError, Required, SecureBoot, SignedRegisters, authenticate_log};
use casemate_verify::ima::{GenuineListError, Start, authenticate_list};
use casemate_verify::tpm::{AttestationKey, GenuineQuote, QuoteError, authenticate_quote};
use support::text;

const MEMORY_MIB: u32 = 512;
/// With a root of type ramfs, since IMA's policy `tcb` leaves out tmpfs.
const CMDLINE: &str = "console=ttyS0 quiet loglevel=1 panic=-1 rootfstype=ramfs ima_policy=tcb";
const BOOTED: [u32; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 9];

#[test]
fn what_firmware_and_kernel_log_replays_to_what_the_tpm_quotes() {
    let Some(boot) = boot_files() else { return };
    let folder = tempfile::tempdir().unwrap();
    let initrd = initrd();
    let kernel = std::fs::read(boot.join("vmlinuz")).unwrap();
    let kernel = qemu_patched_kernel(&kernel, initrd.len() as u32, MEMORY_MIB).unwrap();
    let said = run(folder.path(), &boot, &kernel, &initrd);
    let file = |name: &str| -> Vec<u8> {
        let from =
            said.split_once(&format!("FILE {name}\n")).unwrap_or_else(|| panic!("no {name}: {said}")).1;
        let hex: String = from.lines().take_while(|line| line.starts_with(' ')).collect();
        hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };

    let quote = Quote {
        key: AttestationKey::enrolled(&Public::parse_sized(&file("ak.pub")).unwrap()).unwrap(),
        attest: Attest::parse(&file("quote.msg")).unwrap(),
        signature: Signature::parse(&file("quote.sig")).unwrap(),
        pcrs: read_pcr_file(&file("quote.pcrs")).unwrap(),
    };
    let genuine = quote.authenticate(&quote.pcrs).unwrap();
    assert_eq!(genuine.attest().extra_data, [0xCA, 0xFE]);
    let mut other = PcrValues::new();
    for (bank, index, value) in quote.pcrs.iter() {
        let mut bytes = value.as_bytes().to_vec();
        bytes[0] ^= u8::from(index == 4);
        other.insert(bank, index, &bytes).unwrap();
    }
    assert!(matches!(quote.authenticate(&other), Err(QuoteError::PcrDigest { .. })));

    check_event_log(&file("eventlog.bin"), genuine.pcrs(), &kernel, &initrd);
    check_list(&file("ima.bin"), genuine.pcrs());
}

struct Quote {
    key: AttestationKey,
    attest: Attest,
    signature: Signature,
    pcrs: PcrValues,
}

impl Quote {
    fn authenticate(&self, pcrs: &PcrValues) -> Result<GenuineQuote, QuoteError> {
        let provider = casemate_crypto::provider();
        authenticate_quote(self.attest.clone(), &self.signature, &self.key, pcrs, provider)
    }
}

/// Every register is explained, in both banks; the digests that TDX's registers are computed from are the
/// ones that OVMF and the kernel's stub measured.
fn check_event_log(bytes: &[u8], pcrs: &PcrValues, kernel: &[u8], initrd: &[u8]) {
    let log = EventLog::parse(bytes).unwrap();
    assert_eq!(log.banks().len(), 2, "SHA-256 and SHA-384");
    let signed = SignedRegisters::of_quote(pcrs);
    let judge = |log: &EventLog| authenticate_log(log.clone(), &signed, Required::Only(&BOOTED));
    let genuine = judge(&log).unwrap();
    assert_eq!(genuine.explained().collect::<Vec<_>>(), BOOTED);
    assert_eq!(genuine.unexplained().count(), 0);
    assert_ne!(genuine.secure_boot(), SecureBoot::On);

    let of_kind = |register, kind| -> Vec<Vec<u8>> {
        let events = genuine.events().iter();
        events.filter(|event| event.register == register && event.kind == kind).map(sha384_of).collect()
    };
    let started = of_kind(4, EventType::EFI_BOOT_SERVICES_APPLICATION);
    assert_eq!(started, [boot::kernel(kernel).unwrap().as_ref()], "Authenticode of the kernel");
    let by_the_stub = of_kind(9, EventType::EVENT_TAG);
    let [command_line, of_initrd] = &by_the_stub[..] else {
        panic!("two events of the stub: {by_the_stub:?}")
    };
    // Which of the two depends on the build of OVMF that was fetched.
    let forms = [InitrdOption::Behind, InitrdOption::InFront].map(|at| boot::load_options(CMDLINE, at));
    let fits = |form: &Sha384| form.as_bytes()[..] == command_line[..];
    assert!(forms.iter().any(fits), "command line: {command_line:02x?}");
    assert_eq!(of_initrd[..], sha384(initrd).as_bytes()[..], "initrd");

    for register in BOOTED {
        let index = log
            .events
            .iter()
            .rposition(|event| event.register == register && event.kind != EventType::NO_ACTION);
        let mut without = log.clone();
        without.events.remove(index.unwrap());
        // A register that no event extends any more is missing, another value a mismatch.
        let refused = judge(&without).unwrap_err();
        let named = match refused {
            GenuineLogError::Mismatch { register, .. } | GenuineLogError::Missing { register, .. } => {
                register
            }
            other => panic!("{other}"),
        };
        assert_eq!(named, register);
    }
}

fn sha384_of(event: &Event) -> Vec<u8> {
    /// TPM_ALG_SHA384 (TCG Algorithm Registry).
    const SHA384: u16 = 0x000C;
    event.digests.iter().find(|digest| digest.algorithm == SHA384).unwrap().bytes.clone()
}

/// The list is of this boot and names what ran, by the digests of the files that were put into the guest.
fn check_list(bytes: &[u8], pcrs: &PcrValues) {
    let list = List::parse_binary(bytes, HashAlgorithm::Sha1).unwrap();
    let judge = |list: &List| authenticate_list(list, Start::Boot, pcrs, HashAlgorithm::Sha256, 10);
    let genuine = judge(&list).unwrap();
    genuine.check_boot_aggregate(pcrs).unwrap();
    for (path, file) in
        [("/init", INIT.as_bytes().to_vec()), ("/bin/tpm2", std::fs::read(tool("tpm2")).unwrap())]
    {
        let entry = genuine.entries().iter().find(|entry| entry.name == path.as_bytes());
        let entry = entry.unwrap_or_else(|| panic!("{path} ran and is not in the list"));
        assert_eq!(entry.digest.bytes, sha256(&file).as_ref(), "{path}");
    }
    for index in 0..genuine.entries().len() {
        let mut without = list.clone();
        without.entries.remove(index);
        // Without the last entry that the quote covers, a shorter list is none of a later moment.
        assert!(matches!(judge(&without), Err(GenuineListError::Mismatch { .. })), "entry {index}");
    }
}

/// Boots the guest and returns what it wrote to its second serial port.
fn run(folder: &Path, boot: &Path, kernel: &[u8], initrd: &[u8]) -> String {
    let at = |name: &str| folder.join(name);
    std::fs::write(at("initrd"), initrd).unwrap();
    let firmware = boot.join("OVMF.amdsev.fd");
    let slot = Firmware::parse(&std::fs::read(&firmware).unwrap()).unwrap().require_hash_table().unwrap();
    std::fs::write(at("table"), KernelHashes::of(kernel, initrd, CMDLINE).table().as_bytes()).unwrap();
    let tpm = SoftwareTpm::start(&at("tpm"));

    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", &MEMORY_MIB.to_string()]);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.arg("-serial").arg(format!("file:{}", text(&at("console"))));
    qemu.arg("-serial").arg(format!("file:{}", text(&at("answer"))));
    qemu.args(["-kernel", text(&boot.join("vmlinuz")), "-initrd", text(&at("initrd")), "-append", CMDLINE]);
    qemu.args(["-bios", text(&firmware), "-device"]);
    qemu.arg(format!("loader,file={},addr={:#x},force-raw=on", text(&at("table")), slot.address));
    qemu.arg("-chardev").arg(format!("socket,id=tpm,path={}", text(&tpm.socket)));
    qemu.args(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"]);
    let mut qemu = Running(qemu.stdin(Stdio::null()).spawn().expect("QEMU starts"));
    let start = Instant::now();
    let read = |name: &str| {
        let bytes = std::fs::read(at(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    };
    loop {
        let said = read("answer");
        if said.contains("\nEND\n") {
            return said;
        }
        let ended = qemu.0.try_wait().unwrap().is_some();
        let late = start.elapsed() > LIMIT;
        assert!(!ended && !late, "the guest did not finish: {said}\nconsole: {}", read("console"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Emulated boots take ten seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(180);

struct SoftwareTpm {
    _process: Running,
    socket: PathBuf,
}

impl SoftwareTpm {
    fn start(state: &Path) -> Self {
        std::fs::create_dir(state).unwrap();
        let user = Command::new("id").arg("-un").output().expect("id runs");
        let user = String::from_utf8(user.stdout).unwrap();
        let made = Command::new("timeout")
            .args(["60", "swtpm_setup", "--tpm2", "--pcr-banks", "sha256,sha384", "--runas", user.trim()])
            .args(["--tpmstate", text(state)])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let socket = state.join("control");
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--terminate", "--tpmstate", &format!("dir={}", text(state))])
            .args(["--ctrl", &format!("type=unixio,path={}", text(&socket))])
            .stdin(Stdio::null())
            .spawn()
            .expect("swtpm starts");
        let start = Instant::now();
        while !socket.exists() {
            assert!(start.elapsed() < Duration::from_secs(20), "swtpm does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        SoftwareTpm { _process: Running(process), socket }
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

const INIT: &str = r#"#!/bin/sh
mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS0 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security
export TPM2TOOLS_TCTI=device:/dev/tpm0
cd /out
tpm2 createprimary -Q -C e -G ecc256:ecdsa-sha256:null -c ak.ctx \
  -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign'
tpm2 readpublic -Q -c ak.ctx -o ak.pub
tpm2 quote -Q -c ak.ctx -q cafe -m quote.msg -s quote.sig -o quote.pcrs \
  -l sha256:0,1,2,3,4,5,6,7,9,8,10+sha384:0,1,2,3,4,5,6,7,9
cat /sys/kernel/security/tpm0/binary_bios_measurements >eventlog.bin
cat /sys/kernel/security/ima/binary_runtime_measurements >ima.bin
for file in ak.pub quote.msg quote.sig quote.pcrs eventlog.bin ima.bin; do
  echo "FILE $file"
  od -An -v -tx1 "$file"
done >/dev/ttyS1
echo END >/dev/ttyS1
sleep 600
"#;

/// An init, and what it runs: programs of this machine with their libraries.
fn initrd() -> Vec<u8> {
    let mut archive = Archive::new();
    let mut folders = BTreeSet::new();
    let mut files = BTreeSet::new();
    for name in ["sh", "mount", "cat", "od", "sleep", "tpm2"] {
        let program = tool(name);
        let listed = Command::new("ldd").arg(&program).output().expect("ldd runs");
        let listed = String::from_utf8(listed.stdout).unwrap();
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
        files.extend(libraries.map(|path| (path.to_owned(), PathBuf::from(path))));
        files.insert((format!("/bin/{name}"), program));
    }
    // tpm2-tools open it when they run.
    let (_, beside) =
        files.iter().find(|(path, _)| path.contains("/libtss2-esys.so")).expect("tpm2 needs it");
    let device = beside.with_file_name("libtss2-tcti-device.so.0");
    files.insert((text(&device).to_owned(), device));
    for folder in ["dev", "proc", "sys", "out"] {
        folders.insert(folder.to_owned());
    }
    for (path, _) in &files {
        let above = Path::new(path.trim_start_matches('/')).ancestors().skip(1);
        folders.extend(above.map(text).filter(|path| !path.is_empty()).map(str::to_owned));
    }
    for folder in folders {
        archive.directory(&folder, 0o755).unwrap();
    }
    for (path, source) in files {
        let bytes = std::fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        archive.file(path.trim_start_matches('/'), 0o755, bytes).unwrap();
    }
    archive.file("init", 0o755, INIT.as_bytes().to_vec()).unwrap();
    archive.to_bytes()
}

/// Where a program of this machine lies.
fn tool(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is not installed"))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())?;
    found.canonicalize().ok()
}

/// `None`, said aloud, where something is missing; a failure under `CI=true`.
fn boot_files() -> Option<PathBuf> {
    let folder = std::env::var_os("CASEMATE_BOOT_FILES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/boot-files"), PathBuf::from);
    let mut missing: Vec<String> = ["qemu-system-x86_64", "swtpm", "swtpm_setup", "tpm2"]
        .into_iter()
        .filter(|name| find(name).is_none())
        .map(str::to_owned)
        .collect();
    if !folder.join("OVMF.amdsev.fd").is_file() {
        missing.push(format!("boot files at {}", folder.display()));
    }
    if missing.is_empty() {
        return Some(folder);
    }
    let missing = missing.join(", ");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "missing: {missing}");
    eprintln!(
        "NOT TESTED: missing are {missing}; install them, or run host/simtee/tests/fetch-boot-files.sh"
    );
    None
}
