//! Does Google certify this vTPM, and as whose?
//!
//! Google certifies the attestation key of every Shielded VM's vTPM, with the instance's identity. Neither the
//! certificate nor the quote says that the VM has a TEE: on Google's confidential VMs only the guest's own
//! software ties the vTPM to the TEE's report, by what it extends. So this is the word of Google's hypervisor,
//! and not of hardware.

use casemate_crypto::Provider;
use casemate_crypto::hash::Sha256;
use casemate_evidence::gcp::{Instance, InstanceError};
use casemate_evidence::tpm::{KeyUse, TcgCertificate};

use crate::certificates::Endorsers;
use crate::tpm::{AttestationKey, KeyCertificateError, authenticate_key_certificate};
use crate::trust::digest;

/// An attestation key of a vTPM that Google certifies, and the instance to which it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineInstance {
    /// The key.
    pub key: AttestationKey,
    /// The instance.
    pub instance: Instance,
}

/// Why a certificate is not that of an instance's attestation key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenuineInstanceError {
    /// Google does not vouch for it.
    #[error(transparent)]
    Certificate(#[from] KeyCertificateError),
    /// It names no instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
}

/// Authenticates the certificate of an instance's attestation key, at time `now_ms` (milliseconds since 1970).
///
/// # Errors
/// [`GenuineInstanceError`].
pub fn authenticate_instance(
    certificate: &TcgCertificate,
    endorsers: &Endorsers<'_>,
    roots: &[Sha256],
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<GenuineInstance, GenuineInstanceError> {
    let expected = KeyUse::Attestation;
    let genuine = authenticate_key_certificate(certificate, expected, endorsers, roots, now_ms, provider)?;
    let instance = Instance::of(&certificate.certificate)?;
    Ok(GenuineInstance { key: AttestationKey::certified(&genuine), instance })
}

/// Google's roots for the keys of vTPMs: SHA-256 of the `SubjectPublicKeyInfo` of "EK/AK CA Root" (since 2022),
/// and of the "tpm_ek_v1_cloud_host_root" of 2018 that it followed.
pub const ROOTS: [Sha256; 2] = [
    digest(*b"56a613f57126a385dd6949294e93b0b566f96ab0573be0c2368e6f5ca779831f"),
    digest(*b"f23057f4f97d1d90e4cae0ce91d5a0fc99069f0a1bc147021dca33b1e9c4d0d9"),
];
