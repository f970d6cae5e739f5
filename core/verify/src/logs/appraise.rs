//! Does this policy accept what the logs say?

use super::claims::{Claims, Events, Ima as ImaClaims};
use super::{Ima, Logs, Registers};
use crate::appraise::rule::{equal, flag, not_checked};
use crate::appraise::{Circumstances, Genuine, Sealed};
use crate::eventlog::{GenuineLog, SecureBoot};
use crate::policy::{EventRules, ImaRules, Policy};
use crate::verdict::{Code, Comparison, Facts, Node, NotEstablished, Source, Value};

/// Genuine evidence with logs that agree with its registers.
pub(crate) struct WithLogs {
    /// The evidence.
    pub evidence: Box<dyn Genuine>,
    /// The logs.
    pub logs: Logs,
}

impl Sealed for WithLogs {}

impl Genuine for WithLogs {
    fn facts(&self, policy: &Policy) -> Facts {
        let mut facts = self.evidence.facts(policy);
        let claims = self.logs.claims();
        if claims.events.as_ref().is_some_and(|events| !events.unexplained.is_empty()) {
            facts.not_established.push(NotEstablished::Registers);
        }
        facts.logs = Some(claims);
        facts
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        self.evidence.hardware(policy, circumstances)
    }

    fn image(&self, policy: &Policy) -> Vec<Node> {
        let mut checks = self.evidence.image(policy);
        let (events, ima) = (policy.events.as_ref(), policy.ima.as_ref());
        checks.extend(events.map(|rules| Node::group(Code::Events, rules.check(&self.logs))));
        checks.extend(ima.map(|rules| Node::group(Code::Ima, rules.check(self.logs.ima.as_ref()))));
        checks
    }

    fn evidence(&self) -> &[u8] {
        self.evidence.evidence()
    }
}

impl Logs {
    fn claims(&self) -> Claims {
        Claims {
            events: self.events.as_ref().map(|log| Events {
                count: log.events().len(),
                explained: self.explained(log),
                unexplained: self.unexplained(log),
                secure_boot: log.secure_boot(),
            }),
            ima: self
                .ima
                .as_ref()
                .map(|ima| ImaClaims { entries: ima.list.entries().len(), later: ima.list.later() }),
        }
    }

    fn explained(&self, log: &GenuineLog) -> Vec<u32> {
        log.explained().map(|register| register - self.registers.first()).collect()
    }

    /// Registers that are signed and hold something, but not what the log says.
    fn unexplained(&self, log: &GenuineLog) -> Vec<u32> {
        let explained = self.explained(log);
        // After a reset PCRs are all zeros, or all ones (TCG PC Client Platform TPM Profile §4.6).
        let holds_something =
            |value: &[u8]| value.iter().any(|byte| *byte != 0) && value.iter().any(|byte| *byte != 0xFF);
        let signed: Vec<u32> = match &self.registers {
            Registers::None => Vec::new(),
            Registers::Tdx(rtmrs) => (0..)
                .zip(rtmrs)
                .filter(|(_, value)| holds_something(&value[..]))
                .map(|(index, _)| index)
                .collect(),
            Registers::Tpm(pcrs) => pcrs
                .iter()
                .filter(|(bank, _, value)| *bank == self.bank && holds_something(value.as_bytes()))
                .map(|(_, index, _)| u32::from(index))
                .collect(),
        };
        signed.into_iter().filter(|register| !explained.contains(register)).collect()
    }
}

impl EventRules {
    fn check(&self, logs: &Logs) -> Vec<Node> {
        let log = logs.events.as_ref();
        let explained = log.map_or_else(Vec::new, |log| logs.explained(log));
        let found: Vec<u64> = explained.iter().map(|register| u64::from(*register)).collect();
        let boot = match log.map(GenuineLog::secure_boot) {
            Some(SecureBoot::On) => Some(true),
            Some(SecureBoot::Off) => Some(false),
            Some(SecureBoot::NotShown) | None => None,
        };
        let mut checks = vec![match &self.explained {
            None => not_checked(Code::EventsExplained, found),
            Some(list) => Node::check(
                Code::EventsExplained,
                list.iter().all(|register| explained.contains(&u32::from(*register))),
                found,
                Comparison::AllOf,
                list.iter().map(|register| u64::from(*register)).collect::<Vec<_>>(),
                Source::Policy,
            ),
        }];
        checks.push(flag(Code::EventsSecureBoot, self.secure_boot, boot));
        checks.extend(self.digests.check_each(Code::EventsDigest, |register| {
            let log = log.filter(|_| explained.contains(&u32::from(register)))?;
            let of_register = log
                .events()
                .iter()
                .filter(|event| event.register == u32::from(register) + logs.registers.first());
            Some(of_register.filter_map(|event| event.digest(logs.bank)).collect())
        }));
        checks
    }
}

impl ImaRules {
    fn check(&self, ima: Option<&Ima>) -> Vec<Node> {
        let present = if ima.is_some() { "present" } else { "missing" };
        let list = match self.list_required {
            true => equal(Code::ImaPresent, ima.is_some(), present, "present"),
            false => not_checked(Code::ImaPresent, present),
        };
        let Some(ima) = ima else { return vec![list] };
        let texts =
            |texts: Vec<String>| if texts.is_empty() { Value::Word("none") } else { Value::from(texts) };
        let findings = match &self.runtime_policy {
            None => not_checked(Code::ImaRuntimePolicy, Value::Nothing),
            Some(_) => equal(
                Code::ImaRuntimePolicy,
                ima.findings.is_empty(),
                texts(ima.findings.iter().take(SHOWN).map(ToString::to_string).collect()),
                "no entry that the runtime policy does not allow",
            ),
        };
        let violations: Vec<String> = ima
            .list
            .entries()
            .iter()
            .filter(|entry| entry.is_violation())
            .map(|entry| entry.name_text().into_owned())
            .collect();
        let violations = match self.accept_violations {
            true => not_checked(Code::ImaViolations, violations.len() as u64),
            false => equal(
                Code::ImaViolations,
                violations.is_empty(),
                texts(violations.into_iter().take(SHOWN).collect()),
                "none",
            ),
        };
        let aggregate = match (&ima.boot_aggregate, self.boot_aggregate_required) {
            (_, false) => not_checked(Code::ImaBootAggregate, Value::Nothing),
            (Ok(()), true) => equal(Code::ImaBootAggregate, true, "of this boot", "of this boot"),
            (Err(error), true) => {
                equal(Code::ImaBootAggregate, false, error.to_string(), "the quoted PCRs of the boot")
            }
        };
        vec![list, aggregate, violations, findings]
    }
}

/// How many findings are shown at most.
const SHOWN: usize = 20;
