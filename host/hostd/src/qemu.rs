//! With which command line does QEMU run this VM?
//!
//! Pure: typed options in, arguments out. Paths are relative to the VM's folder where they name
//! sockets and logs, for socket paths are short. `docs/how-to/run-a-host.md` says which parts were
//! run on hardware.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use casemate_api::host::{NetworkKind, Platform};
use casemate_measure::shape::{Machine, Shape};
use casemate_record::WorkloadDigest;

use crate::error::{Blame, Explain};
use crate::image::BootFiles;
use crate::network::tap::plan::TAP;

/// Why there is no command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuError {
    /// A path that QEMU could not be told.
    #[error("path {} is not UTF-8", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// The shape is beyond what a host gives.
    #[error("{vcpus} vCPUs and {memory_mib} MiB; 1 to 255 and at least 128 are possible")]
    Shape {
        /// Processors asked for.
        vcpus: u32,
        /// Memory asked for.
        memory_mib: u32,
    },
}

impl Explain for QemuError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Self::Path { .. } => ("path", Blame::Request, "rename the folder"),
            Self::Shape { .. } => ("shape", Blame::Request, "ask for another number of vCPUs or more memory"),
        }
    }
}

/// Names of files in a VM's folder.
pub mod file {
    /// QEMU's control socket.
    pub const QMP: &str = "qmp.sock";
    /// The guest's wire; QEMU listens.
    pub const NETWORK: &str = "net.sock";
    /// Rules of a tap network on the host, as nft reads them.
    pub const HOST_RULES: &str = "net.nft";
    /// What the uplink itself says.
    pub const NETWORK_LOG: &str = "net.log";
    /// The relay's socket; QEMU listens.
    pub const RELAY: &str = "relay.sock";
    /// The simulated TEE's socket; simtee listens.
    pub const TEE: &str = "tee.sock";
    /// What the guest writes to its serial port.
    pub const CONSOLE: &str = "console.log";
    /// What QEMU itself says.
    pub const QEMU_LOG: &str = "qemu.log";
    /// What simtee itself says.
    pub const TEE_LOG: &str = "tee.log";
    /// The table by which the firmware checks the kernel.
    pub const HASHES: &str = "hashes.bin";
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, through `/dev/kvm`.
    Kvm,
    /// QEMU's translator: everywhere, slower.
    Tcg,
}

/// A disk of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The file, raw.
    pub path: PathBuf,
    /// By which the guest finds it; at most 20 characters.
    pub serial: String,
    /// Whether the guest may write.
    pub writable: bool,
}

/// As whom QEMU goes on when it has opened everything and begins to run the guest. It owns no file: a guest that
/// broke out of it has the descriptors that it opened, and nothing else of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Number of the user and of its only group; no other process has it.
    pub id: u32,
    /// Whether this QEMU, as all since 9.1, takes it by `-run-with`.
    pub takes_run_with: bool,
}

/// Everything about one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Id of the VM.
    pub id: String,
    /// Folder of the VM: absolute; by it the process is found again.
    pub folder: PathBuf,
    /// Which machinery measures it.
    pub platform: Platform,
    /// What runs it; confidential guests always take KVM.
    pub accelerator: Accelerator,
    /// Processors, memory, machine.
    pub shape: Shape,
    /// What boots.
    pub boot: BootFiles,
    /// Where the firmware of an ordinary VM expects the hash table.
    pub hash_table_address: u32,
    /// For HOST_DATA or MRCONFIGID.
    pub workload_digest: WorkloadDigest,
    /// In the order of their bus addresses.
    pub disks: Vec<Disk>,
    /// What carries its packets; with taps, QEMU runs in the VM's network namespace.
    pub network: NetworkKind,
    /// For a daemon that is root.
    pub user: Option<User>,
}

/// QEMU's arguments for `launch`.
///
/// # Errors
/// [`QemuError::Path`], [`QemuError::Shape`].
pub fn arguments(launch: &Launch) -> Result<Vec<String>, QemuError> {
    let Shape { vcpus, memory_mib, .. } = launch.shape;
    if !(1..=255).contains(&vcpus) || memory_mib < 128 {
        return Err(QemuError::Shape { vcpus, memory_mib });
    }
    let mut line = Line::default();
    line.option("-name", format!("casemate-{},process=casemate-{}", launch.id, launch.id));
    machine(&mut line, launch, file::CONSOLE)?;
    line.option("-qmp", format!("unix:{},server=on,wait=off", escaped(&launch.folder.join(file::QMP))?));
    disks(&mut line, launch)?;
    ports(&mut line, launch);
    network(&mut line, launch);
    Ok(line.arguments)
}

/// QEMU's arguments for a trial of `launch`: the same machine, firmware and kernel, and nothing that it
/// could change or talk to but a serial port, whose words go to the file `console`.
///
/// # Errors
/// [`QemuError::Path`].
pub fn trial_arguments(launch: &Launch, console: &Path) -> Result<Vec<String>, QemuError> {
    let mut line = Line::default();
    line.option("-name", "casemate-trial");
    machine(&mut line, launch, &escaped(console)?)?;
    Ok(line.arguments)
}

/// What a trial and a launch have in common.
fn machine(line: &mut Line, launch: &Launch, console: &str) -> Result<(), QemuError> {
    let Shape { vcpus, memory_mib, .. } = launch.shape;
    platform(line, launch)?;
    line.option("-smp", vcpus.to_string());
    line.option("-m", format!("{memory_mib}M"));
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        line.flag(flag);
    }
    line.option("-display", "none");
    // The filter is there before QEMU changes its user, and would forbid that. It always comes with
    // PR_SET_NO_NEW_PRIVS (seccomp_load(3)), and nobody raises privileges without having any.
    let elevate = if launch.user.is_some() { "allow" } else { "deny" };
    line.option(
        "-sandbox",
        format!("on,obsolete=deny,elevateprivileges={elevate},spawn=deny,resourcecontrol=deny"),
    );
    match launch.user {
        Some(User { id, takes_run_with: true }) => line.option("-run-with", format!("user={id}:{id}")),
        Some(User { id, takes_run_with: false }) => line.option("-runas", format!("{id}:{id}")),
        None => {}
    }
    line.option("-kernel", plain(&launch.boot.kernel)?);
    line.option("-initrd", plain(&launch.boot.initrd)?);
    line.option("-append", launch.boot.command_line.clone());
    line.option("-chardev", format!("file,id=console,path={console},append=on"));
    line.option("-serial", "chardev:console");
    Ok(())
}

fn platform(line: &mut Line, launch: &Launch) -> Result<(), QemuError> {
    let Shape { memory_mib, vcpu_type, machine: Machine::Q35, .. } = launch.shape else {
        return Err(QemuError::Shape { vcpus: launch.shape.vcpus, memory_mib: launch.shape.memory_mib });
    };
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let digest = launch.workload_digest.as_bytes();
    match launch.platform {
        Platform::SevSnp => {
            line.option("-accel", "kvm");
            line.option("-machine", "q35,confidential-guest-support=tee,memory-backend=ram,vmport=off");
            line.option("-cpu", vcpu_type.name());
            line.option(
                "-object",
                format!("memory-backend-memfd,id=ram,size={memory_mib}M,share=true,prealloc=false"),
            );
            // AMD 56860, GUEST_POLICY: bit 17 must be one, bit 16 lets hosts with SMT run it.
            line.option(
                "-object",
                format!(
                    "sev-snp-guest,id=tee,cbitpos=51,reduced-phys-bits=1,policy=0x30000,kernel-hashes=on,host-data={}",
                    base64(digest)
                ),
            );
            line.option("-bios", plain(&launch.boot.firmware)?);
        }
        Platform::Tdx => {
            // MRCONFIGID is 48 bytes: the digest, then zeros that the guest checks.
            let mut mrconfigid = [0; 48];
            mrconfigid[..32].copy_from_slice(digest);
            line.option("-accel", "kvm");
            line.option(
                "-machine",
                "q35,kernel-irqchip=split,confidential-guest-support=tee,memory-backend=ram,vmport=off",
            );
            line.option("-cpu", "host");
            line.option(
                "-object",
                format!("memory-backend-memfd,id=ram,size={memory_mib}M,share=true,prealloc=false"),
            );
            line.option("-object", format!("tdx-guest,id=tee,mrconfigid={}", base64(&mrconfigid)));
            line.option("-bios", plain(&launch.boot.firmware)?);
        }
        _ => {
            line.option("-accel", if launch.accelerator == Accelerator::Kvm { "kvm" } else { "tcg" });
            line.option("-machine", "q35,vmport=off");
            line.option("-cpu", "max");
            line.option("-bios", plain(&launch.boot.firmware)?);
            line.option(
                "-device",
                format!("loader,file={},addr={:#x},force-raw=on", file::HASHES, launch.hash_table_address),
            );
        }
    }
    Ok(())
}

fn disks(line: &mut Line, launch: &Launch) -> Result<(), QemuError> {
    for (index, disk) in launch.disks.iter().enumerate() {
        let access = if disk.writable { "discard=unmap" } else { "readonly=on" };
        line.option(
            "-drive",
            format!("if=none,id=disk{index},format=raw,werror=report,{access},file={}", escaped(&disk.path)?),
        );
        line.device(launch, &format!("virtio-blk-pci,drive=disk{index},serial={}", disk.serial));
    }
    Ok(())
}

fn ports(line: &mut Line, launch: &Launch) {
    line.device(launch, "virtio-serial-pci");
    line.option("-chardev", format!("socket,id=relay,path={},server=on,wait=off", file::RELAY));
    line.option("-device", format!("virtserialport,chardev=relay,name={}", casemate_transport::port::RELAY));
    if launch.platform == Platform::Simulated {
        line.option("-chardev", format!("socket,id=tee,path={}", file::TEE));
        line.option("-device", format!("virtserialport,chardev=tee,name={}", casemate_transport::port::TEE));
    }
}

fn network(line: &mut Line, launch: &Launch) {
    line.option(
        "-netdev",
        match launch.network {
            NetworkKind::Tap => format!("tap,id=net,ifname={TAP},script=no,downscript=no"),
            _ => format!("stream,id=net,server=on,addr.type=unix,addr.path={}", file::NETWORK),
        },
    );
    // Without a ROM the firmware has one thing less to run and measure.
    line.device(launch, "virtio-net-pci,netdev=net,romfile=");
}

#[derive(Default)]
struct Line {
    arguments: Vec<String>,
}

impl Line {
    fn flag(&mut self, flag: &str) {
        self.arguments.push(flag.to_owned());
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.arguments.push(name.to_owned());
        self.arguments.push(value.into());
    }

    /// A virtio device; in a confidential guest it may touch only memory that the guest shares.
    fn device(&mut self, launch: &Launch, device: &str) {
        let shared =
            if launch.platform == Platform::Simulated { "" } else { ",disable-legacy=on,iommu_platform=on" };
        self.option("-device", format!("{device}{shared}"));
    }
}

fn plain(path: &Path) -> Result<&str, QemuError> {
    path.to_str().ok_or_else(|| QemuError::Path { path: path.to_owned() })
}

/// A path inside an option list, where QEMU reads `,,` as a comma.
fn escaped(path: &Path) -> Result<String, QemuError> {
    Ok(plain(path)?.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use casemate_measure::shape::{GuestFeatures, VcpuType};

    use super::*;

    fn launch(platform: Platform) -> Launch {
        let file = |name: &str| PathBuf::from("/images/lite").join(name);
        Launch {
            id: "notes".into(),
            folder: "/state/vms/notes".into(),
            platform,
            accelerator: Accelerator::Tcg,
            shape: Shape {
                vcpus: 2,
                vcpu_type: VcpuType::EPYC_V4,
                memory_mib: 1024,
                machine: Machine::Q35,
                guest_features: GuestFeatures::SNP,
            },
            boot: BootFiles {
                firmware: file("firmware.fd"),
                kernel: file("vmlinuz"),
                initrd: file("initrd"),
                command_line: "console=ttyS0 quiet".into(),
                root: Some(file("root.img")),
            },
            hash_table_address: 0x81_0c00,
            workload_digest: [0x5a; 32].into(),
            disks: vec![
                Disk { path: file("root.img"), serial: "root".into(), writable: false },
                Disk { path: "/state/a,b.img".into(), serial: "data".into(), writable: true },
            ],
            network: NetworkKind::User,
            user: None,
        }
    }

    /// One option with its value per line.
    fn text(launch: &Launch) -> String {
        let arguments = arguments(launch).unwrap();
        arguments.join(" ").replace(" -", "\n-")
    }

    #[test]
    fn a_simulated_guest() {
        insta::assert_snapshot!("simulated", text(&launch(Platform::Simulated)));
    }

    #[test]
    fn a_trial_is_the_same_machine_with_a_serial_port_and_nothing_else() {
        let launch = launch(Platform::Simulated);
        let trial = trial_arguments(&launch, Path::new("/state/trial/console.log")).unwrap();
        let whole = arguments(&launch).unwrap();
        let own = ["casemate-trial", "file,id=console,path=/state/trial/console.log,append=on"];
        assert!(trial.iter().all(|argument| own.contains(&argument.as_str()) || whole.contains(argument)));
        for absent in ["-drive", "-netdev", "-qmp"] {
            assert!(!trial.contains(&absent.to_owned()), "{absent}");
        }
    }

    #[test]
    fn an_snp_guest() {
        insta::assert_snapshot!("sev_snp", text(&launch(Platform::SevSnp)));
    }

    #[test]
    fn a_tdx_guest() {
        insta::assert_snapshot!("tdx", text(&launch(Platform::Tdx)));
    }

    #[test]
    fn a_tap() {
        for (takes_run_with, said) in [(false, "-runas 7:7\n"), (true, "-run-with user=7:7\n")] {
            let user = Some(User { id: 7, takes_run_with });
            let launch = Launch { network: NetworkKind::Tap, user, ..launch(Platform::Simulated) };
            let line = text(&launch);
            assert!(line.contains("-netdev tap,id=net,ifname=tap0,script=no,downscript=no\n"), "{line}");
            assert!(line.contains(said) && line.contains("elevateprivileges=allow"), "{line}");
            let trial = trial_arguments(&launch, Path::new("/state/trial/console.log")).unwrap();
            assert!(trial.join(" ").contains(said.trim()), "{trial:?}");
        }
    }

    #[test]
    fn an_impossible_shape_is_refused() {
        for (vcpus, memory_mib) in [(0, 1024), (256, 1024), (1, 64)] {
            let mut launch = launch(Platform::Simulated);
            launch.shape = Shape { vcpus, memory_mib, ..launch.shape };
            assert!(matches!(arguments(&launch), Err(QemuError::Shape { .. })));
        }
    }
}
