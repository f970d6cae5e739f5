//! How does a guest obtain evidence about itself?
//!
//! Through the kernel's own interfaces, blocking, and with nothing between: `/dev/sev-guest`
//! ([`SevGuest`]), or the report folder of configfs ([`Tsm`]), which TDX guests have as well. Whoever asks sees
//! only [`Attester`].
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
mod items;
mod sev_guest;
mod sys;
mod tsm;

use std::path::PathBuf;

use casemate_evidence::bundle::{BundleError, IntelCollateral};
use casemate_evidence::intel::{Body, Quote, QuoteError};
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
    /// A TDX quote.
    Tdx {
        /// The quote, as received.
        quote: Vec<u8>,
        /// What came along of the collateral; on hardware nothing does.
        collateral: Option<Box<IntelCollateral>>,
    },
}

impl Evidence {
    /// The bytes of the report, or of the quote.
    pub fn report(&self) -> &[u8] {
        match self {
            Evidence::Snp { report, .. } => report.as_bytes(),
            Evidence::Tdx { quote, .. } => quote,
        }
    }
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No interface at all.
    #[error(
        "no {device} and no report provider below {tsm}: this is no SEV-SNP or TDX guest, or its kernel lacks the \
         module (Linux 6.1 or later with CONFIG_SEV_GUEST, 6.7 or later with CONFIG_TDX_GUEST_DRIVER)"
    )]
    NoInterface {
        /// The device looked for.
        device: PathBuf,
        /// The configfs folder looked for.
        tsm: PathBuf,
    },
    /// The interface exists, but cannot be used.
    #[error(
        "{path} cannot be {action}: {source}; evidence is for root, and needs a kernel of SEV-SNP or TDX guests"
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
    /// What came is no quote.
    #[error("the report folder answered with something other than a quote")]
    Quote(#[from] QuoteError),
    /// A quote of something else than this trust domain.
    #[error(
        "the quote is of an SGX enclave, expected one of this trust domain; the host's quoting service is broken"
    )]
    QuoteOfEnclave,
    /// What came along with a quote is no collateral. The quote itself may be good.
    #[error("collateral that came along with the quote")]
    Collateral(#[from] BundleError),
    /// Another technology provides the reports.
    #[error(
        "{path} names provider {found:?}, expected \"sev_guest\" or \"tdx_guest\"; nothing else is supported here"
    )]
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
    check_report_data(report.report_data(), asked)?;
    Ok(Box::new(report))
}

/// A quote that answers this request, and no other.
fn check_quote(bytes: &[u8], asked: &ReportData) -> Result<(), Error> {
    match Quote::parse(bytes)?.body() {
        Body::Tdx(report) => check_report_data(report.report_data(), asked),
        Body::Sgx(_) => Err(Error::QuoteOfEnclave),
    }
}

fn check_report_data(found: ReportData, asked: &ReportData) -> Result<(), Error> {
    if found == *asked {
        return Ok(());
    }
    Err(Error::OtherReportData { found: Box::new(found), expected: Box::new(*asked) })
}
