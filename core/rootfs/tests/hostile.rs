//! Does any layer make this crate panic, or write an image that other tools refuse?

use std::{io::Cursor, process::Command};

use casemate_rootfs::{Error, Limits, Tree, write_image};
use proptest::prelude::*;

/// A layer with every kind of entry, extension headers included.
fn layer() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut append = |path: &str, kind: u8, link: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    };
    append("d/", b'5', "", b"");
    append("d/file", b'0', "", &[7; 3000]);
    append("d/hard", b'1', "d/file", b"");
    append("link", b'2', "d", b"");
    append("link/below", b'0', "", b"x");
    append("null", b'3', "", b"");
    append("disk", b'4', "", b"");
    append("pipe", b'6', "", b"");
    append(
        "PaxHeaders/p",
        b'x',
        "",
        b"12 path=d/p\n13 mtime=1.5\n41 SCHILY.xattr.security.capability=abcd\n",
    );
    append("p", b'0', "", b"y");
    append("././@LongLink", b'L', "", b"d/long\0");
    append("l", b'0', "", b"z");
    append("d/.wh.gone", b'0', "", b"");
    append("d/.wh..wh..opq", b'0', "", b"");
    builder.into_inner().unwrap()
}

/// Gives the header at `offset` the checksum that its bytes have now.
fn repair(bytes: &mut [u8], offset: usize) {
    let Some(block) = bytes.get_mut(offset..offset + 512) else { return };
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn merge(bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let limits = Limits { entries: 1000, content_bytes: 1 << 20, ..Limits::default() };
    let mut layers = [Cursor::new(bytes)];
    let mut tree = Tree::new(limits);
    tree.apply_layer(&mut layers[0])?;
    let mut image = Vec::new();
    write_image(&tree, &mut layers, &mut image)?;
    Ok(image)
}

fn is_accepted_by_fsck(image: &[u8]) -> bool {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), image).unwrap();
    let output = Command::new("fsck.erofs").arg("--extract").arg(file.path()).output();
    output.expect("fsck.erofs is needed here: run scripts/install-packages test").status.success()
}

#[test]
fn the_layer_itself_is_good() {
    assert!(is_accepted_by_fsck(&merge(layer()).unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn changed_layers_are_refused_or_written_well(
        changes in proptest::collection::vec((0usize..layer().len(), any::<u8>()), 1..6),
    ) {
        let mut bytes = layer();
        for (offset, value) in changes {
            bytes[offset] = value;
            repair(&mut bytes, offset / 512 * 512);
        }
        if let Ok(image) = merge(bytes) {
            prop_assert!(is_accepted_by_fsck(&image));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_written_well(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        if let Ok(image) = merge(bytes) {
            prop_assert!(is_accepted_by_fsck(&image));
        }
    }
}
