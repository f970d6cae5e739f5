//! How does a guest get its keys, and keep them?
//!
//! Pure state machines: the caller carries bytes between them and the seats, and asks the hardware for
//! one report in between. [`ReleaseAttempt`] obtains keys, [`Release::step`] prepares and commits
//! stamps, [`RenewalAttempt`] keeps the lease.

mod answer;
mod attempt;
mod error;
mod finish;
mod renewal;
mod step;

pub use answer::Answer;
pub use attempt::{Challenged, ReleaseAttempt, ReleaseSetup, WantedKey};
pub use error::{Denied, GuestError, Invalid};
pub use finish::{Release, ReleasedVolume, VolumeStanding};
pub use renewal::{RenewalAttempt, RenewalSetup, Renewed};
pub use step::StepAttempt;
