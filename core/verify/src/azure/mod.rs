//! Does a TEE vouch for the vTPM of this confidential VM of Azure?
//!
//! In a confidential VM of Azure the guest speaks to a paravisor, which runs in the most privileged part of
//! the same TEE and holds the vTPM. The TEE's report carries the digest of the paravisor's runtime data, and
//! that names the vTPM's attestation key. So: a genuine report of the TEE, then the runtime data, then the
//! key, then what the key signs. The chip measured the paravisor, which is Microsoft's; what the guest runs is
//! in PCRs.

mod appraise;
mod claims;
mod evidence;
mod failure;

pub use claims::Claims;
pub use evidence::{AuthenticateError, Genuine, Tee, authenticate};
pub(crate) use failure::{missing_quote, not_genuine, unreadable_report};

use casemate_crypto::hash::Sha256;
use casemate_evidence::ReportData;
use casemate_evidence::azure::{HclReport, HclReportError, ReportType, RuntimeData};

use crate::tpm::{AttestationKey, Voucher};
use crate::trust::digest;
use crate::{snp, tdx};

/// Runtime data of a paravisor to which a genuine report of a TEE commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineRuntimeData {
    runtime: RuntimeData,
    key: AttestationKey,
}

/// Why no TEE vouches for the runtime data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindingError {
    /// The HCL report holds a report of another TEE.
    #[error("the HCL report holds a report of {}, and a report of {} was authenticated", found.name(), expected.name())]
    ReportType {
        /// In the HCL report.
        found: ReportType,
        /// Authenticated.
        expected: ReportType,
    },
    /// The authenticated report is another one.
    #[error("the report that was authenticated is not the one in the HCL report")]
    OtherReport,
    /// The TEE's report commits to something else.
    #[error(
        "the TEE's report carries {found}, expected the digest of the runtime data and zeros, {expected}"
    )]
    ReportData {
        /// In the TEE's report.
        found: Box<ReportData>,
        /// Of the runtime data.
        expected: Box<ReportData>,
    },
    /// The runtime data cannot be read.
    #[error(transparent)]
    RuntimeData(#[from] HclReportError),
    /// The runtime data names no attestation key.
    #[error("the runtime data names no key \"HCLAkPub\" for signing")]
    NoAttestationKey,
}

impl GenuineRuntimeData {
    /// Runtime data to which the SEV-SNP report inside the HCL report commits.
    ///
    /// # Errors
    /// [`BindingError`].
    pub fn of_snp(hcl: &HclReport, genuine: &snp::Genuine) -> Result<Self, BindingError> {
        if hcl.report_type != ReportType::Snp {
            return Err(BindingError::ReportType { found: hcl.report_type, expected: ReportType::Snp });
        }
        if hcl.tee_report != genuine.report().as_bytes() {
            return Err(BindingError::OtherReport);
        }
        Self::bound(hcl, &genuine.report().report_data())
    }

    /// Runtime data to which a TDX quote commits; the HCL report holds the trust domain's TDREPORT, which only
    /// the machine's own quoting enclave can verify.
    ///
    /// # Errors
    /// [`BindingError`].
    pub fn of_tdx(hcl: &HclReport, genuine: &tdx::Genuine) -> Result<Self, BindingError> {
        if hcl.report_type != ReportType::Tdx {
            return Err(BindingError::ReportType { found: hcl.report_type, expected: ReportType::Tdx });
        }
        Self::bound(hcl, &genuine.report().report_data())
    }

    /// Runtime data to which the report data of an authenticated report commits.
    pub(crate) fn bound(hcl: &HclReport, found: &ReportData) -> Result<Self, BindingError> {
        let expected = hcl.binding();
        if *found != expected {
            return Err(BindingError::ReportData { found: Box::new(*found), expected: Box::new(expected) });
        }
        let runtime = hcl.runtime()?;
        let key = runtime.key(RuntimeData::ATTESTATION_KEY);
        let key = key.filter(|key| key.operations == ["sign"]).ok_or(BindingError::NoAttestationKey)?;
        let key = AttestationKey::vouched(key.public_key.clone(), Voucher::Tee);
        Ok(Self { runtime, key })
    }

    /// What the paravisor states.
    pub fn runtime(&self) -> &RuntimeData {
        &self.runtime
    }

    /// The vTPM's attestation key.
    pub fn attestation_key(&self) -> &AttestationKey {
        &self.key
    }
}

/// Microsoft's root for certificates of vTPMs' attestation keys: SHA-256 of the `SubjectPublicKeyInfo` of "Azure
/// Virtual TPM Root Certificate Authority 2023". The TEE vouches for the key without it.
pub const ROOTS: [Sha256; 1] = [digest(*b"5cbc52672ae101263c2976736044a964c1182ce9412c39937183baddcccb8cdf")];
