//! Do other tools read these images as we meant them?
//!
//! The oracles are erofs-utils and veritysetup, both independent of this crate. They are Debian packages
//! that `scripts/install-packages` installs; without them these tests fail.

use std::{
    collections::BTreeMap,
    io::Cursor,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use casemate_rootfs::{Content, Image, Kind, Limits, Metadata, Tree, write_image};
use proptest::prelude::*;

/// Runs a tool and returns what it says.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap_or_else(|error| {
        panic!("{program} is needed here ({error}): run scripts/install-packages test")
    });
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

fn write(tree: &Tree, layers: &mut [Cursor<Vec<u8>>], path: &Path) -> Image {
    let mut bytes = Vec::new();
    let image = write_image(tree, layers, &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, image.size_bytes);
    std::fs::write(path, bytes).unwrap();
    image
}

/// Every kind of entry and every layout: empty, inlined, one block, several blocks with and without a
/// tail, a directory of several blocks.
fn varied() -> Tree {
    let mut tree = Tree::new(Limits::default());
    let file =
        |mode| Metadata { mode, uid: 1000, gid: 70_000, mtime_seconds: 1_700_000_000, ..Metadata::default() };
    for size in [0, 1, 31, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 8192 + 2048, 8192 + 3000, 300_000] {
        let bytes = (0..size).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        tree.add_file(format!("sizes/{size}").as_bytes(), file(0o640), bytes).unwrap();
    }
    for i in 0..700 {
        tree.add_file(format!("many/{i:03}-{}", "x".repeat(i % 50)).as_bytes(), file(0o600), vec![1; i])
            .unwrap();
    }
    // Before `.`, between `.` and `..`, and after both, in byte order.
    for name in ["!first", "-dash", ".!", "...", ".hidden", "~last"] {
        tree.add_file(format!("order/{name}").as_bytes(), file(0o644), name.into()).unwrap();
    }
    tree.add_directory(b"empty", 0o1777).unwrap();
    tree.add_symlink(b"link", b"sizes/31").unwrap();
    tree.add_symlink(b"long-link", &[b'l'; 4000]).unwrap();
    tree.add_hard_link(b"second-name", b"sizes/8192").unwrap();
    tree.add(b"null", file(0o666), Kind::CharacterDevice { major: 1, minor: 3 }).unwrap();
    tree.add(b"disk", file(0o660), Kind::BlockDevice { major: 259, minor: 70_000 }).unwrap();
    tree.add(b"pipe", file(0o600), Kind::Fifo).unwrap();
    let mut capable = file(0o755);
    capable.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0]);
    capable.xattrs.insert(b"user.note".to_vec(), b"hello".to_vec());
    tree.add(b"capable", capable, Kind::File(Content::Bytes(vec![b'c'; 100]))).unwrap();
    tree
}

#[test]
fn fsck_accepts_every_layout_and_finds_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.img");
    let tree = varied();
    write(&tree, &mut [], &path);
    let found = folder.path().join("found");
    run(
        "fsck.erofs",
        &[&format!("--extract={}", found.display()), "--preserve-perms", path.to_str().unwrap()],
    );

    for (name, metadata, kind) in tree.walk_all() {
        let name = String::from_utf8(name).unwrap();
        let on_disk = found.join(&name);
        let status = on_disk.symlink_metadata().unwrap_or_else(|error| panic!("{name}: {error}"));
        match kind {
            Kind::File(Content::Bytes(bytes)) => {
                assert_eq!(&std::fs::read(&on_disk).unwrap(), bytes, "{name}")
            }
            Kind::Symlink(target) => {
                assert_eq!(std::fs::read_link(&on_disk).unwrap().as_os_str().as_encoded_bytes(), target);
            }
            Kind::Directory => assert!(status.is_dir(), "{name}"),
            _ => {}
        }
        if matches!(kind, Kind::File(_)) {
            assert_eq!(status.permissions().mode() & 0o7777, u32::from(metadata.mode), "{name}");
            assert_eq!(status.mtime() as u64, metadata.mtime_seconds, "{name}");
        }
    }
}

#[test]
fn dump_shows_owner_links_and_extended_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.img");
    write(&varied(), &mut [], &path);
    let dump = |name: &str| run("dump.erofs", &[&format!("--path={name}"), path.to_str().unwrap()]);

    let capable = dump("/capable");
    assert!(capable.contains("Uid: 1000") && capable.contains("Gid: 70000"), "{capable}");
    assert!(capable.contains("Xattr size: 56"), "{capable}");
    assert!(dump("/second-name").contains("Links: 2"));
    // Itself, its name in the root, and nothing below.
    assert!(dump("/empty").contains("Links: 2"));
}

#[test]
fn veritysetup_computes_the_same_root_and_the_same_tree() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.img");
    // 1 block, 1 level, exactly one full hash block, 2 levels.
    for blocks in [1usize, 2, 128, 129, 700] {
        let data: Vec<u8> = (0..blocks * 4096).map(|i| (i / 13) as u8).collect();
        let tree = casemate_rootfs::verity::tree(&data[..]).unwrap();
        std::fs::write(&path, [&data[..], &tree.bytes].concat()).unwrap();
        let image = path.to_str().unwrap();
        let offset = format!("--hash-offset={}", data.len());
        let count = format!("--data-blocks={blocks}");
        let root = tree.root_hash.to_string();
        let common = ["--no-superblock", "--salt=-", offset.as_str(), count.as_str()];
        run("veritysetup", &[&["verify"], &common[..], &[image, image, &root]].concat());

        let other = folder.path().join("other.img");
        std::fs::write(&other, &data).unwrap();
        let other = other.to_str().unwrap();
        let said = run("veritysetup", &[&["format"], &common[..], &[other, other]].concat());
        assert!(said.contains(&root), "{blocks} blocks: {said}");
        assert_eq!(std::fs::read(other).unwrap(), std::fs::read(&path).unwrap(), "{blocks} blocks");
    }
}

#[test]
fn a_layer_gives_the_same_image_as_its_files() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut direct = Tree::new(Limits::default());
    for (name, size) in [("a", 100usize), ("b", 5000), ("d/c", 70_000)] {
        let bytes: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let mut header = tar::Header::new_gnu();
        header.set_size(size as u64);
        header.set_mode(0o755);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
        direct.add_file(name.as_bytes(), Metadata::file(0o755), bytes).unwrap();
    }
    let mut layers = [Cursor::new(builder.into_inner().unwrap())];
    let mut tree = Tree::new(Limits::default());
    tree.apply_layer(&mut layers[0]).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let one = write(&tree, &mut layers, &folder.path().join("one"));
    assert_eq!(one, write(&direct, &mut [], &folder.path().join("two")));
}

/// The root hash of a fixed tree: it names workloads, so no change of this crate may move it unnoticed.
#[test]
fn the_root_hash_does_not_move() {
    let image = write_image(&varied(), &mut [std::io::empty()], &mut std::io::sink()).unwrap();
    assert_eq!(
        image.root_hash.to_string(),
        "2d7b55f071d10d5248a2db418b4a82ed3fbf3b82e8826291dc89aa6b72b6d56c"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn fsck_accepts_random_trees(files in proptest::collection::btree_map(
        "[a-c]{1,2}(/[a-z.!]{1,60}[a-z]){0,3}", 0usize..20_000, 0..60,
    )) {
        let mut tree = Tree::new(Limits::default());
        let mut expected = BTreeMap::new();
        for (name, size) in &files {
            let bytes = vec![*size as u8; *size];
            if tree.add_file(name.as_bytes(), Metadata::file(0o644), bytes.clone()).is_ok() {
                expected.retain(|other: &String, _| !other.starts_with(&format!("{name}/")));
                expected.insert(name.clone(), bytes);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.img");
        write(&tree, &mut [], &path);
        let found = folder.path().join("found");
        run("fsck.erofs", &[&format!("--extract={}", found.display()), path.to_str().unwrap()]);
        for (name, bytes) in expected {
            prop_assert_eq!(std::fs::read(found.join(&name)).unwrap(), bytes);
        }
    }
}
