//! Does this policy accept this evidence?

use casemate_crypto::hash::Sha256;
use casemate_evidence::snp::{Report, SigningKeyKind, Tcb, Vmpl};
use casemate_evidence::{ChipId, HostData, Measurement, ReportData};
use casemate_record::{PolicyDigest, WorkloadDigest};

use crate::expectations::{Channel, Expectations, Freshness, ReferenceValue, Workload};
use crate::policy::{Accept, BitRule, DigestRule, MeasurementRule, NamedMeasurement, Policy};
use crate::snp::Genuine;
use crate::trust::{AcceptSimulated, TrustClass};
use crate::verdict::{
    Claims, Code, Comparison, Node, NotEstablished, Outcome, Source, Status, Value, Verdict,
};

/// The end of an appraisal. Keys are released on [`Accepted`] and nothing less.
#[derive(Debug, Clone)]
#[must_use]
pub enum Appraisal {
    /// Genuine and accepted.
    Accepted(Box<Accepted>),
    /// Refused; the verdict says why.
    Refused(Box<Verdict>),
}

/// Evidence that is genuine and that a policy accepts. Made by [`Policy::appraise`] only.
#[derive(Debug, Clone)]
pub struct Accepted {
    verdict: Verdict,
    report: Report,
    trust_class: TrustClass,
    chip_id: Option<ChipId>,
}

impl Appraisal {
    /// The verdict, whichever way it went.
    pub fn verdict(&self) -> &Verdict {
        match self {
            Appraisal::Accepted(accepted) => &accepted.verdict,
            Appraisal::Refused(verdict) => verdict,
        }
    }

    /// The accepted evidence, or the verdict that refuses it.
    ///
    /// # Errors
    /// The verdict, if it refuses.
    pub fn accepted(self) -> Result<Accepted, Box<Verdict>> {
        match self {
            Appraisal::Accepted(accepted) => Ok(*accepted),
            Appraisal::Refused(verdict) => Err(verdict),
        }
    }
}

impl Accepted {
    /// Every check that was made.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether hardware or software stands behind it.
    pub fn trust_class(&self) -> TrustClass {
        self.trust_class
    }

    /// Launch measurement.
    pub fn measurement(&self) -> Measurement {
        self.report.measurement()
    }

    /// The workload: HOST_DATA.
    pub fn workload_digest(&self) -> WorkloadDigest {
        WorkloadDigest::from(*self.report.host_data().as_bytes())
    }

    /// REPORT_DATA. Compared with the caller's challenge if there was one.
    pub fn report_data(&self) -> ReportData {
        self.report.report_data()
    }

    /// The chip; `None` if masked.
    pub fn chip_id(&self) -> Option<ChipId> {
        self.chip_id
    }

    /// The policy that accepts it.
    pub fn policy_digest(&self) -> PolicyDigest {
        self.verdict.policy_digest
    }
}

impl Policy {
    /// Appraises genuine evidence at time `now_ms` (milliseconds since 1970).
    ///
    /// Every check is made, also after one has failed, so that the verdict names all there is to mend.
    pub fn appraise(
        &self,
        genuine: &Genuine,
        expectations: &Expectations,
        accept_simulated: AcceptSimulated,
        now_ms: u64,
    ) -> Appraisal {
        self.appraise_with_manifest(genuine, None, expectations, accept_simulated, now_ms)
    }

    /// As [`appraise`](Self::appraise), for evidence that came with a manifest of this digest.
    pub(crate) fn appraise_with_manifest(
        &self,
        genuine: &Genuine,
        manifest: Option<Sha256>,
        expectations: &Expectations,
        accept_simulated: AcceptSimulated,
        now_ms: u64,
    ) -> Appraisal {
        let report = genuine.report();
        let tcb = oldest(genuine);
        let image = find_image(&report.measurement(), &expectations.images);
        let freshness = self.freshness(&report.report_data(), &expectations.freshness, now_ms);
        let channel = channel(&expectations.channel, freshness.status);
        let groups = vec![
            Node::group(
                Code::Hardware,
                vec![
                    self.signer(genuine, accept_simulated, now_ms),
                    self.firmware(genuine, tcb),
                    self.guest(report),
                    self.platform(report),
                ],
            ),
            self.image(&report.measurement(), &expectations.images),
            self.workload(&report.host_data(), manifest, &expectations.workload),
            freshness,
            channel,
        ];
        let failed = groups.iter().any(|group| group.status == Status::Failed);
        let claims = Claims {
            report_version: report.version().number(),
            product: genuine.product(),
            signing_key: genuine.signing_key(),
            chip_id: genuine.chip_id(),
            root_name: genuine.root_name().to_owned(),
            root_key_digest: genuine.root_key_digest(),
            tcb,
            minimum_tcb: self.minimum_tcb.get(&genuine.product()).copied(),
            vmpl: report.vmpl(),
            guest_policy: report.policy().bits(),
            platform_info: report.platform_info().bits(),
            measurement: report.measurement(),
            image: image.map(|value| value.image.clone()),
            image_source: image.map(|value| value.source.clone()),
            host_data: report.host_data(),
            report_data: report.report_data(),
            challenge_age_ms: match expectations.freshness {
                Freshness::Challenge { made_ms, .. } => Some(now_ms.saturating_sub(made_ms)),
                Freshness::Unchecked => None,
            },
            session_key_digest: match expectations.channel {
                Channel::Session { key_digest } => Some(key_digest),
                Channel::Unchecked => None,
            },
        };
        let verdict = Verdict {
            outcome: if failed { Outcome::Refused } else { Outcome::Verified },
            trust_class: Some(genuine.trust_class()),
            policy_digest: self.digest,
            claims: Some(claims),
            not_established: not_established(genuine, &groups),
            groups,
        };
        if failed {
            return Appraisal::Refused(Box::new(verdict));
        }
        Appraisal::Accepted(Box::new(Accepted {
            verdict,
            report: report.clone(),
            trust_class: genuine.trust_class(),
            chip_id: genuine.chip_id(),
        }))
    }

    fn signer(&self, genuine: &Genuine, accept_simulated: AcceptSimulated, now_ms: u64) -> Node {
        let rules = &self.hardware;
        let mut checks = match genuine.trust_class() {
            TrustClass::Real => {
                vec![equal(Code::AmdRoot, self.amd_roots, "AMD", if self.amd_roots { "AMD" } else { "none" })]
            }
            TrustClass::Simulated => {
                let digest = genuine.root_key_digest();
                let listed: Vec<Value> =
                    self.simulated_roots.iter().map(|root| Value::from(root.as_ref())).collect();
                let accepted = accept_simulated == AcceptSimulated::Yes;
                vec![
                    Node::check(
                        Code::SimulatedRoot,
                        self.simulated_roots.contains(&digest),
                        digest.as_ref(),
                        Comparison::OneOf,
                        if listed.is_empty() { Value::Word("none") } else { Value::List(listed) },
                        Source::Policy,
                    ),
                    Node::check(
                        Code::SimulationAccepted,
                        accepted,
                        "simulated",
                        Comparison::Equal,
                        if accepted { "simulated" } else { "hardware" },
                        Source::Caller,
                    ),
                ]
            }
        };
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
        checks.extend(self.revocation(genuine, now_ms));
        Node::group(Code::Signer, checks)
    }

    fn revocation(&self, genuine: &Genuine, now_ms: u64) -> [Node; 2] {
        let made_ms = genuine.revocation_list_made_ms();
        let present = if self.collateral.revocation_list_required {
            let found = if made_ms.is_some() { "present" } else { "absent" };
            equal(Code::RevocationListPresent, made_ms.is_some(), found, "present")
        } else {
            not_checked(Code::RevocationListPresent, Value::Nothing)
        };
        let age = match (self.collateral.maximum_age_ms, made_ms) {
            (Some(maximum_ms), Some(made_ms)) => {
                let age_ms = now_ms.saturating_sub(made_ms);
                Node::check(
                    Code::RevocationListAge,
                    age_ms <= maximum_ms,
                    age_ms / DAY_MS,
                    Comparison::AtMost,
                    maximum_ms / DAY_MS,
                    Source::Policy,
                )
            }
            // A limit without a list to apply it to: whether one must be there is the check above.
            _ => not_checked(Code::RevocationListAge, Value::Nothing),
        };
        [present, age]
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

    fn image(&self, found: &Measurement, references: &[ReferenceValue]) -> Node {
        let check = |holds, expected: Vec<Value>, source| {
            let expected =
                if expected.is_empty() { Value::Word("a reference value") } else { Value::List(expected) };
            Node::check(Code::Measurement, holds, found.as_ref(), Comparison::OneOf, expected, source)
        };
        let node = match &self.measurements {
            MeasurementRule::Any => not_checked(Code::Measurement, found.as_ref()),
            MeasurementRule::Expected => {
                let known = references.iter().map(|value| Value::from(value.measurement.as_ref())).collect();
                check(find_image(found, references).is_some(), known, Source::Caller)
            }
            MeasurementRule::Only(list) => {
                let matches = |named: &NamedMeasurement| match named {
                    NamedMeasurement::Value(value) => value == found,
                    NamedMeasurement::Image(name) => {
                        references.iter().any(|value| value.image == *name && value.measurement == *found)
                    }
                };
                let listed = list
                    .iter()
                    .map(|named| match named {
                        NamedMeasurement::Value(value) => Value::from(value.as_ref()),
                        NamedMeasurement::Image(name) => Value::Text(name.clone()),
                    })
                    .collect();
                check(list.iter().any(matches), listed, Source::Policy)
            }
        };
        Node::group(Code::Image, vec![node])
    }

    fn workload(&self, found: &HostData, manifest: Option<Sha256>, expected: &Workload) -> Node {
        let rules = &self.workload;
        let found_digest = WorkloadDigest::from(*found.as_bytes());
        let (expected_digest, source) = match expected {
            Workload::Digest { digest, source } => (Some(digest), Source::Named(source.clone())),
            Workload::Authorised { digest, .. } => {
                (Some(digest), Source::Named("the owner's record".to_owned()))
            }
            Workload::Unchecked => (None, Source::Caller),
        };
        let is_expected = expected_digest == Some(&found_digest);
        let mut checks = Vec::new();
        checks.push(match expected_digest {
            Some(digest) => Node::check(
                Code::ExpectedWorkload,
                is_expected,
                found.as_ref(),
                Comparison::Equal,
                digest.as_ref(),
                source,
            ),
            None => not_checked(Code::ExpectedWorkload, found.as_ref()),
        });
        let by_app = matches!(expected, Workload::Authorised { app_id, .. } if rules.apps.contains(app_id));
        let by_digest = match &rules.digests {
            DigestRule::Any => true,
            DigestRule::Expected => is_expected,
            DigestRule::Only(list) => list.contains(&found_digest),
            DigestRule::None => false,
        };
        // Where the policy asks for what the caller expects, and the caller expects something, the check
        // above has said all there is to say.
        let already_said =
            rules.digests == DigestRule::Expected && expected_digest.is_some() && rules.apps.is_empty();
        checks.push(if rules.digests == DigestRule::Any || already_said {
            not_checked(Code::AcceptedWorkload, found.as_ref())
        } else {
            let mut listed: Vec<Value> = match &rules.digests {
                DigestRule::Only(list) => list.iter().map(|digest| Value::from(digest.as_ref())).collect(),
                DigestRule::Expected => vec![Value::Word("the workload that the caller expects")],
                DigestRule::Any | DigestRule::None => Vec::new(),
            };
            listed.extend(rules.apps.iter().map(|app| Value::Text(format!("app {}", app.short()))));
            Node::check(
                Code::AcceptedWorkload,
                by_digest || (by_app && is_expected),
                found.as_ref(),
                Comparison::OneOf,
                listed,
                Source::Policy,
            )
        });
        if let Some(digest) = manifest {
            checks.push(Node::check(
                Code::Manifest,
                digest.as_bytes() == found.as_bytes(),
                digest.as_ref(),
                Comparison::Equal,
                found.as_ref(),
                Source::Evidence,
            ));
        }
        Node::group(Code::Workload, checks)
    }

    fn freshness(&self, found: &ReportData, expected: &Freshness, now_ms: u64) -> Node {
        let checks = match expected {
            Freshness::Challenge { report_data, made_ms } => {
                // A challenge from the future was not made by a clock that agrees with this one.
                let age_ms = now_ms.checked_sub(*made_ms);
                let maximum_ms = self.freshness.maximum_age_ms;
                vec![
                    Node::check(
                        Code::ReportData,
                        found == report_data,
                        found.as_ref(),
                        Comparison::Equal,
                        report_data.as_ref(),
                        Source::Caller,
                    ),
                    Node::check(
                        Code::ChallengeAge,
                        age_ms.is_some_and(|age_ms| age_ms <= maximum_ms),
                        age_ms.map_or(Value::Word("from the future"), Value::Number),
                        Comparison::AtMost,
                        maximum_ms,
                        Source::Policy,
                    ),
                ]
            }
            Freshness::Unchecked if self.freshness.report_data_required => {
                vec![equal(Code::ReportData, false, found.as_ref(), "a challenge, and the caller made none")]
            }
            Freshness::Unchecked => vec![not_checked(Code::ReportData, found.as_ref())],
        };
        Node::group(Code::Freshness, checks)
    }
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

fn find_image<'a>(found: &Measurement, references: &'a [ReferenceValue]) -> Option<&'a ReferenceValue> {
    references.iter().find(|value| value.measurement == *found)
}

/// Report data that matched commits to the session's key; report data that did not says nothing of it.
fn channel(expected: &Channel, freshness: Status) -> Node {
    let check = match expected {
        Channel::Session { key_digest } => Node::check(
            Code::SessionKey,
            freshness == Status::Ok,
            if freshness == Status::Ok {
                Value::from(key_digest.as_ref())
            } else {
                Value::Word("not committed to")
            },
            Comparison::Equal,
            key_digest.as_ref(),
            Source::Caller,
        ),
        Channel::Unchecked => not_checked(Code::SessionKey, Value::Nothing),
    };
    Node::group(Code::Channel, vec![check])
}

fn not_established(genuine: &Genuine, groups: &[Node]) -> Vec<NotEstablished> {
    let unchecked =
        |code| groups.iter().any(|group| group.code == code && group.status == Status::NotChecked);
    let conditions = [
        (genuine.trust_class() == TrustClass::Simulated, NotEstablished::MemoryConfidentiality),
        (unchecked(Code::Image), NotEstablished::LaunchMeasurement),
        (unchecked(Code::Workload), NotEstablished::Workload),
        (unchecked(Code::Freshness), NotEstablished::Freshness),
        (unchecked(Code::Channel), NotEstablished::Channel),
        (genuine.chip_id().is_none(), NotEstablished::Chip),
        (genuine.revocation_list_made_ms().is_none(), NotEstablished::Revocation),
        (true, NotEstablished::Availability),
        (true, NotEstablished::SideChannels),
    ];
    conditions.into_iter().filter_map(|(holds, missing)| holds.then_some(missing)).collect()
}

fn bit(code: Code, rule: BitRule, found: bool) -> Node {
    match rule {
        BitRule::Any => not_checked(code, found),
        BitRule::Required => equal(code, found, found, true),
        BitRule::Forbidden => equal(code, !found, found, false),
    }
}

fn equal(code: Code, holds: bool, found: impl Into<Value>, expected: impl Into<Value>) -> Node {
    Node::check(code, holds, found, Comparison::Equal, expected, Source::Policy)
}

fn at_least(code: Code, found: u64, minimum: u64) -> Node {
    Node::check(code, found >= minimum, found, Comparison::AtLeast, minimum, Source::Policy)
}

fn accepts<T: PartialEq>(code: Code, rule: &Accept<T>, found: &T, value: impl Fn(&T) -> Value) -> Node {
    match rule {
        Accept::Any => not_checked(code, value(found)),
        Accept::Only(list) => {
            let listed: Vec<Value> = list.iter().map(&value).collect();
            Node::check(
                code,
                list.contains(found),
                value(found),
                Comparison::OneOf,
                Value::List(listed),
                Source::Policy,
            )
        }
    }
}

fn denies<T: PartialEq>(code: Code, denied: &[T], found: Option<&T>, value: impl Fn(&T) -> Value) -> Node {
    let found_value = found.map_or(Value::Nothing, &value);
    if denied.is_empty() {
        return not_checked(code, found_value);
    }
    let listed: Vec<Value> = denied.iter().map(&value).collect();
    let holds = found.is_none_or(|found| !denied.contains(found));
    Node::check(code, holds, found_value, Comparison::NoneOf, Value::List(listed), Source::Policy)
}

fn not_checked(code: Code, found: impl Into<Value>) -> Node {
    Node::not_checked(code, found)
}
