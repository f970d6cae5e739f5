//! What does one node say, in the shape its key wants?

use std::collections::BTreeMap;

use super::{
    error::{Error, Place, Problem},
    keys::{Section, advice, is_known},
    units,
    yaml::{Entry, Node, Value},
};
use crate::{manifest::Substitutions, template::Template};

/// The keys of a mapping, each of them known to its section.
pub(super) struct Fields {
    pub place: Place,
    section: Section,
    entries: BTreeMap<String, Entry>,
}

impl Fields {
    /// Opens a mapping of `section`; `null` is an empty one.
    ///
    /// Every key must be known, except `x-*` in the file and in a service.
    pub fn open(section: Section, key: &str, node: Node) -> Result<Self, Error> {
        let place = node.place;
        let mut entries = BTreeMap::new();
        for entry in mapping(key, node)? {
            if is_known(section, &entry.key) {
                entries.insert(entry.key.clone(), entry);
            } else if !(matches!(section, Section::File | Section::Service) && entry.key.starts_with("x-")) {
                let advice = advice(section, &entry.key);
                return Err(Problem::UnsupportedKey { key: entry.key, section: section.name(), advice }
                    .at(entry.place));
            }
        }
        Ok(Fields { place, section, entries })
    }

    /// The value of `key`, unless it is absent or null.
    pub fn take(&mut self, key: &'static str) -> Option<Node> {
        debug_assert!(is_known(self.section, key), "{key} is listed in KEYS");
        self.entries.remove(key).map(|entry| entry.value).filter(|node| !node.is_null())
    }

    /// The value of `key`, which must be there.
    pub fn require(&mut self, key: &'static str) -> Result<Node, Error> {
        let (place, section) = (self.place, self.section.name());
        self.take(key).ok_or_else(|| Problem::MissingKey { section, key }.at(place))
    }
}

/// Reads values in which variables are public.
pub(super) struct Public<'a> {
    pub substitutions: &'a Substitutions,
}

impl Public<'_> {
    /// Text with its variables replaced.
    pub fn text(&self, key: &str, node: &Node) -> Result<String, Error> {
        let template = template(key, node)?;
        template
            .render(&|name| self.substitutions.value(name))
            .map_err(|missing| Problem::Missing(missing).at(node.place))
    }

    /// Text that `read` understands.
    pub fn value<T>(
        &self,
        key: &str,
        node: &Node,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let text = self.scalar(key, node)?;
        read(&text).ok_or_else(|| {
            Problem::WrongValue { key: key.to_owned(), found: excerpt(&text), expected }.at(node.place)
        })
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str, node: &Node) -> Result<bool, Error> {
        self.value(key, node, "true or false", |text| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// A whole number.
    pub fn number(&self, key: &str, node: &Node) -> Result<u32, Error> {
        self.value(key, node, "a whole number", |text| text.parse().ok())
    }

    /// A duration in milliseconds.
    pub fn duration_ms(&self, key: &str, node: &Node) -> Result<u64, Error> {
        self.value(key, node, "a duration such as 30s or 1m30s", units::duration_ms)
    }

    /// A size in bytes.
    pub fn size_bytes(&self, key: &str, node: &Node) -> Result<u64, Error> {
        self.value(key, node, "a size such as 512m or 2g", units::size_bytes)
    }

    /// Permissions.
    pub fn mode(&self, key: &str, node: &Node) -> Result<u32, Error> {
        self.value(key, node, "octal permissions such as 0440", units::mode)
    }

    /// An absolute path.
    pub fn path(&self, key: &str, node: &Node) -> Result<String, Error> {
        self.value(key, node, "an absolute path without '.', '..' or a slash at the end", |text| {
            units::is_absolute_path(text).then(|| text.to_owned())
        })
    }

    /// A list of texts.
    pub fn texts(&self, key: &str, node: Node) -> Result<Vec<String>, Error> {
        sequence(key, node)?.iter().map(|item| self.text(key, item)).collect()
    }

    /// A text split as a shell would, or a list.
    pub fn command(&self, key: &str, node: Node) -> Result<Vec<String>, Error> {
        if matches!(node.value, Value::Sequence(_)) {
            return self.texts(key, node);
        }
        self.value(key, &node, "words with closed quotes", units::words)
    }

    /// Any text, numbers and booleans without quotes included.
    fn scalar(&self, key: &str, node: &Node) -> Result<String, Error> {
        let Value::Scalar { text, .. } = &node.value else {
            return Err(Problem::WrongShape { key: key.to_owned(), expected: "text" }.at(node.place));
        };
        Template::parse(text)
            .map_err(|error| Problem::Template(error).at(node.place))?
            .render(&|name| self.substitutions.value(name))
            .map_err(|missing| Problem::Missing(missing).at(node.place))
    }
}

/// The template a text is. Refuses plain scalars that other YAML readers do not take for this text.
pub(super) fn template(key: &str, node: &Node) -> Result<Template, Error> {
    let Value::Scalar { text, plain } = &node.value else {
        return Err(Problem::WrongShape { key: key.to_owned(), expected: "text" }.at(node.place));
    };
    if *plain && matches!(text.as_str(), "true" | "false" | "True" | "False" | "TRUE" | "FALSE") {
        return Err(Problem::BareBoolean { found: text.clone() }.at(node.place));
    }
    if *plain && units::is_ambiguous_number(text) {
        return Err(Problem::AmbiguousNumber { found: text.clone() }.at(node.place));
    }
    Template::parse(text).map_err(|error| Problem::Template(error).at(node.place))
}

/// The entries of a mapping; `null` has none.
pub(super) fn mapping(key: &str, node: Node) -> Result<Vec<Entry>, Error> {
    if node.is_null() {
        return Ok(Vec::new());
    }
    match node.value {
        Value::Mapping(entries) => Ok(entries),
        _ => Err(Problem::WrongShape { key: key.to_owned(), expected: "a mapping" }.at(node.place)),
    }
}

/// The items of a list.
pub(super) fn sequence(key: &str, node: Node) -> Result<Vec<Node>, Error> {
    match node.value {
        Value::Sequence(items) => Ok(items),
        _ => Err(Problem::WrongShape { key: key.to_owned(), expected: "a list" }.at(node.place)),
    }
}

/// Pairs written as a mapping or as a list of `name=value`; a value may be missing.
pub(super) fn pairs(key: &str, node: Node) -> Result<Vec<(Place, String, Option<Node>)>, Error> {
    let mut pairs: Vec<(Place, String, Option<Node>)> = Vec::new();
    match node.value {
        Value::Sequence(items) => {
            for item in items {
                let Value::Scalar { text, .. } = item.value else {
                    return Err(Problem::WrongShape {
                        key: key.to_owned(),
                        expected: "a list of NAME=value",
                    }
                    .at(item.place));
                };
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => {
                        let value = Value::Scalar { text: value.to_owned(), plain: false };
                        (name.to_owned(), Some(Node { place: item.place, value }))
                    }
                    None => (text, None),
                };
                if pairs.iter().any(|(_, other, _)| *other == name) {
                    return Err(Problem::DuplicateKey { key: name }.at(item.place));
                }
                pairs.push((item.place, name, value));
            }
        }
        _ => {
            for entry in mapping(key, node)? {
                let value = (!entry.value.is_null()).then_some(entry.value);
                pairs.push((entry.place, entry.key, value));
            }
        }
    }
    Ok(pairs)
}

/// A name of a service, volume, config or secret.
pub(super) fn check_name(key: &str, name: &str, place: Place) -> Result<(), Error> {
    if units::is_name(name) {
        return Ok(());
    }
    Err(Problem::WrongValue {
        key: key.to_owned(),
        found: excerpt(name),
        expected: "a name of letters, digits, '_', '.' and '-', at most 63 long",
    }
    .at(place))
}

/// The beginning of a text, for messages.
pub(super) fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(64).filter(|c| !c.is_control()).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}
