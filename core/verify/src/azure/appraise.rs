//! Does this policy accept this confidential VM of Azure, each of its layers?

use casemate_crypto::hash::sha384;
use casemate_evidence::Measurement;
use casemate_evidence::azure::Scalar;

use super::claims::Claims;
use super::evidence::{Genuine, Tee};
use crate::appraise::rule::{self, accepts, equal, flag, not_checked};
use crate::appraise::{Circumstances, Genuine as GenuineEvidence, Sealed};
use crate::expectations::LaunchMeasurement;
use crate::logs::Registers;
use crate::policy::{AzureRules, Policy};
use crate::tpm;
use crate::verdict::{Carried, Code, Details, Facts, FreshnessSlot, Node, NotEstablished, Platform, Value};

impl Sealed for Genuine {}

impl GenuineEvidence for Genuine {
    fn facts(&self, policy: &Policy) -> Facts {
        let tee = self.tee().evidence().facts(policy);
        let runtime = self.runtime.runtime();
        let mut not_established = tee.not_established.clone();
        if self.quote.is_none() {
            not_established.push(NotEstablished::GuestSoftware);
        }
        Facts {
            platform: Platform::Azure,
            measurement: self.measurement(&tee.measurement, policy),
            freshness_slot: match &self.quote {
                Some(quote) => tpm::freshness_slot(quote),
                None => FreshnessSlot { name: "no quote", value: Carried::Other(Vec::new()) },
            },
            not_established,
            details: Details::Azure(Box::new(Claims {
                tee_platform: tee.platform,
                paravisor: tee.measurement,
                tee: tee.details.clone(),
                vm_configuration: runtime.vm_configuration.clone(),
                user_data: Value::from(runtime.user_data.as_ref().map(|bytes| &bytes[..])),
                key_digest: self.key_digest,
                tpm: self.quote.as_ref().map(|quote| tpm::Claims::of(quote, self.key_digest, "tee", None)),
            })),
            ..tee
        }
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        let (Some(rules), Some(tpm_rules)) = (&policy.azure, &policy.tpm) else {
            return vec![Node::group(Code::Signer, vec![rule::no_rules(Platform::Azure)])];
        };
        let mut groups = self.tee.evidence().hardware(policy, circumstances);
        groups.push(rules.paravisor(self, &self.tee.evidence().facts(policy).measurement));
        groups.push(match &self.quote {
            Some(quote) => tpm_rules.quote(quote),
            None => Node::group(Code::Tpm, vec![rules.missing_quote()]),
        });
        groups
    }

    fn image(&self, policy: &Policy) -> Vec<Node> {
        let mut checks = self.tee.evidence().image(policy);
        if let (Some(quote), Some(rules)) = (&self.quote, &policy.tpm) {
            checks.extend(rules.registers(quote));
        }
        checks
    }

    fn registers(&self) -> Registers {
        self.quote.as_ref().map_or(Registers::None, |quote| Registers::Tpm(quote.pcrs().clone()))
    }

    fn evidence(&self) -> &[u8] {
        &self.signed
    }
}

impl Tee {
    fn evidence(&self) -> &dyn GenuineEvidence {
        match self {
            Tee::Snp(genuine) => &**genuine,
            Tee::Tdx(genuine) => &**genuine,
        }
    }
}

impl Genuine {
    /// What was launched, in all layers: SHA-384 over `CSM1AZRL`, the TEE's launch measurement and that of the
    /// vTPM (`docs/reference/launch-measurement.md`). Without a quote the TEE's alone, which is of the
    /// paravisor.
    fn measurement(&self, tee: &LaunchMeasurement, policy: &Policy) -> LaunchMeasurement {
        let Some(quote) = &self.quote else { return *tee };
        let tpm = tpm::measurement(quote, policy.tpm.as_ref());
        let bytes = [&b"CSM1AZRL"[..], tee.as_ref(), tpm.as_ref()].concat();
        Measurement::from(*sha384(&bytes).as_bytes()).into()
    }
}

impl AzureRules {
    fn paravisor(&self, genuine: &Genuine, measurement: &LaunchMeasurement) -> Node {
        let configuration = &genuine.runtime.runtime().vm_configuration;
        let on = |name| match configuration.get(name) {
            Some(Scalar::Flag(on)) => Some(*on),
            _ => None,
        };
        let id = match configuration.get("vmUniqueId") {
            Some(Scalar::Text(id)) => id.clone(),
            _ => String::new(),
        };
        Node::group(
            Code::Paravisor,
            vec![
                accepts(Code::AzureParavisor, &self.paravisors, measurement, |found| found.as_ref().into()),
                flag(Code::AzureSecureBoot, self.secure_boot, on("secure-boot")),
                flag(Code::AzureConsole, self.console, on("console-enabled")),
                accepts(Code::AzureVm, &self.vms, &id, |id| id.clone().into()),
            ],
        )
    }

    fn missing_quote(&self) -> Node {
        match self.quote_required {
            true => equal(Code::AzureQuote, false, "missing", "a quote of the vTPM"),
            false => not_checked(Code::AzureQuote, Value::Nothing),
        }
    }
}
