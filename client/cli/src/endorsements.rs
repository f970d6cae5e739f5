//! Where does this machine keep certificates that endorse hardware, and whom does it ask for them?

use casemate_endorse::{
    AzureHost, Cache, CollateralServer, Etiquette, KeyServer, ManifestServer, Revocation,
};
use casemate_evidence::bundle::Bundle;
use casemate_verify::Roots;

use crate::{Error, commands::COMMON, home::Home, output::Output};

/// How endorsements are had.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Ask no vendor for certificates: use those that came with the evidence or are kept here
    #[arg(long, global = true, help_heading = COMMON)]
    pub offline: bool,
    /// Key server to ask for AMD's certificates, instead of AMD's own
    #[arg(long, global = true, help_heading = COMMON, env = "CASEMATE_KEY_SERVER", hide_env_values = true)]
    #[arg(value_name = "URL")]
    pub key_server: Option<String>,
    /// Server to ask for Intel's collateral, instead of Intel's own: a PCCS, or a cloud's such as Azure's
    #[arg(long, global = true, help_heading = COMMON, env = "CASEMATE_COLLATERAL_SERVER", hide_env_values = true)]
    #[arg(value_name = "URL")]
    pub collateral_server: Option<String>,
    /// Server to ask for NVIDIA's manifests, instead of NVIDIA's own
    #[arg(long, global = true, help_heading = COMMON, env = "CASEMATE_MANIFEST_SERVER", hide_env_values = true)]
    #[arg(value_name = "URL")]
    pub manifest_server: Option<String>,
}

impl Options {
    /// The certificates of this home. Only what vendors' own roots vouch for is kept: simulated TEEs send
    /// theirs along.
    ///
    /// # Errors
    /// [`Error::Endorsements`] if this machine cannot set up TLS.
    pub fn cache(&self, home: &Home) -> Result<Cache, Error> {
        let (directory, roots) = (home.endorsements(), Roots::builtin());
        if self.offline {
            return Ok(Cache::offline(directory, roots));
        }
        let base = self.key_server.as_deref().unwrap_or(KeyServer::AMD);
        let server = KeyServer::at(base, Etiquette::person()).map_err(failed)?;
        let base = self.collateral_server.as_deref().unwrap_or(CollateralServer::INTEL);
        let collateral_server = CollateralServer::at(base, Etiquette::person()).map_err(failed)?;
        let base = self.manifest_server.as_deref().unwrap_or(ManifestServer::NVIDIA);
        let manifest_server = ManifestServer::at(base, Etiquette::person()).map_err(failed)?;
        Ok(Cache::online(directory, roots, server)
            .with_collateral_server(collateral_server)
            .with_manifest_server(manifest_server))
    }
}

/// The host of the Azure VM that this runs in.
///
/// # Errors
/// As [`Options::cache`].
pub fn azure_host() -> Result<AzureHost, Error> {
    AzureHost::at(AzureHost::ADDRESS, Etiquette::person()).map_err(failed)
}

/// The evidence with the certificates, the collateral and the revocation lists that it does not carry.
///
/// # Errors
/// [`Error::Endorsements`] if it carries no certificates or collateral and none can be had.
pub async fn complete(cache: &Cache, output: Output, bundle: Bundle, now_ms: u64) -> Result<Bundle, Error> {
    let completed = cache.complete(bundle, now_ms).await.map_err(failed)?;
    if let Revocation::Missing(error) = completed.revocation {
        output.step("Revocation", &format!("no current list: {error}"));
    }
    for error in completed.missing_manifests {
        output.step("Manifest", &format!("not there: {error}"));
    }
    Ok(completed.bundle)
}

/// As [`complete`], for evidence in the bytes in which a guest sent it; what is no evidence comes back as
/// it is, for its appraisal to refuse.
///
/// # Errors
/// As [`complete`].
pub async fn complete_bytes(
    cache: &Cache,
    output: Output,
    bytes: Vec<u8>,
    now_ms: u64,
) -> Result<Vec<u8>, Error> {
    match Bundle::parse(&bytes) {
        Ok(bundle) => Ok(complete(cache, output, bundle, now_ms).await?.to_bytes()),
        Err(_) => Ok(bytes),
    }
}

/// A failure to have endorsements.
pub fn failed(source: casemate_endorse::Error) -> Error {
    Error::Endorsements { source: Box::new(source) }
}
