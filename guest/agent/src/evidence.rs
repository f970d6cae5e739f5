//! What does this guest show of itself?

use std::time::Duration;

use casemate_evidence::ReportData;
use casemate_evidence::bundle::{Bundle, Item};

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
    Ok(Bundle::new(evidence.into_items().into_iter().chain(items)).to_bytes())
}

fn refused(error: casemate_attester::Error) -> Error {
    Error::Attester(Box::new(error))
}
