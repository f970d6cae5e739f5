//! Is this SGX quote genuine?
//!
//! What makes any quote genuine is in [`crate::intel`]. Casemate runs no enclaves: this is for evidence of
//! peers. An enclave has no slot for Casemate's workload digest; its freshness slot is REPORTDATA.

mod appraise;
mod claims;

pub use claims::Claims;

use casemate_crypto::Provider;
use casemate_evidence::intel::{Body, Quote};
use casemate_evidence::sgx::Report;

use crate::intel::{AuthenticateError, AuthenticatedCollateral, AuthenticatedQuote, Collateral, Standing};
use crate::trust::{Roots, TrustClass};

/// An enclave's report that a trusted root vouches for, with what Intel says of its platform. Whether
/// that is good enough is asked by [`crate::Policy`].
///
/// Made by [`authenticate`] and [`authenticate_with`] only.
#[derive(Debug, Clone)]
pub struct Genuine {
    quote: AuthenticatedQuote,
    report: Report,
}

/// Verifies collateral and quote in one go at time `now_ms` (milliseconds since 1970); see
/// [`AuthenticatedCollateral`] for more than one quote.
///
/// # Errors
/// [`AuthenticateError`].
pub fn authenticate(
    quote: Quote,
    collateral: &Collateral,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<Genuine, AuthenticateError> {
    let collateral = AuthenticatedCollateral::verify(collateral, roots, now_ms, provider)?;
    authenticate_with(quote, &collateral, now_ms, provider)
}

/// Verifies a quote with collateral that was verified before.
///
/// # Errors
/// [`AuthenticateError`].
pub fn authenticate_with(
    quote: Quote,
    collateral: &AuthenticatedCollateral,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<Genuine, AuthenticateError> {
    let Body::Sgx(report) = *quote.body() else {
        return Err(AuthenticateError::Body { found: "TDX", expected: "SGX" });
    };
    let quote = collateral.authenticate(quote, now_ms, provider)?;
    Ok(Genuine { quote, report })
}

impl Genuine {
    /// The report; every field of it is the hardware's word.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The quote.
    pub fn quote(&self) -> &Quote {
        &self.quote.quote
    }

    /// What Intel says of the platform.
    pub fn standing(&self) -> &Standing {
        &self.quote.standing
    }

    /// Whether the root is Intel's or simulated.
    pub fn trust_class(&self) -> TrustClass {
        self.quote.trust_class
    }
}
