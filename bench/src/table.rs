//! What was measured, for people and for programs?

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    machine::Facts,
    sample::{Pairs, Spread},
};

/// Everything that one run found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// On which machine.
    pub machine: Facts,
    /// By question.
    pub sections: Vec<Section>,
}

/// What one question found out.
#[derive(Debug, Serialize)]
pub struct Section {
    /// The question.
    pub title: &'static str,
    /// What was looked at, and with what behind it.
    pub note: String,
    /// In the order in which they are read.
    pub rows: Vec<Row>,
    /// What could not be measured, and why.
    pub not_measured: Vec<String>,
}

/// One comparison.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What is measured.
    pub name: String,
    /// Of `ours` and `theirs`.
    pub unit: Unit,
    /// Our side.
    pub ours: Spread,
    /// The other side; nothing where there is none.
    pub theirs: Option<Spread>,
    /// Ours divided by theirs, turn by turn.
    pub ratio: Option<Spread>,
    /// What the other side is; without one, what the number says.
    pub against: &'static str,
    /// What was promised of the median ratio, or of our median where there is no ratio.
    pub promise: Option<Promise>,
    /// Whether it is kept.
    pub kept: Option<bool>,
}

/// In what a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Calls per second.
    PerSecond,
    /// A number of things.
    Count,
}

/// A bound that was promised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
}

impl Section {
    /// A question without an answer, and why.
    pub fn unanswered(title: &'static str, why: &str) -> Self {
        Section {
            title,
            note: "not measured".to_owned(),
            rows: Vec::new(),
            not_measured: vec![why.to_owned()],
        }
    }
}

impl Row {
    /// Two sides of one question.
    pub fn new(name: impl Into<String>, unit: Unit, pairs: &Pairs, against: &'static str) -> Self {
        Row {
            name: name.into(),
            unit,
            ours: Spread::of(pairs.ours()),
            theirs: Some(Spread::of(pairs.theirs())),
            ratio: Some(pairs.ratio()),
            against,
            promise: None,
            kept: None,
        }
    }

    /// One side only.
    pub fn alone(name: impl Into<String>, unit: Unit, ours: &[f64], says: &'static str) -> Self {
        let ours = Spread::of(ours);
        Row {
            name: name.into(),
            unit,
            ours,
            theirs: None,
            ratio: None,
            against: says,
            promise: None,
            kept: None,
        }
    }

    /// The same, with what was promised.
    pub fn promised(mut self, promise: Promise) -> Self {
        let found = self.ratio.unwrap_or(self.ours).median;
        self.kept = Some(match promise {
            Promise::AtMost(bound) => found <= bound,
            Promise::AtLeast(bound) => found >= bound,
        });
        self.promise = Some(promise);
        self
    }
}

impl Results {
    /// As people read it.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for section in &self.sections {
            let _ = writeln!(text, "\n{}\n({})", section.title, section.note);
            let width = section.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
            let heads = ["", "ours", "theirs", "ratio", "min..max", "promised", "against"];
            let _ = writeln!(text, "{}", line(width, heads));
            for row in &section.rows {
                let _ = writeln!(text, "{}", line(width, row.cells().each_ref().map(String::as_str)));
            }
            for reason in &section.not_measured {
                let _ = writeln!(text, "not measured: {reason}");
            }
        }
        text
    }

    /// As programs read it.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and finite numbers are JSON")
    }
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let range = match self.ratio {
            Some(ratio) => format!("{}..{}", plain(ratio.minimum), plain(ratio.maximum)),
            None if self.ours.minimum == self.ours.maximum => String::new(),
            None => format!("{}..{}", self.unit.show(self.ours.minimum), self.unit.show(self.ours.maximum)),
        };
        let promise = match (self.promise, self.kept) {
            (Some(promise), Some(kept)) => {
                let show = |bound| if self.ratio.is_some() { plain(bound) } else { self.unit.show(bound) };
                let bound = match promise {
                    Promise::AtMost(bound) => format!("<= {}", show(bound)),
                    Promise::AtLeast(bound) => format!(">= {}", show(bound)),
                };
                format!("{bound} {}", if kept { "kept" } else { "MISSED" })
            }
            _ => String::new(),
        };
        [
            self.name.clone(),
            self.unit.show(self.ours.median),
            self.theirs.map_or_else(String::new, |theirs| self.unit.show(theirs.median)),
            self.ratio.map_or_else(String::new, |ratio| plain(ratio.median)),
            range,
            promise,
            self.against.to_owned(),
        ]
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value >= 1.0 => format!("{value:.2} s"),
            Unit::Seconds if value >= 1e-3 => format!("{:.2} ms", value * 1e3),
            Unit::Seconds if value >= 1e-6 => format!("{:.1} us", value * 1e6),
            Unit::Seconds => format!("{:.0} ns", value * 1e9),
            Unit::PerSecond => format!("{value:.0}/s"),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

/// Three significant digits, for ratios from thousandths to thousands.
fn plain(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.1 => format!("{value:.4}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn line(width: usize, [name, ours, theirs, ratio, range, promise, against]: [&str; 7]) -> String {
    format!("{name:width$} {ours:>9} {theirs:>9} {ratio:>7}  {range:20} {promise:14} {against}")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_held_against_the_median() {
        let pairs = Pairs::of(vec![1.0, 1.1, 9.0], vec![1.0, 1.0, 1.0]);
        let row = |promise| Row::new("a", Unit::Seconds, &pairs, "b").promised(promise).kept;
        assert_eq!(row(Promise::AtMost(1.15)), Some(true));
        assert_eq!(row(Promise::AtMost(1.05)), Some(false));
        assert_eq!(row(Promise::AtLeast(1.15)), Some(false));
        let alone = Row::alone("a", Unit::Count, &[3.0], "b").promised(Promise::AtMost(0.0));
        assert_eq!(alone.kept, Some(false));
    }

    #[test]
    fn numbers_are_shown_in_a_unit_that_fits() {
        let shown = [2.5, 0.0025, 0.000_25, 0.000_000_25].map(|value| Unit::Seconds.show(value));
        assert_eq!(shown, ["2.50 s", "2.50 ms", "250.0 us", "250 ns"]);
        assert_eq!([0.0, 0.0123, 1.1, 12.3, 123.4].map(plain), ["0", "0.0123", "1.10", "12.3", "123"]);
    }

    #[test]
    fn a_missed_promise_and_a_missing_side_are_seen() {
        let pairs = Pairs::of(vec![2.0], vec![1.0]);
        let row = Row::new("boot", Unit::Seconds, &pairs, "bare").promised(Promise::AtMost(1.5));
        let section = Section {
            title: "How long?",
            note: "simulated".into(),
            rows: vec![row],
            not_measured: vec!["no image".into()],
        };
        let results = Results { machine: Facts::here(), sections: vec![section] };
        let text = results.to_text();
        assert!(
            text.contains("2.00 s    1.00 s    2.00  2.00..2.00           <= 1.50 MISSED bare"),
            "{text}"
        );
        assert!(text.contains("not measured: no image"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&results.to_json()).unwrap();
        assert_eq!(json["sections"][0]["rows"][0]["kept"], false);
        assert_eq!(json["sections"][0]["rows"][0]["ratio"]["median"], 2.0);
    }
}
