//! Does the evidence answer this challenge?

use casemate_evidence::ReportData;

use super::rule::{equal, not_checked};
use crate::expectations::Freshness;
use crate::policy::Policy;
use crate::verdict::{Code, Comparison, FreshnessSlot, Node, Source, Value};

pub(super) fn freshness(policy: &Policy, slot: &FreshnessSlot, expected: &Freshness, now_ms: u64) -> Node {
    let found = slot.value.as_bytes();
    let checks = match expected {
        Freshness::Undated { report_data } => {
            let age = if policy.freshness.report_data_required {
                Node::check(
                    Code::ChallengeAge,
                    false,
                    Value::Word("unknown"),
                    Comparison::AtMost,
                    policy.freshness.maximum_age_ms,
                    Source::Policy,
                )
            } else {
                not_checked(Code::ChallengeAge, Value::Nothing)
            };
            vec![answers(slot, report_data), age]
        }
        Freshness::Challenge { report_data, made_ms } => {
            // A challenge from the future was not made by a clock that agrees with this one.
            let age_ms = now_ms.checked_sub(*made_ms);
            let maximum_ms = policy.freshness.maximum_age_ms;
            vec![
                answers(slot, report_data),
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
        Freshness::Unchecked if policy.freshness.report_data_required => {
            vec![equal(Code::ReportData, false, found, "a challenge, and the caller made none")]
        }
        Freshness::Unchecked => vec![not_checked(Code::ReportData, found)],
    };
    Node::group(Code::Freshness, checks)
}

fn answers(slot: &FreshnessSlot, report_data: &ReportData) -> Node {
    Node::check(
        Code::ReportData,
        slot.value.answers(report_data),
        slot.value.as_bytes(),
        Comparison::Equal,
        slot.value.expected(report_data),
        Source::Caller,
    )
}
