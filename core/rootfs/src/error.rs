//! Why is this no root filesystem?

use std::io;

/// A path as it stands in an archive: any bytes, printed escaped.
fn shown(path: &[u8]) -> String {
    let mut text = path[..path.len().min(200)].escape_ascii().to_string();
    if path.len() > 200 {
        text.push_str("..");
    }
    text
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathProblem {
    /// A component is `..`.
    #[error("it climbs with `..`")]
    Climbs,
    /// A component has more than 255 bytes.
    #[error("a component is longer than 255 bytes")]
    ComponentTooLong,
    /// The whole has more bytes than the limit.
    #[error("it is longer than the limit")]
    TooLong,
    /// More components than the limit.
    #[error("it is nested deeper than the limit")]
    TooDeep,
    /// Nothing is left after normalisation where a name is needed.
    #[error("it names nothing")]
    Empty,
    /// A zero byte.
    #[error("it contains a zero byte")]
    ZeroByte,
}

/// Why layers do not make a root filesystem.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading a layer or writing the image failed.
    #[error("reading a layer or writing the image failed")]
    Io(#[from] io::Error),
    /// A name that no file in an image may have.
    #[error("archive path `{}` is refused: {problem}; rebuild the layer without it", shown(.path))]
    Path {
        /// The path in the archive.
        path: Vec<u8>,
        /// What is wrong with it.
        problem: PathProblem,
    },
    /// A parent of the path is neither a directory nor a symbolic link to one.
    #[error("`{}` lies under something that is no directory; rebuild the layer", shown(.path))]
    ParentNotDirectory {
        /// The path in the archive.
        path: Vec<u8>,
    },
    /// Symbolic links were followed too often on the way to the path.
    #[error("`{}` leads through more than {maximum} symbolic links; rebuild the layer", shown(.path))]
    SymlinkLoop {
        /// The path in the archive.
        path: Vec<u8>,
        /// Links followed at most.
        maximum: usize,
    },
    /// A hard link to something that is not there, or to a directory.
    #[error("hard link `{}` to `{}`, which is no file in the image; rebuild the layer", shown(.path), shown(.target))]
    HardLink {
        /// The link.
        path: Vec<u8>,
        /// What it names.
        target: Vec<u8>,
    },
    /// A whiteout without the name of what it hides.
    #[error("whiteout `{}` hides nothing that could be a file; rebuild the layer", shown(.path))]
    Whiteout {
        /// The whiteout's path.
        path: Vec<u8>,
    },
    /// An entry type that has no place in an image (sparse files, volume labels, continuations).
    #[error("`{}` has tar entry type {found:#04x}; expected file, link, symlink, device, fifo or directory",
        shown(.path))]
    EntryType {
        /// The path in the archive.
        path: Vec<u8>,
        /// Type byte found.
        found: u8,
    },
    /// A pax record that is not `length key=value`.
    #[error("the pax header before `{}` is malformed at byte {offset}; write the layer again", shown(.path))]
    Pax {
        /// The path of the entry (of its ustar header).
        path: Vec<u8>,
        /// Offset in the pax data.
        offset: usize,
    },
    /// A pax record whose value has no meaning for its key.
    #[error("pax record `{key}` of `{}` has a value that is refused; write the layer again", shown(.path))]
    PaxValue {
        /// The path of the entry (of its ustar header).
        path: Vec<u8>,
        /// Which record.
        key: &'static str,
    },
    /// An extended attribute that the guest would give a meaning that the layer's author did not intend.
    #[error("`{}` has extended attribute `{}`; only user.* (but overlay's), security.capability and POSIX ACLs \
        are accepted; remove it", shown(.path), shown(.name))]
    Xattr {
        /// The path in the archive.
        path: Vec<u8>,
        /// The attribute.
        name: Vec<u8>,
    },
    /// Extended attributes too large for one inode.
    #[error("`{}` has {found} bytes of extended attributes, at most {maximum} are accepted", shown(.path))]
    XattrSize {
        /// The path in the archive.
        path: Vec<u8>,
        /// Bytes found.
        found: usize,
        /// Bytes accepted.
        maximum: usize,
    },
    /// A device number of overlayfs's whiteout, or one too large.
    #[error("`{}` is device {major}:{minor}, which is refused (0:0 would hide files); remove it", shown(.path))]
    Device {
        /// The path in the archive.
        path: Vec<u8>,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// An archive extension larger than the limit.
    #[error("`{}` carries {found} bytes of {what}, at most {maximum} are accepted", shown(.path))]
    ExtensionTooLong {
        /// The path in the archive.
        path: Vec<u8>,
        /// What is too long.
        what: &'static str,
        /// Bytes found.
        found: u64,
        /// Bytes accepted.
        maximum: u64,
    },
    /// A symbolic link without target, or one with more than 4095 bytes.
    #[error("symbolic link `{}` has a target of {found} bytes, expected 1 to 4095", shown(.path))]
    SymlinkTarget {
        /// The path in the archive.
        path: Vec<u8>,
        /// Bytes found.
        found: usize,
    },
    /// More entries than the limit.
    #[error("more than {maximum} entries; raise the limit if the image is yours, or make it smaller")]
    TooManyEntries {
        /// Entries accepted.
        maximum: usize,
    },
    /// More content than the limit.
    #[error("more than {maximum} bytes of files; raise the limit if the image is yours, or make it smaller")]
    TooLarge {
        /// Bytes accepted.
        maximum: u64,
    },
    /// The archive ends inside a file.
    #[error("the layer ends inside `{}`: {found} bytes follow, {expected} were announced; fetch it again",
        shown(.path))]
    Truncated {
        /// The path in the archive.
        path: Vec<u8>,
        /// Bytes announced.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// The tree refers to a layer that was not passed to the writer.
    #[error(
        "a file comes from layer {layer}, but {found} layers were passed; pass those the tree was made of"
    )]
    MissingLayer {
        /// Layer asked for, from zero.
        layer: usize,
        /// Layers passed.
        found: usize,
    },
}
