//! What does genuine evidence state?

use casemate_crypto::hash::Sha256;
use casemate_evidence::ReportData;
use casemate_record::WorkloadDigest;
use serde::{Serialize, Serializer};

use super::value::Value;
use super::{Code, NotEstablished};
use crate::expectations::LaunchMeasurement;
use crate::trust::TrustClass;
use crate::{azure, logs, nitro, nvidia, sgx, snp, tdx, tpm};

/// What the evidence states, once it is genuine: first in the words that all platforms share, then in
/// the platform's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// What kind of evidence it is.
    pub platform: Platform,
    /// Whose key signed it.
    pub signer: Signer,
    /// Common name of the root.
    pub root_name: String,
    /// Digest of the root's key.
    pub root_key_digest: Sha256,
    /// What was launched.
    pub measurement: LaunchMeasurement,
    /// Name of the image with this measurement, if a reference value names it.
    pub image: Option<String>,
    /// Where that reference value comes from.
    pub image_source: Option<String>,
    /// The platform's one place for the workload's digest.
    pub workload_slot: WorkloadSlot,
    /// The platform's one place for the Verifier's challenge.
    pub freshness_slot: FreshnessSlot,
    /// How old the challenge was, in milliseconds.
    pub challenge_age_ms: Option<u64>,
    /// Digest of the session's key that the freshness slot commits to.
    pub session_key_digest: Option<Sha256>,
    /// What the logs state that came along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<logs::Claims>,
    /// What the NVIDIA devices state that came along and were judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<nvidia::Claims>,
    /// TCB, versions, flags: what only this platform states.
    #[serde(flatten)]
    pub details: Details,
}

/// A kind of evidence, as the policy has rules for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Platform {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
    /// Intel SGX.
    Sgx,
    /// An enclave or an instance of AWS's Nitro system.
    Nitro,
    /// A TPM 2.0 by itself.
    Tpm,
    /// An instance of Google's cloud, by its vTPM.
    Gcp,
    /// A confidential VM of Azure: a TEE, a paravisor in it, and its vTPM.
    Azure,
    /// Devices of NVIDIA by themselves.
    Nvidia,
}

/// Whose key signed the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signer {
    /// The vendor's word for the key: `VCEK`.
    pub key: &'static str,
    /// The chip or platform to which the key belongs, as the vendor identifies it; nothing if hidden.
    pub hardware_id: Value,
}

/// The one place where a platform records which workload is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkloadSlot {
    /// The vendor's name for it: `HOST_DATA`.
    pub name: &'static str,
    /// All of its bytes.
    pub value: Value,
    /// The digest in it; `None` if what is there has not the form that Casemate gives it.
    pub digest: Option<WorkloadDigest>,
}

/// The one place where a platform carries the Verifier's challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FreshnessSlot {
    /// The vendor's name for it: `REPORT_DATA`.
    pub name: &'static str,
    /// What is in it.
    pub value: Carried,
}

/// What a freshness slot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Carried {
    /// The 64 bytes of report data themselves.
    ReportData(ReportData),
    /// SHA-256 of report data, where 64 bytes do not fit (`docs/reference/report-data.md`).
    Digest(Sha256),
    /// What a device of NVIDIA was asked with: made of report data (`docs/reference/nvidia.md`).
    Nonce(Sha256),
    /// Something else, which answers no challenge.
    Other(Vec<u8>),
}

/// What only one platform states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Details {
    /// Of an SEV-SNP report.
    Snp(snp::Claims),
    /// Of a TDX quote.
    Tdx(Box<tdx::Claims>),
    /// Of an SGX quote.
    Sgx(Box<sgx::Claims>),
    /// Of a document of AWS.
    Nitro(Box<nitro::Claims>),
    /// Of a TPM's quote.
    Tpm(Box<tpm::Claims>),
    /// Of a confidential VM of Azure.
    Azure(Box<azure::Claims>),
    /// Of devices of NVIDIA by themselves.
    Nvidia(Box<nvidia::Measurements>),
}

/// What genuine evidence states in the words that all platforms share; the rest of [`Claims`] depends on
/// what the caller expects.
#[derive(Debug, Clone)]
pub struct Facts {
    pub platform: Platform,
    pub trust_class: TrustClass,
    pub signer: Signer,
    pub root_name: String,
    pub root_key_digest: Sha256,
    pub measurement: LaunchMeasurement,
    pub workload_slot: WorkloadSlot,
    pub freshness_slot: FreshnessSlot,
    /// What this platform or these endorsements leave open.
    pub not_established: Vec<NotEstablished>,
    /// What the logs state that came along.
    pub logs: Option<logs::Claims>,
    /// What NVIDIA devices state that came along and were judged.
    pub devices: Option<nvidia::Claims>,
    pub details: Details,
}

impl Platform {
    /// Every platform.
    pub const ALL: &[Platform] = &[
        Platform::Snp,
        Platform::Tdx,
        Platform::Sgx,
        Platform::Nitro,
        Platform::Tpm,
        Platform::Gcp,
        Platform::Azure,
        Platform::Nvidia,
    ];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Platform::Snp => "SEV-SNP",
            Platform::Tdx => "TDX",
            Platform::Sgx => "SGX",
            Platform::Nitro => "AWS Nitro",
            Platform::Tpm => "TPM",
            Platform::Gcp => "Google Cloud",
            Platform::Azure => "Azure",
            Platform::Nvidia => "NVIDIA",
        }
    }

    /// The check that the policy has rules for it at all.
    pub(crate) const fn code(self) -> Code {
        match self {
            Platform::Snp => Code::SnpAccepted,
            Platform::Tdx => Code::TdxAccepted,
            Platform::Sgx => Code::SgxAccepted,
            Platform::Nitro => Code::NitroAccepted,
            Platform::Tpm => Code::TpmAccepted,
            Platform::Gcp => Code::GcpAccepted,
            Platform::Azure => Code::AzureAccepted,
            Platform::Nvidia => Code::NvidiaAccepted,
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Carried {
    /// Whether the slot holds this report data.
    pub fn answers(&self, report_data: &ReportData) -> bool {
        match self {
            Carried::ReportData(found) => found == report_data,
            Carried::Digest(found) => *found == casemate_crypto::hash::sha256(report_data.as_ref()),
            Carried::Nonce(found) => *found == nvidia::nonce_for(report_data.as_ref()),
            Carried::Other(_) => false,
        }
    }

    /// The bytes in the slot.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Carried::ReportData(bytes) => bytes.as_ref(),
            Carried::Digest(bytes) | Carried::Nonce(bytes) => bytes.as_ref(),
            Carried::Other(bytes) => bytes,
        }
    }

    /// What the slot must hold to carry `report_data`.
    pub(crate) fn expected(&self, report_data: &ReportData) -> Value {
        match self {
            Carried::ReportData(_) => Value::from(report_data.as_ref()),
            Carried::Digest(_) => Value::from(casemate_crypto::hash::sha256(report_data.as_ref()).as_ref()),
            Carried::Nonce(_) => Value::from(nvidia::nonce_for(report_data.as_ref()).as_ref()),
            Carried::Other(_) => Value::from(report_data.as_ref()),
        }
    }
}

impl Serialize for Carried {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(self.as_bytes()).serialize(serializer)
    }
}

impl Details {
    /// What a trust domain states, where the evidence is its own and not that of a paravisor below it.
    pub(crate) fn trust_domain(&self) -> Option<&tdx::Claims> {
        match self {
            Details::Tdx(details) => Some(details),
            _ => None,
        }
    }

    /// Where else than in its slot the evidence names a workload, for people.
    pub(crate) fn workload(&self, slot: &WorkloadSlot) -> Option<String> {
        match self {
            Details::Tdx(details) => details.workload(slot),
            Details::Azure(details) => details.tee.workload(slot),
            _ => None,
        }
    }

    /// What an accepted group of hardware says in one line, and the remark after its status.
    pub(crate) fn summary(&self, code: Code, claims: &Claims) -> (String, String) {
        match self {
            Details::Snp(details) => details.summary(code, claims),
            Details::Tdx(details) => details.summary(code, claims),
            Details::Sgx(details) => details.summary(code, claims),
            Details::Nitro(details) => details.summary(code, claims),
            Details::Tpm(details) => details.summary(code, claims),
            Details::Azure(details) => details.summary(code, claims),
            Details::Nvidia(details) => details.summary(code, claims),
        }
    }
}
