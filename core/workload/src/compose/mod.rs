//! What does a compose file ask for?
//!
//! A strict subset of the Compose Specification (<https://github.com/compose-spec/compose-spec>,
//! `docs/reference/compose.md` lists it), in one normal form whatever syntax it was written in.
//! What is not in the subset is refused by name and place, never skipped: a key that isolates or
//! restricts in Docker must not silently stop doing so here.

mod model;

pub use model::*;
