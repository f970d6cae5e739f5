//! What does a container find in its volumes and files?
//!
//! Named volumes are folders of the encrypted volume; one that is used for the first time begins as a
//! copy of what the image has at that place, with owners and modes, as in Docker. Configs and secrets
//! are written to a memory file system with the owner and mode that the compose file states.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Why a volume or file cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}; is the data volume full?")]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// Makes the volume at `folder` unless it exists: a copy of what `image` has at `target`, or an empty
/// folder of root's.
///
/// # Errors
/// [`Error`]; then there is no volume at `folder`, rather than half of one.
pub fn prepare(folder: &Path, image: &Path, target: &str) -> Result<(), Error> {
    let failed = |source| Error { path: folder.to_owned(), source };
    if folder.exists() {
        return Ok(());
    }
    let name = folder.file_name().unwrap_or(OsStr::new("volume"));
    let partial = folder.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    let begin = || -> io::Result<()> {
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        fs::set_permissions(&partial, Permissions::from_mode(0o755))?;
        if let Some(source) = folder_in(image, target)? {
            copy_tree(&source, &partial)?;
        }
        fs::rename(&partial, folder)
    };
    begin().map_err(failed)
}

/// Writes a config or secret that only its owner (and whoever `mode` lets) can read.
///
/// # Errors
/// [`Error`].
pub fn write_file(path: &Path, content: &[u8], uid: u32, gid: u32, mode: u32) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        // A new file each time: a running container keeps the one it has.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        chown(path, Some(uid), Some(gid))?;
        file.set_permissions(Permissions::from_mode(mode & 0o777))
    };
    write().map_err(|source| Error { path: path.to_owned(), source })
}

/// The text of a file of the image, following links as inside the image; empty if there is none.
///
/// # Errors
/// What the file system says; a file larger than 1 MiB is refused.
pub fn text_in(image: &Path, path: &str) -> io::Result<String> {
    // Non-blocking: the image may put a pipe there.
    let file = match open_in(image, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        Ok(file) => File::from(file),
        Err(error) if is_absent(&error) => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    if !file.metadata()?.is_file() || size > MAXIMUM_TEXT_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(MAXIMUM_TEXT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const MAXIMUM_TEXT_BYTES: u64 = 1 << 20;

/// A path to the folder `target` of the tree `root`, links followed as inside the tree.
fn folder_in(root: &Path, target: &str) -> io::Result<Option<Opened>> {
    match open_in(root, target, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(descriptor) => Ok(Some(Opened(descriptor))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Opened(OwnedFd);

impl Opened {
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

fn open_in(root: &Path, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let root = File::open(root)?;
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(&root, path, how)?)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn copy_tree(source: &Opened, target: &Path) -> io::Result<()> {
    let path = source.path();
    let metadata = fs::metadata(&path)?;
    copy_entries(&path, target)?;
    chown(target, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(target, Permissions::from_mode(metadata.mode() & 0o7777))
}

/// Copies folders, files and links; devices, pipes and sockets stay behind. Links are not followed.
fn copy_entries(source: &Path, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&from)?;
        let kind = metadata.file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
            lchown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&to)?;
            copy_entries(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        } else {
            continue;
        }
        chown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
        fs::set_permissions(&to, Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> tempfile::TempDir {
        let image = tempfile::tempdir().unwrap();
        let data = image.path().join("var/lib/data");
        fs::create_dir_all(data.join("inner")).unwrap();
        fs::write(data.join("inner/file"), "content").unwrap();
        fs::set_permissions(data.join("inner/file"), Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        symlink("/etc/shadow", data.join("link")).unwrap();
        symlink("/var/lib/data", image.path().join("shortcut")).unwrap();
        symlink("../../../../../../etc", image.path().join("escape")).unwrap();
        image
    }

    #[test]
    fn a_new_volume_is_a_copy_and_an_old_one_stays() {
        let (image, data) = (image(), tempfile::tempdir().unwrap());
        let volume = data.path().join("notes");
        prepare(&volume, image.path(), "/var/lib/data").unwrap();
        assert_eq!(fs::read_to_string(volume.join("inner/file")).unwrap(), "content");
        assert_eq!(fs::metadata(volume.join("inner/file")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/shadow"));
        fs::write(volume.join("inner/file"), "changed").unwrap();
        prepare(&volume, image.path(), "/var/lib/data").unwrap();
        assert_eq!(fs::read_to_string(volume.join("inner/file")).unwrap(), "changed");
    }

    #[test]
    fn links_of_the_image_stay_inside_it() {
        let (image, data) = (image(), tempfile::tempdir().unwrap());
        prepare(&data.path().join("a"), image.path(), "/shortcut").unwrap();
        assert!(data.path().join("a/inner/file").exists());
        // `escape` leads to the image's own /etc, which it does not have.
        prepare(&data.path().join("b"), image.path(), "/escape").unwrap();
        assert_eq!(fs::read_dir(data.path().join("b")).unwrap().count(), 0);
        assert_eq!(text_in(image.path(), "/escape/passwd").unwrap(), "");
    }

    #[test]
    fn a_place_that_the_image_lacks_is_an_empty_folder() {
        let (image, data) = (image(), tempfile::tempdir().unwrap());
        prepare(&data.path().join("v"), image.path(), "/nowhere/at/all").unwrap();
        assert_eq!(fs::metadata(data.path().join("v")).unwrap().mode() & 0o7777, 0o755);
    }

    #[test]
    fn half_a_copy_is_begun_again() {
        let (image, data) = (image(), tempfile::tempdir().unwrap());
        fs::create_dir_all(data.path().join(".v.partial/stale")).unwrap();
        prepare(&data.path().join("v"), image.path(), "/var/lib/data").unwrap();
        assert!(!data.path().join("v/stale").exists());
        assert!(!data.path().join(".v.partial").exists());
    }

    #[test]
    fn a_secret_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let own = fs::metadata(folder.path()).unwrap();
        for content in ["first", "second"] {
            write_file(&path, content.as_bytes(), own.uid(), own.gid(), 0o400).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o400);
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_pipe_in_the_image_blocks_nobody() {
        let image = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&image.path().join("passwd"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(text_in(image.path(), "/passwd").is_err());
    }
}
