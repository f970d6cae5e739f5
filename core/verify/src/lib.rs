//! Is the evidence genuine, and is it good enough?
//!
//! Verification happens here and nowhere else: KMS seats, validator, command line, browser and contracts
//! call this crate. Evidence passes three stages, each a type that only the step before can make:
//! parsed ([`casemate_evidence::snp::Report`]), authenticated ([`snp::Genuine`]), accepted
//! ([`Accepted`]). The end is a [`Verdict`], a tree of checks.
//!
//! ```no_run
//! use casemate_verify::{AcceptSimulated, Expectations, Policy, Verifier, snp::Endorsements};
//! # fn verify(
//! #     report: &[u8], vcek: &[u8], chain: &str, expectations: &Expectations, now_ms: u64,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::parse(&Policy::example(&[]))?;
//! let verifier = Verifier {
//!     policy: &policy,
//!     roots: &policy.roots(),
//!     accept_simulated: AcceptSimulated::No,
//!     provider: casemate_crypto::provider(),
//! };
//! let endorsements = Endorsements::parse_with_pem_chain(vcek, chain)?;
//! let appraisal = verifier.verify_report(report, &endorsements, expectations, now_ms);
//! println!("{}", appraisal.verdict().render("notes", casemate_verify::Style::plain()));
//! # Ok(())
//! # }
//! ```
//!
//! It fetches nothing, knows no clock and keeps no state: endorsements, time and expectations are the
//! caller's. Accepted evidence says nothing about availability or side channels.
#![forbid(unsafe_code)]

pub mod azure;
pub mod certificates;
pub mod eventlog;
pub mod gcp;
pub mod ima;
pub mod intel;
pub mod logs;
pub mod nitro;
pub mod nvidia;
pub mod sgx;
pub mod signature;
pub mod snp;
pub mod tdx;
pub mod tpm;

mod appraise;
mod expectations;
mod policy;
mod trust;
mod verdict;
mod verifier;

pub use appraise::{Accepted, Appraisal};
pub use expectations::{
    Channel, Expectations, Freshness, KnownRoster, LEASE_ALLOWANCE_MS, LaunchMeasurement, ReferenceValue,
    SessionStanding, Workload,
};
pub use policy::{Deployment, Policy, PolicyError, Section};
pub use trust::{AcceptSimulated, AmdRoot, IntelRoot, Roots, SimulatedRoot, TpmRoots, TrustClass};
pub use verdict::{
    Advice, Branch, Carried, Claims, Code, Comparison, Details, Explanation, FreshnessSlot, Node,
    NotEstablished, Outcome, Outline, Platform, Refusal, Signer, Source, Status, Style, Value, Verdict,
    WorkloadSlot,
};
pub use verifier::{Endorsements, Verifier};
