//! Does this policy accept this SEV-SNP report's signer, firmware, guest and platform?

use casemate_crypto::hash::Sha384;
use casemate_evidence::snp::{CpuId, Report, SigningKeyKind, Tcb, Vmpl};

use super::Genuine;
use super::claims::Claims;
use crate::appraise::rule::{self, VendorRoot, accepts, at_least, bit, denies, equal, not_checked};
use crate::appraise::{Circumstances, Genuine as GenuineEvidence, Sealed};
use crate::policy::{Accept, BlockId, IdBlockRules, Policy, SnpRules};
use crate::verdict::{
    Advice, Carried, Code, Comparison, Details, Facts, FreshnessSlot, Node, NotEstablished, Platform, Signer,
    Source, Value, WorkloadSlot,
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
        let mut not_established = Vec::with_capacity(NotEstablished::MOST_OF_SNP);
        not_established.extend(open.into_iter().filter_map(|(open, what)| open.then_some(what)));
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
            not_established,
            logs: None,
            devices: None,
            details: Details::Snp(Claims {
                report_version: report.version().number(),
                product: self.product(),
                silicon: report.cpuid().and_then(CpuId::silicon),
                signing_key: self.signing_key(),
                chip_id,
                tcb: oldest(self),
                minimum_tcb: policy
                    .snp
                    .as_ref()
                    .and_then(|rules| rules.minimum_tcb.get(&self.product()))
                    .and_then(|rule| rule.of(report.cpuid())),
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
        checks.push(match genuine.provider() {
            // A VCEK belongs to a chip and not to a provider.
            None => not_checked(Code::VlekProvider, Value::Nothing),
            Some(name) => {
                accepts(Code::VlekProvider, &rules.vlek_providers, name, |name: &str| name.to_owned().into())
            }
        });
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
        checks.extend(rule::revocation(
            &policy.collateral,
            genuine.revocation_list_made_ms(),
            circumstances.now_ms,
        ));
        Node::group(Code::Signer, checks)
    }

    fn firmware(&self, genuine: &Genuine, found: Tcb) -> Node {
        let (product, report) = (genuine.product(), genuine.report());
        let Some(rule) = self.minimum_tcb.get(&product) else {
            let missing = equal(Code::TcbFloor, false, product.name(), "a product with a minimum TCB");
            return Node::group(Code::Firmware, vec![missing]);
        };
        let Some(floor) = rule.of(report.cpuid()) else {
            let unknown = equal(Code::TcbFloor, false, report.cpuid(), "a processor of a known design");
            return Node::group(Code::Firmware, vec![unknown]);
        };
        let silicon = report.cpuid().and_then(CpuId::silicon);
        let part = |part, found: u8, floor: u8| {
            let silicon = silicon.filter(|_| part == Code::TcbMicrocode);
            let old = Advice::OldFirmware { part, product, silicon, found };
            Node { hint: (found < floor).then_some(old), ..at_least(part, found.into(), floor.into()) }
        };
        let fmc = found.fmc.zip(floor.fmc).map(|(found, floor)| part(Code::TcbFmc, found, floor));
        let mut checks = Vec::with_capacity(6);
        checks.extend(fmc);
        checks.extend([
            part(Code::TcbBootloader, found.bootloader, floor.bootloader),
            part(Code::TcbTee, found.tee, floor.tee),
            part(Code::TcbSnp, found.snp, floor.snp),
            part(Code::TcbMicrocode, found.microcode, floor.microcode),
            mitigations(rule.mitigations, report),
        ]);
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
                levels.iter().map(|level| Value::from(*level)).collect::<Vec<_>>(),
                Source::Policy,
            ),
        };
        let bits = [
            bit(Code::GuestDebug, rules.debug, policy.debug()),
            bit(Code::GuestMigrateMa, rules.migrate_ma, policy.migrate_ma()),
            bit(Code::GuestSmt, rules.smt, policy.smt()),
            bit(Code::GuestSingleSocket, rules.single_socket, policy.single_socket()),
            bit(Code::GuestCxl, rules.cxl, policy.cxl_allow()),
            bit(Code::GuestAes256Xts, rules.aes_256_xts, policy.mem_aes_256_xts()),
            bit(Code::GuestRaplDisabled, rules.rapl_disabled, policy.rapl_dis()),
            bit(Code::GuestCiphertextHiding, rules.ciphertext_hiding, policy.ciphertext_hiding()),
            bit(Code::GuestPageSwapDisabled, rules.page_swap_disabled, policy.page_swap_disable()),
        ];
        let id_block = id_block(&self.id_block, report);
        Node::group(Code::Guest, std::iter::once(vmpl).chain(bits).chain(id_block).collect())
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
                bit(Code::PlatformIommuWriteSafe, rules.iommu_write_safe, info.iommu_write_safe()),
                bit(Code::PlatformTrustedIo, rules.trusted_io, info.tio_enabled()),
            ],
        )
    }
}

/// Bits that are set in both vectors: a mitigation must have been in force at launch and still be.
fn mitigations(required: Option<u64>, report: &Report) -> Node {
    let both = match (report.launch_mitigations(), report.current_mitigations()) {
        (Some(launch), Some(current)) => Some(launch & current),
        _ => None, // reports before version 5 state none
    };
    let found = both.map(bits_set);
    match required {
        None => not_checked(Code::Mitigations, found),
        Some(required) => Node::check(
            Code::Mitigations,
            both.is_some_and(|both| both & required == required),
            found,
            Comparison::AllOf,
            bits_set(required),
            Source::Policy,
        ),
    }
}

fn bits_set(bits: u64) -> Value {
    let mut numbers = Vec::with_capacity(bits.count_ones() as usize);
    numbers.extend((0..64).filter(|index| bits >> index & 1 == 1).map(Value::Number));
    if numbers.is_empty() { Value::Word("none") } else { Value::List(numbers) }
}

/// What the ID block states that was given at launch. The firmware checked its signature; without an ID
/// block, everything is zero and both digests are of no key.
fn id_block(rules: &IdBlockRules, report: &Report) -> [Node; 5] {
    let key = |code, rule: &Accept<Sha384>, digest: Option<[u8; 48]>| {
        let digest = digest.map(Sha384::from).filter(|digest| *digest != Sha384::from([0; 48]));
        match (rule, digest) {
            (Accept::Only(list), None) => Node::check(
                code,
                false,
                "none",
                Comparison::OneOf,
                list.iter().map(|key| Value::from(key.as_ref())).collect::<Vec<_>>(),
                Source::Policy,
            ),
            (Accept::Any, None) => not_checked(code, Value::Nothing),
            (rule, Some(digest)) => accepts(code, rule, &digest, |key| key.as_ref().into()),
        }
    };
    let id = |code, rule, bytes: [u8; 16]| {
        accepts(code, rule, &BlockId::from(bytes), |id: &BlockId| id.as_ref().into())
    };
    // The author's digest means nothing unless the flag says that an author key was given.
    let author = report.key_info().author_key_enabled().then(|| report.author_key_digest());
    let guest_svn = u64::from(report.guest_svn());
    [
        key(Code::IdKey, &rules.id_keys, Some(report.id_key_digest())),
        key(Code::AuthorKey, &rules.author_keys, author),
        id(Code::FamilyId, &rules.family_ids, report.family_id()),
        id(Code::ImageId, &rules.image_ids, report.image_id()),
        match rules.minimum_guest_svn {
            Some(minimum) => at_least(Code::GuestSvn, guest_svn, u64::from(minimum)),
            None => not_checked(Code::GuestSvn, guest_svn),
        },
    ]
}

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
