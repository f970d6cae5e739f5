//! Why can what was handed over not be judged?

use casemate_verify::PolicyError;

use crate::content::Kind;

/// Why there is nothing to judge, or no question that could be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More files than one piece of evidence can have.
    #[error("{found} files, at most {maximum} are looked at")]
    TooMany {
        /// Number of files.
        found: usize,
        /// Greatest number.
        maximum: usize,
    },
    /// A file that is longer than any evidence.
    #[error("{name} has {found} bytes, at most {maximum} are read")]
    TooLong {
        /// The file.
        name: String,
        /// Its length in bytes.
        found: usize,
        /// Greatest length in bytes.
        maximum: usize,
    },
    /// A file that begins like nothing that is known.
    #[error("{name} is no evidence, certificate or list that Casemate knows")]
    Unknown {
        /// The file.
        name: String,
    },
    /// A bundle that breaks its format.
    #[error("{name}: {source}")]
    Bundle {
        /// The file.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<casemate_evidence::bundle::BundleError>,
    },
    /// A certificate or list that cannot be read.
    #[error("{name}: {source}")]
    Certificates {
        /// The file.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<casemate_evidence::x509::Error>,
    },
    /// Collateral that cannot be read.
    #[error("{name}: {source}")]
    Collateral {
        /// The file.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<casemate_verify::intel::CollateralFileError>,
    },
    /// PCR values that cannot be read.
    #[error("{name}: {source}")]
    Pcrs {
        /// The file.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<casemate_evidence::tpm::PcrFileError>,
    },
    /// Bytes that begin like a kind and break its rules.
    #[error("{name} is no {kind}: {source}")]
    Format {
        /// The file.
        name: String,
        /// Like what it begins.
        kind: Kind,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two of what there can be only one.
    #[error("{second} is a second {kind}, beside {first}")]
    Twice {
        /// What it is.
        kind: Kind,
        /// The file that came first.
        first: String,
        /// The other.
        second: String,
    },
    /// Nothing that could be judged.
    #[error("no evidence: {}", list(found))]
    NoEvidence {
        /// What was there instead.
        found: Vec<Kind>,
    },
    /// Certificates that make no chain from a chip's key to a root.
    #[error(
        "{leaves} chip certificates, {intermediates} intermediates and {roots} roots; one of each makes a chain"
    )]
    Chain {
        /// Certificates that may sign none: VCEK or VLEK.
        leaves: usize,
        /// ASK or ASVK.
        intermediates: usize,
        /// ARK.
        roots: usize,
    },
    /// The policy is none.
    #[error("the policy cannot be used: {0}")]
    Policy(#[from] PolicyError),
    /// A nonce, and evidence that names no session to which it could belong.
    #[error("the evidence names no session, so it cannot answer a nonce")]
    NoSession,
    /// Bytes for which no guest gives a service evidence.
    #[error(transparent)]
    Chosen(#[from] casemate_release::report_data::ChosenError),
    /// The question itself is not what it should be.
    #[error("the question cannot be read: {0}")]
    Question(#[from] serde_json::Error),
}

impl Error {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::TooMany { .. } => "hand over one report or bundle and what belongs to it",
            Error::TooLong { .. } => "is this the right file?",
            Error::Unknown { .. } => {
                "it may be a report, a quote, a document or log of a TPM or cloud, a bundle, certificates in DER or PEM, or Intel's collateral; text is taken in hexadecimal or base64"
            }
            Error::Bundle { .. } => "ask the guest for its evidence again",
            Error::Certificates { .. } => "certificates and lists are DER, or PEM with nothing in between",
            Error::Collateral { .. } => "fetch Intel's collateral for this platform again, as one JSON file",
            Error::Pcrs { .. } => {
                "PCR values are what `tpm2_quote -o` writes, or JSON: {\"sha256\": {\"0\": DIGITS}}"
            }
            Error::Format { .. } => "was it cut on its way, or encoded?",
            Error::Twice { .. } => "verify one after the other",
            Error::NoEvidence { .. } => "add the report, quote or bundle that is to be verified",
            Error::Chain { .. } => {
                "add the chip's certificate (VCEK or VLEK), and AMD's cert_chain with its intermediate and root"
            }
            Error::Policy(_) => "docs/reference/policy.md lists every rule",
            Error::NoSession => "leave the nonce out, or ask a Casemate guest",
            Error::Chosen(_) => "name the bytes that the service asked for evidence over",
            Error::Question(_) => "docs/reference/question.md lists every member",
        }
    }

    /// The name of the variant, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Error::TooMany { .. } => "too_many",
            Error::TooLong { .. } => "too_long",
            Error::Unknown { .. } => "unknown",
            Error::Bundle { .. } => "bundle",
            Error::Certificates { .. } => "certificates",
            Error::Collateral { .. } => "collateral",
            Error::Pcrs { .. } => "pcrs",
            Error::Format { .. } => "format",
            Error::Twice { .. } => "twice",
            Error::NoEvidence { .. } => "no_evidence",
            Error::Chain { .. } => "chain",
            Error::Policy(_) => "policy",
            Error::NoSession => "no_session",
            Error::Chosen(_) => "chosen",
            Error::Question(_) => "question",
        }
    }
}

fn list(kinds: &[Kind]) -> String {
    if kinds.is_empty() {
        return "nothing was handed over".to_owned();
    }
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    format!("only {}", names.join(", "))
}
