//! How does a filesystem get to its place, or away from it?

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::Error;

/// A filesystem about to be mounted: never with devices or set-user-id programs unless asked for.
#[derive(Debug, Clone)]
pub struct Mount {
    kind: &'static str,
    source: PathBuf,
    target: PathBuf,
    flags: MsFlags,
    options: String,
}

impl Mount {
    /// A filesystem of `kind` from `source` at `target`; `nosuid` and `nodev`, read-write.
    pub fn new(kind: &'static str, source: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        Mount {
            kind,
            source: source.as_ref().into(),
            target: target.as_ref().into(),
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            options: String::new(),
        }
    }

    /// Nothing can be written.
    pub fn read_only(mut self) -> Self {
        self.flags |= MsFlags::MS_RDONLY;
        self
    }

    /// No program can be executed from it.
    pub fn no_exec(mut self) -> Self {
        self.flags |= MsFlags::MS_NOEXEC;
        self
    }

    /// Device files work: only for the filesystem that `/dev` is.
    pub fn with_devices(mut self) -> Self {
        self.flags -= MsFlags::MS_NODEV;
        self
    }

    /// Set-user-id programs work.
    pub fn with_set_user_id(mut self) -> Self {
        self.flags -= MsFlags::MS_NOSUID;
        self
    }

    /// Options in the filesystem's own words, separated by commas.
    pub fn options(mut self, options: impl Into<String>) -> Self {
        self.options = options.into();
        self
    }

    /// Mounts it.
    ///
    /// # Errors
    /// [`Error::Call`] with the target as its subject.
    pub fn mount(&self) -> Result<(), Error> {
        mount(Some(&self.source), &self.target, Some(self.kind), self.flags, Some(self.options.as_str()))
            .map_err(|errno| Error::call("mount", &self.target)(errno.into()))
    }
}

/// Shows the tree at `source` at `target` as well.
///
/// # Errors
/// [`Error::Call`] with the target as its subject.
pub fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), Error> {
    flagged("mount --bind", source.as_ref(), target.as_ref(), MsFlags::MS_BIND | MsFlags::MS_REC)
}

/// Moves the mount at `source` to `target`.
///
/// # Errors
/// [`Error::Call`] with the target as its subject.
pub fn move_to(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), Error> {
    flagged("mount --move", source.as_ref(), target.as_ref(), MsFlags::MS_MOVE)
}

/// Unmounts `target`.
///
/// # Errors
/// [`Error::Call`]: `EBUSY` while something is open there.
pub fn unmount(target: impl AsRef<Path>) -> Result<(), Error> {
    umount2(target.as_ref(), MntFlags::UMOUNT_NOFOLLOW)
        .map_err(|errno| Error::call("umount", target.as_ref())(errno.into()))
}

/// Makes the filesystem mounted at `new_root` this process's root, on top of the initramfs.
///
/// The caller has moved `/proc`, `/sys`, `/dev` and `/run` into it before. What is still open in the
/// old root stays open.
///
/// # Errors
/// [`Error::Call`]; after an error the process may stand in either root and should power off.
pub fn switch_root(new_root: impl AsRef<Path>) -> Result<(), Error> {
    let new_root = new_root.as_ref();
    std::env::set_current_dir(new_root).map_err(Error::call("chdir", new_root))?;
    // The initramfs is the root of the mount namespace and cannot be left by pivot_root(2), so the new
    // root is moved over it (Documentation/filesystems/ramfs-rootfs-initramfs.rst, switch_root).
    flagged("mount --move", Path::new("."), Path::new("/"), MsFlags::MS_MOVE)?;
    nix::unistd::chroot(".").map_err(|errno| Error::call("chroot", new_root)(errno.into()))?;
    std::env::set_current_dir("/").map_err(Error::call("chdir", "/"))
}

fn flagged(call: &'static str, source: &Path, target: &Path, flags: MsFlags) -> Result<(), Error> {
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .map_err(|errno| Error::call(call, target)(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_target_is_named() {
        let error = Mount::new("tmpfs", "none", "/nonexistent/target").mount().unwrap_err();
        assert!(error.to_string().starts_with("mount /nonexistent/target: "), "{error}");
    }

    #[test]
    fn nothing_is_unmounted_where_nothing_is_mounted() {
        let error = unmount("/nonexistent/target").unwrap_err();
        assert!(matches!(error.errno(), Some(libc::ENOENT | libc::EPERM)), "{error}");
    }
}
