//! What does dstack put into RTMR 3?
//!
//! An importer: so that deployments of dstack can be checked from their public files. An event's digest is
//! SHA-384 over its type, a colon, its name, a colon, its payload. It proves what was named, in which
//! order, up to the moment of the quote; events of the workload itself may follow.

use casemate_crypto::hash::{Sha256, Sha384, sha256, sha384};
use casemate_evidence::Measurement;

use crate::tdx::boot::register;

/// What dstack measures of an app, before its containers run.
#[derive(Debug, Clone)]
pub struct DstackEvents<'a> {
    /// Name and payload of each event, in order.
    pub events: Vec<(&'a str, Vec<u8>)>,
}

impl DstackEvents<'_> {
    /// RTMR 3 after these events.
    pub fn rtmr3(&self) -> Measurement {
        let digests: Vec<Sha384> =
            self.events.iter().map(|(name, payload)| event_digest(name, payload)).collect();
        register(&digests)
    }
}

/// Digest of one event.
pub fn event_digest(name: &str, payload: &[u8]) -> Sha384 {
    sha384(&[&EVENT_TYPE.to_le_bytes()[..], b":", name.as_bytes(), b":", payload].concat())
}

/// SHA-256 of `app-compose.json`, byte for byte: payload of the event `compose-hash`.
pub fn compose_digest(app_compose: &[u8]) -> Sha256 {
    sha256(app_compose)
}

/// The app id of an app that was not given one: the first 20 bytes of the compose digest.
pub fn app_id(app_compose: &[u8]) -> [u8; 20] {
    compose_digest(app_compose).as_bytes()[..20].try_into().expect("20 of 32 bytes")
}

const EVENT_TYPE: u32 = 0x0800_0001;
