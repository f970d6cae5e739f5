//! What is in the files that somebody names?
//!
//! What a file is, and which belong together, `casemate-intake` finds out: here they are only read.

use std::path::PathBuf;

use casemate_evidence::bundle::Item;
use casemate_intake::{File, Sorted};

use crate::{Error, files};

/// Reads evidence and what belongs to it, in any order. Certificates, a revocation list or collateral that
/// came beside evidence are in its bundle thereafter, unless it had its own.
///
/// # Errors
/// [`Error::File`], [`Error::FileTooLarge`], [`Error::Intake`].
pub fn sort(paths: &[PathBuf]) -> Result<Sorted, Error> {
    let mut contents = Vec::new();
    for path in paths {
        contents.push((path.display().to_string(), files::read_input(path, File::MAXIMUM_LEN as u64)?));
    }
    let given: Vec<File<'_>> = contents.iter().map(|(name, bytes)| File { name, bytes }).collect();
    let mut sorted = Sorted::read(&given)?;
    if let Some(chain) = sorted.endorsements.snp.take()
        && sorted.bundle.snp_certificates().is_none()
    {
        sorted.bundle = sorted.bundle.with(Item::SnpCertificates(chain.to_bundle_item()));
        if let (Some(list), None) = (&chain.revocation_list, sorted.bundle.snp_revocation_list()) {
            sorted.bundle = sorted.bundle.with(Item::SnpRevocationList(list.as_der().to_vec().into()));
        }
    }
    if let Some(collateral) = sorted.endorsements.intel.take()
        && sorted.bundle.intel_collateral().is_none()
    {
        sorted.bundle = sorted.bundle.with(Item::IntelCollateral(collateral.to_bundle_item()));
    }
    Ok(sorted)
}
