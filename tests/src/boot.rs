//! One guest, one seat and one simulated chip, with this test as the host between them.
//!
//! The seat (`casemate-kms`) and the chip (`casemate-simtee`) are the real programs, the guest is the
//! built image under QEMU. The test is the relay: it may read, count and withhold what passes, as any
//! host may.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::{
        fs::FileExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use casemate_api::{
    launch::LaunchBundle,
    progress::{FailureCode, Phase, Progress},
};
use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::{
    hash::{Sha256, sha256},
    sign::SigningKey,
};
use casemate_measure::image::ImageDescription;
use casemate_record::{
    Authority, AuthorityRecord, Genesis, InstanceId, InstanceRecord, PolicyDigest, RosterChain, Salt, Signed,
    Submission, SubmissionRequest, UpgradeRule,
};
use casemate_transport::{Destination, FailureCode as CallFailure, Handler, Limits, Link, Peer};
use casemate_workload::manifest::{Image, ImageConfig, Inputs, Manifest, Substitutions};
use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::machine;

/// A deployed app: its seat runs, its launch disk is written, its chip is ready for any number of boots.
pub struct Deployment {
    folder: tempfile::TempDir,
    image: PathBuf,
    description: ImageDescription,
    host_data: String,
    /// vCPUs that the chip measures.
    measured_vcpus: u32,
    children: Vec<Process>,
}

/// What a boot came to.
#[derive(Debug)]
pub struct Boot {
    /// Every notice, with the milliseconds since QEMU was started.
    pub notices: Vec<(u64, Progress)>,
    /// Whether the machine went off by itself.
    pub powered_off: bool,
    /// The console.
    pub console: String,
}

impl Boot {
    /// The phases reached, in order.
    pub fn phases(&self) -> Vec<&Phase> {
        self.notices.iter().map(|(_, notice)| &notice.phase).collect()
    }

    /// Milliseconds from QEMU's start to a phase.
    pub fn reached_ms(&self, wanted: impl Fn(&Phase) -> bool) -> Option<u64> {
        self.notices.iter().find(|(_, notice)| wanted(&notice.phase)).map(|(at, _)| *at)
    }

    /// The failure that ended it.
    pub fn failure(&self) -> Option<(FailureCode, &str)> {
        self.notices.iter().find_map(|(_, notice)| match &notice.phase {
            Phase::Failed { code, message } => Some((*code, message.as_str())),
            _ => None,
        })
    }
}

/// What the host does to a boot.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// Answers of seats to this many first calls are passed on; later calls go nowhere.
    pub calls_passed: Option<usize>,
}

/// The built image to test, from `CASEMATE_IMAGE`; says so and returns nothing where there is none.
///
/// # Panics
/// In CI, where the image must be there.
pub fn image() -> Option<PathBuf> {
    let image = std::env::var_os("CASEMATE_IMAGE").map(PathBuf::from);
    if image.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CASEMATE_IMAGE must name a built image in CI");
        eprintln!("not tested: CASEMATE_IMAGE does not name the folder of a built image");
    }
    image
}

impl Deployment {
    /// Deploys an app with one volume on `image`: owner, seat, records and launch disk.
    pub fn new(image: &Path) -> Self {
        Self::inside(&std::env::temp_dir(), image)
    }

    /// As [`Deployment::new`], with everything that it keeps in a new folder inside `parent`.
    pub fn inside(parent: &Path, image: &Path) -> Self {
        let folder = tempfile::tempdir_in(parent).expect("a scratch folder");
        let path = |name: &str| folder.path().join(name);
        let description =
            ImageDescription::parse(&fs::read_to_string(image.join("image.toml")).expect("image.toml"))
                .unwrap();
        run(program("casemate-simtee").args(["root", "create", "--state"]).arg(path("chip")));
        let root =
            run(program("casemate-simtee").args(["root", "show", "--json", "--state"]).arg(path("chip")));
        let root: serde_json::Value = serde_json::from_str(&root).expect("JSON");
        let root: Sha256 = root["key_digest"].as_str().expect("a digest").parse().unwrap();

        // The measurement does not depend on HOST_DATA; the chip tells it before anything is launched.
        let mut deployment = Deployment {
            image: image.to_owned(),
            description,
            host_data: "00".repeat(32),
            measured_vcpus: 2,
            children: Vec::new(),
            folder,
        };
        let measurement = deployment.start_chip("probe").1;
        let policy = casemate_verify::Policy::example(&[root])
            .replace("measurements = \"expected\"", &format!("measurements = [\"{measurement}\"]"));
        deployment.start_seat(&policy);
        deployment.deploy(&policy);
        deployment.children.clear_named("chip-probe");
        deployment
    }

    /// From now on the launch has another shape, so that the chip measures it differently.
    pub fn measure_vcpus(&mut self, vcpus: u32) {
        self.measured_vcpus = vcpus;
    }

    /// A file of the deployment.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new data disk of `size_bytes` with one partition, named `data`.
    pub fn blank_disk(&self, name: &str, size_bytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).and_then(|file| file.set_len(size_bytes)).expect("a disk");
        write_partition_table(&path, size_bytes / SECTOR_BYTES);
        path
    }

    /// Boots with `disk` as the data disk until the agent runs, init gives up, or `limit` has passed.
    pub fn boot(&mut self, disk: &Path, host: Host, limit: Duration) -> Boot {
        self.boot_to(&Phase::Switched, disk, host, limit)
    }

    /// As [`Deployment::boot`], until `last` is reached.
    pub fn boot_to(&mut self, last: &Phase, disk: &Path, host: Host, limit: Duration) -> Boot {
        let _ = fs::remove_file(self.path("relay"));
        let listener = UnixListener::bind(self.path("relay")).expect("a socket");
        let (chip, _) = self.start_chip("boot");
        let (sender, notices) = channel();
        let started = Instant::now();
        let mut qemu = self.start_guest(disk, &chip);
        let (stream, _) = listener.accept().expect("QEMU connects");
        let relay = Relay {
            started,
            seat: self.path("seat.sock"),
            left: std::sync::Mutex::new(host.calls_passed),
            notices: std::sync::Mutex::new(sender),
            ended: AtomicBool::new(false),
        };
        let relay = Arc::new(relay);
        let peer = Peer::start(Link::stream(stream), Limits::default(), relay.clone()).expect("a relay");
        let boot = collect(&notices, last, started, limit, &mut qemu, &self.path("console"));
        drop(peer);
        let _ = qemu.0.kill();
        let _ = qemu.0.wait();
        self.children.clear_named("chip-boot");
        boot
    }

    fn start_guest(&self, disk: &Path, chip: &Path) -> Process {
        let file = |name: &str| self.image.join(name).display().to_string();
        let files = &self.description.files;
        let initrd = &files.simulated_initrd.as_ref().expect("a simulated initrd").name;
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "1024", "-nodefaults"])
            .args(["-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-serial", &format!("file:{}", self.path("console").display())])
            .args(["-kernel", &file(&files.kernel.name), "-initrd", &file(initrd)])
            .args(["-append", &self.description.cmdline]);
        let disks = [
            ("root", self.image.join(&files.root.name), "on"),
            ("launch", self.path("launch"), "on"),
            ("data", disk.to_owned(), "off"),
        ];
        for (name, path, read_only) in disks {
            let drive = format!("file={},if=none,format=raw,id={name},readonly={read_only}", path.display());
            qemu.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={name},serial={name}")]);
        }
        qemu.args(["-device", "virtio-serial-pci"]);
        for (name, path) in [("relay", self.path("relay")), ("tee", chip.to_owned())] {
            qemu.args(["-chardev", &format!("socket,id={name},path={}", path.display())]);
            qemu.args(["-device", &format!("virtserialport,chardev={name},name=casemate.{name}")]);
        }
        Process(qemu.spawn().expect("QEMU"), "guest".into())
    }

    /// Starts the chip; returns its socket and the launch measurement. Its certificates lie in `chip/public`.
    pub fn start_chip(&mut self, name: &str) -> (PathBuf, String) {
        let socket = self.path(&format!("chip-{name}.sock"));
        let _ = fs::remove_file(&socket);
        let files = &self.description.files;
        let initrd = &files.simulated_initrd.as_ref().expect("a simulated initrd").name;
        let mut child = program("casemate-simtee")
            .arg("serve")
            .arg("--state")
            .arg(self.path("chip"))
            .arg("--socket")
            .arg(&socket)
            .arg("--firmware")
            .arg(self.image.join(&files.firmware.name))
            .arg("--kernel")
            .arg(self.image.join(&files.kernel.name))
            .arg("--initrd")
            .arg(self.image.join(initrd))
            .args(["--cmdline", &self.description.cmdline, "--host-data", &self.host_data])
            .args(["--vcpus", &self.measured_vcpus.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("casemate-simtee");
        let ready = first_line(child.stdout.take().expect("piped"));
        self.children.push(Process(child, format!("chip-{name}")));
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        (socket, ready["measurement"].as_str().expect("a measurement").to_owned())
    }

    fn start_seat(&mut self, policy: &str) {
        fs::write(self.path("policy.toml"), policy).expect("a policy");
        let state = self.path("seat");
        run(program("casemate-kms")
            .args(["init", "--state"])
            .arg(&state)
            .arg("--floor-policy")
            .arg(self.path("policy.toml")));
        let socket = format!("unix:{}", self.path("seat.sock").display());
        let child = program("casemate-kms")
            .args(["serve", "--accept-simulated", "--listen", &socket, "--state"])
            .arg(&state)
            .spawn()
            .expect("casemate-kms");
        self.children.push(Process(child, "seat".into()));
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(self.path("seat.sock")).is_err() {
            assert!(Instant::now() < deadline, "casemate-kms does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn deploy(&mut self, policy: &str) {
        let seat = self.path("seat.sock");
        let (status, chain) = http(&seat, "GET", "/v1/roster", b"").expect("the seat answers");
        assert_eq!(status, 200);
        let kms_id = RosterChain::from_bytes(&chain).expect("a roster chain").genesis.kms_id();
        let owner = SigningKey::generate(&mut UnwrapErr(SysRng));
        let genesis = Genesis {
            owner: owner.public(),
            authority: Authority::Local,
            upgrade_rule: UpgradeRule::Owner,
            salt: Salt::from([7; 32]),
        };
        let app_id = genesis.app_id();
        let image = Image {
            service: "web".into(),
            reference: "oci:images/web".into(),
            oci_digest: Sha256::from([1; 32]),
            root_hash: Sha256::from([2; 32]),
            data_blocks: 100,
            config: ImageConfig { cmd: vec!["/run".into()], ..ImageConfig::default() },
        };
        let compose =
            "services:\n  web:\n    image: oci:images/web\n    volumes: ['data:/data']\nvolumes: {data: }\n";
        let manifest = Manifest::new(Inputs {
            name: "boot".into(),
            compose: compose.into(),
            substitutions: Substitutions::default(),
            images: vec![image],
            files: vec![],
            app_id,
            kms_id,
            threshold: 1,
        });
        let manifest = manifest.expect("a manifest").0;
        let policy_digest = PolicyDigest::from(*sha256(policy.as_bytes()).as_bytes());
        let workload_digest = manifest.digest();
        let authority =
            Signed::sign(&owner, &AuthorityRecord { app_id, number: 1, workload_digest, policy_digest });
        let instance =
            Signed::sign(&owner, &InstanceRecord { app_id, instance: InstanceId::from([9; 16]), number: 1 });
        let policy = policy.as_bytes().to_vec().into();
        for submission in [
            Submission::Authority { genesis, record: authority, policy },
            Submission::Instance(instance.clone()),
        ] {
            let request = SubmissionRequest { nonce: [1; 32].into(), submission };
            let (status, answer) =
                http(&seat, "POST", "/v1/records", &request.to_bytes()).expect("an answer");
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        }
        self.host_data = workload_digest.to_string();
        let launch = LaunchBundle {
            manifest: manifest.to_bytes(),
            genesis: to_cbor(&genesis),
            roster_chain: chain,
            instance_record: instance.to_bytes(),
            files: vec![],
        };
        fs::write(self.path("launch"), launch.to_disk()).expect("a launch disk");
    }
}

/// Changes one byte of a disk.
pub fn flip_byte(disk: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(disk).expect("a disk");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1], offset).expect("a byte");
}

/// A GPT (UEFI 2.10, 5.3) with one partition named `data`, from the first MiB to the last.
fn write_partition_table(disk: &Path, sectors: u64) {
    // Whole MiB, so that every sector size of LUKS2 fits.
    let (first, last) = (2048_u64, sectors - 2048 - 1);
    let mut entries = vec![0; 128 * 128];
    entries[..16].copy_from_slice(&[
        0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
    ]);
    entries[16..32].fill(7);
    entries[32..40].copy_from_slice(&first.to_le_bytes());
    entries[40..48].copy_from_slice(&last.to_le_bytes());
    for (place, unit) in "data".encode_utf16().enumerate() {
        entries[56 + 2 * place..][..2].copy_from_slice(&unit.to_le_bytes());
    }
    let header = |own: u64, other: u64, table: u64| {
        let mut header = b"EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
        for value in [own, other, 34, sectors - 34] {
            header.extend_from_slice(&value.to_le_bytes());
        }
        header.extend_from_slice(&[9; 16]);
        header.extend_from_slice(&table.to_le_bytes());
        for value in [128, 128, crc32(&entries)] {
            header.extend_from_slice(&value.to_le_bytes());
        }
        let checksum = crc32(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    };
    let mut protective = vec![0; 512];
    protective[446..462]
        .copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    protective[510..].copy_from_slice(&[0x55, 0xaa]);
    let file = File::options().write(true).open(disk).expect("a disk");
    let backup = sectors - 1;
    for (sector, bytes) in [
        (0, &protective),
        (1, &header(1, backup, 2)),
        (2, &entries),
        (sectors - 33, &entries),
        (backup, &header(backup, 1, sectors - 33)),
    ] {
        file.write_all_at(bytes, sector * SECTOR_BYTES).expect("a partition table");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

const SECTOR_BYTES: u64 = 512;

struct Relay {
    started: Instant,
    seat: PathBuf,
    left: std::sync::Mutex<Option<usize>>,
    notices: std::sync::Mutex<Sender<(u64, Progress)>>,
    ended: AtomicBool,
}

impl Handler for Relay {
    fn call(&self, to: Destination, body: Vec<u8>) -> Result<Vec<u8>, CallFailure> {
        let Destination::Seat(_) = to else { return Err(CallFailure::UnknownDestination) };
        if let Some(left) = self.left.lock().expect("no panic holds it").as_mut() {
            *left = left.checked_sub(1).ok_or(CallFailure::Unreachable)?;
        }
        match http(&self.seat, "POST", "/v1/guest", &body) {
            Ok((200, answer)) => Ok(answer),
            Ok(_) => Err(CallFailure::Refused),
            Err(_) => Err(CallFailure::Unreachable),
        }
    }

    fn notice(&self, body: Vec<u8>) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Ok(notice) = from_cbor(&body, Progress::MAXIMUM_BYTES) {
            if self.notices.lock().expect("no panic holds it").send((at, notice)).is_err() {
                self.ended.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn collect(
    notices: &Receiver<(u64, Progress)>,
    last: &Phase,
    started: Instant,
    limit: Duration,
    qemu: &mut Process,
    console: &Path,
) -> Boot {
    let mut boot = Boot { notices: Vec::new(), powered_off: false, console: String::new() };
    while started.elapsed() < limit && !boot.powered_off {
        if let Ok(notice) = notices.recv_timeout(Duration::from_millis(100)) {
            let reached = notice.1.phase == *last;
            boot.notices.push(notice);
            if reached {
                break;
            }
        }
        boot.powered_off = matches!(qemu.0.try_wait(), Ok(Some(_)));
    }
    boot.notices.extend(notices.try_iter());
    boot.console =
        fs::read(console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    boot
}

/// A child that ends with its test.
struct Process(Child, String);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

trait ClearNamed {
    fn clear_named(&mut self, name: &str);
}

impl ClearNamed for Vec<Process> {
    fn clear_named(&mut self, name: &str) {
        self.retain(|process| process.1 != name);
    }
}

fn program(name: &str) -> Command {
    Command::new(machine::program(name))
}

fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn first_line(mut output: impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while output.read(&mut byte).is_ok_and(|count| count == 1) && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
}

/// One HTTP/1.1 exchange over a Unix socket: status and body.
///
/// # Errors
/// If nobody listens or answers.
pub fn http(socket: &Path, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: seat\r\nconnection: close\r\ncontent-type: application/cbor\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len().saturating_sub(4));
    let status = std::str::from_utf8(&answer[..end]).ok().and_then(|head| head.get(9..12)?.parse().ok());
    Ok((status.unwrap_or(0), answer.split_off(end + 4)))
}
