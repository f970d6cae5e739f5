//! Do layers merge as the OCI image specification says, and are hostile ones refused?

use std::io::Cursor;

use casemate_rootfs::{Error, Kind, Limits, PathProblem, Tree};

struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Layer(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, path: &str, kind: u8, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        // Not `set_path`: it refuses what these tests need.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
        header.set_size(data.len() as u64);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, path: &str, data: &str) -> Self {
        self.entry(path, b'0', "", data.as_bytes())
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn merge(layers: impl IntoIterator<Item = Layer>) -> Result<Tree, Error> {
    let mut tree = Tree::new(Limits { entries: 50, ..Limits::default() });
    for layer in layers {
        tree.apply_layer(&mut Cursor::new(layer.bytes()))?;
    }
    Ok(tree)
}

fn names(tree: &Tree) -> Vec<String> {
    let paths = tree.walk_all().into_iter().skip(1);
    paths.map(|(path, ..)| String::from_utf8(path).unwrap()).collect()
}

#[test]
fn a_whiteout_hides_lower_layers_only() {
    let lower = Layer::new().file("etc/a", "1").file("etc/b", "2");
    let upper = Layer::new().file("etc/b", "3").file("etc/.wh.a", "").file("etc/.wh.b", "");
    assert_eq!(names(&merge([lower, upper]).unwrap()), ["etc", "etc/b"]);
}

#[test]
fn an_opaque_directory_keeps_what_its_own_layer_brings() {
    let lower = Layer::new().file("etc/a", "1").file("etc/d/b", "2");
    let upper = Layer::new().file("etc/c", "3").file("etc/.wh..wh..opq", "");
    assert_eq!(names(&merge([lower, upper]).unwrap()), ["etc", "etc/c"]);
}

#[test]
fn a_whiteout_removes_a_directory_with_its_content() {
    let lower = Layer::new().file("etc/d/e/f", "1").file("x", "");
    let upper = Layer::new().file("etc/.wh.d", "");
    assert_eq!(names(&merge([lower, upper]).unwrap()), ["etc", "x"]);
}

#[test]
fn a_file_replaces_a_directory_and_the_other_way_round() {
    let lower = Layer::new().file("d/e", "1").file("f", "2");
    let upper = Layer::new().file("d", "3").entry("f", b'5', "", b"");
    let tree = merge([lower, upper]).unwrap();
    assert_eq!(names(&tree), ["d", "f"]);
    assert!(matches!(tree.lookup(b"d").unwrap().unwrap().1, Kind::File(_)));
    assert_eq!(tree.lookup(b"f").unwrap().unwrap().1, &Kind::Directory);
}

#[test]
fn a_hard_link_is_a_second_name_and_outlives_the_first() {
    let lower = Layer::new().file("a", "1").entry("b", b'1', "a", b"");
    let upper = Layer::new().file(".wh.a", "");
    let tree = merge([lower, upper]).unwrap();
    assert_eq!(names(&tree), ["b"]);
    assert!(matches!(tree.lookup(b"b").unwrap().unwrap().1, Kind::File(content) if content.size() == 1));
}

#[test]
fn owners_modes_and_times_come_from_the_archive() {
    let tree = merge([Layer::new().file("a", "1")]).unwrap();
    let (metadata, _) = tree.lookup(b"a").unwrap().unwrap();
    let found = (metadata.uid, metadata.gid, metadata.mode, metadata.mtime_seconds);
    assert_eq!(found, (7, 8, 0o644, 9));
}

#[test]
fn pax_records_override_the_header() {
    let mut layer = Layer::new();
    let long = format!("d/{}", "n".repeat(200));
    let records = [
        ("path", long.as_bytes()),
        ("uid", b"70000"),
        ("mtime", b"12.5"),
        ("SCHILY.xattr.security.capability", b"\x01\n=\x02"),
        ("SCHILY.xattr.security.selinux", b"label"),
    ];
    layer.0.append_pax_extensions(records).unwrap();
    let tree = merge([layer.file("short", "1")]).unwrap();
    let (metadata, _) = tree.lookup(long.as_bytes()).unwrap().unwrap();
    assert_eq!((metadata.uid, metadata.gid, metadata.mtime_seconds), (70000, 8, 12));
    assert_eq!(metadata.xattrs.len(), 1);
    assert_eq!(metadata.xattrs[&b"security.capability"[..]], b"\x01\n=\x02");
}

#[test]
fn gnu_long_names_are_read() {
    let long = "d/".to_owned() + &"n".repeat(150);
    let layer =
        Layer::new().entry("././@LongLink", b'L', "", format!("{long}\0").as_bytes()).file("d/nnn", "1");
    let tree = merge([layer]).unwrap();
    assert!(tree.lookup(long.as_bytes()).unwrap().is_some());
}

/// Each hostile layer differs from a good one in one entry.
#[test]
fn hostile_layers_are_refused() {
    type Expected = fn(&Error) -> bool;
    let cases: [(&str, Layer, Expected); 9] = [
        ("climbs", Layer::new().file("a/../../b", ""), |e| {
            matches!(e, Error::Path { problem: PathProblem::Climbs, .. })
        }),
        ("whiteout climbs", Layer::new().file("a/.wh...", ""), |e| matches!(e, Error::Whiteout { .. })),
        ("empty whiteout", Layer::new().file("a/.wh.", ""), |e| matches!(e, Error::Whiteout { .. })),
        ("link to nothing", Layer::new().entry("a", b'1', "b", b""), |e| matches!(e, Error::HardLink { .. })),
        ("link to the root", Layer::new().entry("a", b'1', "/", b""), |e| {
            matches!(e, Error::HardLink { .. })
        }),
        ("sparse", Layer::new().entry("a", b'S', "", b""), |e| {
            matches!(e, Error::EntryType { found: b'S', .. })
        }),
        ("no target", Layer::new().entry("a", b'2', "", b""), |e| {
            matches!(e, Error::SymlinkTarget { found: 0, .. })
        }),
        ("overlay whiteout", Layer::new().entry("a", b'3', "", b""), |e| {
            matches!(e, Error::Device { major: 0, minor: 0, .. })
        }),
        ("file in file", Layer::new().file("a", "").file("a/b", ""), |e| {
            matches!(e, Error::ParentNotDirectory { .. })
        }),
    ];
    for (name, layer, expected) in cases {
        let error = merge([layer]).expect_err(name);
        assert!(expected(&error), "{name}: {error}");
    }
}

#[test]
fn hostile_pax_records_are_refused() {
    type Expected = fn(&Error) -> bool;
    let cases: [(&str, &[u8], Expected); 6] = [
        ("no length", b"path=x\n", |e| matches!(e, Error::Pax { offset: 0, .. })),
        ("length too large", b"99 path=x\n", |e| matches!(e, Error::Pax { offset: 0, .. })),
        ("no equals sign", b"8 pathx\n", |e| matches!(e, Error::Pax { offset: 0, .. })),
        ("another size", b"9 size=7\n", |e| matches!(e, Error::PaxValue { key: "size", .. })),
        ("owner too large", b"18 uid=4294967296\n", |e| matches!(e, Error::PaxValue { key: "uid", .. })),
        ("overlay attribute", b"41 SCHILY.xattr.trusted.overlay.opaque=y\n", |e| {
            matches!(e, Error::Xattr { .. })
        }),
    ];
    for (name, records, expected) in cases {
        let layer = Layer::new().entry("PaxHeaders/a", b'x', "", records).file("a", "1");
        let error = merge([layer]).expect_err(name);
        assert!(expected(&error), "{name}: {error}");
    }
}

#[test]
fn a_truncated_layer_is_refused() {
    let mut bytes = Layer::new().file("a", &"x".repeat(2000)).bytes();
    bytes.truncate(1500);
    let error = Tree::new(Limits::default()).apply_layer(&mut Cursor::new(bytes)).unwrap_err();
    assert!(matches!(error, Error::Truncated { expected: 2000, found: 988, .. }), "{error}");
}

#[test]
fn limits_count_over_all_layers() {
    let many =
        |from: usize| (from..from + 30).fold(Layer::new(), |layer, i| layer.file(&format!("f{i}"), ""));
    assert!(matches!(merge([many(0), many(30)]), Err(Error::TooManyEntries { maximum: 50 })));
    let error = Tree::new(Limits { content_bytes: 3, ..Limits::default() })
        .apply_layer(&mut Cursor::new(Layer::new().file("a", "12").file("b", "34").bytes()))
        .unwrap_err();
    assert!(matches!(error, Error::TooLarge { maximum: 3 }));
}
