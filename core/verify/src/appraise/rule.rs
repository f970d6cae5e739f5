//! Does one value keep one rule?

use std::borrow::Borrow;

use casemate_crypto::hash::Sha256;

use crate::policy::{Accept, BitRule, CollateralRules, Policy};
use crate::trust::{AcceptSimulated, TrustClass};
use crate::verdict::{Code, Comparison, Node, Platform, Source, Value};

/// A root of a vendor counts if the policy says so; a simulated one if the policy lists it and the caller
/// puts up with it. The list has room for the other checks of a signer.
pub(crate) fn root(
    policy: &Policy,
    vendor: &VendorRoot,
    trust_class: TrustClass,
    key_digest: &Sha256,
    accept_simulated: AcceptSimulated,
) -> Vec<Node> {
    let mut checks = Vec::with_capacity(MOST_SIGNER_CHECKS);
    match trust_class {
        TrustClass::Real => {
            let expected = if vendor.accepted { vendor.name } else { "none" };
            checks.push(equal(vendor.code, vendor.accepted, vendor.name, expected));
        }
        TrustClass::Simulated => {
            let listed: Vec<Value> =
                policy.simulated_roots.iter().map(|root| Value::from(root.as_ref())).collect();
            let accepted = accept_simulated == AcceptSimulated::Yes;
            checks.extend([
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
            ]);
        }
    }
    checks
}

const MOST_SIGNER_CHECKS: usize = 11;

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

/// As [`bit`], of what need not be stated: then it is neither on nor off.
pub(crate) fn flag(code: Code, rule: BitRule, found: Option<bool>) -> Node {
    match (rule, found) {
        (BitRule::Any, None) => not_checked(code, Value::Nothing),
        (rule, Some(found)) => bit(code, rule, found),
        (_, None) => equal(code, false, "not stated", if rule == BitRule::Required { "on" } else { "off" }),
    }
}

/// Whether there was a revocation list for every certificate, and how old the oldest is.
pub(crate) fn revocation(rules: &CollateralRules, made_ms: Option<u64>, now_ms: u64) -> [Node; 2] {
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

pub(crate) fn equal(code: Code, holds: bool, found: impl Into<Value>, expected: impl Into<Value>) -> Node {
    Node::check(code, holds, found, Comparison::Equal, expected, Source::Policy)
}

pub(crate) fn at_least(code: Code, found: u64, minimum: u64) -> Node {
    Node::check(code, found >= minimum, found, Comparison::AtLeast, minimum, Source::Policy)
}

pub(crate) fn accepts<T: Borrow<F>, F: PartialEq + ?Sized>(
    code: Code,
    rule: &Accept<T>,
    found: &F,
    value: impl Fn(&F) -> Value,
) -> Node {
    match rule {
        Accept::Any => not_checked(code, value(found)),
        Accept::Only(list) => {
            let listed: Vec<Value> =
                list.iter().map(|accepted| value(Borrow::<F>::borrow(accepted))).collect();
            Node::check(
                code,
                list.iter().any(|accepted| Borrow::<F>::borrow(accepted) == found),
                value(found),
                Comparison::OneOf,
                Value::List(listed),
                Source::Policy,
            )
        }
    }
}

/// As [`accepts`], of what the evidence need not state: what it does not is on no list.
pub(crate) fn accepts_stated<T: PartialEq>(
    code: Code,
    rule: &Accept<T>,
    found: Option<&T>,
    value: impl Fn(&T) -> Value,
) -> Node {
    match (rule, found) {
        (rule, Some(found)) => accepts(code, rule, found, value),
        (Accept::Any, None) => not_checked(code, Value::Nothing),
        (Accept::Only(list), None) => {
            let listed = Value::List(list.iter().map(value).collect());
            Node::check(code, false, "not stated", Comparison::OneOf, listed, Source::Policy)
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
