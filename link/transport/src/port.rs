//! Where is the virtio-serial port of this name?

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

/// Name of the port on which a guest and its host talk in frames.
pub const RELAY: &str = "casemate.relay";

/// Name of the port on which a simulated guest asks for reports.
pub const TEE: &str = "casemate.tee";

/// Why there is no such port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The kernel lists no port of this name.
    #[error("no virtio-serial port is named {name:?}; was the VM started by casemate-hostd?")]
    Absent {
        /// The name looked for.
        name: &'static str,
    },
    /// The kernel's list cannot be read.
    #[error("cannot read /sys/class/virtio-ports: {0}; is sysfs mounted?")]
    Unreadable(#[source] io::Error),
}

/// The device of the port that the host named `name`, such as `/dev/vport1p2`.
///
/// # Errors
/// [`PortError::Absent`], [`PortError::Unreadable`].
pub fn find(name: &'static str) -> Result<PathBuf, PortError> {
    find_in(Path::new("/sys/class/virtio-ports"), Path::new("/dev"), name)
}

/// Like [`find`], for at most `patience`: the kernel announces ports a moment after the device.
///
/// # Errors
/// As [`find`], after `patience`.
pub fn wait_for(name: &'static str, patience: Duration) -> Result<PathBuf, PortError> {
    let deadline = Instant::now() + patience;
    loop {
        match find(name) {
            Ok(path) if path.exists() => return Ok(path),
            Ok(_) | Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Ok(_) => return Err(PortError::Absent { name }),
            Err(error) => return Err(error),
        }
    }
}

fn find_in(ports: &Path, devices: &Path, name: &'static str) -> Result<PathBuf, PortError> {
    let entries = match fs::read_dir(ports) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PortError::Absent { name }),
        Err(error) => return Err(PortError::Unreadable(error)),
    };
    for entry in entries {
        let entry = entry.map_err(PortError::Unreadable)?;
        // A port that was just removed has no name any more.
        let Ok(found) = fs::read_to_string(entry.path().join("name")) else { continue };
        if found.trim_end_matches('\n') == name {
            return Ok(devices.join(entry.file_name()));
        }
    }
    Err(PortError::Absent { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_port_by_its_name() {
        let ports = tempfile::tempdir().unwrap();
        for (device, name) in [("vport0p1", "casemate.tee\n"), ("vport0p2", "casemate.relay\n")] {
            fs::create_dir(ports.path().join(device)).unwrap();
            fs::write(ports.path().join(device).join("name"), name).unwrap();
        }
        let found = find_in(ports.path(), Path::new("/dev"), RELAY).unwrap();
        assert_eq!(found, Path::new("/dev/vport0p2"));
    }

    #[test]
    fn a_longer_name_is_another_port() {
        let ports = tempfile::tempdir().unwrap();
        fs::create_dir(ports.path().join("vport0p1")).unwrap();
        fs::write(ports.path().join("vport0p1/name"), "casemate.relay2\n").unwrap();
        assert!(matches!(
            find_in(ports.path(), Path::new("/dev"), RELAY),
            Err(PortError::Absent { name: "casemate.relay" })
        ));
    }

    #[test]
    fn no_list_is_no_port() {
        assert!(matches!(
            find_in(Path::new("/nonexistent"), Path::new("/dev"), TEE),
            Err(PortError::Absent { name: "casemate.tee" })
        ));
    }
}
