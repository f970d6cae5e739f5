//! A machine's services, started by the test in place of the supervisor: with arguments of its choice, and
//! with taps between them.

use std::{
    fs::File,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    machine::Machine,
    processes::{program, wait_until},
    tap::{Gate, Tap},
};

/// The three services of a machine, and what passes between them.
#[derive(Debug)]
pub struct Services {
    /// The key service's one seat.
    pub kms: Service,
    /// The host daemon.
    pub hostd: Service,
    /// The validator.
    pub validator: Service,
    /// Between host daemon and seat: the relay's traffic.
    pub seat_tap: Tap,
    /// Between validator and host daemon: calls to agents, among others.
    pub host_tap: Tap,
}

impl Services {
    /// Starts the services where the command line looks for them. Leases last ten seconds; each request to the
    /// seat passes `gate`.
    ///
    /// # Panics
    /// If one does not start.
    pub fn start(machine: &Machine, gate: Gate) -> Self {
        Self::start_with(machine, gate, &[])
    }

    /// As [`Services::start`], with more arguments for the host daemon.
    ///
    /// # Panics
    /// If one does not start.
    pub fn start_with(machine: &Machine, gate: Gate, hostd: &[&str]) -> Self {
        // The command line makes keys, folders and the simulated root, as it does for everyone.
        machine.casemate(["local", "start"]).success();
        machine.casemate(["local", "stop"]).success();
        let local = machine.local();
        let socket = |name: &str| local.join(format!("{name}.sock"));
        let address = |name: &str| format!("unix:{}", socket(name).display());
        let seat_tap = Tap::gated(&socket("kms-tap"), &socket("kms"), gate);
        let host_tap = Tap::new(&socket("hostd-tap"), &socket("hostd"));
        let images = machine.home().join("images").display().to_string();
        Services {
            kms: Service::start("kms", &local, &["--accept-simulated", "--lease", "10"]),
            hostd: Service::start("hostd", &local, &[&["--images", images.as_str()], hostd].concat()),
            validator: Service::start(
                "validator",
                &local,
                &["--host", &address("hostd-tap"), "--seat", &address("kms-tap"), "--accept-image-paths"],
            ),
            seat_tap,
            host_tap,
        }
    }
}

/// One service as a process. It ends with this value.
#[derive(Debug)]
pub struct Service(Child);

impl Service {
    fn start(name: &str, local: &Path, arguments: &[&str]) -> Self {
        let socket = local.join(format!("{name}.sock"));
        let log = File::options().create(true).append(true).open(local.join(format!("{name}.log")));
        let log = log.expect("the log can be written");
        let _ = std::fs::remove_file(&socket);
        let child = Command::new(program(&format!("casemate-{name}")))
            .arg("serve")
            .arg("--state")
            .arg(local.join(name))
            .args(["--listen", &format!("unix:{}", socket.display())])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("casemate-{name}: {error}"));
        let service = Service(child);
        wait_until(name, 30, || UnixStream::connect(&socket).is_ok());
        service
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        i32::try_from(self.0.id()).expect("process ids are small")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
