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
fn every_promise_names_a_test_that_exists() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(workspace.join("SPECIFICATION.md")).expect("it is there");
    let crates = crates();
    let mut wrong = Vec::new();
    let mut named = 0;
    // `crate::file test`, anywhere between backticks.
    for words in text.split('`').skip(1).step_by(2) {
        let Some((place, test)) = words.split_once(' ') else { continue };
        let Some((owner, file)) = place.split_once("::") else { continue };
        let plain = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        };
        if !plain(file) || !plain(test) {
            continue;
        }
        named += 1;
        let folder = match owner {
            "attacks" => workspace.join("tests/attacks"),
            _ => match crates.get(&format!("casemate-{owner}")) {
                Some(krate) => workspace.join(&krate.folder),
                None => {
                    wrong.push(format!("{words}: no crate casemate-{owner}"));
                    continue;
                }
            },
        };
        let declared = format!("fn {test}(");
        let found = rust_files(&folder).into_iter().any(|path| {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            // Tests of `file` may stand in `file.rs` or in any file of the folder `file`.
            let parent =
                path.parent().and_then(|parent| parent.file_name()).unwrap_or_default().to_string_lossy();
            let is_file = stem == file || parent == file;
            is_file && std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&declared))
        });
        if !found {
            wrong.push(format!("{words}: no such test"));
        }
    }
    assert!(named > 100, "only {named} tests are named");
    assert!(wrong.is_empty(), "SPECIFICATION.md names tests that are not there:\n{}", wrong.join("\n"));
}

/// Every Rust file below `folder`.
fn rust_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
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
