//! The app that is attacked, and the host that attacks it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use casemate_tests::{
    hostile::{self, Ending, HostileHost},
    machine::{Machine, NAME},
    processes::naming,
};
use serde_json::Value;

/// The small app, deployed by its owner on a machine whose host is hostile.
pub(crate) struct Target {
    pub(crate) host: HostileHost,
    /// Id of the VM.
    pub(crate) vm: String,
    /// What the host daemon was told about it.
    pub(crate) spec: Value,
    /// What `up` said.
    pub(crate) up: Value,
    /// Folder of the app.
    pub(crate) folder: PathBuf,
    // Last, for it is dropped last.
    pub(crate) machine: Machine,
}

impl Target {
    /// Brings the app up.
    pub(crate) fn up() -> Self {
        Self::up_on(Machine::new())
    }

    /// Brings the app up on a machine that was prepared.
    pub(crate) fn up_on(machine: Machine) -> Self {
        let folder = machine.small_app();
        let up = machine.up(&folder);
        Self::of(machine, folder, up)
    }

    /// The app that `up` brought up.
    pub(crate) fn of(machine: Machine, folder: PathBuf, up: Value) -> Self {
        let vm = up["vm"].as_str().expect("an id").to_owned();
        let host = HostileHost::of(&machine);
        let spec = host.spec(&vm);
        Target { host, vm, spec, up, folder, machine }
    }

    /// Stops the app.
    pub(crate) fn stop(&self) {
        self.machine.casemate(["stop", NAME]).success();
    }

    /// Starts the app again.
    pub(crate) fn start(&self) {
        self.machine.casemate(["start", NAME]).success();
    }

    /// The port at which a VM of the app answers.
    pub(crate) fn port(&self, vm: &str) -> u16 {
        let vm = self.host.call("GET", &format!("/v1/vms/{vm}"), None);
        let port = vm["endpoints"][0]["host_port"].as_u64().expect("a port was chosen");
        u16::try_from(port).expect("a port")
    }

    /// Runs a line of shell in the app, by its owner's order; its exit code and what it printed.
    pub(crate) fn shell(&self, line: &str) -> (i64, String) {
        self.shell_in("web", line)
    }

    /// As [`Target::shell`], in another service.
    pub(crate) fn shell_in(&self, service: &str, line: &str) -> (i64, String) {
        let run = ["--json", "exec", NAME, service, "/bin/busybox", "sh", "-c", line];
        let said = self.machine.casemate(run);
        let Ok(answer) = serde_json::from_str::<Value>(&said.stdout) else {
            return (-1, said.stderr);
        };
        (answer["exit_code"].as_i64().unwrap_or(-1), answer["output"].as_str().unwrap_or_default().to_owned())
    }

    /// The process that carries the packets of the app's VM.
    pub(crate) fn uplink(&self) -> i32 {
        let found = self.uplinks();
        assert_eq!(found.len(), 1, "uplinks: {found:?}");
        found[0]
    }

    /// As [`Target::uplink`], where it may be gone or more than one.
    pub(crate) fn uplinks(&self) -> Vec<i32> {
        let socket = self.machine.local().join("hostd/vms").join(&self.vm).join("net.sock");
        // QEMU has the path within an argument.
        naming(&format!("\0{}\0", socket.display()))
    }

    /// The data disk of the app's VM.
    pub(crate) fn disk(&self) -> PathBuf {
        self.host.data_disk(&self.vm)
    }

    /// Makes a VM of the app's specification under another id, on a copy of `disk`.
    pub(crate) fn define(&self, id: &str, disk: &Path) {
        self.host.define(id, self.spec.clone());
        fs::copy(disk, self.host.data_disk(id)).expect("the host owns the disks");
    }

    /// Boots a VM of `spec` on the newest state of the app's disk, which is what it leaves behind: each boot that
    /// commits makes every earlier copy an old one.
    pub(crate) fn run_on_the_newest_disk(&self, id: &str, spec: Value) -> Ending {
        self.host.define(id, spec);
        fs::copy(self.disk(), self.host.data_disk(id)).expect("the host owns the disks");
        let ending = self.host.restart(id);
        let _ = self.host.try_call("POST", &format!("/v1/vms/{id}/kill"), None);
        fs::copy(self.host.data_disk(id), self.disk()).expect("the host owns the disks");
        self.host.discard(id);
        ending
    }

    /// A second daemon in hostile hands, which starts `qemu` in place of QEMU and has the app's disks.
    pub(crate) fn other_host(&self, name: &str, qemu: &Path) -> HostileHost {
        let other = HostileHost::with_qemu(&self.machine, name, qemu);
        for digest in hostile::disks(&self.spec) {
            other.put(&fs::read(self.host.blob(&digest)).expect("the host has it"));
        }
        other
    }
}
