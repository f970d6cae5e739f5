//! Where does the log of a confidential guest lie?

use crate::reader::{Reader, Truncated};

/// The ACPI table CCEL (ACPI 6.5 §5.2.34): what the guest's firmware says of its event log. Host and
/// firmware write it; nothing signs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CcelTable {
    /// CC Type: 1 AMD SEV, 2 Intel TDX.
    pub cc_type: u8,
    /// CC Subtype.
    pub cc_subtype: u8,
    /// LAML: least length of the memory that holds the log, in bytes.
    pub log_len: u64,
    /// LASA: where that memory begins.
    pub log_address: u64,
}

/// Why bytes are no CCEL table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CcelTableError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Another table.
    #[error("a table of another kind, expected CCEL")]
    Signature,
    /// Another length than the bytes have.
    #[error("the table states {stated} bytes, expected {}, and {found} came", CcelTable::LEN)]
    Length {
        /// In the table.
        stated: u32,
        /// How many bytes came.
        found: usize,
    },
    /// Its bytes do not add up to zero.
    #[error("the bytes of the table add up to {found}, expected 0: a byte was changed")]
    Checksum {
        /// The sum, modulo 256.
        found: u8,
    },
}

impl CcelTable {
    /// Length in bytes.
    pub const LEN: usize = 56;

    /// Reads the table.
    ///
    /// # Errors
    /// [`CcelTableError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CcelTableError> {
        let mut reader = Reader::new(bytes);
        if reader.take(4)? != b"CCEL" {
            return Err(CcelTableError::Signature);
        }
        let stated = reader.u32_le()?;
        if bytes.len() != Self::LEN || usize::try_from(stated) != Ok(Self::LEN) {
            return Err(CcelTableError::Length { stated, found: bytes.len() });
        }
        match bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) {
            0 => {}
            found => return Err(CcelTableError::Checksum { found }),
        }
        reader.take(28)?; // revision, checksum, and who made the table
        let [cc_type, cc_subtype, _, _] = reader.array()?;
        Ok(Self { cc_type, cc_subtype, log_len: reader.u64_le()?, log_address: reader.u64_le()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<u8> {
        let mut bytes = vec![0; CcelTable::LEN];
        bytes[..4].copy_from_slice(b"CCEL");
        bytes[4] = CcelTable::LEN as u8;
        bytes[36] = 2;
        bytes[40..48].copy_from_slice(&0x1_0000_u64.to_le_bytes());
        bytes[48..56].copy_from_slice(&0xBEDB_F000_u64.to_le_bytes());
        bytes[9] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes
    }

    #[test]
    fn every_field_is_read_and_every_byte_counts() {
        let good = CcelTable { cc_type: 2, cc_subtype: 0, log_len: 0x1_0000, log_address: 0xBEDB_F000 };
        assert_eq!(CcelTable::parse(&table()), Ok(good));
        for index in 8..CcelTable::LEN {
            let mut changed = table();
            changed[index] ^= 1;
            assert!(matches!(CcelTable::parse(&changed), Err(CcelTableError::Checksum { .. })), "{index}");
        }
        let mut other = table();
        other[0] = b'X';
        assert_eq!(CcelTable::parse(&other), Err(CcelTableError::Signature));
        assert_eq!(CcelTable::parse(&table()[..55]), Err(CcelTableError::Length { stated: 56, found: 55 }));
        other = table();
        other[4] = 57;
        assert_eq!(CcelTable::parse(&other), Err(CcelTableError::Length { stated: 57, found: 56 }));
    }
}
