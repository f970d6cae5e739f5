//! Is the image the same everywhere, whole, and made of what its lock says?
//!
//! Packages come from the cache of earlier builds or, the first time, from the machine's Debian archive.
//! The guest's programs are stand-ins here; `reproducible.rs` looks at real ones.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use casemate_image::{
    BuildOptions, Error, GuestPrograms, Lock, LockMode, ProgramPaths, Recipe, Silent, build, verify,
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    home.join(".cache/casemate/image")
}

fn recipe() -> Recipe {
    Recipe::read(&workspace().join("image/recipes/lite.toml")).unwrap()
}

/// An ELF header without segments: static, as far as the builder looks.
fn program(folder: &Path, name: &str) -> PathBuf {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16] = 2; // e_type: EXEC
    bytes[18] = 62; // e_machine: x86-64
    bytes[20] = 1; // e_version
    bytes[52] = 64; // e_ehsize
    bytes.extend_from_slice(name.as_bytes());
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn options(folder: &Path, lock: &Path, lock_mode: LockMode) -> BuildOptions {
    let programs = ProgramPaths {
        init: program(folder, "init"),
        agent: program(folder, "agent"),
        simtee_device: program(folder, "device"),
    };
    BuildOptions {
        output: folder.join("image"),
        cache: cache(),
        lock: lock.to_owned(),
        lock_mode,
        programs: GuestPrograms::Ready(programs),
    }
}

/// One image for the tests that only look at it.
fn image() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let lock = workspace().join("image/image.lock");
        build(&recipe(), &options(folder.path(), &lock, LockMode::Advisory), &mut Silent).unwrap();
        folder
    });
    // The guard lives as long as the process, which the static would never drop.
    Path::new(Box::leak(folder.path().join("image").into_boxed_path()))
}

fn copy(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

#[test]
fn a_second_build_elsewhere_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let lock = image().join("image.lock");
    let built = build(&recipe(), &options(folder.path(), &lock, LockMode::Enforced), &mut Silent).unwrap();
    assert!(built.is_locked);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(image()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        assert_eq!(fs::read(&path).unwrap(), fs::read(built.folder.join(&name)).unwrap(), "{name:?}");
        names.insert(name);
    }
    assert_eq!(names.len(), 7, "{names:?}");
}

#[test]
fn a_whole_image_verifies_and_pins_its_root() {
    let description = verify(image()).unwrap();
    assert!(description.cmdline.contains(&format!("casemate.root={}", description.root_hash)));
    assert!(description.files.root.size < 40 << 20, "{} bytes", description.files.root.size);
}

#[test]
fn one_changed_byte_in_any_file_is_found() {
    let folder = copy(image());
    for name in ["firmware.fd", "vmlinuz", "initrd", "initrd-simulated", "root.img", "image.lock"] {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(&path, bad).unwrap();
        match verify(folder.path()) {
            Err(Error::Digest { path: found, .. }) => assert_eq!(found, path),
            other => panic!("{name}: {other:?}"),
        }
        fs::write(&path, good).unwrap();
    }
    verify(folder.path()).unwrap();
}

#[test]
fn a_described_root_hash_must_be_the_real_one() {
    let folder = copy(image());
    let path = folder.path().join("image.toml");
    let text = fs::read_to_string(&path).unwrap();
    let hash = verify(image()).unwrap().root_hash.to_string();
    fs::write(&path, text.replace(&hash, &"ab".repeat(32))).unwrap();
    assert!(matches!(verify(folder.path()), Err(Error::RootHash { .. })));
}

#[test]
fn every_library_is_in_the_root_and_no_shell_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let status = Command::new("fsck.erofs")
        .arg(format!("--extract={}", root.display()))
        .arg(image().join("root.img"))
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());

    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let mut checked = 0;
    for below in ["usr/bin", "usr/sbin", "usr/lib/x86_64-linux-gnu"] {
        for entry in fs::read_dir(root.join(below)).unwrap() {
            let path = entry.unwrap().path();
            let output = Command::new("readelf").arg("-d").arg(&path).output().unwrap();
            for line in
                String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("(NEEDED)"))
            {
                let library = line.split(['[', ']']).nth(1).unwrap();
                let resolved = fs::canonicalize(libraries.join(library));
                assert!(resolved.is_ok_and(|path| path.starts_with(&root)), "{path:?} needs {library}");
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
    assert!(root.join("sbin/casemate-agent").exists());
    for absent in
        ["usr/bin/sh", "usr/bin/perl", "usr/bin/dpkg", "usr/bin/busybox", "etc/ld.so.cache", "usr/share/doc"]
    {
        assert!(!root.join(absent).exists(), "{absent}");
    }
}

#[test]
fn modules_come_after_what_they_depend_on() {
    let archive = fs::read(image().join("initrd")).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&archive[..]), &mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let order: Vec<&str> = text.lines().filter(|line| line.starts_with("/lib/modules/")).collect();
    let position = |name: &str| {
        let path = format!("/lib/modules/{name}.ko");
        order.iter().position(|line| *line == path).unwrap_or_else(|| panic!("{name} in {order:?}"))
    };
    for (first, then) in [
        ("dm-mod", "dm-verity"),
        ("reed_solomon", "dm-verity"),
        ("crc32c-intel", "erofs"),
        ("libcrc32c", "erofs"),
        ("nf_tables", "nft_chain_nat"),
        ("af_alg", "algif_skcipher"),
        ("net_failover", "virtio_net"),
    ] {
        assert!(position(first) < position(then), "{first} before {then}");
    }
}

#[test]
fn a_locked_package_that_is_gone_stops_an_enforced_build() {
    let folder = tempfile::tempdir().unwrap();
    let mut lock = Lock::read(&image().join("image.lock")).unwrap();
    let gone = lock.package.iter_mut().find(|package| package.name == "crun").unwrap();
    gone.version = "0.0.1".into();
    gone.sha256 = [0; 32].into();
    let path = folder.path().join("image.lock");
    fs::write(&path, lock.to_toml()).unwrap();

    let error =
        build(&recipe(), &options(folder.path(), &path, LockMode::Enforced), &mut Silent).unwrap_err();
    let Error::LockDiffers { count: 1, first } = &error else { panic!("{error}") };
    assert_eq!(first.locked.as_ref().unwrap().version, "0.0.1");
    assert!(first.found.is_some());
    assert!(error.to_string().contains("locked crun 0.0.1"), "{error}");

    let built = build(&recipe(), &options(folder.path(), &path, LockMode::Advisory), &mut Silent).unwrap();
    assert!(!built.is_locked);
    assert!(!built.lock.package.iter().any(|package| package.version == "0.0.1"));
}

#[test]
fn a_package_without_lock_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut lock = Lock::read(&image().join("image.lock")).unwrap();
    lock.package.retain(|package| package.name != "nftables");
    let path = folder.path().join("image.lock");
    fs::write(&path, lock.to_toml()).unwrap();
    let error =
        build(&recipe(), &options(folder.path(), &path, LockMode::Advisory), &mut Silent).unwrap_err();
    assert!(matches!(error, Error::NotLocked { name, .. } if &*name == "nftables"));
}

#[test]
fn a_dynamic_guest_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lock = image().join("image.lock");
    let mut options = options(folder.path(), &lock, LockMode::Enforced);
    let GuestPrograms::Ready(programs) = &mut options.programs else { unreachable!("made so above") };
    programs.init = "/bin/sh".into();
    let error = build(&recipe(), &options, &mut Silent).unwrap_err();
    assert!(matches!(error, Error::NotStatic { .. }), "{error}");
}

#[test]
fn a_file_that_no_package_has_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let lock = image().join("image.lock");
    let mut recipe = recipe();
    recipe.root.keep.push("usr/bin/nonesuch".into());
    let error = build(&recipe, &options(folder.path(), &lock, LockMode::Enforced), &mut Silent).unwrap_err();
    assert!(matches!(error, Error::MissingFile { path } if &*path == "usr/bin/nonesuch"));
}

#[test]
fn a_missing_library_is_named_with_who_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let lock = image().join("image.lock");
    let mut recipe = recipe();
    recipe.root.packages.retain(|name| name != "libyajl2");
    let error = build(&recipe, &options(folder.path(), &lock, LockMode::Enforced), &mut Silent).unwrap_err();
    let Error::MissingLibrary { file, library } = &error else { panic!("{error}") };
    assert_eq!((&**file, &**library), ("usr/bin/crun", "libyajl.so.2"));
}
