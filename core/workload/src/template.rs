//! Which variables does a text need, and what does it say once they are known?
//!
//! The interpolation of the Compose Specification: `$VAR`, `${VAR}`, `${VAR:-default}`,
//! `${VAR-default}`, `${VAR:?message}`, `${VAR?message}`, `${VAR:+replacement}`,
//! `${VAR+replacement}`, `$$` for a dollar sign; arguments may nest. One deliberate difference: a
//! variable without a default that is not set is an error, not an empty string.

use std::collections::BTreeSet;

/// A text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`Error`]: a `$` that begins no variable, a brace that is not closed, nesting deeper than 8.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut reader = Reader { rest: text, depth: 0 };
        reader.template(false)
    }

    /// The text itself, with no variables in it.
    pub fn literal(text: impl Into<String>) -> Self {
        Template { parts: vec![Part::Text(text.into())] }
    }

    /// The value of the variable `name`, which has no default.
    pub fn variable(name: impl Into<String>) -> Self {
        Template { parts: vec![Part::Variable { name: name.into(), rule: Rule::Required(None) }] }
    }

    /// Names of the variables it mentions, whether or not they have a default.
    pub fn names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.collect(&mut names, false);
        names
    }

    /// Names of the variables without which it cannot be rendered, whatever the others are.
    pub fn required_names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.collect(&mut names, true);
        names
    }

    /// The text with each variable replaced by what `lookup` answers.
    ///
    /// If a value is a secret, so is the answer.
    ///
    /// # Errors
    /// [`Missing`] if a variable without a default is not known.
    pub fn render<'a>(&self, lookup: &dyn Fn(&str) -> Option<&'a str>) -> Result<String, Missing> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Variable { name, rule } => text.push_str(&rule.render(name, lookup)?),
            }
        }
        Ok(text)
    }

    fn collect<'s>(&'s self, names: &mut BTreeSet<&'s str>, required_only: bool) {
        for part in &self.parts {
            let Part::Variable { name, rule } = part else { continue };
            if !required_only || matches!(rule, Rule::Required(_)) {
                names.insert(name);
            }
            match rule {
                Rule::Default { value, .. } | Rule::Replace { value, .. } if !required_only => {
                    value.collect(names, false);
                }
                _ => {}
            }
        }
    }
}

/// A variable without a default has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("variable {name} is not set{}; set it, or give it a default: ${{{name}:-value}}",
        message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
pub struct Missing {
    /// The variable.
    pub name: String,
    /// What the compose file says about it: `${NAME:?message}`.
    pub message: Option<String>,
}

/// Why a text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `$` followed by something that is no variable.
    #[error("'$' begins no variable; write '$$' for a dollar sign, or '${{NAME}}'")]
    LoneDollar,
    /// `${` without `}`.
    #[error("'${{' has no matching '}}'")]
    NotClosed,
    /// A name with other characters than letters, digits and `_`.
    #[error("a variable's name is letters, digits and '_', beginning with no digit")]
    BadName,
    /// An operator other than `:-`, `-`, `:?`, `?`, `:+`, `+`.
    #[error("after a variable's name only ':-', '-', ':?', '?', ':+' and '+' may follow")]
    BadOperator,
    /// Variables within defaults within defaults.
    #[error("variables nested deeper than {MAXIMUM_DEPTH}")]
    TooDeep,
}

const MAXIMUM_DEPTH: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable { name: String, rule: Rule },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// `$V`, `${V}`, `${V:?m}`, `${V?m}`. `Some((empty_counts_as_missing, message))` if stated.
    Required(Option<(bool, String)>),
    /// `${V:-d}` (`or_empty`), `${V-d}`.
    Default { or_empty: bool, value: Template },
    /// `${V:+r}` (`and_filled`), `${V+r}`.
    Replace { and_filled: bool, value: Template },
}

impl Rule {
    fn render<'a>(&self, name: &str, lookup: &dyn Fn(&str) -> Option<&'a str>) -> Result<String, Missing> {
        let found = lookup(name);
        match self {
            Rule::Required(None) => {
                found.map(str::to_owned).ok_or_else(|| Missing { name: name.to_owned(), message: None })
            }
            Rule::Required(Some((not_empty, message))) => found
                .filter(|value| !(*not_empty && value.is_empty()))
                .map(str::to_owned)
                .ok_or_else(|| Missing { name: name.to_owned(), message: Some(message.clone()) }),
            Rule::Default { or_empty, value } => match found {
                Some(text) if !(*or_empty && text.is_empty()) => Ok(text.to_owned()),
                _ => value.render(lookup),
            },
            Rule::Replace { and_filled, value } => match found {
                Some(text) if !(*and_filled && text.is_empty()) => value.render(lookup),
                _ => Ok(String::new()),
            },
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn template(&mut self, until_brace: bool) -> Result<Template, Error> {
        let mut parts = Vec::new();
        let mut text = String::new();
        loop {
            let Some(next) = self.rest.chars().next() else {
                if until_brace {
                    return Err(Error::NotClosed);
                }
                break;
            };
            self.rest = &self.rest[next.len_utf8()..];
            match next {
                '}' if until_brace => break,
                '$' if self.rest.starts_with('$') => {
                    self.rest = &self.rest[1..];
                    text.push('$');
                }
                '$' => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(self.variable()?);
                }
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Template { parts })
    }

    fn variable(&mut self) -> Result<Part, Error> {
        let Some(inner) = self.rest.strip_prefix('{') else {
            let name = self.name().ok_or(Error::LoneDollar)?;
            return Ok(Part::Variable { name, rule: Rule::Required(None) });
        };
        self.rest = inner;
        let name = self.name().ok_or(Error::BadName)?;
        let rule = match self.rest.chars().next().ok_or(Error::NotClosed)? {
            '}' => {
                self.rest = &self.rest[1..];
                Rule::Required(None)
            }
            ':' => {
                self.rest = &self.rest[1..];
                self.operator(true)?
            }
            _ => self.operator(false)?,
        };
        Ok(Part::Variable { name, rule })
    }

    fn operator(&mut self, colon: bool) -> Result<Rule, Error> {
        let operator = self.rest.chars().next().ok_or(Error::NotClosed)?;
        if !matches!(operator, '-' | '?' | '+') {
            return Err(Error::BadOperator);
        }
        self.rest = &self.rest[1..];
        self.depth += 1;
        if self.depth > MAXIMUM_DEPTH {
            return Err(Error::TooDeep);
        }
        let argument = match operator {
            '?' => {
                let end = self.rest.find('}').ok_or(Error::NotClosed)?;
                let message = self.rest[..end].to_owned();
                self.rest = &self.rest[end + 1..];
                Rule::Required(Some((colon, message)))
            }
            '-' => Rule::Default { or_empty: colon, value: self.template(true)? },
            _ => Rule::Replace { and_filled: colon, value: self.template(true)? },
        };
        self.depth -= 1;
        Ok(argument)
    }

    fn name(&mut self) -> Option<String> {
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let name = &self.rest[..end];
        if !is_variable_name(name) {
            return None;
        }
        self.rest = &self.rest[end..];
        Some(name.to_owned())
    }
}

/// Whether `name` may name a variable: letters, digits and `_`, beginning with no digit.
pub fn is_variable_name(name: &str) -> bool {
    name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<&'static str> {
        match name {
            "SET" => Some("value"),
            "EMPTY" => Some(""),
            _ => None,
        }
    }

    #[track_caller]
    fn renders(text: &str, expected: &str) {
        assert_eq!(Template::parse(text).unwrap().render(&lookup).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn every_form_means_what_compose_says() {
        renders("plain", "plain");
        renders("a $SET b", "a value b");
        renders("${SET}", "value");
        renders("$$SET", "$SET");
        renders("${NONE:-d}", "d");
        renders("${EMPTY:-d}", "d");
        renders("${EMPTY-d}", "");
        renders("${SET:-d}", "value");
        renders("${SET:+r}", "r");
        renders("${EMPTY:+r}", "");
        renders("${EMPTY+r}", "r");
        renders("${NONE+r}", "");
        renders("${NONE:-${SET}}-x", "value-x");
        renders("${NONE:-${OTHER:-deep}}", "deep");
        renders("${SET:?no}", "value");
    }

    #[test]
    fn what_is_not_set_is_an_error() {
        let missing = |text: &str| Template::parse(text).unwrap().render(&lookup).unwrap_err();
        assert_eq!(missing("$NONE"), Missing { name: "NONE".into(), message: None });
        assert_eq!(
            missing("${EMPTY:?give me}"),
            Missing { name: "EMPTY".into(), message: Some("give me".into()) }
        );
        assert!(Template::parse("${EMPTY?x}").unwrap().render(&lookup).is_ok());
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, error) in [
            ("cost: $5", Error::LoneDollar),
            ("$", Error::LoneDollar),
            ("${A", Error::NotClosed),
            ("${A:-b", Error::NotClosed),
            ("${}", Error::BadName),
            ("${1A}", Error::BadName),
            ("${A!b}", Error::BadOperator),
            ("${A:=b}", Error::BadOperator),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
        let deep = "${A:-".repeat(9) + &"}".repeat(9);
        assert_eq!(Template::parse(&deep), Err(Error::TooDeep));
    }

    #[test]
    fn names_tell_required_from_optional() {
        let template = Template::parse("$A ${B:-${C}} ${D:?x}").unwrap();
        assert_eq!(template.names().into_iter().collect::<Vec<_>>(), ["A", "B", "C", "D"]);
        assert_eq!(template.required_names().into_iter().collect::<Vec<_>>(), ["A", "D"]);
    }
}
