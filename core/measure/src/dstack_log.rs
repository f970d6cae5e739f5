//! What did a guest of dstack measure into RTMR 3, by the log that it publishes?
//!
//! The log is JSON: a list of events with `imr`, `event_type`, `event` and `event_payload` (hexadecimal), alone or as
//! text in the member `event_log` of what the guest's agent answers (dstack guest API, `GetQuoteResponse`). Digests
//! in it are computed anew. Up to `system-ready` the guest speaks of itself; what the workload adds behind that
//! says nothing of what the workload is, so names that dstack gives may stand there, and do not count.

use casemate_crypto::hash::{Sha256, Sha384};
use casemate_evidence::Measurement;
use serde::Deserialize;

use crate::dstack::{EVENT_TYPE, MAXIMUM_BYTES, event_digest};
use crate::tdx::boot::register;

/// Events of RTMR 3, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeLog {
    events: Vec<(String, Vec<u8>)>,
}

/// Why a text is no such log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeLogError {
    /// Larger than any log.
    #[error("{found} bytes, at most {MAXIMUM_BYTES} are accepted")]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// Not JSON, or a member that is missing or of another type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A payload that is not hexadecimal.
    #[error("payload of event {name:?}: {source}")]
    Payload {
        /// The event.
        name: String,
        /// What is wrong with it.
        source: hex::FromHexError,
    },
    /// An event in RTMR 3 of another kind than dstack's.
    #[error("an event of type {found:#x} in RTMR 3, expected {EVENT_TYPE:#x}")]
    EventType {
        /// The type found.
        found: u32,
    },
    /// Not exactly one event of a name that the guest gives once.
    #[error("{found} events {name:?} up to system-ready, expected one")]
    Count {
        /// The name.
        name: &'static str,
        /// How many there are.
        found: usize,
    },
    /// The payload is no SHA-256.
    #[error("compose-hash has {found} bytes, expected 32")]
    ComposeHash {
        /// Bytes found.
        found: usize,
    },
}

impl RuntimeLog {
    /// Reads a log, and of it the events in RTMR 3.
    ///
    /// # Errors
    /// [`RuntimeLogError`], except what [`compose`](Self::compose) finds.
    pub fn parse(text: &[u8]) -> Result<Self, RuntimeLogError> {
        if text.len() > MAXIMUM_BYTES {
            return Err(RuntimeLogError::TooLong { found: text.len() });
        }
        let events: Vec<Event> = match serde_json::from_slice(text)? {
            File::Log(events) => events,
            File::Answer { event_log } => serde_json::from_str(&event_log)?,
        };
        let events = events.into_iter().filter(|event| event.imr == 3).map(Event::read);
        Ok(Self { events: events.collect::<Result<_, _>>()? })
    }

    /// RTMR 3 after these events.
    pub fn rtmr3(&self) -> Measurement {
        let digests: Vec<Sha384> =
            self.events.iter().map(|(name, payload)| event_digest(name, payload)).collect();
        register(&digests)
    }

    /// SHA-256 of the `app-compose.json` that the guest measured before it started it.
    ///
    /// # Errors
    /// [`RuntimeLogError::Count`], [`RuntimeLogError::ComposeHash`].
    pub fn compose(&self) -> Result<Sha256, RuntimeLogError> {
        const COMPOSE: &str = "compose-hash";
        const READY: &str = "system-ready";
        let ready = self.events.iter().position(|(name, _)| name == READY);
        let ready = ready.ok_or(RuntimeLogError::Count { name: READY, found: 0 })?;
        let mut found = self.events[..ready].iter().filter(|(name, _)| name == COMPOSE);
        match (found.next(), found.count()) {
            (Some((_, payload)), 0) => Sha256::try_from(payload.as_slice())
                .map_err(|_| RuntimeLogError::ComposeHash { found: payload.len() }),
            (None, _) => Err(RuntimeLogError::Count { name: COMPOSE, found: 0 }),
            (Some(_), others) => Err(RuntimeLogError::Count { name: COMPOSE, found: 1 + others }),
        }
    }
}

impl Event {
    fn read(self) -> Result<(String, Vec<u8>), RuntimeLogError> {
        if self.event_type != EVENT_TYPE {
            return Err(RuntimeLogError::EventType { found: self.event_type });
        }
        match hex::decode(&self.event_payload) {
            Ok(payload) => Ok((self.event, payload)),
            Err(source) => Err(RuntimeLogError::Payload { name: self.event, source }),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "neither a list of events, nor an answer with `event_log`")]
enum File {
    Log(Vec<Event>),
    Answer { event_log: String },
}

#[derive(Deserialize)]
struct Event {
    imr: u32,
    event_type: u32,
    event: String,
    event_payload: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn log(events: &[(&str, &str)]) -> String {
        let events: Vec<String> = events
            .iter()
            .map(|(name, payload)| {
                format!(
                    r#"{{"imr":3,"event_type":{EVENT_TYPE},"digest":"","event":"{name}","event_payload":"{payload}"}}"#
                )
            })
            .collect();
        format!("[{}]", events.join(","))
    }

    #[test]
    fn a_log_replays_and_names_the_compose_file_of_the_system() {
        let good = log(&[("compose-hash", COMPOSE), ("system-ready", ""), ("compose-hash", "00")]);
        let read = RuntimeLog::parse(good.as_bytes()).unwrap();
        assert_eq!(read.compose().unwrap(), Sha256::from([0x22; 32]));
        let answer = serde_json::json!({ "quote": "", "event_log": good }).to_string();
        assert_eq!(RuntimeLog::parse(answer.as_bytes()).unwrap(), read);
        // The order counts, and the registers of the firmware do not.
        let other = good.replacen(r#""imr":3"#, r#""imr":0"#, 1);
        assert_ne!(RuntimeLog::parse(other.as_bytes()).unwrap().rtmr3(), read.rtmr3());
        let swapped = log(&[("system-ready", ""), ("compose-hash", COMPOSE), ("compose-hash", "00")]);
        assert_ne!(RuntimeLog::parse(swapped.as_bytes()).unwrap().rtmr3(), read.rtmr3());
    }

    #[test]
    fn each_fault_has_its_error() {
        use RuntimeLogError as E;
        let parse = |text: &str| RuntimeLog::parse(text.as_bytes());
        assert!(matches!(parse(&" ".repeat(MAXIMUM_BYTES + 1)), Err(E::TooLong { .. })));
        assert!(matches!(parse("{}"), Err(E::Json(_))));
        assert!(matches!(parse(&log(&[("x", "0")])), Err(E::Payload { name, .. }) if name == "x"));
        let other_type = log(&[("x", "")]).replace(&EVENT_TYPE.to_string(), "7");
        assert!(matches!(parse(&other_type), Err(E::EventType { found: 7 })));
        let compose = |events: &[(&str, &str)]| parse(&log(events)).unwrap().compose();
        let (one, ready) = (("compose-hash", COMPOSE), ("system-ready", ""));
        assert!(matches!(compose(&[one]), Err(E::Count { name: "system-ready", found: 0 })));
        assert!(matches!(compose(&[ready, one]), Err(E::Count { name: "compose-hash", found: 0 })));
        assert!(matches!(compose(&[one, one, ready]), Err(E::Count { name: "compose-hash", found: 2 })));
        assert!(matches!(compose(&[("compose-hash", "22"), ready]), Err(E::ComposeHash { found: 1 })));
    }
}
