//! Does any input make a parser of `core` panic, run away with memory, or contradict itself?
//!
//! One [`Target`] per parser of bytes that others made, and some for whole verifications. A target takes any
//! bytes; what must hold of them is asserted in it. `make fuzz` runs all of them under libFuzzer, beginning with
//! recorded evidence; tests replay that evidence and bombs on every build. See `fuzz/README.md`.
//!
//! ```
//! casemate_fuzz::target("snp-report").expect("it is listed").run(b"no report");
//! ```

mod gullible;
mod parts;
pub mod sys;
mod targets;
mod vectors;

pub use gullible::Gullible;
pub use targets::{TARGETS, target};
pub use vectors::Vectors;

/// One parser, or one verification, and what must hold of it for any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and of its corpus.
    pub name: &'static str,
    /// Longest input that libFuzzer tries, in bytes.
    pub maximum_len: usize,
    /// What is asserted.
    check: fn(&[u8]),
    /// Where to begin.
    seeds: fn(&Vectors) -> Vec<Vec<u8>>,
}

impl Target {
    /// Whatever `bytes` are, this returns, with little memory.
    ///
    /// # Panics
    /// If the code under test is wrong about `bytes`; if it asks for more than [`allowance`] while
    /// [`sys::Counting`] is installed.
    pub fn run(&self, bytes: &[u8]) {
        let (taken, ()) = sys::allocations(|| (self.check)(bytes));
        let allowed = allowance(bytes.len());
        assert!(taken.bytes <= allowed, "{}: {} bytes of {allowed}", self.name, taken.bytes);
    }

    /// Inputs to begin with, from recorded evidence and from the documentation.
    pub fn seeds(&self, vectors: &Vectors) -> Vec<Vec<u8>> {
        let mut seeds = (self.seeds)(vectors);
        seeds.sort();
        seeds.dedup();
        seeds
    }
}

/// How many bytes may be asked for, in sum, for an input of `len` bytes: all allocations count, freed or not, so
/// that this bounds steps as well as memory.
pub const fn allowance(len: usize) -> u64 {
    (24 << 20) + 256 * len as u64
}
