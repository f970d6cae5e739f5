//! What must the registers hold if the log is true?

use std::collections::BTreeMap;

use casemate_crypto::hash::{Digest, HashAlgorithm};

use super::event::{Event, EventType, algorithm_of};
use super::log::{EventLog, LogKind};

/// What the registers hold after the log's events, by bank and register; only registers that an event
/// extends. Of hash functions that Casemate does not know nothing is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// By bank and register; of a CCEL registers 1 to 4 stand for RTMR 0 to 3.
    pub registers: BTreeMap<(HashAlgorithm, u32), Digest>,
    /// The locality that began the boot, if the log says so: PCR 0 begins with it.
    pub startup_locality: Option<u8>,
}

/// Why a log cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A StartupLocality event with a locality from which no boot begins, or of another size.
    #[error("event {event}: a startup locality of {}, expected 0, 3 or 4 in one byte", show(found))]
    StartupLocality {
        /// Number of the event.
        event: usize,
        /// What follows the signature.
        found: Vec<u8>,
    },
    /// A second one.
    #[error("event {event} states the startup locality again")]
    StartupLocalityTwice {
        /// Number of the event.
        event: usize,
    },
    /// One after PCR 0 was extended, when nothing can change its beginning any more.
    #[error("event {event} states the startup locality after PCR 0 was extended")]
    StartupLocalityLate {
        /// Number of the event.
        event: usize,
    },
}

impl EventLog {
    /// Replays the events in their order (PFP §10.3). Order matters: the same events in another order give
    /// other values.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn replay(&self) -> Result<Replay, ReplayError> {
        let banks: Vec<HashAlgorithm> =
            self.banks().iter().filter_map(|bank| algorithm_of(bank.algorithm)).collect();
        let mut registers: BTreeMap<(HashAlgorithm, u32), Digest> = BTreeMap::new();
        let mut startup_locality = None;
        for (number, event) in self.events.iter().enumerate() {
            if event.kind == EventType::NO_ACTION {
                if let Some(locality) = self.startup_locality(number, event)? {
                    if startup_locality.replace(locality).is_some() {
                        return Err(ReplayError::StartupLocalityTwice { event: number });
                    }
                    if registers.keys().any(|(_, register)| *register == 0) {
                        return Err(ReplayError::StartupLocalityLate { event: number });
                    }
                }
                continue;
            }
            for &bank in &banks {
                let Some(digest) = event.digest(bank) else { continue };
                let register = registers
                    .entry((bank, event.register))
                    .or_insert_with(|| initial(self.kind, bank, event.register, startup_locality));
                *register = register.extend(digest);
            }
        }
        Ok(Replay { registers, startup_locality })
    }

    fn startup_locality(&self, number: usize, event: &Event) -> Result<Option<u8>, ReplayError> {
        // PFP §10.4.5.3, TCG_EfiStartupLocalityEvent; a confidential guest's registers have no localities.
        let Some(found) = event.data.strip_prefix(STARTUP_LOCALITY_SIGNATURE) else { return Ok(None) };
        match (self.kind, found) {
            (LogKind::Ccel, _) => Ok(None),
            (LogKind::Tpm, [locality @ (0 | 3 | 4)]) => Ok(Some(*locality)),
            (LogKind::Tpm, _) => Err(ReplayError::StartupLocality {
                event: number,
                found: found[..found.len().min(16)].to_vec(),
            }),
        }
    }
}

/// PCR 0 begins with the locality from which TPM2_Startup was given, all others with zero (PFP §3.3.4).
fn initial(kind: LogKind, bank: HashAlgorithm, register: u32, startup_locality: Option<u8>) -> Digest {
    match (kind, register, startup_locality) {
        (LogKind::Tpm, 0, Some(locality)) => {
            let mut bytes = vec![0; bank.digest_len()];
            bytes[bank.digest_len() - 1] = locality;
            Digest::from_slice(bank, &bytes).expect("as many bytes as the bank's digests have")
        }
        _ => Digest::filled(bank, 0),
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) const STARTUP_LOCALITY_SIGNATURE: &[u8; 16] = b"StartupLocality\0";
