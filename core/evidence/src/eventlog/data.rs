//! What does the firmware say that it measured?

use super::efi::{self, DevicePathNode, Guid, PartitionTable, Variable};
use super::event::{Event, EventType, tagged_content};
use super::log::SpecId;
use super::replay::STARTUP_LOCALITY_SIGNATURE;
use crate::reader::{Reader, Truncated};

/// An event's data, by its type. Whether it is bound to a register is asked of [`Event::coverage`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventData {
    /// The header of a crypto-agile log; its content is [`super::Format::CryptoAgile`].
    SpecId,
    /// The locality from which TPM2_Startup was given.
    StartupLocality(u8),
    /// Where the platform's reference measurements are.
    Sp800155(Sp800155),
    /// The end of a stage; anything but zero says that the stage failed.
    Separator {
        /// 0; 1 or 0xFFFFFFFF after an error.
        value: u32,
    },
    /// A variable, or the entry of one that let an image start.
    Variable(Variable),
    /// An image that was loaded.
    ImageLoad(ImageLoad),
    /// The partition table of the boot disk.
    PartitionTable(PartitionTable),
    /// Firmware in memory.
    FirmwareBlob(FirmwareBlob),
    /// Tables that firmware hands over: their GUIDs and addresses.
    HandoffTables {
        /// What the firmware calls them, if it does.
        description: Option<String>,
        /// GUID and address of each.
        tables: Vec<(Guid, u64)>,
    },
    /// A text.
    Text(Text),
    /// Content behind a tag (systemd's and the kernel's EFI stubs use it).
    Tagged {
        /// taggedEventID.
        id: u32,
        /// What the tag holds.
        content: Vec<u8>,
    },
    /// Nothing that this version decodes.
    Opaque,
}

/// A text, and who wrote it so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Text {
    /// GRUB: a command that it ran, or a file that it read (`grub_cmd`, `kernel_cmdline`, `module_cmdline`,
    /// and paths).
    Grub {
        /// What stands before the colon, empty for a path.
        prefix: String,
        /// What follows.
        text: String,
    },
    /// UTF-16: systemd-boot and systemd-stub (names of PE sections, command lines).
    Utf16(String),
    /// Plain characters: firmware, shim.
    Ascii(String),
}

/// UEFI_IMAGE_LOAD_EVENT (PFP §10.4.4). The digest is the image's Authenticode digest; none of this is
/// covered by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLoad {
    /// Where the image lay in memory.
    pub location: u64,
    /// Its length in memory.
    pub len: u64,
    /// Its address when it was linked.
    pub link_time_address: u64,
    /// Where it came from; option ROMs are named by their devices.
    pub path: Vec<DevicePathNode>,
    /// How many bytes follow the structure: shim logs more than it fills.
    pub appended_len: usize,
}

/// UEFI_PLATFORM_FIRMWARE_BLOB and UEFI_PLATFORM_FIRMWARE_BLOB2 (PFP §10.4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareBlob {
    /// What the firmware calls it, if it does.
    pub description: Option<String>,
    /// Where it lies.
    pub base: u64,
    /// Its length.
    pub len: u64,
}

/// TCG_Sp800_155_PlatformId_Event and its successors (PFP §10.4.5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sp800155 {
    /// 1 to 3, by the signature.
    pub version: u8,
    /// IANA enterprise number of the platform's maker.
    pub vendor: u32,
    /// GUID of the reference integrity manifest.
    pub manifest: Guid,
}

/// Why an event's data is not what its type says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Bytes follow.
    #[error("{found} bytes follow the structure")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// A text that is none.
    #[error("`{field}` is not text")]
    Text {
        /// The field.
        field: &'static str,
    },
    /// A separator that is not one number.
    #[error("a separator of {found} bytes, expected 4")]
    SeparatorLength {
        /// Length in bytes.
        found: usize,
    },
    /// A node of a device path that is shorter than its header.
    #[error("a node of {found} bytes in the device path at {offset}, expected at least 4")]
    NodeLength {
        /// Where.
        offset: usize,
        /// Length in bytes.
        found: usize,
    },
    /// A signature list whose lengths contradict each other.
    #[error("the lengths of the signature list at {offset} contradict each other")]
    SignatureList {
        /// Where.
        offset: usize,
    },
    /// A partition table without its signature.
    #[error("no partition table: the signature \"EFI PART\" is missing")]
    PartitionSignature,
    /// Partition entries of a length that UEFI does not know.
    #[error("partition entries of {found} bytes, expected 128 or a multiple of it")]
    PartitionEntryLength {
        /// Length in bytes.
        found: u32,
    },
    /// Another number of partitions than stated.
    #[error("{stated} partitions are stated, {found} are there")]
    PartitionCount {
        /// Stated.
        stated: u64,
        /// Found.
        found: usize,
    },
    /// Another number of tables than stated.
    #[error("{stated} tables are stated, which do not fit into what is there")]
    TableCount {
        /// Stated.
        stated: u64,
    },
}

impl Event {
    /// Decodes the data by the event's type.
    ///
    /// # Errors
    /// [`DataError`]. The event can be replayed all the same.
    pub fn decode(&self) -> Result<EventData, DataError> {
        let data = self.data.as_slice();
        Ok(match self.kind {
            EventType::NO_ACTION => no_action(data)?,
            EventType::SEPARATOR => EventData::Separator { value: separator(data)? },
            EventType::EFI_VARIABLE_DRIVER_CONFIG
            | EventType::EFI_VARIABLE_BOOT
            | EventType::EFI_VARIABLE_BOOT2 => EventData::Variable(Variable::read(data)?),
            EventType::EFI_VARIABLE_AUTHORITY => EventData::Variable(Variable::read_authority(data)?),
            EventType::EFI_BOOT_SERVICES_APPLICATION
            | EventType::EFI_BOOT_SERVICES_DRIVER
            | EventType::EFI_RUNTIME_SERVICES_DRIVER => EventData::ImageLoad(ImageLoad::read(data)?),
            EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2 => {
                EventData::PartitionTable(PartitionTable::read(data)?)
            }
            EventType::EFI_PLATFORM_FIRMWARE_BLOB => {
                EventData::FirmwareBlob(FirmwareBlob::read(data, false)?)
            }
            EventType::EFI_PLATFORM_FIRMWARE_BLOB2 => {
                EventData::FirmwareBlob(FirmwareBlob::read(data, true)?)
            }
            EventType::EFI_HANDOFF_TABLES => handoff_tables(data, false)?,
            EventType::EFI_HANDOFF_TABLES2 => handoff_tables(data, true)?,
            EventType::EVENT_TAG => tagged(data)?,
            EventType::ACTION | EventType::EFI_ACTION => {
                EventData::Text(Text::Ascii(ascii(data).ok_or(DataError::Text { field: "event" })?))
            }
            EventType::IPL => Text::read(data).map_or(EventData::Opaque, EventData::Text),
            _ => EventData::Opaque,
        })
    }
}

fn no_action(data: &[u8]) -> Result<EventData, DataError> {
    if data.starts_with(SpecId::SIGNATURE) {
        return Ok(EventData::SpecId);
    }
    if let Some(rest) = data.strip_prefix(STARTUP_LOCALITY_SIGNATURE) {
        let mut reader = Reader::new(rest);
        let locality = reader.u8()?;
        finish(&reader)?;
        return Ok(EventData::StartupLocality(locality));
    }
    let signatures = [b"SP800-155 Event\0", b"SP800-155 Event2", b"SP800-155 Event3"];
    for (version, signature) in (1..).zip(signatures) {
        if let Some(rest) = data.strip_prefix(signature) {
            let mut reader = Reader::new(rest);
            let vendor = reader.u32_le()?;
            return Ok(EventData::Sp800155(Sp800155 { version, vendor, manifest: Guid(reader.array()?) }));
        }
    }
    Ok(EventData::Opaque)
}

fn separator(data: &[u8]) -> Result<u32, DataError> {
    let bytes = data.try_into().map_err(|_| DataError::SeparatorLength { found: data.len() })?;
    Ok(u32::from_le_bytes(bytes))
}

fn tagged(data: &[u8]) -> Result<EventData, DataError> {
    let mut reader = Reader::new(data);
    let id = reader.u32_le()?;
    let len = reader.u32_le()?;
    match tagged_content(data) {
        Some(content) => Ok(EventData::Tagged { id, content: content.to_vec() }),
        None => {
            reader.take(usize::try_from(len).unwrap_or(usize::MAX))?;
            Err(DataError::Trailing { found: reader.rest().len() })
        }
    }
}

fn handoff_tables(data: &[u8], described: bool) -> Result<EventData, DataError> {
    let mut reader = Reader::new(data);
    let description = described.then(|| description(&mut reader)).transpose()?;
    let stated = reader.u64_le()?;
    if stated != (reader.rest().len() / 24) as u64 {
        return Err(DataError::TableCount { stated });
    }
    let mut tables = Vec::new();
    while !reader.is_at_end() {
        tables.push((Guid(reader.array()?), reader.u64_le()?));
    }
    Ok(EventData::HandoffTables { description, tables })
}

/// A length in one byte, and as many characters.
fn description(reader: &mut Reader<'_>) -> Result<String, DataError> {
    let len = reader.u8()?;
    ascii(reader.take(len.into())?).ok_or(DataError::Text { field: "Description" })
}

impl FirmwareBlob {
    fn read(data: &[u8], described: bool) -> Result<Self, DataError> {
        let mut reader = Reader::new(data);
        let description = described.then(|| description(&mut reader)).transpose()?;
        let blob = Self { description, base: reader.u64_le()?, len: reader.u64_le()? };
        finish(&reader)?;
        Ok(blob)
    }
}

impl ImageLoad {
    fn read(data: &[u8]) -> Result<Self, DataError> {
        let mut reader = Reader::new(data);
        let location = reader.u64_le()?;
        let len = reader.u64_le()?;
        let link_time_address = reader.u64_le()?;
        let path_len = usize::try_from(reader.u64_le()?).unwrap_or(usize::MAX);
        let path = efi::device_path(reader.take(path_len)?)?;
        Ok(Self { location, len, link_time_address, path, appended_len: reader.rest().len() })
    }
}

impl Text {
    /// The text, if the bytes are one: UTF-16 where every other byte is zero, else plain characters.
    fn read(data: &[u8]) -> Option<Self> {
        let looks_wide = data.len() >= 2 && data[0] != 0 && data[1] == 0 && data.len().is_multiple_of(2);
        if looks_wide {
            return efi::utf16(data).map(Text::Utf16);
        }
        let text = ascii(data)?;
        for prefix in ["grub_cmd", "kernel_cmdline", "module_cmdline", "grub_linuxefi", "grub_kernel_cmdline"]
        {
            if let Some(rest) = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(':')) {
                let rest = rest.strip_prefix(' ').unwrap_or(rest);
                return Some(Text::Grub { prefix: prefix.to_owned(), text: rest.to_owned() });
            }
        }
        // GRUB logs files as (disk)/path or as /path.
        if text.starts_with('/') || (text.starts_with('(') && text.contains(")/")) {
            return Some(Text::Grub { prefix: String::new(), text });
        }
        Some(Text::Ascii(text))
    }

    /// The characters, whoever wrote them.
    pub fn as_str(&self) -> &str {
        match self {
            Text::Grub { text, .. } | Text::Utf16(text) | Text::Ascii(text) => text,
        }
    }
}

/// UTF-8 up to zeros at the end; `None` if it is not, or if it is empty.
fn ascii(data: &[u8]) -> Option<String> {
    let end = data.iter().rposition(|byte| *byte != 0)? + 1;
    let text = std::str::from_utf8(&data[..end]).ok()?;
    text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()).then(|| text.to_owned())
}

pub(super) fn finish(reader: &Reader<'_>) -> Result<(), DataError> {
    if reader.is_at_end() { Ok(()) } else { Err(DataError::Trailing { found: reader.rest().len() }) }
}
