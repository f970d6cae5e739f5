//! Does this policy accept these devices?

use casemate_crypto::hash::Sha256;
use casemate_evidence::nvidia::Mode;

use super::architecture::{Architecture, Version};
use super::claims::{Claims, DeviceClaims, Measurements};
use super::evidence::{Device, Devices, Measured};
use super::report::nonce_for;
use crate::appraise::rule::{self, VendorRoot, at_least, equal, not_checked};
use crate::appraise::{Circumstances, Genuine, Sealed};
use crate::logs::Registers;
use crate::policy::{Accept, NvidiaFloor, NvidiaRules, Policy};
use crate::trust::TrustClass;
use crate::verdict::{
    Carried, Code, Comparison, Details, Facts, FreshnessSlot, Node, NotEstablished, Platform, Signer, Source,
    Value, WorkloadSlot,
};

/// Genuine evidence of a machine, and devices that came along.
pub(crate) struct WithDevices {
    /// The evidence.
    pub evidence: Box<dyn Genuine>,
    /// The devices; `None` if the policy has no rules for any, and nobody looked.
    pub devices: Option<Devices>,
}

/// Devices without evidence of a machine: what the first of them states stands for the machine's.
pub(crate) struct Alone {
    devices: Devices,
    signed: Vec<u8>,
}

impl Sealed for WithDevices {}

impl Genuine for WithDevices {
    fn facts(&self, policy: &Policy) -> Facts {
        let mut facts = self.evidence.facts(policy);
        let Some((devices, rules)) = self.devices.as_ref().zip(policy.nvidia.as_ref()) else {
            facts.not_established.push(NotEstablished::Devices);
            return facts;
        };
        let claims = Claims::of(devices, &rules.uncompared);
        if devices.trust_class() == TrustClass::Simulated {
            facts.trust_class = TrustClass::Simulated;
        }
        let nonce = expected_nonce(&facts.freshness_slot.value);
        let any = |what: fn(&DeviceClaims) -> bool| claims.devices.iter().any(what);
        let unasked = claims.devices.iter().any(|device| nonce != Some(device.nonce));
        let revocation = devices.devices.iter().any(|device| device.revocation_ms().is_none());
        let open = [
            (unasked, NotEstablished::DeviceNonce),
            (any(|device| device.compared.is_none()), NotEstablished::DeviceMeasurements),
            (true, NotEstablished::DeviceMode),
            (true, NotEstablished::DeviceUse),
            (revocation, NotEstablished::Revocation),
        ];
        for (_, what) in open.into_iter().filter(|(open, _)| *open && !claims.devices.is_empty()) {
            if !facts.not_established.contains(&what) {
                facts.not_established.push(what);
            }
        }
        facts.devices = Some(claims);
        facts
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        self.evidence.hardware(policy, circumstances)
    }

    fn devices(&self, policy: &Policy, circumstances: &Circumstances) -> Option<Node> {
        let (devices, rules) = (self.devices.as_ref()?, policy.nvidia.as_ref()?);
        let nonce = expected_nonce(&self.evidence.facts(policy).freshness_slot.value);
        let mut checks = rules.counts(devices.counts());
        let root = rules.root();
        // NVIDIA's own is said of each device, unless it does not count.
        let asked = |class: &TrustClass| *class == TrustClass::Simulated || !rules.nvidia_roots;
        for (class, digest) in devices.manifest_roots().filter(|(class, _)| asked(class)) {
            checks.extend(rule::root(policy, &root, class, digest, circumstances.accept_simulated));
        }
        let claims = Claims::of(devices, &rules.uncompared);
        for (device, claims) in devices.devices.iter().zip(&claims.devices) {
            let measured = devices.measure(device, &rules.uncompared);
            let made = rules.device(policy, device, claims, &measured, nonce.as_ref(), circumstances);
            checks.push(Node::named_group(Code::Device, claims.line(), made));
        }
        Some(Node::group(Code::Devices, checks))
    }

    fn image(&self, policy: &Policy) -> Vec<Node> {
        self.evidence.image(policy)
    }

    fn registers(&self) -> Registers {
        self.evidence.registers()
    }

    fn evidence(&self) -> &[u8] {
        self.evidence.evidence()
    }
}

impl Alone {
    /// `None` if there is no device.
    pub(crate) fn new(devices: Devices) -> Option<Self> {
        devices.devices.first()?;
        let signed = devices.devices.iter().flat_map(|device| device.report.report().signed_bytes());
        Some(Self { signed: signed.copied().collect(), devices })
    }

    fn first(&self) -> &Device {
        &self.devices.devices[0]
    }
}

impl Sealed for Alone {}

impl Genuine for Alone {
    fn facts(&self, _: &Policy) -> Facts {
        let device = self.first();
        let path = device.report.path();
        Facts {
            platform: Platform::Nvidia,
            trust_class: self.devices.trust_class(),
            signer: Signer { key: "device key", hardware_id: device.key_digest().as_ref().into() },
            root_name: path.root_name.clone(),
            root_key_digest: path.root_key_digest,
            measurement: self.devices.measurement().into(),
            workload_slot: WorkloadSlot { name: "no slot", value: Value::Nothing, digest: None },
            freshness_slot: FreshnessSlot {
                name: "nonce",
                value: Carried::Nonce(Sha256::from(*device.report.report().nonce())),
            },
            not_established: vec![NotEstablished::Machine],
            logs: None,
            devices: None,
            details: Details::Nvidia(Box::new(Measurements::of(device))),
        }
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        let Some(rules) = &policy.nvidia else {
            return vec![Node::group(Code::Signer, vec![rule::no_rules(Platform::Nvidia)])];
        };
        let device = self.first();
        let digest = &device.report.path().root_key_digest;
        let accepted = circumstances.accept_simulated;
        let mut checks = rule::root(policy, &rules.root(), device.trust_class, digest, accepted);
        let machine = "evidence of their machine";
        checks.push(equal(Code::NvidiaAlone, rules.alone, "devices alone", machine));
        vec![Node::group(Code::Signer, checks)]
    }

    fn evidence(&self) -> &[u8] {
        &self.signed
    }
}

/// With what devices should have been asked, by what the machine's evidence carries; those without a machine
/// with the same as the first of them. Nothing binds them to evidence that carries nothing.
fn expected_nonce(slot: &Carried) -> Option<Sha256> {
    match slot {
        Carried::Nonce(nonce) => Some(*nonce),
        slot => (!slot.as_bytes().is_empty()).then(|| nonce_for(slot.as_bytes())),
    }
}

impl Device {
    /// When the oldest statement was made that its certificates are not revoked.
    fn revocation_ms(&self) -> Option<u64> {
        self.report.path().revocation_lists_made_ms
    }
}

impl NvidiaRules {
    /// The failed checks of evidence without devices.
    pub(crate) fn missing(&self) -> Node {
        Node::group(Code::Devices, self.counts([0, 0]))
    }

    fn root(&self) -> VendorRoot {
        VendorRoot { code: Code::NvidiaRoot, name: "NVIDIA", accepted: self.nvidia_roots }
    }

    fn counts(&self, [gpus, switches]: [usize; 2]) -> Vec<Node> {
        vec![
            at_least(Code::NvidiaGpus, gpus as u64, self.minimum_gpus.into()),
            at_least(Code::NvidiaSwitches, switches as u64, self.minimum_switches.into()),
        ]
    }

    fn device(
        &self,
        policy: &Policy,
        device: &Device,
        claims: &DeviceClaims,
        measured: &Measured,
        nonce: Option<&Sha256>,
        circumstances: &Circumstances,
    ) -> Vec<Node> {
        let digest = &device.report.path().root_key_digest;
        let accepted = circumstances.accept_simulated;
        let mut checks = rule::root(policy, &self.root(), device.trust_class, digest, accepted);
        checks.extend(rule::revocation(&policy.collateral, device.revocation_ms(), circumstances.now_ms));
        let found: Value = claims.architecture.map_or("unknown", Architecture::name).into();
        let listed: Vec<Value> = self.architectures().map(|one| one.name().into()).collect();
        let rules = claims.architecture.and_then(|architecture| self.of(architecture));
        let known = rules.is_some();
        let policy_says = Source::Policy;
        checks.push(Node::check(
            Code::NvidiaArchitecture,
            known,
            found,
            Comparison::OneOf,
            Value::List(listed),
            policy_says,
        ));
        checks.push(match self.nonce_required {
            true => {
                let holds = nonce == Some(&claims.nonce);
                let expected: Value =
                    nonce.map_or("made of report data".into(), |nonce| nonce.as_ref().into());
                equal(Code::NvidiaNonce, holds, claims.nonce.as_ref(), expected)
            }
            false => not_checked(Code::NvidiaNonce, claims.nonce.as_ref()),
        });
        checks.push(self.mode(claims.mode));
        if let Some(rules) = rules {
            if !claims.architecture.is_some_and(Architecture::is_switch) {
                let found = &claims.driver_version;
                checks.push(floor(Code::NvidiaDriver, &rules.minimum_driver, found, Version::of_driver));
            }
            let found = &claims.vbios_version;
            checks.push(floor(Code::NvidiaVbios, &rules.minimum_vbios, found, Version::of_vbios));
        }
        checks.extend(self.measured(claims, measured));
        checks
    }

    fn mode(&self, found: Option<Mode>) -> Node {
        let name = |mode: &Mode| Value::Word(mode.name());
        match (&self.modes, &found) {
            (rule, Some(mode)) => rule::accepts(Code::NvidiaMode, rule, mode, name),
            (Accept::Any, None) => not_checked(Code::NvidiaMode, Value::Nothing),
            (Accept::Only(list), None) => {
                let listed = Value::List(list.iter().map(name).collect());
                let policy_says = Source::Policy;
                Node::check(Code::NvidiaMode, false, "not stated", Comparison::OneOf, listed, policy_says)
            }
        }
    }

    fn measured(&self, claims: &DeviceClaims, measured: &Measured) -> [Node; 2] {
        let present = |holds, found: Value| match self.manifests_required {
            true => equal(Code::NvidiaManifests, holds, found, "the manifests of driver and VBIOS"),
            false => not_checked(Code::NvidiaManifests, found),
        };
        let golden =
            |holds, found: String| equal(Code::NvidiaMeasurements, holds, found, "what the manifests say");
        match measured {
            Measured::NoManifest(missing) => {
                let found = present(false, missing.clone().into());
                [found, not_checked(Code::NvidiaMeasurements, Value::Nothing)]
            }
            Measured::Good { compared, .. } => {
                let text = format!("{compared} of {} as they should be", claims.measurements);
                [present(true, "present".into()), golden(true, text)]
            }
            Measured::Bad(error) => [present(true, "present".into()), golden(false, error.to_string())],
        }
    }
}

/// Whether a version is as new as it must be; one that is not stated, or cannot be read, is not.
fn floor(
    code: Code,
    rule: &Option<NvidiaFloor>,
    found: &Option<String>,
    read: fn(&str) -> Option<Version>,
) -> Node {
    let shown = found.clone().map_or(Value::Word("not stated"), Value::Text);
    let Some(rule) = rule else { return not_checked(code, shown) };
    let holds = found.as_deref().and_then(read).is_some_and(|version| version >= rule.version);
    Node::check(code, holds, shown, Comparison::AtLeast, rule.text.clone(), Source::Policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_that_carries_nothing_binds_no_device() {
        assert_eq!(expected_nonce(&Carried::Other(Vec::new())), None);
        assert!(expected_nonce(&Carried::Other(vec![0])).is_some());
    }
}
