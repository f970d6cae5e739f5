//! Is this the workload that is to run?

use casemate_crypto::hash::Sha256;

use casemate_evidence::Measurement;

use super::rule::{accepts_stated, not_checked};
use crate::expectations::{LaunchMeasurement, Workload};
use crate::policy::{DigestRule, Policy, WorkloadRegisterRules};
use crate::verdict::{Code, Comparison, Facts, Node, Source, Value};

pub(super) fn workload(
    policy: &Policy,
    facts: &Facts,
    manifest: Option<Sha256>,
    expected: &Workload,
) -> Node {
    let rules = &policy.workload;
    let slot = &facts.workload_slot;
    let found = &slot.value;
    let (expected_digest, source) = match expected {
        Workload::Digest { digest, source } => (Some(digest), Source::Named(source.clone().into())),
        Workload::Authorised { digest, .. } => (Some(digest), Source::Named("the owner's record".into())),
        Workload::Unchecked => (None, Source::Caller),
    };
    let is_expected = expected_digest.is_some() && expected_digest == slot.digest.as_ref();
    let mut checks = Vec::new();
    checks.push(match expected_digest {
        Some(digest) => Node::check(
            Code::ExpectedWorkload,
            is_expected,
            found.clone(),
            Comparison::Equal,
            digest.as_ref(),
            source,
        ),
        None => not_checked(Code::ExpectedWorkload, found.clone()),
    });
    let by_app = matches!(expected, Workload::Authorised { app_id, .. } if rules.apps.contains(app_id));
    let by_digest = match &rules.digests {
        DigestRule::Any => true,
        DigestRule::Expected => is_expected,
        DigestRule::Only(list) => slot.digest.is_some_and(|digest| list.contains(&digest)),
        DigestRule::None => false,
    };
    // Where the policy asks for what the caller expects, and the caller expects something, the check
    // above has said all there is to say.
    let already_said =
        rules.digests == DigestRule::Expected && expected_digest.is_some() && rules.apps.is_empty();
    checks.push(if rules.digests == DigestRule::Any || already_said {
        not_checked(Code::AcceptedWorkload, found.clone())
    } else {
        let mut listed: Vec<Value> = match &rules.digests {
            DigestRule::Only(list) => list.iter().map(|digest| Value::from(digest.as_ref())).collect(),
            DigestRule::Expected => vec![Value::Word("the workload that the caller expects")],
            DigestRule::Any | DigestRule::None => Vec::new(),
        };
        listed.extend(rules.apps.iter().copied().map(Value::App));
        Node::check(
            Code::AcceptedWorkload,
            by_digest || (by_app && is_expected),
            found.clone(),
            Comparison::OneOf,
            listed,
            Source::Policy,
        )
    });
    checks.extend(rules.registers.iter().flat_map(|rules| rules.check(facts)));
    if let Some(digest) = manifest {
        checks.push(Node::check(
            Code::Manifest,
            slot.digest.is_some_and(|found| found.as_bytes() == digest.as_bytes()),
            digest.as_ref(),
            Comparison::Equal,
            found.clone(),
            Source::Evidence,
        ));
    }
    Node::group(Code::Workload, checks)
}

impl WorkloadRegisterRules {
    /// One check for each register; evidence that has none of its name keeps no list.
    fn check(&self, facts: &Facts) -> [Node; 3] {
        let domain = facts.details.trust_domain();
        let measurement = match facts.measurement {
            LaunchMeasurement::Long(measurement) => Some(measurement),
            LaunchMeasurement::Short(_) => None,
        };
        let check = |code, rule, found: Option<Measurement>| {
            accepts_stated(code, rule, found.as_ref(), |value: &Measurement| Value::from(value.as_ref()))
        };
        [
            check(Code::WorkloadConfigId, &self.mr_config_id, domain.map(|domain| domain.mr_config_id)),
            check(Code::WorkloadRtmr3, &self.rtmr3, domain.map(|domain| domain.rtmr[3])),
            check(Code::WorkloadMeasurement, &self.measurement, measurement),
        ]
    }
}
