//! Is this SEV-SNP report genuine?
//!
//! A report is genuine if a key signed it that a chain of certificates ties to a trusted root, and if
//! certificate and report agree on product, firmware and chip. Sources: AMD 56860 §7.3 and AMD 57230.
//!
//! The chain is verified once ([`AuthenticatedChain::verify`]) and then serves any number of reports of
//! the same chip and firmware, each for the price of one P-384 verification.

mod appraise;
mod chain;
mod claims;
mod endorsements;
mod failure;
mod report;

pub use chain::{
    AuthenticatedChain, Authority, ChainError, Link, verify_authority, verify_certificate,
    verify_current_revocation_list, verify_revocation_list, verify_root,
};
pub use claims::Claims;
pub use endorsements::{Endorsements, EndorsementsError};
pub(crate) use failure::{missing_endorsements, not_genuine, unreadable_endorsements, unreadable_report};
pub use report::{AuthenticateError, Genuine, check_chip, check_tcb};

use casemate_crypto::Provider;
use casemate_evidence::snp::Report;

use crate::trust::Roots;

/// Verifies chain and report in one go; see [`AuthenticatedChain`] for more than one report.
///
/// # Errors
/// [`AuthenticateError`].
pub fn authenticate(
    report: Report,
    endorsements: &Endorsements,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<Genuine, AuthenticateError> {
    AuthenticatedChain::verify(endorsements, roots, now_ms, provider)?.authenticate(report, now_ms)
}
