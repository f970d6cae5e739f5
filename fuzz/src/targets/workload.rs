//! What is to run: manifests, compose files, layers of images, descriptions of guest images.

#[path = "../../../core/rootfs/tests/support/hostile_layer.rs"]
mod hostile_layer;

use std::io::Cursor;

use casemate_measure::dstack::{ConfigDocument, Launch};
use casemate_measure::dstack_log::RuntimeLog;
use casemate_measure::image::ImageDescription;
use casemate_measure::secretvm::{Build, SnpBuild};
use casemate_rootfs::{Limits, Tree, write_image};
use casemate_workload::template::Template;
use casemate_workload::{Manifest, Substitutions, compose};
use hostile_layer::hostile_layer;

use crate::vectors::worked_bytes;
use crate::{Target, Vectors};

pub const MANIFEST: Target =
    Target { name: "manifest", maximum_len: 8 << 10, check: manifest, seeds: manifests };
pub const COMPOSE: Target =
    Target { name: "compose", maximum_len: 8 << 10, check: compose_file, seeds: compose_files };
pub const LAYER: Target = Target { name: "layer", maximum_len: 32 << 10, check: layer, seeds: layers };
pub const IMAGE_DESCRIPTION: Target =
    Target { name: "image-description", maximum_len: 8 << 10, check: description, seeds: descriptions };

fn manifest(bytes: &[u8]) {
    let Ok((manifest, _)) = Manifest::parse(bytes) else { return };
    assert_eq!(manifest.to_bytes(), bytes);
}

fn compose_file(bytes: &[u8]) {
    let none = Substitutions::default();
    let parsed = compose::parse_bytes(bytes, &none);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (Template::parse(text), Build::parse_list(text));
    if parsed.is_ok() {
        compose::variables(text).expect("a file that is understood has variables that are");
    }
}

fn layer(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar").for_each(repair);
    let bytes = &bytes[..];
    let limits = || Limits { entries: 1000, content_bytes: 1 << 20, ..Limits::default() };
    let merge = || {
        let mut layers = [Cursor::new(bytes)];
        let mut tree = Tree::new(limits());
        tree.apply_layer(&mut layers[0]).ok()?;
        let mut image = Vec::new();
        write_image(&tree, &mut layers, &mut image).ok()?;
        Some(image)
    };
    assert_eq!(merge(), merge(), "the same layer gives the same image");
}

/// Gives a header the checksum that its bytes have now.
fn repair(header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn description(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // What other systems publish of theirs.
    let _ = (ConfigDocument::parse(bytes), Launch::parse(bytes), SnpBuild::parse_list(text));
    let _ = RuntimeLog::parse(bytes).map(|log| (log.rtmr3(), log.compose()));
    let Ok(image) = ImageDescription::parse(text) else { return };
    assert_eq!(ImageDescription::parse(&image.to_toml()).expect("what is written is read"), image);
}

fn manifests(_: &Vectors) -> Vec<Vec<u8>> {
    worked_bytes("manifest.md")
}

fn compose_files(_: &Vectors) -> Vec<Vec<u8>> {
    let examples = [
        include_str!("../../../examples/notes/compose.yaml"),
        include_str!("../../../examples/hello/compose.yaml"),
        "services:\n  a:\n    image: a\n    environment: {A: \"${A:-${B?c}}\", D: $$}\n    ports: ['80:80/udp']\n",
    ];
    examples.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn layers(_: &Vectors) -> Vec<Vec<u8>> {
    vec![hostile_layer(&[7; 600])]
}

fn descriptions(_: &Vectors) -> Vec<Vec<u8>> {
    let (short, root) = ("11".repeat(32), "22".repeat(32));
    let file =
        |table: &str| format!("[files.{table}]\nname = \"{table}\"\nsize = 36864\nsha256 = \"{short}\"\n");
    let files = ["firmware", "kernel", "initrd", "root"].map(file).concat();
    vec![
        format!(
            "format = 1\nname = \"lite\"\nversion = \"1\"\ncmdline = \"casemate.root={root} casemate.root_blocks=8\"\n\
             root_hash = \"{root}\"\nroot_blocks = 8\npackage_lock = \"{short}\"\n{files}"
        )
        .into_bytes(),
    ]
}
