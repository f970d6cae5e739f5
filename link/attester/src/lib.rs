//! How does a guest obtain evidence about itself?
//!
//! Through the kernel's own interfaces, blocking, and with nothing between: `/dev/sev-guest`
//! ([`SevGuest`]), or the report folder of configfs ([`Tsm`]). Whoever asks sees only [`Attester`].
//!
//! ```no_run
//! use casemate_evidence::ReportData;
//!
//! let evidence = casemate_attester::open()?.evidence(&ReportData::from([0; 64]))?;
//! println!("{} bytes", evidence.report().len());
//! # Ok::<(), casemate_attester::Error>(())
//! ```
//!
//! It decides nothing: the bytes come through a kernel that the Verifier has yet to judge, and mean
//! something only once `casemate_verify` has authenticated them.
#![deny(unsafe_code)]

mod certificates;
mod sev_guest;
mod sys;
mod tsm;

use std::path::PathBuf;

use casemate_evidence::{ReportData, snp};

pub use certificates::{Certificate, CertificateKind, TableError, parse_table, write_table};
pub use sev_guest::{FirmwareStatus, SevGuest};
pub use tsm::Tsm;

/// Obtains evidence from one kind of hardware.
pub trait Attester {
    /// Evidence that carries `report_data`, at VMPL 0.
    ///
    /// Blocks for as long as the security processor takes: milliseconds, or seconds where the host
    /// throttles. Evidence for other report data than asked is an error.
    ///
    /// # Errors
    /// Any [`Error`] of the interface in use.
    fn evidence(&self, report_data: &ReportData) -> Result<Evidence, Error>;
}

/// What the hardware said.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Evidence {
    /// An SEV-SNP attestation report.
    Snp {
        /// The report, as received.
        report: Box<snp::Report>,
        /// Certificates that the host chose to send along; empty more often than not.
        certificates: Vec<Certificate>,
    },
}

impl Evidence {
    /// The bytes of the report.
    pub fn report(&self) -> &[u8] {
        match self {
            Evidence::Snp { report, .. } => report.as_bytes(),
        }
    }
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No interface at all.
    #[error(
        "no {device} and no report provider below {tsm}: this is no SEV-SNP guest, or its kernel lacks the \
         sev-guest module (Linux 6.1 or later with CONFIG_SEV_GUEST)"
    )]
    NoInterface {
        /// The device looked for.
        device: PathBuf,
        /// The configfs folder looked for.
        tsm: PathBuf,
    },
    /// The interface exists, but cannot be used.
    #[error(
        "{path} cannot be {action}: {source}; evidence is for root, and needs a kernel of SEV-SNP guests"
    )]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel, the VMM or the security processor refused the request.
    #[error("the request for a report failed: {source}; {status}")]
    Refused {
        /// What the system said.
        source: std::io::Error,
        /// What firmware and VMM said.
        status: FirmwareStatus,
    },
    /// The firmware answered the message itself with an error (AMD 56860, MSG_REPORT_RSP, STATUS).
    #[error("the firmware answered the report request with status {found:#x}, expected 0 ({meaning})")]
    Status {
        /// STATUS.
        found: u32,
        /// In words.
        meaning: &'static str,
    },
    /// The response announces a report of another size.
    #[error(
        "the response announces a report of {found} bytes, expected {expected}; the kernel or its host speaks another protocol"
    )]
    ReportSize {
        /// Bytes announced.
        found: usize,
        /// Bytes of a report.
        expected: usize,
    },
    /// What came is no report.
    #[error("the device answered with something other than a report")]
    Report(#[from] snp::ReportError),
    /// The report answers another request.
    #[error(
        "the report carries report data {found}, expected {expected}; another process may share the interface: retry"
    )]
    OtherReportData {
        /// In the report.
        found: Box<ReportData>,
        /// As asked.
        expected: Box<ReportData>,
    },
    /// The host's certificates do not parse. The report itself may be good: ask without them.
    #[error("certificates sent by the host")]
    Certificates(#[from] TableError),
    /// Another technology than SEV-SNP provides the reports.
    #[error("{path} names provider {found:?}, expected \"sev_guest\"; only SEV-SNP is supported here")]
    Provider {
        /// The file.
        path: PathBuf,
        /// Its contents.
        found: Box<str>,
    },
    /// Somebody else wrote to the same configfs entry.
    #[error("generation of {path} is {found}, expected 1: another process wrote to this entry; retry")]
    Generation {
        /// The file.
        path: PathBuf,
        /// Its contents.
        found: Box<str>,
    },
}

/// Opens the first interface that exists: the device, then configfs.
///
/// # Errors
/// [`Error::NoInterface`], or [`Error::Io`] if an interface exists and cannot be opened.
pub fn open() -> Result<Box<dyn Attester>, Error> {
    let device = PathBuf::from(SevGuest::DEVICE);
    if device.exists() {
        return Ok(Box::new(SevGuest::open(&device)?));
    }
    let tsm = PathBuf::from(Tsm::FOLDER);
    if tsm.is_dir() {
        return Ok(Box::new(Tsm::at(&tsm)));
    }
    Err(Error::NoInterface { device, tsm })
}

/// A report that answers this request, and no other.
fn check_report(bytes: &[u8], asked: &ReportData) -> Result<Box<snp::Report>, Error> {
    let report = snp::Report::parse(bytes)?;
    if report.report_data() != *asked {
        let found = Box::new(report.report_data());
        return Err(Error::OtherReportData { found, expected: Box::new(*asked) });
    }
    Ok(Box::new(report))
}
