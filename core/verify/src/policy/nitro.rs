//! Which enclaves and instances of AWS does this policy accept?

use casemate_evidence::nitro::Kind;
use serde::Deserialize;

use super::registers::{RegisterRules, RegisterTable};
use super::value::{ListOrWord, NumberOrWord, bit, list_or_any, text, vendor_roots, word};
use super::{Accept, BitRule, PolicyError};

/// What is accepted of a document of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NitroRules {
    pub aws_roots: bool,
    pub kinds: Accept<Kind>,
    pub debug: BitRule,
    pub modules: Accept<String>,
    pub maximum_age_ms: Option<u64>,
    pub pcrs: RegisterRules,
}

impl NitroRules {
    pub(super) fn read(roots: &str, table: NitroTable) -> Result<Self, PolicyError> {
        Ok(Self {
            aws_roots: vendor_roots("roots.aws", roots)?,
            kinds: list_or_any("nitro.kinds", table.kinds, kind)?,
            debug: bit("nitro.debug", &table.debug)?,
            modules: list_or_any("nitro.modules", table.modules, text)?,
            maximum_age_ms: match table.maximum_age_seconds {
                NumberOrWord::Number(seconds) => Some(u64::from(seconds) * 1000),
                NumberOrWord::Word(text) => {
                    word("nitro.maximum_age_seconds", &text, "a number of seconds or \"any\"", |word| {
                        (word == "any").then_some(None)
                    })?
                }
            },
            pcrs: RegisterRules::read("nitro.pcrs", table.pcrs, 32, &[48])?,
        })
    }
}

fn kind(field: &'static str, text: String) -> Result<Kind, PolicyError> {
    word(field, &text, "\"enclave\" or \"instance\"", |word| match word {
        "enclave" => Some(Kind::Enclave),
        "instance" => Some(Kind::Instance),
        _ => None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NitroTable {
    kinds: ListOrWord,
    debug: String,
    modules: ListOrWord,
    maximum_age_seconds: NumberOrWord,
    pcrs: RegisterTable,
}
