//! What was deployed under this name, from here?
//!
//! One file per VM in the home. It is what `verify` compares evidence with: not what a validator says.

use std::path::PathBuf;

use casemate_measure::shape::Shape;
use casemate_record::{AppId, InstanceId, WorkloadDigest};
use serde::{Deserialize, Serialize};

use crate::{Error, files, home::Home};

/// What was deployed under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Name of the VM.
    pub name: String,
    /// Folder of the compose file.
    pub folder: PathBuf,
    /// Policy file.
    pub policy: PathBuf,
    /// Folder of the guest image.
    pub image: PathBuf,
    /// Validator; `None`: this machine's own.
    pub validator: Option<String>,
    /// The app.
    pub app_id: AppId,
    /// The instance.
    pub instance: InstanceId,
    /// The workload.
    pub workload_digest: WorkloadDigest,
    /// Whether it was started on a simulated TEE, and the owner was told so.
    pub simulated: bool,
    /// The machine.
    pub shape: Shape,
}

impl Deployment {
    /// What was deployed under `name`, if anything was from here.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::DeploymentDamaged`].
    pub fn find(home: &Home, name: &str) -> Result<Option<Self>, Error> {
        let Some(path) = place(home, name).filter(|path| path.exists()) else { return Ok(None) };
        let text = files::read_text(&path, 64 << 10)?;
        toml::from_str(&text).map(Some).map_err(|_| Error::DeploymentDamaged { path })
    }

    /// What was deployed under `name`.
    ///
    /// # Errors
    /// [`Error::NotDeployed`], and as [`Deployment::find`].
    pub fn open(home: &Home, name: &str) -> Result<Self, Error> {
        Self::find(home, name)?.ok_or_else(|| Error::NotDeployed { name: name.to_owned() })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, home: &Home) -> Result<(), Error> {
        let path = place(home, &self.name).ok_or_else(|| Error::NotDeployed { name: self.name.clone() })?;
        files::write_private(&path, toml::to_string(self).expect("plain data").as_bytes())
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn forget(home: &Home, name: &str) -> Result<(), Error> {
        let Some(path) = place(home, name).filter(|path| path.exists()) else { return Ok(()) };
        std::fs::remove_file(&path).map_err(|source| files::error("remove", &path, source))
    }
}

fn place(home: &Home, name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then(|| home.root().join("deployments").join(format!("{name}.toml")))
}
