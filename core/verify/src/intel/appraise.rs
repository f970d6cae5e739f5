//! Does this policy accept this platform?

use casemate_evidence::intel::{PckConfiguration, TcbStatus};

use super::quote::AuthenticatedQuote;
use super::standing::Standing;
use crate::appraise::Circumstances;
use crate::appraise::rule::{self, VendorRoot, accepts, at_least, denies, flag, not_checked};
use crate::policy::{Accept, CollateralRules, IntelRules, Policy};
use crate::verdict::{Code, Comparison, Node, Source, Value};

/// Who stands behind the quote: root, platform, processor, and how old the collateral is.
pub(crate) fn signer(
    rules: &IntelRules,
    policy: &Policy,
    quote: &AuthenticatedQuote,
    circumstances: &Circumstances,
) -> Node {
    let root = VendorRoot { code: Code::IntelRoot, name: "Intel", accepted: rules.intel_roots };
    let mut checks =
        rule::root(policy, &root, quote.trust_class, &quote.root_key_digest, circumstances.accept_simulated);
    let (platform, processor) = (quote.pck.ppid(), quote.pck.fmspc());
    checks.push(accepts(Code::IntelPlatform, &rules.platforms, &platform, |id| id.as_ref().into()));
    checks.push(denies(Code::IntelDeniedPlatform, &rules.denied_platforms, Some(&platform), |id| {
        id.as_ref().into()
    }));
    checks.push(accepts(Code::IntelProcessor, &rules.processors, &processor, |id| id.as_ref().into()));
    checks.push(denies(Code::IntelDeniedProcessor, &rules.denied_processors, Some(&processor), |id| {
        id.as_ref().into()
    }));
    checks.push(collateral_age(&policy.collateral, quote, circumstances.now_ms));
    Node::group(Code::Signer, checks)
}

/// The oldest of TCB info, enclave identity and revocation lists decides.
fn collateral_age(rules: &CollateralRules, quote: &AuthenticatedQuote, now_ms: u64) -> Node {
    let age_ms = now_ms.saturating_sub(quote.oldest_collateral_ms);
    match rules.maximum_age_ms {
        Some(maximum_ms) => Node::check(
            Code::CollateralAge,
            age_ms <= maximum_ms,
            age_ms / DAY_MS,
            Comparison::AtMost,
            maximum_ms / DAY_MS,
            Source::Policy,
        ),
        None => not_checked(Code::CollateralAge, age_ms / DAY_MS),
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What Intel says of the platform's firmware.
pub(crate) fn standing(rules: &IntelRules, standing: &Standing) -> Node {
    let fits = match standing.unknown_part() {
        None => Node::check(
            Code::TcbLevel,
            true,
            standing.status.map(TcbStatus::name),
            Comparison::Equal,
            "a TCB level that fits",
            Source::Evidence,
        ),
        Some(part) => Node::check(
            Code::TcbLevel,
            false,
            format!("Intel's collateral has no TCB level that fits {part}"),
            Comparison::Equal,
            Value::Nothing,
            Source::Evidence,
        ),
    };
    let statuses: Vec<Value> = rules.tcb_statuses.iter().map(|status| status.name().into()).collect();
    let status = match standing.status {
        Some(status) => Node::check(
            Code::TcbStatus,
            rules.tcb_statuses.contains(&status),
            status.name(),
            Comparison::OneOf,
            statuses,
            Source::Policy,
        ),
        None => not_checked(Code::TcbStatus, Value::Nothing),
    };
    let evaluation = match rules.minimum_tcb_evaluation_number {
        Some(minimum) => {
            at_least(Code::TcbEvaluation, u64::from(standing.evaluation_number), u64::from(minimum))
        }
        None => not_checked(Code::TcbEvaluation, u64::from(standing.evaluation_number)),
    };
    Node::group(Code::Firmware, vec![fits, status, advisories(rules, standing), evaluation])
}

/// Each open advisory must be accepted, whatever the status says.
fn advisories(rules: &IntelRules, standing: &Standing) -> Node {
    let found = standing.advisories();
    let value =
        |list: &[&str]| Value::List(list.iter().map(|text| Value::Text((*text).to_owned())).collect());
    match &rules.accepted_advisories {
        Accept::Any => not_checked(Code::Advisories, value(&found)),
        Accept::Only(list) => {
            let open: Vec<&str> =
                found.iter().copied().filter(|advisory| !list.iter().any(|text| text == advisory)).collect();
            let accepted: Vec<&str> = list.iter().map(String::as_str).collect();
            Node::check(
                Code::Advisories,
                open.is_empty(),
                if open.is_empty() { value(&found) } else { value(&open) },
                Comparison::OneOf,
                if accepted.is_empty() { Value::Word("none") } else { value(&accepted) },
                Source::Policy,
            )
        }
    }
}

/// How the machine is configured, as far as its certificate says.
pub(crate) fn platform(rules: &IntelRules, quote: &AuthenticatedQuote) -> Node {
    let found = quote.pck.configuration();
    let configuration = |pick: fn(PckConfiguration) -> Option<bool>| found.and_then(pick);
    Node::group(
        Code::Platform,
        vec![
            flag(Code::IntelSmt, rules.smt, configuration(|found| found.smt_enabled)),
            flag(Code::IntelDynamic, rules.dynamic_platform, configuration(|found| found.dynamic_platform)),
            flag(Code::IntelCachedKeys, rules.cached_keys, configuration(|found| found.cached_keys)),
        ],
    )
}

/// What the platform's certificate says of its configuration, for people.
pub(crate) fn configuration(found: Option<PckConfiguration>) -> String {
    match found.and_then(|found| found.smt_enabled) {
        Some(true) => "SMT on".to_owned(),
        Some(false) => "SMT off".to_owned(),
        None => "configuration not stated".to_owned(),
    }
}
