//! Where does the simulator listen, and what does it answer?
//!
//! On the virtio-serial port `casemate.tee`: 96 bytes of `struct snp_report_req` out, 1184 bytes of report
//! in. All zeros mean that the simulator refuses, as firmware would. The request of all zeros but a VMPL
//! of 0xffffffff asks for certificates: a little-endian length and the table follow.

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

/// Whom the device asks; a [`Port`], or a test.
pub(crate) trait Simulator {
    /// Sends one request and waits for its report.
    fn ask(&mut self, request: &[u8; REQUEST]) -> io::Result<Answer>;
    /// The certificate table that the host stores for its guests.
    fn certificates(&mut self) -> io::Result<Vec<u8>>;
}

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

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        self.drain();
        let mut sent = 0;
        while sent < bytes.len() {
            sent += ready(deadline, || self.0.write(&bytes[sent..]))?;
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
        let mut received = 0;
        while received < bytes.len() {
            received += ready(deadline, || self.0.read(&mut bytes[received..]))?;
        }
        Ok(())
    }

    /// Drops what an earlier request that was given up left behind.
    fn drain(&mut self) {
        let mut left = [0; 4096];
        while matches!(self.0.read(&mut left), Ok(1..)) {}
    }
}

impl Simulator for Port {
    fn ask(&mut self, request: &[u8; REQUEST]) -> io::Result<Answer> {
        let deadline = Instant::now() + TIMEOUT;
        self.send(request, deadline)?;
        let mut report = Box::new([0; REPORT]);
        self.receive(&mut *report, deadline)?;
        if report.iter().all(|byte| *byte == 0) {
            return Ok(Answer::Refused);
        }
        // REPORT_DATA at 0x50: an answer left over from a request that was given up is none to this one.
        if report[0x50..0x90] != request[..64] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Answer::Report(report))
    }

    fn certificates(&mut self) -> io::Result<Vec<u8>> {
        let mut request = [0; REQUEST];
        request[64..68].fill(0xff);
        let deadline = Instant::now() + TIMEOUT;
        self.send(&request, deadline)?;
        let mut length = [0; 4];
        self.receive(&mut length, deadline)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAXIMUM_TABLE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut table = vec![0; length];
        self.receive(&mut table, deadline)?;
        Ok(table)
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

/// SEV_FW_BLOB_MAX_SIZE of the kernel's own driver: the largest table.
pub(crate) const MAXIMUM_TABLE: usize = 16 << 10;

/// How long the simulator may take; it needs milliseconds, but the host may be busy emulating.
const TIMEOUT: Duration = Duration::from_secs(30);
