//! What does QEMU tell the firmware about memory?
//!
//! The hand-off block list: which memory is ready and which must be accepted. Its digest is the first that
//! RTMR 0 holds, so RTMR 0 depends on the size of memory. Sources: UEFI PI 1.8 volume 3, §5 (HOB
//! structures); QEMU, hw/i386/tdvf-hob.c. Digests of recorded hardware logs are reproduced
//! (`tests/tdx_vectors.rs`).

use casemate_crypto::hash::{Sha384, sha384};

use super::firmware::TdxFirmware;

/// Digest of the list that QEMU writes for a Q35 machine with this much memory; `None` if the firmware has
/// no place for it.
pub fn digest(firmware: &TdxFirmware, memory_mib: u32) -> Option<Sha384> {
    let address = firmware.hand_off_address()?;
    Some(sha384(&list(address, &firmware.ready_memory(), memory_mib)))
}

/// The list up to its end mark, which is not measured. `ready` are ranges by address and size.
pub fn list(address: u64, ready: &[(u64, u64)], memory_mib: u32) -> Vec<u8> {
    let mut resources = Vec::new();
    for (start, size) in ram(u64::from(memory_mib) << 20) {
        let mut sorted: Vec<_> =
            ready.iter().filter(|(at, length)| *at >= start && at + length <= start + size).collect();
        sorted.sort_unstable();
        let mut at = start;
        for (ready_start, ready_size) in sorted {
            if *ready_start > at {
                resources.push((UNACCEPTED, at, ready_start - at));
            }
            resources.push((SYSTEM, *ready_start, *ready_size));
            at = ready_start + ready_size;
        }
        if at < start + size {
            resources.push((UNACCEPTED, at, start + size - at));
        }
    }
    let length = HAND_OFF + RESOURCE * resources.len();
    let end_of_list = address + (length + END) as u64;
    let mut bytes = Vec::with_capacity(length);
    header(&mut bytes, 1, HAND_OFF);
    bytes.extend(9u32.to_le_bytes()); // version
    bytes.extend([0; 4 + 4 * 8]); // boot mode, memory and free memory
    bytes.extend(end_of_list.to_le_bytes());
    for (kind, start, size) in resources {
        header(&mut bytes, 3, RESOURCE);
        bytes.extend([0; 16]); // owner
        bytes.extend((kind as u32).to_le_bytes());
        bytes.extend(7u32.to_le_bytes()); // present, initialised, tested
        bytes.extend(start.to_le_bytes());
        bytes.extend(size.to_le_bytes());
    }
    bytes
}

/// Memory below and above 4 GiB: a Q35 machine keeps the upper half free from 2816 MiB on
/// (QEMU, hw/i386/pc_q35.c).
fn ram(bytes: u64) -> Vec<(u64, u64)> {
    const LOW: u64 = 0x8000_0000;
    const SPLIT: u64 = 0xB000_0000;
    if bytes < SPLIT { vec![(0, bytes)] } else { vec![(0, LOW), (1 << 32, bytes - LOW)] }
}

fn header(bytes: &mut Vec<u8>, kind: u16, length: usize) {
    bytes.extend(kind.to_le_bytes());
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend([0; 4]);
}

const SYSTEM: u64 = 0;
const UNACCEPTED: u64 = 7;
const HAND_OFF: usize = 56;
const RESOURCE: usize = 48;
const END: usize = 8;
