//! Which measurements, and what must the PCR hold after them?

use casemate_crypto::hash::{Digest, HashAlgorithm};

use super::entry::{Entry, EntryError};
use crate::reader::Reader;

/// A measurement list, well formed; or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// The entries in their order.
    pub entries: Vec<Entry>,
}

/// What a kernel extends in a bank whose hash function is not that of the list's template hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankRule {
    /// The digest of the template's data by the bank's hash function (Linux 5.8 and later).
    OwnDigest,
    /// The SHA-1 template hash, with zeros to the length of the bank's digests (before Linux 5.8).
    PaddedSha1,
}

/// Why bytes are no measurement list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Larger than any list that is accepted.
    #[error("{found} bytes, at most {} are accepted; send the list in parts", List::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// An entry that is none.
    #[error("entry {number}: {source}")]
    Entry {
        /// Which, from 1, as lines are numbered.
        number: usize,
        /// What is wrong.
        source: EntryError,
    },
    /// The last line has no end: the list was cut inside it.
    #[error("the last line has no end; the list was cut")]
    Cut,
}

impl List {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 32 * 1024 * 1024;

    /// Reads `ascii_runtime_measurements`: one entry per line.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn parse_ascii(bytes: &[u8]) -> Result<Self, ListError> {
        check_length(bytes)?;
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let lines = bytes.strip_suffix(b"\n").ok_or(ListError::Cut)?;
        let entries = lines
            .split(|byte| *byte == b'\n')
            .enumerate()
            .map(|(index, line)| {
                let error = |source| ListError::Entry { number: index + 1, source };
                Entry::parse_ascii(line).map_err(error)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Reads `binary_runtime_measurements`, whose template hashes are of `algorithm`: SHA-1, unless the file
    /// names another.
    ///
    /// # Errors
    /// [`ListError`] but `Cut`.
    pub fn parse_binary(bytes: &[u8], algorithm: HashAlgorithm) -> Result<Self, ListError> {
        check_length(bytes)?;
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while !reader.is_at_end() {
            let number = entries.len() + 1;
            let entry = Entry::read_binary(&mut reader, algorithm);
            entries.push(entry.map_err(|source| ListError::Entry { number, source })?);
        }
        Ok(Self { entries })
    }

    /// What the PCR holds after each entry, from `start` on; entries of other PCRs leave it as it is.
    ///
    /// The kernel extends first and lists afterwards under one lock, but a quote and the list are read one
    /// after the other: the quoted value is that after some prefix.
    pub fn replay<'a>(
        &'a self,
        pcr: u8,
        start: Digest,
        rule: BankRule,
    ) -> impl Iterator<Item = Digest> + use<'a> {
        let bank = start.algorithm();
        self.entries.iter().scan(start, move |value, entry| {
            if entry.pcr == pcr {
                *value = value.extend(&extension(entry, bank, rule));
            }
            Some(*value)
        })
    }
}

/// What the kernel extends for an entry. A violation extends ones (`ima_add_template_entry`).
fn extension(entry: &Entry, bank: HashAlgorithm, rule: BankRule) -> Vec<u8> {
    if entry.is_violation() {
        return vec![0xFF; bank.digest_len()];
    }
    match rule {
        BankRule::OwnDigest => entry.template_digest(bank).as_bytes().to_vec(),
        BankRule::PaddedSha1 => {
            let mut padded = entry.template_digest(HashAlgorithm::Sha1).as_bytes().to_vec();
            padded.resize(bank.digest_len(), 0);
            padded
        }
    }
}

fn check_length(bytes: &[u8]) -> Result<(), ListError> {
    if bytes.len() > List::MAXIMUM_LEN { Err(ListError::TooLong { found: bytes.len() }) } else { Ok(()) }
}
