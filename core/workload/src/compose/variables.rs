//! Which variables does a file mention, and which of them are secrets?

use std::collections::BTreeMap;

use super::{
    error::{Error, Problem},
    yaml::{self, Node, Value},
};
use crate::template::{Template, is_variable_name};

/// The variables of a compose file; the value tells whether it is needed, having no default
/// somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variables {
    /// Those in public places: their values stand in `compose.lock` and in the manifest.
    pub public: BTreeMap<String, bool>,
    /// Those in `environment`, `configs` and `secrets`: their values are delivered as secrets.
    pub secret: BTreeMap<String, bool>,
}

/// Lists the variables of a compose file, without judging anything else in it.
///
/// # Errors
/// [`Error`] if it is no YAML of the accepted kind, a text is no template, or a variable stands both
/// in a public and in a secret place ([`Problem::PublicAndSecret`]).
pub fn variables(text: &str) -> Result<Variables, Error> {
    let root = yaml::read(text)?;
    let mut found = Variables::default();
    // Secret places first, so that the public one is where a clash is reported.
    walk(&root, &mut Vec::new(), true, &mut found)?;
    walk(&root, &mut Vec::new(), false, &mut found)?;
    Ok(found)
}

fn walk<'n>(
    node: &'n Node,
    path: &mut Vec<&'n str>,
    secret_pass: bool,
    found: &mut Variables,
) -> Result<(), Error> {
    match &node.value {
        Value::Scalar { text, .. } => {
            if is_secret_place(path) == secret_pass {
                scalar(node, text, path, secret_pass, found)?;
            }
        }
        Value::Sequence(items) => {
            for item in items {
                walk(item, path, secret_pass, found)?;
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                let ignorable = path.is_empty() || (path.len() == 2 && path[0] == "services");
                if ignorable && entry.key.starts_with("x-") && entry.key != "x-casemate" {
                    continue;
                }
                path.push(&entry.key);
                walk(&entry.value, path, secret_pass, found)?;
                path.pop();
            }
        }
    }
    Ok(())
}

fn scalar(node: &Node, text: &str, path: &[&str], secret: bool, found: &mut Variables) -> Result<(), Error> {
    // `environment: NAME` of a config or secret, and `- NAME` or `NAME:` of a service, name a
    // variable without a dollar sign.
    if secret && path.len() == 3 && path[0] != "services" && path[2] == "environment" {
        note(&mut found.secret, text, true);
        return Ok(());
    }
    if secret && path.len() == 3 && path[0] == "services" && !text.contains('=') && is_variable_name(text) {
        note(&mut found.secret, text, true);
        return Ok(());
    }
    if secret && path.len() == 4 && node.is_null() {
        note(&mut found.secret, path[3], true);
        return Ok(());
    }
    let template = Template::parse(text).map_err(|error| Problem::Template(error).at(node.place))?;
    let required = template.required_names();
    for name in template.names() {
        if secret {
            note(&mut found.secret, name, required.contains(name));
        } else if found.secret.contains_key(name) {
            return Err(Problem::PublicAndSecret { name: name.to_owned() }.at(node.place));
        } else {
            note(&mut found.public, name, required.contains(name));
        }
    }
    Ok(())
}

fn note(names: &mut BTreeMap<String, bool>, name: &str, required: bool) {
    *names.entry(name.to_owned()).or_default() |= required;
}

/// Whether the variables at this path of keys are secrets.
fn is_secret_place(path: &[&str]) -> bool {
    match path {
        ["services", _, "environment", ..] => true,
        ["configs" | "secrets", _, key] => matches!(*key, "content" | "environment"),
        _ => false,
    }
}
