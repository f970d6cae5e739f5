//! Which virtio-serial port is which?

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// The port that the host named `name`, as `/dev/vportNpM`.
///
/// Ports are host data and authenticate nothing.
///
/// # Errors
/// [`Error::NoPort`].
pub fn with_name(name: &str) -> Result<PathBuf, Error> {
    with_name_in(Path::new("/sys/class/virtio-ports"), name)
}

fn with_name_in(class: &Path, name: &str) -> Result<PathBuf, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(class).into_iter().flatten().filter_map(Result::ok) {
        let Ok(entry_name) = fs::read_to_string(entry.path().join("name")) else { continue };
        let entry_name = entry_name.trim_end_matches('\n').to_owned();
        if entry_name == name {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
        found.push(entry_name);
    }
    found.sort();
    Err(Error::NoPort { name: name.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_its_whole_name() {
        let folder = std::env::temp_dir().join(format!("casemate-ports-{}", std::process::id()));
        for (port, name) in [("vport1p1", "casemate.tee\n"), ("vport1p2", "casemate.relay\n")] {
            fs::create_dir_all(folder.join(port)).unwrap();
            fs::write(folder.join(port).join("name"), name).unwrap();
        }
        assert_eq!(with_name_in(&folder, "casemate.relay").unwrap(), Path::new("/dev/vport1p2"));
        assert!(matches!(with_name_in(&folder, "casemate"), Err(Error::NoPort { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
