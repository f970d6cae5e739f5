//! One guest, one seat and one simulated chip, with this test as the host between them.
//!
//! The seat (`casemate-kms`) and the chip (`casemate-simtee`) are the real programs, the guest is the
//! built image under QEMU. The test is the relay: it may read, count and withhold what passes, as any
//! host may.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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

use crate::{
    http,
    keys::VolumeOwner,
    partition,
    processes::{self, program},
    seat_process::SeatProcess,
};

/// A deployed app: its seat runs, its launch disk is written, its chip is ready for any number of boots.
pub struct Deployment {
    folder: tempfile::TempDir,
    image: PathBuf,
    description: ImageDescription,
    host_data: String,
    /// vCPUs that the chip measures.
    measured_vcpus: u32,
    children: Vec<Process>,
    seat: Arc<SeatProcess>,
    /// Who owns the app.
    pub owner: SigningKey,
    volume: Option<VolumeOwner>,
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
    /// Somebody is killed at one of the calls.
    pub kill: Option<Kill>,
}

/// Who is killed, and when. A boot makes four calls: challenge, release, prepare, commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Who.
    pub victim: Victim,
    /// At which call, from 1.
    pub call: usize,
    /// On which side of the seat's decision.
    pub when: When,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The seat, which is started again at once.
    Seat,
    /// QEMU.
    Guest,
}

/// On which side of the seat's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The seat has not heard the call.
    Before,
    /// The seat has decided and written it down; the guest has not heard it.
    After,
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
        run(Command::new(program("casemate-simtee")).args(["root", "create", "--state"]).arg(path("chip")));
        let root = run(Command::new(program("casemate-simtee"))
            .args(["root", "show", "--json", "--state"])
            .arg(path("chip")));
        let root: serde_json::Value = serde_json::from_str(&root).expect("JSON");
        let root: Sha256 = root["key_digest"].as_str().expect("a digest").parse().unwrap();

        // The measurement does not depend on HOST_DATA; the chip tells it before anything is launched.
        let seat =
            SeatProcess::new(path("seat"), path("seat.sock"), path("seat.log"), &["--accept-simulated"]);
        let mut deployment = Deployment {
            image: image.to_owned(),
            description,
            host_data: "00".repeat(32),
            measured_vcpus: 2,
            children: Vec::new(),
            seat: Arc::new(seat),
            owner: SigningKey::generate(&mut UnwrapErr(SysRng)),
            volume: None,
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

    /// The seat.
    pub fn seat(&self) -> &SeatProcess {
        &self.seat
    }

    /// Whose volume it is.
    pub fn volume(&self) -> VolumeOwner {
        self.volume.expect("it was deployed")
    }

    /// Sends the seat a record.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn submit(&self, submission: Submission) {
        let request = SubmissionRequest { nonce: [1; 32].into(), submission }.to_bytes();
        let answer = http::exchange(&self.seat.socket, "POST", "/v1/records", http::CBOR, &request)
            .expect("the seat answers");
        assert!(answer.is_success(), "{}", answer.text());
    }

    /// A new data disk of `size_bytes` with one partition, named `data`.
    pub fn blank_disk(&self, name: &str, size_bytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).and_then(|file| file.set_len(size_bytes)).expect("a disk");
        partition::write(&path, size_bytes);
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
            seat: self.seat.clone(),
            guest: i32::try_from(qemu.0.id()).expect("process ids are small"),
            host,
            calls: AtomicUsize::new(0),
            notices: Mutex::new(sender),
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
        let mut child = Command::new(program("casemate-simtee"))
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
        run(Command::new(program("casemate-kms"))
            .args(["init", "--state"])
            .arg(&self.seat.state)
            .arg("--floor-policy")
            .arg(self.path("policy.toml")));
        self.seat.start();
    }

    fn deploy(&mut self, policy: &str) {
        let roster =
            http::exchange(&self.seat.socket, "GET", "/v1/roster", "", b"").expect("the seat answers");
        assert_eq!(roster.status, 200);
        let chain = roster.body;
        let kms_id = RosterChain::from_bytes(&chain).expect("a roster chain").genesis.kms_id();
        let owner = &self.owner;
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
            Signed::sign(owner, &AuthorityRecord { app_id, number: 1, workload_digest, policy_digest });
        let instance_id = InstanceId::from([9; 16]);
        let instance = Signed::sign(owner, &InstanceRecord { app_id, instance: instance_id, number: 1 });
        self.volume = Some(VolumeOwner { app_id, instance: instance_id, workload_digest });
        let policy = policy.as_bytes().to_vec().into();
        for record in [
            Submission::Authority { genesis, record: authority, policy },
            Submission::Instance(instance.clone()),
        ] {
            self.submit(record);
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

struct Relay {
    started: Instant,
    seat: Arc<SeatProcess>,
    guest: i32,
    host: Host,
    calls: AtomicUsize,
    notices: Mutex<Sender<(u64, Progress)>>,
    ended: AtomicBool,
}

impl Relay {
    /// Kills whoever is to be killed now; whether it did.
    fn kill_at(&self, call: usize, when: When) -> bool {
        let Some(kill) = self.host.kill.filter(|kill| kill.call == call && kill.when == when) else {
            return false;
        };
        match kill.victim {
            Victim::Seat => self.seat.restart(),
            Victim::Guest => processes::kill(self.guest),
        }
        true
    }
}

impl Handler for Relay {
    fn call(&self, to: Destination, body: Vec<u8>) -> Result<Vec<u8>, CallFailure> {
        let Destination::Seat(_) = to else { return Err(CallFailure::UnknownDestination) };
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.host.calls_passed.is_some_and(|passed| call > passed) {
            return Err(CallFailure::Unreachable);
        }
        self.kill_at(call, When::Before);
        let answer = http::exchange(&self.seat.socket, "POST", "/v1/guest", http::CBOR, &body);
        if self.kill_at(call, When::After) {
            return Err(CallFailure::Unreachable);
        }
        match answer {
            Ok(answer) if answer.status == 200 => Ok(answer.body),
            Ok(_) => Err(CallFailure::Refused),
            Err(_) => Err(CallFailure::Unreachable),
        }
    }

    fn notice(&self, body: Vec<u8>) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Ok(notice) = from_cbor(&body, Progress::MAXIMUM_BYTES)
            && self.notices.lock().expect("no panic holds it").send((at, notice)).is_err()
        {
            self.ended.store(true, Ordering::Relaxed);
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
