//! How far is the build?

use crate::Difference;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Asking the archive for its index of a suite.
    ReadingArchive,
    /// Fetching packages; counted.
    Fetching,
    /// Compiling the guest's programs; counted.
    Compiling,
    /// Choosing the root's files.
    AssemblingRoot,
    /// Writing the root image and its hash tree.
    WritingRoot,
    /// Packing the initial filesystem.
    WritingInitrd,
}

/// Who is told about progress.
pub trait Progress {
    /// `step` begins or goes on: `done` of `total` parts, of which the next is `part`.
    fn step(&mut self, step: Step, done: usize, total: usize, part: &str);

    /// The image will not be the locked one: said once per package, before it is used.
    fn differs(&mut self, difference: &Difference);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _: Step, _: usize, _: usize, _: &str) {}

    fn differs(&mut self, _: &Difference) {}
}
