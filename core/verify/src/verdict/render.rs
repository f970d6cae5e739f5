//! How does a person read it?
//!
//! Shape and words follow one rule: a reader may stop at the level that answers the question. An
//! accepted verdict shows every branch, a refused one only what failed and what to do.

use casemate_canon::Short;

use super::advice;
use super::code::Code;
use super::value::{Source, Value, printable};
use super::{Claims, Node, Outcome, Status, Verdict};
use crate::trust::TrustClass;

/// How the text may look. Nothing depends on colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    color: bool,
}

impl Style {
    /// Text without escape sequences.
    pub const fn plain() -> Self {
        Self { color: false }
    }

    /// Text for a terminal that shows colours.
    pub const fn color() -> Self {
        Self { color: true }
    }
}

pub(super) fn text(verdict: &Verdict, subject: &str, style: Style) -> String {
    let simulated = verdict.trust_class == Some(TrustClass::Simulated);
    let subject = printable(subject);
    let (sentence, tag) = match verdict.outcome {
        Outcome::Verified => ("is what you deployed", "VERIFIED"),
        Outcome::Refused => ("is NOT what you expect", "REFUSED"),
        Outcome::NotGenuine => ("shows NO genuine evidence", "REFUSED"),
    };
    let tag =
        format!("{}{}", paint(tag, verdict.outcome, style), if simulated { " (simulated root)" } else { "" });
    let mut out = format!("{}{tag}\n", pad(&format!("{subject} {sentence}")));
    let branches: Vec<Branch> = if verdict.outcome == Outcome::Verified {
        verdict.groups.iter().map(|group| accepted(group, verdict.claims.as_ref(), simulated)).collect()
    } else {
        verdict
            .groups
            .iter()
            .filter(|group| group.status == Status::Failed)
            .map(|group| refused(group, verdict.claims.as_ref()))
            .collect()
    };
    draw(&branches, "", style, &mut out);
    if verdict.outcome == Outcome::Verified {
        let missing: Vec<_> = verdict.not_established.iter().map(|missing| missing.text()).collect();
        out.push_str(&format!("Not established: {}.\n", missing.join(", ")));
    }
    let mut hints: Vec<&str> = verdict.failures().filter_map(|check| check.hint.as_deref()).collect();
    hints.dedup();
    for hint in hints {
        out.push_str(&format!("hint: {}\n", wrap(hint, "      ")));
    }
    out
}

/// One line of the tree and what hangs below it.
struct Branch {
    text: String,
    status: Option<Status>,
    remark: String,
    notes: Vec<String>,
    children: Vec<Branch>,
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
        text: labelled(group.code, &text),
        status: Some(group.status),
        remark,
        notes: Vec::new(),
        children,
    }
}

/// What an accepted group says in one line, and the remark after its status.
fn summary(group: &Node, claims: &Claims) -> (String, String) {
    match group.code {
        Code::Hardware | Code::Signer | Code::Firmware | Code::Guest | Code::Platform => {
            claims.details.summary(group.code, claims)
        }
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
            (format!("{} {}{}", slot.name, slot.value, source.unwrap_or_default()), String::new())
        }
        Code::Freshness => (
            claims.challenge_age_ms.map_or("no challenge was made".to_owned(), |age_ms| {
                format!("answers the challenge made {age_ms} ms ago")
            }),
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
    match (leaves.next(), failed.len()) {
        // A group with one failed check says so on its own line.
        (Some(only), 1) if group.code != Code::Signer => {
            Branch { text: labelled(group.code, &only.text), ..only }
        }
        (Some(only), 1) => only,
        (first, _) => Branch {
            text: group.code.label().to_owned(),
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
        _ if matches!(check.found, Value::Text(_)) => check.found.to_string(),
        _ => format!("{label}: {}", check.found),
    };
    let notes = advice::reason(check.code).map(str::to_owned).into_iter().collect();
    Branch { text, status: Some(check.status), remark: String::new(), notes, children: Vec::new() }
}

fn labelled(code: Code, text: &str) -> String {
    let width = match code {
        Code::Signer | Code::Firmware | Code::Guest | Code::Platform => 9,
        _ => 10,
    };
    format!("{:width$} {text}", code.label())
}

fn draw(branches: &[Branch], indent: &str, style: Style, out: &mut String) {
    for (index, branch) in branches.iter().enumerate() {
        let last = index + 1 == branches.len();
        let line = format!("{indent}{}{}", if last { "└─ " } else { "├─ " }, branch.text);
        let below = format!("{indent}{}", if last { "   " } else { "│  " });
        let status = branch.status.map_or_else(String::new, |status| status_word(status, style));
        let remark = if branch.remark.is_empty() { String::new() } else { format!("   {}", branch.remark) };
        let padded = if status.is_empty() { line } else { pad(&line) };
        out.push_str(format!("{padded}{status}{remark}").trim_end());
        out.push('\n');
        for note in &branch.notes {
            out.push_str(&format!("{below}{note}\n"));
        }
        draw(&branch.children, &below, style, out);
    }
}

/// Fills up to the column of the status words.
fn pad(line: &str) -> String {
    const COLUMN: usize = 75;
    let missing = COLUMN.saturating_sub(line.chars().count()).max(2);
    format!("{line}{}", " ".repeat(missing))
}

fn wrap(text: &str, indent: &str) -> String {
    const WIDTH: usize = 90;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{indent}"))
}

fn status_word(status: Status, style: Style) -> String {
    let (word, color) = match status {
        Status::Ok => ("ok", "32"),
        Status::Failed => ("FAILED", "31"),
        Status::NotChecked => ("not checked", "33"),
    };
    colored(word, color, style)
}

fn paint(tag: &str, outcome: Outcome, style: Style) -> String {
    colored(tag, if outcome == Outcome::Verified { "1;32" } else { "1;31" }, style)
}

fn colored(text: &str, color: &str, style: Style) -> String {
    if style.color { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
}
