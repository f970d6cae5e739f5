//! Is this quote of an Intel platform genuine, and what does Intel say of the platform?
//!
//! A quote is genuine if an attestation key signed it that Intel's Quoting Enclave made, if the
//! platform's certified key (PCK) vouches for that enclave, if Intel's root vouches for the PCK, and if
//! current collateral of Intel speaks of this platform and this Quoting Enclave. What the collateral says
//! is part of the answer ([`Standing`]) and judged by the policy. Sources: "Intel TDX DCAP Quoting
//! Library API", "SGX PCK Certificate and CRL Profile Specification" 1.4, and the Provisioning
//! Certification Service API, version 4.
//!
//! Collateral is verified once ([`AuthenticatedCollateral::verify`]) and then serves any number of quotes
//! of the same kind of platform. Shared by [`crate::tdx`] and [`crate::sgx`], which add what a report
//! must satisfy.

mod appraise;
mod certificate;
mod collateral;
mod evaluation_numbers;
mod failure;
mod quote;
mod standing;

pub use certificate::{ChainError, Link, verify_certificate, verify_revocation_list};
pub use collateral::{
    AuthenticatedCollateral, Collateral, CollateralFileError, Document, DocumentError, verify_pck_authority,
    verify_root,
};
pub use evaluation_numbers::{AuthenticatedEvaluationNumbers, EvaluationNumbersError};
pub use quote::{
    AuthenticateError, AuthenticatedQuote, check_attestation_key, check_qe_report_signature,
    check_quote_signature,
};
pub(crate) use standing::find_identity;
pub use standing::{Judgement, ModuleStanding, Standing};

pub(crate) use appraise::{
    configuration, platform as appraise_platform, signer as appraise_signer, standing as appraise_standing,
};
pub(crate) use failure::{
    missing_collateral, not_genuine, unreadable_collateral, unreadable_quote, wrong_tee,
};
