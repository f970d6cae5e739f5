//! How does the outline look on a terminal?

use super::outline::{Branch, Outline};
use super::{Outcome, Status};

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

pub(super) fn text(outline: &Outline, style: Style) -> String {
    let mut out = format!("{}{}\n", pad(&outline.sentence), paint(&outline.tag, outline.outcome, style));
    draw(&outline.branches, "", style, &mut out);
    if !outline.not_established.is_empty() {
        out.push_str(&format!("Not established: {}.\n", outline.not_established.join(", ")));
    }
    for hint in &outline.hints {
        out.push_str(&format!("hint: {}\n", wrap(hint, "      ")));
    }
    out
}

fn draw(branches: &[Branch], indent: &str, style: Style, out: &mut String) {
    for (index, branch) in branches.iter().enumerate() {
        let last = index + 1 == branches.len();
        let text = labelled(branch, if indent.is_empty() { 10 } else { 9 });
        let line = format!("{indent}{}{text}", if last { "└─ " } else { "├─ " });
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

fn labelled(branch: &Branch, width: usize) -> String {
    let Branch { label, text, .. } = branch;
    if label.is_empty() || text.is_empty() {
        format!("{label}{text}")
    } else {
        format!("{label:width$} {text}")
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
    // Only the word itself is painted, not the remark in brackets.
    let (word, remark) =
        tag.split_once(' ').map_or((tag, String::new()), |(word, rest)| (word, format!(" {rest}")));
    format!("{}{remark}", colored(word, if outcome == Outcome::Verified { "1;32" } else { "1;31" }, style))
}

fn colored(text: &str, color: &str, style: Style) -> String {
    if style.color { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
}
