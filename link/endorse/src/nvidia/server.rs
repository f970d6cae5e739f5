//! What does a service of NVIDIA's manifests know?
//!
//! Source: NVIDIA RIM Service API, version 1: `GET /v1/rim/{id}` answers JSON with the manifest in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_evidence::nvidia::{Manifest, ManifestError as FormatError};
use casemate_verify::nvidia::{ManifestError, ManifestName};
use serde::Deserialize;

use crate::error::Error;
use crate::service::{Etiquette, Service};

/// A service that has NVIDIA's manifests, asked with manners.
#[derive(Debug, Clone)]
pub struct ManifestServer {
    base: String,
    service: Service,
}

/// Why a manifest that a server, a file or the disk gave is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestRefusal {
    /// Not the service's JSON.
    #[error("{0}; expected JSON with `id` and `rim`: is it NVIDIA's RIM service?")]
    Answer(serde_json::Error),
    /// The manifest in it is not base64.
    #[error("the manifest is not base64: {0}")]
    Base64(base64::DecodeError),
    /// Another one than asked for.
    #[error("manifest of {found:?}, asked for was {expected:?}")]
    Other {
        /// Name or version found.
        found: String,
        /// Name or version asked for.
        expected: String,
    },
    /// No manifest.
    #[error(transparent)]
    Format(FormatError),
    /// No trusted root vouches for it, or it was changed.
    #[error(transparent)]
    NotEndorsed(ManifestError),
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    rim: String,
}

impl ManifestServer {
    /// NVIDIA's own address.
    pub const NVIDIA: &'static str = "https://rim.attestation.nvidia.com";

    /// NVIDIA's own.
    ///
    /// # Errors
    /// [`Error::Network`] if this machine cannot set up TLS.
    pub fn nvidia(etiquette: Etiquette) -> Result<Self, Error> {
        Self::at(Self::NVIDIA, etiquette)
    }

    /// A cache with the same paths below `base`. Plain HTTP does no harm: answers are verified.
    ///
    /// # Errors
    /// As [`nvidia`](Self::nvidia).
    pub fn at(base: &str, etiquette: Etiquette) -> Result<Self, Error> {
        let base = base.trim_end_matches('/').to_owned();
        let service = Service::new(&base, etiquette)?;
        Ok(Self { base, service })
    }

    /// Where a manifest is.
    pub fn manifest_address(&self, name: &ManifestName) -> String {
        format!("{}/v1/rim/{}", self.base, name.id)
    }

    pub(crate) fn etiquette(&self) -> Etiquette {
        self.service.etiquette
    }

    /// The manifest of this name, well formed and of its version; nothing about its signature is known.
    pub(crate) async fn fetch(&self, name: &ManifestName) -> Result<Vec<u8>, Error> {
        const MAXIMUM_LEN: usize = 512 * 1024;
        let address = self.manifest_address(name);
        let refused = |refusal| Error::manifest(&address, refusal);
        let body = self.service.fetch(&address, MAXIMUM_LEN, &[]).await?.body;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| refused(ManifestRefusal::Answer(error)))?;
        let other = |found: &str, expected: &str| {
            let (found, expected) = (found.to_owned(), expected.to_owned());
            refused(ManifestRefusal::Other { found, expected })
        };
        if answer.id != name.id {
            return Err(other(&answer.id, &name.id));
        }
        let document =
            STANDARD.decode(answer.rim.trim()).map_err(|error| refused(ManifestRefusal::Base64(error)))?;
        let manifest = Manifest::parse(&document).map_err(|error| refused(ManifestRefusal::Format(error)))?;
        if !manifest.version().eq_ignore_ascii_case(&name.version) {
            return Err(other(manifest.version(), &name.version));
        }
        Ok(document)
    }
}
