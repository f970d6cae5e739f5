//! What does this guest show of itself?

use std::time::Duration;

use casemate_attester::{Certificate, CertificateKind, Evidence};
use casemate_evidence::ReportData;
use casemate_evidence::bundle::{Bundle, Item, SnpCertificates};

use crate::turns::{Turn, Turns};

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The platform gave none.
    #[error(transparent)]
    Attester(Box<casemate_attester::Error>),
    /// Others asked for so many reports that this one's turn did not come.
    #[error("the platform is busy with other reports; ask again later")]
    Busy,
    /// The platform gave a kind of evidence that this version cannot bundle.
    #[error("evidence of a kind that this version cannot bundle; update the guest image")]
    Kind,
}

/// A bundle for the guest itself: a report that carries `report_data`, the endorsements that came with it,
/// and `items`.
///
/// # Errors
/// [`Error`], but not [`Error::Busy`].
pub fn collect(report_data: &ReportData, items: Vec<Item>) -> Result<Vec<u8>, Error> {
    bundle(TURNS.guest(), report_data, items)
}

/// The same for a service, which waits until the guest has what it asked for itself.
///
/// # Errors
/// [`Error`].
pub fn collect_for_service(report_data: &ReportData, items: Vec<Item>) -> Result<Vec<u8>, Error> {
    bundle(TURNS.service(SERVICE_PATIENCE).ok_or(Error::Busy)?, report_data, items)
}

/// There is one hardware.
static TURNS: Turns = Turns::new();
const SERVICE_PATIENCE: Duration = Duration::from_secs(10);

fn bundle(turn: Turn<'_>, report_data: &ReportData, items: Vec<Item>) -> Result<Vec<u8>, Error> {
    let attester = casemate_attester::open().map_err(refused)?;
    let evidence = attester.evidence(report_data).map_err(refused)?;
    drop(turn);
    let Evidence::Snp { report, certificates } = evidence else { return Err(Error::Kind) };
    let own = [Item::SnpReport(report.as_bytes().to_vec().into())];
    let carried = chain(&certificates).map(Item::SnpCertificates);
    Ok(Bundle::new(own.into_iter().chain(carried).chain(items)).to_bytes())
}

fn refused(error: casemate_attester::Error) -> Error {
    Error::Attester(Box::new(error))
}

/// The chain that the host sent along, if it is whole. It is a convenience, checked by the Verifier.
fn chain(certificates: &[Certificate]) -> Option<SnpCertificates> {
    let of = |kinds: &[CertificateKind]| {
        let found = certificates.iter().find(|certificate| kinds.contains(&certificate.kind));
        found.map(|certificate| certificate.bytes.clone().into())
    };
    Some(SnpCertificates {
        leaf: of(&[CertificateKind::Vcek, CertificateKind::Vlek])?,
        intermediate: of(&[CertificateKind::Ask])?,
        root: of(&[CertificateKind::Ark])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_chain_is_no_chain() {
        let certificate = |kind| Certificate { kind, bytes: vec![1] };
        let (leaf, ask, ark) = (
            certificate(CertificateKind::Vcek),
            certificate(CertificateKind::Ask),
            certificate(CertificateKind::Ark),
        );
        assert!(chain(&[leaf.clone(), ark.clone()]).is_none());
        assert!(chain(&[leaf, ark, ask]).is_some());
        assert!(chain(&[]).is_none());
    }
}
