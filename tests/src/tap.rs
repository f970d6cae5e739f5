//! What passes between two services, seen and held up by whoever sits between them?
//!
//! A Unix socket in front of a service's own: everything goes through unchanged, is kept for the test to
//! search, and a request may be made to wait.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Looks at the body of a request before it goes on; may take its time.
pub type Gate = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// A recording socket. It ends with the process.
#[derive(Debug, Clone)]
pub struct Tap {
    /// One entry per connection and direction, so that no other bytes stand between those of one stream.
    recorded: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// Listens at `listen` and passes everything on to `target`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn new(listen: &Path, target: &Path) -> Self {
        Self::start(listen, target, None)
    }

    /// As [`Tap::new`], and each request passes `gate` before it goes on. Requests must state the length of
    /// their bodies.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn gated(listen: &Path, target: &Path, gate: Gate) -> Self {
        Self::start(listen, target, Some(gate))
    }

    fn start(listen: &Path, target: &Path, gate: Option<Gate>) -> Self {
        let _ = std::fs::remove_file(listen);
        let listener =
            UnixListener::bind(listen).unwrap_or_else(|error| panic!("{}: {error}", listen.display()));
        let tap = Tap { recorded: Arc::default() };
        let (accepting, target) = (tap.clone(), target.to_owned());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                accepting.serve(near, &target, gate.clone());
            }
        });
        tap
    }

    /// Everything that passed so far, each direction of each connection by itself.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        self.lock().clone()
    }

    /// How many bytes passed so far.
    pub fn recorded_bytes(&self) -> usize {
        self.lock().iter().map(Vec::len).sum()
    }

    fn serve(&self, near: UnixStream, target: &PathBuf, gate: Option<Gate>) {
        // A service that is just being restarted: its caller sees a closed connection.
        let Ok(far) = UnixStream::connect(target) else { return };
        let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
        let (there, back) = (self.clone(), self.clone());
        std::thread::spawn(move || there.carry(near, far, gate));
        std::thread::spawn(move || back.carry(far_too, near_too, None));
    }

    fn carry(&self, mut from: UnixStream, mut to: UnixStream, gate: Option<Gate>) {
        let place = {
            let mut recorded = self.lock();
            recorded.push(Vec::new());
            recorded.len() - 1
        };
        let mut held = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut chunk) {
            if count == 0 {
                break;
            }
            self.lock()[place].extend_from_slice(&chunk[..count]);
            held.extend_from_slice(&chunk[..count]);
            if let Some(gate) = &gate {
                let Some(body_at) = whole_request(&held) else { continue };
                gate(&held[body_at..]);
            }
            if to.write_all(&held).is_err() {
                break;
            }
            held.clear();
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
        let _ = from.shutdown(std::net::Shutdown::Both);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the body of a request begins, once all of it is there.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let body_at = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..body_at]).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    (bytes.len() >= body_at + length).then_some(body_at)
}
