//! What does this PE file hold, and what is its Authenticode digest?
//!
//! UEFI measures a program by its Authenticode digest ("Windows Authenticode Portable Executable Signature
//! Format", "Calculating the PE Image Hash"), and a unified kernel image keeps its parts in sections.
//! Source of the layout: "PE Format", COFF file header, optional header, section table.

use std::ops::Range;

use casemate_crypto::hash::{Sha384, sha384};

/// A PE file, as far as it is looked at: headers and section table.
#[derive(Debug, Clone)]
pub struct PeFile<'a> {
    bytes: &'a [u8],
    checksum: usize,
    /// Where the optional header names the table of signatures, if it has that many directories.
    signatures_entry: Option<usize>,
    headers_len: usize,
    sections: Vec<Section<'a>>,
}

/// A section: its name, and what of it is in the file.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    name: &'a [u8],
    raw: &'a [u8],
    raw_start: usize,
    virtual_size: usize,
}

/// Why bytes are no PE file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeError {
    /// Larger than any kernel image.
    #[error("{found} bytes, at most {} are accepted", PeFile::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// The file ends inside a structure.
    #[error("the file ends inside {structure}; was it cut?")]
    Truncated {
        /// Which one.
        structure: &'static str,
    },
    /// No `PE` signature.
    #[error("no PE signature; expected a UEFI program such as a kernel with EFI stub")]
    Signature,
    /// An optional header that is neither PE32 nor PE32+.
    #[error("optional header of kind {found:#x}, expected 0x10b or 0x20b")]
    Kind {
        /// The magic number.
        found: u16,
    },
    /// More sections than any program has.
    #[error("{found} sections, at most {maximum} are accepted")]
    Sections {
        /// How many.
        found: u16,
        /// Most accepted.
        maximum: u16,
    },
    /// Sections that overlap each other or the headers: tools would disagree about their digest.
    #[error("section data at {start:#x} lies in the headers or in another section")]
    Overlap {
        /// Offset in the file.
        start: usize,
    },
    /// Signatures that do not end the file.
    #[error("the table of signatures does not end the file")]
    Signatures,
}

impl<'a> PeFile<'a> {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 512 << 20;
    const MAXIMUM_SECTIONS: u16 = 96;

    /// Reads headers and section table.
    ///
    /// # Errors
    /// [`PeError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        if bytes.len() > Self::MAXIMUM_LEN {
            return Err(PeError::TooLong { found: bytes.len() });
        }
        let start = number(bytes, 0x3C, "the DOS header")? as usize;
        let coff = start.checked_add(4).ok_or(PeError::Signature)?;
        if take(bytes, start..coff, "the PE signature")? != b"PE\0\0" {
            return Err(PeError::Signature);
        }
        let header = take(bytes, coff..coff + 20, "the file header")?;
        let (count, optional_len) = (half(header, 2), usize::from(half(header, 16)));
        if count > Self::MAXIMUM_SECTIONS {
            return Err(PeError::Sections { found: count, maximum: Self::MAXIMUM_SECTIONS });
        }
        let optional = coff + 20;
        let fields = take(bytes, optional..optional + optional_len, "the optional header")?;
        let directories = match fields.get(..2).map(|kind| half(kind, 0)) {
            Some(0x10B) => 96,
            Some(0x20B) => 112,
            Some(found) => return Err(PeError::Kind { found }),
            None => return Err(PeError::Truncated { structure: "the optional header" }),
        };
        let headers_len = number(fields, 60, "the optional header")? as usize;
        let listed = number(fields, directories - 4, "the optional header")?;
        // Directory 4 is the attribute certificate table.
        let entry = directories + 4 * 8;
        let has_entry = listed > 4 && fields.len() >= entry + 8;
        let table = optional + optional_len;
        let mut sections = Vec::new();
        for index in 0..usize::from(count) {
            let at = table + index * 40;
            let row = take(bytes, at..at + 40, "the section table")?;
            let length = number(row, 16, "the section table")? as usize;
            let raw_start = number(row, 20, "the section table")? as usize;
            let end = raw_start.checked_add(length).ok_or(PeError::Truncated { structure: "a section" })?;
            let raw = if length == 0 { &[][..] } else { take(bytes, raw_start..end, "a section")? };
            let name = row[..8].split(|byte| *byte == 0).next().unwrap_or_default();
            let virtual_size = number(row, 8, "the section table")? as usize;
            sections.push(Section { name, raw, raw_start, virtual_size });
        }
        take(bytes, 0..headers_len, "the headers")?;
        let file = Self {
            bytes,
            checksum: optional + 64,
            signatures_entry: has_entry.then_some(optional + entry),
            headers_len,
            sections,
        };
        if headers_len < table + 40 * usize::from(count) || fields.len() < 68 {
            return Err(PeError::Truncated { structure: "the headers" });
        }
        Ok(file)
    }

    /// The sections, in the order of the table.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The Authenticode digest with SHA-384: the whole file but its checksum, the entry that names its
    /// signatures, and the signatures; sections in the order in which they lie in the file.
    ///
    /// # Errors
    /// [`PeError::Overlap`], [`PeError::Signatures`].
    pub fn authenticode(&self) -> Result<Sha384, PeError> {
        let mut hashed = Vec::with_capacity(self.bytes.len());
        let signatures = self.signatures_entry.map(|entry| entry..entry + 8);
        let skipped = std::iter::once(self.checksum..self.checksum + 4).chain(signatures);
        let mut at = 0;
        for range in skipped {
            hashed.extend_from_slice(&self.bytes[at..range.start]);
            at = range.end;
        }
        hashed.extend_from_slice(self.bytes.get(at..self.headers_len).unwrap_or_default());
        let mut sections: Vec<&Section> =
            self.sections.iter().filter(|section| !section.raw.is_empty()).collect();
        sections.sort_by_key(|section| section.raw_start);
        let mut end = self.headers_len;
        for section in sections {
            if section.raw_start < end {
                return Err(PeError::Overlap { start: section.raw_start });
            }
            hashed.extend_from_slice(section.raw);
            end = section.raw_start + section.raw.len();
        }
        // What follows the sections counts, but for the signatures, which come last.
        let signatures = self.signatures()?;
        let counted: usize =
            self.headers_len + self.sections.iter().map(|section| section.raw.len()).sum::<usize>();
        let rest_end = self.bytes.len() - signatures;
        if rest_end < counted {
            return Err(PeError::Signatures);
        }
        hashed.extend_from_slice(&self.bytes[counted..rest_end]);
        Ok(sha384(&hashed))
    }

    /// Length of the table of signatures, which ends the file.
    fn signatures(&self) -> Result<usize, PeError> {
        let Some(entry) = self.signatures_entry else { return Ok(0) };
        let start = number(self.bytes, entry, "the directories")? as usize;
        let length = number(self.bytes, entry + 4, "the directories")? as usize;
        match start.checked_add(length) {
            Some(_) if length == 0 => Ok(0),
            Some(end) if end == self.bytes.len() => Ok(length),
            _ => Err(PeError::Signatures),
        }
    }
}

impl<'a> Section<'a> {
    /// The name, at most 8 bytes.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// What is loaded of it: the file's bytes without what aligns them.
    pub fn content(&self) -> &'a [u8] {
        &self.raw[..self.virtual_size.min(self.raw.len())]
    }
}

fn take<'a>(bytes: &'a [u8], range: Range<usize>, structure: &'static str) -> Result<&'a [u8], PeError> {
    bytes.get(range).ok_or(PeError::Truncated { structure })
}

fn number(bytes: &[u8], offset: usize, structure: &'static str) -> Result<u32, PeError> {
    let end = offset.checked_add(4).ok_or(PeError::Truncated { structure })?;
    Ok(u32::from_le_bytes(take(bytes, offset..end, structure)?.try_into().expect("four bytes")))
}

/// Little-endian half word at `offset`; callers have checked the length.
fn half(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}
