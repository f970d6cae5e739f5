//! A container image, or the guest's root, that the host changed, before the boot and while it runs.
//!
//! Attack (issue: altered image layer, also swapped while it runs; peers C2: 26): image disks and root are the
//! host's files. Expected: no changed byte ever reaches the workload, dm-verity answers `EIO`; the guest ends with
//! `image_refused`, at the mount, before the first program is said to work, or within a second of the first
//! changed block that a running service reads; with `root_refused` for its root.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};

use casemate_tests::{
    findings::Findings,
    hostile,
    machine::{UNREAD, UNREAD_BYTE, UNREAD_BYTES},
    page,
};
use serde_json::json;

use crate::target::Target;

const BLOCK: usize = 4096;

/// The app was deployed and stopped.
pub(crate) fn attack_before_boot(target: &Target, findings: &mut Findings) {
    let digest = target.spec["image_disks"][0]["blob"].as_str().expect("one image").to_owned();
    let good = fs::read(target.host.blob(&digest)).expect("the host has it");
    let mut superblock = good.clone();
    superblock[1024 + 4] ^= 1;
    // The program that the service runs, from its first block on.
    let mut contents = good.clone();
    let program = contents.chunks(BLOCK).position(|block| block.starts_with(b"\x7fELF"));
    let program = program.expect("the image holds a program");
    contents.chunks_mut(BLOCK).skip(program).take(64).for_each(|block| block[7] ^= 1);
    // Far behind what the kernel reads to begin with it; the program has some 480 blocks.
    let mut later = good;
    later[(program + 300) * BLOCK] ^= 1;
    let attacks = [
        ("an image with another superblock", superblock, "upload the image named in compose.lock again"),
        ("an image whose files have other contents", contents, NOT_NAMED),
        ("an image whose program changes behind its beginning", later, NOT_NAMED),
    ];
    for (number, (attack, image, because)) in attacks.iter().enumerate() {
        let mut spec = target.spec.clone();
        spec["image_disks"][0]["blob"] = json!(target.host.put(image));
        // Never ready before: the program is read first.
        let ending = target.run_on_the_newest_disk(&format!("layer-{number}"), spec);
        findings.ending(attack, &ending, "image_refused", because);
    }
}

const NOT_NAMED: &str = "is not the one that the manifest names";

/// The guest's own root, swapped when the agent has begun and most of it is still to be read.
pub(crate) fn attack_the_root(target: &Target, findings: &mut Findings) {
    let mut spec = target.spec.clone();
    spec["image"] = hostile::boot_files(&target.host);
    // A file of its own: the good one is the other guests'.
    let digest = spec["image"]["blobs"]["root"].as_str().expect("a root").to_owned();
    let path = target.host.blob(&digest);
    let good = fs::read(&path).expect("the host has it");
    target.host.define("root", spec);
    fs::copy(target.disk(), target.host.data_disk("root")).expect("the host owns the disks");
    target.host.call("POST", "/v1/vms/root/start", None);
    target.host.until("root", "switched");
    change_every_block(&path, &good);
    let ending = target.host.end("root");
    findings.ending("a root swapped while it is in use", &ending, "root_refused", "while it was in use");
    fs::copy(target.host.data_disk("root"), target.disk()).expect("the host owns the disks");
    fs::write(&path, good).expect("it is the host's own file");
    target.host.discard("root");
}

/// `vm` runs.
pub(crate) fn attack_while_it_runs(target: &Target, vm: &str, findings: &mut Findings) {
    let digest = target.spec["image_disks"][0]["blob"].as_str().expect("one image").to_owned();
    let path = target.host.blob(&digest);
    let good = fs::read(&path).expect("the host has it");
    change_every_block(&path, &good);
    // Nobody has read this file since the boot, so the guest has no copy of it.
    let answer = page::ask(target.port(vm), "GET", UNREAD, "").unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let changed = body.bytes().any(|byte| byte != UNREAD_BYTE);
    let found = format!("{} bytes, changed: {changed}", body.len());
    findings.holds(
        "a file of a swapped image",
        !changed && body.len() < UNREAD_BYTES,
        "not one changed byte",
        &found,
    );
    let ending = target.host.end(vm);
    findings.ending("an image swapped while it runs", &ending, "image_refused", "while it was in use");
}

fn change_every_block(path: &Path, good: &[u8]) {
    let file = File::options().write(true).open(path).expect("it is the host's own file");
    for at in (0..good.len()).step_by(BLOCK) {
        file.write_all_at(&[good[at] ^ 1], at as u64).expect("it is the host's own file");
    }
}
