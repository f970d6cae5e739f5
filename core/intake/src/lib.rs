//! What did somebody hand over, and what do they ask of it?
//!
//! People have files: a report, the certificates of its chip, a revocation list, or a bundle with all of
//! them. Here each is recognised by its own bytes, what belongs together is put together, and the question
//! about it (policy, time, expectations) is read. The answer comes from [`casemate_verify`], and is the same
//! for the command line, the browser, JavaScript and Python.
//!
//! ```
//! use casemate_intake::{File, Question, verify};
//!
//! let question = Question::new(casemate_verify::Policy::hardware_only(), 1_767_225_600_000);
//! let report = File { name: "report.bin", bytes: &[3, 0, 0, 0] }; // begins like one, and ends too soon
//! let answer = verify(&question, &[report], casemate_crypto::provider())?;
//! assert_eq!(answer.verdict.outcome(), casemate_verify::Outcome::NotGenuine);
//! # Ok::<(), casemate_intake::Error>(())
//! ```
//!
//! It judges nothing and fetches nothing. Other languages speak to it in JSON: [`call`].
#![forbid(unsafe_code)]

mod call;
mod content;
mod device;
mod error;
mod inspect;
mod question;
mod sort;

pub use call::call;
pub use content::{Content, File, Kind};
pub use error::Error;
pub use inspect::{Inspection, describe_certificate, describe_revocation_list, inspect};
pub use question::{Answer, Challenge, ExpectedImage, ExpectedWorkload, Nonce, Question, verify};
pub use sort::Sorted;
