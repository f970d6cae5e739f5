//! A hostile host against a guest that was brought up once: each attack is one change, and each has its own
//! refusal. One machine serves them all, for each needs a boot.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
};

use casemate_tests::{
    hostile::{self, HostileHost},
    machine::{Machine, NAME},
};
use serde_json::{Value, json};

/// One attack: its name, what it does to the specification, and the code that it must meet.
type Attack = (&'static str, fn(&HostileHost, &mut Value), &'static str);

const CHANGED_FILES: &[Attack] = &[
    (
        "another initrd, with a hash table made for it",
        |host, spec| spec["image"]["blobs"]["initrd"] = json!(host.put(&hostile::changed_initrd())),
        "keys_denied",
    ),
    (
        "another command line, with a hash table made for it",
        |_, spec| {
            let line = spec["image"]["blobs"]["command_line"].as_str().unwrap().to_owned();
            spec["image"]["blobs"]["command_line"] = json!(line.replacen("quiet", "quiet quiet", 1));
        },
        "keys_denied",
    ),
    (
        "a root image with one other byte",
        |host, spec| {
            let digest = spec["image"]["blobs"]["root"].as_str().unwrap().to_owned();
            let mut root = fs::read(host.blob(&digest)).unwrap();
            root[1024 + 4] ^= 1; // in the superblock, which every mount reads
            spec["image"]["blobs"]["root"] = json!(host.put(&root));
        },
        "root_refused",
    ),
    (
        "another manifest under the digest that the owner authorised",
        |host, spec| spec["launch"] = json!(host.put(&hostile::changed_launch(host, spec))),
        "workload_mismatch",
    ),
    (
        "another manifest under its own digest",
        |host, spec| {
            let launch = hostile::changed_launch(host, spec);
            let bundle = casemate_api::launch::LaunchBundle::from_disk(&launch).unwrap();
            spec["workload_digest"] = json!(casemate_crypto::hash::sha256(&bundle.manifest).to_string());
            spec["launch"] = json!(host.put(&launch));
        },
        "keys_denied",
    ),
];

#[test]
fn guest_refuses_each_change_that_a_host_can_make() {
    let machine = Machine::new();
    let folder = machine.example("notes");
    let up = machine.up(&folder);
    let vm = up["vm"].as_str().expect("an id").to_owned();
    machine.casemate(["stop", NAME]).success();

    let host = HostileHost::of(&machine);
    let mut spec = host.spec(&vm);
    spec["image"] = hostile::boot_files(&host);
    let mut wrong = Vec::new();
    for (number, (name, change, expected)) in CHANGED_FILES.iter().enumerate() {
        let id = format!("attack-{number}");
        let mut changed = spec.clone();
        change(&host, &mut changed);
        let ending = host.run(&id, changed);
        if ending.code != *expected {
            wrong.push(format!("{name}: expected {expected}, found {} ({})", ending.code, ending.said));
        }
        host.discard(&id);
    }

    // The old hash table: the firmware itself halts.
    let qemu = hostile::qemu_with_other_initrd(machine.scratch(), &hostile::changed_initrd());
    let other = HostileHost::with_qemu(&machine, "other", &qemu);
    let mut old_table = spec.clone();
    old_table["image"] = hostile::boot_files(&other);
    for digest in hostile::disks(&spec) {
        other.put(&fs::read(host.blob(&digest)).unwrap());
    }
    let ending = other.run("attack-table", old_table);
    if ending.code != "firmware_halted" {
        wrong.push(format!(
            "old hash table: expected firmware_halted, found {} ({})",
            ending.code, ending.said
        ));
    }
    other.discard("attack-table");

    // The disk of the tenant's own VM, with the host's changes in it.
    let disk = host.data_disk(&vm);
    let good = machine.scratch().join("good.img");
    fs::copy(&disk, &good).unwrap();
    let partition = 1 << 20; // the first partition begins at 1 MiB
    let disk_attacks: &[(&str, fn(&fs::File, u64), &str)] = &[
        ("one byte of the header", |file, _| flip(file, hostile::HEADER_AT + 4096), "volume_refused"),
        ("the stamp's slot", |file, at| flip(file, at + 20), "volume_stale"),
        ("a blank disk", |file, at| file.write_all_at(&vec![0; 4 << 20], at).unwrap(), "volume_stale"),
    ];
    for (name, change, expected) in disk_attacks {
        fs::copy(&good, &disk).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&disk).unwrap();
        change(&file, partition);
        drop(file);
        let ending = host.restart(&vm);
        if ending.code != *expected {
            wrong.push(format!("{name}: expected {expected}, found {} ({})", ending.code, ending.said));
        }
    }

    // Untouched it still opens; then the copy from before that boot is an old disk.
    fs::copy(&good, &disk).unwrap();
    let ending = host.restart(&vm);
    if ending.code != "ready" {
        wrong.push(format!("the good disk: expected ready, found {} ({})", ending.code, ending.said));
    }
    let _ = host.try_call("POST", &format!("/v1/vms/{vm}/stop"), Some(&json!({})));
    fs::copy(&good, &disk).unwrap();
    let ending = host.restart(&vm);
    if ending.code != "volume_stale" {
        wrong.push(format!("an old disk: expected volume_stale, found {} ({})", ending.code, ending.said));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn flip(file: &fs::File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}
