//! Is this event log true?
//!
//! A log is true as far as it replays to registers that somebody signed: PCRs that a TPM quoted, or the
//! RTMRs of a TDX quote. Events of registers that nobody signed are hearsay, and dropped. Source: TCG PC
//! Client Platform Firmware Profile 1.06 §10.3.
//!
//! A true log says what was measured in which order, not that it is good, and not that all was measured:
//! software that was not measured leaves no event. Of an event's data only what its digest covers counts.

use std::collections::{BTreeMap, BTreeSet};

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::eventlog::{
    Coverage, Event, EventData, EventLog, EventType, Guid, LogEnd, LogKind, ReplayError, VariableContent,
};
use casemate_evidence::tpm::PcrValues;
use serde::Serialize;

/// Registers that somebody signed, by bank and register, as a log numbers them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignedRegisters(BTreeMap<(HashAlgorithm, u32), Digest>);

/// Which registers the log must explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required<'a> {
    /// Every signed register that the log extends. Registers that the running system extends further, without
    /// this log, break it.
    All,
    /// These; events of others count only if their register agrees all the same.
    Only(&'a [u32]),
}

/// The events of a log whose registers somebody signed, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineLog {
    kind: LogKind,
    events: Vec<Event>,
    explained: BTreeSet<u32>,
    unexplained: BTreeSet<u32>,
}

/// Why a log is not true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenuineLogError {
    /// It cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Bytes follow the log that are neither events nor padding.
    #[error("{len} bytes follow the last event, which are neither an event nor padding; was the log cut?")]
    Fragment {
        /// How many.
        len: usize,
    },
    /// No register is both in the log and signed.
    #[error("the log and the signed registers have no register of one bank in common")]
    NothingInCommon,
    /// A register that the log must explain is not signed, or no event extends it.
    #[error("register {register} must be explained by the log, but it is not {missing}")]
    Missing {
        /// The register.
        register: u32,
        /// What it is not: `signed` or `in the log`.
        missing: &'static str,
    },
    /// The log replays to another value.
    #[error(
        "the log gives register {register} of bank {bank} the value {found}, signed is {expected}: an event \
         was changed, left out, added or moved"
    )]
    Mismatch {
        /// The bank.
        bank: HashAlgorithm,
        /// The register.
        register: u32,
        /// By the log.
        found: Box<Digest>,
        /// Signed.
        expected: Box<Digest>,
    },
}

/// Whether the firmware enforced secure boot, as far as the log shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecureBoot {
    /// It did.
    On,
    /// It did not.
    Off,
    /// The log does not show it: the variable was not measured before the boot loader ran, not once, or its
    /// digest does not cover it.
    NotShown,
}

impl SignedRegisters {
    /// The PCRs of a quote.
    pub fn of_quote(pcrs: &PcrValues) -> Self {
        Self(pcrs.iter().map(|(bank, index, value)| ((bank, u32::from(index)), value)).collect())
    }

    /// RTMR 0 to 3 of a TDX quote, 48 bytes each: registers 1 to 4 of a CCEL.
    pub fn of_rtmrs(rtmrs: &[[u8; 48]; 4]) -> Self {
        let bank = HashAlgorithm::Sha384;
        let value = |bytes| Digest::from_slice(bank, bytes).expect("48 bytes are a SHA-384 digest");
        Self((1..).zip(rtmrs).map(|(register, bytes)| ((bank, register), value(bytes))).collect())
    }

    /// Registers `(bank, register)` with their values.
    pub fn of(registers: impl IntoIterator<Item = ((HashAlgorithm, u32), Digest)>) -> Self {
        Self(registers.into_iter().collect())
    }
}

/// Checks that `log` replays to `signed`, and keeps the events of the registers that agree.
///
/// # Errors
/// [`GenuineLogError`], of the lowest bank and register to which it applies.
pub fn authenticate_log(
    log: EventLog,
    signed: &SignedRegisters,
    required: Required<'_>,
) -> Result<GenuineLog, GenuineLogError> {
    if let LogEnd::Fragment { len } = log.end {
        return Err(GenuineLogError::Fragment { len });
    }
    let replay = log.replay()?;
    let is_required = |register: &u32| match required {
        Required::All => true,
        Required::Only(list) => list.contains(register),
    };
    let (mut explained, mut unexplained) = (BTreeSet::new(), BTreeSet::new());
    for (&(bank, register), &found) in &replay.registers {
        let Some(&expected) = signed.0.get(&(bank, register)) else { continue };
        if found == expected {
            explained.insert(register);
        } else if is_required(&register) {
            return Err(GenuineLogError::Mismatch {
                bank,
                register,
                found: Box::new(found),
                expected: Box::new(expected),
            });
        } else {
            unexplained.insert(register);
        }
    }
    // One bank that disagrees is enough.
    explained.retain(|register| !unexplained.contains(register));
    if let Required::Only(list) = required {
        for &register in list {
            let signed = signed.0.keys().any(|(_, other)| *other == register);
            if !explained.contains(&register) {
                let missing = if signed { "in the log" } else { "signed" };
                return Err(GenuineLogError::Missing { register, missing });
            }
        }
    }
    if explained.is_empty() {
        return Err(GenuineLogError::NothingInCommon);
    }
    let counts = |event: &Event| event.kind != EventType::NO_ACTION && explained.contains(&event.register);
    let events = log.events.into_iter().filter(counts).collect();
    Ok(GenuineLog { kind: log.kind, events, explained, unexplained })
}

impl GenuineLog {
    /// The events that extended signed registers, in their order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Registers whose signed value the log explains.
    pub fn explained(&self) -> impl Iterator<Item = u32> + '_ {
        self.explained.iter().copied()
    }

    /// Registers that the log extends and whose signed value is another: something else extended them, or the
    /// log is wrong about them.
    pub fn unexplained(&self) -> impl Iterator<Item = u32> + '_ {
        self.unexplained.iter().copied()
    }

    /// Whether the firmware enforced secure boot (PFP §3.3.4.8: measured into PCR 7 before the separator).
    pub fn secure_boot(&self) -> SecureBoot {
        let register = match self.kind {
            LogKind::Tpm => 7,
            LogKind::Ccel => 1, // UEFI 2.10 §38.4.1: PCR 1 and 7 are RTMR 0
        };
        let before_separator = self
            .events
            .iter()
            .filter(|event| event.register == register)
            .take_while(|event| event.kind != EventType::SEPARATOR);
        let mut flags = before_separator.filter_map(|event| {
            if event.kind != EventType::EFI_VARIABLE_DRIVER_CONFIG || event.coverage() != Coverage::Whole {
                return None;
            }
            match event.decode() {
                Ok(EventData::Variable(variable))
                    if variable.vendor == Guid::GLOBAL_VARIABLE && variable.name == "SecureBoot" =>
                {
                    Some(variable.content)
                }
                _ => None,
            }
        });
        match (flags.next(), flags.next()) {
            (Some(VariableContent::Flag(true)), None) => SecureBoot::On,
            (Some(VariableContent::Flag(false)), None) => SecureBoot::Off,
            _ => SecureBoot::NotShown,
        }
    }
}
