//! Does this policy accept this trust domain and the platform that it runs on?

use casemate_evidence::Measurement;

use super::Genuine;
use super::claims::{Claims, register};
use crate::appraise::rule::{self, accepts, bit, equal, not_checked};
use crate::appraise::{Circumstances, Genuine as GenuineEvidence, Sealed};
use crate::intel::{appraise_platform, appraise_signer, appraise_standing};
use crate::logs::Registers;
use crate::policy::{Policy, ServiceTdRule, TdxRules};
use crate::verdict::{
    Carried, Code, Comparison, Details, Facts, FreshnessSlot, Node, NotEstablished, Platform, Signer, Source,
    Value, WorkloadSlot,
};

impl Sealed for Genuine {}

impl GenuineEvidence for Genuine {
    fn facts(&self, _: &Policy) -> Facts {
        let (report, quote) = (self.report(), &self.quote);
        let ppid = quote.pck.ppid();
        Facts {
            platform: Platform::Tdx,
            trust_class: quote.trust_class,
            signer: Signer { key: "PCK", hardware_id: ppid.as_ref().into() },
            root_name: quote.root_name.clone(),
            root_key_digest: quote.root_key_digest,
            measurement: report.launch_registers().launch_measurement().into(),
            workload_slot: WorkloadSlot {
                name: "MRCONFIGID",
                value: match report.workload_slot() {
                    Some(slot) => slot[..].into(),
                    None => report.mr_config_id()[..].into(),
                },
                digest: report.workload_slot().map(Into::into),
            },
            freshness_slot: FreshnessSlot {
                name: "REPORTDATA",
                value: Carried::ReportData(report.report_data()),
            },
            not_established: match report.service_td() {
                Some(_) => Vec::new(),
                None => vec![NotEstablished::ServiceTd],
            },
            logs: None,
            devices: None,
            details: Details::Tdx(Box::new(Claims {
                quote_version: quote.quote.version().number(),
                standing: quote.standing.clone(),
                ppid,
                fmspc: quote.pck.fmspc(),
                sgx_type: quote.pck.sgx_type(),
                platform_tcb: *quote.pck.tcb(),
                configuration: quote.pck.configuration(),
                tee_tcb_svn: report.tee_tcb_svn(),
                mr_seam: report.mr_seam(),
                td_attributes: report.td_attributes(),
                xfam: report.xfam(),
                mrtd: report.mr_td(),
                rtmr: [0, 1, 2, 3].map(|index| report.rtmr(index)),
                mr_config_id: report.mr_config_id().into(),
                mr_owner: report.mr_owner().into(),
                mr_owner_config: report.mr_owner_config().into(),
                service_td: report.service_td(),
            })),
        }
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        let (Some(intel), Some(rules)) = (&policy.intel, &policy.tdx) else {
            return vec![Node::group(Code::Signer, vec![rule::no_rules(Platform::Tdx)])];
        };
        vec![
            appraise_signer(intel, policy, &self.quote, circumstances),
            appraise_standing(intel, &self.quote.standing),
            rules.guest(self),
            appraise_platform(intel, &self.quote),
        ]
    }

    fn image(&self, policy: &Policy) -> Vec<Node> {
        let Some(rules) = &policy.tdx else { return Vec::new() };
        let (report, rules) = (self.report(), &rules.registers);
        let mut checks = vec![accepts(Code::Mrtd, &rules.mrtd, &report.mr_td(), register)];
        for (index, code) in [Code::Rtmr0, Code::Rtmr1, Code::Rtmr2, Code::Rtmr3].into_iter().enumerate() {
            checks.push(accepts(code, &rules.rtmr[index], &report.rtmr(index), register));
        }
        checks
    }

    fn registers(&self) -> Registers {
        Registers::Tdx([0, 1, 2, 3].map(|index| *self.report().rtmr(index).as_bytes()))
    }

    fn evidence(&self) -> &[u8] {
        self.quote.quote.signed_bytes()
    }
}

impl TdxRules {
    fn guest(&self, genuine: &Genuine) -> Node {
        let report = genuine.report();
        let (rules, found) = (&self.attributes, report.td_attributes());
        let owner = Measurement::from(report.mr_owner());
        let owner_config = Measurement::from(report.mr_owner_config());
        Node::group(
            Code::Guest,
            vec![
                self.report_version(genuine),
                self.service_td(genuine),
                accepts(Code::TdxModule, &self.modules, &report.mr_seam(), register),
                self.features(report.xfam().bits()),
                accepts(Code::MrOwner, &self.mr_owner, &owner, register),
                accepts(Code::MrOwnerConfig, &self.mr_owner_config, &owner_config, register),
                bit(Code::TdDebug, rules.debug, found.debug()),
                bit(Code::TdHgsPlusProf, rules.hgs_plus_prof, found.hgs_plus_prof()),
                bit(Code::TdPerfProf, rules.perf_prof, found.perf_prof()),
                bit(Code::TdPmtProf, rules.pmt_prof, found.pmt_prof()),
                bit(Code::TdIcssd, rules.icssd, found.icssd()),
                bit(Code::TdLass, rules.lass, found.lass()),
                bit(Code::TdSeptVeDisable, rules.sept_ve_disable, found.sept_ve_disable()),
                bit(Code::TdMigratable, rules.migratable, found.migratable()),
                bit(Code::TdPks, rules.pks, found.pks()),
                bit(Code::TdKeyLocker, rules.key_locker, found.key_locker()),
                bit(Code::TdTpa, rules.tpa, found.tpa()),
                bit(Code::TdPerfmon, rules.perfmon, found.perfmon()),
            ],
        )
    }

    fn report_version(&self, genuine: &Genuine) -> Node {
        let found = if genuine.report().service_td().is_some() { "1.5" } else { "1.0" };
        if self.service_td_named {
            equal(Code::TdReportVersion, found == "1.5", found, "1.5")
        } else {
            not_checked(Code::TdReportVersion, found)
        }
    }

    /// Reports of TDX 1.0 do not say: [`Self::report_version`] is the rule that asks for one that does.
    fn service_td(&self, genuine: &Genuine) -> Node {
        let Some(service_td) = genuine.report().service_td() else {
            return not_checked(Code::ServiceTd, Value::Nothing);
        };
        let found = service_td.mr_service_td;
        let none = found.as_bytes().iter().all(|byte| *byte == 0);
        match &self.service_td {
            ServiceTdRule::Any => not_checked(Code::ServiceTd, register(&found)),
            ServiceTdRule::None => equal(Code::ServiceTd, none, register(&found), "none bound"),
            ServiceTdRule::Only(list) => Node::check(
                Code::ServiceTd,
                list.contains(&found),
                register(&found),
                Comparison::OneOf,
                Value::List(list.iter().map(register).collect()),
                Source::Policy,
            ),
        }
    }

    /// Every feature that is on must be in the rule's set.
    fn features(&self, found: u64) -> Node {
        let digits = |bits: u64| format!("{bits:016x}");
        match self.xfam {
            None => not_checked(Code::Xfam, digits(found)),
            Some(most) => Node::check(
                Code::Xfam,
                found & !most == 0,
                digits(found),
                Comparison::AtMost,
                digits(most),
                Source::Policy,
            ),
        }
    }
}
