//! What does the guest need of its kernel before anything else?

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    sync::{Mutex, PoisonError},
};

use casemate_guest_sys::{self as sys, module, mount::Mount};

/// Mounts the kernel's own filesystems and loads the modules of the initramfs.
///
/// The simulation segment runs before init and has mounted some of them: what is mounted stays.
///
/// # Errors
/// [`EnvironmentError`].
pub fn prepare() -> Result<(), EnvironmentError> {
    let wanted = [
        Mount::new("proc", "proc", "/proc").no_exec(),
        Mount::new("sysfs", "sysfs", "/sys").no_exec(),
        Mount::new("devtmpfs", "devtmpfs", "/dev").no_exec().with_devices(),
        Mount::new("tmpfs", "run", "/run").no_exec().options("mode=755,size=64m"),
    ];
    for (mount, target) in wanted.iter().zip(["/proc", "/sys", "/dev", "/run"]) {
        if !is_mount_point(Path::new(target)) {
            fs::create_dir_all(target).map_err(|source| EnvironmentError::Folder { path: target, source })?;
            mount.mount()?;
        }
    }
    module::load_all(Path::new(MODULE_ORDER))?;
    module::load_available(Path::new(MODULE_OPTIONAL))?;
    Ok(())
}

/// The kernel's command line.
///
/// # Errors
/// [`EnvironmentError::Folder`] where `/proc` does not show it.
pub fn command_line() -> Result<String, EnvironmentError> {
    let path = "/proc/cmdline";
    fs::read_to_string(path).map_err(|source| EnvironmentError::Folder { path, source })
}

/// Why the guest has not even what every guest has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// The kernel refused a mount or a module.
    #[error("{0}; the image's kernel and modules must belong together")]
    Kernel(#[from] sys::Error),
    /// A folder or file is missing.
    #[error("{path}: {source}; the image must provide it")]
    Folder {
        /// Its path.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The processor has no entropy of its own.
    #[error(
        "the processor has no working RDSEED or RDRAND, so all randomness would come from the host; use a newer processor"
    )]
    NoEntropy,
    /// The kernel's generator gives nothing.
    #[error("the kernel gives no random bytes")]
    NoRandomness,
}

/// The console. Whatever is written there is public.
#[derive(Debug)]
pub struct Console(Mutex<Option<File>>);

impl Console {
    /// The kernel's console, opened at the first line.
    pub fn new() -> Self {
        Console(Mutex::new(None))
    }

    /// Writes one line with the uptime in front; without a console it is dropped.
    pub fn line(&self, uptime_ms: u64, text: &dyn std::fmt::Display) {
        let mut console = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if console.is_none() {
            *console = OpenOptions::new().write(true).open("/dev/console").ok();
        }
        if let Some(console) = &mut *console {
            let line = format!("casemate-init [{}.{:03}] {text}\n", uptime_ms / 1000, uptime_ms % 1000);
            // A console that takes nothing is the host's doing and harms only the host.
            let _ = console.write_all(line.as_bytes());
        }
    }
}

/// Whether a folder lies on another filesystem than its parent.
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    let parent = path.parent().unwrap_or(path);
    matches!((device(path), device(parent)), (Some(own), Some(parent)) if own != parent)
}

/// Modules that every guest needs.
const MODULE_ORDER: &str = "/lib/modules/order";
/// Modules for devices that not every machine has.
const MODULE_OPTIONAL: &str = "/lib/modules/optional";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_a_mount_point_and_a_folder_is_not() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(&std::env::current_dir().unwrap().join("src")));
        assert!(!is_mount_point(Path::new("/nonexistent")));
    }
}
