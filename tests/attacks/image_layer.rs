//! A container image that the host changed, before the boot and while it runs.
//!
//! Attack (issue: altered image layer, also swapped while it runs; peers C2: 26): image disks are the host's
//! files. Expected: no changed byte ever reaches the workload, dm-verity answers `EIO`; the guest ends with
//! `image_refused`, at the mount, at the first program, or within a second of the first changed block that a
//! running service reads.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use casemate_tests::{
    findings::Findings,
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
    let mut contents = good;
    let program = contents.chunks(BLOCK).position(|block| block.starts_with(b"\x7fELF"));
    let program = program.expect("the image holds a program");
    contents.chunks_mut(BLOCK).skip(program).take(64).for_each(|block| block[7] ^= 1);
    let attacks = [
        ("an image with another superblock", superblock, "upload the image named in compose.lock again"),
        ("an image whose files have other contents", contents, "is not the one that the manifest names"),
    ];
    for (number, (attack, image, because)) in attacks.iter().enumerate() {
        let mut spec = target.spec.clone();
        spec["image_disks"][0]["blob"] = json!(target.host.put(image));
        // A service counts as started before its program is read.
        let ending = target.run_to_its_end(&format!("layer-{number}"), spec);
        findings.ending(attack, &ending, "image_refused", because);
    }
}

/// `vm` runs.
pub(crate) fn attack_while_it_runs(target: &Target, vm: &str, findings: &mut Findings) {
    let digest = target.spec["image_disks"][0]["blob"].as_str().expect("one image").to_owned();
    let path = target.host.blob(&digest);
    let good = fs::read(&path).expect("the host has it");
    let file = File::options().write(true).open(&path).expect("it is the host's own file");
    for at in (0..good.len()).step_by(BLOCK) {
        file.write_all_at(&[good[at] ^ 1], at as u64).expect("it is the host's own file");
    }
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
