//! What may be in the logs that come along with registers?

use std::sync::Arc;

use serde::Deserialize;

use super::registers::{RegisterRules, RegisterTable};
use super::value::{ListOrWord, bit, non_empty, word};
use super::{BitRule, PolicyError};
use crate::ima::RuntimePolicy;

/// What is accepted of event logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventRules {
    /// Registers whose value the log must explain, by number; `None` if none is asked for.
    pub explained: Option<Vec<u8>>,
    pub secure_boot: BitRule,
    pub digests: RegisterRules,
}

/// What is accepted of lists of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImaRules {
    pub list_required: bool,
    pub boot_aggregate_required: bool,
    pub accept_violations: bool,
    pub runtime_policy: Option<ReadRuntimePolicy>,
}

/// A runtime policy with its text, by which two are compared.
#[derive(Debug, Clone)]
pub(crate) struct ReadRuntimePolicy {
    text: String,
    policy: Arc<RuntimePolicy>,
}

impl EventRules {
    pub(super) fn read(table: EventsTable) -> Result<Self, PolicyError> {
        Ok(Self {
            explained: match table.explained {
                ListOrWord::Word(text) => {
                    word("events.explained", &text, "a list of registers or \"any\"", |word| {
                        (word == "any").then_some(None)
                    })?
                }
                ListOrWord::List(list) => Some(non_empty("events.explained", "any", list, register)?),
            },
            secure_boot: bit("events.secure_boot", &table.secure_boot)?,
            digests: RegisterRules::read("events.digests", table.digests, 32, &[32, 48, 64])?,
        })
    }
}

impl ImaRules {
    pub(super) fn read(table: ImaTable) -> Result<Self, PolicyError> {
        let required = |field, text: &str| {
            word(field, text, "\"required\" or \"any\"", |word| match word {
                "required" => Some(true),
                "any" => Some(false),
                _ => None,
            })
        };
        Ok(Self {
            list_required: required("ima.list", &table.list)?,
            boot_aggregate_required: required("ima.boot_aggregate", &table.boot_aggregate)?,
            accept_violations: word(
                "ima.violations",
                &table.violations,
                "\"forbidden\" or \"any\"",
                |word| match word {
                    "forbidden" => Some(false),
                    "any" => Some(true),
                    _ => None,
                },
            )?,
            runtime_policy: match table.runtime_policy.as_str() {
                "any" => None,
                text => Some(ReadRuntimePolicy::read(text)?),
            },
        })
    }
}

impl ReadRuntimePolicy {
    fn read(text: &str) -> Result<Self, PolicyError> {
        let policy = RuntimePolicy::parse(text)
            .map_err(|error| PolicyError::RuntimePolicy { message: error.to_string() })?;
        Ok(Self { text: text.to_owned(), policy: Arc::new(policy) })
    }

    /// What it says.
    pub(crate) fn policy(&self) -> &RuntimePolicy {
        &self.policy
    }
}

impl PartialEq for ReadRuntimePolicy {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ReadRuntimePolicy {}

fn register(field: &'static str, text: String) -> Result<u8, PolicyError> {
    word(field, &text, "registers 0 to 31", |word| (0..32).find(|index: &u8| index.to_string() == word))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsTable {
    explained: ListOrWord,
    secure_boot: String,
    digests: RegisterTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImaTable {
    list: String,
    boot_aggregate: String,
    violations: String,
    runtime_policy: String,
}
