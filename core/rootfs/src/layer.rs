//! What does this layer change?
//!
//! Reads the tar dialects that OCI layers use (ustar, pax, GNU long names) and applies them as the OCI
//! image specification's `layer.md` says: whiteouts hide what lower layers brought, never what the same
//! layer brings.

use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom},
};

use crate::{Content, Error, Kind, Metadata, Tree};

/// Largest pax header or GNU long name in bytes.
const EXTENSION_MAX: u64 = 1 << 20;

/// Marks names that hide others (OCI image specification, `layer.md`, Whiteouts).
const WHITEOUT: &[u8] = b".wh.";
/// Hides everything that lower layers put into its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Book-keeping of AUFS, which means nothing elsewhere.
const AUFS: &[u8] = b".wh..wh.";

/// Attributes that say nothing in another system: labels of the build machine.
const IGNORED_XATTRS: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];

/// Every path as it is, for [`Tree::apply_layer_mapped`].
pub fn identity(path: &[u8]) -> Option<Vec<u8>> {
    Some(path.to_vec())
}

impl Tree {
    /// Applies the next layer: an uncompressed tar archive of which only headers are read now.
    ///
    /// # Errors
    /// What makes the layer hostile or damaged; the tree is then unusable.
    pub fn apply_layer<R: Read + Seek>(&mut self, layer: &mut R) -> Result<(), Error> {
        self.apply_layer_mapped(layer, identity)
    }

    /// As [`Tree::apply_layer`], but each path (and hard link target) first passes `map`, which renames
    /// it or, with `None`, leaves it out. Whiteouts are not mapped.
    ///
    /// # Errors
    /// As [`Tree::apply_layer`].
    pub fn apply_layer_mapped<R, F>(&mut self, layer: &mut R, mut map: F) -> Result<(), Error>
    where
        R: Read + Seek,
        F: FnMut(&[u8]) -> Option<Vec<u8>>,
    {
        let index = self.layers;
        let entries = read_entries(self, layer, index)?;
        self.layers += 1;
        for entry in &entries {
            self.hide(&entry.path)?;
        }
        for entry in entries {
            if split(&entry.path).1.starts_with(WHITEOUT) {
                continue;
            }
            let Some(path) = map(&entry.path) else { continue };
            match entry.change {
                Change::Add(kind) => self.add(&path, entry.metadata, kind)?,
                Change::HardLink(target) => match map(&target) {
                    Some(target) => self.add_hard_link(&path, &target)?,
                    None => return Err(Error::HardLink { path, target }),
                },
            }
        }
        Ok(())
    }

    /// Applies `path` if it is a whiteout.
    fn hide(&mut self, path: &[u8]) -> Result<(), Error> {
        let (directory, name) = split(path);
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(()) };
        if name == OPAQUE {
            return self.clear(directory);
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::Whiteout { path: path.to_vec() });
        }
        self.remove(&[directory, b"/", hidden].concat())
    }
}

struct LayerEntry {
    path: Vec<u8>,
    metadata: Metadata,
    change: Change,
}

enum Change {
    Add(Kind),
    HardLink(Vec<u8>),
}

/// What extension headers said about the entry that follows them.
#[derive(Default)]
struct Extensions {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<u64>,
    size: Option<u64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The directory and the last component of an archive path, a final `/` aside.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let path = &path[..end];
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn read_entries<R: Read + Seek>(tree: &Tree, layer: &mut R, index: usize) -> Result<Vec<LayerEntry>, Error> {
    let length = layer.seek(SeekFrom::End(0))?;
    layer.seek(SeekFrom::Start(0))?;
    let mut archive = tar::Archive::new(layer);
    let mut entries = Vec::new();
    let mut extensions = Extensions::default();
    for raw in archive.entries_with_seek()?.raw(true) {
        let mut raw = raw?;
        if entries.len() >= tree.limits.entries {
            return Err(Error::TooManyEntries { maximum: tree.limits.entries });
        }
        let header = raw.header().clone();
        let ustar_path = header.path_bytes().into_owned();
        match header.entry_type().as_byte() {
            // Global pax headers carry the archive's comment; Go's reader ignores them as well.
            b'g' => continue,
            b'x' => {
                let bytes = read_extension(&mut raw, &ustar_path, "pax headers")?;
                extensions.read_pax(&ustar_path, &bytes)?;
                continue;
            }
            b'L' => {
                extensions.long_path = Some(c_string(read_extension(&mut raw, &ustar_path, "long name")?));
                continue;
            }
            b'K' => {
                extensions.long_link =
                    Some(c_string(read_extension(&mut raw, &ustar_path, "long link name")?));
                continue;
            }
            _ => {}
        }
        let offset = raw.raw_file_position();
        let entry = std::mem::take(&mut extensions).entry(&header, ustar_path, index, offset)?;
        if let Change::Add(Kind::File(content)) = &entry.change
            && offset.saturating_add(content.size()) > length
        {
            let found = length.saturating_sub(offset);
            return Err(Error::Truncated { path: entry.path, expected: content.size(), found });
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_extension<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    path: &[u8],
    what: &'static str,
) -> Result<Vec<u8>, Error> {
    let found = entry.size();
    if found > EXTENSION_MAX {
        return Err(Error::ExtensionTooLong { path: path.to_vec(), what, found, maximum: EXTENSION_MAX });
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < found {
        return Err(Error::Truncated { path: path.to_vec(), expected: found, found: bytes.len() as u64 });
    }
    Ok(bytes)
}

/// GNU long names end with a zero byte.
fn c_string(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

impl Extensions {
    /// Reads `length key=value\n` records (POSIX.1-2017, pax, Extended Header).
    fn read_pax(&mut self, path: &[u8], bytes: &[u8]) -> Result<(), Error> {
        let mut offset = 0;
        while offset < bytes.len() {
            let malformed = || Error::Pax { path: path.to_vec(), offset };
            let rest = &bytes[offset..];
            let space = rest.iter().take(20).position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length =
                usize::try_from(decimal(&rest[..space]).ok_or_else(malformed)?).map_err(|_| malformed())?;
            if length < space + 3 || length > rest.len() || rest[length - 1] != b'\n' {
                return Err(malformed());
            }
            let record = &rest[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            self.take_record(path, &record[..equals], &record[equals + 1..])?;
            offset += length;
        }
        Ok(())
    }

    fn take_record(&mut self, path: &[u8], key: &[u8], value: &[u8]) -> Result<(), Error> {
        let number = |key| decimal(value).ok_or_else(|| Error::PaxValue { path: path.to_vec(), key });
        match key {
            b"path" => self.long_path = Some(value.to_vec()),
            b"linkpath" => self.long_link = Some(value.to_vec()),
            b"uid" => self.uid = Some(number("uid")?),
            b"gid" => self.gid = Some(number("gid")?),
            b"size" => self.size = Some(number("size")?),
            b"mtime" => self.mtime = Some(seconds(path, value)?),
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(Error::EntryType { path: path.to_vec(), found: b'S' });
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                    && !IGNORED_XATTRS.contains(&name)
                {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    fn entry(
        self,
        header: &tar::Header,
        ustar_path: Vec<u8>,
        layer: usize,
        offset: u64,
    ) -> Result<LayerEntry, Error> {
        let path = self.long_path.unwrap_or(ustar_path);
        let size = header.entry_size()?;
        // The archive is walked by the sizes of its ustar headers, so another size would desynchronise it.
        if self.size.is_some_and(|announced| announced != size) {
            return Err(Error::PaxValue { path, key: "size" });
        }
        let owner = |pax: Option<u64>, ustar: u64, key| {
            u32::try_from(pax.unwrap_or(ustar)).map_err(|_| Error::PaxValue { path: path.clone(), key })
        };
        let metadata = Metadata {
            mode: (header.mode()? & 0o7777) as u16,
            uid: owner(self.uid, header.uid()?, "uid")?,
            gid: owner(self.gid, header.gid()?, "gid")?,
            mtime_seconds: match self.mtime {
                Some(seconds) => seconds,
                None => header.mtime()?,
            },
            xattrs: self.xattrs,
        };
        let target = || match &self.long_link {
            Some(link) => link.clone(),
            None => header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
        };
        let device = || -> Result<(u32, u32), Error> {
            Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        let change = match header.entry_type().as_byte() {
            // Before POSIX, a directory was a file whose name ends with a slash.
            b'\0' if path.ends_with(b"/") => Change::Add(Kind::Directory),
            b'0' | b'\0' => Change::Add(Kind::File(Content::Layer { layer, offset, size })),
            b'1' => Change::HardLink(target()),
            b'2' => Change::Add(Kind::Symlink(target())),
            b'3' => device().map(|(major, minor)| Change::Add(Kind::CharacterDevice { major, minor }))?,
            b'4' => device().map(|(major, minor)| Change::Add(Kind::BlockDevice { major, minor }))?,
            b'5' => Change::Add(Kind::Directory),
            b'6' => Change::Add(Kind::Fifo),
            found => return Err(Error::EntryType { path, found }),
        };
        Ok(LayerEntry { path, metadata, change })
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whole seconds of a pax time; times before 1970 count as zero, fractions are dropped.
fn seconds(path: &[u8], value: &[u8]) -> Result<u64, Error> {
    let refused = || Error::PaxValue { path: path.to_vec(), key: "mtime" };
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next().unwrap_or_default()).ok_or_else(refused)?;
    if parts.next().is_some_and(|fraction| !fraction.iter().all(u8::is_ascii_digit)) {
        return Err(refused());
    }
    Ok(if negative { 0 } else { whole })
}
