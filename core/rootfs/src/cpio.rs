//! Which bytes are this initramfs?
//!
//! Writes the `newc` format (kernel `Documentation/driver-api/early-userspace/buffer-format.rst`) with
//! sorted names, times and owners zero, and inode numbers by position, so that equal contents give
//! equal bytes.

use std::collections::BTreeMap;

use crate::{Error, path::components};

/// Longest path in an archive, in bytes (the kernel unpacks at most `PATH_MAX`).
const PATH_MAX: usize = 4095;

/// An archive in memory.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<Vec<u8>, (u32, Vec<u8>)>,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Archive::default()
    }

    /// Adds a file; parent directories come by themselves, with mode 0755.
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) -> Result<(), Error> {
        self.add(path, 0o100_000 | (mode & 0o7777), bytes)
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), Error> {
        self.add(path, 0o040_000 | (mode & 0o7777), Vec::new())
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), Error> {
        self.add(path, 0o120_777, target.as_bytes().to_vec())
    }

    /// The archive, padded to 512 bytes; segments may follow one another.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, (path, (mode, data))) in self.entries.iter().enumerate() {
            write_entry(&mut out, index as u32 + 1, *mode, path, data);
        }
        write_entry(&mut out, 0, 0, b"TRAILER!!!", b"");
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn add(&mut self, path: &str, mode: u32, data: Vec<u8>) -> Result<(), Error> {
        let parts = components(path.as_bytes(), PATH_MAX, 64)?;
        for end in 1..parts.len() {
            self.entries.entry(parts[..end].join(&b'/')).or_insert((0o040_755, Vec::new()));
        }
        self.entries.insert(parts.join(&b'/'), (mode, data));
        Ok(())
    }
}

fn write_entry(out: &mut Vec<u8>, inode: u32, mode: u32, path: &[u8], data: &[u8]) {
    // c_magic, then c_ino, c_mode, c_uid, c_gid, c_nlink, c_mtime, c_filesize, c_maj, c_min, c_rmaj,
    // c_rmin, c_namesize, c_chksum: eight hexadecimal digits each.
    let fields = [inode, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, path.len() as u32 + 1, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_adding_does_not_matter() {
        let mut one = Archive::new();
        one.file("lib/modules/a.ko", 0o644, vec![1, 2, 3]).unwrap();
        one.file("init", 0o755, vec![4]).unwrap();
        let mut two = Archive::new();
        two.file("/init", 0o755, vec![4]).unwrap();
        two.file("lib/modules/a.ko", 0o644, vec![1, 2, 3]).unwrap();
        assert_eq!(one.to_bytes(), two.to_bytes());
        assert_eq!(one.to_bytes().len() % 512, 0);
    }

    #[test]
    fn climbing_names_are_refused() {
        assert!(matches!(Archive::new().file("../x", 0o644, vec![]), Err(Error::Path { .. })));
    }
}
