//! How long until a guest runs, and until its app answers?
//!
//! The measured guest against the bare kernel (how much is ours of the way to init), and against the plain
//! guest (what a user pays for not having to trust the host). Where `casemate up` is measured, the page is
//! the verified app's. Under TCG everything that computes is some twenty times slower than on a processor.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use casemate_api::{launch::LaunchBundle, progress::Phase};
use casemate_tests::{
    boot::{Deployment, Host},
    hostile::HostileHost,
    machine::{Machine, NAME},
};
use casemate_workload::Manifest;
use serde_json::Value;

use crate::{
    guest::{Container, Files, Shape, busybox, free_port},
    sample::Pairs,
    table::{Row, Section, Unit},
};

/// The question.
pub const TITLE: &str = "How long until a guest runs?";

/// Boots every guest `rounds` times.
///
/// # Panics
/// If one does not come up.
pub fn measure(image: &Path, rounds: usize) -> Section {
    let files = Files::of(image);
    let mut rows = vec![direct(image, &files, rounds)];
    let mut not_measured = Vec::new();
    if busybox().is_file() {
        rows.extend(app(&files, rounds));
    } else {
        not_measured.push(format!("the app: no {}; run bench/guest/fetch-busybox.sh", busybox().display()));
    }
    let note = "examples/hello under TCG, TEE simulated; one boot at a time".to_owned();
    Section { title: TITLE, note, rows, not_measured }
}

/// To init without firmware: QEMU loads kernel and initrd itself, on both sides.
fn direct(image: &Path, files: &Files, rounds: usize) -> Row {
    let mut deployment = Deployment::new(image);
    let disk = deployment.blank_disk("data", DISK_BYTES);
    let ours = || {
        let boot = deployment.boot_to(&Phase::Booted, &disk, Host::default(), PATIENCE);
        let booted = boot.reached_ms(|phase| *phase == Phase::Booted);
        booted.unwrap_or_else(|| panic!("the guest does not boot: {boot:#?}")) as f64 / 1000.0
    };
    // As `Deployment` starts its guest.
    let shape = Shape { vcpus: 2, memory_mib: 1024 };
    let pairs = Pairs::new(rounds, ours, || files.boot_bare(shape));
    Row::new("boot to init, no firmware", Unit::Seconds, &pairs, "the same kernel, bare")
}

/// The app, from the command line to its page.
fn app(files: &Files, rounds: usize) -> Vec<Row> {
    let app = App::new();
    let first = app.up();
    let (shape, container) = app.shape_and_container();
    app.stop();

    let mut turns: Vec<Turn> = Vec::new();
    let (mut bare, mut plain) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut theirs = || {
            bare.push(files.boot_bare_measured(shape));
            plain.push(files.boot_plain(shape, &container));
        };
        if round % 2 == 1 {
            theirs();
        }
        turns.push(app.up());
        app.stop();
        if round % 2 == 0 {
            theirs();
        }
    }

    let of = |which: fn(&Turn) -> f64| turns.iter().map(which).collect::<Vec<f64>>();
    let row = |name: &str, ours, theirs: &[f64], against| {
        Row::new(name, Unit::Seconds, &Pairs::of(ours, theirs.to_vec()), against)
    };
    let mut rows = vec![
        row(
            "boot to init, measured firmware",
            of(|turn| turn.phases[0].1),
            &bare,
            "the same kernel and firmware, bare",
        ),
        row("QEMU's start to first page", of(|turn| turn.page), &plain, PLAIN),
        row("`casemate up` to first page, verified", of(|turn| turn.up), &plain, PLAIN),
    ];
    let made = "from the command; keys, policy, disks and volume are made on the way";
    rows.push(Row::alone("the first `casemate up`, once", Unit::Seconds, &[first.up], made));
    rows.push(Row::alone(
        BOOTED,
        Unit::Seconds,
        &of(|turn| turn.phases[0].1),
        "from QEMU's start, by the host's clock",
    ));
    for (index, (name, _)) in turns[0].phases.iter().enumerate().skip(1) {
        let seconds: Vec<f64> =
            turns.iter().map(|turn| turn.phases[index].1 - turn.phases[index - 1].1).collect();
        rows.push(Row::alone(format!("  {name}"), Unit::Seconds, &seconds, "after the line above"));
    }
    rows
}

const BOOTED: &str = "  booted";
const PLAIN: &str = "the same container and crun in a plain VM";

/// `examples/hello` on a machine of its own.
struct App {
    machine: Machine,
    folder: std::path::PathBuf,
    port: u16,
}

/// One boot of the app, in seconds.
struct Turn {
    /// From the command to the page.
    up: f64,
    /// From QEMU's start to the page.
    page: f64,
    /// From QEMU's start to each phase, in the order in which they were reached.
    phases: Vec<(String, f64)>,
}

impl App {
    fn new() -> Self {
        let machine = Machine::new();
        let folder = machine.example("hello");
        App { machine, folder, port: free_port() }
    }

    /// Makes the app the first time, and starts it again after that.
    fn up(&self) -> Turn {
        let publish = format!("web={}", self.port);
        let folder = self.folder.display().to_string();
        let began = Instant::now();
        self.machine
            .casemate(["--json", "up", folder.as_str(), "--name", NAME, "--publish", publish.as_str()])
            .success();
        first_page(self.port, began + PATIENCE).expect("the app is up");
        let (up, page_at_ms) = (began.elapsed().as_secs_f64(), now_ms());
        let vm = HostileHost::of(&self.machine).call("GET", &format!("/v1/vms/{}", self.id()), None);
        let started_at_ms = vm["started_at_ms"].as_f64().expect("it was started");
        let since = |at_ms: f64| (at_ms - started_at_ms) / 1000.0;
        let notices = vm["notices"].as_array().expect("a guest that is up has said something");
        let phases = notices.iter().map(|notice| {
            let name = notice["progress"]["phase"]["name"].as_str().expect("every phase has a name");
            let at_ms = notice["at_ms"].as_f64().expect("every notice has its time");
            (name.replace('_', " "), since(at_ms))
        });
        Turn { up, page: since(page_at_ms), phases: phases.collect() }
    }

    fn stop(&self) {
        self.machine.casemate(["stop", NAME]).success();
    }

    /// What the host was told to run, for the plain guest to run the same.
    fn shape_and_container(&self) -> (Shape, Container) {
        let host = HostileHost::of(&self.machine);
        let spec = host.spec(&self.id());
        let text = |value: &Value| value.as_str().expect("digests are text").to_owned();
        let launch = std::fs::read(host.blob(&text(&spec["launch"]))).expect("the host has the launch disk");
        let launch = LaunchBundle::from_disk(&launch).expect("the command line wrote it");
        let (manifest, _) = Manifest::parse(&launch.manifest).expect("the command line wrote it");
        let number = |name: &str| spec["shape"][name].as_u64().expect("a shape has numbers");
        let shape = Shape { vcpus: number("vcpus"), memory_mib: number("memory_mib") };
        // The blob goes when nobody needs it any more; the plain guest still does.
        let disk = self.machine.scratch().join("container.img");
        std::fs::copy(host.blob(&text(&spec["image_disks"][0]["blob"])), &disk)
            .expect("the host has the disk");
        let port =
            spec["network"]["ports"][0]["guest_port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let container = Container {
            disk,
            config: manifest.images[0].config.clone(),
            port: port.expect("one port is published"),
        };
        (shape, container)
    }

    fn id(&self) -> String {
        let vms = self.machine.casemate(["--json", "ps"]).success().json();
        vms[0]["id"].as_str().expect("the app runs").to_owned()
    }
}

/// Asks for a page until it comes.
///
/// Every question has little time: a connection that QEMU took before the guest could answer it is worth
/// nothing, and a new one is answered at once.
///
/// # Errors
/// What the last question met when `deadline` was over.
pub fn first_page(port: u16, deadline: Instant) -> io::Result<()> {
    loop {
        match page(port) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn page(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let found = text.starts_with("HTTP/1.") && text.lines().next().is_some_and(|line| line.contains(" 200 "));
    if found { Ok(()) } else { Err(io::Error::other(format!("{} bytes, no page", answer.len()))) }
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1000.0)
}

/// A boot under TCG takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);
const DISK_BYTES: u64 = 256 << 20;
