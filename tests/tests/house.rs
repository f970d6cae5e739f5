//! Does the house still stand as ARCHITECTURE.md says?

use casemate_tests::house::{Room, crates};

#[test]
fn every_crate_stands_in_a_room() {
    for (name, krate) in crates() {
        assert!(Room::of(&krate.folder).is_some(), "{name} lies in {}, which is no room", krate.folder);
    }
}

#[test]
fn rooms_use_only_what_they_may() {
    let all = crates();
    let mut wrong = Vec::new();
    for (name, krate) in &all {
        let room = Room::of(&krate.folder).expect("checked above");
        for used in &krate.uses {
            let other = &all[used];
            let other_room = Room::of(&other.folder).expect("checked above");
            if !room.may_use(&krate.folder, other_room, &other.folder) {
                wrong.push(format!("{name} ({}) uses {used} ({})", krate.folder, other.folder));
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden dependencies:\n{}", wrong.join("\n"));
}

#[test]
fn the_rule_itself_refuses() {
    assert!(!Room::Core.may_use("core/verify", Room::Link, "link/endorse"));
    assert!(!Room::Guest.may_use("guest/init", Room::Host, "host/hostd"));
    assert!(!Room::Guest.may_use("guest/init", Room::Guest, "guest/agent"));
    assert!(!Room::Host.may_use("host/hostd", Room::Control, "control/kms"));
    assert!(!Room::Control.may_use("control/kms", Room::Control, "control/validator"));
    assert!(!Room::Client.may_use("client/cli", Room::Control, "control/validator"));
}

#[test]
fn names_repeat_the_folder() {
    for (name, krate) in crates() {
        let last = krate.folder.rsplit('/').next().expect("a folder has a name");
        let expected = match krate.folder.as_str() {
            "xtask" => "xtask".to_owned(),
            // These two belong to a room or a crate of their own and say so.
            "guest/sys" => "casemate-guest-sys".to_owned(),
            "host/simtee/device" => "casemate-simtee-device".to_owned(),
            _ => format!("casemate-{last}"),
        };
        assert_eq!(name, expected, "the crate in {}", krate.folder);
    }
}

#[test]
fn core_is_pure() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
        "SystemTime",
        "Instant::now",
        "tokio",
        "async fn",
        "getrandom::fill",
        "OsRng",
    ];
    let core = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../core");
    let mut wrong = Vec::new();
    for (path, text) in sources(&core) {
        // Tests inside a module may read vectors and draw random numbers.
        let code = text.split("#[cfg(test)]").next().expect("split yields at least one part");
        for word in forbidden {
            if code.lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//")) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "core must not do I/O, read a clock or draw randomness:\n{}", wrong.join("\n"));
}

/// Rust sources below `folder`, without tests, examples and benches.
fn sources(folder: &std::path::Path) -> Vec<(std::path::PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the workspace is readable") {
            let path = entry.expect("an entry of the workspace is readable").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if !["tests", "examples", "benches", "target"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
                found.push((path, text));
            }
        }
    }
    found
}
