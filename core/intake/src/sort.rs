//! Which files belong together?

use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::{Endorsements, intel, snp};

use crate::content::{Content, File, Kind};
use crate::error::Error;

/// What was handed over, put together: evidence as one bundle, and what endorses it.
#[derive(Debug, Clone)]
pub struct Sorted {
    /// The evidence: a bundle as it came, or one made of loose files.
    pub bundle: Bundle,
    /// Endorsements that came beside it.
    pub endorsements: Endorsements,
    /// The kind of each file, in the order in which they came.
    pub kinds: Vec<Kind>,
}

impl Sorted {
    /// Greatest number of files.
    pub const MAXIMUM_FILES: usize = 32;

    /// Reads the files and puts them together, whatever their order and names.
    ///
    /// # Errors
    /// As [`Content::read`]; [`Error::TooMany`], [`Error::Twice`] if there is more than one of what can only
    /// be there once, [`Error::NoEvidence`], [`Error::Chain`] if certificates are there and make no chain.
    pub fn read(files: &[File<'_>]) -> Result<Self, Error> {
        if files.len() > Self::MAXIMUM_FILES {
            return Err(Error::TooMany { found: files.len(), maximum: Self::MAXIMUM_FILES });
        }
        let mut kinds = Vec::new();
        let mut evidence: Option<(Bundle, &str)> = None;
        let mut certificates = Vec::new();
        let mut list: Option<(RevocationList, &str)> = None;
        let mut collateral: Option<(intel::Collateral, &str)> = None;
        for file in files {
            let content = Content::read(file)?;
            let kind = content.kind();
            kinds.push(kind);
            match content {
                Content::Bundle(bundle) => once(&mut evidence, *bundle, kind, file.name)?,
                Content::SnpReport(bytes) => {
                    once(&mut evidence, Bundle::new([Item::SnpReport(bytes.into())]), kind, file.name)?;
                }
                Content::TdxQuote(bytes) => {
                    once(&mut evidence, Bundle::new([Item::TdxQuote(bytes.into())]), kind, file.name)?;
                }
                Content::SgxQuote(bytes) => {
                    once(&mut evidence, Bundle::new([Item::SgxQuote(bytes.into())]), kind, file.name)?;
                }
                Content::IntelCollateral(found) => once(&mut collateral, *found, kind, file.name)?,
                Content::Certificates(found) => certificates.extend(found),
                Content::RevocationList(found) => once(&mut list, *found, kind, file.name)?,
            }
        }
        let Some((bundle, _)) = evidence else { return Err(Error::NoEvidence { found: kinds }) };
        let mut endorsements =
            Endorsements { intel: collateral.map(|(found, _)| found), ..Endorsements::default() };
        // Quotes carry their certificates with them; only AMD's lie beside.
        if bundle.snp_report().is_some()
            && let Some(mut chain) = snp_chain(certificates)?
        {
            chain.revocation_list = list.map(|(list, _)| list);
            endorsements.snp = Some(chain);
        }
        Ok(Self { bundle, endorsements, kinds })
    }
}

fn once<'a, T>(slot: &mut Option<(T, &'a str)>, found: T, kind: Kind, name: &'a str) -> Result<(), Error> {
    if let Some((_, first)) = slot {
        return Err(Error::Twice { kind, first: (*first).to_owned(), second: name.to_owned() });
    }
    *slot = Some((found, name));
    Ok(())
}

/// Leaf, intermediate and root, told apart by what they say of themselves; whether that is true, the
/// verifier finds out.
fn snp_chain(certificates: Vec<Certificate>) -> Result<Option<snp::Endorsements>, Error> {
    if certificates.is_empty() {
        return Ok(None);
    }
    let (mut leaves, mut intermediates, mut roots) = (Vec::new(), Vec::new(), Vec::new());
    for certificate in certificates {
        let place = match (certificate.may_sign_certificates(), certificate.issuer() == certificate.subject())
        {
            (false, _) => &mut leaves,
            (true, false) => &mut intermediates,
            (true, true) => &mut roots,
        };
        // The same certificate twice, as a cloud's chain beside AMD's, is no contradiction.
        if !place.contains(&certificate) {
            place.push(certificate);
        }
    }
    let found = [leaves.len(), intermediates.len(), roots.len()];
    match (leaves.pop(), intermediates.pop(), roots.pop()) {
        (Some(leaf), Some(intermediate), Some(root)) if found == [1, 1, 1] => {
            Ok(Some(snp::Endorsements { leaf, intermediate, root, revocation_list: None }))
        }
        _ => Err(Error::Chain { leaves: found[0], intermediates: found[1], roots: found[2] }),
    }
}
