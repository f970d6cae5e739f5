//! What did `compose.lock` pin?
//!
//! TOML beside the compose file: each service's image by digest and root hash, each public variable
//! by value. It is meant to be committed: with it, the workload digest is the same everywhere.

use std::{collections::BTreeMap, path::Path};

use casemate_crypto::hash::Sha256;
use serde::{Deserialize, Serialize};

use crate::{Error, files};

/// `compose.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// 1.
    pub version: u32,
    /// Public variables.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Images by service.
    #[serde(default)]
    pub image: BTreeMap<String, LockedImage>,
}

/// A service's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// As the compose file names it; `build` if it is built.
    pub reference: String,
    /// SHA-256 of the OCI image manifest.
    pub oci_digest: Sha256,
    /// dm-verity root hash of the disk made from it.
    pub root_hash: Sha256,
    /// Data blocks of 4096 bytes of that disk.
    pub data_blocks: u64,
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Not what this program writes.
    #[error("compose.lock: {source}")]
    Syntax {
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Another version.
    #[error("compose.lock has version {found}, this program reads {VERSION}")]
    Version {
        /// The version.
        found: u32,
    },
    /// A local image is another than the locked one.
    #[error("image of service '{service}' is {found}, compose.lock pins {locked}")]
    ImageChanged {
        /// The service.
        service: String,
        /// SHA-256 of the manifest found.
        found: Sha256,
        /// SHA-256 of the manifest locked.
        locked: Sha256,
    },
    /// The same image gave another disk.
    #[error("image of service '{service}' converts to root hash {found}, compose.lock pins {locked}")]
    RootHash {
        /// The service.
        service: String,
        /// Root hash found.
        found: Sha256,
        /// Root hash locked.
        locked: Sha256,
    },
    /// A variable has another value than the locked one.
    #[error("variable {name} is '{found}' here, compose.lock pins '{locked}'")]
    VariableChanged {
        /// The variable.
        name: String,
        /// Its value here.
        found: String,
        /// Its value in the lock.
        locked: String,
    },
}

const VERSION: u32 = 1;

impl Lock {
    /// Reads the lock; an empty one if there is none.
    ///
    /// # Errors
    /// [`LockError::Syntax`], [`LockError::Version`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Ok(Lock { version: VERSION, ..Lock::default() });
        }
        let text = files::read_text(path, 1 << 20)?;
        let lock: Lock =
            toml::from_str(&text).map_err(|source| LockError::Syntax { source: Box::new(source) })?;
        if lock.version != VERSION {
            return Err(LockError::Version { found: lock.version }.into());
        }
        Ok(lock)
    }

    /// Writes it, if it says anything else than the file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path) -> Result<bool, Error> {
        let text = format!(
            "# What `casemate up` runs: images by digest, public variables by value. Commit this file.\n{}",
            toml::to_string(self).expect("a lock is plain data")
        );
        if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
            return Ok(false);
        }
        files::write(path, text.as_bytes())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compose.lock");
        let mut lock = Lock::read(&path).unwrap();
        lock.variables.insert("PORT".into(), "8080".into());
        let image = LockedImage {
            reference: "oci:a".into(),
            oci_digest: [1; 32].into(),
            root_hash: [2; 32].into(),
            data_blocks: 3,
        };
        lock.image.insert("web".into(), image);
        assert!(lock.write(&path).unwrap());
        assert!(!lock.write(&path).unwrap());
        assert_eq!(Lock::read(&path).unwrap(), lock);
    }

    #[test]
    fn unknown_keys_and_versions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compose.lock");
        std::fs::write(&path, "version = 1\nbogus = 1\n").unwrap();
        assert!(matches!(Lock::read(&path), Err(Error::Lock(LockError::Syntax { .. }))));
        std::fs::write(&path, "version = 2\n").unwrap();
        assert!(matches!(Lock::read(&path), Err(Error::Lock(LockError::Version { found: 2 }))));
    }
}
