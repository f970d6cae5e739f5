//! What is told to everyone, and what was told last?

use std::sync::{Mutex, OnceLock, PoisonError};

use casemate_api::progress::{Phase, Progress};
use casemate_canon::to_cbor;
use casemate_guest_sys::clock;
use casemate_transport::Peer;

/// Sends notices on the relay, once there is one, and remembers the last.
#[derive(Default)]
pub struct Notices {
    relay: OnceLock<Peer>,
    last: Mutex<Option<Progress>>,
}

impl Notices {
    /// From now on notices travel on `relay`.
    pub fn send_on(&self, relay: Peer) {
        let _ = self.relay.set(relay);
    }

    /// Tells `phase`. A host that does not listen is no failure.
    pub fn tell(&self, phase: Phase) {
        let progress = Progress { uptime_ms: clock::uptime_ms(), phase };
        let bytes = to_cbor(&progress);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        if let Some(relay) = self.relay.get()
            && bytes.len() <= Progress::MAXIMUM_BYTES
        {
            let _ = relay.notify(bytes);
        }
    }

    /// What was told last.
    pub fn last(&self) -> Progress {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.unwrap_or(Progress { uptime_ms: clock::uptime_ms(), phase: Phase::Switched })
    }
}
