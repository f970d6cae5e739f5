//! A report of a simulated chip, what is expected of it, and the policy that judges it.

use casemate_evidence::Measurement;
use casemate_evidence::snp::{CpuId, GuestPolicy, KeyInfo, Layout, Product, Tcb};
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, Policy, ReferenceValue, Roots, Verdict, Verifier,
    Workload,
};

use crate::support::{ListParts, NOW_MS, Tee};

/// Evidence, what is expected of it, and the policy's text.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) tee: Tee,
    pub(crate) policy: String,
    pub(crate) expectations: Expectations,
    pub(crate) accept_simulated: AcceptSimulated,
    pub(crate) roots: Option<Roots>,
    pub(crate) now_ms: u64,
}

impl Case {
    pub(crate) fn new(product: Product) -> Self {
        let mut tee = Tee::new(product);
        tee.revocation_list = Some(ListParts::new(&tee.root.subject));
        Self {
            policy: Policy::example(&[tee.root_digest()]),
            tee,
            expectations: Expectations {
                freshness: Freshness::Challenge { report_data: [0x77; 64].into(), made_ms: NOW_MS - 1000 },
                workload: Workload::Digest { digest: [0x9C; 32].into(), source: "a test".to_owned() },
                images: vec![ReferenceValue {
                    image: "image 1".to_owned(),
                    measurement: Measurement::from([0x4D; 48]).into(),
                    source: "a test".to_owned(),
                }],
                channel: Channel::Unchecked,
            },
            accept_simulated: AcceptSimulated::Yes,
            roots: None,
            now_ms: NOW_MS,
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        crate::support::set_rule(&mut self.policy, key, value);
    }

    /// Makes the report come from a processor with this microcode, and its certificate agree.
    pub(crate) fn is_of(&mut self, cpuid: CpuId, product: &str, microcode: u8) {
        let product = Product::ALL.into_iter().find(|known| known.name() == product).expect("a product");
        *self = Case::new(product);
        let tcb = Tcb { microcode, ..crate::support::tcb(product) }.version(product);
        self.tee = self.tee.clone().with_tcb(product, tcb);
        self.tee.report.layout = match self.tee.report.layout {
            Layout::V5 { launch_mitigations, current_mitigations, .. } => {
                Layout::V5 { cpuid, launch_mitigations, current_mitigations }
            }
            _ => Layout::V3 { cpuid },
        };
    }

    /// Replaces the floor of one design.
    pub(crate) fn set_microcode(&mut self, product: &str, design: &str, floor: u32) {
        let header = format!("[minimum_tcb.{product}]");
        let (before, table) = self.policy.split_once(&header).expect("a table");
        let (line, after) = table.split_once(" }").expect("a table of designs");
        let from = line.find(&format!(" {design} = ")).expect("a design") + design.len() + 4;
        let to = line[from..].find(',').map_or(line.len(), |comma| from + comma);
        self.policy = format!("{before}{header}{}{floor}{} }}{after}", &line[..from], &line[to..]);
    }

    /// Lists the ID key of the report, so that what its ID block states is bound to somebody.
    pub(crate) fn with_id_block(&mut self) {
        self.tee.report.id_key_digest = [0x1D; 48];
        self.tee.report.key_info = KeyInfo::from_bits(1).expect("an author key");
        self.set("id_block.id_keys", &format!("[\"{}\"]", "1d".repeat(48)));
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let policy = Policy::parse(&self.policy).unwrap_or_else(|error| panic!("{error}\n{}", self.policy));
        let roots = self.roots.clone().unwrap_or_else(|| policy.roots());
        let verifier = Verifier {
            policy: &policy,
            roots: &roots,
            accept_simulated: self.accept_simulated,
            provider: casemate_crypto::provider(),
        };
        let report = self.tee.sign_report();
        let endorsements = self.tee.endorsements();
        verifier
            .verify_report(report.as_bytes(), &endorsements, &self.expectations, self.now_ms)
            .verdict()
            .clone()
    }
}

pub(crate) fn bits(set: u64) -> GuestPolicy {
    GuestPolicy::from_bits(1 << 17 | set).expect("defined bits")
}
