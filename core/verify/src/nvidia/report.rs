//! Did this NVIDIA device answer?

use casemate_crypto::hash::{HashAlgorithm, Sha256, sha256};
use casemate_crypto::{Curve, Provider};
use casemate_evidence::nvidia::{FIRMWARE_EXTENSIONS, Report, certified_firmware};
use casemate_evidence::x509::{Certificate, PublicKey};

use crate::certificates::{AuthenticatedPath, Endorsers, PathError, Profile, authenticate_certificate};
use crate::signature::{Sha1, SignatureError, answer};

/// A report that a device of NVIDIA's signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineReport {
    report: Report,
    path: AuthenticatedPath,
    device: String,
    chip: String,
}

/// Why a report is not genuine, or not an answer to this question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// There is nobody who could have signed.
    #[error("no certificates came with the report; bring the device's chain, its own first")]
    NoCertificates,
    /// The first certificate is an authority's.
    #[error("certificate {name:?} is no device's: it may issue certificates, or may not sign data")]
    NotDevice {
        /// Common name of its subject.
        name: String,
    },
    /// NVIDIA does not vouch for the key.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The certified key is not of P-384.
    #[error("the device's key is not of P-384")]
    KeyKind,
    /// The device did not sign.
    #[error("signature of the report: {0}")]
    Signature(#[from] SignatureError),
    /// The key is certified for other firmware than the device reports.
    #[error("the device reports firmware {found:02x?}, its key is certified for {certified:02x?}")]
    FirmwareId {
        /// In the report.
        found: Box<[u8; 48]>,
        /// In the certificate, if it states any.
        certified: Option<Box<[u8; 48]>>,
    },
    /// An answer to another question.
    #[error(
        "the device answered to nonce {found}, expected {expected}; ask it anew with the nonce of this evidence"
    )]
    Nonce {
        /// In the report.
        found: Sha256,
        /// Asked for.
        expected: Sha256,
    },
}

/// Authenticates a report at time `now_ms` (milliseconds since 1970). `chain` begins with the device's own
/// certificate; the others may stand in any order.
///
/// # Errors
/// [`ReportError`], the first that applies.
pub fn authenticate_report(
    report: Report,
    chain: &[Certificate],
    roots: &[Sha256],
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<GenuineReport, ReportError> {
    let (leaf, authorities) = chain.split_first().ok_or(ReportError::NoCertificates)?;
    let (device, chip) = (leaf.subject_common_name(), leaf.issuer_common_name());
    if leaf.is_authority() || leaf.may_sign_data() != Some(true) {
        return Err(ReportError::NotDevice { name: device });
    }
    let endorsers = Endorsers { certificates: authorities, revocation_lists: &[] };
    let path = authenticate_certificate(leaf, &endorsers, roots, &PROFILE, now_ms, provider)?;
    check_report_signature(&report, leaf, provider)?;
    if let Some(found) = report.opaque().firmware_id() {
        let certified = certified_firmware(leaf);
        if certified != Some(found) {
            return Err(ReportError::FirmwareId {
                found: Box::new(found),
                certified: certified.map(Box::new),
            });
        }
    }
    Ok(GenuineReport { report, path, device, chip })
}

/// Whether the certified key signed request and answer; whose it is, the certificate's path says.
///
/// # Errors
/// [`ReportError::KeyKind`], [`ReportError::Signature`].
pub fn check_report_signature(
    report: &Report,
    certificate: &Certificate,
    provider: &dyn Provider,
) -> Result<(), ReportError> {
    let PublicKey::P384(key) = certificate.public_key() else { return Err(ReportError::KeyKind) };
    let (message, signature) = (report.signed_bytes(), report.signature());
    let found = provider.verify_ecdsa(Curve::P384, HashAlgorithm::Sha384, key.as_bytes(), message, signature);
    Ok(answer(found)?)
}

/// The nonce of a device that belongs to the CPU's evidence: SHA-256 of `casemate/nvidia-nonce/1`, a zero
/// byte, and what the evidence carries in its freshness slot: the 64 bytes of report data, or what a TPM
/// was asked with. Whoever has a fresh answer to it asked after these bytes, and so the Verifier's nonce
/// in them, were known.
pub fn nonce_for(slot: &[u8]) -> Sha256 {
    sha256(&[b"casemate/nvidia-nonce/1\0", slot].concat())
}

impl GenuineReport {
    /// What the device answered.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// From the device's certificate to the root.
    pub fn path(&self) -> &AuthenticatedPath {
        &self.path
    }

    /// What NVIDIA's certificate calls it, such as `GH100 A01 GSP FMC LF`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What the certificate of the chip's own key calls it, such as `GH100 A01 GSP BROM`.
    pub fn chip(&self) -> &str {
        &self.chip
    }

    /// Checks that it answers to this nonce.
    ///
    /// # Errors
    /// [`ReportError::Nonce`].
    pub fn check_nonce(&self, expected: &Sha256) -> Result<(), ReportError> {
        let found = Sha256::from(*self.report.nonce());
        if found == *expected { Ok(()) } else { Err(ReportError::Nonce { found, expected: *expected }) }
    }
}

/// Device, provisioner and identity of the chip stand between leaf and root.
const PROFILE: Profile =
    Profile { known_extensions: &FIRMWARE_EXTENSIONS, sha1: Sha1::Refused, maximum_authorities: 6 };
