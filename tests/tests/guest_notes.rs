//! The main job, whole: a compose app in an attested guest, verified, restarted with its data, erased for
//! good; and what the host sees of it.

use std::{fs, path::Path, time::Duration};

use casemate_tests::{
    hostile::{self, HostileHost},
    machine::{self, Machine, NAME, PASSWORD},
    page, processes,
};
use serde_json::Value;

fn port(up: &Value) -> u16 {
    up["ports"][0]["host_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port was chosen")
}

#[test]
fn guest_of_a_demo_is_verified_and_nothing_of_it_stays() {
    let machine = Machine::new();
    let app = machine.example("hello").display().to_string();
    let mut command = machine.command(&["demo", &app]);
    command.env("TMPDIR", machine.scratch());
    let shown = machine::limited(command, Duration::from_secs(420)).success();
    assert!(shown.stdout.contains("demo is what you deployed"), "{}", shown.stdout);
    assert!(shown.stdout.contains("VERIFIED (simulated root)"), "{}", shown.stdout);
    assert!(shown.stderr.contains(" answers 200 OK, "), "{}", shown.stderr);
    let left: Vec<_> = fs::read_dir(machine.scratch()).expect("it is our folder").flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "hello" || entry.file_name() == "home"), "{left:?}");
    let processes = processes::naming(&machine.scratch().join("casemate-").display().to_string());
    assert!(processes.is_empty(), "{processes:?}");
}

#[test]
fn guest_keeps_its_notes_until_they_are_erased() {
    let machine = Machine::new();
    let folder = machine.example("notes");

    // Up: verified before it is called up.
    let up = machine.up(&folder);
    assert_eq!(up["simulated"], true);
    assert!(up["checks_passed"].as_u64().is_some_and(|checks| checks > 10), "{up}");
    let page = page::get(port(&up), "/");
    assert!(page.contains("<h1>Notes</h1>"), "{page}");
    let kept = page::ask(port(&up), "POST", "/notes", "text=kept+over+a+restart").expect("the page answers");
    assert!(kept.contains(" 303 "), "{kept}");
    assert!(page::get(port(&up), "/").contains("kept over a restart"));

    // The launch measurement that verify found is the one computed from the image.
    let verdict = machine.casemate(["--json", "verify", NAME]).success().json();
    let image = machine::image().display().to_string();
    let measure = ["--json", "image", "measure", &image, "--simulated", "--vcpus", "2"];
    let computed = machine.casemate(measure).success().json();
    let measured = computed["measurement"].as_str().expect("a measurement").to_owned();
    assert_eq!(up["measurement"], measured.as_str());
    assert!(verdict.to_string().contains(&measured), "{verdict}");

    // What a host can read holds neither the password nor any note.
    for secret in [PASSWORD, "kept over a restart", "kept+over+a+restart"] {
        let found = holders(&machine.home().join("local"), secret);
        assert!(found.is_empty(), "{secret:?} stands in {found:?}");
    }

    // Stop and start: the same instance, the same notes, no secrets sent again.
    machine.casemate(["stop", NAME]).success();
    machine.casemate(["start", NAME]).success();
    let again = machine.casemate(["--json", "ps"]).success().json();
    let port =
        again[0]["ports"][0]["host_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    assert!(page::get(port, "/").contains("kept over a restart"));

    // Down with its volumes: whoever kept everything that the host had is refused for good.
    let host = HostileHost::of(&machine);
    let vm = up["vm"].as_str().expect("an id");
    let spec = host.spec(vm);
    let kept = hostile::disks(&spec)
        .iter()
        .map(|digest| fs::read(host.blob(digest)).expect("kept"))
        .collect::<Vec<_>>();
    machine.casemate(["down", NAME, "--volumes"]).success();
    assert!(!host.data_disk(vm).exists(), "the disk is gone");
    for bytes in &kept {
        host.put(bytes);
    }
    let ending = host.run("again", spec);
    assert_eq!(ending.code, "keys_denied", "{}", ending.said);
    assert!(ending.said.contains("erased"), "{}", ending.said);
}

/// Files below `folder` that hold `text`.
fn holders(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).unwrap_or_default();
                if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    found
}
