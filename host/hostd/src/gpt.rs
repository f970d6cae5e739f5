//! Where on the data disk does each volume lie?
//!
//! A GUID partition table (UEFI Specification 2.10, §5.3): protective MBR, primary header and entries
//! at the front, their copies at the end. The guest finds a volume by its partition's name and trusts
//! nothing else here: what the partition holds is authenticated in the guest.

use casemate_crypto::hash::sha256;

/// Size of a sector in bytes.
pub const SECTOR_BYTES: u64 = 512;

/// Partitions begin and end on multiples of this many bytes.
pub const ALIGNMENT_BYTES: u64 = 1 << 20;

/// Most partitions that one table holds.
pub const MAXIMUM_PARTITIONS: usize = ENTRIES;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// At most 36 ASCII characters.
    pub name: String,
    /// Offset in bytes, a multiple of [`ALIGNMENT_BYTES`].
    pub offset_bytes: u64,
    /// Size in bytes, a multiple of [`ALIGNMENT_BYTES`].
    pub size_bytes: u64,
}

/// A table, and the size of the disk that it describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// In the order in which they lie on the disk.
    pub partitions: Vec<Partition>,
    /// Size of the whole disk in bytes.
    pub disk_bytes: u64,
}

impl Table {
    /// Lays volumes out one after another, each rounded up to whole MiB.
    pub fn lay_out<'a>(volumes: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut offset_bytes = ALIGNMENT_BYTES;
        let mut partitions = Vec::new();
        for (name, size_bytes) in volumes {
            let size_bytes = size_bytes.max(1).next_multiple_of(ALIGNMENT_BYTES);
            partitions.push(Partition { name: name.to_owned(), offset_bytes, size_bytes });
            offset_bytes += size_bytes;
        }
        Self { partitions, disk_bytes: offset_bytes + ALIGNMENT_BYTES }
    }

    /// What stands at the front of the disk: MBR, header, entries. 34 sectors.
    ///
    /// `identity` makes the disk's and the partitions' GUIDs, the same ones for the same bytes.
    pub fn front(&self, identity: &[u8]) -> Vec<u8> {
        let entries = self.entries(identity);
        let mut bytes = self.protective_mbr();
        bytes.extend(self.header(identity, 1, self.last_sector(), 2, &entries));
        bytes.extend(entries);
        bytes
    }

    /// What stands at the end of the disk: entries, header. 33 sectors.
    pub fn back(&self, identity: &[u8]) -> Vec<u8> {
        let mut bytes = self.entries(identity);
        let first_entry = self.last_sector() - ENTRY_SECTORS;
        bytes.extend(self.header(identity, self.last_sector(), 1, first_entry, &bytes));
        bytes
    }

    /// Offset of [`back`](Self::back) in bytes.
    pub fn back_offset_bytes(&self) -> u64 {
        (self.last_sector() - ENTRY_SECTORS) * SECTOR_BYTES
    }

    fn last_sector(&self) -> u64 {
        self.disk_bytes / SECTOR_BYTES - 1
    }

    fn protective_mbr(&self) -> Vec<u8> {
        let mut mbr = vec![0; 512];
        let sectors = u32::try_from(self.last_sector()).unwrap_or(u32::MAX);
        mbr[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
        mbr[458..462].copy_from_slice(&sectors.to_le_bytes());
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        mbr
    }

    fn header(&self, identity: &[u8], own: u64, other: u64, first_entry: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(512);
        header.extend(b"EFI PART\0\0\x01\0");
        header.extend(92_u32.to_le_bytes());
        header.extend([0; 8]); // CRC of this header, below; reserved
        header.extend(own.to_le_bytes());
        header.extend(other.to_le_bytes());
        header.extend((2 + ENTRY_SECTORS).to_le_bytes());
        header.extend((self.last_sector() - ENTRY_SECTORS - 1).to_le_bytes());
        header.extend(guid(identity, "disk"));
        header.extend(first_entry.to_le_bytes());
        header.extend((ENTRIES as u32).to_le_bytes());
        header.extend((ENTRY_BYTES as u32).to_le_bytes());
        header.extend(crc32(entries).to_le_bytes());
        let checksum = crc32(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(512, 0);
        header
    }

    fn entries(&self, identity: &[u8]) -> Vec<u8> {
        let mut entries = vec![0; ENTRIES * ENTRY_BYTES];
        for (partition, entry) in self.partitions.iter().zip(entries.chunks_exact_mut(ENTRY_BYTES)) {
            let first = partition.offset_bytes / SECTOR_BYTES;
            let last = first + partition.size_bytes / SECTOR_BYTES - 1;
            entry[..16].copy_from_slice(&LINUX_DATA);
            entry[16..32].copy_from_slice(&guid(identity, &partition.name));
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            for (unit, place) in partition.name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        entries
    }
}

const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY_BYTES) as u64 / SECTOR_BYTES;

/// 0FC63DAF-8483-4772-8E79-3D69D8477DE4: Linux filesystem data, the first three fields little-endian.
const LINUX_DATA: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// A version 8 GUID (RFC 9562 §5.8) made of a digest.
fn guid(identity: &[u8], name: &str) -> [u8; 16] {
    let digest = sha256(&[identity, b"\0", name.as_bytes()].concat());
    let mut guid: [u8; 16] = digest.as_bytes()[..16].try_into().expect("16 of 32 bytes");
    guid[7] = guid[7] & 0x0f | 0x80; // the third field is stored little-endian
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}

/// CRC-32 of ISO 3309, as UEFI uses it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn volumes_lie_one_after_another_in_whole_mebibytes() {
        let table = Table::lay_out([("data", 1), ("db", 3 << 20)]);
        let places: Vec<_> =
            table.partitions.iter().map(|p| (p.offset_bytes >> 20, p.size_bytes >> 20)).collect();
        assert_eq!(places, [(1, 1), (2, 3)]);
        assert_eq!(table.disk_bytes >> 20, 6);
    }

    #[test]
    fn both_copies_check_and_point_at_each_other() {
        let table = Table::lay_out([("data", 64 << 20)]);
        let (front, back) = (table.front(b"vm"), table.back(b"vm"));
        assert_eq!((front.len(), back.len()), (34 * 512, 33 * 512));
        assert_eq!(table.back_offset_bytes() + back.len() as u64, table.disk_bytes);
        for header in [&front[512..1024], &back[back.len() - 512..]] {
            let mut blank = header[..92].to_vec();
            blank[16..20].fill(0);
            assert_eq!(header[16..20], crc32(&blank).to_le_bytes());
        }
        assert_eq!(front[512 + 24..][..8], back[back.len() - 512 + 32..][..8]);
        assert_eq!(front[1024..], back[..back.len() - 512]);
    }
}
