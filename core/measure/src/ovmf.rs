//! What does this firmware ask the host to place and measure?
//!
//! edk2's reset vector ends with a table of GUIDed structures, read backwards from 32 bytes before the
//! end of the file (OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm). Three of them matter here: the SEV
//! metadata sections (OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm), the place of the kernel hash table
//! and the reset address of the application processors.

use casemate_crypto::hash::Sha384;
use serde::{Deserialize, Serialize};

use crate::snp::PageChain;

/// What a firmware file says about itself and how its pages measure: enough for a launch digest
/// without the file.
///
/// Proves nothing by itself: whoever states it must be believed, or the file be parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Size of the file in bytes; it is mapped to end at 4 GiB.
    pub size: u32,
    /// SNP launch digest after the pages of the file, before anything else.
    pub pages_digest: Sha384,
    /// Address at which application processors start, from the SEV-ES reset block.
    pub reset_address: u32,
    /// Where the firmware expects the table of kernel, initrd and command-line hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_table: Option<HashTableSlot>,
    /// Guest memory that the host prepares before launch, in the order in which it is measured.
    pub sections: Vec<Section>,
}

/// Guest memory reserved for the kernel hash table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashTableSlot {
    /// Guest physical address.
    pub address: u32,
    /// Bytes available there.
    pub size: u32,
}

/// A range of guest memory named in the SEV metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Guest physical address, a multiple of 4096.
    pub address: u32,
    /// Size in bytes, a multiple of 4096, not zero.
    pub size: u32,
    /// What the host puts there.
    pub kind: SectionKind,
}

/// What a section holds (OvmfSevMetadata.asm, `OVMF_SECTION_TYPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SectionKind {
    /// Zeroed memory, validated before launch.
    Memory,
    /// The SNP secrets page.
    Secrets,
    /// The CPUID page.
    Cpuid,
    /// Calling area of an SVSM; zeroed.
    SvsmCallingArea,
    /// The page that holds the kernel hash table.
    KernelHashes,
}

/// Why bytes are no firmware for a measured launch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// No firmware has this size.
    #[error(
        "firmware of {found} bytes; expected a multiple of 4096 of at most {maximum}; is this the whole .fd file?"
    )]
    Size {
        /// Bytes found.
        found: usize,
        /// Most that is accepted.
        maximum: usize,
    },
    /// There is no table of GUIDs at the end of the file.
    #[error(
        "no edk2 GUID table 32 bytes before the end (found GUID {found}); is this an OVMF build for x86-64?"
    )]
    NoTable {
        /// GUID found at the place of the table's footer.
        found: Guid,
    },
    /// An entry of the table is longer than the table or shorter than its own header.
    #[error(
        "table entry of {found} bytes where {available} are left and 18 is the least; the firmware is damaged"
    )]
    TableEntry {
        /// Length stated.
        found: u16,
        /// Bytes left.
        available: usize,
    },
    /// An entry that must be unique appears twice.
    #[error("table entry {guid} appears twice; tools would disagree about which counts, use another build")]
    DuplicateEntry {
        /// The entry.
        guid: Guid,
    },
    /// A structure this launch needs is missing.
    #[error(
        "no {name} ({guid}) in the firmware's table; use an OVMF build with SEV-SNP support, such as OVMF.amdsev.fd"
    )]
    Missing {
        /// What it is called in edk2.
        name: &'static str,
        /// Its GUID.
        guid: Guid,
    },
    /// A structure has another length than edk2 gives it.
    #[error("{name} has {found} bytes, expected {expected}; the firmware follows another layout")]
    EntryLength {
        /// What it is called in edk2.
        name: &'static str,
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The SEV metadata lies outside the file.
    #[error("SEV metadata {offset} bytes before the end of a file of {size}; the firmware is damaged")]
    MetadataOutside {
        /// Offset from the end.
        offset: u32,
        /// Size of the file.
        size: usize,
    },
    /// The SEV metadata does not begin with `ASEV`.
    #[error("SEV metadata begins with {found:02x?}, expected `ASEV`; the firmware is damaged")]
    MetadataSignature {
        /// Bytes found.
        found: [u8; 4],
    },
    /// A version of the metadata that is not understood.
    #[error("SEV metadata version {found}, expected 1; update Casemate or use an older firmware")]
    MetadataVersion {
        /// Version found.
        found: u32,
    },
    /// Length and number of sections contradict each other, or are too many.
    #[error(
        "SEV metadata of {length} bytes for {sections} sections; expected 16 + 12 for each, at most {maximum}"
    )]
    MetadataLength {
        /// Length stated.
        length: u32,
        /// Number of sections stated.
        sections: u32,
        /// Most sections accepted.
        maximum: usize,
    },
    /// A section of a kind that is not understood: what the host would measure is unknown.
    #[error("SEV metadata section of type {found:#x} is unknown; update Casemate or use another firmware")]
    SectionKind {
        /// Type found.
        found: u32,
    },
    /// A section is not made of whole pages, is empty, wraps, or all together are absurdly large.
    #[error(
        "SEV metadata section at {address:#x} of {size:#x} bytes; expected whole pages below 4 GiB, {maximum_pages} in all"
    )]
    SectionRange {
        /// Address stated.
        address: u32,
        /// Size stated.
        size: u32,
        /// Most pages accepted.
        maximum_pages: u32,
    },
    /// A kernel is to be measured, but the firmware cannot check it.
    #[error(
        "the firmware has no kernel hash table, so nothing would tie kernel, initrd and command line to the \
             measurement; use an AmdSev build (OVMF.amdsev.fd)"
    )]
    NoKernelHashTable,
    /// Hash table slot and metadata page disagree.
    #[error(
        "kernel hash table at {address:#x} of {size:#x} bytes does not fit in a page that the metadata \
             declares for it; use another firmware"
    )]
    HashTableOutsidePage {
        /// Address of the slot.
        address: u32,
        /// Its size.
        size: u32,
    },
}

impl Firmware {
    /// Largest file that is read, in bytes.
    pub const MAXIMUM_SIZE: usize = 64 << 20;
    /// Most SEV metadata sections.
    pub const MAXIMUM_SECTIONS: usize = 64;
    /// Most pages that all sections may name together (256 MiB).
    pub const MAXIMUM_SECTION_PAGES: u32 = 1 << 16;

    /// Reads a whole firmware file and measures its pages.
    ///
    /// # Errors
    /// Any [`FirmwareError`] but [`FirmwareError::NoKernelHashTable`]; among them
    /// [`FirmwareError::Missing`] for firmware without SEV metadata, on which no SNP guest could start.
    pub fn parse(bytes: &[u8]) -> Result<Self, FirmwareError> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(PAGE) || bytes.len() > Self::MAXIMUM_SIZE {
            return Err(FirmwareError::Size { found: bytes.len(), maximum: Self::MAXIMUM_SIZE });
        }
        let table = Table::read(bytes)?;
        let size = bytes.len() as u32;
        let mut chain = PageChain::new();
        chain.add_firmware(bytes);
        let firmware = Firmware {
            size,
            pages_digest: chain.digest(),
            reset_address: u32_entry::<1>(&table, SEV_ES_RESET_BLOCK, "SEV-ES reset block")?[0],
            hash_table: hash_table_slot(&table)?,
            sections: sections(bytes, &table)?,
        };
        firmware.check()?;
        Ok(firmware)
    }

    /// Where the kernel hash table goes, for launches with a kernel.
    ///
    /// # Errors
    /// [`FirmwareError::NoKernelHashTable`] for firmware that would start any kernel.
    pub fn require_hash_table(&self) -> Result<HashTableSlot, FirmwareError> {
        let slot = self.hash_table.ok_or(FirmwareError::NoKernelHashTable)?;
        if !self.sections.iter().any(|section| section.kind == SectionKind::KernelHashes) {
            return Err(FirmwareError::NoKernelHashTable);
        }
        Ok(slot)
    }

    /// Checks what [`Firmware::parse`] guarantees, for a description that was read instead of computed.
    ///
    /// # Errors
    /// [`FirmwareError::Size`], [`FirmwareError::MetadataLength`], [`FirmwareError::SectionRange`],
    /// [`FirmwareError::HashTableOutsidePage`].
    pub fn check(&self) -> Result<(), FirmwareError> {
        let size = self.size as usize;
        if size == 0 || !size.is_multiple_of(PAGE) || size > Self::MAXIMUM_SIZE {
            return Err(FirmwareError::Size { found: size, maximum: Self::MAXIMUM_SIZE });
        }
        if self.sections.is_empty() || self.sections.len() > Self::MAXIMUM_SECTIONS {
            let sections = self.sections.len() as u32;
            let length = sections.saturating_mul(12).saturating_add(16);
            return Err(FirmwareError::MetadataLength { length, sections, maximum: Self::MAXIMUM_SECTIONS });
        }
        let mut pages = 0;
        for section in &self.sections {
            pages += section.size / PAGE as u32;
            let whole =
                section.address.is_multiple_of(PAGE as u32) && section.size.is_multiple_of(PAGE as u32);
            let single = section.kind != SectionKind::KernelHashes || section.size == PAGE as u32;
            let end = section.address.checked_add(section.size);
            if !whole || section.size == 0 || !single || end.is_none() || pages > Self::MAXIMUM_SECTION_PAGES
            {
                return Err(FirmwareError::SectionRange {
                    address: section.address,
                    size: section.size,
                    maximum_pages: Self::MAXIMUM_SECTION_PAGES,
                });
            }
        }
        self.check_hash_table()
    }

    /// The slot lies within the page that the metadata reserves, and has room for the table.
    fn check_hash_table(&self) -> Result<(), FirmwareError> {
        let Some(slot) = self.hash_table else { return Ok(()) };
        let pages: Vec<_> =
            self.sections.iter().filter(|section| section.kind == SectionKind::KernelHashes).collect();
        let fits = match pages.as_slice() {
            [] => true, // SEV and SEV-ES need no page of their own; SNP launches with a kernel ask for it.
            [page] => {
                slot.address & !(PAGE as u32 - 1) == page.address
                    && slot.address as usize % PAGE + slot.size as usize <= PAGE
            }
            _ => false,
        };
        if !fits || (slot.size as usize) < crate::kernel_hashes::HashTable::LEN {
            return Err(FirmwareError::HashTableOutsidePage { address: slot.address, size: slot.size });
        }
        Ok(())
    }
}

/// A GUID in the byte order of UEFI: the first three groups little-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Guid([u8; 16]);

impl Guid {
    /// From the groups in which GUIDs are written.
    pub(crate) const fn new(first: u32, second: u16, third: u16, rest: [u8; 8]) -> Self {
        let (a, b, c) = (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes());
        let [r0, r1, r2, r3, r4, r5, r6, r7] = rest;
        Guid([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], r0, r1, r2, r3, r4, r5, r6, r7])
    }

    /// The 16 bytes as they stand in memory.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = self.0;
        let first = u32::from_le_bytes([a0, a1, a2, a3]);
        let (second, third) = (u16::from_le_bytes([b0, b1]), u16::from_le_bytes([c0, c1]));
        write!(f, "{first:08x}-{second:04x}-{third:04x}-{:02x}{:02x}-", rest[0], rest[1])?;
        rest[2..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guid({self})")
    }
}

impl TryFrom<u32> for SectionKind {
    type Error = FirmwareError;

    fn try_from(number: u32) -> Result<Self, FirmwareError> {
        Ok(match number {
            1 => SectionKind::Memory,
            2 => SectionKind::Secrets,
            3 => SectionKind::Cpuid,
            4 => SectionKind::SvsmCallingArea,
            0x10 => SectionKind::KernelHashes,
            found => return Err(FirmwareError::SectionKind { found }),
        })
    }
}

/// The GUIDed table at the end of a firmware: entries of `data || u16 length || GUID`, last first.
pub(crate) struct Table<'a> {
    entries: Vec<(Guid, &'a [u8])>,
}

impl<'a> Table<'a> {
    /// Reads the table of a firmware of at least a page.
    pub(crate) fn read(firmware: &'a [u8]) -> Result<Self, FirmwareError> {
        let end = firmware.len() - FOOTER_FROM_END;
        let (length, guid) = entry_header(&firmware[..end]);
        if guid != TABLE_FOOTER {
            return Err(FirmwareError::NoTable { found: guid });
        }
        let mut rest = entry_body(&firmware[..end], length)?;
        let mut entries: Vec<(Guid, &[u8])> = Vec::new();
        // Each round consumes at least 18 of at most 65,517 bytes.
        while rest.len() >= ENTRY_HEADER {
            let (length, guid) = entry_header(rest);
            let data = entry_body(rest, length)?;
            if entries.iter().any(|(seen, _)| *seen == guid) {
                return Err(FirmwareError::DuplicateEntry { guid });
            }
            entries.push((guid, data));
            rest = &rest[..rest.len() - length as usize];
        }
        Ok(Table { entries })
    }

    fn entry(&self, guid: Guid) -> Option<&'a [u8]> {
        self.entries.iter().find(|(found, _)| *found == guid).map(|(_, data)| *data)
    }
}

/// Length and GUID in the last 18 of `bytes`.
fn entry_header(bytes: &[u8]) -> (u16, Guid) {
    let header = bytes.last_chunk::<ENTRY_HEADER>().expect("callers pass at least a header");
    let (length, guid) = header.split_at(2);
    (u16::from_le_bytes([length[0], length[1]]), Guid(guid.try_into().expect("18 - 2 = 16")))
}

/// What precedes the header in an entry of `length` bytes, header included, at the end of `bytes`.
fn entry_body(bytes: &[u8], length: u16) -> Result<&[u8], FirmwareError> {
    let (total, available) = (length as usize, bytes.len());
    if total < ENTRY_HEADER || total > available {
        return Err(FirmwareError::TableEntry { found: length, available });
    }
    Ok(&bytes[available - total..available - ENTRY_HEADER])
}

/// An entry made of exactly `N` little-endian words.
pub(crate) fn u32_entry<const N: usize>(
    table: &Table<'_>,
    guid: Guid,
    name: &'static str,
) -> Result<[u32; N], FirmwareError> {
    let data = table.entry(guid).ok_or(FirmwareError::Missing { name, guid })?;
    if data.len() != 4 * N {
        return Err(FirmwareError::EntryLength { name, found: data.len(), expected: 4 * N });
    }
    Ok(std::array::from_fn(|index| word(data, 4 * index)))
}

/// A build without the feature carries the entry with base and size zero.
fn hash_table_slot(table: &Table<'_>) -> Result<Option<HashTableSlot>, FirmwareError> {
    if table.entry(SEV_HASH_TABLE).is_none() {
        return Ok(None);
    }
    let [address, size] = u32_entry::<2>(table, SEV_HASH_TABLE, "SEV hash table block")?;
    Ok((address != 0 && size != 0).then_some(HashTableSlot { address, size }))
}

fn sections(firmware: &[u8], table: &Table<'_>) -> Result<Vec<Section>, FirmwareError> {
    let [offset] = u32_entry::<1>(table, SEV_METADATA, "SEV metadata")?;
    let outside = FirmwareError::MetadataOutside { offset, size: firmware.len() };
    let start = firmware.len().checked_sub(offset as usize);
    let metadata = start.map(|start| &firmware[start..]).filter(|found| found.len() >= METADATA_HEADER);
    let Some(metadata) = metadata else { return Err(outside) };
    if metadata[..4] != *b"ASEV" {
        return Err(FirmwareError::MetadataSignature {
            found: [metadata[0], metadata[1], metadata[2], metadata[3]],
        });
    }
    let (length, version, count) = (word(metadata, 4), word(metadata, 8), word(metadata, 12));
    if version != 1 {
        return Err(FirmwareError::MetadataVersion { found: version });
    }
    let maximum = Firmware::MAXIMUM_SECTIONS;
    let wrong = FirmwareError::MetadataLength { length, sections: count, maximum };
    if count as usize > maximum || length as usize != METADATA_HEADER + SECTION * count as usize {
        return Err(wrong);
    }
    let Some(listed) = metadata.get(METADATA_HEADER..length as usize) else { return Err(outside) };
    listed.chunks_exact(SECTION).map(section).collect()
}

fn section(bytes: &[u8]) -> Result<Section, FirmwareError> {
    Ok(Section { address: word(bytes, 0), size: word(bytes, 4), kind: word(bytes, 8).try_into()? })
}

/// Little-endian word at `offset`; callers have checked the length.
fn word(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

pub(crate) const PAGE: usize = 4096;
const FOOTER_FROM_END: usize = 32;
const ENTRY_HEADER: usize = 18;
const METADATA_HEADER: usize = 16;
const SECTION: usize = 12;

/// 96b582de-1fb2-45f7-baea-a366c55a082d
const TABLE_FOOTER: Guid =
    Guid::new(0x96b582de, 0x1fb2, 0x45f7, [0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d]);
/// 7255371f-3a3b-4b04-927b-1da6efa8d454
const SEV_HASH_TABLE: Guid =
    Guid::new(0x7255371f, 0x3a3b, 0x4b04, [0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54]);
/// 00f771de-1a7e-4fcb-890e-68c77e2fb44e
const SEV_ES_RESET_BLOCK: Guid =
    Guid::new(0x00f771de, 0x1a7e, 0x4fcb, [0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e]);
/// dc886566-984a-4798-a75e-5585a7bf67cc
const SEV_METADATA: Guid =
    Guid::new(0xdc886566, 0x984a, 0x4798, [0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc]);
