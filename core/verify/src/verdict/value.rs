//! What does a check compare, and who says what is right?

use std::borrow::Cow;

use casemate_canon::Short;
use casemate_evidence::snp::CpuId;
use casemate_record::{AppId, LeaseFault};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// Something found or expected, which becomes text when it is shown. JSON shows it whole; text shortens bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Nothing,
    /// A number.
    Number(u64),
    /// A word of Casemate's own vocabulary.
    Word(&'static str),
    /// A name that somebody chose.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A register by its number, and its value if it has one.
    Register(u8, Option<Vec<u8>>),
    /// A processor, as its report names it.
    Processor(CpuId),
    /// An app.
    App(AppId),
    /// Why leases do not count.
    Lease(LeaseFault),
    /// Several.
    List(Vec<Value>),
}

/// How found and expected must relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Found is expected.
    Equal,
    /// Found is not less than expected.
    AtLeast,
    /// Found is not greater than expected.
    AtMost,
    /// Found is one of expected.
    OneOf,
    /// Found is none of expected.
    NoneOf,
    /// Found holds each of expected.
    AllOf,
}

/// Who says what is expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// The rules of the evidence itself: signatures, layouts, certificates.
    Evidence,
    /// The appraisal policy.
    Policy,
    /// Whoever asked for the appraisal.
    Caller,
    /// A reference value or computation, by its name.
    Named(Cow<'static, str>),
}

impl Value {
    /// Whether this is nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Value::Nothing
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Nothing => f.write_str("none"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Word(word) => f.write_str(word),
            Value::Text(text) => write!(f, "{}", printable(text)),
            Value::Bytes(bytes) => write!(f, "{}", Short::new(bytes)),
            Value::Register(index, Some(bytes)) => write!(f, "{index} = {}", Short::new(bytes)),
            Value::Register(index, None) => write!(f, "{index}, without a value"),
            Value::Processor(cpuid) => write!(f, "{cpuid}"),
            Value::App(app_id) => write!(f, "app {}", app_id.short()),
            Value::Lease(fault) => write!(f, "{fault}"),
            Value::List(list) => {
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{value}")?;
                }
                Ok(())
            }
        }
    }
}

/// Names come from certificates, which an adversary may have written: no control characters reach a
/// terminal, and no name fills the screen.
pub(crate) fn printable(text: &str) -> String {
    const MAXIMUM: usize = 200;
    let shown: String =
        text.chars().take(MAXIMUM).map(|c| if c.is_control() || is_bidi(c) { '?' } else { c }).collect();
    if text.chars().count() > MAXIMUM { format!("{shown}...") } else { shown }
}

/// Characters that reorder or hide what follows them (Unicode TR 36, bidirectional text).
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Nothing => serializer.serialize_none(),
            Value::Number(number) => serializer.serialize_u64(*number),
            Value::Word(word) => serializer.serialize_str(word),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.serialize_str(&hex::encode(bytes)),
            Value::Register(index, bytes) => {
                let mut object = serializer.serialize_struct("Register", 2)?;
                object.serialize_field("register", index)?;
                object.serialize_field("value", &bytes.as_ref().map(hex::encode))?;
                object.end()
            }
            Value::Processor(_) | Value::App(_) | Value::Lease(_) => serializer.collect_str(self),
            Value::List(list) => list.serialize(serializer),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Evidence => f.write_str("evidence"),
            Source::Policy => f.write_str("policy"),
            Source::Caller => f.write_str("caller"),
            Source::Named(name) => f.write_str(&printable(name)),
        }
    }
}

impl Comparison {
    /// The word between who expects and what.
    pub const fn word(self) -> &'static str {
        match self {
            Comparison::Equal => "expects",
            Comparison::AtLeast => "minimum",
            Comparison::AtMost => "maximum",
            Comparison::OneOf => "accepts",
            Comparison::NoneOf => "denies",
            Comparison::AllOf => "requires",
        }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Value::Number(number.into())
    }
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Value::Word(word)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value::Bytes(bytes.to_vec())
    }
}

impl From<CpuId> for Value {
    fn from(cpuid: CpuId) -> Self {
        Value::Processor(cpuid)
    }
}

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Value::Word(if on { "on" } else { "off" })
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Value::List(list.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Nothing, Into::into)
    }
}
