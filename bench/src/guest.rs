//! What would the same kernel do without us?
//!
//! Two guests to compare with. The bare one is the kernel with an init of two system calls. The plain one runs
//! the same container, from the same disks and with the same crun, in an ordinary VM: what a user would
//! build who trusts the host. Both run under the emulator that the measured guest gets.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use casemate_measure::{
    image::ImageDescription,
    kernel_hashes::{KernelHashes, qemu_patched_kernel},
};
use casemate_rootfs::cpio::Archive;
use casemate_tests::machine::workspace;
use casemate_workload::manifest::ImageConfig;
use serde_json::json;

use crate::boot::first_page;

/// A built image, and where the guests made from its files are kept.
pub struct Files {
    image: PathBuf,
    description: ImageDescription,
    scratch: tempfile::TempDir,
}

/// What runs in the plain guest.
pub struct Container {
    /// Its root filesystem, as the measured guest's disk.
    pub disk: PathBuf,
    /// What its image says.
    pub config: ImageConfig,
    /// The port that it listens on.
    pub port: u16,
}

/// Processors and memory of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Processors.
    pub vcpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Files {
    /// The files of `image`.
    ///
    /// # Panics
    /// If it is no image.
    pub fn of(image: &Path) -> Self {
        let text = fs::read_to_string(image.join("image.toml")).expect("image.toml can be read");
        let description = ImageDescription::parse(&text).expect("image.toml describes an image");
        Files {
            image: image.to_owned(),
            description,
            scratch: tempfile::tempdir().expect("a scratch folder"),
        }
    }

    /// Seconds from QEMU's start to the first line of the bare init, loaded as QEMU loads any kernel.
    ///
    /// # Panics
    /// If it does not come within a minute.
    pub fn boot_bare(&self, shape: Shape) -> f64 {
        self.until_line(self.qemu(shape, &self.bare_initrd()))
    }

    /// As [`Files::boot_bare`], through the firmware that checks kernel, initrd and command line.
    ///
    /// # Panics
    /// If it does not come within a minute.
    pub fn boot_bare_measured(&self, shape: Shape) -> f64 {
        let initrd = self.bare_initrd();
        let kernel = fs::read(self.kernel()).expect("the image has a kernel");
        let bytes = fs::read(&initrd).expect("it was just written");
        let length = u32::try_from(bytes.len()).expect("a small initrd");
        let memory_mib = u32::try_from(shape.memory_mib).expect("a small guest");
        let kernel = qemu_patched_kernel(&kernel, length, memory_mib).expect("a Linux kernel");
        let table = self.scratch.path().join("bare.table");
        let hashes = KernelHashes::of(&kernel, &bytes, &self.description.cmdline);
        fs::write(&table, hashes.table().as_bytes()).expect("scratch is writable");
        let slot = self.description.firmware.require_hash_table().expect("checked with the description");
        let mut qemu = self.qemu(shape, &initrd);
        qemu.arg("-bios").arg(self.image.join(&self.description.files.firmware.name));
        qemu.arg("-device").arg(format!(
            "loader,file={},addr={:#x},force-raw=on",
            table.display(),
            slot.address
        ));
        self.until_line(qemu)
    }

    /// Seconds from QEMU's start to the first page of `container` in the plain guest.
    ///
    /// # Panics
    /// If it does not come within two minutes; with what the guest printed.
    pub fn boot_plain(&self, shape: Shape, container: &Container) -> f64 {
        let port = free_port();
        let console = self.scratch.path().join("plain.console");
        let mut qemu = self.qemu(shape, &self.plain_initrd(container));
        qemu.args(["-serial", &format!("file:{}", console.display())]);
        for (name, path) in
            [("root", &self.image.join(&self.description.files.root.name)), ("container", &container.disk)]
        {
            let drive = format!("file={},if=none,format=raw,id={name},readonly=on", path.display());
            qemu.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={name}")]);
        }
        let forward = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{}", container.port);
        qemu.args(["-netdev", &forward, "-device", "virtio-net-pci,netdev=net,romfile="]);
        let began = Instant::now();
        let guest = Running(qemu.spawn().expect("qemu-system-x86_64 is installed"));
        let page = first_page(port, began + PATIENCE);
        let seconds = began.elapsed().as_secs_f64();
        drop(guest);
        let said = || String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        page.unwrap_or_else(|error| panic!("the plain guest serves no page: {error}\n{}", said()));
        seconds
    }

    /// The machine that both guests have in common.
    fn qemu(&self, shape: Shape, initrd: &Path) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "q35,vmport=off,accel=tcg", "-cpu", "max"])
            .args(["-smp", &shape.vcpus.to_string(), "-m", &shape.memory_mib.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(self.kernel())
            .arg("-initrd")
            .arg(initrd)
            // Words that the kernel does not know go to init, which does not read them either.
            .args(["-append", &self.description.cmdline])
            .stdin(Stdio::null());
        qemu
    }

    fn until_line(&self, mut qemu: Command) -> f64 {
        qemu.args(["-serial", "stdio"]).stdout(Stdio::piped());
        let began = Instant::now();
        let mut guest = Running(qemu.spawn().expect("qemu-system-x86_64 is installed"));
        let console = BufReader::new(guest.0.stdout.take().expect("it is piped"));
        let (sender, line) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut lines = console.split(b'\n').map_while(Result::ok);
            if lines.any(|line| String::from_utf8_lossy(&line).contains(BARE_LINE)) {
                let _ = sender.send(began.elapsed());
            }
        });
        let reached = line.recv_timeout(PATIENCE);
        drop(guest);
        let _ = reader.join();
        reached.expect("the bare init prints its line").as_secs_f64()
    }

    fn bare_initrd(&self) -> PathBuf {
        let path = self.scratch.path().join("bare.initrd");
        if !path.exists() {
            let program = self.scratch.path().join("bare");
            let source = workspace().join("bench/guest/bare.c");
            let compiled = Command::new("cc")
                .args(["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-O2", "-o"])
                .args([&program, &source])
                .status();
            assert!(compiled.is_ok_and(|status| status.success()), "cc compiles {}", source.display());
            let mut archive = Archive::new();
            archive.file("init", 0o755, fs::read(&program).expect("cc wrote it")).expect("a plain name");
            fs::write(&path, archive.to_bytes()).expect("scratch is writable");
        }
        path
    }

    /// The image's own initrd, whose modules are needed, and behind it what replaces its init.
    fn plain_initrd(&self, container: &Container) -> PathBuf {
        let path = self.scratch.path().join("plain.initrd");
        let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut bytes = read(&self.image.join(&self.description.files.initrd.name));
        let mut archive = Archive::new();
        let files = [
            ("init", 0o755, read(&workspace().join("bench/guest/plain.sh"))),
            ("bin/busybox", 0o755, read(&busybox())),
            ("config.json", 0o644, config(&container.config).to_string().into_bytes()),
        ];
        for (name, mode, content) in files {
            archive.file(name, mode, content).expect("plain names");
        }
        bytes.extend(archive.to_bytes());
        fs::write(&path, bytes).expect("scratch is writable");
        path
    }

    fn kernel(&self) -> PathBuf {
        self.image.join(&self.description.files.kernel.name)
    }
}

/// Debian's static busybox, which `guest/fetch-busybox.sh` fetches.
pub fn busybox() -> PathBuf {
    workspace().join("target/bench/busybox")
}

/// A port of loopback that nobody listens on.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// What crun needs to run the container as its image says, in the guest's own network.
fn config(image: &ImageConfig) -> serde_json::Value {
    let arguments: Vec<&String> = image.entrypoint.iter().chain(&image.cmd).collect();
    let mut user = image.user.split(':').map(|id| id.parse::<u32>().unwrap_or(0));
    let (uid, gid) = (user.next().unwrap_or(0), user.next().unwrap_or(0));
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "/mnt", "readonly": true },
        "process": {
            "user": { "uid": uid, "gid": gid },
            "args": arguments,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
        ],
        "linux": { "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }] },
    })
}

const BARE_LINE: &str = "BARE INIT RUNS";
const PATIENCE: Duration = Duration::from_secs(120);

/// A guest that ends with whoever waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
