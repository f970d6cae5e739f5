//! How are files read and written, and what is said when that fails?

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::Error;

/// Reads a file of at most `maximum_bytes`.
pub fn read(path: &Path, maximum_bytes: u64) -> Result<Vec<u8>, Error> {
    let file = fs::File::open(path).map_err(|source| error("read", path, source))?;
    let size = file.metadata().map_err(|source| error("read", path, source))?.len();
    if size > maximum_bytes {
        return Err(Error::FileTooLarge { path: path.to_owned(), found: size, maximum: maximum_bytes });
    }
    read_from(file, path, maximum_bytes)
}

/// Reads a file of at most `maximum_bytes`, or standard input where the path is `-`.
pub fn read_input(path: &Path, maximum_bytes: u64) -> Result<Vec<u8>, Error> {
    if path.as_os_str() != "-" {
        return read(path, maximum_bytes);
    }
    read_from(io::stdin().lock(), path, maximum_bytes)
}

/// Reads what has no length, or one that does not hold: a pipe, a device, a file that grows.
fn read_from(source: impl io::Read, path: &Path, maximum_bytes: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let limited = source.take(maximum_bytes + 1).read_to_end(&mut bytes);
    let found = limited.map_err(|source| error("read", path, source))? as u64;
    if found > maximum_bytes {
        return Err(Error::FileTooLarge { path: path.to_owned(), found, maximum: maximum_bytes });
    }
    Ok(bytes)
}

/// Reads a file of text.
pub fn read_text(path: &Path, maximum_bytes: u64) -> Result<String, Error> {
    String::from_utf8(read(path, maximum_bytes)?).map_err(|_| Error::NotText { path: path.to_owned() })
}

/// Replaces a file as a whole: readers see the old or the new one, also after a crash.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace(path, bytes, 0o644)
}

/// As [`write`], readable by its owner only.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        make_private_folder(folder)?;
    }
    replace(path, bytes, 0o600)
}

/// Writes a new file that its owner only can read; whether there was none before.
pub fn write_new_private(path: &Path, bytes: &[u8]) -> Result<bool, Error> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match file {
        Err(found) if found.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        other => other.map_err(|source| error("write", path, source))?,
    };
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|source| error("write", path, source))?;
    Ok(true)
}

/// Copies a folder with an app, without what `up` made beside its compose file for whoever owns it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    make_private_folder(to)?;
    for entry in fs::read_dir(from).map_err(|source| error("read", from, source))? {
        let entry = entry.map_err(|source| error("read", from, source))?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == ".casemate" || name == crate::policy::FILE_NAME {
            continue;
        }
        let target = to.join(&name);
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(|source| error("copy", &path, source))?;
        }
    }
    Ok(())
}

/// Makes a folder that only its owner can enter, and those above it.
pub fn make_private_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| error("make the folder", path, source))
}

/// The error of a file operation.
pub fn error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { action, path: path.to_owned(), source }
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let new = path.with_added_extension(format!("new-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|source| error("write", path, source))
}
