//! Evidence of a simulated platform, what is expected of it, and the policy that judges it.

use casemate_evidence::tdx::{TdAttributes, TeeTcbSvn};
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, Policy, ReferenceValue, Roots, Verdict,
    Verifier, Workload,
};

use crate::support::NOW_MS;
use crate::support::intel::{Guest, Machine};

/// Evidence, what is expected of it, and the policy's text.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) machine: Machine,
    pub(crate) policy: String,
    pub(crate) expectations: Expectations,
    pub(crate) roots: Option<Roots>,
}

impl Case {
    pub(crate) fn tdx() -> Self {
        Self::new(Machine::tdx())
    }

    pub(crate) fn sgx() -> Self {
        let mut case = Self::new(Machine::sgx());
        // An enclave has no slot for a workload.
        case.set("workload.digests", "\"any\"");
        case.expectations.workload = Workload::Unchecked;
        case
    }

    pub(crate) fn new(machine: Machine) -> Self {
        let measurement = match &machine.guest {
            Guest::Tdx(report) => report.finish().launch_registers().launch_measurement().into(),
            Guest::Sgx(report) => report.mr_enclave.into(),
        };
        Self {
            policy: Policy::example(&[machine.root_digest()]) + SGX_RULES,
            expectations: Expectations {
                freshness: Freshness::Challenge { report_data: [0x77; 64].into(), made_ms: NOW_MS - 41 },
                workload: Workload::Digest { digest: [0x9C; 32].into(), source: "a test".to_owned() },
                images: vec![ReferenceValue {
                    image: "image 1".to_owned(),
                    measurement,
                    source: "a test".to_owned(),
                }],
                channel: Channel::Unchecked,
            },
            machine,
            roots: None,
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        crate::support::set_rule(&mut self.policy, key, value);
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let policy = Policy::parse(&self.policy).unwrap_or_else(|error| panic!("{error}\n{}", self.policy));
        let roots = self.roots.clone().unwrap_or_else(|| policy.roots());
        let verifier = Verifier {
            policy: &policy,
            roots: &roots,
            accept_simulated: AcceptSimulated::Yes,
            provider: casemate_crypto::provider(),
        };
        let (quote, collateral) = (self.machine.quote(), self.machine.collateral());
        verifier.verify_quote(&quote, &collateral, &self.expectations, NOW_MS).verdict().clone()
    }

    pub(crate) fn failures(&self) -> Vec<Code> {
        self.verdict().failures().map(|check| check.code).collect()
    }
}

pub(crate) fn attributes(bits: u64) -> TdAttributes {
    TdAttributes::from_bits(1 << 28 | bits).expect("defined bits")
}

pub(crate) const SGX_RULES: &str = r#"
[sgx]
mr_signers = "any"
isv_prod_ids = "any"
minimum_isv_svn = 0
debug = "forbidden"
provision_key = "any"
"#;

pub(crate) fn svn(start: [u8; 3]) -> TeeTcbSvn {
    let mut bytes = [0; 16];
    bytes[..3].copy_from_slice(&start);
    bytes.into()
}
