//! Why are there no endorsements?

use std::path::PathBuf;

use casemate_evidence::snp::Product;
use casemate_verify::snp::EndorsementsError;

/// Why no endorsements were found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not in the cache, and the cache is offline.
    #[error(
        "no certificates for chip {chip} at TCB {tcb} in {directory}; run once online, or put leaf.der, \
         intermediate.der and root.der there"
    )]
    NotCached {
        /// The first digits of the chip id.
        chip: String,
        /// The TCB version.
        tcb: String,
        /// Where they were looked for.
        directory: PathBuf,
    },
    /// A version 2 report without a chip id from which to tell its product, or an unknown processor.
    #[error("the report does not say which product signed it; endorsements must come with the evidence")]
    ProductUnknown,
    /// A report signed by a VLEK, which the cloud provider hands out and AMD's service does not.
    #[error("a VLEK signed the report; its certificate comes from the host, with the evidence")]
    VlekNotServed,
    /// The chip id is masked, so the service cannot be asked.
    #[error("the platform masks its chip id; the VCEK must come with the evidence")]
    ChipMasked,
    /// A file of the cache cannot be read or written.
    #[error("{action} {path}: {source}; check permissions and space", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file of the cache, or an answer of the service, is no certificate.
    #[error("{origin}: {source}; delete it and fetch again")]
    Unreadable {
        /// File or address.
        origin: String,
        /// What is wrong with it.
        source: EndorsementsError,
    },
    /// The service cannot be reached, or breaks off.
    #[error("{address}: {source}; check the network, or work offline with a filled cache")]
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
    /// The answer is longer than any certificate.
    #[error("{address} answered with more than {maximum} bytes; is it AMD's service?")]
    TooLong {
        /// What was asked.
        address: String,
        /// Greatest length accepted in bytes.
        maximum: usize,
    },
    /// The service sent a chain that is not for this product or chip.
    #[error("{address} answered with the certificate of another chip, firmware or product than {product}")]
    Foreign {
        /// What was asked.
        address: String,
        /// The product asked for.
        product: Product,
    },
}

fn advice(status: u16) -> &'static str {
    match status {
        429 => "the service limits requests: wait ten seconds, or use the cache",
        404 => "it knows no such chip or firmware: is the report genuine?",
        _ => "try again later, or use the cache",
    }
}
