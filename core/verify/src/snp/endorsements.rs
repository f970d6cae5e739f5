//! Which certificates speak for this report?

use casemate_evidence::bundle::{Bundle, SnpCertificates};
use casemate_evidence::x509::{self, Certificate, RevocationList};

/// The certificates from a report's signing key up to a root, and perhaps the root's revocation list;
/// well formed, nothing about their signatures is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsements {
    /// VCEK or VLEK.
    pub leaf: Certificate,
    /// ASK, or ASVK for a VLEK.
    pub intermediate: Certificate,
    /// ARK, self-signed.
    pub root: Certificate,
    /// The list of revoked certificates that the root signed.
    pub revocation_list: Option<RevocationList>,
}

/// Why no endorsements could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementsError {
    /// A certificate or the revocation list cannot be read.
    #[error(transparent)]
    Unreadable(#[from] x509::Error),
    /// The PEM file does not hold intermediate and root.
    #[error("{found} certificates, expected 2: ASK or ASVK, then ARK, as AMD's service sends them")]
    ChainLength {
        /// Number of certificates found.
        found: usize,
    },
}

impl Endorsements {
    /// Reads the DER certificates.
    ///
    /// # Errors
    /// [`EndorsementsError::Unreadable`].
    pub fn parse(leaf: &[u8], intermediate: &[u8], root: &[u8]) -> Result<Self, EndorsementsError> {
        Ok(Self {
            leaf: Certificate::parse(leaf)?,
            intermediate: Certificate::parse(intermediate)?,
            root: Certificate::parse(root)?,
            revocation_list: None,
        })
    }

    /// Reads a DER leaf, and a PEM chain of intermediate and root as AMD's key distribution service
    /// sends it (AMD 57230 §4, `cert_chain`).
    ///
    /// # Errors
    /// [`EndorsementsError`].
    pub fn parse_with_pem_chain(leaf: &[u8], chain: &str) -> Result<Self, EndorsementsError> {
        let certificates = Certificate::parse_pem(chain)?;
        let found = certificates.len();
        let [intermediate, root] =
            <[_; 2]>::try_from(certificates).map_err(|_| EndorsementsError::ChainLength { found })?;
        Ok(Self { leaf: Certificate::parse(leaf)?, intermediate, root, revocation_list: None })
    }

    /// The endorsements that a bundle carries along, or `None` if it carries none.
    ///
    /// # Errors
    /// [`EndorsementsError::Unreadable`].
    pub fn from_bundle(bundle: &Bundle) -> Result<Option<Self>, EndorsementsError> {
        let Some(SnpCertificates { leaf, intermediate, root }) = bundle.snp_certificates() else {
            return Ok(None);
        };
        let endorsements = Self::parse(leaf, intermediate, root)?;
        match bundle.snp_revocation_list() {
            Some(list) => endorsements.with_revocation_list(list).map(Some),
            None => Ok(Some(endorsements)),
        }
    }

    /// Adds a DER revocation list.
    ///
    /// # Errors
    /// [`EndorsementsError::Unreadable`].
    pub fn with_revocation_list(mut self, list: &[u8]) -> Result<Self, EndorsementsError> {
        self.revocation_list = Some(RevocationList::parse(list)?);
        Ok(self)
    }

    /// The certificates in the form in which bundles carry them.
    pub fn to_bundle_item(&self) -> SnpCertificates {
        let der = |certificate: &Certificate| certificate.as_der().to_vec().into();
        SnpCertificates {
            leaf: der(&self.leaf),
            intermediate: der(&self.intermediate),
            root: der(&self.root),
        }
    }
}
