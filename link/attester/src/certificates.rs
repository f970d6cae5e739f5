//! Which certificates did the host send along?
//!
//! The table of an extended report (GHCB specification 56421, SNP Extended Guest Request): entries of
//! GUID, offset and length, ended by a zero GUID. It is the host's own data: nothing in it is trusted.

/// A certificate from the host's table; unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Which certificate the host says this is.
    pub kind: CertificateKind,
    /// Its bytes, DER by convention.
    pub bytes: Vec<u8>,
}

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateKind {
    /// The chip's own key.
    Vcek,
    /// A cloud provider's key.
    Vlek,
    /// AMD's intermediate key.
    Ask,
    /// AMD's root key.
    Ark,
}

/// Why bytes are no certificate table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The list has no end.
    #[error("no zero entry ends the list within {found} bytes; the host's table is damaged")]
    Unended {
        /// Bytes searched.
        found: usize,
    },
    /// An entry points out of the table, or into its list.
    #[error(
        "entry {index} names bytes {offset} to {offset} + {length} of {available}; the host's table is damaged"
    )]
    Outside {
        /// Position in the list.
        index: usize,
        /// Offset stated.
        offset: u32,
        /// Length stated.
        length: u32,
        /// Size of the table.
        available: usize,
    },
    /// Two entries of one kind.
    #[error("entry {index} is a second {kind:?} certificate; expected one of each kind")]
    Duplicate {
        /// Position in the list.
        index: usize,
        /// The kind.
        kind: CertificateKind,
    },
}

/// Reads a certificate table of at most 16 KiB; kinds that are not known are skipped.
///
/// # Errors
/// Any [`TableError`].
pub fn parse_table(table: &[u8]) -> Result<Vec<Certificate>, TableError> {
    let entries: Vec<&[u8]> =
        table.chunks_exact(ENTRY).take_while(|entry| entry[..16].iter().any(|byte| *byte != 0)).collect();
    let list = (entries.len() + 1) * ENTRY;
    if list > table.len() {
        return Err(TableError::Unended { found: table.len() });
    }
    let mut found: Vec<Certificate> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
        let (offset, length) = (word(16), word(20));
        let outside = TableError::Outside { index, offset, length, available: table.len() };
        let end = (offset as usize).checked_add(length as usize).ok_or(outside)?;
        let bytes = table.get(offset as usize..end).filter(|_| offset as usize >= list);
        let Some(bytes) = bytes else {
            return Err(TableError::Outside { index, offset, length, available: table.len() });
        };
        let Some(kind) = kind(&entry[..16]) else { continue };
        if found.iter().any(|certificate| certificate.kind == kind) {
            return Err(TableError::Duplicate { index, kind });
        }
        found.push(Certificate { kind, bytes: bytes.to_vec() });
    }
    Ok(found)
}

/// The table of these certificates, padded with zeros to whole pages: for the software TEE and for tests.
pub fn write_table(certificates: &[Certificate]) -> Vec<u8> {
    let list = (certificates.len() + 1) * ENTRY;
    let (mut table, mut contents) = (Vec::new(), Vec::<u8>::new());
    for certificate in certificates {
        let guid = KINDS.iter().find(|(_, kind)| *kind == certificate.kind).map(|(guid, _)| guid);
        table.extend(guid.expect("every kind has a GUID"));
        table.extend(((list + contents.len()) as u32).to_le_bytes());
        table.extend((certificate.bytes.len() as u32).to_le_bytes());
        contents.extend(&certificate.bytes);
    }
    table.resize(list, 0);
    table.extend(contents);
    table.resize(table.len().next_multiple_of(4096), 0);
    table
}

fn kind(guid: &[u8]) -> Option<CertificateKind> {
    KINDS.iter().find(|(known, _)| known == guid).map(|(_, kind)| *kind)
}

const ENTRY: usize = 24;

/// GUIDs in the byte order of UEFI: the first three groups little-endian.
const KINDS: [([u8; 16], CertificateKind); 4] = [
    // 63da758d-e664-4564-adc5-f4b93be8accd
    (*b"\x8d\x75\xda\x63\x64\xe6\x64\x45\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd", CertificateKind::Vcek),
    // a8074bc2-a25a-483e-aae6-39c045a0b8a1
    (*b"\xc2\x4b\x07\xa8\x5a\xa2\x3e\x48\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1", CertificateKind::Vlek),
    // 4ab7b379-bbac-4fe4-a02f-05aef327c782
    (*b"\x79\xb3\xb7\x4a\xac\xbb\xe4\x4f\xa0\x2f\x05\xae\xf3\x27\xc7\x82", CertificateKind::Ask),
    // c0b406a4-a803-4952-9743-3fb6014cd0ae
    (*b"\xa4\x06\xb4\xc0\x03\xa8\x52\x49\x97\x43\x3f\xb6\x01\x4c\xd0\xae", CertificateKind::Ark),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(usize, u32, u32)]) -> Vec<u8> {
        let mut table = Vec::new();
        for (kind, offset, length) in entries {
            table.extend(KINDS[*kind].0);
            table.extend(offset.to_le_bytes());
            table.extend(length.to_le_bytes());
        }
        table.resize(4096, 0);
        table[200..205].copy_from_slice(b"chips");
        table
    }

    #[test]
    fn certificates_come_out_by_kind() {
        let expected = [
            Certificate { kind: CertificateKind::Vcek, bytes: b"chips".into() },
            Certificate { kind: CertificateKind::Ark, bytes: b"hip".into() },
        ];
        assert_eq!(parse_table(&table(&[(0, 200, 5), (3, 201, 3)])).unwrap(), expected);
        assert_eq!(parse_table(&[0; 4096]), Ok(vec![]));
    }

    #[test]
    fn a_table_reads_back_as_written() {
        let certificate = |kind, length| Certificate { kind, bytes: vec![length as u8; length] };
        let certificates =
            [certificate(CertificateKind::Ask, 1500), certificate(CertificateKind::Vcek, 5000)];
        let table = write_table(&certificates);
        assert_eq!(table.len(), 8192);
        assert_eq!(parse_table(&table).unwrap(), certificates);
    }

    #[test]
    fn kinds_that_are_not_known_are_skipped() {
        let mut unknown = table(&[(0, 200, 5)]);
        unknown[0] ^= 1;
        assert_eq!(parse_table(&unknown), Ok(vec![]));
    }

    #[test]
    fn damaged_tables_are_refused() {
        let outside = |offset, length| TableError::Outside { index: 0, offset, length, available: 4096 };
        for (offset, length) in [(4096, 1), (200, 4000), (u32::MAX, u32::MAX), (47, 1), (0, 0)] {
            assert_eq!(parse_table(&table(&[(0, offset, length)])), Err(outside(offset, length)));
        }
        assert_eq!(
            parse_table(&table(&[(1, 200, 5), (1, 200, 5)])),
            Err(TableError::Duplicate { index: 1, kind: CertificateKind::Vlek })
        );
        assert_eq!(parse_table(&[]), Err(TableError::Unended { found: 0 }));
        assert_eq!(parse_table(&[1; 48]), Err(TableError::Unended { found: 48 }));
    }

    proptest::proptest! {
        #[test]
        fn random_tables_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..512)) {
            let _ = parse_table(&bytes);
        }
    }
}
