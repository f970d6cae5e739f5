//! Real guests, as far as a daemon's tests need them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use casemate_measure::image::ImageDescription;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::{Daemon, spec};

/// A kernel that panics and then stands still, so that the VM stays.
pub const STAYS: &str = "console=ttyS0 panic=0";

/// Defines a VM that boots the image's kernel with nothing behind it, after `change`; false where there is none to
/// test with.
pub async fn define(daemon: &Daemon, id: &str, command_line: &str, change: impl FnOnce(&mut Value)) -> bool {
    let Some((firmware, kernel)) = boot_files() else { return false };
    let firmware = daemon.put(std::fs::read(firmware).unwrap()).await;
    let kernel = daemon.put(std::fs::read(kernel).unwrap()).await;
    let initrd = daemon.put(vec![0; 4096]).await;
    let mut spec = spec(id, [&firmware, &kernel, &initrd, &initrd], command_line);
    change(&mut spec);
    let (status, answer) = daemon.json(Method::POST, "/v1/vms", &spec).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    true
}

/// Firmware and kernel to test with; says so where there are none.
fn boot_files() -> Option<(PathBuf, PathBuf)> {
    let told = |variable| std::env::var_os(variable).map(PathBuf::from);
    if let (Some(firmware), Some(kernel)) = (told("CASEMATE_TEST_FIRMWARE"), told("CASEMATE_TEST_KERNEL")) {
        return Some((firmware, kernel));
    }
    let (folder, image) = image()?;
    Some((folder.join(image.files.firmware.name), folder.join(image.files.kernel.name)))
}

/// The built guest image to test with; says so where there is none.
pub fn image() -> Option<(PathBuf, ImageDescription)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("CASEMATE_IMAGE").map_or(workspace.join("target/image"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join("image.toml")) else {
        assert!(std::env::var_os("CI").is_none(), "CASEMATE_IMAGE must name a built image in CI");
        eprintln!("skipped: {} is no built guest image; name one by CASEMATE_IMAGE", folder.display());
        return None;
    };
    Some((folder.canonicalize().unwrap(), ImageDescription::parse(&text).unwrap()))
}

/// Stands in for casemate-simtee, which measures and signs what is not asked for here.
pub fn stand_in_tee(folder: &Path) -> String {
    let script = "#!/bin/sh\nexec python3 -c '\nimport socket, sys, time\n\
        s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[sys.argv.index(\"--socket\") + 1]); s.listen()\n\
        print(chr(123) + chr(34) + \"ready\" + chr(34) + \":true\" + chr(125), flush=True); time.sleep(600)' \"$@\"\n";
    program(folder, "tee.sh", script)
}

pub fn program(folder: &Path, name: &str, script: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// How many processes run for VMs of the daemon with this state.
pub fn processes_of(folder: &Path) -> usize {
    casemate_hostd::processes::with_argument(&folder.join("vms").display().to_string()).len()
}
