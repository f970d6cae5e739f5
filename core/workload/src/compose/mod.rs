//! What does a compose file ask for?
//!
//! A strict subset of the Compose Specification (<https://github.com/compose-spec/compose-spec>,
//! `docs/reference/compose.md` lists it), in one normal form whatever syntax it was written in.
//! What is not in the subset is refused by name and place, never skipped: a key that isolates or
//! restricts in Docker must not silently stop doing so here.

mod error;
mod extension;
mod fields;
mod file;
mod keys;
mod model;
mod mounts;
mod ports;
mod service;
mod units;
mod variables;
mod yaml;

#[cfg(test)]
mod tests;

pub use error::{Error, Place, Problem};
pub use keys::{KEYS, Key, Section};
pub use model::*;
pub use variables::{Variables, variables};

use crate::manifest::Substitutions;

/// Reads a compose file.
///
/// Variables outside `environment`, `configs` and `secrets` take their values from `substitutions`,
/// which stand in `compose.lock` and in the manifest. Those inside stay variables: they are secrets.
///
/// # Errors
/// [`Error`] names place, key and what to do.
pub fn parse(text: &str, substitutions: &Substitutions) -> Result<Compose, Error> {
    variables(text)?;
    file::read(yaml::read(text)?, &fields::Public { substitutions })
}

/// Reads a compose file that is still bytes.
///
/// # Errors
/// As [`parse`], and [`Problem::NotUtf8`].
pub fn parse_bytes(bytes: &[u8], substitutions: &Substitutions) -> Result<Compose, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, substitutions),
        Err(_) => Err(Problem::NotUtf8.at(Place::START)),
    }
}
