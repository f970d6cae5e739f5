//! How much does it cost, compared with what?
//!
//! Every number is a ratio of two things measured turn by turn in one run on one machine: ours, and what a
//! user would have without us. `make bench` runs it; `docs/reference/performance.md` says what each row
//! compares and what it leaves out.
//!
//! ```
//! use casemate_bench::sample::Pairs;
//!
//! let pairs = Pairs::timed(3, || drop(vec![0; 2048]), || drop(vec![0; 1024]));
//! assert_eq!(pairs.ours().len(), 3);
//! println!("{:.2} times as long", pairs.ratio().median);
//! ```
//!
//! It asserts nothing about time: a missed promise is printed, not failed.

pub mod boot;
pub mod browser;
#[cfg(feature = "dcap-qvl")]
pub mod dcap_qvl;
pub mod evidence;
pub mod guest;
pub mod machine;
pub mod quote;
pub mod quote_evidence;
pub mod release;
pub mod sample;
pub mod seat;
pub mod table;
pub mod verify;
