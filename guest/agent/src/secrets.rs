//! Which values did the owner hand over, and are they the newest?
//!
//! They rest in one file of the encrypted volume, with the version that the owner signed. A version
//! lower than the stored one is refused for ever, also by later workloads of the same app: an old
//! password cannot come back. `docs/reference/agent.md`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use casemate_api::agent::{Denial, SecretValue};
use casemate_canon::{from_cbor, to_cbor};
use casemate_record::WorkloadDigest;
use minicbor::{Decode, Encode};
use zeroize::{Zeroize as _, Zeroizing};

/// Values by name.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Secrets {
    /// The value of `name`.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|value| value.as_slice())
    }

    /// The value of `name`, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, Vec<u8>)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(values: I) -> Self {
        Secrets(values.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
    }
}

/// The names that a workload leaves open, and whether it cannot run without each.
pub type Wanted = BTreeMap<String, bool>;

/// The file on the encrypted volume.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
}

/// Why the file cannot be used. The workload does not start then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("{path}: {source}; is the data volume full?")]
    File {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("{path}: {source}; deliver the secrets again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: casemate_canon::Error,
    },
}

impl Store {
    /// The store in `folder`, which is made if needed.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| Error::File { path: folder.to_owned(), source })?;
        Ok(Store { path: folder.join("secrets.cbor") })
    }

    /// What was delivered for `workload`, if anything was.
    ///
    /// # Errors
    /// [`Error`].
    pub fn load(&self, workload: &WorkloadDigest) -> Result<Option<Secrets>, Error> {
        let stored = self.read()?.filter(|stored| stored.workload == *workload);
        Ok(stored.map(|mut stored| stored.take()))
    }

    /// Keeps what the owner signed as `version` for `workload`, if it is new and matches `wanted`:
    /// each name that is needed, none that is unknown, none twice.
    ///
    /// # Errors
    /// The [`Denial`] to give, or the reason why the file could not be written.
    pub fn deliver(
        &self,
        workload: &WorkloadDigest,
        wanted: &Wanted,
        version: u64,
        values: Vec<SecretValue>,
    ) -> Result<Result<Secrets, Denial>, Error> {
        let mut new = Stored { version, workload: *workload, values };
        if wanted.is_empty() {
            return Ok(Err(Denial::NoSecretsWanted));
        }
        if !new.matches(wanted) {
            return Ok(Err(Denial::OtherNames));
        }
        match self.read()? {
            Some(old) if old.version > version => return Ok(Err(Denial::OlderVersion)),
            // The same order once more: its sender did not hear the answer.
            Some(old) if old.version == version && old != new => return Ok(Err(Denial::Replayed)),
            _ => {}
        }
        self.write(&new)?;
        Ok(Ok(new.take()))
    }

    fn read(&self) -> Result<Option<Stored>, Error> {
        let mut bytes = Zeroizing::new(Vec::new());
        match File::open(&self.path)
            .and_then(|file| file.take(MAXIMUM_BYTES as u64 + 1).read_to_end(&mut bytes))
        {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { path: self.path.clone(), source }),
        }
        let stored = from_cbor(&bytes, MAXIMUM_BYTES);
        stored.map(Some).map_err(|source| Error::Damaged { path: self.path.clone(), source })
    }

    /// Whole or not at all: written beside, flushed, renamed, and the rename flushed.
    fn write(&self, stored: &Stored) -> Result<(), Error> {
        let bytes = Zeroizing::new(to_cbor(stored));
        let beside = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)?;
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| Error::File { path: self.path.clone(), source })
    }
}

#[derive(PartialEq, Eq, Encode, Decode)]
struct Stored {
    #[n(0)]
    version: u64,
    #[n(1)]
    workload: WorkloadDigest,
    #[n(2)]
    values: Vec<SecretValue>,
}

impl Stored {
    fn matches(&self, wanted: &Wanted) -> bool {
        let sorted = self.values.is_sorted_by(|a, b| a.name < b.name);
        let known = self.values.iter().all(|value| wanted.contains_key(&value.name));
        let given = |name: &String| self.values.iter().any(|value| value.name == *name);
        sorted && known && wanted.iter().all(|(name, needed)| !needed || given(name))
    }

    fn take(&mut self) -> Secrets {
        std::mem::take(&mut self.values)
            .into_iter()
            .map(|mut value| (std::mem::take(&mut value.name), std::mem::take(&mut value.value)))
            .collect()
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        for value in &mut self.values {
            value.value.zeroize();
        }
    }
}

const MAXIMUM_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> WorkloadDigest {
        [1; 32].into()
    }

    fn wanted() -> Wanted {
        [("PASSWORD".to_owned(), true), ("TOKEN".to_owned(), false)].into()
    }

    fn values(pairs: &[(&str, &str)]) -> Vec<SecretValue> {
        pairs
            .iter()
            .map(|(name, value)| SecretValue { name: (*name).into(), value: value.as_bytes().into() })
            .collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("secrets")).unwrap();
        (folder, store)
    }

    fn deliver(store: &Store, version: u64, pairs: &[(&str, &str)]) -> Result<Secrets, Denial> {
        store.deliver(&workload(), &wanted(), version, values(pairs)).unwrap()
    }

    #[test]
    fn delivered_values_are_there_after_a_restart() {
        let (_folder, store) = store();
        assert!(store.load(&workload()).unwrap().is_none());
        assert_eq!(deliver(&store, 5, &[("PASSWORD", "p")]).unwrap().text("PASSWORD"), Some("p"));
        let loaded = store.load(&workload()).unwrap().unwrap();
        assert_eq!((loaded.text("PASSWORD"), loaded.text("TOKEN")), (Some("p"), None));
        assert!(store.load(&[2; 32].into()).unwrap().is_none(), "another workload waits for its own");
    }

    #[test]
    fn an_older_version_is_refused_for_ever() {
        let (_folder, store) = store();
        deliver(&store, 5, &[("PASSWORD", "new")]).unwrap();
        assert_eq!(deliver(&store, 4, &[("PASSWORD", "old")]).err(), Some(Denial::OlderVersion));
        let other = store.deliver(&[2; 32].into(), &wanted(), 4, values(&[("PASSWORD", "old")])).unwrap();
        assert_eq!(other.err(), Some(Denial::OlderVersion));
        assert_eq!(store.load(&workload()).unwrap().unwrap().text("PASSWORD"), Some("new"));
    }

    #[test]
    fn the_same_order_may_come_twice_but_not_with_other_values() {
        let (_folder, store) = store();
        deliver(&store, 5, &[("PASSWORD", "p")]).unwrap();
        assert!(deliver(&store, 5, &[("PASSWORD", "p")]).is_ok());
        assert_eq!(deliver(&store, 5, &[("PASSWORD", "q")]).err(), Some(Denial::Replayed));
        assert!(deliver(&store, 6, &[("PASSWORD", "q"), ("TOKEN", "t")]).is_ok());
    }

    #[test]
    fn names_must_match() {
        let (_folder, store) = store();
        let table: &[&[(&str, &str)]] = &[
            &[],
            &[("TOKEN", "t")],
            &[("PASSWORD", "p"), ("OTHER", "o")],
            &[("PASSWORD", "p"), ("PASSWORD", "q")],
            &[("TOKEN", "t"), ("PASSWORD", "p")],
        ];
        for pairs in table {
            assert_eq!(deliver(&store, 1, pairs).err(), Some(Denial::OtherNames), "{pairs:?}");
        }
        let none = store.deliver(&workload(), &Wanted::new(), 1, vec![]).unwrap();
        assert_eq!(none.err(), Some(Denial::NoSecretsWanted));
    }

    #[test]
    fn a_damaged_file_is_no_empty_file() {
        let (_folder, store) = store();
        fs::write(&store.path, b"x").unwrap();
        assert!(matches!(store.load(&workload()), Err(Error::Damaged { .. })));
        assert!(matches!(
            store.deliver(&workload(), &wanted(), 9, values(&[("PASSWORD", "p")])),
            Err(Error::Damaged { .. })
        ));
    }

    #[test]
    fn only_root_reads_them_and_debug_shows_names_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_folder, store) = store();
        let secrets = deliver(&store, 5, &[("PASSWORD", "hunter2")]).unwrap();
        assert_eq!(fs::metadata(&store.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(store.path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(format!("{secrets:?}"), "{\"PASSWORD\"}");
    }
}
