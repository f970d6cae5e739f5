//! Which files are in the guest's root?

use std::{
    collections::BTreeSet,
    io::{Cursor, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use casemate_api::handover;
use casemate_rootfs::{Content, Kind, Limits, Metadata, Tree};

use crate::{Error, RecipeRoot, deb, elf};

/// Where Debian's loader looks without a cache (ld.so(8), on amd64).
const LIBRARY_FOLDERS: [&str; 4] =
    ["usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib64", "usr/lib/x86_64-linux-gnu/systemd"];

/// Folders that Debian keeps only as links into `/usr`.
const MERGED: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// Uncompressed data archives of packages: the layers that trees refer to.
#[derive(Default)]
pub(crate) struct Packages {
    pub archives: Vec<Cursor<Vec<u8>>>,
}

impl Packages {
    /// Everything these packages hold, with merged `/usr`.
    pub fn unpack(&mut self, files: &[impl AsRef<Path>]) -> Result<Tree, Error> {
        assert!(self.archives.is_empty(), "a tree counts its layers from zero");
        let mut tree = Tree::new(Limits::default());
        for (from, to) in MERGED {
            tree.add_directory(to.as_bytes(), 0o755)?;
            tree.add_symlink(from.as_bytes(), to.as_bytes())?;
        }
        for file in files {
            self.archives.push(Cursor::new(deb::data(file.as_ref())?));
            let archive = self.archives.last_mut().expect("one was pushed");
            tree.apply_layer_mapped(archive, |path| Some(merged(path)))?;
        }
        Ok(tree)
    }

    /// The bytes of the file at `path`, which may be a symbolic link.
    pub fn read(&mut self, tree: &Tree, path: &str) -> Result<Vec<u8>, Error> {
        let missing = || Error::MissingFile { path: path.into() };
        let mut path = path.to_owned();
        for _ in 0..8 {
            match tree.lookup(path.as_bytes())?.ok_or_else(missing)?.1 {
                Kind::File(content) => return self.content(content),
                Kind::Symlink(target) => path = beside(&path, &String::from_utf8_lossy(target)),
                _ => return Err(missing()),
            }
        }
        Err(missing())
    }

    fn content(&mut self, content: &Content) -> Result<Vec<u8>, Error> {
        let (layer, offset, size) = match content {
            Content::Bytes(bytes) => return Ok(bytes.clone()),
            Content::Layer { layer, offset, size } => (*layer, *offset, *size),
        };
        let archive = &mut self.archives[layer];
        let mut bytes = vec![0; size as usize];
        archive
            .seek(SeekFrom::Start(offset))
            .and_then(|_| archive.read_exact(&mut bytes))
            .map_err(casemate_rootfs::Error::Io)?;
        Ok(bytes)
    }
}

/// The root: what the recipe keeps of `staged`, the libraries it needs, and our own files.
pub(crate) fn assemble(
    recipe: &RecipeRoot,
    staged: &Tree,
    packages: &mut Packages,
    agent: Vec<u8>,
) -> Result<Tree, Error> {
    let mut root = Tree::new(Limits::default());
    for (from, to) in MERGED {
        root.add_directory(to.as_bytes(), 0o755)?;
        root.add_symlink(from.as_bytes(), to.as_bytes())?;
    }
    for directory in &recipe.directories {
        let mode = if directory.ends_with("tmp") { 0o1777 } else { 0o755 };
        root.add_directory(directory.as_bytes(), mode)?;
    }
    let mut kept = Kept { root: &mut root, staged, packages, seen: BTreeSet::new() };
    for path in &recipe.keep {
        kept.keep(path)?;
    }
    for file in &recipe.files {
        let content = file.content.trim_start_matches('\n').as_bytes().to_vec();
        root.add_file(file.path.as_bytes(), Metadata::file(file.mode), content)?;
    }
    for link in &recipe.symlinks {
        root.add_symlink(link.path.as_bytes(), link.target.as_bytes())?;
    }
    root.add_file(handover::AGENT.as_bytes(), Metadata::file(0o755), agent)?;
    Ok(root)
}

struct Kept<'a> {
    root: &'a mut Tree,
    staged: &'a Tree,
    packages: &'a mut Packages,
    seen: BTreeSet<String>,
}

impl Kept<'_> {
    /// Copies `path`, what it links to, and the libraries it needs.
    fn keep(&mut self, path: &str) -> Result<(), Error> {
        if !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        let found = self.staged.lookup(path.as_bytes())?;
        let (metadata, kind) = found.ok_or_else(|| Error::MissingFile { path: path.into() })?;
        self.root.add(path.as_bytes(), metadata.clone(), kind.clone())?;
        match kind {
            Kind::Symlink(target) => self.keep(&beside(path, &String::from_utf8_lossy(target))),
            Kind::File(content) => {
                let bytes = self.packages.content(content)?;
                self.keep_libraries(path, &bytes)
            }
            _ => Ok(()),
        }
    }

    fn keep_libraries(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        if !elf::is_elf(bytes) {
            return Ok(());
        }
        for library in elf::needed(path, bytes)? {
            let places = LIBRARY_FOLDERS.iter().map(|folder| format!("{folder}/{library}"));
            let mut found = None;
            for place in places {
                if self.staged.lookup(place.as_bytes())?.is_some() {
                    found = Some(place);
                    break;
                }
            }
            let missing = || Error::MissingLibrary { file: path.into(), library: library.as_str().into() };
            self.keep(&found.ok_or_else(missing)?)?;
        }
        Ok(())
    }
}

/// The path in merged `/usr` of a path in a package.
fn merged(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    for (from, to) in MERGED {
        if let Some(rest) = path.strip_prefix(from.as_bytes())
            && (rest.is_empty() || rest.starts_with(b"/"))
        {
            return [to.as_bytes(), rest].concat();
        }
    }
    path.to_vec()
}

/// Where a symbolic link at `path` leads.
fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') {
        Vec::new()
    } else {
        path.rsplit_once('/').map_or(Vec::new(), |(folder, _)| folder.split('/').collect())
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    String::from_utf8_lossy(&merged(parts.join("/").as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_usr_is_applied_to_whole_components() {
        assert_eq!(merged(b"./lib/x"), b"usr/lib/x");
        assert_eq!(merged(b"./lib64/ld.so"), b"usr/lib64/ld.so");
        assert_eq!(merged(b"./library/x"), b"library/x");
        assert_eq!(merged(b"bin"), b"usr/bin");
    }

    #[test]
    fn links_lead_where_the_kernel_would_go() {
        assert_eq!(beside("usr/sbin/mkfs.ext4", "mke2fs"), "usr/sbin/mke2fs");
        assert_eq!(
            beside("usr/lib64/ld.so", "/lib/x86_64-linux-gnu/ld.so"),
            "usr/lib/x86_64-linux-gnu/ld.so"
        );
        assert_eq!(beside("usr/lib/a/b.so", "../c.so.1"), "usr/lib/c.so.1");
    }
}
