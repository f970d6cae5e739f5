//! What do the structures of UEFI say that firmware measures?
//!
//! Source: UEFI specification 2.10. Every length is checked against what is there.

use crate::reader::{Reader, Truncated};

use super::data::DataError;

/// An EFI_GUID, shown as `8be4df61-93ca-11d2-aa0d-00e098032b8c`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

/// UEFI_VARIABLE_DATA (PFP §10.4.6): a variable and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Whose variable: its vendor's GUID.
    pub vendor: Guid,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub content: VariableContent,
    /// How many bytes follow it: shim logs more than it fills.
    pub appended_len: usize,
}

/// What a variable holds, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VariableContent {
    /// One byte that is 0 or 1: `SecureBoot`, `AuditMode`, `DeployedMode`, `SetupMode`.
    Flag(bool),
    /// `BootOrder`: numbers of `Boot####` variables.
    BootOrder(Vec<u16>),
    /// `Boot####`: what to start.
    LoadOption(LoadOption),
    /// `PK`, `KEK`, `db`, `dbx` and shim's lists: keys and digests.
    Signatures(Vec<SignatureEntry>),
    /// Anything else.
    Other(Vec<u8>),
}

/// EFI_LOAD_OPTION (UEFI 2.10 §3.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption {
    /// Attributes.
    pub attributes: u32,
    /// Description, for people.
    pub description: String,
    /// Where it is.
    pub path: Vec<DevicePathNode>,
    /// What it is given.
    pub optional_data: Vec<u8>,
}

/// One node of an EFI_DEVICE_PATH_PROTOCOL (UEFI 2.10 §10.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePathNode {
    /// Type.
    pub kind: u8,
    /// Subtype.
    pub subtype: u8,
    /// What follows the header.
    pub data: Vec<u8>,
}

/// One EFI_SIGNATURE_DATA, with the type of its list (UEFI 2.10 §32.4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureEntry {
    /// SignatureType: X.509 certificate, SHA-256 digest...
    pub kind: Guid,
    /// SignatureOwner.
    pub owner: Guid,
    /// The certificate or digest.
    pub data: Vec<u8>,
}

/// UEFI_GPT_DATA (PFP §10.4.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// DiskGUID.
    pub disk: Guid,
    /// The partitions that were measured.
    pub partitions: Vec<Partition>,
}

/// EFI_PARTITION_ENTRY (UEFI 2.10 §5.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// PartitionTypeGUID.
    pub kind: Guid,
    /// UniquePartitionGUID.
    pub id: Guid,
    /// First block.
    pub first_block: u64,
    /// Last block.
    pub last_block: u64,
    /// Attributes.
    pub attributes: u64,
    /// Name.
    pub name: String,
}

impl Guid {
    /// EFI_GLOBAL_VARIABLE (UEFI 2.10 §3.3): whose `SecureBoot`, `PK` and `KEK` are.
    pub const GLOBAL_VARIABLE: Guid = Guid([
        0x61, 0xDF, 0xE4, 0x8B, 0xCA, 0x93, 0xD2, 0x11, 0xAA, 0x0D, 0x00, 0xE0, 0x98, 0x03, 0x2B, 0x8C,
    ]);
    /// EFI_IMAGE_SECURITY_DATABASE_GUID (UEFI 2.10 §32.6.1): whose `db` and `dbx` are.
    pub const IMAGE_SECURITY_DATABASE: Guid = Guid([
        0xCB, 0xB2, 0x19, 0xD7, 0x3A, 0x3D, 0x96, 0x45, 0xA3, 0xBC, 0xDA, 0xD0, 0x0E, 0x67, 0x65, 0x6F,
    ]);

    fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        reader.array().map(Guid)
    }
}

impl DevicePathNode {
    /// The path of a file on its disk, if that is what the node names (UEFI 2.10 §10.3.5.4).
    pub fn file_path(&self) -> Option<String> {
        (self.kind == 4 && self.subtype == 4).then(|| utf16(&self.data)).flatten()
    }
}

/// Where the parts of a variable lie, undecoded.
pub(super) struct VariableParts<'a> {
    vendor: Guid,
    name: &'a [u8],
    pub content: &'a [u8],
    appended_len: usize,
}

pub(super) fn variable_parts(data: &[u8]) -> Result<VariableParts<'_>, DataError> {
    let mut reader = Reader::new(data);
    let vendor = Guid::read(&mut reader)?;
    let name_len = reader.u64_le()?;
    let content_len = reader.u64_le()?;
    let name_bytes = name_len.checked_mul(2).and_then(|len| usize::try_from(len).ok());
    let name = reader.take(name_bytes.unwrap_or(usize::MAX))?;
    let content = reader.take(usize::try_from(content_len).unwrap_or(usize::MAX))?;
    Ok(VariableParts { vendor, name, content, appended_len: reader.rest().len() })
}

impl Variable {
    pub(super) fn read(data: &[u8]) -> Result<Self, DataError> {
        let VariableParts { vendor, name, content, appended_len } = variable_parts(data)?;
        if appended_len > 0 {
            return Err(DataError::Trailing { found: appended_len });
        }
        let name = utf16(name).ok_or(DataError::Text { field: "UnicodeName" })?;
        let content = read_content(&vendor, &name, content)?;
        Ok(Self { vendor, name, content, appended_len })
    }

    /// A variable as EV_EFI_VARIABLE_AUTHORITY logs it: the content is one entry of the list that the name
    /// stands for, which let an image start (PFP §3.3.4.8).
    pub(super) fn read_authority(data: &[u8]) -> Result<Self, DataError> {
        let VariableParts { vendor, name, content, appended_len } = variable_parts(data)?;
        let name = utf16(name).ok_or(DataError::Text { field: "UnicodeName" })?;
        Ok(Self { vendor, name, content: VariableContent::Other(content.to_vec()), appended_len })
    }
}

fn read_content(vendor: &Guid, name: &str, content: &[u8]) -> Result<VariableContent, DataError> {
    let global = *vendor == Guid::GLOBAL_VARIABLE;
    let database = *vendor == Guid::IMAGE_SECURITY_DATABASE;
    Ok(match (name, content) {
        ("SecureBoot" | "SetupMode" | "AuditMode" | "DeployedMode", [flag @ (0 | 1)]) if global => {
            VariableContent::Flag(*flag == 1)
        }
        ("PK" | "KEK", _) if global => VariableContent::Signatures(signature_lists(content)?),
        ("db" | "dbx" | "dbt" | "dbr", _) if database => {
            VariableContent::Signatures(signature_lists(content)?)
        }
        ("BootOrder", _) if global && content.len().is_multiple_of(2) => VariableContent::BootOrder(
            content.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
        ),
        _ if global && is_boot_entry(name) => VariableContent::LoadOption(load_option(content)?),
        _ => VariableContent::Other(content.to_vec()),
    })
}

/// `Boot####`, four hexadecimal digits in upper case (UEFI 2.10 §3.3).
fn is_boot_entry(name: &str) -> bool {
    name.strip_prefix("Boot").is_some_and(|digits| {
        digits.len() == 4 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
    })
}

fn load_option(content: &[u8]) -> Result<LoadOption, DataError> {
    let mut reader = Reader::new(content);
    let attributes = reader.u32_le()?;
    let path_len = reader.u16_le()?;
    let start = reader.rest();
    let end = start.chunks_exact(2).position(|pair| pair == [0, 0]);
    let end = end.ok_or(DataError::Text { field: "Description" })?;
    let description = utf16(reader.take(2 * end)?).ok_or(DataError::Text { field: "Description" })?;
    reader.take(2)?;
    let path = device_path(reader.take(path_len.into())?)?;
    Ok(LoadOption { attributes, description, path, optional_data: reader.rest().to_vec() })
}

/// The nodes up to the end of the entire path; a path may have several instances.
pub(super) fn device_path(bytes: &[u8]) -> Result<Vec<DevicePathNode>, DataError> {
    const END: u8 = 0x7F;
    let mut reader = Reader::new(bytes);
    let mut nodes = Vec::new();
    while !reader.is_at_end() {
        let offset = reader.position();
        let [kind, subtype] = reader.array()?;
        let len = usize::from(reader.u16_le()?);
        let data = reader.take(len.checked_sub(4).ok_or(DataError::NodeLength { offset, found: len })?)?;
        if kind == END && subtype == 0xFF && reader.is_at_end() {
            break;
        }
        nodes.push(DevicePathNode { kind, subtype, data: data.to_vec() });
    }
    Ok(nodes)
}

/// EFI_SIGNATURE_LISTs, one after the other.
pub(super) fn signature_lists(bytes: &[u8]) -> Result<Vec<SignatureEntry>, DataError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while !reader.is_at_end() {
        let offset = reader.position();
        let kind = Guid::read(&mut reader)?;
        let list_len = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
        let header_len = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
        let entry_len = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
        let bad = DataError::SignatureList { offset };
        let entries_len = list_len.checked_sub(28).and_then(|rest| rest.checked_sub(header_len));
        let entries_len = entries_len.ok_or(bad.clone())?;
        reader.take(header_len)?;
        let all = reader.take(entries_len)?;
        // Each entry is an owner and what it owns.
        if entry_len < 16 || !entries_len.is_multiple_of(entry_len) {
            return Err(bad);
        }
        entries.extend(all.chunks_exact(entry_len).map(|entry| SignatureEntry {
            kind,
            owner: Guid(entry[..16].try_into().expect("an entry has at least 16 bytes")),
            data: entry[16..].to_vec(),
        }));
    }
    Ok(entries)
}

impl PartitionTable {
    pub(super) fn read(data: &[u8]) -> Result<Self, DataError> {
        let mut reader = Reader::new(data);
        let header = reader.take(92)?; // EFI_PARTITION_TABLE_HEADER (UEFI 2.10 §5.3.2)
        if !header.starts_with(b"EFI PART") {
            return Err(DataError::PartitionSignature);
        }
        let disk = Guid(header[56..72].try_into().expect("16 bytes of 92"));
        let entry_len = u32::from_le_bytes(header[84..88].try_into().expect("4 bytes of 92"));
        let count = reader.u64_le()?;
        // Entries are 128 bytes, or a multiple by a power of two.
        if entry_len < 128 || !entry_len.is_multiple_of(128) || entry_len > 4096 {
            return Err(DataError::PartitionEntryLength { found: entry_len });
        }
        let mut partitions = Vec::new();
        while !reader.is_at_end() {
            let mut entry = Reader::new(reader.take(entry_len as usize)?);
            partitions.push(Partition {
                kind: Guid::read(&mut entry)?,
                id: Guid::read(&mut entry)?,
                first_block: entry.u64_le()?,
                last_block: entry.u64_le()?,
                attributes: entry.u64_le()?,
                name: utf16(entry.take(72)?).ok_or(DataError::Text { field: "PartitionName" })?,
            });
        }
        if u64::try_from(partitions.len()) != Ok(count) {
            return Err(DataError::PartitionCount { stated: count, found: partitions.len() });
        }
        Ok(Self { disk, partitions })
    }
}

/// UTF-16, little-endian, up to a zero; `None` if it is not.
pub(super) fn utf16(bytes: &[u8]) -> Option<String> {
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units.take_while(|unit| *unit != 0)).collect::<Result<_, _>>().ok()
}

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // UEFI 2.10 §2.3.1: the first three parts are little-endian numbers.
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for (position, index) in ORDER.into_iter().enumerate() {
            if [4, 6, 8, 10].contains(&position) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[index])?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_read_as_people_write_them() {
        assert_eq!(Guid::GLOBAL_VARIABLE.to_string(), "8be4df61-93ca-11d2-aa0d-00e098032b8c");
        assert_eq!(Guid::IMAGE_SECURITY_DATABASE.to_string(), "d719b2cb-3d3a-4596-a3bc-dad00e67656f");
    }

    #[test]
    fn lengths_that_only_claim_to_be_there_are_refused() {
        let mut variable = vec![0; 32];
        variable[16..24].fill(0xFF); // a name of 2^64 characters
        assert!(matches!(Variable::read(&variable), Err(DataError::Truncated(_))));
        assert_eq!(signature_lists(&[0xFF; 28]), Err(DataError::SignatureList { offset: 0 }));
        let mut list = vec![0; 28];
        list[16..20].fill(0xFF); // a list of 4 GiB
        assert!(matches!(signature_lists(&list), Err(DataError::Truncated(_))));
        let mut list = vec![0; 28 + 16];
        list[16] = 28 + 16; // a list of one entry of no size
        assert_eq!(signature_lists(&list), Err(DataError::SignatureList { offset: 0 }));
        list[24] = 16;
        assert_eq!(signature_lists(&list).map(|entries| entries.len()), Ok(1));
        assert_eq!(device_path(&[1, 1, 3, 0]), Err(DataError::NodeLength { offset: 0, found: 3 }));
    }
}
