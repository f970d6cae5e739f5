//! What does the merged filesystem hold?

use std::collections::BTreeMap;

use crate::{Error, PathProblem, path::components};

/// Symbolic links followed on the way to one path (Linux `MAXSYMLINKS`).
const MAX_SYMLINKS: usize = 40;

/// Longest symbolic link target in bytes (Linux `PATH_MAX` without the final zero).
const MAX_TARGET: usize = 4095;

/// Bytes of extended attributes that one inode may carry, names and values.
const MAX_XATTR_BYTES: usize = 3072;

/// A filesystem in memory: names, owners, modes; file contents stay where they are.
///
/// Entries added later replace earlier ones. Parents that nobody described are made with mode 0755,
/// owner 0:0 and time 0. Symbolic links among the parents of a path are followed within the tree.
#[derive(Debug)]
pub struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) limits: Limits,
    /// Layers applied so far; the next one has this index.
    pub(crate) layers: usize,
    entries: usize,
    content_bytes: u64,
}

/// Bounds on what a tree may hold, against hostile archives.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Entries over all layers, whiteouts included.
    pub entries: usize,
    /// Bytes of file contents over all layers, replaced files included.
    pub content_bytes: u64,
    /// Bytes of one path.
    pub path_bytes: usize,
    /// Components of one path.
    pub depth: usize,
}

impl Default for Limits {
    /// A million entries, 64 GiB, paths of 4096 bytes and 128 components.
    fn default() -> Self {
        Limits { entries: 1_000_000, content_bytes: 64 << 30, path_bytes: 4096, depth: 128 }
    }
}

/// Owner, mode, time and extended attributes of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: at most 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in whole seconds since 1970.
    pub mtime_seconds: u64,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    /// Owner 0:0 at time zero without extended attributes.
    pub fn file(mode: u16) -> Self {
        Metadata { mode, ..Metadata::default() }
    }
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a layer.
    Layer {
        /// Index of the layer, in the order of application.
        layer: usize,
        /// Offset in the uncompressed layer.
        offset: u64,
        /// Length in bytes.
        size: u64,
    },
}

impl Content {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Layer { size, .. } => *size,
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File(Content),
    /// A directory.
    Directory,
    /// A symbolic link, with its target.
    Symlink(Vec<u8>),
    /// A character device.
    CharacterDevice {
        /// Major number, at most 4095.
        major: u32,
        /// Minor number, at most 1048575.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number, at most 4095.
        major: u32,
        /// Minor number, at most 1048575.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

pub(crate) type NodeId = usize;
pub(crate) const ROOT: NodeId = 0;

#[derive(Debug)]
pub(crate) struct Node {
    pub metadata: Metadata,
    pub kind: Kind,
    /// Children of a directory, in byte order of their names.
    pub children: BTreeMap<Vec<u8>, NodeId>,
}

impl Tree {
    /// An empty root directory, mode 0755.
    pub fn new(limits: Limits) -> Self {
        let root = Node { metadata: Metadata::file(0o755), kind: Kind::Directory, children: BTreeMap::new() };
        Tree { nodes: vec![root], limits, layers: 0, entries: 0, content_bytes: 0 }
    }

    /// Adds a file with its bytes.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn add_file(&mut self, path: &[u8], metadata: Metadata, bytes: Vec<u8>) -> Result<(), Error> {
        self.add(path, metadata, Kind::File(Content::Bytes(bytes)))
    }

    /// Adds a directory with mode 0755, owner 0:0 and time 0, or changes one to that.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn add_directory(&mut self, path: &[u8], mode: u16) -> Result<(), Error> {
        self.add(path, Metadata::file(mode), Kind::Directory)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn add_symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        self.add(path, Metadata::file(0o777), Kind::Symlink(target.to_vec()))
    }

    /// Adds an entry, replacing what stands at `path`; a directory over a directory keeps its children.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::ParentNotDirectory`], [`Error::SymlinkLoop`], [`Error::SymlinkTarget`],
    /// [`Error::Device`], [`Error::Xattr`], [`Error::XattrSize`], [`Error::TooManyEntries`],
    /// [`Error::TooLarge`].
    pub fn add(&mut self, path: &[u8], mut metadata: Metadata, kind: Kind) -> Result<(), Error> {
        self.count(match &kind {
            Kind::File(content) => content.size(),
            _ => 0,
        })?;
        metadata.mode &= 0o7777;
        check_xattrs(path, &metadata.xattrs)?;
        check_kind(path, &kind)?;
        let Some((parent, name)) = self.parent(path)? else {
            if kind != Kind::Directory {
                return Err(Error::Path { path: path.to_vec(), problem: PathProblem::Empty });
            }
            self.nodes[ROOT].metadata = metadata;
            return Ok(());
        };
        if let Some(existing) = self.nodes[parent].children.get(&name).copied()
            && kind == Kind::Directory
            && self.nodes[existing].kind == Kind::Directory
        {
            self.nodes[existing].metadata = metadata;
            return Ok(());
        }
        let id = self.push(metadata, kind);
        self.nodes[parent].children.insert(name, id);
        Ok(())
    }

    /// Gives the file at `target` a second name.
    ///
    /// # Errors
    /// [`Error::HardLink`] if `target` is missing or a directory, and as [`Tree::add`].
    pub fn add_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        self.count(0)?;
        let no_file = || Error::HardLink { path: path.to_vec(), target: target.to_vec() };
        let id = self.find(target)?.ok_or_else(no_file)?;
        if self.nodes[id].kind == Kind::Directory {
            return Err(no_file());
        }
        let Some((parent, name)) = self.parent(path)? else {
            return Err(Error::Path { path: path.to_vec(), problem: PathProblem::Empty });
        };
        self.nodes[parent].children.insert(name, id);
        Ok(())
    }

    /// Removes `path` and what is below it; nothing happens if it is not there.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::SymlinkLoop`].
    pub fn remove(&mut self, path: &[u8]) -> Result<(), Error> {
        let parts = components(path, self.limits.path_bytes, self.limits.depth)?;
        let Some((name, parents)) = parts.split_last() else { return Ok(()) };
        if let Some(parent) = self.walk(path, parents)? {
            self.nodes[parent].children.remove(*name);
        }
        Ok(())
    }

    /// Removes everything below the directory `path`, but not itself.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::SymlinkLoop`].
    pub fn clear(&mut self, path: &[u8]) -> Result<(), Error> {
        let parts = components(path, self.limits.path_bytes, self.limits.depth)?;
        if let Some(directory) = self.walk(path, &parts)? {
            self.nodes[directory].children.clear();
        }
        Ok(())
    }

    /// Every path with its metadata and kind, parents first, in byte order; hard links appear under
    /// each of their names.
    pub fn walk_all(&self) -> Vec<(Vec<u8>, &Metadata, &Kind)> {
        let mut found = Vec::new();
        let mut open = vec![(Vec::new(), ROOT)];
        while let Some((path, id)) = open.pop() {
            let node = &self.nodes[id];
            for (name, child) in node.children.iter().rev() {
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(name);
                open.push((below, *child));
            }
            found.push((path, &node.metadata, &node.kind));
        }
        found
    }

    /// What stands at `path`, which is followed through links among its parents but not at its end.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::SymlinkLoop`].
    pub fn lookup(&self, path: &[u8]) -> Result<Option<(&Metadata, &Kind)>, Error> {
        Ok(self.find(path)?.map(|id| (&self.nodes[id].metadata, &self.nodes[id].kind)))
    }

    /// Counts one entry with `bytes` of content against the limits.
    pub(crate) fn count(&mut self, bytes: u64) -> Result<(), Error> {
        if self.entries == self.limits.entries {
            return Err(Error::TooManyEntries { maximum: self.limits.entries });
        }
        let content_bytes = self.content_bytes.saturating_add(bytes);
        if content_bytes > self.limits.content_bytes {
            return Err(Error::TooLarge { maximum: self.limits.content_bytes });
        }
        self.entries += 1;
        self.content_bytes = content_bytes;
        Ok(())
    }

    fn push(&mut self, metadata: Metadata, kind: Kind) -> NodeId {
        self.nodes.push(Node { metadata, kind, children: BTreeMap::new() });
        self.nodes.len() - 1
    }

    fn find(&self, path: &[u8]) -> Result<Option<NodeId>, Error> {
        let parts = components(path, self.limits.path_bytes, self.limits.depth)?;
        let Some((name, parents)) = parts.split_last() else { return Ok(Some(ROOT)) };
        Ok(self.walk(path, parents)?.and_then(|parent| self.nodes[parent].children.get(*name).copied()))
    }

    /// The directory that `parts` lead to, or `None` if there is none.
    fn walk(&self, path: &[u8], parts: &[&[u8]]) -> Result<Option<NodeId>, Error> {
        let mut steps = Steps::new(path, parts);
        while let Some(name) = steps.next() {
            let Some(child) = self.nodes[steps.at()].children.get(&name).copied() else { return Ok(None) };
            match &self.nodes[child].kind {
                Kind::Directory => steps.enter(child),
                Kind::Symlink(target) => steps.follow(target)?,
                _ => return Ok(None),
            }
        }
        Ok(Some(steps.at()))
    }

    /// The directory that holds `path`'s last component, and that component; `None` for the root.
    /// Missing parents are made.
    fn parent(&mut self, path: &[u8]) -> Result<Option<(NodeId, Vec<u8>)>, Error> {
        let parts = components(path, self.limits.path_bytes, self.limits.depth)?;
        let Some((name, parents)) = parts.split_last() else { return Ok(None) };
        let mut steps = Steps::new(path, parents);
        while let Some(part) = steps.next() {
            let Some(child) = self.nodes[steps.at()].children.get(&part).copied() else {
                self.count(0)?;
                if steps.entered.len() > self.limits.depth {
                    return Err(Error::Path { path: path.to_vec(), problem: PathProblem::TooDeep });
                }
                let made = self.push(Metadata::file(0o755), Kind::Directory);
                self.nodes[steps.at()].children.insert(part, made);
                steps.enter(made);
                continue;
            };
            match &self.nodes[child].kind {
                Kind::Directory => steps.enter(child),
                Kind::Symlink(target) => {
                    let target = target.clone();
                    steps.follow(&target)?;
                }
                _ => return Err(Error::ParentNotDirectory { path: path.to_vec() }),
            }
        }
        Ok(Some((steps.at(), name.to_vec())))
    }
}

/// A walk from the root: directories entered, and names still to come, last first.
struct Steps<'a> {
    path: &'a [u8],
    entered: Vec<NodeId>,
    to_come: Vec<Vec<u8>>,
    links: usize,
}

impl<'a> Steps<'a> {
    fn new(path: &'a [u8], parts: &[&[u8]]) -> Self {
        let to_come = parts.iter().rev().map(|part| part.to_vec()).collect();
        Steps { path, entered: vec![ROOT], to_come, links: 0 }
    }

    fn at(&self) -> NodeId {
        *self.entered.last().expect("a walk never leaves the root")
    }

    /// The next name to look up in `at`; `..` (from a link target) is taken here, and stops at the root.
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let name = self.to_come.pop()?;
            match name.as_slice() {
                b"" | b"." => {}
                b".." => self.entered.truncate((self.entered.len() - 1).max(1)),
                _ => return Some(name),
            }
        }
    }

    fn enter(&mut self, directory: NodeId) {
        self.entered.push(directory);
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), Error> {
        self.links += 1;
        if self.links > MAX_SYMLINKS {
            return Err(Error::SymlinkLoop { path: self.path.to_vec(), maximum: MAX_SYMLINKS });
        }
        if target.first() == Some(&b'/') {
            self.entered.truncate(1);
        }
        self.to_come.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        Ok(())
    }
}

fn check_kind(path: &[u8], kind: &Kind) -> Result<(), Error> {
    match *kind {
        Kind::Symlink(ref target)
            if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) =>
        {
            Err(Error::SymlinkTarget { path: path.to_vec(), found: target.len() })
        }
        // 0:0 is overlayfs's whiteout; 12 and 20 bits are what Linux's dev_t holds.
        Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor }
            if (major, minor) == (0, 0) || major > 0xfff || minor > 0xf_ffff =>
        {
            Err(Error::Device { path: path.to_vec(), major, minor })
        }
        _ => Ok(()),
    }
}

fn check_xattrs(path: &[u8], xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), Error> {
    for name in xattrs.keys() {
        let accepted = match name.as_slice() {
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
            // overlayfs gives `user.overlay.*` a meaning when mounted with `userxattr`.
            name => {
                name.len() > b"user.".len()
                    && name.len() <= 255
                    && name.starts_with(b"user.")
                    && !name.starts_with(b"user.overlay.")
                    && !name.contains(&0)
            }
        };
        if !accepted {
            return Err(Error::Xattr { path: path.to_vec(), name: name.clone() });
        }
    }
    let found = xattrs.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    if found > MAX_XATTR_BYTES {
        return Err(Error::XattrSize { path: path.to_vec(), found, maximum: MAX_XATTR_BYTES });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::new(Limits { entries: 100, ..Limits::default() })
    }

    #[test]
    fn parents_lead_through_links_inside_the_tree() {
        let mut tree = tree();
        tree.add_directory(b"usr/bin", 0o755).unwrap();
        tree.add_symlink(b"bin", b"../../usr/bin").unwrap();
        tree.add_file(b"bin/true", Metadata::file(0o755), vec![1]).unwrap();
        assert!(tree.lookup(b"usr/bin/true").unwrap().is_some());
        assert!(matches!(tree.lookup(b"bin").unwrap().unwrap().1, Kind::Symlink(_)));
    }

    #[test]
    fn links_in_a_circle_are_refused() {
        let mut tree = tree();
        tree.add_symlink(b"a", b"b").unwrap();
        tree.add_symlink(b"b", b"a").unwrap();
        let error = tree.add_file(b"a/c", Metadata::file(0o644), vec![]).unwrap_err();
        assert!(matches!(error, Error::SymlinkLoop { .. }));
    }

    #[test]
    fn files_are_no_directories() {
        let mut tree = tree();
        tree.add_file(b"a", Metadata::file(0o644), vec![]).unwrap();
        let error = tree.add_file(b"a/b", Metadata::file(0o644), vec![]).unwrap_err();
        assert!(matches!(error, Error::ParentNotDirectory { .. }));
    }

    #[test]
    fn overlay_attributes_and_devices_are_refused() {
        let mut tree = tree();
        for name in [&b"trusted.overlay.redirect"[..], b"user.overlay.opaque", b"security.selinux"] {
            let mut metadata = Metadata::file(0o644);
            metadata.xattrs.insert(name.to_vec(), b"x".to_vec());
            assert!(matches!(tree.add(b"f", metadata, Kind::Fifo), Err(Error::Xattr { .. })));
        }
        let whiteout = Kind::CharacterDevice { major: 0, minor: 0 };
        assert!(matches!(tree.add(b"f", Metadata::file(0), whiteout), Err(Error::Device { .. })));
    }

    #[test]
    fn limits_hold() {
        let mut tree = Tree::new(Limits { entries: 3, content_bytes: 5, ..Limits::default() });
        tree.add_file(b"a", Metadata::file(0), vec![0; 3]).unwrap();
        assert!(matches!(
            tree.add_file(b"b", Metadata::file(0), vec![0; 3]),
            Err(Error::TooLarge { maximum: 5 })
        ));
        let error = tree.add_directory(b"c/d/e", 0o755).unwrap_err();
        assert!(matches!(error, Error::TooManyEntries { maximum: 3 }));
    }
}
