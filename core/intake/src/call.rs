//! How do other languages ask?
//!
//! One call: a JSON object that says what is asked, the files beside it, and a JSON object back. So every
//! binding is a few lines, and none has rules of its own. Reference: `docs/reference/question.md`.

use casemate_crypto::Provider;
use casemate_verify::Policy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::content::{Content, File, Kind};
use crate::error::Error;
use crate::inspect::{Inspection, inspect};
use crate::question::{Answer, Question, verify};

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Call {
    /// Judge the files.
    Verify(Box<Question>),
    /// Say of each file what it is.
    Recognise {},
    /// Say what the files say, and what holds among them.
    Inspect { at_ms: u64 },
    /// Policies to start from.
    Policies {},
}

/// What is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Answer(Box<Answer>),
    Files(Vec<Recognised>),
    Inspection { files: Vec<Described>, checks: Map<String, Value> },
    Policies { hardware_only: String, example: String },
    Error(Problem),
}

/// What one file is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Recognised {
    Kind { kind: Kind, name: &'static str },
    Error(Problem),
}

/// What one file says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Described {
    Content(Value),
    Error(Problem),
}

/// An [`Error`] in words.
#[derive(Debug, Serialize)]
struct Problem {
    code: &'static str,
    message: String,
    hint: &'static str,
}

/// Answers a call, in JSON; whatever the input, there is an answer.
pub fn call(request: &[u8], files: &[File<'_>], provider: &dyn Provider) -> String {
    let reply = answer(request, files, provider).unwrap_or_else(|error| Reply::Error((&error).into()));
    serde_json::to_string(&reply).expect("a reply has text keys only, and memory takes any text")
}

fn answer(request: &[u8], files: &[File<'_>], provider: &dyn Provider) -> Result<Reply, Error> {
    Ok(match serde_json::from_slice(request)? {
        Call::Verify(question) => Reply::Answer(Box::new(verify(&question, files, provider)?)),
        Call::Recognise {} => Reply::Files(files.iter().map(recognise).collect()),
        Call::Inspect { at_ms } => {
            let Inspection { files, checks } = inspect(files, at_ms, provider)?;
            let described = |file: Result<Value, Error>| match file {
                Ok(content) => Described::Content(content),
                Err(error) => Described::Error((&error).into()),
            };
            Reply::Inspection { files: files.into_iter().map(described).collect(), checks }
        }
        Call::Policies {} => {
            Reply::Policies { hardware_only: Policy::hardware_only(), example: Policy::example(&[]) }
        }
    })
}

fn recognise(file: &File<'_>) -> Recognised {
    match Content::read(file) {
        Ok(content) => Recognised::Kind { kind: content.kind(), name: content.kind().name() },
        Err(error) => Recognised::Error((&error).into()),
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self { code: error.code(), message: error.to_string(), hint: error.hint() }
    }
}
