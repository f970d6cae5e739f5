//! Which collateral has Intel withdrawn?
//!
//! Each document of the collateral is signed and dated, and may still be one that Intel has replaced. The
//! list of TCB evaluation data numbers says of which TCB recoveries there is collateral at all.

use casemate_crypto::{Provider, sign};
use casemate_evidence::intel::EvaluationNumbers;
use casemate_evidence::x509::{Certificate, PublicKey};

use super::certificate::{
    ChainError, Link, check_certificate_time, check_leaf, check_not_revoked, verify_certificate,
};
use super::collateral::{AuthenticatedCollateral, TCB_SIGNING, verify_root};
use crate::trust::Roots;

/// A list of TCB evaluation data numbers that a trusted root vouches for, and that is current. Made by
/// [`verify`](Self::verify) only.
#[derive(Debug, Clone)]
pub struct AuthenticatedEvaluationNumbers {
    numbers: EvaluationNumbers,
    signer: Certificate,
}

/// Why a list of numbers does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationNumbersError {
    /// No trusted root vouches for its signer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The signature does not verify.
    #[error("the TCB evaluation data numbers were not signed by Intel's TCB signing key, or were changed")]
    Signature,
    /// Issued later than now, or the next list is due.
    #[error(
        "the TCB evaluation data numbers hold from {issued_ms} to {next_update_ms} ms, now is {now_ms}; check \
         the clock, or fetch newer ones"
    )]
    NotCurrent {
        /// When they were issued, milliseconds since 1970.
        issued_ms: u64,
        /// When the next are due, milliseconds since 1970.
        next_update_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
    /// Collateral of a TCB recovery of which Intel publishes none any more.
    #[error(
        "collateral of TCB evaluation data number {found}, Intel publishes none below {least}; fetch newer \
         collateral"
    )]
    Withdrawn {
        /// Number of the TCB info or of the identity, whichever is less.
        found: u32,
        /// Least number that is listed.
        least: u32,
    },
}

impl AuthenticatedEvaluationNumbers {
    /// Verifies a list, its signer, and dates at `now_ms` (milliseconds since 1970).
    ///
    /// # Errors
    /// [`EvaluationNumbersError`], the first that applies, from the root down.
    pub fn verify(
        numbers: &EvaluationNumbers,
        signature: &sign::Signature,
        [signer, root]: [&Certificate; 2],
        roots: &Roots,
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<Self, EvaluationNumbersError> {
        let link = Link::EvaluationNumbersSigner;
        verify_root(root, roots, now_ms, provider)?;
        verify_certificate(link, signer, root, provider)?;
        check_leaf(link, signer, TCB_SIGNING)?;
        check_certificate_time(link, signer, now_ms)?;
        let PublicKey::P256(key) = signer.public_key() else {
            return Err(EvaluationNumbersError::Signature);
        };
        provider
            .verify_p256(key, numbers.signed_bytes(), signature)
            .map_err(|_| EvaluationNumbersError::Signature)?;
        let (issued_ms, next_update_ms) = (numbers.issued_ms(), numbers.next_update_ms());
        if !(issued_ms..=next_update_ms).contains(&now_ms) {
            return Err(EvaluationNumbersError::NotCurrent { issued_ms, next_update_ms, now_ms });
        }
        Ok(Self { numbers: numbers.clone(), signer: signer.clone() })
    }

    /// Checks that Intel still publishes collateral as old as this. Of another TEE the numbers say nothing.
    ///
    /// # Errors
    /// [`EvaluationNumbersError::Withdrawn`]; [`EvaluationNumbersError::Chain`] if the collateral's list
    /// revokes the signer of the numbers.
    pub fn check(&self, collateral: &AuthenticatedCollateral) -> Result<(), EvaluationNumbersError> {
        let collateral = collateral.collateral();
        if collateral.tcb_info.tee() != self.numbers.tee() {
            return Ok(());
        }
        check_not_revoked(Link::EvaluationNumbersSigner, &self.signer, &collateral.root_revocation_list)?;
        let found = collateral.tcb_info.evaluation_number().min(collateral.qe_identity.evaluation_number());
        let least = self.numbers.least();
        if found < least { Err(EvaluationNumbersError::Withdrawn { found, least }) } else { Ok(()) }
    }
}
