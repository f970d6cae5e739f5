//! Are guest programs the same bytes wherever they are compiled?
//!
//! One program stands for all: they share flags, profile and compiler. All three, by hand:
//! `docs/how-to/build-the-image.md`.

use std::{fs, path::Path, process::Command};

use casemate_image::build_program;

#[test]
fn two_folders_give_the_same_program() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("another/place");
    fs::create_dir_all(&copy).unwrap();
    let status = Command::new("tar")
        .args(["--exclude=./target", "--exclude=./.git", "-cf", "-", "."])
        .current_dir(&workspace)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut packed| {
            let stdout = packed.stdout.take().expect("it is piped");
            let status = Command::new("tar").args(["-xf", "-"]).current_dir(&copy).stdin(stdout).status();
            packed.wait()?;
            status
        })
        .unwrap();
    assert!(status.success());

    let program = "casemate-simtee-device";
    let one = build_program(&workspace, &folder.path().join("one"), program).unwrap();
    let two = build_program(&copy, &folder.path().join("two"), program).unwrap();
    let (one, two) = (fs::read(one).unwrap(), fs::read(two).unwrap());
    assert!(one == two, "{program} differs between two folders");
    let place = folder.path().to_str().unwrap().as_bytes();
    assert!(!one.windows(place.len()).any(|window| window == place), "{program} names its folder");
}
