//! Where does Casemate keep its things?
//!
//! The layout is part of the interface: `docs/reference/local-state.md`.

use std::path::{Path, PathBuf};

use crate::{Error, files};

/// The folder of everything that Casemate keeps for one person on one machine.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// `CASEMATE_HOME`, else `$XDG_DATA_HOME/casemate`, else `~/.local/share/casemate`; made if absent.
    ///
    /// # Errors
    /// [`Error::NoHome`], [`Error::File`].
    pub fn open() -> Result<Self, Error> {
        let root = std::env::var_os("CASEMATE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("XDG_DATA_HOME").map(|data| Path::new(&data).join("casemate")))
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share/casemate")))
            .ok_or(Error::NoHome)?;
        Self::at(&root)
    }

    /// The home in this folder, made if absent.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn at(root: &Path) -> Result<Self, Error> {
        let root = std::path::absolute(root).map_err(|source| files::error("find", root, source))?;
        files::make_private_folder(&root)?;
        Ok(Home { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The owner's encrypted key.
    pub fn owner_key(&self) -> PathBuf {
        self.root.join("keys/owner.toml")
    }

    /// Container images, converted once.
    pub fn image_cache(&self) -> PathBuf {
        self.root.join("cache/images")
    }

    /// Blobs of registries: an OCI layout.
    pub fn registry_cache(&self) -> PathBuf {
        self.root.join("cache/registry")
    }

    /// Certificates and revocation lists that endorse hardware.
    pub fn endorsements(&self) -> PathBuf {
        self.root.join("endorsements")
    }

    /// Built guest images, one folder each.
    pub fn guest_images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The services of this machine.
    pub fn local(&self) -> PathBuf {
        self.root.join("local")
    }

    /// A service's socket. Short, for the kernel takes 107 bytes.
    pub fn socket(&self, service: &str) -> PathBuf {
        self.local().join(format!("{service}.sock"))
    }

    /// Where an unlocked owner key waits: gone after a restart of the machine where the system has a
    /// runtime folder.
    pub fn unlocked_key(&self) -> PathBuf {
        match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(runtime) => Path::new(&runtime).join("casemate/unlocked.toml"),
            None => self.root.join("run/unlocked.toml"),
        }
    }
}
