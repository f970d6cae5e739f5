//! What came out, and why?
//!
//! A verdict is a tree of typed checks: each says what was found, what was expected, and who says so.
//! Text arises only when it is rendered. Reference: `docs/reference/verdict.md`.

mod advice;
mod claims;
mod code;
mod explanation;
mod outline;
mod render;
mod value;

pub use advice::Advice;
pub(crate) use claims::Facts;
pub use claims::{Carried, Claims, Details, FreshnessSlot, Platform, Signer, WorkloadSlot};
pub use code::Code;
pub use explanation::Explanation;
pub use outline::{Branch, Outline};
pub use render::Style;
pub(crate) use value::printable;
pub use value::{Comparison, Source, Value};

use casemate_record::PolicyDigest;
use serde::Serialize;

use crate::trust::TrustClass;

/// The result of an appraisal: whether the evidence is accepted, with every check that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) trust_class: Option<TrustClass>,
    pub(crate) policy_digest: PolicyDigest,
    pub(crate) claims: Option<Claims>,
    pub(crate) groups: Vec<Node>,
    pub(crate) not_established: Vec<NotEstablished>,
}

/// Accepted, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Genuine, and the policy accepts it.
    Verified,
    /// The policy or the caller's expectations refuse it. It is genuine, unless the policy has no rules
    /// for its platform: then nobody looked, and it has no claims.
    Refused,
    /// No trusted root vouches for it: whatever it says is hearsay.
    NotGenuine,
}

/// A check, or a group of checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Which check.
    pub code: Code,
    /// How it came out; of a group: the worst of its checks.
    pub status: Status,
    /// What was found.
    #[serde(skip_serializing_if = "Value::is_nothing")]
    pub found: Value,
    /// How found and expected must relate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// What was expected.
    #[serde(skip_serializing_if = "Value::is_nothing")]
    pub expected: Value,
    /// Who expects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What to do, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Advice>,
    /// The checks of a group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Node>,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It holds.
    Ok,
    /// It does not hold.
    Failed,
    /// Nobody asked for it, or an earlier failure left nothing to check.
    NotChecked,
}

/// What a reader might take for granted and the evidence does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotEstablished {
    /// The TEE is simulated.
    MemoryConfidentiality,
    /// Any measurement was accepted.
    LaunchMeasurement,
    /// Any workload was accepted.
    Workload,
    /// No challenge was made.
    Freshness,
    /// No session is bound.
    Channel,
    /// A VLEK signed and the chip is masked.
    Chip,
    /// There was no revocation list.
    Revocation,
    /// The report is of TDX 1.0, which does not name service TDs.
    ServiceTd,
    /// A hypervisor states it, not a processor.
    Hypervisor,
    /// A TPM states it: no TEE stands behind.
    Tee,
    /// No quote of the vTPM came along.
    GuestSoftware,
    /// A log came along and does not explain every register.
    Registers,
    /// Devices came along and the policy has no rules for them.
    Devices,
    /// A device was asked with another nonce than this evidence has for it.
    DeviceNonce,
    /// A device's measurements were compared with nothing.
    DeviceMeasurements,
    /// Reports of devices do not say it.
    DeviceMode,
    /// Never established by a device's report.
    DeviceUse,
    /// Devices came along without evidence of the machine that they are in.
    Machine,
    /// Never established by attestation.
    Availability,
    /// Never established by attestation.
    SideChannels,
}

/// A failed check without what was expected: safe to tell a stranger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which check failed.
    pub code: Code,
    /// What was found.
    pub found: Value,
}

impl Verdict {
    /// Accepted, or why not.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether hardware or software stands behind it; `None` if the evidence was not found genuine.
    pub fn trust_class(&self) -> Option<TrustClass> {
        self.trust_class
    }

    /// Digest of the policy that was applied.
    pub fn policy_digest(&self) -> PolicyDigest {
        self.policy_digest
    }

    /// What the evidence states; `None` if it was not found genuine.
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// The groups hardware, image, workload, freshness and channel, in this order.
    pub fn groups(&self) -> &[Node] {
        &self.groups
    }

    /// What the evidence does not show.
    pub fn not_established(&self) -> &[NotEstablished] {
        &self.not_established
    }

    /// Every single check, without the groups.
    pub fn checks(&self) -> impl Iterator<Item = &Node> {
        let mut rest: Vec<&Node> = self.groups.iter().rev().collect();
        std::iter::from_fn(move || {
            loop {
                let node = rest.pop()?;
                if node.checks.is_empty() && !node.is_group() {
                    return Some(node);
                }
                rest.extend(node.checks.iter().rev());
            }
        })
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Node> {
        self.checks().filter(|check| check.status == Status::Failed)
    }

    /// How many checks passed.
    pub fn passed(&self) -> usize {
        self.checks().filter(|check| check.status == Status::Ok).count()
    }

    /// The failed checks with what was found, and without what was expected: for a denial, which
    /// teaches the policy to no stranger.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.failures().map(|check| Refusal { code: check.code, found: check.found.clone() }).collect()
    }

    /// The verdict as people read it; `subject` is what was verified, as in `notes on 127.0.0.1`.
    pub fn render(&self, subject: &str, style: Style) -> String {
        render::text(&self.outline(subject), style)
    }

    /// The lines of [`render`](Self::render) as data, for whoever draws them in another way.
    pub fn outline(&self, subject: &str) -> Outline {
        Outline::of(self, subject)
    }
}

impl Node {
    pub(crate) fn group(code: Code, checks: Vec<Node>) -> Self {
        let any = |status| checks.iter().any(|check| check.status == status);
        let status = if any(Status::Failed) {
            Status::Failed
        } else if any(Status::Ok) {
            Status::Ok
        } else {
            Status::NotChecked
        };
        Self { status, checks, ..Self::bare(code, status) }
    }

    /// As [`group`](Self::group), of one of several that have the same code.
    pub(crate) fn named_group(code: Code, name: String, checks: Vec<Node>) -> Self {
        Self { found: Value::Text(name), ..Self::group(code, checks) }
    }

    pub(crate) fn check(
        code: Code,
        holds: bool,
        found: impl Into<Value>,
        comparison: Comparison,
        expected: impl Into<Value>,
        source: Source,
    ) -> Self {
        let (found, expected) = (found.into(), expected.into());
        let status = if holds { Status::Ok } else { Status::Failed };
        let hint = if holds { None } else { Advice::of(code) };
        Self {
            found,
            comparison: Some(comparison),
            expected,
            source: Some(source),
            hint,
            ..Self::bare(code, status)
        }
    }

    pub(crate) fn not_checked(code: Code, found: impl Into<Value>) -> Self {
        Self { found: found.into(), ..Self::bare(code, Status::NotChecked) }
    }

    fn bare(code: Code, status: Status) -> Self {
        Self {
            code,
            status,
            found: Value::Nothing,
            comparison: None,
            expected: Value::Nothing,
            source: None,
            hint: None,
            checks: Vec::new(),
        }
    }

    fn is_group(&self) -> bool {
        self.code.is_group()
    }
}

/// A failed check of being genuine: what the evidence itself demands is not there.
pub(crate) fn not_genuine(
    code: Code,
    found: impl Into<Value>,
    comparison: Comparison,
    expected: impl Into<Value>,
) -> Box<Node> {
    Box::new(Node::check(code, false, found, comparison, expected, Source::Evidence))
}

/// As [`not_genuine`], where the error says all there is to say.
pub(crate) fn broken(code: Code, error: &dyn std::error::Error) -> Box<Node> {
    not_genuine(code, error.to_string(), Comparison::Equal, Value::Nothing)
}

impl NotEstablished {
    /// As many as an SEV-SNP report can leave open at most.
    pub(crate) const MOST_OF_SNP: usize = 9;

    /// The sentence part that follows "Not established:".
    pub const fn text(self) -> &'static str {
        match self {
            NotEstablished::MemoryConfidentiality => "that the machine keeps memory confidential (simulated)",
            NotEstablished::LaunchMeasurement => "which image was launched",
            NotEstablished::Workload => "which workload runs",
            NotEstablished::Freshness => "that the evidence is recent",
            NotEstablished::Channel => "that you are talking to this guest",
            NotEstablished::Chip => "which chip it runs on",
            NotEstablished::Revocation => "that no certificate was revoked",
            NotEstablished::ServiceTd => "that no service TD is bound to the guest",
            NotEstablished::Hypervisor => {
                "that memory is hidden from the cloud's hypervisor, which states all this"
            }
            NotEstablished::Tee => "that a TEE hides memory from the machine's owner: a TPM measures only",
            NotEstablished::GuestSoftware => "which software the paravisor started",
            NotEstablished::Registers => "what went into the registers that the event log does not explain",
            NotEstablished::Devices => {
                "anything about the NVIDIA devices that came along: the policy has no rules for them"
            }
            NotEstablished::DeviceNonce => "that the devices were asked for this evidence",
            NotEstablished::DeviceMeasurements => "what the devices should measure",
            NotEstablished::DeviceMode => {
                "that the devices are in confidential mode, which their reports do not state"
            }
            NotEstablished::DeviceUse => "that the guest uses these devices, and nobody else does",
            NotEstablished::Machine => "which machine the devices are in",
            NotEstablished::Availability => "availability",
            NotEstablished::SideChannels => "side channels",
        }
    }
}
