//! Did NVIDIA sign these golden measurements, and does a device have them?

use casemate_crypto::hash::{HashAlgorithm, Sha256, Sha384, sha384};
use casemate_crypto::{Curve, Provider};
use casemate_evidence::Measurement;
use casemate_evidence::nvidia::{Manifest, Reference};
use casemate_evidence::x509::{Certificate, PublicKey};

use super::report::GenuineReport;
use crate::certificates::{AuthenticatedPath, Endorsers, PathError, Profile, authenticate_certificate};
use crate::signature::{Sha1, SignatureError, answer};

/// A manifest that NVIDIA signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineManifest {
    manifest: Manifest,
    path: AuthenticatedPath,
}

/// Why a manifest does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The document is not the one that was signed.
    #[error("the manifest has digest {found}, its signature is over {signed}: it was changed")]
    Digest {
        /// Digest of the document.
        found: Box<Sha384>,
        /// In the signature.
        signed: Box<Sha384>,
    },
    /// There is nobody who could have signed.
    #[error("no certificates came with the manifest's signature")]
    NoCertificates,
    /// The first certificate is an authority's.
    #[error("certificate {name:?} is no signer's: it may issue certificates, or may not sign data")]
    NotSigner {
        /// Common name of its subject.
        name: String,
    },
    /// NVIDIA does not vouch for the signer.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The certified key is not of P-384.
    #[error("the signer's key is not of P-384")]
    KeyKind,
    /// The signer did not sign.
    #[error("signature of the manifest: {0}")]
    Signature(#[from] SignatureError),
}

/// Why a device does not measure what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasurementError {
    /// The device runs a driver, and no manifest of it was given, or the other way round.
    #[error(
        "the device reports driver {found:?}, the manifest given is of {manifest:?}; bring the one of its driver"
    )]
    Driver {
        /// Version that the device reports.
        found: Option<String>,
        /// Version of the manifest.
        manifest: Option<String>,
    },
    /// Another VBIOS.
    #[error(
        "the device reports VBIOS {found:?}, the manifest is of {manifest:?}; bring the one of its VBIOS"
    )]
    Vbios {
        /// Version that the device reports.
        found: Option<String>,
        /// Version of the manifest.
        manifest: String,
    },
    /// Manifests of two chips.
    #[error("the manifests are of {driver:?} and {vbios:?}, expected two of one chip")]
    OtherProduct {
        /// Chip of the driver's manifest.
        driver: String,
        /// Chip of the VBIOS's.
        vbios: String,
    },
    /// Both manifests claim a measurement.
    #[error(
        "measurement {index} stands in the driver's manifest and in the VBIOS's; one of them is not for this device"
    )]
    Overlap {
        /// Index in the manifests, from 0.
        index: u8,
    },
    /// Manifests by which every device would do.
    #[error("the manifests have no active golden value; fetch them from NVIDIA again")]
    NoValues,
    /// Measurements that differ.
    #[error("{} measurements differ from NVIDIA's manifests, the first at index {}", mismatches.len(), mismatches[0].index)]
    Mismatch {
        /// At least one.
        mismatches: Vec<Mismatch>,
    },
}

/// A measurement that is none of those that it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Index in the manifest, from 0; a report counts from 1.
    pub index: u8,
    /// In the report, if it is there.
    pub found: Option<Measurement>,
    /// Any of these would be good.
    pub expected: Vec<Measurement>,
}

/// Authenticates a manifest at time `now_ms` (milliseconds since 1970).
///
/// # Errors
/// [`ManifestError`], the first that applies.
pub fn authenticate_manifest(
    manifest: Manifest,
    roots: &[Sha256],
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<GenuineManifest, ManifestError> {
    check_document(&manifest)?;
    let (leaf, authorities) = signer(&manifest)?;
    let endorsers = Endorsers { certificates: authorities, revocation_lists: &[] };
    let path = authenticate_certificate(leaf, &endorsers, roots, &PROFILE, now_ms, provider)?;
    check_signature(&manifest, leaf, provider)?;
    Ok(GenuineManifest { manifest, path })
}

/// Whether the document is the one that its signer signed; whose key that is, the signer's path says.
///
/// # Errors
/// [`ManifestError`], the first that applies; never [`ManifestError::Path`].
pub fn check_manifest_signature(manifest: &Manifest, provider: &dyn Provider) -> Result<(), ManifestError> {
    check_document(manifest)?;
    check_signature(manifest, signer(manifest)?.0, provider)
}

fn check_document(manifest: &Manifest) -> Result<(), ManifestError> {
    let signature = manifest.signature();
    let (found, signed) = (sha384(&signature.document), Sha384::from(signature.digest));
    if found == signed {
        return Ok(());
    }
    Err(ManifestError::Digest { found: Box::new(found), signed: Box::new(signed) })
}

/// Who signed, and the authorities beside.
fn signer(manifest: &Manifest) -> Result<(&Certificate, &[Certificate]), ManifestError> {
    let certificates = &manifest.signature().certificates;
    let (leaf, authorities) = certificates.split_first().ok_or(ManifestError::NoCertificates)?;
    if leaf.is_authority() || leaf.may_sign_data() != Some(true) {
        return Err(ManifestError::NotSigner { name: leaf.subject_common_name() });
    }
    Ok((leaf, authorities))
}

fn check_signature(
    manifest: &Manifest,
    leaf: &Certificate,
    provider: &dyn Provider,
) -> Result<(), ManifestError> {
    let PublicKey::P384(key) = leaf.public_key() else { return Err(ManifestError::KeyKind) };
    let signature = manifest.signature();
    let (message, value) = (&signature.signed_info, &signature.value);
    Ok(answer(provider.verify_ecdsa(Curve::P384, HashAlgorithm::Sha384, key.as_bytes(), message, value))?)
}

/// Compares a report with the manifests of its driver and its VBIOS. A switch has no driver of its own, and
/// reports none: `driver` is then `None`. Measurements `uncompared`, as manifests count them, may be
/// anything. Returns how many were compared.
///
/// # Errors
/// [`MeasurementError`], the first that applies.
pub fn compare(
    report: &GenuineReport,
    driver: Option<&GenuineManifest>,
    vbios: &GenuineManifest,
    uncompared: &[u8],
) -> Result<usize, MeasurementError> {
    let opaque = report.report().opaque();
    let (found, manifest) =
        (opaque.driver_version(), driver.map(|driver| driver.manifest.version().to_owned()));
    if found != manifest {
        return Err(MeasurementError::Driver { found, manifest });
    }
    let (found, version) = (opaque.vbios_version(), vbios.manifest.version());
    if !found.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(version)) {
        return Err(MeasurementError::Vbios { found, manifest: version.to_owned() });
    }
    if let Some(driver) = driver.map(|driver| driver.manifest.product())
        && driver != vbios.manifest.product()
    {
        let (driver, vbios) = (driver.to_owned(), vbios.manifest.product().to_owned());
        return Err(MeasurementError::OtherProduct { driver, vbios });
    }
    let active = |from: &GenuineManifest| -> Vec<Reference> {
        from.manifest.references().iter().filter(|reference| reference.active).cloned().collect()
    };
    let mut all = driver.map(active).unwrap_or_default();
    for reference in active(vbios) {
        if all.iter().any(|other| other.index == reference.index) {
            return Err(MeasurementError::Overlap { index: reference.index });
        }
        all.push(reference);
    }
    if all.is_empty() {
        return Err(MeasurementError::NoValues);
    }
    all.retain(|reference| !(reference.index == NVDEC0 && opaque.is_nvdec0_off()));
    all.retain(|reference| !uncompared.contains(&reference.index));
    let compared = all.len();
    let mismatches: Vec<Mismatch> = all
        .into_iter()
        .filter_map(|reference| {
            // Manifests count from 0, SPDM from 1.
            let found = reference.index.checked_add(1).and_then(|index| report.report().measurement(index));
            let good = found.is_some_and(|found| reference.values.contains(found));
            let Reference { index, values, .. } = reference;
            (!good).then(|| Mismatch { index, found: found.copied(), expected: values })
        })
        .collect();
    if mismatches.is_empty() { Ok(compared) } else { Err(MeasurementError::Mismatch { mismatches }) }
}

impl GenuineManifest {
    /// What it says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// From the signer's certificate to the root.
    pub fn path(&self) -> &AuthenticatedPath {
        &self.path
    }
}

/// The measurement of the first video decoder, which a device that keeps it off does not make.
const NVDEC0: u8 = 35;

/// Two authorities stand between signer and root.
const PROFILE: Profile = Profile { known_extensions: &[], sha1: Sha1::Refused, maximum_authorities: 5 };
