//! Was an image launched that the policy accepts?

use super::rule::not_checked;
use crate::expectations::{LaunchMeasurement, ReferenceValue};
use crate::policy::{MeasurementRule, NamedMeasurement, Policy};
use crate::verdict::{Code, Comparison, Node, Source, Value};

pub(super) fn image(
    policy: &Policy,
    found: &LaunchMeasurement,
    references: &[ReferenceValue],
    further: Vec<Node>,
) -> Node {
    let check = |holds, expected: Vec<Value>, source| {
        let expected =
            if expected.is_empty() { Value::Word("a reference value") } else { Value::List(expected) };
        Node::check(Code::Measurement, holds, found.as_ref(), Comparison::OneOf, expected, source)
    };
    let node = match &policy.measurements {
        MeasurementRule::Any => not_checked(Code::Measurement, found.as_ref()),
        MeasurementRule::Expected => {
            let known = references.iter().map(|value| Value::from(value.measurement.as_ref())).collect();
            check(find(found, references).is_some(), known, Source::Caller)
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
    Node::group(Code::Image, std::iter::once(node).chain(further).collect())
}

/// The reference value with this measurement.
pub(super) fn find<'a>(
    found: &LaunchMeasurement,
    references: &'a [ReferenceValue],
) -> Option<&'a ReferenceValue> {
    references.iter().find(|value| value.measurement == *found)
}
