//! What was measured, by the logs that came along with the registers?
//!
//! Registers are what hardware or a TPM signs; logs say what they stand for, and count as far as they give the
//! registers their values. Whoever has registers ([`Registers`]) can have logs; the rules are `[events]` and
//! `[ima]` of the policy, and a log without rules is refused.

mod appraise;
mod claims;

pub(crate) use appraise::WithLogs;
pub use claims::Claims;

use casemate_crypto::Provider;
use casemate_crypto::hash::HashAlgorithm;
use casemate_evidence::bundle::Bundle;
use casemate_evidence::eventlog::{EventLog, LogError};
use casemate_evidence::ima::{List, ListError};
use casemate_evidence::tpm::PcrValues;

use crate::eventlog::{GenuineLog, GenuineLogError, Required, SignedRegisters, authenticate_log};
use crate::ima::{
    BootAggregateError, Finding, GenuineList, GenuineListError, Start, Violations, authenticate_list,
};
use crate::policy::Policy;
use crate::verdict::{Code, Comparison, Node, Source, broken};

/// Registers that somebody signed, to which a log may replay.
#[derive(Debug, Clone)]
pub enum Registers {
    /// The platform has none.
    None,
    /// PCRs of a TPM.
    Tpm(PcrValues),
    /// RTMR 0 to 3 of a trust domain.
    Tdx([[u8; 48]; 4]),
}

/// Logs that agree with the registers.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    registers: Registers,
    bank: HashAlgorithm,
    events: Option<GenuineLog>,
    ima: Option<Ima>,
}

#[derive(Debug, Clone)]
struct Ima {
    list: GenuineList,
    /// What the policy's runtime policy does not allow.
    findings: Vec<Finding>,
    boot_aggregate: Result<(), BootAggregateError>,
}

/// Why the logs are not true.
#[derive(Debug, thiserror::Error)]
enum LogsError {
    /// The event log is none.
    #[error("event log: {0}")]
    Log(LogError),
    /// It disagrees with the registers.
    #[error("event log: {0}")]
    Events(GenuineLogError),
    /// The list of the kernel is none.
    #[error("IMA list: {0}")]
    List(ListError),
    /// It disagrees with its PCR.
    #[error("IMA list: {0}")]
    Ima(GenuineListError),
    /// A list of the kernel, and no TPM into which it was measured.
    #[error("an IMA list came along, but no quote of a TPM with PCR 10")]
    NoTpm,
}

/// The failed check of a log for which the policy has no rules.
pub(crate) fn no_rules(policy: &Policy, bundle: &Bundle) -> Option<Node> {
    let refuse = |code, found: &'static str| {
        Node::check(
            code,
            false,
            found,
            Comparison::Equal,
            "evidence that the policy has rules for",
            Source::Policy,
        )
    };
    if bundle.event_log().is_some() && policy.events.is_none() {
        return Some(refuse(Code::EventsAccepted, "an event log"));
    }
    (bundle.ima_list().is_some() && policy.ima.is_none()).then(|| refuse(Code::ImaAccepted, "an IMA list"))
}

impl Logs {
    /// Authenticates the logs in a bundle by the registers of its evidence.
    ///
    /// # Errors
    /// The failed check.
    pub(crate) fn authenticate(
        bundle: &Bundle,
        registers: Registers,
        policy: &Policy,
        provider: &dyn Provider,
    ) -> Result<Self, Box<Node>> {
        let bank = match &registers {
            Registers::Tdx(_) => HashAlgorithm::Sha384,
            _ => policy.tpm.as_ref().map_or(HashAlgorithm::Sha256, |rules| rules.bank),
        };
        Self::read(bundle, registers, bank, policy, provider).map_err(|error| {
            let code = match error {
                LogsError::Log(_) | LogsError::Events(_) => Code::EventLog,
                LogsError::List(_) | LogsError::Ima(_) | LogsError::NoTpm => Code::ImaList,
            };
            broken(code, &error)
        })
    }

    fn read(
        bundle: &Bundle,
        registers: Registers,
        bank: HashAlgorithm,
        policy: &Policy,
        provider: &dyn Provider,
    ) -> Result<Self, LogsError> {
        let events = bundle.event_log().map(|bytes| registers.authenticate_log(bytes, bank)).transpose()?;
        let list = bundle.ima_list().map(|bytes| registers.authenticate_list(bytes, bank)).transpose()?;
        let ima = list.map(|(list, boot_aggregate)| {
            let rules = policy.ima.as_ref().and_then(|rules| rules.runtime_policy.as_ref());
            // Violations have a rule of their own.
            let accepted = Violations::Accepted;
            let findings =
                rules.map_or_else(Vec::new, |rules| list.findings(rules.policy(), accepted, provider));
            Ima { list, findings, boot_aggregate }
        });
        Ok(Self { registers, bank, events, ima })
    }
}

impl Registers {
    fn authenticate_log(&self, bytes: &[u8], bank: HashAlgorithm) -> Result<GenuineLog, LogsError> {
        let log = match self {
            Registers::Tdx(_) => EventLog::parse_ccel(bytes),
            Registers::Tpm(_) | Registers::None => EventLog::parse(bytes),
        };
        let log = log.map_err(LogsError::Log)?;
        // Which registers it must explain, the policy says.
        authenticate_log(log, &self.signed(bank), Required::Only(&[])).map_err(LogsError::Events)
    }

    fn authenticate_list(
        &self,
        bytes: &[u8],
        bank: HashAlgorithm,
    ) -> Result<(GenuineList, Result<(), BootAggregateError>), LogsError> {
        const PCR: u8 = 10; // CONFIG_IMA_MEASURE_PCR_IDX
        let Registers::Tpm(pcrs) = self else { return Err(LogsError::NoTpm) };
        let list = List::parse_ascii(bytes).map_err(LogsError::List)?;
        let list = authenticate_list(&list, Start::Boot, pcrs, bank, PCR).map_err(LogsError::Ima)?;
        let boot_aggregate = list.check_boot_aggregate(pcrs);
        Ok((list, boot_aggregate))
    }

    /// Those of one bank, as a log numbers them.
    fn signed(&self, bank: HashAlgorithm) -> SignedRegisters {
        match self {
            Registers::None => SignedRegisters::default(),
            Registers::Tdx(rtmrs) => SignedRegisters::of_rtmrs(rtmrs),
            Registers::Tpm(pcrs) => {
                let of_bank = pcrs.iter().filter(|(found, ..)| *found == bank);
                SignedRegisters::of(of_bank.map(|(bank, index, value)| ((bank, u32::from(index)), value)))
            }
        }
    }

    /// How a log numbers register 0.
    const fn first(&self) -> u32 {
        match self {
            Registers::Tdx(_) => 1,
            Registers::Tpm(_) | Registers::None => 0,
        }
    }
}
