//! Is the evidence of this confidential VM genuine, part by part, and are its parts of one machine?
//!
//! The TEE's report vouches for the paravisor's runtime data, the runtime data for the vTPM's key, the key for
//! the quote. A certificate of the key adds nothing to that, and must not contradict it.

use casemate_crypto::Provider;
use casemate_crypto::hash::Sha256;
use casemate_evidence::ReportData;
use casemate_evidence::azure::{HclReport, HclReportError};
use casemate_evidence::bundle::{TpmKey, TpmQuote};

use super::{BindingError, GenuineRuntimeData};
use crate::tpm::{self, GenuineQuote};
use crate::{snp, tdx};

/// A confidential VM of Azure for the appraisal: a genuine report of its TEE, and what that vouches for.
///
/// Made by [`authenticate`] only.
#[derive(Debug, Clone)]
pub struct Genuine {
    pub(super) tee: Tee,
    pub(super) runtime: GenuineRuntimeData,
    pub(super) key_digest: Sha256,
    pub(super) quote: Option<GenuineQuote>,
    /// The signed bytes of all layers.
    pub(super) signed: Vec<u8>,
}

/// The TEE below the paravisor.
#[derive(Debug, Clone)]
pub enum Tee {
    /// SEV-SNP: the report inside the HCL report.
    Snp(Box<snp::Genuine>),
    /// TDX: a quote that came beside it.
    Tdx(Box<tdx::Genuine>),
}

/// Why the parts do not belong to one genuine machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// The report cannot be read.
    #[error(transparent)]
    Report(#[from] HclReportError),
    /// The TEE's report does not vouch for the runtime data.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The key that came along beside the quote is not the one in the runtime data.
    #[error("the TEE vouches for attestation key {expected}, and the key of {found} came along")]
    OtherKey {
        /// SHA-256 of the `SubjectPublicKeyInfo` that came along.
        found: Sha256,
        /// Of the key in the runtime data.
        expected: Sha256,
    },
    /// The quote, or the key beside it.
    #[error(transparent)]
    Tpm(#[from] tpm::AuthenticateError),
}

/// Binds the vTPM's quote to a TEE's report that was authenticated before.
///
/// # Errors
/// [`AuthenticateError`].
pub fn authenticate(
    hcl: &HclReport,
    tee: Tee,
    quote: Option<&TpmQuote>,
    key: Option<&TpmKey>,
    provider: &dyn Provider,
) -> Result<Genuine, AuthenticateError> {
    let runtime = match &tee {
        Tee::Snp(genuine) => GenuineRuntimeData::of_snp(hcl, genuine)?,
        Tee::Tdx(genuine) => GenuineRuntimeData::of_tdx(hcl, genuine)?,
    };
    let key_digest = runtime.attestation_key().public_key().digest();
    if let Some(beside) = key.map(tpm::public_key).transpose()? {
        let found = beside.digest();
        if found != key_digest {
            return Err(AuthenticateError::OtherKey { found, expected: key_digest });
        }
    }
    let parts = quote.map(tpm::read_quote).transpose()?;
    let quote = parts.map(|parts| tpm::quote_by(parts, runtime.attestation_key(), provider)).transpose()?;
    let mut signed = tee.signed_bytes().to_vec();
    signed.extend_from_slice(quote.as_ref().map_or(&[], |quote| quote.attest().as_bytes()));
    Ok(Genuine { tee, runtime, key_digest, quote, signed })
}

impl Tee {
    /// What its report carries.
    pub fn report_data(&self) -> ReportData {
        match self {
            Tee::Snp(genuine) => genuine.report().report_data(),
            Tee::Tdx(genuine) => genuine.report().report_data(),
        }
    }

    fn signed_bytes(&self) -> &[u8] {
        match self {
            Tee::Snp(genuine) => genuine.report().as_bytes(),
            Tee::Tdx(genuine) => genuine.quote().signed_bytes(),
        }
    }
}

impl Genuine {
    /// The TEE's part.
    pub fn tee(&self) -> &Tee {
        &self.tee
    }

    /// What the paravisor states.
    pub fn runtime(&self) -> &GenuineRuntimeData {
        &self.runtime
    }

    /// The vTPM's quote, if one came along.
    pub fn quote(&self) -> Option<&GenuineQuote> {
        self.quote.as_ref()
    }
}
