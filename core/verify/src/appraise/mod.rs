//! Does this policy accept this evidence?
//!
//! What all platforms share is judged here: image, workload, freshness, channel. What only one platform
//! has (`hardware`) is judged in its own module, which implements [`Genuine`] for what it authenticated.

mod channel;
mod freshness;
mod image;
pub(crate) mod rule;
mod workload;

use casemate_crypto::hash::{Sha256, sha256};
use casemate_evidence::ReportData;
use casemate_record::{PolicyDigest, WorkloadDigest};

use crate::expectations::{Channel, Expectations, Freshness, LaunchMeasurement};
use crate::logs::Registers;
use crate::policy::{NvidiaRules, Policy};
use crate::trust::{AcceptSimulated, TrustClass};
use crate::verdict::{
    Carried, Claims, Code, Facts, Node, NotEstablished, Outcome, Platform, Status, Verdict,
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
    platform: Platform,
    trust_class: TrustClass,
    measurement: LaunchMeasurement,
    workload_digest: Option<WorkloadDigest>,
    report_data: Option<ReportData>,
    evidence_digest: Sha256,
}

/// Evidence of any platform that a trusted root vouches for.
///
/// Implemented by what each platform's `authenticate` returns, and by nothing else: what implements it can
/// be accepted. Evidence in layers, such as a TPM's quote above a TEE's report, implements it once for the
/// whole: the facts are those of the layer that holds them.
pub trait Genuine: Sealed {
    /// What it states in the words that all platforms share; of the policy only floors are shown beside.
    fn facts(&self, policy: &Policy) -> Facts;

    /// The groups below `hardware`, every check made. If the policy has no rules for the platform, one
    /// failed check that says so ([`rule::no_rules`]).
    fn hardware(&self, policy: &Policy, circumstances: &Circumstances) -> Vec<Node>;

    /// Further checks of what was launched, where a platform measures more than one value.
    fn image(&self, _policy: &Policy) -> Vec<Node> {
        Vec::new()
    }

    /// The group of NVIDIA devices, if they are judged: by a policy with rules for them they must be there.
    fn devices(&self, policy: &Policy, _circumstances: &Circumstances) -> Option<Node> {
        policy.nvidia.as_ref().map(NvidiaRules::missing)
    }

    /// Registers that it signs, to which a log may replay.
    fn registers(&self) -> Registers {
        Registers::None
    }

    /// The signed bytes, which name the evidence.
    fn evidence(&self) -> &[u8];
}

/// Keeps [`Genuine`] to this crate.
pub trait Sealed {}

/// What a platform's checks depend on besides evidence and policy.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    pub accept_simulated: AcceptSimulated,
    /// Milliseconds since 1970.
    pub now_ms: u64,
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

    /// What kind of evidence it is.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// Whether hardware or software stands behind it.
    pub fn trust_class(&self) -> TrustClass {
        self.trust_class
    }

    /// What was launched.
    pub fn measurement(&self) -> LaunchMeasurement {
        self.measurement
    }

    /// The workload in the platform's slot; `None` if the slot holds something else, which only a policy
    /// accepts that takes any workload.
    pub fn workload_digest(&self) -> Option<WorkloadDigest> {
        self.workload_digest
    }

    /// The report data that the evidence answers: the caller's challenge if there was one, else what is in
    /// the slot, as far as it is there in full.
    pub fn report_data(&self) -> Option<ReportData> {
        self.report_data
    }

    /// SHA-256 of the signed evidence: two appraisals of the same evidence agree on it.
    pub fn evidence_digest(&self) -> Sha256 {
        self.evidence_digest
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
        genuine: &impl Genuine,
        expectations: &Expectations,
        accept_simulated: AcceptSimulated,
        now_ms: u64,
    ) -> Appraisal {
        self.appraise_with_manifest(genuine, None, expectations, accept_simulated, now_ms)
    }

    /// As [`appraise`](Self::appraise), for evidence that came with a manifest of this digest.
    pub(crate) fn appraise_with_manifest(
        &self,
        genuine: &dyn Genuine,
        manifest: Option<Sha256>,
        expectations: &Expectations,
        accept_simulated: AcceptSimulated,
        now_ms: u64,
    ) -> Appraisal {
        let mut facts = genuine.facts(self);
        let circumstances = Circumstances { accept_simulated, now_ms };
        let freshness = freshness::freshness(self, &facts.freshness_slot, &expectations.freshness, now_ms);
        // What was not chosen for this conversation commits to none.
        let answered = match expectations.freshness {
            Freshness::Undated { .. } => Status::NotChecked,
            Freshness::Challenge { .. } | Freshness::Unchecked => freshness.status,
        };
        let channel = channel::channel(&expectations.channel, answered, now_ms);
        let mut hardware = genuine.hardware(self, &circumstances);
        hardware.extend(genuine.devices(self, &circumstances));
        let groups = vec![
            Node::group(Code::Hardware, hardware),
            image::image(self, &facts.measurement, &expectations.images, genuine.image(self)),
            workload::workload(self, &facts, manifest, &expectations.workload),
            freshness,
            channel,
        ];
        let refused = groups.iter().any(|group| group.status == Status::Failed);
        let (platform, trust_class, measurement) = (facts.platform, facts.trust_class, facts.measurement);
        let workload_digest = facts.workload_slot.digest;
        let carried = facts.freshness_slot.value.clone();
        let open = std::mem::take(&mut facts.not_established);
        let verdict = Verdict {
            outcome: if refused { Outcome::Refused } else { Outcome::Verified },
            trust_class: Some(trust_class),
            policy_digest: self.digest,
            not_established: not_established(open, trust_class, &groups, expectations),
            claims: Some(claims(facts, expectations, now_ms)),
            groups,
        };
        if refused {
            return Appraisal::Refused(Box::new(verdict));
        }
        Appraisal::Accepted(Box::new(Accepted {
            verdict,
            platform,
            trust_class,
            measurement,
            workload_digest,
            report_data: match (expectations.freshness, carried) {
                (Freshness::Challenge { report_data, .. } | Freshness::Undated { report_data }, _) => {
                    Some(report_data)
                }
                (Freshness::Unchecked, Carried::ReportData(report_data)) => Some(report_data),
                (Freshness::Unchecked, Carried::Digest(_) | Carried::Nonce(_) | Carried::Other(_)) => None,
            },
            evidence_digest: sha256(genuine.evidence()),
        }))
    }
}

fn claims(facts: Facts, expectations: &Expectations, now_ms: u64) -> Claims {
    let image = image::find(&facts.measurement, &expectations.images);
    Claims {
        platform: facts.platform,
        signer: facts.signer,
        root_name: facts.root_name,
        root_key_digest: facts.root_key_digest,
        measurement: facts.measurement,
        image: image.map(|value| value.image.clone()),
        image_source: image.map(|value| value.source.clone()),
        workload_slot: facts.workload_slot,
        freshness_slot: facts.freshness_slot,
        challenge_age_ms: match expectations.freshness {
            Freshness::Challenge { made_ms, .. } => Some(now_ms.saturating_sub(made_ms)),
            Freshness::Undated { .. } | Freshness::Unchecked => None,
        },
        session_key_digest: match expectations.channel {
            Channel::Session { key_digest, .. } => Some(key_digest),
            Channel::Unchecked => None,
        },
        logs: facts.logs,
        devices: facts.devices,
        details: facts.details,
    }
}

/// What the platform leaves `open`, between what goes for every platform.
fn not_established(
    mut open: Vec<NotEstablished>,
    trust_class: TrustClass,
    groups: &[Node],
    expectations: &Expectations,
) -> Vec<NotEstablished> {
    let undated = matches!(expectations.freshness, Freshness::Undated { .. });
    let unchecked =
        |code| groups.iter().any(|group| group.code == code && group.status == Status::NotChecked);
    let conditions = [
        (trust_class == TrustClass::Simulated, NotEstablished::MemoryConfidentiality),
        (unchecked(Code::Image), NotEstablished::LaunchMeasurement),
        (unchecked(Code::Workload), NotEstablished::Workload),
        (undated || unchecked(Code::Freshness), NotEstablished::Freshness),
        (unchecked(Code::Channel), NotEstablished::Channel),
    ];
    let of_platform = open.len();
    open.extend(conditions.into_iter().filter_map(|(holds, missing)| holds.then_some(missing)));
    open.rotate_left(of_platform);
    open.extend([NotEstablished::Availability, NotEstablished::SideChannels]);
    open
}
