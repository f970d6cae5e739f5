//! Which lines does a person see, and in which tree?
//!
//! Shape and words follow one rule: a reader may stop at the level that answers the question. An
//! accepted verdict shows every branch, a refused one only what failed and what to do. A terminal
//! ([`super::render`]) and a browser draw the same outline.

use casemate_canon::Short;
use serde::Serialize;

use super::advice::{self, Advice};
use super::code::Code;
use super::value::{Source, Value, printable};
use super::{Claims, Node, NotEstablished, Outcome, Status, Verdict};
use crate::trust::TrustClass;

/// A verdict as people read it, in pieces: nothing in it can steer a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// `notes on 127.0.0.1 is what you deployed`.
    pub sentence: String,
    /// `VERIFIED` or `REFUSED`, and whether a simulated root stands behind it.
    pub tag: String,
    /// Accepted, or why not.
    pub outcome: Outcome,
    /// The tree.
    pub branches: Vec<Branch>,
    /// What follows "Not established:"; of evidence that is refused, nothing is said.
    pub not_established: Vec<&'static str>,
    /// What to do, without repetitions.
    pub hints: Vec<String>,
}

/// One line of the tree and what hangs below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// The name of a group; empty for a single check.
    pub label: &'static str,
    /// What was found.
    pub text: String,
    /// How it came out; nothing where the lines below say it.
    pub status: Option<Status>,
    /// What follows the status: where the expectation comes from.
    pub remark: String,
    /// Sentences below the line.
    pub notes: Vec<String>,
    /// The lines below.
    pub children: Vec<Branch>,
}

impl Outline {
    pub(super) fn of(verdict: &Verdict, subject: &str) -> Self {
        let simulated = verdict.trust_class == Some(TrustClass::Simulated);
        let subject = printable(subject);
        let (sentence, tag) = match verdict.outcome {
            // Whoever accepts any image or any workload has not compared it with anything.
            Outcome::Verified if open(verdict) => ("is genuine and meets the policy", "VERIFIED"),
            Outcome::Verified => ("is what you deployed", "VERIFIED"),
            Outcome::Refused => ("is NOT what you expect", "REFUSED"),
            Outcome::NotGenuine => ("shows NO genuine evidence", "REFUSED"),
        };
        let mut hints: Vec<_> = verdict.failures().filter_map(|check| check.hint).collect();
        hints.dedup();
        Self {
            sentence: format!("{subject} {sentence}"),
            tag: format!("{tag}{}", if simulated { " (simulated root)" } else { "" }),
            outcome: verdict.outcome,
            branches: branches(verdict, simulated),
            not_established: match verdict.outcome {
                Outcome::Verified => verdict.not_established.iter().map(|missing| missing.text()).collect(),
                _ => Vec::new(),
            },
            hints: hints.iter().map(Advice::to_string).collect(),
        }
    }
}

fn open(verdict: &Verdict) -> bool {
    let missing = |what| verdict.not_established.contains(&what);
    missing(NotEstablished::LaunchMeasurement) || missing(NotEstablished::Workload)
}

fn branches(verdict: &Verdict, simulated: bool) -> Vec<Branch> {
    let claims = verdict.claims.as_ref();
    if verdict.outcome == Outcome::Verified {
        return verdict.groups.iter().map(|group| accepted(group, claims, simulated)).collect();
    }
    let failed = verdict.groups.iter().filter(|group| group.status == Status::Failed);
    failed.map(|group| refused(group, claims)).collect()
}

fn accepted(group: &Node, claims: Option<&Claims>, simulated: bool) -> Branch {
    let (text, remark) = claims.map_or_else(Default::default, |claims| summary(group, claims));
    let remark = if group.code == Code::Signer && simulated { "SIMULATED ROOT".to_owned() } else { remark };
    let children = group
        .checks
        .iter()
        .filter(|node| !node.checks.is_empty())
        .map(|node| accepted(node, claims, simulated))
        .collect();
    Branch {
        label: group.code.label(),
        text,
        status: Some(group.status),
        remark,
        notes: Vec::new(),
        children,
    }
}

/// What an accepted group says in one line, and the remark after its status.
fn summary(group: &Node, claims: &Claims) -> (String, String) {
    match group.code {
        Code::Hardware
        | Code::Signer
        | Code::Firmware
        | Code::Guest
        | Code::Platform
        | Code::Paravisor
        | Code::Tpm => claims.details.summary(group.code, claims),
        Code::Events | Code::Ima => {
            let logs = claims.logs.as_ref();
            (logs.map_or_else(String::new, |logs| logs.summary(group.code)), String::new())
        }
        Code::Devices => {
            let devices = claims.devices.as_ref();
            (devices.map_or_else(String::new, |devices| devices.summary()), String::new())
        }
        Code::Device => (group.found.to_string(), String::new()),
        Code::Image => {
            let name =
                claims.image.as_ref().map_or_else(String::new, |image| format!(" = {}", printable(image)));
            let source = claims.image_source.as_ref();
            (
                format!("measurement {}{name}", claims.measurement.short()),
                source.map_or_else(String::new, |source| printable(source)),
            )
        }
        Code::Workload => {
            let source = group.checks.iter().find_map(|check| match (&check.source, check.code) {
                (Some(Source::Named(name)), Code::ExpectedWorkload) => {
                    Some(format!(" = {}", printable(name)))
                }
                _ => None,
            });
            let slot = &claims.workload_slot;
            let text = match &slot.value {
                Value::Nothing => slot.name.to_owned(),
                value => format!("{} {value}", slot.name),
            };
            let elsewhere =
                claims.details.workload(slot).map_or_else(String::new, |text| format!("; {text}"));
            (format!("{text}{}{elsewhere}", source.unwrap_or_default()), String::new())
        }
        Code::Freshness => (
            match (claims.challenge_age_ms, group.status) {
                (Some(age_ms), _) => format!("answers the challenge made {age_ms} ms ago"),
                (None, Status::Ok) => "speaks for the bytes expected, whenever they were chosen".to_owned(),
                (None, _) => "no challenge was made".to_owned(),
            },
            String::new(),
        ),
        Code::Channel => (
            claims.session_key_digest.map_or("no session is bound".to_owned(), |digest| {
                format!("this session, key {}", Short::new(digest.as_ref()))
            }),
            String::new(),
        ),
        _ => (String::new(), String::new()),
    }
}

fn refused(group: &Node, claims: Option<&Claims>) -> Branch {
    let failed: Vec<&Node> = group.checks.iter().filter(|node| node.status == Status::Failed).collect();
    let plain = |node: &&&Node| node.checks.is_empty();
    let mut leaves = failed.iter().filter(plain).map(|node| failure(node, claims));
    let subgroups = failed.iter().filter(|node| !node.checks.is_empty()).map(|node| refused(node, claims));
    // One of several groups of its kind has a name, which its line shows.
    let name = match &group.found {
        Value::Nothing => String::new(),
        name => name.to_string(),
    };
    match (leaves.next(), failed.len()) {
        // A group with one failed check says so on its own line.
        (Some(only), 1) if name.is_empty() && group.code != Code::Signer => {
            Branch { label: group.code.label(), ..only }
        }
        (Some(only), 1) if name.is_empty() => only,
        (first, _) => Branch {
            label: group.code.label(),
            text: name,
            status: None,
            remark: String::new(),
            notes: Vec::new(),
            children: first.into_iter().chain(leaves).chain(subgroups).collect(),
        },
    }
}

fn failure(check: &Node, claims: Option<&Claims>) -> Branch {
    let label = match (check.code, claims) {
        (Code::ExpectedWorkload, Some(claims)) => claims.workload_slot.name,
        (code, _) => code.label(),
    };
    let text = match (&check.source, check.comparison) {
        (Some(Source::Named(name)), Some(_)) if check.expected != Value::Nothing => {
            format!("{label} {}, expected {} ({})", check.found, check.expected, printable(name))
        }
        (Some(source), Some(comparison)) if check.expected != Value::Nothing => {
            format!("{label} {}, {source} {} {}", check.found, comparison.word(), check.expected)
        }
        _ if check.found == Value::Nothing => label.to_owned(),
        // A sentence that says which check it is.
        _ if matches!(check.found, Value::Text(_) | Value::Lease(_)) => check.found.to_string(),
        _ => format!("{label}: {}", check.found),
    };
    let notes = advice::reason(check.code).map(str::to_owned).into_iter().collect();
    Branch { label: "", text, status: Some(check.status), remark: String::new(), notes, children: Vec::new() }
}
