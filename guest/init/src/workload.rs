//! Is this what the hardware says is to run?
//!
//! The copy in memory is hashed, compared with HOST_DATA, the one slot where an SEV-SNP report names
//! the workload (AMD 56860, ATTESTATION_REPORT), and only that copy is parsed and used. No other slot
//! is ever looked at.

use casemate_api::{launch::LaunchBundle, progress::FailureCode};
use casemate_attester::{Attester, Evidence};
use casemate_crypto::hash::{Sha256, sha256};
use casemate_evidence::{HostData, ReportData};
use casemate_record::{Genesis, InstanceRecord, Roster, RosterChain, Signed, WorkloadDigest};
use casemate_workload::{Manifest, manifest};

/// What runs here, checked against the hardware and against itself.
#[derive(Debug)]
pub struct Workload {
    /// The manifest.
    pub manifest: Manifest,
    /// Its digest, which the hardware names.
    pub digest: WorkloadDigest,
    /// Which instance of the app this is, by its owner's record.
    pub instance: InstanceRecord,
    /// The key service's seats, by the newest roster of the chain that the manifest's pin begins.
    pub roster: Roster,
    /// The launch disk, all of which the above vouches for.
    pub launch: LaunchBundle,
}

impl Workload {
    /// Checks a launch disk against the digest that the hardware names, then against itself.
    ///
    /// # Errors
    /// [`WorkloadError`].
    pub fn accept(launch: LaunchBundle, host_data: HostData) -> Result<Self, WorkloadError> {
        let digest = manifest::digest_of(&launch.manifest);
        if digest.as_bytes() != host_data.as_bytes() {
            return Err(WorkloadError::HostData { expected: host_data, found: digest });
        }
        let (manifest, _) = Manifest::parse(&launch.manifest)?;
        let genesis: Genesis = casemate_canon::from_cbor(&launch.genesis, Genesis::MAXIMUM_BYTES)
            .map_err(WorkloadError::Genesis)?;
        genesis.check_app_id(&manifest.app_id).map_err(WorkloadError::App)?;
        let instance = Signed::<InstanceRecord>::from_bytes(&launch.instance_record)
            .and_then(|record| record.verify(&genesis.owner))
            .map_err(WorkloadError::Instance)?;
        same_app(&instance, &manifest)?;
        check_files(&launch, &manifest)?;
        let roster = RosterChain::from_bytes(&launch.roster_chain)
            .and_then(|chain| chain.verify(&manifest.kms_id))
            .map_err(WorkloadError::Roster)?;
        if roster.threshold != manifest.threshold {
            let (expected, found) = (manifest.threshold, roster.threshold);
            return Err(WorkloadError::Threshold { expected, found });
        }
        Ok(Workload { manifest, digest, instance, roster, launch })
    }
}

/// The workload digest that the hardware recorded at launch, from a report made for this question.
///
/// # Errors
/// [`WorkloadError::Report`].
pub fn named_by_hardware(attester: &dyn Attester) -> Result<HostData, WorkloadError> {
    // Zeros are no purpose of ours: this report is shown to nobody and would prove nothing.
    let evidence = attester.evidence(&ReportData::from([0; 64]))?;
    let Evidence::Snp { report, .. } = evidence else { return Err(WorkloadError::UnknownHardware) };
    Ok(report.host_data())
}

/// Why nothing is run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// No report.
    #[error(transparent)]
    Report(#[from] casemate_attester::Error),
    /// A kind of hardware without a slot that is known here.
    #[error(
        "the hardware's evidence has no slot for the workload digest that this version knows; update the image"
    )]
    UnknownHardware,
    /// The hardware names another manifest.
    #[error(
        "the launch disk's manifest has digest {found}, HOST_DATA names {expected}; launch both from one manifest"
    )]
    HostData {
        /// HOST_DATA.
        expected: HostData,
        /// Digest of the manifest found.
        found: WorkloadDigest,
    },
    /// The manifest does not parse.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The app's genesis does not parse.
    #[error("app genesis: {0}")]
    Genesis(#[source] casemate_canon::Error),
    /// The genesis is another app's.
    #[error("app genesis: {0}")]
    App(#[source] casemate_record::Error),
    /// The instance record is not the owner's.
    #[error("instance record: {0}")]
    Instance(#[source] casemate_record::Error),
    /// The instance record is for another app.
    #[error("the instance record is for app {found}, the manifest names {expected}; sign one for this app")]
    InstanceOfAnotherApp {
        /// App of the manifest.
        expected: casemate_record::AppId,
        /// App of the record.
        found: casemate_record::AppId,
    },
    /// A file is missing or there is one more.
    #[error("the launch disk has {found} files, the manifest names {expected}; write it again")]
    FileCount {
        /// Files in the manifest.
        expected: usize,
        /// Files on the disk.
        found: usize,
    },
    /// A file is another one.
    #[error("file {name:?} has digest {found}, the manifest names {expected}; write the launch disk again")]
    File {
        /// Its name in the manifest.
        name: String,
        /// Its digest in the manifest.
        expected: Sha256,
        /// Digest of the content found.
        found: Sha256,
    },
    /// The roster chain is not that of the pinned key service.
    #[error("roster chain: {0}")]
    Roster(#[source] casemate_record::Error),
    /// The key service needs another number of seats than the manifest pins.
    #[error(
        "the roster has threshold {found}, the manifest pins {expected}; deploy with the service's threshold"
    )]
    Threshold {
        /// Threshold in the manifest.
        expected: u8,
        /// Threshold in the roster.
        found: u8,
    },
}

impl WorkloadError {
    /// The code in the public notice.
    pub fn code(&self) -> FailureCode {
        match self {
            WorkloadError::Report(_) | WorkloadError::UnknownHardware => FailureCode::NoReport,
            WorkloadError::HostData { .. } => FailureCode::WorkloadMismatch,
            WorkloadError::Manifest(_) => FailureCode::ManifestRefused,
            WorkloadError::Roster(_) | WorkloadError::Threshold { .. } => FailureCode::RosterRefused,
            _ => FailureCode::LaunchRefused,
        }
    }
}

fn same_app(instance: &InstanceRecord, manifest: &Manifest) -> Result<(), WorkloadError> {
    if instance.app_id == manifest.app_id {
        return Ok(());
    }
    Err(WorkloadError::InstanceOfAnotherApp { expected: manifest.app_id, found: instance.app_id })
}

fn check_files(launch: &LaunchBundle, manifest: &Manifest) -> Result<(), WorkloadError> {
    let (expected, found) = (manifest.files.len(), launch.files.len());
    if expected != found {
        return Err(WorkloadError::FileCount { expected, found });
    }
    for (named, carried) in manifest.files.iter().zip(&launch.files) {
        let found = sha256(&carried.content);
        if found != named.digest || carried.digest != *found.as_bytes() {
            return Err(WorkloadError::File { name: named.name.clone(), expected: named.digest, found });
        }
    }
    Ok(())
}
