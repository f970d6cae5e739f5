//! Does this policy accept this enclave or instance of AWS?

use casemate_evidence::ReportData;
use casemate_evidence::nitro::Kind;

use super::{Claims, Genuine};
use crate::appraise::rule::{self, VendorRoot, accepts, bit, not_checked};
use crate::appraise::{Circumstances, Genuine as GenuineEvidence, Sealed};
use crate::policy::{NitroRules, Policy};
use crate::verdict::{
    Carried, Code, Comparison, Details, Facts, FreshnessSlot, Node, NotEstablished, Platform, Signer, Source,
    Value, WorkloadSlot,
};

impl Sealed for Genuine {}

impl GenuineEvidence for Genuine {
    fn facts(&self, _: &Policy) -> Facts {
        let (document, path) = (self.document(), self.document.path());
        let optional = |bytes: &Option<Vec<u8>>| Value::from(bytes.as_deref());
        Facts {
            platform: Platform::Nitro,
            trust_class: self.trust_class,
            signer: Signer { key: "AWS", hardware_id: document.module_id.clone().into() },
            root_name: path.root_name.clone(),
            root_key_digest: path.root_key_digest,
            measurement: self.measurement,
            workload_slot: WorkloadSlot { name: "no slot", value: Value::Nothing, digest: None },
            freshness_slot: FreshnessSlot { name: "nonce", value: carried(document.nonce.as_deref()) },
            not_established: vec![NotEstablished::Hypervisor, NotEstablished::Revocation],
            logs: None,
            devices: None,
            details: Details::Nitro(Box::new(Claims {
                kind: document.kind,
                module_id: document.module_id.clone(),
                timestamp_ms: document.timestamp_ms,
                pcrs: document.pcrs.iter().map(|(index, value)| (*index, value.as_slice().into())).collect(),
                public_key: optional(&document.public_key),
                user_data: optional(&document.user_data),
                debug: document.is_debug(),
            })),
        }
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        let Some(rules) = &policy.nitro else {
            return vec![Node::group(Code::Signer, vec![rule::no_rules(Platform::Nitro)])];
        };
        let root = VendorRoot { code: Code::AwsRoot, name: "AWS", accepted: rules.aws_roots };
        let digest = &self.document.path().root_key_digest;
        let document = self.document();
        let mut signer = rule::root(policy, &root, self.trust_class, digest, circumstances.accept_simulated);
        signer.push(accepts(Code::NitroModule, &rules.modules, &document.module_id, |id| id.clone().into()));
        signer.push(rules.age(document.timestamp_ms, circumstances.now_ms));
        let lists = self.document.path().revocation_lists_made_ms;
        signer.extend(rule::revocation(&policy.collateral, lists, circumstances.now_ms));
        let guest = vec![
            accepts(Code::NitroKind, &rules.kinds, &document.kind, |kind| word(*kind).into()),
            bit(Code::NitroDebug, rules.debug, document.is_debug()),
        ];
        vec![Node::group(Code::Signer, signer), Node::group(Code::Guest, guest)]
    }

    fn image(&self, policy: &Policy) -> Vec<Node> {
        let Some(rules) = &policy.nitro else { return Vec::new() };
        let pcrs = &self.document().pcrs;
        rules.pcrs.check(Code::NitroPcr, |index| pcrs.get(&index).map(Vec::as_slice))
    }

    fn evidence(&self) -> &[u8] {
        &self.document.signed
    }
}

impl NitroRules {
    /// By AWS's clock, and this one.
    fn age(&self, made_ms: u64, now_ms: u64) -> Node {
        let age_ms = now_ms.checked_sub(made_ms);
        let found = age_ms.map_or(Value::Word("from the future"), |age_ms| (age_ms / 1000).into());
        let Some(maximum_ms) = self.maximum_age_ms else { return not_checked(Code::NitroAge, found) };
        let holds = age_ms.is_some_and(|age_ms| age_ms <= maximum_ms);
        Node::check(Code::NitroAge, holds, found, Comparison::AtMost, maximum_ms / 1000, Source::Policy)
    }
}

/// The nonce, as the attested software passed it on: all 64 bytes of report data fit.
fn carried(nonce: Option<&[u8]>) -> Carried {
    let nonce = nonce.unwrap_or_default();
    match <[u8; 64]>::try_from(nonce) {
        Ok(bytes) => Carried::ReportData(ReportData::from(bytes)),
        Err(_) => Carried::Other(nonce.to_vec()),
    }
}

/// As a policy writes it.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Enclave => "enclave",
        Kind::Instance => "instance",
    }
}
