//! Does this policy accept this enclave and the platform that it runs on?

use super::Genuine;
use super::claims::Claims;
use crate::appraise::rule::{self, accepts, at_least, bit};
use crate::appraise::{Circumstances, Genuine as GenuineEvidence, Sealed};
use crate::intel::{appraise_platform, appraise_signer, appraise_standing};
use crate::policy::{Policy, SgxRules};
use crate::verdict::{
    Carried, Code, Details, Facts, FreshnessSlot, Node, Platform, Signer, Value, WorkloadSlot,
};

impl Sealed for Genuine {}

impl GenuineEvidence for Genuine {
    fn facts(&self, _: &Policy) -> Facts {
        let (report, quote) = (self.report(), &self.quote);
        let ppid = quote.pck.ppid();
        Facts {
            platform: Platform::Sgx,
            trust_class: quote.trust_class,
            signer: Signer { key: "PCK", hardware_id: ppid.as_ref().into() },
            root_name: quote.root_name.clone(),
            root_key_digest: quote.root_key_digest,
            measurement: report.mr_enclave().into(),
            workload_slot: WorkloadSlot { name: "no slot", value: Value::Nothing, digest: None },
            freshness_slot: FreshnessSlot {
                name: "REPORTDATA",
                value: Carried::ReportData(report.report_data()),
            },
            not_established: Vec::new(),
            logs: None,
            devices: None,
            details: Details::Sgx(Box::new(Claims {
                quote_version: quote.quote.version().number(),
                standing: quote.standing.clone(),
                ppid,
                fmspc: quote.pck.fmspc(),
                sgx_type: quote.pck.sgx_type(),
                platform_tcb: *quote.pck.tcb(),
                configuration: quote.pck.configuration(),
                mr_enclave: report.mr_enclave(),
                mr_signer: report.mr_signer(),
                isv_prod_id: report.isv_prod_id(),
                isv_svn: report.isv_svn(),
                attributes: report.attributes(),
            })),
        }
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        let (Some(intel), Some(rules)) = (&policy.intel, &policy.sgx) else {
            return vec![Node::group(Code::Signer, vec![rule::no_rules(Platform::Sgx)])];
        };
        vec![
            appraise_signer(intel, policy, &self.quote, circumstances),
            appraise_standing(intel, &self.quote.standing),
            rules.enclave(self),
            appraise_platform(intel, &self.quote),
        ]
    }

    fn evidence(&self) -> &[u8] {
        self.quote.quote.signed_bytes()
    }
}

impl SgxRules {
    fn enclave(&self, genuine: &Genuine) -> Node {
        let report = genuine.report();
        let attributes = report.attributes();
        Node::group(
            Code::Guest,
            vec![
                accepts(Code::MrSigner, &self.mr_signers, &report.mr_signer(), |digest| {
                    digest.as_ref().into()
                }),
                accepts(Code::IsvProdId, &self.isv_prod_ids, &report.isv_prod_id(), |id| {
                    Value::Number(u64::from(*id))
                }),
                at_least(Code::IsvSvn, u64::from(report.isv_svn()), u64::from(self.minimum_isv_svn)),
                bit(Code::EnclaveDebug, self.debug, attributes.debug()),
                bit(Code::EnclaveProvisionKey, self.provision_key, attributes.provision_key()),
            ],
        )
    }
}
