//! Which PCR values did tpm2-tools write beside a quote?
//!
//! Source: tpm2-tools, `lib/pcr.c`, the default ("serialized") output of `tpm2_quote -o`, which Keylime
//! also sends: TPML_PCR_SELECTION and a list of TPML_DIGEST, as they lie in memory, little-endian.

use std::collections::BTreeMap;

use casemate_crypto::hash::HashAlgorithm;

use super::attest::hash_of;
use super::pcr::{PcrSelection, PcrValues, PcrValuesError};
use crate::reader::{Reader, Truncated};

/// Why a file holds no PCR values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PcrFileError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Bytes follow the last list.
    #[error("{found} bytes follow the PCR values")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// More banks or lists than the structures have room for.
    #[error("`{field}` is {found}, at most {maximum} are possible")]
    TooMany {
        /// The field.
        field: &'static str,
        /// The number.
        found: u32,
        /// Greatest number possible.
        maximum: u32,
    },
    /// A bank of a hash function that Casemate does not verify.
    #[error("hash algorithm {found:#06x}, expected SHA-1, SHA-256, SHA-384 or SHA-512")]
    Hash {
        /// TPM_ALG_ID.
        found: u16,
    },
    /// A bitmap that is not of 3 or 4 bytes.
    #[error("a PCR bitmap of {found} bytes, expected 3 or 4")]
    SelectSize {
        /// sizeofSelect.
        found: u8,
    },
    /// Fewer or more values than PCRs are selected.
    #[error("{found} values for {expected} selected PCRs")]
    Count {
        /// Number of values.
        found: usize,
        /// Number of selected PCRs.
        expected: usize,
    },
    /// A value that is none of its PCR.
    #[error(transparent)]
    Value(#[from] PcrValuesError),
    /// Not JSON of the expected form.
    #[error("not the JSON of PCR values, {{\"sha256\": {{\"0\": DIGITS}}}}: {message}")]
    Json {
        /// What is wrong.
        message: String,
    },
}

/// Reads the PCR values that `tpm2_quote -o` wrote. Nothing vouches for them but a quote over their digest.
///
/// # Errors
/// [`PcrFileError`].
pub fn read_pcr_file(bytes: &[u8]) -> Result<PcrValues, PcrFileError> {
    let mut reader = Reader::new(bytes);
    let selected = read_selection(&mut reader)?;
    let lists = bounded("pcrs.count", reader.u32_le()?, MAXIMUM_LISTS)?;
    let mut values = Vec::new();
    for _ in 0..lists {
        let count = bounded("TPML_DIGEST.count", reader.u32_le()?, DIGESTS_PER_LIST)?;
        for index in 0..DIGESTS_PER_LIST {
            let size = usize::from(reader.u16_le()?);
            let buffer = reader.take(64)?;
            if index < count {
                let value = buffer.get(..size);
                values.push(value.ok_or(Truncated { offset: reader.position(), needed: size, left: 64 })?);
            }
        }
    }
    if !reader.is_at_end() {
        return Err(PcrFileError::Trailing { found: reader.rest().len() });
    }
    if values.len() != selected.len() {
        return Err(PcrFileError::Count { found: values.len(), expected: selected.len() });
    }
    let mut pcrs = PcrValues::new();
    for ((bank, index), value) in selected.into_iter().zip(values) {
        pcrs.insert(bank, index, value)?;
    }
    Ok(pcrs)
}

/// TPML_PCR_SELECTION in memory: a count, and room for 16 selections of 8 bytes, one of them padding.
/// Reads PCR values in JSON: an object with a member for each bank (`sha1`, `sha256`, `sha384`, `sha512`), of
/// which each is an object with a member for each PCR, its index, that holds the value in hexadecimal.
///
/// # Errors
/// [`PcrFileError::Json`], [`PcrFileError::Value`].
pub fn read_pcr_json(bytes: &[u8]) -> Result<PcrValues, PcrFileError> {
    let fault = |message: String| PcrFileError::Json { message };
    let banks: BTreeMap<String, BTreeMap<u8, String>> =
        serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
    let mut pcrs = PcrValues::new();
    for (name, values) in banks {
        let bank = HashAlgorithm::ALL.into_iter().find(|known| known.name() == name);
        let bank = bank.ok_or_else(|| fault(format!("bank {name:?} is unknown")))?;
        for (index, digits) in values {
            let value =
                hex::decode(&digits).map_err(|_| fault(format!("PCR {index} is no hexadecimal number")))?;
            pcrs.insert(bank, index, &value)?;
        }
    }
    Ok(pcrs)
}

fn read_selection(reader: &mut Reader<'_>) -> Result<Vec<(HashAlgorithm, u8)>, PcrFileError> {
    let count = bounded("selection.count", reader.u32_le()?, BANKS)?;
    let mut selected = Vec::new();
    for index in 0..BANKS {
        let found = reader.u16_le()?;
        let size = reader.u8()?;
        let bitmap = reader.take(4)?;
        reader.u8()?; // alignment
        if index >= count {
            continue;
        }
        let bank = hash_of(found).ok_or(PcrFileError::Hash { found })?;
        if !(3..=4).contains(&size) {
            return Err(PcrFileError::SelectSize { found: size });
        }
        let bits = bitmap[..size.into()].iter().enumerate();
        let indices = bits.flat_map(|(byte, bits)| {
            (0..8_u8).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| 8 * byte as u8 + bit)
        });
        selected.extend(PcrSelection::new(bank, indices)?.indices().map(|index| (bank, index)));
    }
    Ok(selected)
}

fn bounded(field: &'static str, found: u32, maximum: u32) -> Result<u32, PcrFileError> {
    if found > maximum { Err(PcrFileError::TooMany { field, found, maximum }) } else { Ok(found) }
}

/// TPM2_NUM_PCR_BANKS, the digests of a TPML_DIGEST, and how many of these the tool has room for.
const BANKS: u32 = 16;
const DIGESTS_PER_LIST: u32 = 8;
const MAXIMUM_LISTS: u32 = 64;
