//! Why are there no endorsements?

use std::path::PathBuf;
use std::sync::Arc;

use casemate_evidence::snp::Product;
use casemate_verify::snp::{ChainError, EndorsementsError};

use crate::intel::{CollateralRefusal, Platform};
use crate::nvidia::ManifestRefusal;

/// Why no endorsements were found or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not in the store, and nobody may be asked.
    #[error(
        "no certificates for chip {chip} at TCB {tcb} in {}; fetch or import them while there is a network",
        directory.display()
    )]
    NotStored {
        /// The first digits of the chip id.
        chip: String,
        /// The TCB version.
        tcb: String,
        /// Where they were looked for.
        directory: PathBuf,
    },
    /// Not in the store, and nobody may be asked.
    #[error(
        "no current collateral of {platform} in {}; fetch or import it while there is a network",
        directory.display()
    )]
    NoCollateral {
        /// The platform.
        platform: Platform,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A quote that names its PCK only: without its certificate nobody knows what to ask for.
    #[error(
        "the quote carries no certificates of its PCK, so its platform is unknown; bring collateral with the \
         PCK's chain along with the evidence"
    )]
    PckNotCarried,
    /// Collateral that does not count.
    #[error("{origin}: {source}")]
    Collateral {
        /// File or address.
        origin: String,
        /// Why.
        source: Box<CollateralRefusal>,
    },
    /// Not in the store, and nobody may be asked.
    #[error("no manifest {id} in {}; fetch or import it while there is a network", directory.display())]
    NoManifest {
        /// As NVIDIA calls it.
        id: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A manifest that does not count.
    #[error("{origin}: {source}")]
    Manifest {
        /// File or address.
        origin: String,
        /// Why.
        source: Box<ManifestRefusal>,
    },
    /// The host of an Azure VM answers something else than its certificates.
    #[error("{address}: {source}; expected vcekCert and certificateChain: is this an SEV-SNP VM of Azure?")]
    AzureHost {
        /// What was asked.
        address: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A report of version 2 that fits no product, or of an unknown processor.
    #[error("the report does not say which product signed it; endorsements must come with the evidence")]
    ProductUnknown,
    /// A report that nobody signed.
    #[error("the report is not signed, so nothing endorses it")]
    Unsigned,
    /// A report signed by a VLEK, which the cloud provider hands out and AMD's service does not.
    #[error(
        "a VLEK signed the report; its certificate comes from the host, with the evidence, or is imported"
    )]
    VlekNotServed,
    /// The chip id is masked, so the service cannot be asked.
    #[error("the platform masks its chip id; the VCEK must come with the evidence")]
    ChipMasked,
    /// A file of the store cannot be read or written.
    #[error("{action} {path}: {source}; check permissions and space", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file of the store is not what its name says.
    #[error("{path}: {source}", path = path.display())]
    Stored {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: casemate_canon::Error,
    },
    /// A file, or an answer of the service, is no certificate or list.
    #[error("{origin}: {source}")]
    Unreadable {
        /// File or address.
        origin: String,
        /// What is wrong with it.
        source: EndorsementsError,
    },
    /// A certificate or list for which no trusted root vouches.
    #[error("{origin} is not endorsed by a trusted root: {source}")]
    NotEndorsed {
        /// File or address.
        origin: String,
        /// Why.
        source: Box<ChainError>,
    },
    /// An authority or list of a product that this version does not know.
    #[error(
        "{origin} is of {found:?}, which is no product that Casemate knows; update it if the processor is newer"
    )]
    UnknownName {
        /// File or address.
        origin: String,
        /// The name found.
        found: String,
    },
    /// A revocation list older than the one that is stored: what it left out stays revoked.
    #[error(
        "{origin} is a revocation list of {found_ms} ms, older than the stored one of {stored_ms} ms; the \
         stored one is kept"
    )]
    OlderRevocationList {
        /// File or address.
        origin: String,
        /// When it was made, milliseconds since 1970.
        found_ms: u64,
        /// When the stored one was made.
        stored_ms: u64,
    },
    /// A revocation list or leaf whose intermediate and root nobody gave.
    #[error("{origin} belongs to an authority that is not stored; give intermediate and root as well")]
    AuthorityMissing {
        /// File or address.
        origin: String,
    },
    /// The service cannot be reached, or breaks off.
    #[error("{address}: {source}; check the network, or work offline with what is stored")]
    Network {
        /// What was asked.
        address: String,
        /// Why it failed.
        source: reqwest::Error,
    },
    /// The service answers, but not with a certificate.
    #[error("{address} answered {status}; {advice}", advice = advice(*status))]
    Status {
        /// What was asked.
        address: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer is longer than any that is asked for.
    #[error("{address} answered with more than {maximum} bytes; is it the vendor's service?")]
    TooLong {
        /// What was asked.
        address: String,
        /// Greatest length accepted in bytes.
        maximum: usize,
    },
    /// The service sent a certificate that is not for this product or chip.
    #[error("{address} answered with the certificate of another chip, firmware or product than {product}")]
    Foreign {
        /// What was asked.
        address: String,
        /// The product asked for.
        product: Product,
    },
    /// The service was asked as often as manners allow.
    #[error("{address} is not asked now: this program asks at most so often; try again in {seconds} s")]
    TooManyRequests {
        /// What would have been asked.
        address: String,
        /// How long to wait.
        seconds: u64,
    },
    /// The service takes longer than the caller waits; it is still being asked.
    #[error("endorsements are being fetched and not there after {seconds} s; ask again")]
    Slow {
        /// How long it was waited.
        seconds: u64,
    },
    /// Somebody else's question, asked at the same time or shortly before, failed.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// Not an offline bundle.
    #[error("not a bundle of endorsements: {0}")]
    OfflineBundle(casemate_canon::Error),
    /// Another version of the offline bundle.
    #[error(
        "endorsements of version {found}, expected {}; update the older side",
        crate::OfflineBundle::VERSION
    )]
    OfflineVersion {
        /// Version found.
        found: u8,
    },
    /// Items not in ascending order, or one twice.
    #[error("item {index} is not greater than the one before; items stand in ascending order, each once")]
    OfflineOrder {
        /// Position of the item, from 0.
        index: usize,
    },
}

impl Error {
    pub(crate) fn collateral(origin: &str, refusal: impl Into<CollateralRefusal>) -> Self {
        Error::Collateral { origin: origin.to_owned(), source: Box::new(refusal.into()) }
    }

    pub(crate) fn manifest(origin: &str, refusal: ManifestRefusal) -> Self {
        Error::Manifest { origin: origin.to_owned(), source: Box::new(refusal) }
    }

    /// Whether asking again later may help: nothing is wrong with the evidence.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Network { .. } | Error::TooManyRequests { .. } | Error::Slow { .. } => true,
            Error::Status { status, .. } => *status == 429 || *status >= 500,
            Error::Shared(error) => error.is_passing(),
            _ => false,
        }
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        429 => "the service limits requests: wait ten seconds, or use what is stored",
        404 => "it knows no such chip, platform, firmware or driver: is the evidence genuine?",
        _ => "try again later, or use what is stored",
    }
}
