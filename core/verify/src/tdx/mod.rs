//! Is this TDX quote genuine?
//!
//! What makes any quote genuine is in [`crate::intel`]; a trust domain's report must besides come from a
//! TDX module that Intel signed. Workload slot: bytes 0 to 31 of MRCONFIGID, zeros behind them. Freshness
//! slot: REPORTDATA.

mod appraise;
mod claims;

pub use claims::Claims;

use casemate_crypto::Provider;
use casemate_evidence::intel::{Body, Masked, Quote, TcbInfo};
use casemate_evidence::tdx::Report;

use crate::intel::{AuthenticateError, AuthenticatedCollateral, AuthenticatedQuote, Collateral, Standing};
use crate::trust::{Roots, TrustClass};

/// A trust domain's report that a trusted root vouches for, with what Intel says of its platform. Whether
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
    let Body::Tdx(report) = *quote.body() else {
        return Err(AuthenticateError::Body { found: "SGX", expected: "TDX" });
    };
    let quote = collateral.authenticate(quote, now_ms, provider)?;
    check_module(&report, &collateral.collateral().tcb_info)?;
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

/// The TDX module is Intel's: signer and attributes as TCB info states them, by the module's major version
/// (PCS API, "Get TDX TCB Info", `tdxModule` and `tdxModuleIdentities`).
fn check_module(report: &Report, info: &TcbInfo) -> Result<(), AuthenticateError> {
    let major = report.tee_tcb_svn().as_bytes()[1];
    let module = if major == 0 {
        info.module()
    } else {
        crate::intel::find_identity(info, major).map(|identity| &identity.module)
    };
    let module = module.ok_or(AuthenticateError::ModuleVersion { found: major })?;
    if report.mr_signer_seam() != module.mr_signer {
        return Err(AuthenticateError::ModuleSigner {
            found: Box::new(report.mr_signer_seam()),
            expected: Box::new(module.mr_signer),
        });
    }
    let attributes = Masked::new(report.seam_attributes(), module.attributes_mask, module.attributes);
    if !attributes.holds() {
        let (found, expected) = (attributes.found, attributes.expected);
        return Err(AuthenticateError::ModuleAttributes { found, expected });
    }
    Ok(())
}
