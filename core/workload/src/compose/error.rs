//! Why is a file no workload, and where does it say so?

use std::fmt;

use crate::template;

/// What is wrong with a compose file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Error {
    /// Where.
    pub place: Place,
    /// What.
    #[source]
    pub problem: Problem,
}

/// A place in a file; both numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl Place {
    /// The first character of a file.
    pub const START: Place = Place { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a compose file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Larger than is read.
    #[error("{found} bytes; a compose file has at most {}", super::yaml::MAXIMUM_BYTES)]
    TooLong {
        /// Size in bytes.
        found: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8; save the file as UTF-8")]
    NotUtf8,
    /// Not YAML.
    #[error("not YAML: {0}")]
    Yaml(#[source] saphyr_parser::ScanError),
    /// Nested too deeply.
    #[error("nested deeper than {maximum}")]
    TooDeep {
        /// Deepest nesting accepted.
        maximum: usize,
    },
    /// Too many nodes.
    #[error("more than {maximum} values")]
    TooManyNodes {
        /// Most nodes accepted.
        maximum: usize,
    },
    /// No document.
    #[error("the file is empty; it needs 'services:'")]
    Empty,
    /// `---` twice.
    #[error("a second document begins here; a compose file has one")]
    SecondDocument,
    /// `&a` or `*a`.
    #[error("anchors and aliases ('&', '*') are not supported; write the value out")]
    Anchor,
    /// `!tag`.
    #[error("tags ('!') are not supported; remove it")]
    Tag,
    /// `<<:`.
    #[error("merge keys ('<<') are not supported; write the keys out")]
    MergeKey,
    /// A key that is a list or mapping.
    #[error("a key must be text")]
    KeyNotText,
    /// NUL in a text.
    #[error("text holds a NUL character")]
    ControlCharacter,
    /// A key twice in one mapping.
    #[error("'{key}' is given twice; keep one")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key that the profile does not have.
    #[error("not supported by the lite profile: '{key}' in {section}; {advice}")]
    UnsupportedKey {
        /// The key.
        key: String,
        /// What it stands in.
        section: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Another shape than expected: text for a list and so on.
    #[error("'{key}' must be {expected}")]
    WrongShape {
        /// The key.
        key: String,
        /// Shape expected.
        expected: &'static str,
    },
    /// A value that the profile does not have.
    #[error("'{key}: {found}' is not supported; expected {expected}")]
    WrongValue {
        /// The key.
        key: String,
        /// Value found.
        found: String,
        /// Values expected, or what to write instead.
        expected: &'static str,
    },
    /// A number without quotes that YAML readers print differently.
    #[error("'{found}' without quotes is a number that programs print differently; put it in quotes")]
    AmbiguousNumber {
        /// The text.
        found: String,
    },
    /// `true` or `false` without quotes where text is wanted.
    #[error("'{found}' without quotes is no text; put it in quotes")]
    BareBoolean {
        /// The text.
        found: String,
    },
    /// A `$` that is no variable.
    #[error("{0}")]
    Template(#[source] template::Error),
    /// A public variable without a value.
    #[error(
        "{0}; outside 'environment', 'configs' and 'secrets' values are public and stand in compose.lock"
    )]
    Missing(#[source] template::Missing),
    /// A variable both in a public and in a secret place.
    #[error(
        "variable {name} is used here, where values are public, and in 'environment', 'configs' or \
         'secrets', where they are secret; use two variables"
    )]
    PublicAndSecret {
        /// The variable.
        name: String,
    },
    /// No service.
    #[error("'services' is empty; name at least one")]
    NoServices,
    /// A required key is missing.
    #[error("{section} has no '{key}'; add it")]
    MissingKey {
        /// What lacks it.
        section: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A name that is used but not declared.
    #[error("{kind} '{name}' is not declared; add it under '{section}:'")]
    Undeclared {
        /// Kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where to declare it.
        section: &'static str,
    },
    /// Services that wait for each other.
    #[error("'{service}' waits for itself through depends_on: {path}; break the circle")]
    Cycle {
        /// A service in the circle.
        service: String,
        /// The circle, as `a -> b -> a`.
        path: String,
    },
    /// A service waits for the health of one that has no health check.
    #[error("'{service}' has no healthcheck, so nothing can wait for service_healthy; add one")]
    NoHealthcheck {
        /// The service without a health check.
        service: String,
    },
    /// Two services publish one port.
    #[error("port {port} is published twice; change one")]
    PortTwice {
        /// The port.
        port: u16,
    },
    /// Two mounts at one path.
    #[error("two mounts at {target}; change one")]
    MountTwice {
        /// The path in the container.
        target: String,
    },
}

impl Problem {
    pub(super) fn at(self, place: Place) -> Error {
        Error { place, problem: self }
    }
}
