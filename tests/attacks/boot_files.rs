//! Boot files, manifest and compose file that the host changed.
//!
//! Attacks (issue: altered kernel, initrd, command line with old and with recomputed hash tables; root image,
//! manifest, compose file; peers C2: 26, 31): the host hands a real guest other files than those it was launched
//! for. Expected: under the old table the firmware halts (`firmware_halted`); with a table made anew the
//! measurement is another and the seat denies (`keys_denied`, `policy.image.measurements`); a root with another
//! byte is `root_refused`; a manifest that HOST_DATA does not name is `workload_mismatch`, one that it names and
//! the owner did not authorise is `keys_denied`, `caller.workload`, one that its compose file contradicts is
//! `manifest_refused`.

use std::fs;

use casemate_api::launch::LaunchBundle;
use casemate_crypto::hash::sha256;
use casemate_tests::{
    findings::Findings,
    hostile::{self, qemu_with},
    machine::image,
};
use casemate_workload::Manifest;
use serde_json::{Value, json};

use crate::target::Target;

/// One attack: its name, what it does to the specification, and the code and words that it must meet.
type Attack = (&'static str, fn(&Target, &mut Value), &'static str, &'static str);

const ATTACKS: &[Attack] = &[
    (
        "another kernel, with a hash table made for it",
        |target, spec| spec["image"]["blobs"]["kernel"] = json!(target.host.put(&changed("vmlinuz"))),
        "keys_denied",
        "policy.image.measurements",
    ),
    (
        "another initrd, with a hash table made for it",
        |target, spec| {
            spec["image"]["blobs"]["initrd"] = json!(target.host.put(&changed("initrd-simulated")));
        },
        "keys_denied",
        "policy.image.measurements",
    ),
    (
        "another command line, with a hash table made for it",
        |_, spec| {
            let line = spec["image"]["blobs"]["command_line"].as_str().expect("a command line").to_owned();
            spec["image"]["blobs"]["command_line"] = json!(line.replacen("quiet", "quiet quiet", 1));
        },
        "keys_denied",
        "policy.image.measurements",
    ),
    (
        "a root image with one other byte",
        |target, spec| {
            let digest = spec["image"]["blobs"]["root"].as_str().expect("a root").to_owned();
            let mut root = fs::read(target.host.blob(&digest)).expect("the host has it");
            root[1024 + 4] ^= 1; // in the superblock, which every mount reads
            spec["image"]["blobs"]["root"] = json!(target.host.put(&root));
        },
        "root_refused",
        "must be the root.img of this image",
    ),
    (
        "another compose file under the digest that the owner authorised",
        |target, spec| {
            spec["launch"] = json!(target.host.put(&hostile::changed_launch(&target.host, spec)));
        },
        "workload_mismatch",
        "HOST_DATA names",
    ),
    (
        "another compose file under its own digest",
        |target, spec| launch(target, spec, &hostile::changed_launch(&target.host, spec)),
        "keys_denied",
        "caller.workload",
    ),
    (
        "another manifest around the same compose file, under its own digest",
        |target, spec| {
            launch_changed(target, spec, |manifest| manifest.images[0].config.cmd.push("-v".into()))
        },
        "keys_denied",
        "caller.workload",
    ),
    (
        "a manifest that its compose file contradicts",
        |target, spec| launch_changed(target, spec, |manifest| manifest.volumes[0].size_bytes += 1 << 20),
        "manifest_refused",
        "volume",
    ),
];

/// The app was deployed and stopped.
pub(crate) fn attack(target: &Target, findings: &mut Findings) {
    let mut good = target.spec.clone();
    good["image"] = hostile::boot_files(&target.host);
    for (number, (name, change, code, because)) in ATTACKS.iter().enumerate() {
        let id = format!("attack-{number}");
        let mut spec = good.clone();
        change(target, &mut spec);
        let ending = target.host.run(&id, spec);
        findings.ending(name, &ending, code, because);
        target.host.discard(&id);
    }
    under_the_old_table(target, findings);
}

/// The files that the firmware loads are not those of the table in its memory.
fn under_the_old_table(target: &Target, findings: &mut Findings) {
    let scratch = target.machine.scratch();
    let file = |name: &str| {
        let path = scratch.join(format!("changed-{name}"));
        fs::write(&path, changed(name)).expect("scratch is writable");
        path.display().to_string()
    };
    let text = fs::read_to_string(image().join("image.toml")).expect("image.toml");
    let description: toml::Table = text.parse().expect("it is TOML");
    let line = format!("{} quiet", description["cmdline"].as_str().expect("a command line"));
    let files = [
        ("another kernel", "-kernel", file("vmlinuz")),
        ("another initrd", "-initrd", file("initrd-simulated")),
        ("another command line", "-append", line),
    ];
    for (number, (name, option, value)) in files.iter().enumerate() {
        let qemu = qemu_with(scratch, &format!("qemu-{number}"), &[(option, value)], &[]);
        let other = target.other_host(&format!("old-{number}"), &qemu);
        let ending = other.run("old-table", target.spec.clone());
        let attack = format!("{name} under the old hash table");
        findings.ending(&attack, &ending, "firmware_halted", "stands still without a word");
        other.discard("old-table");
    }
}

/// Launches the app's manifest with a change, under its own digest.
fn launch_changed(target: &Target, spec: &mut Value, change: fn(&mut Manifest)) {
    let digest = spec["launch"].as_str().expect("a digest").to_owned();
    let disk = fs::read(target.host.blob(&digest)).expect("the host has it");
    let mut bundle = LaunchBundle::from_disk(&disk).expect("the command line wrote it");
    let (mut manifest, _) = Manifest::parse(&bundle.manifest).expect("the command line wrote it");
    change(&mut manifest);
    bundle.manifest = manifest.to_bytes();
    launch(target, spec, &bundle.to_disk());
}

/// Launches what is on `disk`, under its own digest.
fn launch(target: &Target, spec: &mut Value, disk: &[u8]) {
    let bundle = LaunchBundle::from_disk(disk).expect("it is well formed");
    spec["workload_digest"] = json!(sha256(&bundle.manifest).to_string());
    spec["launch"] = json!(target.host.put(disk));
}

/// A file of the image that boots as before and is not the same: bytes behind its end, which nobody reads.
fn changed(name: &str) -> Vec<u8> {
    let mut bytes = fs::read(image().join(name)).expect("the image is complete");
    bytes.extend_from_slice(&[0; 512]);
    bytes
}
