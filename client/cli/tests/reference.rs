//! Do the reference pages say what the command does?
//!
//! With `CASEMATE_UPDATE_DOCS=1` the generated parts are written instead of compared.

#[path = "../../../core/workload/tests/support/page.rs"]
mod page;

use std::{fmt::Write as _, path::PathBuf};

use casemate_cli::{commands::Cli, exit};
use casemate_verify::Code;
use clap::{Command, CommandFactory as _};
use page::compare;

#[test]
fn every_command_is_listed() {
    let mut text = String::new();
    let mut command = Cli::command().term_width(100);
    command.build();
    list(&mut command, &mut text);
    compare("cli.md", "commands", &text);
}

fn list(command: &mut Command, text: &mut String) {
    if command.is_hide_set() {
        return;
    }
    let name = command.get_bin_name().unwrap_or("casemate").to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(text, "\n## {name}\n\n```\n{}\n```", lines.join("\n").trim_end());
    for inner in command.get_subcommands_mut() {
        list(inner, text);
    }
}

#[test]
fn every_exit_code_is_listed() {
    let mut text = String::from("\n| Code | Meaning |\n|---|---|\n");
    for (code, meaning) in exit::ALL {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    text.push('\n');
    compare("exit-codes.md", "codes", &text);
}

#[test]
fn every_check_of_a_verdict_is_listed() {
    let mut text = String::from("\n| Code | Holds if | From | If it fails |\n|---|---|---|---|\n");
    for &code in Code::ALL {
        let found = code.explanation();
        let reason = found.reason.map_or_else(String::new, |reason| format!(" *{reason}*"));
        let _ =
            writeln!(text, "| `{code}` | {}{reason} | {} | {} |", found.meaning, found.source, found.remedy);
    }
    text.push('\n');
    compare("checks.md", "checks", &text);
}

#[test]
fn checks_come_from_documents_that_exist_and_pages_name_checks_that_exist() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    for code in Code::ALL {
        let source = code.explanation().source;
        assert!(!source.starts_with("docs/") || root.join(source).is_file(), "{code}: {source}");
    }
    let page = std::fs::read_to_string(root.join("docs/reference/verdict.md")).unwrap();
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|word| word.contains('.')).collect();
    let families = ["snp.", "tdx.", "intel.", "policy.", "caller.", "bundle."];
    let codes = named.iter().filter(|word| families.iter().any(|family| word.starts_with(family)));
    let codes: Vec<&str> = codes.copied().filter(|word| !families.contains(word)).collect();
    assert!(codes.len() >= 5, "{codes:?}");
    for code in codes {
        assert!(Code::ALL.iter().any(|known| known.as_str() == code), "verdict.md names {code}");
    }
}
