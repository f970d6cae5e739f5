//! Does this policy accept this TPM and what it quotes?

use casemate_crypto::hash::{HashAlgorithm, Sha256};

use super::claims::Claims;
use super::evidence::Genuine;
use super::key::Voucher;
use super::quote::GenuineQuote;
use crate::appraise::rule::{self, VendorRoot, accepts, bit};
use crate::appraise::{Circumstances, Genuine as GenuineEvidence, Sealed};
use crate::certificates::AuthenticatedPath;
use crate::logs::Registers;
use crate::policy::{Policy, TpmRules};
use crate::verdict::{
    Carried, Code, Comparison, Details, Facts, FreshnessSlot, Node, NotEstablished, Platform, Signer, Source,
    Value, WorkloadSlot,
};

impl Sealed for Genuine {}

impl GenuineEvidence for Genuine {
    fn facts(&self, policy: &Policy) -> Facts {
        let key = &self.key;
        Facts {
            platform: self.platform(),
            trust_class: key.trust_class,
            signer: Signer { key: "attestation key", hardware_id: key.key_digest.as_ref().into() },
            root_name: key.anchor_name.clone(),
            root_key_digest: key.anchor,
            measurement: measurement(&self.quote, policy.tpm.as_ref()),
            workload_slot: WorkloadSlot { name: "no slot", value: Value::Nothing, digest: None },
            freshness_slot: freshness_slot(&self.quote),
            not_established: self.not_established(),
            logs: None,
            devices: None,
            details: Details::Tpm(Box::new(Claims::of(
                &self.quote,
                key.key_digest,
                voucher(key.key.voucher()),
                key.instance.clone(),
            ))),
        }
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        let platform = self.platform();
        let Some(rules) = policy.tpm.as_ref().filter(|_| policy.has_rules(platform)) else {
            return vec![Node::group(Code::Signer, vec![rule::no_rules(platform)])];
        };
        let key = &self.key;
        let (code, name) = match (&key.instance, key.key.voucher()) {
            (Some(_), _) => (Code::GoogleRoot, "Google"),
            (None, Voucher::Registrar) => (Code::TpmKeys, "an enrolled key"),
            (None, _) => (Code::TpmRoots, "a listed root"),
        };
        // Anchors that the policy does not name have ended the authentication before.
        let vendor = VendorRoot { code, name, accepted: true };
        let mut signer =
            rule::root(policy, &vendor, key.trust_class, &key.anchor, circumstances.accept_simulated);
        if let Voucher::Authority { path, .. } = key.key.voucher() {
            let lists = path.revocation_lists_made_ms;
            signer.extend(rule::revocation(&policy.collateral, lists, circumstances.now_ms));
        }
        if let (Some(instance), Some(rules)) = (&key.instance, &policy.gcp) {
            signer.extend(rules.instance(instance));
        }
        vec![Node::group(Code::Signer, signer), rules.quote(&self.quote)]
    }

    fn image(&self, policy: &Policy) -> Vec<Node> {
        policy.tpm.as_ref().map_or_else(Vec::new, |rules| rules.registers(&self.quote))
    }

    fn registers(&self) -> Registers {
        Registers::Tpm(self.quote.pcrs().clone())
    }

    fn evidence(&self) -> &[u8] {
        self.quote.attest().as_bytes()
    }
}

impl Genuine {
    fn not_established(&self) -> Vec<NotEstablished> {
        let unlisted = |path: &AuthenticatedPath| path.revocation_lists_made_ms.is_none();
        match self.key.key.voucher() {
            Voucher::Authority { path, .. } if unlisted(path) => {
                vec![NotEstablished::Tee, NotEstablished::Revocation]
            }
            _ => vec![NotEstablished::Tee],
        }
    }

    fn platform(&self) -> Platform {
        if self.key.instance.is_some() { Platform::Gcp } else { Platform::Tpm }
    }
}

impl TpmRules {
    /// What is asked of the TPM itself.
    pub(crate) fn quote(&self, quote: &GenuineQuote) -> Node {
        let attest = quote.attest();
        let selected = quote.pcrs().iter().any(|(bank, ..)| bank == self.bank);
        let mut banks: Vec<&'static str> = quote.pcrs().iter().map(|(bank, ..)| bank.name()).collect();
        banks.dedup();
        Node::group(
            Code::Tpm,
            vec![
                Node::check(
                    Code::TpmBank,
                    selected,
                    banks,
                    Comparison::AllOf,
                    self.bank.name(),
                    Source::Policy,
                ),
                bit(Code::TpmSafeClock, self.safe_clock, attest.clock.safe),
                accepts(Code::TpmFirmware, &self.firmware_versions, &attest.firmware_version, |version| {
                    format!("{version:016x}").into()
                }),
            ],
        )
    }

    /// What is asked of the PCRs.
    pub(crate) fn registers(&self, quote: &GenuineQuote) -> Vec<Node> {
        let values: Vec<_> = quote.pcrs().iter().filter(|(bank, ..)| *bank == self.bank).collect();
        self.pcrs.check(Code::TpmPcr, |index| {
            values.iter().find(|(_, found, _)| *found == index).map(|(.., value)| value.as_bytes())
        })
    }
}

/// What was launched: PCRs of the bank by which the policy judges.
pub(crate) fn measurement(quote: &GenuineQuote, rules: Option<&TpmRules>) -> crate::LaunchMeasurement {
    let bank = rules.map_or(HashAlgorithm::Sha256, |rules| rules.bank);
    quote.pcrs().launch_measurement(bank).into()
}

/// qualifyingData: SHA-256 of report data, or something that answers no challenge.
pub(crate) fn freshness_slot(quote: &GenuineQuote) -> FreshnessSlot {
    let found = &quote.attest().extra_data;
    let value = match <[u8; 32]>::try_from(found.as_slice()) {
        Ok(digest) => Carried::Digest(Sha256::from(digest)),
        Err(_) => Carried::Other(found.clone()),
    };
    FreshnessSlot { name: "qualifyingData", value }
}

fn voucher(voucher: &Voucher) -> &'static str {
    match voucher {
        Voucher::Authority { .. } => "authority",
        Voucher::Registrar => "registrar",
        Voucher::Tee => "tee",
        Voucher::AttestationKey { .. } => "attestation_key",
    }
}
