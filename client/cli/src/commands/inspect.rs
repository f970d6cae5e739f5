//! What does this evidence say?

use std::path::PathBuf;

use casemate_intake::{File, inspect};
use serde_json::Value;

use crate::{Error, clock, commands::Context, exit, files};

/// Show every field of evidence or of a certificate, without judging it
///
/// What is shown is what the bytes say, whoever wrote them; `casemate verify` tells whether it is true.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A file, or - for standard input, also as hexadecimal or base64 text: an evidence bundle, an SEV-SNP report, a
    /// TDX or SGX quote, a document of AWS, Azure's HCL report, a TPM's quote, signature, PCR values or public area, an
    /// event log, an IMA list, a report of an NVIDIA device, NVIDIA's manifest, certificates, a revocation list, or
    /// Intel's collateral
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// [`Error::File`], [`Error::FileTooLarge`], [`Error::Intake`].
pub fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let name = arguments.file.display().to_string();
    let bytes = files::read_input(&arguments.file, File::MAXIMUM_LEN as u64)?;
    let file = File { name: &name, bytes: &bytes };
    let inspection = inspect(&[file], clock::now_ms(), casemate_crypto::provider())?;
    let mut found = inspection.files.into_iter().next().expect("one file, one answer")?;
    if !inspection.checks.is_empty() {
        found["checks"] = Value::Object(inspection.checks);
    }
    name_kinds(&mut found);
    context.output.answer(&found, || {
        let mut fields = Vec::new();
        flatten("", &found, &mut fields);
        let width = fields.iter().map(|(name, _)| name.len().min(WIDEST)).max().unwrap_or_default();
        let mut lines: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
        lines.push("Nothing of this is verified: `casemate verify` does that.".to_owned());
        lines.join("\n")
    });
    Ok(exit::DONE)
}

/// Kinds as the command line writes them, of the file and of what is in it: `snp-report`.
fn name_kinds(found: &mut Value) {
    if let Some(kind) = found.get("kind").and_then(Value::as_str) {
        found["kind"] = match kind {
            "bundle" => "evidence-bundle".into(),
            kind => kind.replace('_', "-").into(),
        };
    }
    found.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(name_kinds);
}

/// Each value with its path. Texts come from strangers: what could steer a terminal is replaced.
fn flatten(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let inner = |key: &str| if name.is_empty() { clean(key) } else { format!("{name}.{}", clean(key)) };
    let shown = match value {
        Value::Object(members) => {
            return members.iter().for_each(|(key, value)| flatten(&inner(key), value, fields));
        }
        Value::Array(list) if !list.is_empty() => {
            return list
                .iter()
                .enumerate()
                .for_each(|(index, value)| flatten(&inner(&index.to_string()), value, fields));
        }
        Value::Array(_) | Value::Null => "none".to_owned(),
        Value::String(text) => clean(text),
        other => other.to_string(),
    };
    fields.push((name.to_owned(), shown));
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// Longer names do not move the values of others.
const WIDEST: usize = 80;
