//! What does this VM ask?
//!
//! Requests come over one Unix socket, to which the VMM connects the guest's virtio-serial port: 96 bytes of
//! `struct snp_report_req` (linux/sev-guest.h). All zeros but a VMPL of 0xffffffff ask for what endorses the
//! answers. Whoever can open the socket is the VM.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_evidence::ReportData;
use nix::sys::stat::{Mode, umask};

use crate::error::Error;

/// A socket that only this user can open.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// 64 bytes of report data, a little-endian VMPL, 28 reserved bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request([u8; Request::LEN]);

impl Socket {
    /// Listens at `path`, where nobody else does.
    pub(crate) fn listen(path: &Path) -> Result<Self, Error> {
        if path.exists() {
            // A process that was killed leaves its socket behind; nobody answers there.
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(Error::io("remove", path))?;
                }
                _ => return Err(Error::SocketInUse { path: path.into() }),
            }
        }
        // There is no moment at which the socket exists and others may connect.
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path).map_err(Error::io("listen on", path));
        umask(before);
        let listener = listener?;
        let mode = std::fs::metadata(path).map_err(Error::io("inspect", path))?.permissions().mode();
        debug_assert_eq!(mode & 0o777, 0o600, "umask leaves 0600");
        Ok(Socket { listener, path: path.into() })
    }

    /// Answers request after request, connection after connection; returns only if the socket fails.
    pub(crate) fn answer(&self, answer: impl Fn(&Request) -> Result<Vec<u8>, Error>) -> Result<(), Error> {
        loop {
            let (mut stream, _) = self.listener.accept().map_err(Error::io("accept on", &self.path))?;
            if let Err(error) = answer_all(&mut stream, &answer) {
                eprintln!("casemate-simtee: connection closed: {error}");
            }
        }
    }
}

/// Until the VM closes the connection.
fn answer_all(
    stream: &mut UnixStream,
    answer: &impl Fn(&Request) -> Result<Vec<u8>, Error>,
) -> io::Result<()> {
    while let Some(request) = Request::read(stream)? {
        stream.write_all(&answer(&request).map_err(io::Error::other)?)?;
    }
    Ok(())
}

/// An answer whose length the VM does not know: u32, little-endian, then the bytes.
pub(crate) fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

impl Request {
    const LEN: usize = 96;

    /// The report data, if this asks for evidence.
    pub(crate) fn report_data(&self) -> ReportData {
        ReportData::from(*self.0.first_chunk::<64>().expect("a request has 96 bytes"))
    }

    pub(crate) fn vmpl(&self) -> u32 {
        u32::from_le_bytes([self.0[64], self.0[65], self.0[66], self.0[67]])
    }

    pub(crate) fn reserved_is_zero(&self) -> bool {
        self.0[68..].iter().all(|byte| *byte == 0)
    }

    /// No report data, and a VMPL that no guest has.
    pub(crate) fn asks_for_endorsements(&self) -> bool {
        let no_report_data = self.0[..64].iter().all(|byte| *byte == 0);
        no_report_data && self.vmpl() == u32::MAX && self.reserved_is_zero()
    }

    /// One whole request, or `None` if the VM closed the connection between requests.
    ///
    /// A request that stops halfway is dropped after a while: a guest that was reset in the middle of one
    /// would otherwise never be understood again.
    fn read(stream: &mut UnixStream) -> io::Result<Option<Self>> {
        let mut request = [0; Self::LEN];
        let mut filled = 0;
        while filled < Self::LEN {
            // The first byte may take for ever, the others not.
            stream.set_read_timeout((filled > 0).then_some(PARTIAL_REQUEST))?;
            match stream.read(&mut request[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => filled = 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Request(request)))
    }
}

/// How long the rest of a request may take.
const PARTIAL_REQUEST: Duration = Duration::from_secs(2);
