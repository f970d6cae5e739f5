//! Which PCRs, and what do they hold?

use std::collections::BTreeMap;

use casemate_crypto::hash::{Digest, HashAlgorithm};

use super::error::TpmError;
use super::{PCR_COUNT, attest::read_hash};
use crate::reader::Reader;

/// TPMS_PCR_SELECTION (TPM2 Part 2 §10.6.2): PCRs of one bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSelection {
    /// The bank.
    pub bank: HashAlgorithm,
    bits: u32,
}

/// PCR values by bank and index. Whoever sends them is not yet believed: a quote signs their digest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PcrValues {
    values: BTreeMap<(HashAlgorithm, u8), Digest>,
}

/// Why a value is no PCR value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PcrValuesError {
    /// A PCR that no TPM has.
    #[error("PCR {found}, expected 0 to {}", PCR_COUNT - 1)]
    Index {
        /// The index.
        found: u32,
    },
    /// A value of another length than the bank's digests.
    #[error("PCR {index} of bank {bank} has {found} bytes, expected {}", bank.digest_len())]
    Length {
        /// The bank.
        bank: HashAlgorithm,
        /// The index.
        index: u8,
        /// Length in bytes.
        found: usize,
    },
    /// A PCR twice.
    #[error("PCR {index} of bank {bank} is given twice")]
    Duplicate {
        /// The bank.
        bank: HashAlgorithm,
        /// The index.
        index: u8,
    },
}

impl PcrSelection {
    /// These PCRs of `bank`.
    ///
    /// # Errors
    /// [`PcrValuesError::Index`].
    pub fn new(bank: HashAlgorithm, indices: impl IntoIterator<Item = u8>) -> Result<Self, PcrValuesError> {
        let mut bits = 0;
        for index in indices {
            if index >= PCR_COUNT {
                return Err(PcrValuesError::Index { found: index.into() });
            }
            bits |= 1 << index;
        }
        Ok(Self { bank, bits })
    }

    /// The indices, ascending, each once.
    pub fn indices(&self) -> impl Iterator<Item = u8> + use<> {
        let bits = self.bits;
        (0..PCR_COUNT).filter(move |index| bits & (1 << index) != 0)
    }

    /// Whether it names PCR `index`.
    pub fn contains(&self, index: u8) -> bool {
        index < PCR_COUNT && self.bits & (1 << index) != 0
    }

    /// TPML_PCR_SELECTION (TPM2 Part 2 §10.9.7): each bank at most once.
    pub(super) fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Self>, TpmError> {
        const MAXIMUM: usize = 16; // HASH_COUNT of the reference implementation
        let count = reader.u32_be()? as usize;
        if count > MAXIMUM {
            return Err(TpmError::TooMany { field: "pcrSelect", found: count, maximum: MAXIMUM });
        }
        let mut list: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let bank = read_hash(reader)?;
            if list.iter().any(|earlier| earlier.bank == bank) {
                return Err(TpmError::DuplicateBank { found: bank });
            }
            let size = reader.u8()?;
            if !(3..=4).contains(&size) {
                return Err(TpmError::SelectSize { found: size });
            }
            // TPM2 Part 2 §10.6.1: bit n of byte m selects PCR 8m + n.
            let bitmap = reader.take(size.into())?;
            let bits = bitmap.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
            list.push(Self { bank, bits });
        }
        Ok(list)
    }
}

impl PcrValues {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the value of one PCR.
    ///
    /// # Errors
    /// [`PcrValuesError`].
    pub fn insert(&mut self, bank: HashAlgorithm, index: u8, value: &[u8]) -> Result<(), PcrValuesError> {
        if index >= PCR_COUNT {
            return Err(PcrValuesError::Index { found: index.into() });
        }
        let found = value.len();
        let value = Digest::from_slice(bank, value).ok_or(PcrValuesError::Length { bank, index, found })?;
        match self.values.insert((bank, index), value) {
            None => Ok(()),
            Some(_) => Err(PcrValuesError::Duplicate { bank, index }),
        }
    }

    /// The value of one PCR, if it is there.
    pub fn value(&self, bank: HashAlgorithm, index: u8) -> Option<Digest> {
        self.values.get(&(bank, index)).copied()
    }

    /// Every value, ascending by bank and index.
    pub fn iter(&self) -> impl Iterator<Item = (HashAlgorithm, u8, Digest)> + '_ {
        self.values.iter().map(|(&(bank, index), &value)| (bank, index, value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
