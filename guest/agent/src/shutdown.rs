//! How does the guest end?

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use casemate_api::handover::DATA;
use casemate_guest_sys::device_mapper::DeviceMapper;
use casemate_guest_sys::{mount, power};

/// Unmounts the data volume, closes its mapping, which forgets the key, and switches off.
///
/// Whatever fails, the power goes off: the volume's journal and its last committed stamp are what the
/// next boot finds.
pub fn power_off() -> ! {
    let mapping = mapping_of(DATA);
    let deadline = Instant::now() + PATIENCE;
    while mount::unmount(DATA).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    nix::unistd::sync();
    if let Some(name) = mapping {
        let _ = DeviceMapper::open().and_then(|mapper| mapper.remove(&name));
    }
    // The relay's thread writes the last notice.
    std::thread::sleep(LAST_WORDS);
    let _ = power::off();
    panic!("the kernel refused to switch off; PID 1 ends, which stops the machine");
}

/// Name of the device mapping that is mounted at `target`.
fn mapping_of(target: &str) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let source = mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ');
        let source = fields.next()?;
        (fields.next()? == target).then_some(source)
    })?;
    let node = fs::canonicalize(source).ok()?;
    let name = fs::read_to_string(Path::new("/sys/block").join(node.file_name()?).join("dm/name")).ok()?;
    Some(name.trim_end().to_owned())
}

const PATIENCE: Duration = Duration::from_secs(3);
const LAST_WORDS: Duration = Duration::from_millis(150);
