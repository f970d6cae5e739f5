//! Which 64 bytes does a guest ask the hardware to sign, for which purpose?
//!
//! `CSM1`, 4 bytes of purpose, 8 zero bytes, then SHA-384 over the fields of that purpose, each
//! preceded by its length in 8 bytes, big-endian. Fields and worked bytes stand in
//! `docs/reference/report-data.md`.

use casemate_crypto::hash::{sha256, sha384};
use casemate_evidence::{ReportData, bundle::Session};
use casemate_record::WorkloadDigest;

/// What every report data made by Casemate begins with; an interface that lets a workload choose
/// report data refuses it.
pub const MAGIC: [u8; 4] = *b"CSM1";

/// What evidence is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A release of keys.
    Release,
    /// The renewal of a lease.
    Renewal,
    /// A session key, for the owner's orders and for verifiers.
    Session,
    /// A certificate of the mesh.
    Mesh,
    /// A probe of the host.
    Probe,
    /// What a workload asks for through the guest's interface.
    Application,
}

impl Purpose {
    /// The 4 bytes after the magic.
    pub const fn bytes(self) -> [u8; 4] {
        match self {
            Purpose::Release => *b"rels",
            Purpose::Renewal => *b"renw",
            Purpose::Session => *b"sess",
            Purpose::Mesh => *b"mesh",
            Purpose::Probe => *b"prob",
            Purpose::Application => *b"appl",
        }
    }
}

/// The report data of `purpose` over `fields`.
pub fn report_data(purpose: Purpose, fields: &[&[u8]]) -> ReportData {
    let mut input = Vec::new();
    for field in fields {
        input.extend_from_slice(&(field.len() as u64).to_be_bytes());
        input.extend_from_slice(field);
    }
    let mut bytes = [0; 64];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&purpose.bytes());
    bytes[16..].copy_from_slice(sha384(&input).as_bytes());
    ReportData::from(bytes)
}

/// The report data by which a guest shows its session to whoever sent `nonce`: the key, which boot of
/// which instance this is, and until when the seats of which roster let it go on.
pub fn session(nonce: &[u8; 32], workload_digest: &WorkloadDigest, session: &Session) -> ReportData {
    let key_digest = sha256(&session.key);
    let fields: [&[u8]; 8] = [
        nonce,
        key_digest.as_bytes(),
        workload_digest.as_bytes(),
        &session.instance,
        &session.boot_id,
        &session.roster_digest,
        &session.key_epoch.to_be_bytes(),
        &session.lease_ends_ms.to_be_bytes(),
    ];
    report_data(Purpose::Session, &fields)
}

/// Most bytes that a workload may choose.
pub const MAXIMUM_CHOSEN_BYTES: usize = 4096;

/// Why bytes that a workload chose get no report data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChosenError {
    /// No bytes at all.
    #[error("no bytes to speak for; expected 1 to {MAXIMUM_CHOSEN_BYTES}, such as a nonce or a digest")]
    Empty,
    /// More than [`MAXIMUM_CHOSEN_BYTES`].
    #[error("{found} bytes, at most {MAXIMUM_CHOSEN_BYTES} are taken; send their digest instead")]
    TooLong {
        /// Their number.
        found: usize,
    },
    /// They begin with [`MAGIC`].
    #[error("these bytes begin with `CSM1`, as what the guest asks for itself; choose others")]
    Reserved,
}

impl ChosenError {
    /// The name of the variant, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            ChosenError::Empty => "empty",
            ChosenError::TooLong { .. } => "too_long",
            ChosenError::Reserved => "reserved",
        }
    }
}

/// The report data for the 1 to [`MAXIMUM_CHOSEN_BYTES`] bytes that a workload chose: always under its own
/// purpose. Whoever verifies it calls this as well, so both refuse the same bytes.
///
/// # Errors
/// [`ChosenError`].
pub fn application(chosen: &[u8]) -> Result<ReportData, ChosenError> {
    match chosen.len() {
        0 => return Err(ChosenError::Empty),
        1..=MAXIMUM_CHOSEN_BYTES => {}
        found => return Err(ChosenError::TooLong { found }),
    }
    if chosen.starts_with(&MAGIC) {
        return Err(ChosenError::Reserved);
    }
    Ok(report_data(Purpose::Application, &[chosen]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_speaks_for_itself_only() {
        let own = report_data(Purpose::Session, &[b"x"]);
        assert_eq!(application(own.as_bytes()), Err(ChosenError::Reserved));
        assert_eq!(application(&MAGIC), Err(ChosenError::Reserved));
        assert_eq!(application(b""), Err(ChosenError::Empty));
        let long = [0; MAXIMUM_CHOSEN_BYTES + 1];
        assert_eq!(application(&long), Err(ChosenError::TooLong { found: long.len() }));
        for chosen in [&long[1..], b"CSM", b"csm1 is something else", b"\0CSM1"] {
            assert_eq!(application(chosen).unwrap().as_bytes()[..8], *b"CSM1appl");
        }
    }
}
