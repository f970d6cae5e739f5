//! How does a service listen on a path so that only its own user can connect?
//!
//! Whoever may write to a socket's file may connect to it (unix(7)), and `bind` makes the file as wide as the
//! umask lets it: narrowing it afterwards leaves a moment in which anyone can. So it is made in a new folder
//! that nobody else can enter, narrowed there, and then moved to its place.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Listens on `path` with mode 0600. A socket that nobody listens on any more is replaced.
///
/// For a moment there is a folder `.PID` beside it, so its path must be some bytes shorter than the kernel's
/// limit of 107.
///
/// # Errors
/// `AddrInUse` if someone listens there, `AlreadyExists` if something else than a socket is there, and
/// what the kernel answers.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = parent.join(format!(".{:x}", std::process::id()));
    // Left behind by a process that had this number before: nobody else has it now.
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&folder)?;
    let listening = (|| {
        let hidden = folder.join("s");
        let listener = UnixListener::bind(&hidden)?;
        fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
        fs::rename(&hidden, path)?;
        Ok(listener)
    })();
    let _ = fs::remove_dir_all(&folder);
    listening
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_socket_is_never_seen_wider_than_its_own_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.sock");
        // What a careless administrator's shell may have set; each test is a process of its own.
        nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut seen = 0;
                while !ended.load(Ordering::SeqCst) {
                    for entry in fs::read_dir(folder.path()).unwrap().flatten() {
                        if let Ok(found) = fs::symlink_metadata(entry.path()) {
                            let mode = found.permissions().mode() & 0o777;
                            let expected = if found.is_dir() { 0o700 } else { 0o600 };
                            assert_eq!(mode, expected, "{}", entry.path().display());
                            seen += 1;
                        }
                    }
                }
                seen
            });
            for _ in 0..300 {
                drop(listen(&path).unwrap());
            }
            ended.store(true, Ordering::SeqCst);
            assert!(watcher.join().unwrap() > 0);
        });
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.sock");
        let first = listen(&path).unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok(), "the first still listens");
        drop(first);
        let _second = listen(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn another_file_in_its_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
