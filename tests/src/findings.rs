//! What did each attack meet, and was it what stops it?

use std::time::Instant;

use crate::hostile::Ending;

/// Collects what came out otherwise than expected, so that one surprise does not hide the next.
#[derive(Debug)]
#[must_use = "call `finish`, or nothing is checked"]
pub struct Findings {
    wrong: Vec<String>,
    last: Instant,
}

impl Findings {
    /// Nothing yet.
    pub fn new() -> Self {
        Findings { wrong: Vec::new(), last: Instant::now() }
    }

    /// The start of a guest must have ended with `code`, and its message must hold `because`.
    pub fn ending(&mut self, attack: &str, ending: &Ending, code: &str, because: &str) {
        let holds = ending.code == code && ending.said.contains(because);
        let found = format!("{} ({})", ending.code, ending.said);
        self.holds(attack, holds, &format!("{code} ({because})"), &found);
    }

    /// Two values must be equal.
    pub fn same(&mut self, attack: &str, found: impl AsRef<str>, expected: &str) {
        self.holds(attack, found.as_ref() == expected, expected, found.as_ref());
    }

    /// A text must hold another.
    pub fn says(&mut self, attack: &str, found: impl AsRef<str>, expected: &str) {
        self.holds(attack, found.as_ref().contains(expected), expected, found.as_ref());
    }

    /// `holds` must be true; otherwise it is shown what was expected and found.
    pub fn holds(&mut self, attack: &str, holds: bool, expected: &str, found: &str) {
        let took = self.last.elapsed().as_secs_f32();
        self.last = Instant::now();
        if holds {
            eprintln!("{attack}: {expected} [{took:.1} s]");
        } else {
            eprintln!("{attack}: EXPECTED {expected}, FOUND {found} [{took:.1} s]");
            self.wrong.push(format!("{attack}:\n  expected {expected}\n  found {found}"));
        }
    }

    /// # Panics
    /// With everything that came out otherwise.
    #[track_caller]
    pub fn finish(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

impl Default for Findings {
    fn default() -> Self {
        Self::new()
    }
}
