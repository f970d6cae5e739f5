//! Which values may registers have?
//!
//! A table of registers by number, such as `[tpm.pcrs]`: each a list of values or `"any"`, and `others = "any"`,
//! which says of those not written that they are not checked.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::PolicyError;
use super::value::{ListOrWord, word};
use crate::verdict::{Code, Comparison, Node, Source, Value};

/// The registers for which the policy lists values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegisterRules {
    listed: BTreeMap<u8, Vec<Vec<u8>>>,
}

/// As the file writes it.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct RegisterTable(BTreeMap<String, ListOrWord>);

impl RegisterRules {
    /// Registers 0 to `count` - 1, with values of one of the lengths `lens`, in bytes.
    pub(super) fn read(
        field: &'static str,
        table: RegisterTable,
        count: u8,
        lens: &[usize],
    ) -> Result<Self, PolicyError> {
        let mut rules = table.0;
        let others = rules.remove("others").ok_or(PolicyError::Others { field })?;
        let any = |value: &ListOrWord| matches!(value, ListOrWord::Word(word) if word == "any");
        if !any(&others) {
            return Err(PolicyError::Others { field });
        }
        let mut listed = BTreeMap::new();
        for (name, value) in rules {
            let index = (0..count).find(|index| index.to_string() == name);
            let index =
                index.ok_or_else(|| PolicyError::Register { field, found: name, maximum: count - 1 })?;
            match value {
                ListOrWord::List(list) if list.is_empty() => {
                    return Err(PolicyError::EmptyList { field, word: "any" });
                }
                ListOrWord::List(list) => {
                    let values = list.iter().map(|text| digits(field, text, lens));
                    listed.insert(index, values.collect::<Result<_, _>>()?);
                }
                ListOrWord::Word(text) => {
                    word(field, &text, "a list or \"any\"", |word| (word == "any").then_some(()))?;
                }
            }
        }
        Ok(Self { listed })
    }

    /// Checks all that went into each listed register; nothing is known of one of which `None` is found.
    pub(crate) fn check_each<'a>(
        &self,
        code: Code,
        found: impl Fn(u8) -> Option<Vec<&'a [u8]>>,
    ) -> Vec<Node> {
        if self.listed.is_empty() {
            return vec![Node::not_checked(code, Value::Nothing)];
        }
        let check = |(&index, accepted): (&u8, &Vec<Vec<u8>>)| {
            let is_accepted = |value: &&[u8]| accepted.iter().any(|listed| listed == value);
            let values = found(index);
            let stranger = values.as_ref().and_then(|values| values.iter().find(|value| !is_accepted(value)));
            let shown = stranger.or(values.as_ref().and_then(|values| values.last()));
            Node::check(
                code,
                values.is_some() && stranger.is_none(),
                Value::Register(index, shown.map(|value| value.to_vec())),
                Comparison::OneOf,
                Value::List(accepted.iter().map(|value| value.as_slice().into()).collect()),
                Source::Policy,
            )
        };
        self.listed.iter().map(check).collect()
    }

    /// Checks each listed register; one that is not there holds no accepted value.
    pub(crate) fn check<'a>(&self, code: Code, found: impl Fn(u8) -> Option<&'a [u8]>) -> Vec<Node> {
        if self.listed.is_empty() {
            return vec![Node::not_checked(code, Value::Nothing)];
        }
        let check = |(&index, accepted): (&u8, &Vec<Vec<u8>>)| {
            let value = found(index);
            Node::check(
                code,
                value.is_some_and(|value| accepted.iter().any(|listed| listed == value)),
                Value::Register(index, value.map(<[u8]>::to_vec)),
                Comparison::OneOf,
                Value::List(accepted.iter().map(|value| value.as_slice().into()).collect()),
                Source::Policy,
            )
        };
        self.listed.iter().map(check).collect()
    }
}

fn digits(field: &'static str, text: &str, lens: &[usize]) -> Result<Vec<u8>, PolicyError> {
    let expected = match lens {
        [32] => "values of 64 hexadecimal digits",
        [48] => "values of 96 hexadecimal digits",
        [64] => "values of 128 hexadecimal digits",
        _ => "values of 64, 96 or 128 hexadecimal digits",
    };
    word(field, text, expected, |text| hex::decode(text).ok().filter(|bytes| lens.contains(&bytes.len())))
}
