//! What does a check of a verdict mean?

use casemate_verify::{Code, Explanation};

use crate::{Error, commands::Context, exit, output};

/// Explain checks of a verdict: what each means, where it comes from, what to do if it fails
///
/// Codes stand in `casemate verify --json` and in hints. Without one, all are listed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Codes, such as policy.minimum_tcb.microcode, or the beginning of some, such as snp.
    codes: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// [`Error::UnknownCode`].
pub fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let output = context.output;
    if arguments.codes.is_empty() {
        let all: Vec<Explanation> = Code::ALL.iter().map(|code| code.explanation()).collect();
        output.answer(&all, || {
            let rows: Vec<Vec<String>> =
                all.iter().map(|row| vec![row.code.to_string(), row.meaning.to_owned()]).collect();
            output::table(&["CODE", "MEANING"], &rows)
        });
        return Ok(exit::DONE);
    }
    let mut found = Vec::new();
    for text in &arguments.codes {
        found.extend(named(text)?.into_iter().map(Code::explanation));
    }
    output.answer(&found, || found.iter().map(shown).collect::<Vec<_>>().join("\n\n"));
    Ok(exit::DONE)
}

/// The code of that name, else all that begin so.
fn named(text: &str) -> Result<Vec<Code>, Error> {
    let of = |fits: &dyn Fn(&str) -> bool| -> Vec<Code> {
        Code::ALL.iter().copied().filter(|code| fits(code.as_str())).collect()
    };
    let exact = of(&|name| name == text);
    let found = if exact.is_empty() { of(&|name| name.starts_with(text)) } else { exact };
    if found.is_empty() || text.is_empty() {
        let last = text.rsplit('.').next().unwrap_or_default();
        let similar = of(&|name| !last.is_empty() && name.contains(last));
        return Err(Error::UnknownCode { found: text.to_owned(), similar });
    }
    Ok(found)
}

fn shown(explanation: &Explanation) -> String {
    let Explanation { code, label, meaning, reason, source, remedy } = explanation;
    let mut lines = vec![format!("{code}  ({label})"), output::wrap(meaning, "  ")];
    lines.extend(reason.map(|reason| output::wrap(&format!("If not: {reason}"), "  ")));
    lines.push(output::wrap(&format!("From: {source}"), "  "));
    lines.push(output::wrap(&format!("To do: {remedy}"), "  "));
    lines.join("\n")
}

/// The hint that leads from a verdict to here; nothing if no check failed.
pub(crate) fn hint(verdict: &casemate_verify::Verdict) -> Option<String> {
    let mut codes: Vec<&str> = verdict.failures().map(|check| check.code.as_str()).collect();
    codes.dedup();
    let (verb, more) = if codes.len() > 3 { ("say", true) } else { ("says", false) };
    codes.truncate(3);
    let rest = if more { ", and so on," } else { "" };
    (!codes.is_empty()).then(|| format!("`casemate explain {}`{rest} {verb} more", codes.join(" ")))
}
