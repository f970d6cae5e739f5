//! From a genuine quote, its certificates and its collateral: change one thing, sign anew where that is part
//! of the attack, and expect one error. Tables name every field; a new field without a row does not compile
//! or fails its test.

mod certificates;
mod collateral;
mod machine;
mod quote;
#[path = "../support/mod.rs"]
mod support;
