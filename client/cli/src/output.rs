//! How does a command speak?
//!
//! Data goes to stdout, progress to stderr. Colour and moving bars only where a person looks: on a
//! terminal, without `NO_COLOR`, without `--json`.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Where a command's words go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Whether stdout gets JSON.
    pub json: bool,
    /// Whether stderr gets progress.
    pub progress: bool,
    /// Whether stderr is a terminal on which lines may move.
    moving: bool,
    /// Whether stdout may have colours.
    pub colour: bool,
}

impl Output {
    /// For this process.
    pub fn new(json: bool, quiet: bool) -> Self {
        let colour_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Output {
            json,
            progress: !quiet,
            moving: !quiet && !json && std::io::stderr().is_terminal(),
            colour: colour_wanted && !json && std::io::stdout().is_terminal(),
        }
    }

    /// One line of progress: what is done, and how it is going.
    pub fn step(&self, label: &str, text: &str) {
        if self.progress {
            let _ = writeln!(std::io::stderr(), "{label:<10} {text}");
        }
    }

    /// Progress that takes a while; ends with one line as [`Output::step`].
    pub fn long_step(&self, label: &'static str, text: &str) -> Step {
        let bar = self.moving.then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{prefix:<10} {spinner} {wide_msg} {elapsed}");
            bar.set_style(style.expect("the template is fixed"));
            bar.set_prefix(label);
            bar.set_message(text.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Step { output: *self, label, bar, started: Instant::now() }
    }

    /// A line of data.
    pub fn line(&self, text: &str) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Data as JSON.
    pub fn json(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).expect("the answer is plain data");
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Data: JSON if asked for, else `text`.
    pub fn answer(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            self.json(value);
        } else {
            let text = text();
            if !text.is_empty() {
                self.line(text.trim_end_matches('\n'));
            }
        }
    }
}

/// Something that takes a while.
pub struct Step {
    output: Output,
    label: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Step {
    /// Changes what it says.
    pub fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Ends it with its last words and the time it took.
    pub fn done(self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        self.output.step(self.label, &format!("{text:<62} {seconds:>5.1} s"));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// Rows as columns, two spaces apart.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// Text in lines of at most 100 characters, each after `indent`.
pub fn wrap(text: &str, indent: &str) -> String {
    const WIDTH: usize = 100;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let rows = [vec!["notes".to_owned(), "running".to_owned()], vec!["a".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["NAME", "STATE"], &rows), "NAME   STATE\nnotes  running\na      x");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size(12), "12 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }
}
