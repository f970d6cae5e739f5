//! `make demo`: the main job, then four things that a host does and what stops it.
//!
//! Every line that begins with `$` is a command that a person could type; what follows is what it printed.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    time::Instant,
};

use casemate_api::launch::LaunchBundle;
use casemate_tests::{
    hostile::{self, Ending, HostileHost},
    machine::Machine,
    page,
};
use serde_json::{Value, json};

const NAME: &str = "notes";
const NOTE: &str = "written through the page";

fn main() {
    let began = Instant::now();
    let machine = Machine::new();
    machine.example("notes");

    title("A compose app in an attested confidential VM");
    shown(&machine, &["up", "notes", "--publish", "web=0"]);
    shown(&machine, &["verify", NAME]);

    title("It keeps what it is told");
    let before = port(&machine);
    let answer = page::ask(before, "POST", "/notes", &format!("text={}", NOTE.replace(' ', "+")));
    expect(answer.is_ok_and(|answer| answer.contains(" 303 ")), "the page takes a note");
    println!("wrote      \"{NOTE}\" through http://127.0.0.1:{before}/");
    shown(&machine, &["stop", NAME]);
    shown(&machine, &["start", NAME]);
    let after = port(&machine);
    expect(page::get(after, "/").contains(NOTE), "the note is still there after a restart");
    println!("read back  \"{NOTE}\" from http://127.0.0.1:{after}/");
    shown(&machine, &["stop", NAME]);

    title("Four things that the machine's owner might do");
    let host = HostileHost::of(&machine);
    let vm = vm(&machine)["id"].as_str().expect("a VM has an id").to_owned();
    let mut spec = host.spec(&vm);
    spec["image"] = hostile::boot_files(&host);

    refused(
        "boots a changed initrd under the old hash table",
        "firmware_halted",
        "the firmware stands still",
        || {
            let qemu = hostile::qemu_with_other_initrd(machine.scratch(), &hostile::changed_initrd());
            let other = HostileHost::with_qemu(&machine, "other", &qemu);
            let mut spec = spec.clone();
            for digest in hostile::disks(&spec) {
                other.put(&fs::read(host.blob(&digest)).expect("the host has it"));
            }
            spec["image"] = hostile::boot_files(&other);
            let ending = other.run("old-table", spec);
            other.discard("old-table");
            ending
        },
    );
    refused("makes the hash table anew for it", "keys_denied", "the seat denies the key", || {
        let mut spec = spec.clone();
        spec["image"]["blobs"]["initrd"] = json!(host.put(&hostile::changed_initrd()));
        run(&host, "new-table", spec)
    });
    refused("changes one letter of the manifest", "keys_denied", "the seat denies the key", || {
        let mut spec = spec.clone();
        let launch = hostile::changed_launch(&host, &spec);
        let bundle = LaunchBundle::from_disk(&launch).expect("it is well formed");
        spec["workload_digest"] = json!(casemate_crypto::hash::sha256(&bundle.manifest).to_string());
        spec["launch"] = json!(host.put(&launch));
        run(&host, "manifest", spec)
    });
    refused("swaps the header of the encrypted disk", "volume_refused", "the guest refuses the disk", || {
        let file = OpenOptions::new().write(true).open(host.data_disk(&vm)).expect("the host owns the disk");
        file.write_all_at(&[0x55; 4096], hostile::HEADER_AT).expect("the host owns the disk");
        host.restart(&vm)
    });

    title("What was proved");
    println!(
        "The guest that got the key measured as the image says, ran the compose file that its owner signed, and"
    );
    println!(
        "kept its data through a restart; each change was refused, by the firmware, by the seat or by the guest."
    );
    println!(
        "The TEE was SIMULATED: its root key was made on this machine, so nothing here was hidden from the host."
    );
    println!("({} s)", began.elapsed().as_secs());
}

fn title(text: &str) {
    println!("\n== {text}\n");
}

/// Runs a command as a person would, in front of them.
fn shown(machine: &Machine, arguments: &[&str]) {
    println!("$ casemate {}", arguments.join(" "));
    let status = machine.command(arguments).status().expect("casemate can be started");
    expect(status.success(), "the command succeeds");
    println!();
}

fn refused(what: &str, expected: &str, meaning: &str, attack: impl FnOnce() -> Ending) {
    let began = Instant::now();
    let ending = attack();
    println!("The host {what}:");
    let reason = ending.said.split(" [").next().unwrap_or_default();
    println!("  REFUSED  {meaning} ({})  {:.1} s", ending.code, began.elapsed().as_secs_f32());
    println!("           {reason}\n");
    expect(
        ending.code == expected,
        &format!("refused as {expected}, found {}: {}", ending.code, ending.said),
    );
}

fn run(host: &HostileHost, id: &str, spec: Value) -> Ending {
    let ending = host.run(id, spec);
    host.discard(id);
    ending
}

fn vm(machine: &Machine) -> Value {
    machine.casemate(["--json", "ps"]).success().json()[0].take()
}

fn port(machine: &Machine) -> u16 {
    let vm = vm(machine);
    vm["ports"][0]["host_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port was chosen")
}

fn expect(holds: bool, what: &str) {
    if !holds {
        eprintln!("make demo: expected that {what}; it did not hold");
        std::process::exit(1);
    }
}
