//! Does this policy accept this SEV-SNP report's signer, firmware, guest and platform?

use casemate_evidence::snp::{Report, SigningKeyKind, Tcb, Vmpl};

use super::Genuine;
use super::claims::Claims;
use crate::appraise::rule::{self, VendorRoot, accepts, at_least, bit, denies, equal, not_checked};
use crate::appraise::{Circumstances, Genuine as GenuineEvidence, Sealed};
use crate::policy::{Accept, CollateralRules, Policy, SnpRules};
use crate::verdict::{
    Carried, Code, Comparison, Details, Facts, FreshnessSlot, Node, NotEstablished, Platform, Signer, Source,
    Status, Value, WorkloadSlot,
};

impl Sealed for Genuine {}

impl GenuineEvidence for Genuine {
    fn facts(&self, policy: &Policy) -> Facts {
        let report = self.report();
        let (chip_id, host_data) = (self.chip_id(), report.host_data());
        let open = [
            (chip_id.is_none(), NotEstablished::Chip),
            (self.revocation_list_made_ms().is_none(), NotEstablished::Revocation),
        ];
        Facts {
            platform: Platform::Snp,
            trust_class: self.trust_class(),
            signer: Signer {
                key: self.signing_key().name(),
                hardware_id: chip_id.as_ref().map(AsRef::as_ref).into(),
            },
            root_name: self.root_name().to_owned(),
            root_key_digest: self.root_key_digest(),
            measurement: report.measurement().into(),
            workload_slot: WorkloadSlot {
                name: "HOST_DATA",
                value: host_data.as_ref().into(),
                digest: Some((*host_data.as_bytes()).into()),
            },
            freshness_slot: FreshnessSlot {
                name: "REPORT_DATA",
                value: Carried::ReportData(report.report_data()),
            },
            not_established: open.into_iter().filter_map(|(open, what)| open.then_some(what)).collect(),
            details: Details::Snp(Claims {
                report_version: report.version().number(),
                product: self.product(),
                signing_key: self.signing_key(),
                chip_id,
                tcb: oldest(self),
                minimum_tcb: policy
                    .snp
                    .as_ref()
                    .and_then(|rules| rules.minimum_tcb.get(&self.product()).copied()),
                vmpl: report.vmpl(),
                guest_policy: report.policy().bits(),
                platform_info: report.platform_info().bits(),
                host_data,
            }),
        }
    }

    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node> {
        let Some(rules) = &policy.snp else {
            return vec![Node::group(Code::Signer, vec![rule::no_rules(Platform::Snp)])];
        };
        vec![
            rules.signer(policy, self, circumstances),
            rules.firmware(self, oldest(self)),
            rules.guest(self.report()),
            rules.platform(self.report()),
        ]
    }

    fn evidence(&self) -> &[u8] {
        self.report().as_bytes()
    }
}

impl SnpRules {
    fn signer(&self, policy: &Policy, genuine: &Genuine, circumstances: &Circumstances) -> Node {
        let rules = &self.hardware;
        let root = VendorRoot { code: Code::AmdRoot, name: "AMD", accepted: self.amd_roots };
        let mut checks = rule::root(
            policy,
            &root,
            genuine.trust_class(),
            &genuine.root_key_digest(),
            circumstances.accept_simulated,
        );
        let product = genuine.product();
        checks.push(accepts(Code::Product, &rules.products, &product, |product| product.name().into()));
        checks.push(denies(Code::DeniedProduct, &rules.denied_products, Some(&product), |product| {
            product.name().into()
        }));
        checks.push(accepts(
            Code::SigningKey,
            &rules.signing_keys,
            &genuine.signing_key(),
            |kind: &SigningKeyKind| kind.name().into(),
        ));
        checks.push(match (&rules.chips, genuine.chip_id()) {
            (Accept::Any, _) => not_checked(Code::Chip, genuine.chip_id().as_ref().map(|chip| chip.as_ref())),
            (Accept::Only(list), chip) => Node::check(
                Code::Chip,
                chip.is_some_and(|chip| list.contains(&chip)),
                chip.as_ref().map(|chip| chip.as_ref()),
                Comparison::OneOf,
                list.iter().map(|chip| Value::from(chip.as_ref())).collect::<Vec<_>>(),
                Source::Policy,
            ),
        });
        checks.push(match (rules.denied_chips.is_empty(), genuine.chip_id()) {
            // A masked chip may be any chip, so it may be a denied one.
            (false, None) => Node::check(
                Code::DeniedChip,
                false,
                "masked",
                Comparison::NoneOf,
                rules.denied_chips.iter().map(|chip| Value::from(chip.as_ref())).collect::<Vec<_>>(),
                Source::Policy,
            ),
            (_, chip) => denies(Code::DeniedChip, &rules.denied_chips, chip.as_ref(), |chip| {
                Value::from(chip.as_ref())
            }),
        });
        checks.push(at_least(
            Code::ReportVersion,
            u64::from(genuine.report().version().number()),
            u64::from(rules.minimum_report_version),
        ));
        checks.extend(revocation(&policy.collateral, genuine, circumstances.now_ms));
        Node::group(Code::Signer, checks)
    }

    fn firmware(&self, genuine: &Genuine, found: Tcb) -> Node {
        let Some(floor) = self.minimum_tcb.get(&genuine.product()) else {
            let missing =
                equal(Code::TcbFloor, false, genuine.product().name(), "a product with a minimum TCB");
            return Node::group(Code::Firmware, vec![missing]);
        };
        let mut checks = Vec::new();
        if let (Some(found), Some(floor)) = (found.fmc, floor.fmc) {
            checks.push(at_least(Code::TcbFmc, u64::from(found), u64::from(floor)));
        }
        for (code, found, floor) in [
            (Code::TcbBootloader, found.bootloader, floor.bootloader),
            (Code::TcbTee, found.tee, floor.tee),
            (Code::TcbSnp, found.snp, floor.snp),
            (Code::TcbMicrocode, found.microcode, floor.microcode),
        ] {
            checks.push(at_least(code, u64::from(found), u64::from(floor)));
        }
        for check in checks.iter_mut().filter(|check| check.status == Status::Failed) {
            check.hint = Some(format!(
                "ask the operator to update the host firmware, or accept the risk with \
                 `minimum_tcb.{}.{} = {}` in casemate.policy.toml",
                genuine.product(),
                check.code.label(),
                check.found
            ));
        }
        Node::group(Code::Firmware, checks)
    }

    fn guest(&self, report: &Report) -> Node {
        let (rules, policy) = (&self.guest, report.policy());
        let vmpl = match (&self.hardware.vmpl, report.vmpl()) {
            (Accept::Any, Vmpl::Guest(level)) => not_checked(Code::Vmpl, level),
            (Accept::Any, Vmpl::Host) => {
                equal(Code::Vmpl, false, "host", "a report that the guest asked for")
            }
            (Accept::Only(levels), vmpl) => Node::check(
                Code::Vmpl,
                matches!(vmpl, Vmpl::Guest(level) if levels.contains(&level)),
                match vmpl {
                    Vmpl::Guest(level) => Value::from(level),
                    Vmpl::Host => Value::Word("host"),
                },
                Comparison::OneOf,
                levels.clone(),
                Source::Policy,
            ),
        };
        Node::group(
            Code::Guest,
            vec![
                vmpl,
                bit(Code::GuestDebug, rules.debug, policy.debug()),
                bit(Code::GuestMigrateMa, rules.migrate_ma, policy.migrate_ma()),
                bit(Code::GuestSmt, rules.smt, policy.smt()),
                bit(Code::GuestSingleSocket, rules.single_socket, policy.single_socket()),
                bit(Code::GuestCxl, rules.cxl, policy.cxl_allow()),
                bit(Code::GuestAes256Xts, rules.aes_256_xts, policy.mem_aes_256_xts()),
                bit(Code::GuestRaplDisabled, rules.rapl_disabled, policy.rapl_dis()),
                bit(Code::GuestCiphertextHiding, rules.ciphertext_hiding, policy.ciphertext_hiding()),
                bit(Code::GuestPageSwapDisabled, rules.page_swap_disabled, policy.page_swap_disable()),
            ],
        )
    }

    fn platform(&self, report: &Report) -> Node {
        let (rules, info) = (&self.platform, report.platform_info());
        Node::group(
            Code::Platform,
            vec![
                bit(Code::PlatformSmt, rules.smt, info.smt_enabled()),
                bit(Code::PlatformTsme, rules.tsme, info.tsme_enabled()),
                bit(Code::PlatformEcc, rules.ecc, info.ecc_enabled()),
                bit(Code::PlatformRaplDisabled, rules.rapl_disabled, info.rapl_disabled()),
                bit(
                    Code::PlatformCiphertextHiding,
                    rules.ciphertext_hiding,
                    info.ciphertext_hiding_enabled(),
                ),
                bit(Code::PlatformAliasCheck, rules.alias_check, info.alias_check_complete()),
                bit(Code::PlatformTrustedIo, rules.trusted_io, info.tio_enabled()),
            ],
        )
    }
}

fn revocation(rules: &CollateralRules, genuine: &Genuine, now_ms: u64) -> [Node; 2] {
    let made_ms = genuine.revocation_list_made_ms();
    let present = if rules.revocation_list_required {
        let found = if made_ms.is_some() { "present" } else { "absent" };
        equal(Code::RevocationListPresent, made_ms.is_some(), found, "present")
    } else {
        not_checked(Code::RevocationListPresent, Value::Nothing)
    };
    let age = match (rules.maximum_age_ms, made_ms) {
        (Some(maximum_ms), Some(made_ms)) => {
            let age_ms = now_ms.saturating_sub(made_ms);
            Node::check(
                Code::CollateralAge,
                age_ms <= maximum_ms,
                age_ms / DAY_MS,
                Comparison::AtMost,
                maximum_ms / DAY_MS,
                Source::Policy,
            )
        }
        // A limit without a list to apply it to: whether one must be there is the check above.
        _ => not_checked(Code::CollateralAge, Value::Nothing),
    };
    [present, age]
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Part by part the older of the firmware that the key is bound to and the firmware that launched the
/// guest: a guest launched on weak firmware stays tainted by it after an update.
fn oldest(genuine: &Genuine) -> Tcb {
    let reported = genuine.reported_tcb();
    let launch = genuine
        .report()
        .launch_tcb()
        .components(genuine.product())
        .expect("the layout of LAUNCH_TCB was checked when the report was authenticated");
    Tcb {
        fmc: reported.fmc.min(launch.fmc),
        bootloader: reported.bootloader.min(launch.bootloader),
        tee: reported.tee.min(launch.tee),
        snp: reported.snp.min(launch.snp),
        microcode: reported.microcode.min(launch.microcode),
    }
}
