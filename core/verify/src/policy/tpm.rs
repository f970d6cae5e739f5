//! Which TPMs, and which of their quotes, does this policy accept?
//!
//! `[tpm]` judges quotes and serves `[gcp]` and `[azure]` as well, which say whose vTPM it is.

use casemate_crypto::hash::{HashAlgorithm, Sha256};
use casemate_evidence::tpm::PCR_COUNT;
use serde::Deserialize;

use super::registers::{RegisterRules, RegisterTable};
use super::value::{ListOrWord, bit, bytes, list_or_any, list_or_none, word};
use super::{Accept, BitRule, PolicyError};
use crate::trust::TpmRoots;

/// What is accepted of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TpmRules {
    pub roots: Vec<Sha256>,
    pub keys: Vec<Sha256>,
    /// The bank by whose PCRs it judges; values of others do not count.
    pub bank: HashAlgorithm,
    pub safe_clock: BitRule,
    pub firmware_versions: Accept<u64>,
    pub pcrs: RegisterRules,
}

impl TpmRules {
    pub(super) fn read(table: TpmTable) -> Result<Self, PolicyError> {
        let bank = word("tpm.bank", &table.bank, "\"sha256\", \"sha384\" or \"sha512\"", |word| {
            let strong = HashAlgorithm::ALL.into_iter().filter(|hash| *hash != HashAlgorithm::Sha1);
            strong.into_iter().find(|hash| hash.name() == word)
        })?;
        Ok(Self {
            roots: list_or_none("tpm.roots", table.roots, bytes)?,
            keys: list_or_none("tpm.keys", table.keys, bytes)?,
            bank,
            safe_clock: bit("tpm.safe_clock", &table.safe_clock)?,
            firmware_versions: list_or_any("tpm.firmware_versions", table.firmware_versions, version)?,
            pcrs: RegisterRules::read("tpm.pcrs", table.pcrs, PCR_COUNT, &[bank.digest_len()])?,
        })
    }

    /// Who may vouch for an attestation key.
    pub(crate) fn anchors(&self) -> TpmRoots {
        TpmRoots { authorities: self.roots.clone(), enrolled_keys: self.keys.clone() }
    }
}

/// 16 hexadecimal digits.
fn version(field: &'static str, text: String) -> Result<u64, PolicyError> {
    word(field, &text, "versions of 16 hexadecimal digits", |word| {
        let digits = word.len() == 16 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(word, 16).ok()).flatten()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TpmTable {
    roots: ListOrWord,
    keys: ListOrWord,
    bank: String,
    safe_clock: String,
    firmware_versions: ListOrWord,
    pcrs: RegisterTable,
}
