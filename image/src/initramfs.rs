//! What does the kernel unpack first?

use std::io::Write as _;

use casemate_rootfs::cpio::Archive;

use crate::{Error, modules::Module};

/// Folder of modules in the archive.
const MODULES: &str = "lib/modules";

/// The base: init, and modules with two lists, `order` (each must load) and `optional` (each may not).
pub(crate) fn base(init: Vec<u8>, required: &[Module], optional: &[Module]) -> Result<Vec<u8>, Error> {
    let mut archive = Archive::new();
    for directory in ["dev", "proc", "root", "run", "sys", "tmp"] {
        archive.directory(directory, 0o755)?;
    }
    // A name of its own as well: the simulation segment replaces /init and then runs this one.
    archive.file("casemate-init", 0o755, init)?;
    archive.symlink("init", "casemate-init")?;
    for (list, modules) in [("order", required), ("optional", optional)] {
        let mut names = String::new();
        for module in modules {
            let path = format!("{MODULES}/{}", module.file);
            names += &format!("/{path}\n");
            archive.file(&path, 0o644, module.bytes.clone())?;
        }
        archive.file(&format!("{MODULES}/{list}"), 0o644, names.into_bytes())?;
    }
    Ok(compress(&archive.to_bytes()))
}

/// The simulation segment: the device daemon as `/init`, and the modules it loads, in order of names.
pub(crate) fn simulation(daemon: Vec<u8>, modules: &[Module]) -> Result<Vec<u8>, Error> {
    let mut archive = Archive::new();
    archive.file("init", 0o755, daemon)?;
    for module in modules {
        archive.file(&format!("sim/{}", module.file), 0o644, module.bytes.clone())?;
    }
    Ok(compress(&archive.to_bytes()))
}

/// gzip without time or name, padded with zeros, which the kernel skips between segments.
fn compress(bytes: &[u8]) -> Vec<u8> {
    let builder = flate2::GzBuilder::new().mtime(0).operating_system(255);
    let mut encoder = builder.write(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("writing to memory cannot fail");
    let mut out = encoder.finish().expect("writing to memory cannot fail");
    out.resize(out.len().next_multiple_of(512), 0);
    out
}
