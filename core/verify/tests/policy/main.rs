//! Each rule of a policy decides something: for every key of the file there is a row that changes it, or
//! the evidence, and names the one check that then fails.

mod case;
mod expectations;
mod file;
mod hardware;
mod rules;
#[path = "../support/mod.rs"]
mod support;
