//! How does a folder come to be with everything in it, or not at all?
//!
//! Its files are written into `NAME.unfinished` beside it, each flushed to the disk, then that folder; only then
//! is it renamed. A kill leaves no folder of that name, or the whole one. What an interrupted attempt left is
//! removed by the next: nothing can have used it.

use std::{
    ffi::OsString,
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::Error;

/// A folder that is not in its place yet.
pub(crate) struct Unfinished {
    place: PathBuf,
    target: PathBuf,
    /// Holds the lock that keeps a second attempt away.
    folder: fs::File,
}

impl Unfinished {
    /// Begins a folder that is to become `target`, mode 0700.
    ///
    /// # Errors
    /// [`Error::AlreadyBorn`], [`Error::Occupied`], [`Error::BirthUnderway`], [`Error::File`].
    pub fn begin(target: &Path) -> Result<Self, Error> {
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        let target = std::path::absolute(target).map_err(refused(target))?;
        let place = beside(&target).ok_or_else(|| refused(&target)(ErrorKind::InvalidInput.into()))?;
        must_be_free(&target)?;
        let parent = target.parent().expect("what has a name lies in a folder");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(refused(parent))?;
        let interrupted = match fs::DirBuilder::new().mode(0o700).create(&place) {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => true,
            Err(error) => return Err(refused(&place)(error)),
        };
        let underway = || Error::BirthUnderway { path: place.clone() };
        let folder = fs::File::open(&place).map_err(refused(&place))?;
        folder.try_lock().map_err(|_| underway())?;
        // Whoever held the lock may have finished meanwhile: then this is the folder in use.
        let (opened, named) = (folder.metadata(), fs::symlink_metadata(&place));
        match (opened, named) {
            (Ok(opened), Ok(named)) if (opened.dev(), opened.ino()) == (named.dev(), named.ino()) => {}
            _ => return Err(underway()),
        }
        must_be_free(&target)?;
        if interrupted {
            tracing::warn!(
                folder = %place.display(),
                "an earlier birth or restore was interrupted; what it left is removed, nothing has used it"
            );
            for entry in fs::read_dir(&place).map_err(refused(&place))? {
                let path = entry.map_err(refused(&place))?.path();
                fs::remove_file(&path).map_err(refused(&path))?;
            }
        }
        Ok(Unfinished { place, target, folder })
    }

    /// Where its files are until it is finished.
    pub fn path(&self) -> &Path {
        &self.place
    }

    /// Writes a file that does not exist yet, and waits until it is on the disk.
    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let path = self.place.join(name);
        let written = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&path);
        let written = written.and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(|source| Error::File { path, source })
    }

    /// Puts it in its place, on the disk.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Place`].
    pub fn finish(self) -> Result<(), Error> {
        let Unfinished { place, target, folder } = self;
        folder.sync_all().map_err(|source| Error::File { path: place.clone(), source })?;
        fs::rename(&place, &target).map_err(|source| Error::Place { path: target.clone(), source })?;
        let parent = target.parent().expect("what has a name lies in a folder");
        fs::File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(|source| Error::File { path: parent.to_owned(), source })
    }
}

/// Where an attempt at `target` that was interrupted has left its files, if there was one.
pub(crate) fn interrupted(target: &Path) -> Option<PathBuf> {
    let place = beside(&std::path::absolute(target).ok()?)?;
    place.exists().then_some(place)
}

fn beside(target: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(target.file_name()?);
    name.push(".unfinished");
    Some(target.with_file_name(name))
}

/// Refuses a folder with anything in it.
fn must_be_free(target: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::File { path: target.to_owned(), source }),
    };
    let names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    match names.first() {
        None => Ok(()),
        Some(_) if names.iter().any(|name| name == "seat.keys") => {
            Err(Error::AlreadyBorn { path: target.join("seat.keys") })
        }
        Some(found) => Err(Error::Occupied { path: target.to_owned(), found: found.clone().into() }),
    }
}
