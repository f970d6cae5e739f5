//! Does any layer make this crate panic, or write an image that other tools refuse?

#[path = "support/hostile_layer.rs"]
mod hostile_layer;

use std::{io::Cursor, process::Command};

use casemate_rootfs::{Error, Limits, Tree, write_image};
use hostile_layer::hostile_layer;
use proptest::prelude::*;

fn layer() -> Vec<u8> {
    hostile_layer(&[7; 3000])
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
