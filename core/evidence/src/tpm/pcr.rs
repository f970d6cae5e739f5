//! Which PCRs, and what do they hold?

use std::collections::BTreeMap;

use casemate_crypto::hash::{Digest, HashAlgorithm, Sha256, sha256};

use super::error::TpmError;
use super::tools::PcrFileError;
use super::{
    PCR_COUNT,
    attest::{hash_of, id_of, read_hash},
};
use crate::bundle::TpmPcr;
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

    /// Reads the values of a bundle's quote.
    ///
    /// # Errors
    /// [`PcrFileError::Hash`], [`PcrFileError::Value`].
    pub fn read_items(items: &[TpmPcr]) -> Result<Self, PcrFileError> {
        let mut pcrs = Self::new();
        for item in items {
            let bank = hash_of(item.bank).ok_or(PcrFileError::Hash { found: item.bank })?;
            pcrs.insert(bank, item.index, &item.value)?;
        }
        Ok(pcrs)
    }

    /// The values as a bundle carries them.
    pub fn to_items(&self) -> Vec<TpmPcr> {
        let item = |(bank, index, value): (HashAlgorithm, u8, Digest)| TpmPcr {
            bank: id_of(bank),
            index,
            value: value.as_bytes().to_vec().into(),
        };
        self.iter().map(item).collect()
    }

    /// What was launched, as one value: SHA-256 over `CSM1TPML` and, of each of PCR 0 to 9 and 11 to 14 that
    /// has a value in `bank`, in ascending order, TPM_ALG_ID of the bank (2 bytes, big-endian), index (1 byte)
    /// and value (`docs/reference/launch-measurement.md`). The others belong to the running system.
    pub fn launch_measurement(&self, bank: HashAlgorithm) -> Sha256 {
        let mut bytes = b"CSM1TPML".to_vec();
        for index in (0..=9).chain(11..=14) {
            if let Some(value) = self.value(bank, index) {
                bytes.extend_from_slice(&id_of(bank).to_be_bytes());
                bytes.push(index);
                bytes.extend_from_slice(value.as_bytes());
            }
        }
        sha256(&bytes)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::read_pcr_json;

    fn pcrs() -> PcrValues {
        let mut pcrs = PcrValues::new();
        for index in [4, 7, 10] {
            pcrs.insert(HashAlgorithm::Sha256, index, &[index; 32]).unwrap();
        }
        pcrs.insert(HashAlgorithm::Sha384, 4, &[9; 48]).unwrap();
        pcrs
    }

    #[test]
    fn values_read_back_from_a_bundle_and_from_json() {
        assert_eq!(PcrValues::read_items(&pcrs().to_items()).unwrap(), pcrs());
        let digits = |byte: &str, len| byte.repeat(len);
        let json = format!(
            r#"{{"sha256": {{"4": "{}", "7": "{}", "10": "{}"}}, "sha384": {{"4": "{}"}}}}"#,
            digits("04", 32),
            digits("07", 32),
            digits("0a", 32),
            digits("09", 48)
        );
        assert_eq!(read_pcr_json(json.as_bytes()).unwrap(), pcrs());
    }

    #[test]
    fn values_that_are_none_have_a_refusal_each() {
        let item = |bank, index, len: usize| TpmPcr { bank, index, value: vec![0; len].into() };
        let refused = |item| PcrValues::read_items(&[item]).unwrap_err();
        assert!(matches!(refused(item(0x12, 0, 32)), PcrFileError::Hash { found: 0x12 }));
        assert!(matches!(refused(item(0x0B, 32, 32)), PcrFileError::Value(PcrValuesError::Index { .. })));
        assert!(matches!(refused(item(0x0B, 0, 31)), PcrFileError::Value(PcrValuesError::Length { .. })));
        for text in ["[]", r#"{"md5": {}}"#, r#"{"sha256": {"x": ""}}"#, r#"{"sha256": {"0": "zz"}}"#] {
            assert!(matches!(read_pcr_json(text.as_bytes()), Err(PcrFileError::Json { .. })), "{text}");
        }
        let short = r#"{"sha256": {"0": "00"}}"#;
        assert!(matches!(read_pcr_json(short.as_bytes()), Err(PcrFileError::Value(_))));
    }

    /// docs/reference/launch-measurement.md, section 8.
    #[test]
    fn the_launch_measurement_is_of_the_boot_in_one_bank() {
        let bytes = [
            &b"CSM1TPML"[..],
            &[0, 0x0B, 4],
            &[4; 32],
            &[0, 0x0B, 7],
            &[7; 32], // PCR 10 is the running system's
        ]
        .concat();
        assert_eq!(pcrs().launch_measurement(HashAlgorithm::Sha256), sha256(&bytes));
        let other = [&b"CSM1TPML"[..], &[0, 0x0C, 4], &[9; 48]].concat();
        assert_eq!(pcrs().launch_measurement(HashAlgorithm::Sha384), sha256(&other));
    }
}
