//! What does this firmware ask the host to add to a trust domain, and what is MRTD then?
//!
//! Source: "Intel TDX Virtual Firmware Design Guide" (344991), §11, TDVF descriptor; TDX module ABI
//! (348551), TDH.MEM.PAGE.ADD and TDH.MR.EXTEND.

use casemate_crypto::hash::{Sha384, sha384};
use casemate_evidence::Measurement;

use crate::ovmf::{FirmwareError, Guid, PAGE, Table, u32_entry};

/// What a firmware file says about its launch under TDX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxFirmware<'a> {
    file: &'a [u8],
    sections: Vec<TdxSection>,
}

/// A range of guest memory that the firmware names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxSection {
    /// Where its content lies in the file.
    pub file_offset: u32,
    /// How much of it is in the file, in bytes.
    pub file_size: u32,
    /// Guest physical address, a multiple of 4096.
    pub address: u64,
    /// Size in bytes, a multiple of 4096.
    pub size: u64,
    /// What it is for.
    pub kind: TdxSectionKind,
    /// Whether its content is part of MRTD.
    pub measured: bool,
    /// Whether the guest accepts it when it runs, so that the host does not add it before.
    pub accepted_later: bool,
}

/// What a section is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TdxSectionKind {
    /// Code: boot firmware volume.
    BootVolume,
    /// Variables: configuration firmware volume.
    ConfigurationVolume,
    /// Where the host writes the hand-off block.
    HandOff,
    /// Memory for the firmware's first steps.
    Temporary,
    /// Memory that the guest keeps.
    Permanent,
    /// A kernel placed by the host.
    Payload,
    /// Its parameters.
    PayloadParameters,
}

/// In which order the host adds and measures the pages of a section. The digest differs, so both are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrder {
    /// Each page is added, then measured.
    PageByPage,
    /// All pages of a section are added, then all are measured.
    SectionBySection,
}

/// Why a firmware starts no trust domain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TdxFirmwareError {
    /// Its table of GUIDs.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The descriptor lies outside the file.
    #[error("TDVF descriptor {offset} bytes before the end of a file of {size}; the firmware is damaged")]
    Outside {
        /// Offset from the end.
        offset: u32,
        /// Size of the file.
        size: usize,
    },
    /// The descriptor does not begin with `TDVF`, or is of another version.
    #[error("no TDVF descriptor of version 1 where the table says; the firmware follows another layout")]
    Descriptor,
    /// More sections than any firmware has, or none.
    #[error("{found} sections, expected 1 to {maximum}")]
    Sections {
        /// How many.
        found: u32,
        /// Most accepted.
        maximum: u32,
    },
    /// A kind of section that is not understood.
    #[error("TDVF section of type {found} is unknown; update Casemate or use another firmware")]
    Kind {
        /// The type.
        found: u32,
    },
    /// A section that is not whole pages, reaches out of the file, or is absurdly large.
    #[error("TDVF section at {address:#x} of {size:#x} bytes is not whole pages of the file and of memory")]
    Range {
        /// Its address.
        address: u64,
        /// Its size.
        size: u64,
    },
    /// A section with attributes that are not understood.
    #[error("TDVF section with attributes {found:#x}, expected bits 0 and 1 only")]
    Attributes {
        /// The field.
        found: u32,
    },
    /// No configuration volume: RTMR 0 could not be told.
    #[error("the firmware has no configuration volume")]
    NoConfigurationVolume,
}

impl<'a> TdxFirmware<'a> {
    /// Reads a whole firmware file.
    ///
    /// # Errors
    /// [`TdxFirmwareError`].
    pub fn parse(file: &'a [u8]) -> Result<Self, TdxFirmwareError> {
        let maximum = crate::ovmf::Firmware::MAXIMUM_SIZE;
        if file.is_empty() || !file.len().is_multiple_of(PAGE) || file.len() > maximum {
            return Err(FirmwareError::Size { found: file.len(), maximum }.into());
        }
        let table = Table::read(file)?;
        let [offset] = u32_entry::<1>(&table, TDX_METADATA, "TDX metadata offset")?;
        let outside = TdxFirmwareError::Outside { offset, size: file.len() };
        let start = file.len().checked_sub(offset as usize);
        let Some(descriptor) = start.and_then(|start| file.get(start..)) else { return Err(outside) };
        let Some((header, listed)) = descriptor.split_at_checked(HEADER) else { return Err(outside) };
        if header[..4] != *b"TDVF" || word(header, 8) != 1 {
            return Err(TdxFirmwareError::Descriptor);
        }
        let count = word(header, 12);
        if count == 0 || count > MAXIMUM_SECTIONS {
            return Err(TdxFirmwareError::Sections { found: count, maximum: MAXIMUM_SECTIONS });
        }
        let Some(listed) = listed.get(..SECTION * count as usize) else { return Err(outside) };
        let sections: Vec<TdxSection> =
            listed.chunks_exact(SECTION).map(|bytes| section(bytes, file.len())).collect::<Result<_, _>>()?;
        if sections.iter().map(|section| section.size).sum::<u64>() > MAXIMUM_MEMORY {
            let (address, size) = (sections[0].address, MAXIMUM_MEMORY);
            return Err(TdxFirmwareError::Range { address, size });
        }
        Ok(Self { file, sections })
    }

    /// The sections, in the order in which they are added.
    pub fn sections(&self) -> &[TdxSection] {
        &self.sections
    }

    /// MRTD: SHA-384 over a record for each page added and, of measured sections, one with the content of
    /// each 256 bytes.
    pub fn mrtd(&self, order: PageOrder) -> Measurement {
        let mut records = Records::new();
        for section in self.sections.iter().filter(|section| !section.accepted_later) {
            let pages = || (0..section.size).step_by(PAGE);
            match order {
                PageOrder::PageByPage => {
                    for offset in pages() {
                        records.add(section.address + offset);
                        records.measure(section, offset, self.file);
                    }
                }
                PageOrder::SectionBySection => {
                    pages().for_each(|offset| records.add(section.address + offset));
                    pages().for_each(|offset| records.measure(section, offset, self.file));
                }
            }
        }
        Measurement::from(records.finish())
    }

    /// Digest of the configuration volume: what RTMR 0 holds of it.
    ///
    /// # Errors
    /// [`TdxFirmwareError::NoConfigurationVolume`].
    pub fn configuration_volume_digest(&self) -> Result<Sha384, TdxFirmwareError> {
        let is_configuration = |section: &&TdxSection| section.kind == TdxSectionKind::ConfigurationVolume;
        let section = self.sections.iter().find(is_configuration);
        let section = section.ok_or(TdxFirmwareError::NoConfigurationVolume)?;
        let start = section.file_offset as usize;
        Ok(sha384(&self.file[start..start + section.file_size as usize]))
    }

    /// Memory that is ready when the firmware starts: hand-off block and temporary memory.
    pub fn ready_memory(&self) -> Vec<(u64, u64)> {
        let kinds = [TdxSectionKind::HandOff, TdxSectionKind::Temporary];
        let ready = self.sections.iter().filter(|section| kinds.contains(&section.kind));
        ready.map(|section| (section.address, section.size)).collect()
    }

    /// Where the host writes the hand-off block.
    pub fn hand_off_address(&self) -> Option<u64> {
        let found = self.sections.iter().find(|section| section.kind == TdxSectionKind::HandOff);
        found.map(|section| section.address)
    }
}

fn section(bytes: &[u8], file_len: usize) -> Result<TdxSection, TdxFirmwareError> {
    let kind = match word(bytes, 24) {
        0 => TdxSectionKind::BootVolume,
        1 => TdxSectionKind::ConfigurationVolume,
        2 => TdxSectionKind::HandOff,
        3 => TdxSectionKind::Temporary,
        4 => TdxSectionKind::Permanent,
        5 => TdxSectionKind::Payload,
        6 => TdxSectionKind::PayloadParameters,
        found => return Err(TdxFirmwareError::Kind { found }),
    };
    let attributes = word(bytes, 28);
    if attributes & !0b11 != 0 {
        return Err(TdxFirmwareError::Attributes { found: attributes });
    }
    let section = TdxSection {
        file_offset: word(bytes, 0),
        file_size: word(bytes, 4),
        address: double(bytes, 8),
        size: double(bytes, 16),
        kind,
        measured: attributes & 1 != 0,
        accepted_later: attributes & 2 != 0,
    };
    let page = PAGE as u64;
    let pages = section.address.is_multiple_of(page) && section.size.is_multiple_of(page);
    let in_file = u64::from(section.file_offset) + u64::from(section.file_size) <= file_len as u64;
    let fits = u64::from(section.file_size) <= section.size;
    let in_memory = section.address.checked_add(section.size).is_some();
    if pages && in_file && fits && in_memory && section.size <= MAXIMUM_MEMORY {
        Ok(section)
    } else {
        Err(TdxFirmwareError::Range { address: section.address, size: section.size })
    }
}

/// The bytes that MRTD is a digest of, hashed as they come.
struct Records(casemate_crypto::hash::Sha384Stream);

impl Records {
    fn new() -> Self {
        Self(casemate_crypto::hash::Sha384Stream::new())
    }

    fn add(&mut self, address: u64) {
        self.record(b"MEM.PAGE.ADD", address);
    }

    fn measure(&mut self, section: &TdxSection, offset: u64, file: &[u8]) {
        if !section.measured {
            return;
        }
        // What is not in the file is zero: a section may be larger in memory than in the file.
        let content = &file[section.file_offset as usize..][..section.file_size as usize];
        let rest = content.get(offset as usize..).unwrap_or_default();
        let mut page = [0; PAGE];
        let known = rest.len().min(PAGE);
        page[..known].copy_from_slice(&rest[..known]);
        for (index, chunk) in page.chunks_exact(CHUNK).enumerate() {
            self.record(b"MR.EXTEND", section.address + offset + (index * CHUNK) as u64);
            self.0.update(chunk);
        }
    }

    /// 128 bytes: the operation's name in 16, the address in 8, zeros.
    fn record(&mut self, operation: &[u8], address: u64) {
        let mut bytes = [0; 128];
        bytes[..operation.len()].copy_from_slice(operation);
        bytes[16..24].copy_from_slice(&address.to_le_bytes());
        self.0.update(&bytes);
    }

    fn finish(self) -> [u8; 48] {
        *self.0.finish().as_bytes()
    }
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

fn double(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

const HEADER: usize = 16;
const SECTION: usize = 32;
const MAXIMUM_SECTIONS: u32 = 64;
const MAXIMUM_MEMORY: u64 = 256 << 20;
const CHUNK: usize = 256;

/// e47a6535-984a-4798-865e-4685a7bf8ec2
const TDX_METADATA: Guid =
    Guid::new(0xe47a6535, 0x984a, 0x4798, [0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2]);
