//! Each rule about Intel platforms decides something: for every key below `intel`, `tdx` and `sgx` there is
//! a row that changes it, or the evidence, and names the one check that then fails. And from a genuine quote
//! and its collateral: each field of a report and of the PCK certificate is looked at by some rule.

mod case;
mod evidence;
mod fields;
mod file;
mod levels;
mod rules;
#[path = "../support/mod.rs"]
mod support;
