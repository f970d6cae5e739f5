//! What is there to begin with?
//!
//! Recorded evidence below `CASEMATE_VECTORS`, read where it lies, and the worked bytes of `docs/reference`.

use std::path::{Path, PathBuf};

/// The folders of recorded evidence.
#[derive(Clone, Debug)]
pub struct Vectors(PathBuf);

impl Vectors {
    /// The folder that `CASEMATE_VECTORS` names, or the one beside the project; `None` if there is none.
    pub fn find() -> Option<Self> {
        let root = std::env::var_os("CASEMATE_VECTORS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
            PathBuf::from,
        );
        root.is_dir().then_some(Self(root))
    }

    /// The vectors of `kind`, in the order of their names.
    pub fn folders(&self, kind: &str) -> Vec<PathBuf> {
        let listing = std::fs::read_dir(self.0.join(kind)).into_iter().flatten().flatten();
        let mut folders: Vec<_> = listing.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        folders.sort();
        folders
    }

    /// The files of vectors of `kind` whose names end so, of at most 2 MiB.
    pub fn files(&self, kind: &str, ends: &[&str]) -> Vec<Vec<u8>> {
        const MAXIMUM: usize = 2 << 20;
        let mut found = Vec::new();
        for folder in self.folders(kind) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if ends.iter().any(|end| name.ends_with(end)) {
                    found.extend(std::fs::read(entry.path()).ok().filter(|bytes| bytes.len() <= MAXIMUM));
                }
            }
        }
        found
    }
}

/// A file of a vector's folder.
pub fn file(folder: &Path, name: &str) -> Option<Vec<u8>> {
    std::fs::read(folder.join(name)).ok()
}

/// The DER contents of every PEM block in `text`; blocks that are none are left out.
pub fn pem_blocks(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let mut blocks = Vec::new();
    for begun in text.split("-----BEGIN ").skip(1) {
        let Some((block, _)) = begun.split_once("-----END ") else { continue };
        let Some((label, _)) = block.split_once("-----") else { continue };
        let whole = format!("-----BEGIN {block}-----END {label}-----\n");
        blocks.extend(der::pem::decode_vec(whole.as_bytes()).ok().map(|(_, der)| der));
    }
    blocks
}

/// Every block of hexadecimal digits on a page of the reference.
pub fn worked_bytes(page: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let blocks = text.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| {
            let (_language, block) = block.split_once('\n')?;
            let digits: String = block.split_whitespace().collect();
            casemate_canon::reexport::hex::decode(digits).ok().filter(|bytes| !bytes.is_empty())
        })
        .collect()
}
