//! How is one value of a policy file written?

use casemate_canon::ParseBytesError;
use serde::Deserialize;

use super::{Accept, BitRule, PolicyError};

pub(crate) fn word<T>(
    field: &'static str,
    text: &str,
    expected: &'static str,
    meaning: impl FnOnce(&str) -> Option<T>,
) -> Result<T, PolicyError> {
    meaning(text).ok_or_else(|| PolicyError::Word { field, found: text.to_owned(), expected })
}

pub(crate) fn bit(field: &'static str, text: &str) -> Result<BitRule, PolicyError> {
    word(field, text, "\"required\", \"forbidden\" or \"any\"", |word| match word {
        "required" => Some(BitRule::Required),
        "forbidden" => Some(BitRule::Forbidden),
        "any" => Some(BitRule::Any),
        _ => None,
    })
}

/// `"builtin"` or `"none"`: whether a vendor's own roots count.
pub(crate) fn vendor_roots(field: &'static str, text: &str) -> Result<bool, PolicyError> {
    word(field, text, "\"builtin\" or \"none\"", |word| match word {
        "builtin" => Some(true),
        "none" => Some(false),
        _ => None,
    })
}

pub(crate) fn bytes<T: std::str::FromStr<Err = ParseBytesError>>(
    field: &'static str,
    text: String,
) -> Result<T, PolicyError> {
    text.parse().map_err(|source| PolicyError::Bytes { field, found: text, source })
}

/// A name, as somebody else writes it.
pub(crate) fn text(_field: &'static str, text: String) -> Result<String, PolicyError> {
    Ok(text)
}

pub(crate) type Entry<T> = fn(&'static str, String) -> Result<T, PolicyError>;

pub(crate) fn non_empty<T>(
    field: &'static str,
    word: &'static str,
    list: Vec<String>,
    entry: Entry<T>,
) -> Result<Vec<T>, PolicyError> {
    if list.is_empty() {
        return Err(PolicyError::EmptyList { field, word });
    }
    list.into_iter().map(|text| entry(field, text)).collect()
}

pub(crate) fn list_or_any<T>(
    field: &'static str,
    value: ListOrWord,
    entry: Entry<T>,
) -> Result<Accept<T>, PolicyError> {
    match value {
        ListOrWord::List(list) => Ok(Accept::Only(non_empty(field, "any", list, entry)?)),
        ListOrWord::Word(text) => {
            word(field, &text, "a list or \"any\"", |word| (word == "any").then_some(Accept::Any))
        }
    }
}

pub(crate) fn list_or_none<T>(
    field: &'static str,
    value: ListOrWord,
    entry: Entry<T>,
) -> Result<Vec<T>, PolicyError> {
    match value {
        ListOrWord::List(list) => non_empty(field, "none", list, entry),
        ListOrWord::Word(text) => {
            word(field, &text, "a list or \"none\"", |word| (word == "none").then(Vec::new))
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of texts, or a word")]
pub(crate) enum ListOrWord {
    Word(String),
    List(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, or a word")]
pub(crate) enum NumberOrWord {
    Number(u32),
    Word(String),
}
