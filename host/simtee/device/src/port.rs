//! Where does the simulator listen, and what does it answer?
//!
//! On the virtio-serial port `casemate.tee`: 96 bytes of `struct snp_report_req` out, 1184 bytes of report
//! in. All zeros mean that the simulator refuses, as firmware would.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `struct snp_report_req`.
pub(crate) const REQUEST: usize = 96;
/// A report.
pub(crate) const REPORT: usize = 1184;

/// The channel to the simulator.
pub(crate) struct Port(File);

/// What the simulator said.
pub(crate) enum Answer {
    /// A report for this request.
    Report(Box<[u8; REPORT]>),
    /// The request is not allowed.
    Refused,
}

impl Port {
    /// Finds the port by name, waiting for the bus to settle, and opens it.
    pub(crate) fn open() -> io::Result<Self> {
        let start = Instant::now();
        let path = loop {
            match find(Path::new("/sys/class/virtio-ports"), "casemate.tee") {
                Some(path) => break path,
                None if start.elapsed() > TIMEOUT => return Err(io::ErrorKind::TimedOut.into()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let port = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(Port(port))
    }

    /// Sends one request and waits for its report.
    pub(crate) fn ask(&mut self, request: &[u8; REQUEST]) -> io::Result<Answer> {
        self.drain();
        let deadline = Instant::now() + TIMEOUT;
        let mut sent = 0;
        while sent < request.len() {
            sent += ready(deadline, || self.0.write(&request[sent..]))?;
        }
        let mut report = Box::new([0; REPORT]);
        let mut received = 0;
        while received < report.len() {
            received += ready(deadline, || self.0.read(&mut report[received..]))?;
        }
        if report.iter().all(|byte| *byte == 0) {
            return Ok(Answer::Refused);
        }
        // REPORT_DATA at 0x50: an answer left over from a request that was given up is none to this one.
        if report[0x50..0x90] != request[..64] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Answer::Report(report))
    }

    /// Drops what an earlier request that was given up left behind.
    fn drain(&mut self) {
        let mut left = [0; 4096];
        while matches!(self.0.read(&mut left), Ok(1..)) {}
    }
}

/// Repeats a call on a non-blocking port until it moves bytes. Zero bytes mean that the host's end is
/// not connected, which may pass.
fn ready(deadline: Instant, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Ok(0) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            other => return other,
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The device of the port whose `name` file says `name`.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let ports = std::fs::read_dir(folder).ok()?;
    ports.filter_map(Result::ok).find_map(|port| {
        let found = std::fs::read_to_string(port.path().join("name")).ok()?;
        (found.trim_end() == name).then(|| Path::new("/dev").join(port.file_name()))
    })
}

/// How long the simulator may take; it needs milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
