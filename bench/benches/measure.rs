//! `make bench`: answers every question, or those that are named.

use std::process::ExitCode;

use casemate_bench::{
    boot, browser,
    evidence::Evidence,
    machine::Facts,
    quote,
    quote_evidence::QuoteEvidence,
    release,
    table::{Results, Section},
    verify,
};
use casemate_fuzz::sys::Counting;
use clap::{Parser, ValueEnum};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Measures Casemate against what a user would have without it, turn by turn, in one run.
#[derive(Parser)]
#[command(name = "measure")]
struct Arguments {
    /// Which questions; all of them without one.
    #[arg(value_enum)]
    questions: Vec<Question>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Turns per comparison, instead of 101 for `verify`, 21 for `browser`, 51 for `release` and 7 for `boot`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Given by `cargo bench`; changes nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Question {
    /// Verification of an SNP report and of a TDX quote.
    Verify,
    /// Verification of both in headless Chromium.
    Browser,
    /// Release of keys at a seat.
    Release,
    /// Boots of guests.
    Boot,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let asked = |question| arguments.questions.is_empty() || arguments.questions.contains(&question);
    let rounds = |usual: u16| usize::from(arguments.rounds.unwrap_or(usual));
    let machine = Facts::here();
    let mut sections = Vec::new();
    if asked(Question::Verify) {
        eprintln!("Verifying");
        sections.push(verify::measure(&Evidence::find(), rounds(101)));
        sections.push(quote::measure(&QuoteEvidence::find(), rounds(101)));
    }
    if asked(Question::Browser) {
        eprintln!("Verifying in a browser");
        sections.push(browser::measure(&Evidence::find(), &QuoteEvidence::find(), rounds(21)));
    }
    if asked(Question::Release) {
        eprintln!("Releasing keys");
        sections.push(match casemate_tests::boot::image() {
            Some(image) => release::measure(&image, rounds(51)),
            None => Section::unanswered(release::TITLE, NO_IMAGE),
        });
    }
    if asked(Question::Boot) {
        eprintln!("Booting guests");
        sections.push(match casemate_tests::boot::image() {
            Some(image) => boot::measure(&image, rounds(7)),
            None => Section::unanswered(boot::TITLE, NO_IMAGE),
        });
    }
    let results = Results { machine, sections };
    println!("{}", if arguments.json { results.to_json() } else { results.to_text() });
    ExitCode::SUCCESS
}

const NO_IMAGE: &str = "CASEMATE_IMAGE does not name a built image";
