//! How do texts of TOML become tables of a policy?
//!
//! By way of plain values: what serde makes of every table for a reader that tracks places in the text would be a tenth
//! of the module that browsers load. Places are asked for when there is an error to tell, and not in a browser.

use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;
use toml::de::Error;

/// Reads a text as `T`.
///
/// # Errors
/// What is wrong and, but in a browser, where.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let table: toml::Table = toml::from_str(text)?;
    let value = plain(toml::Value::Table(table))?;
    serde_json::from_value(value).map_err(|error| located::<T>(text, &error))
}

/// The same value, of the kinds that policies have.
fn plain(value: toml::Value) -> Result<Value, Error> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Boolean(is) => Value::Bool(is),
        toml::Value::Array(list) => Value::Array(list.into_iter().map(plain).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => {
            let members = table.into_iter().map(|(name, value)| Ok((name, plain(value)?)));
            Value::Object(members.collect::<Result<_, Error>>()?)
        }
        // As JSON some of them would be null, and so absent.
        other @ (toml::Value::Float(_) | toml::Value::Datetime(_)) => {
            return Err(Error::custom(format_args!("{other}: a policy has no values of this kind")));
        }
    })
}

#[cfg(not(target_family = "wasm"))]
fn located<T: DeserializeOwned>(text: &str, error: &serde_json::Error) -> Error {
    toml::from_str::<T>(text).err().unwrap_or_else(|| Error::custom(error))
}

#[cfg(target_family = "wasm")]
fn located<T>(_: &str, error: &serde_json::Error) -> Error {
    Error::custom(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[allow(dead_code)]
        rule: Option<u8>,
    }

    #[test]
    fn what_json_has_no_word_for_is_refused_and_not_absent() {
        for value in ["nan", "inf", "-inf", "1.5", "1979-05-27", "07:32:00"] {
            let error = read::<File>(&format!("rule = {value}")).expect_err(value).to_string();
            assert!(error.contains("a policy has no values of this kind"), "{error}");
        }
        assert!(matches!(read::<File>("rule = 1"), Ok(File { rule: Some(1) })));
        assert!(matches!(read::<File>(""), Ok(File { rule: None })));
    }

    #[test]
    fn errors_say_where() {
        for (text, parts) in [
            ("rule = 1\n\nother = 2", ["line 3", "unknown field `other`"]),
            ("\nrule = \"1\"", ["line 2", "invalid type: string"]),
            ("rule = 1\nrule = 2", ["line 2", "duplicate key"]),
            ("rule = 256", ["line 1", "256"]),
        ] {
            let error = read::<File>(text).expect_err(text).to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
