//! Does one value keep one rule?

use casemate_crypto::hash::Sha256;

use crate::policy::{Accept, BitRule, Policy};
use crate::trust::{AcceptSimulated, TrustClass};
use crate::verdict::{Code, Comparison, Node, Platform, Source, Value};

/// A root of a vendor counts if the policy says so; a simulated one if the policy lists it and the caller
/// puts up with it.
pub(crate) fn root(
    policy: &Policy,
    vendor: &VendorRoot,
    trust_class: TrustClass,
    key_digest: &Sha256,
    accept_simulated: AcceptSimulated,
) -> Vec<Node> {
    match trust_class {
        TrustClass::Real => {
            let expected = if vendor.accepted { vendor.name } else { "none" };
            vec![equal(vendor.code, vendor.accepted, vendor.name, expected)]
        }
        TrustClass::Simulated => {
            let listed: Vec<Value> =
                policy.simulated_roots.iter().map(|root| Value::from(root.as_ref())).collect();
            let accepted = accept_simulated == AcceptSimulated::Yes;
            vec![
                Node::check(
                    Code::SimulatedRoot,
                    policy.simulated_roots.contains(key_digest),
                    key_digest.as_ref(),
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
    }
}

/// What a policy says of a vendor's own roots.
pub(crate) struct VendorRoot {
    /// The key of the policy.
    pub code: Code,
    /// The vendor.
    pub name: &'static str,
    /// Whether its roots count.
    pub accepted: bool,
}

/// Evidence of a platform for which the policy has no rules.
pub(crate) fn no_rules(platform: Platform) -> Node {
    equal(platform.code(), false, platform.name(), "a platform that the policy has rules for")
}

pub(crate) fn bit(code: Code, rule: BitRule, found: bool) -> Node {
    match rule {
        BitRule::Any => not_checked(code, found),
        BitRule::Required => equal(code, found, found, true),
        BitRule::Forbidden => equal(code, !found, found, false),
    }
}

pub(crate) fn equal(code: Code, holds: bool, found: impl Into<Value>, expected: impl Into<Value>) -> Node {
    Node::check(code, holds, found, Comparison::Equal, expected, Source::Policy)
}

pub(crate) fn at_least(code: Code, found: u64, minimum: u64) -> Node {
    Node::check(code, found >= minimum, found, Comparison::AtLeast, minimum, Source::Policy)
}

pub(crate) fn accepts<T: PartialEq>(
    code: Code,
    rule: &Accept<T>,
    found: &T,
    value: impl Fn(&T) -> Value,
) -> Node {
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

pub(crate) fn denies<T: PartialEq>(
    code: Code,
    denied: &[T],
    found: Option<&T>,
    value: impl Fn(&T) -> Value,
) -> Node {
    let found_value = found.map_or(Value::Nothing, &value);
    if denied.is_empty() {
        return not_checked(code, found_value);
    }
    let listed: Vec<Value> = denied.iter().map(&value).collect();
    let holds = found.is_none_or(|found| !denied.contains(found));
    Node::check(code, holds, found_value, Comparison::NoneOf, Value::List(listed), Source::Policy)
}

pub(crate) fn not_checked(code: Code, found: impl Into<Value>) -> Node {
    Node::not_checked(code, found)
}
