//! Over which kind of socket does a stream come?
//!
//! Unix sockets and vsock give the same [`Link`]. A vsock CID is chosen by the host and therefore
//! identifies nobody; neither does the path of a Unix socket, to a guest.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use crate::peer::Link;
use crate::sys;

/// A place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A vsock port of the machine `cid` (2 is the host).
    Vsock {
        /// Context id.
        cid: u32,
        /// Port.
        port: u32,
    },
}

/// Waits for streams.
pub trait Listener {
    /// The next stream.
    ///
    /// # Errors
    /// What the kernel answers.
    fn accept(&self) -> io::Result<Link>;
}

/// Connects to `address`.
///
/// # Errors
/// What the kernel answers; without vsock support, `EAFNOSUPPORT`.
pub fn connect(address: &Address) -> io::Result<Link> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).map(Link::stream),
        Address::Vsock { cid, port } => sys::vsock_connect(*cid, *port).map(Link::stream),
    }
}

impl Listener for UnixListener {
    fn accept(&self) -> io::Result<Link> {
        let (stream, _) = UnixListener::accept(self)?;
        Ok(Link::stream(stream))
    }
}

/// Waits on a vsock port.
#[derive(Debug)]
pub struct VsockListener {
    socket: OwnedFd,
}

impl VsockListener {
    /// Listens on `port`.
    ///
    /// # Errors
    /// What the kernel answers; without vsock support, `EAFNOSUPPORT`.
    pub fn bind(port: u32) -> io::Result<Self> {
        Ok(Self { socket: sys::vsock_listen(port)? })
    }
}

impl Listener for VsockListener {
    fn accept(&self) -> io::Result<Link> {
        let (stream, _cid) = sys::vsock_accept(&self.socket)?;
        Ok(Link::stream(stream))
    }
}
