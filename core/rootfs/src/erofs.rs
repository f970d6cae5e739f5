//! How is a tree written as erofs?
//!
//! The layout is that of kernel `fs/erofs/erofs_fs.h` and `Documentation/filesystems/erofs.rst`, of
//! which this writer uses the smallest part: blocks of 4096 bytes, extended inodes, the data layouts
//! flat-plain and flat-inline, inline extended attributes, no compression, no sharing. All numbers are
//! little-endian. From the start: superblock at 1024, inodes from 1152 (`meta_blkaddr` is zero, so
//! NID = offset / 32), directories that need whole blocks, then file contents, everything in breadth-first
//! order of byte-sorted names.

use std::io::{Read, Seek, SeekFrom, Write};

use crate::{
    Content, Error, Kind, Tree,
    tree::{NodeId, ROOT},
    verity::BLOCK_SIZE,
};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// `EROFS_SUPER_OFFSET`.
const SUPER_OFFSET: u64 = 1024;
/// Size of `struct erofs_super_block`.
const SUPER_SIZE: u64 = 128;
/// `EROFS_SUPER_MAGIC_V1`.
const MAGIC: u32 = 0xE0F5_E1E2;
/// `EROFS_FEATURE_COMPAT_MTIME`: inode times are those of modification.
const FEATURE_COMPAT_MTIME: u32 = 2;

/// Inodes start at multiples of this (`EROFS_ISLOTBITS` 5).
const SLOT: u64 = 32;
/// Size of `struct erofs_inode_extended`.
const INODE_SIZE: u64 = 64;
/// Size of `struct erofs_xattr_ibody_header`.
const XATTR_HEADER: usize = 12;
/// Size of `struct erofs_dirent`.
const DIRENT_SIZE: usize = 12;

/// Bit 0 of `i_format`: `EROFS_INODE_LAYOUT_EXTENDED`.
const EXTENDED: u16 = 1;
/// `EROFS_INODE_FLAT_PLAIN`, shifted by `EROFS_I_DATALAYOUT_BIT`.
const FLAT_PLAIN: u16 = 0 << 1;
/// `EROFS_INODE_FLAT_INLINE`, shifted by `EROFS_I_DATALAYOUT_BIT`.
const FLAT_INLINE: u16 = 2 << 1;

/// Longest tail that is kept beside its inode. Larger ones would waste, at the end of a block of
/// inodes, what they save at the end of their file.
const INLINE_MAX: u64 = 2048;

/// Writes the tree; contents come from `layers`, by index. Returns the number of blocks written.
pub(crate) fn write<R: Read + Seek, W: Write>(
    tree: &Tree,
    layers: &mut [R],
    out: &mut W,
) -> Result<u64, Error> {
    let plan = Plan::new(tree);
    let mut out = Output { out, position: 0 };
    out.pad_to(SUPER_OFFSET)?;
    out.write(&plan.super_block())?;
    for inode in &plan.inodes {
        out.pad_to(inode.offset)?;
        out.write(&plan.inode_bytes(tree, inode))?;
        out.write(&xattr_bytes(tree, inode.node))?;
        if inode.tail > 0 {
            plan.write_range(tree, layers, inode, inode.size - inode.tail, inode.tail, &mut out)?;
        }
    }
    let mut in_blocks: Vec<_> =
        plan.inodes.iter().filter_map(|inode| Some((inode.first_block?, inode))).collect();
    in_blocks.sort_unstable_by_key(|(block, _)| *block);
    for (block, inode) in in_blocks {
        out.pad_to(block * BLOCK)?;
        plan.write_range(tree, layers, inode, 0, inode.size - inode.tail, &mut out)?;
    }
    out.pad_to(plan.blocks * BLOCK)?;
    Ok(plan.blocks)
}

/// Where everything goes, before a byte is written.
struct Plan {
    /// In breadth-first order: the root first.
    inodes: Vec<Inode>,
    /// Position in `inodes` by node.
    position: Vec<Option<usize>>,
    blocks: u64,
}

struct Inode {
    node: NodeId,
    /// The directory that holds this directory (the root holds itself).
    parent: NodeId,
    links: u32,
    size: u64,
    /// Bytes kept beside the inode: the end of the content.
    tail: u64,
    /// Offset in the image.
    offset: u64,
    /// Where the content starts, without the tail; `None` if the tail is all.
    first_block: Option<u64>,
}

impl Plan {
    fn new(tree: &Tree) -> Self {
        let mut plan = Plan { inodes: Vec::new(), position: vec![None; tree.nodes.len()], blocks: 0 };
        plan.collect(tree);
        plan.place(tree);
        plan
    }

    /// Lists reachable inodes and counts their names.
    fn collect(&mut self, tree: &Tree) {
        self.discover(tree, ROOT, ROOT);
        let mut next = 0;
        while let Some(inode) = self.inodes.get(next) {
            let directory = inode.node;
            for child in tree.nodes[directory].children.values().copied() {
                let is_directory = tree.nodes[child].kind == Kind::Directory;
                match self.position[child] {
                    Some(known) => self.inodes[known].links += 1,
                    None => self.discover(tree, child, directory),
                }
                if is_directory {
                    self.inodes[next].links += 1; // the child's `..`
                }
            }
            next += 1;
        }
    }

    fn discover(&mut self, tree: &Tree, node: NodeId, parent: NodeId) {
        let (size, links) = match &tree.nodes[node].kind {
            Kind::File(content) => (content.size(), 1),
            Kind::Directory => (directory_size(tree, node), 2),
            Kind::Symlink(target) => (target.len() as u64, 1),
            _ => (0, 1),
        };
        self.position[node] = Some(self.inodes.len());
        self.inodes.push(Inode { node, parent, links, size, tail: 0, offset: 0, first_block: None });
    }

    fn place(&mut self, tree: &Tree) {
        let mut end = SUPER_OFFSET + SUPER_SIZE;
        for inode in &mut self.inodes {
            let fixed = INODE_SIZE + xattr_size(tree, inode.node) as u64;
            let tail = inode.size % BLOCK;
            inode.tail = if tail <= INLINE_MAX && fixed + tail <= BLOCK { tail } else { 0 };
            let length = fixed + inode.tail;
            inode.offset = end.next_multiple_of(SLOT);
            // Neither an inode nor the data beside it may cross a block (erofs_map_blocks refuses it).
            if inode.offset / BLOCK != (inode.offset + length - 1) / BLOCK {
                inode.offset = inode.offset.next_multiple_of(BLOCK);
            }
            end = inode.offset + length;
        }
        let mut block = end.div_ceil(BLOCK);
        let is_directory = |inode: &Inode| tree.nodes[inode.node].kind == Kind::Directory;
        for wanted in [true, false] {
            for inode in self.inodes.iter_mut().filter(|inode| is_directory(inode) == wanted) {
                if inode.size > inode.tail {
                    inode.first_block = Some(block);
                    block += (inode.size - inode.tail).div_ceil(BLOCK);
                }
            }
        }
        self.blocks = block;
    }

    fn nid(&self, node: NodeId) -> u64 {
        let position = self.position[node].expect("every child of a reachable directory is planned");
        self.inodes[position].offset / SLOT
    }

    /// `struct erofs_super_block`; times, UUID and name are zero.
    fn super_block(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SUPER_SIZE as usize);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes()); // checksum: unused, dm-verity covers every block
        bytes.extend_from_slice(&FEATURE_COMPAT_MTIME.to_le_bytes());
        bytes.push(12); // blkszbits
        bytes.push(0); // sb_extslots
        bytes.extend_from_slice(&(self.nid(ROOT) as u16).to_le_bytes()); // root_nid: the first inode
        bytes.extend_from_slice(&(self.inodes.len() as u64).to_le_bytes()); // inos
        bytes.extend_from_slice(&[0; 12]); // build_time, build_time_nsec
        bytes.extend_from_slice(&(self.blocks as u32).to_le_bytes()); // blocks, for statfs only
        bytes.resize(SUPER_SIZE as usize, 0); // meta_blkaddr .. reserved2
        bytes
    }

    /// `struct erofs_inode_extended`.
    fn inode_bytes(&self, tree: &Tree, inode: &Inode) -> Vec<u8> {
        let node = &tree.nodes[inode.node];
        let layout = if inode.tail > 0 { FLAT_INLINE } else { FLAT_PLAIN };
        // S_IFMT bits of <sys/stat.h>.
        let (file_type, i_u) = match &node.kind {
            Kind::File(_) => (0o100_000, inode.first_block.unwrap_or_default() as u32),
            Kind::Directory => (0o040_000, inode.first_block.unwrap_or_default() as u32),
            Kind::Symlink(_) => (0o120_000, inode.first_block.unwrap_or_default() as u32),
            Kind::CharacterDevice { major, minor } => (0o020_000, device_number(*major, *minor)),
            Kind::BlockDevice { major, minor } => (0o060_000, device_number(*major, *minor)),
            Kind::Fifo => (0o010_000, 0),
        };
        let xattrs = xattr_size(tree, inode.node);
        let icount = if xattrs == 0 { 0 } else { 1 + (xattrs - XATTR_HEADER) / 4 };
        let number = self.position[inode.node].map_or(0, |position| position + 1);
        let mut bytes = Vec::with_capacity(INODE_SIZE as usize);
        bytes.extend_from_slice(&(EXTENDED | layout).to_le_bytes()); // i_format
        bytes.extend_from_slice(&(icount as u16).to_le_bytes()); // i_xattr_icount
        bytes.extend_from_slice(&(file_type | node.metadata.mode).to_le_bytes()); // i_mode
        bytes.extend_from_slice(&[0; 2]); // i_reserved
        bytes.extend_from_slice(&inode.size.to_le_bytes()); // i_size
        bytes.extend_from_slice(&i_u.to_le_bytes()); // i_u: raw_blkaddr or rdev
        bytes.extend_from_slice(&(number as u32).to_le_bytes()); // i_ino
        bytes.extend_from_slice(&node.metadata.uid.to_le_bytes());
        bytes.extend_from_slice(&node.metadata.gid.to_le_bytes());
        bytes.extend_from_slice(&node.metadata.mtime_seconds.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes()); // i_mtime_nsec
        bytes.extend_from_slice(&inode.links.to_le_bytes()); // i_nlink
        bytes.resize(INODE_SIZE as usize, 0); // i_reserved2
        bytes
    }

    /// Writes `length` bytes of an inode's content, from `start`.
    fn write_range<R: Read + Seek, W: Write>(
        &self,
        tree: &Tree,
        layers: &mut [R],
        inode: &Inode,
        start: u64,
        length: u64,
        out: &mut Output<'_, W>,
    ) -> Result<(), Error> {
        let range = start as usize..(start + length) as usize;
        match &tree.nodes[inode.node].kind {
            Kind::Directory => out.write(&self.directory_bytes(tree, inode)[range]),
            Kind::Symlink(target) => out.write(&target[range]),
            Kind::File(Content::Bytes(bytes)) => out.write(&bytes[range]),
            Kind::File(Content::Layer { layer, offset, .. }) => {
                let found = layers.len();
                let source = layers.get_mut(*layer).ok_or(Error::MissingLayer { layer: *layer, found })?;
                source.seek(SeekFrom::Start(offset + start))?;
                out.copy(source, length)
            }
            _ => Ok(()),
        }
    }

    /// The blocks of a directory: in each, `struct erofs_dirent`s, then the names.
    fn directory_bytes(&self, tree: &Tree, inode: &Inode) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(inode.size as usize);
        for block in directory_blocks(tree, inode.node) {
            bytes.resize(bytes.len().next_multiple_of(BLOCK_SIZE), 0);
            let mut name_offset = block.len() * DIRENT_SIZE;
            for name in &block {
                let node = match *name {
                    b"." => inode.node,
                    b".." => inode.parent,
                    name => tree.nodes[inode.node].children[name],
                };
                bytes.extend_from_slice(&self.nid(node).to_le_bytes());
                bytes.extend_from_slice(&(name_offset as u16).to_le_bytes());
                bytes.push(file_type(&tree.nodes[node].kind));
                bytes.push(0);
                name_offset += name.len();
            }
            for name in &block {
                bytes.extend_from_slice(name);
            }
        }
        bytes
    }
}

/// Names of a directory by block, `.` and `..` among them, in byte order over the whole directory (the
/// kernel searches by bisection).
fn directory_blocks(tree: &Tree, node: NodeId) -> Vec<Vec<&[u8]>> {
    let mut names: Vec<&[u8]> = tree.nodes[node].children.keys().map(Vec::as_slice).collect();
    names.extend([&b"."[..], b".."]);
    names.sort_unstable();
    let mut blocks = vec![Vec::new()];
    let mut used = 0;
    for name in names {
        used += DIRENT_SIZE + name.len();
        if used > BLOCK_SIZE {
            blocks.push(Vec::new());
            used = DIRENT_SIZE + name.len();
        }
        blocks.last_mut().expect("there is a block from the start").push(name);
    }
    blocks
}

fn directory_size(tree: &Tree, node: NodeId) -> u64 {
    let blocks = directory_blocks(tree, node);
    let last: usize =
        blocks.last().map_or(0, |names| names.iter().map(|name| DIRENT_SIZE + name.len()).sum());
    (blocks.len() as u64 - 1) * BLOCK + last as u64
}

/// `EROFS_FT_*`.
fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Directory => 2,
        Kind::CharacterDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// Linux `new_encode_dev`.
fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Name index and the rest of the name (`EROFS_XATTR_INDEX_*`).
fn split_xattr(name: &[u8]) -> (u8, &[u8]) {
    match name {
        b"system.posix_acl_access" => (2, b""),
        b"system.posix_acl_default" => (3, b""),
        b"security.capability" => (6, b"capability"),
        name => (1, name.strip_prefix(b"user.").expect("the tree holds no other attributes")),
    }
}

fn xattr_size(tree: &Tree, node: NodeId) -> usize {
    let xattrs = &tree.nodes[node].metadata.xattrs;
    if xattrs.is_empty() {
        return 0;
    }
    let entry = |(name, value): (&Vec<u8>, &Vec<u8>)| {
        (4 + split_xattr(name).1.len() + value.len()).next_multiple_of(4)
    };
    XATTR_HEADER + xattrs.iter().map(entry).sum::<usize>()
}

/// `struct erofs_xattr_ibody_header` and the `struct erofs_xattr_entry`s.
fn xattr_bytes(tree: &Tree, node: NodeId) -> Vec<u8> {
    let xattrs = &tree.nodes[node].metadata.xattrs;
    if xattrs.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![0; XATTR_HEADER];
    for (name, value) in xattrs {
        let (index, rest) = split_xattr(name);
        bytes.push(rest.len() as u8); // e_name_len
        bytes.push(index); // e_name_index
        bytes.extend_from_slice(&(value.len() as u16).to_le_bytes()); // e_value_size
        bytes.extend_from_slice(rest);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

struct Output<'a, W> {
    out: &'a mut W,
    position: u64,
}

impl<W: Write> Output<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn pad_to(&mut self, position: u64) -> Result<(), Error> {
        let mut missing = position.checked_sub(self.position).expect("the plan never goes back");
        while missing > 0 {
            let piece = missing.min(BLOCK);
            self.write(&[0; BLOCK_SIZE][..piece as usize])?;
            missing -= piece;
        }
        Ok(())
    }

    fn copy(&mut self, source: &mut impl Read, length: u64) -> Result<(), Error> {
        let mut buffer = vec![0; length.min(1 << 18) as usize];
        let mut left = length;
        while left > 0 {
            let piece = left.min(buffer.len() as u64) as usize;
            source.read_exact(&mut buffer[..piece])?;
            self.write(&buffer[..piece])?;
            left -= piece as u64;
        }
        Ok(())
    }
}
