//! How does the guest reach anyone?
//!
//! Through the host, over one virtio-serial port. The host carries calls to the seats and hears
//! notices; it can withhold or invent both, and learns nothing secret from either.

use std::{sync::Arc, time::Duration};

use casemate_api::progress::{FailureCode, Phase, Progress};
use casemate_canon::to_cbor;
use casemate_crypto::sign::PublicKey;
use casemate_guest_sys::{clock::uptime_ms, power};
use casemate_transport::{
    CallError, Destination, FailureCode as CallFailure, Handler, Limits, Link, Peer, port,
};

use crate::{Error, environment::Console};

/// The way out, and the console beside it.
pub struct Relay {
    console: Console,
    peer: Option<Peer>,
}

impl Relay {
    /// Not yet connected: notices go to the console only.
    pub fn closed(console: Console) -> Self {
        Relay { console, peer: None }
    }

    /// Opens the port. The host may be slow to read it.
    ///
    /// # Errors
    /// [`RelayError::Port`], [`RelayError::Open`].
    pub fn open(&mut self) -> Result<(), RelayError> {
        let path = port::wait_for(port::RELAY, PORT_PATIENCE)?;
        let link = Link::port(&path).map_err(RelayError::Open)?;
        self.peer = Some(Peer::start(link, Limits::default(), Arc::new(NotYet)).map_err(RelayError::Open)?);
        Ok(())
    }

    /// Tells everyone how far the guest has come.
    pub fn report(&mut self, phase: Phase) {
        let uptime_ms = uptime_ms();
        self.console.line(uptime_ms, &phase);
        if let Some(peer) = &self.peer {
            // Nobody may listen; the guest does not depend on it.
            let _ = peer.notify(to_cbor(&Progress { uptime_ms, phase }));
        }
    }

    /// Writes a line to the console.
    pub fn say(&self, text: &dyn std::fmt::Display) {
        self.console.line(uptime_ms(), &bounded(&text.to_string()));
    }

    /// Asks a seat.
    ///
    /// # Errors
    /// [`CallError`]; before [`Relay::open`], [`CallError::Closed`].
    pub fn ask_seat(&self, seat: PublicKey, body: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, CallError> {
        let peer = self.peer.as_ref().ok_or(CallError::Closed)?;
        peer.call(Destination::Seat(seat), body, timeout)
    }

    /// Closes the port, so that the agent can open it, after what was said has been sent.
    pub fn close(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.flush(FLUSH_PATIENCE);
        }
    }

    /// Says why the guest did not start and switches the machine off.
    pub fn give_up(mut self, error: &Error) -> ! {
        let message = bounded(&error.to_string());
        self.report(Phase::Failed { code: error.code(), message });
        self.close();
        let refused = match power::off() {
            Ok(never) => match never {},
            Err(error) => error,
        };
        self.console.line(uptime_ms(), &refused);
        // PID 1 that ends makes the kernel panic, which the command line turns into a reboot.
        std::process::exit(1)
    }
}

/// Why the host cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The port is not there.
    #[error(transparent)]
    Port(#[from] port::PortError),
    /// It cannot be opened.
    #[error("opening the port {name}: {0}", name = port::RELAY)]
    Open(#[source] std::io::Error),
}

impl RelayError {
    /// The code in the public notice, which only the console will see.
    pub fn code(&self) -> FailureCode {
        match self {
            RelayError::Port(_) => FailureCode::DeviceMissing,
            RelayError::Open(_) => FailureCode::RelayFailed,
        }
    }
}

/// Nothing is asked of a guest before its agent runs.
struct NotYet;

impl Handler for NotYet {
    fn call(&self, _: Destination, _: Vec<u8>) -> Result<Vec<u8>, CallFailure> {
        Err(CallFailure::NotNow)
    }
}

/// One line that fits a notice.
fn bounded(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARACTERS).collect()
}

const PORT_PATIENCE: Duration = Duration::from_secs(5);
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// At most four bytes each, with room for the rest of [`Progress::MAXIMUM_BYTES`].
const MESSAGE_CHARACTERS: usize = 900;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_fits_a_notice() {
        let message = bounded(&"\u{10ffff}\n".repeat(2000));
        let notice = Progress {
            uptime_ms: u64::MAX,
            phase: Phase::Failed { code: FailureCode::Environment, message },
        };
        assert!(to_cbor(&notice).len() <= Progress::MAXIMUM_BYTES);
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(bounded("a\r\nb\x1b[0m"), "a  b [0m");
    }
}
