//! What must happen before the real init finds a device?

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sys;

/// Prepares the device and becomes `/casemate-init`; returns only if that fails.
///
/// What goes wrong before is said and not fatal: the real init finds no device, and says so to the host.
pub(crate) fn run() -> io::Error {
    for (kind, target) in [(c"proc", c"/proc"), (c"sysfs", c"/sys"), (c"devtmpfs", c"/dev")] {
        if let Err(error) = sys::mount(kind, target)
            && error.raw_os_error() != Some(libc::EBUSY)
        {
            complain("mount", Path::new(&*target.to_string_lossy()), &error);
        }
    }
    insert_modules(Path::new("/sim"));
    // `/init` is this very file; the copy that serves outlives the change of root.
    match Command::new("/init").arg("serve").stdin(Stdio::null()).process_group(0).spawn() {
        Ok(_) => wait_for(Path::new(DEVICE), Duration::from_secs(60)),
        Err(error) => complain("start", Path::new("/init"), &error),
    }
    Command::new("/casemate-init").args(std::env::args_os().skip(1)).exec()
}

/// Inserts every module of `folder`, in the order of their names.
fn insert_modules(folder: &Path) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return complain("read", folder, &error),
    };
    let mut modules: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    modules.sort();
    for path in modules {
        let name = path.to_string_lossy();
        let compressed = name.ends_with(".ko.xz") || name.ends_with(".ko.zst");
        if !compressed && !name.ends_with(".ko") {
            continue;
        }
        match File::open(&path).and_then(|module| sys::insert_module(&module, compressed)) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => complain("insert", &path, &error),
            _ => {}
        }
    }
}

fn wait_for(path: &Path, limit: Duration) {
    let start = Instant::now();
    while !path.exists() {
        if start.elapsed() > limit {
            return complain("find", path, &io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn complain(action: &str, path: &Path, error: &io::Error) {
    eprintln!("casemate-simtee-device: cannot {action} {}: {error}", path.display());
}

const DEVICE: &str = "/dev/sev-guest";
