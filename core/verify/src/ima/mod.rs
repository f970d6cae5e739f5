//! Is this IMA measurement list true, and is what it lists allowed?
//!
//! A list is true as far as a prefix of it replays to the PCR that a TPM quoted ([`authenticate_list`]). What
//! follows the prefix is not yet vouched for, and comes with the next quote. What is allowed says a runtime
//! policy in Keylime's format ([`RuntimePolicy`]).
//!
//! IMA lists what was opened as the kernel's IMA policy says. Interpreters' input, code that was injected into
//! a running process and whatever that policy leaves out are not in the list.

mod findings;
mod policy;

pub use findings::{Finding, Violations};
pub use policy::{RuntimePolicy, RuntimePolicyError};

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::ima::{BankRule, Entry, EntryError, FileHash, List};
use casemate_evidence::tpm::PcrValues;

/// The part of a list that a quoted PCR vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenuineList {
    entries: Vec<Entry>,
    register: Digest,
    rule: BankRule,
    later: usize,
}

/// From where a list goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It is the whole list, from the boot on.
    Boot,
    /// It follows entries after which the PCR held this value, as an earlier [`GenuineList::register`] says.
    After(Digest),
}

/// Why a list is not true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenuineListError {
    /// The PCR is not quoted in this bank.
    #[error("PCR {pcr} of bank {bank} is not quoted")]
    NotQuoted {
        /// The bank.
        bank: HashAlgorithm,
        /// The PCR.
        pcr: u8,
    },
    /// The earlier value is of another bank.
    #[error("the list goes on from a value of bank {found}, quoted is bank {expected}")]
    Bank {
        /// Of the earlier value.
        found: HashAlgorithm,
        /// That is quoted.
        expected: HashAlgorithm,
    },
    /// No prefix replays to the quoted value.
    #[error(
        "no prefix of the {entries} entries gives PCR {pcr} its quoted value {expected}; the whole list gives \
         {found}: an entry was changed, left out, added or moved, or the machine restarted"
    )]
    Mismatch {
        /// The PCR.
        pcr: u8,
        /// How many entries there are.
        entries: usize,
        /// After all of them.
        found: Box<Digest>,
        /// Quoted.
        expected: Box<Digest>,
    },
    /// An entry contradicts itself.
    #[error("entry {number}: {source}")]
    Entry {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        source: EntryError,
    },
}

/// Why the entry `boot_aggregate` does not belong to this boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootAggregateError {
    /// The first entry is another.
    #[error("the first entry is {found:?}, expected \"boot_aggregate\"")]
    Missing {
        /// Its name; empty without any entry.
        found: String,
    },
    /// Of a hash function that no quoted bank has.
    #[error("the boot aggregate is of {found}; quote PCR 0 to 9 in that bank")]
    Bank {
        /// The hash function.
        found: String,
    },
    /// A PCR that it covers is not quoted.
    #[error("PCR {pcr} of bank {bank} is not quoted, and the boot aggregate covers it")]
    NotQuoted {
        /// The bank.
        bank: HashAlgorithm,
        /// The PCR.
        pcr: u8,
    },
    /// It is of other PCR values.
    #[error("the boot aggregate is {found}, the quoted PCRs give {expected}: the list is of another boot")]
    Mismatch {
        /// In the list.
        found: Box<Digest>,
        /// Over PCR 0 to 9.
        expected: Box<Digest>,
    },
}

/// Finds the longest prefix of `list` after which PCR `pcr` holds its quoted value, in `bank`.
///
/// # Errors
/// [`GenuineListError`].
pub fn authenticate_list(
    list: &List,
    start: Start,
    pcrs: &PcrValues,
    bank: HashAlgorithm,
    pcr: u8,
) -> Result<GenuineList, GenuineListError> {
    let expected = pcrs.value(bank, pcr).ok_or(GenuineListError::NotQuoted { bank, pcr })?;
    let first = match start {
        Start::Boot => Digest::filled(bank, 0),
        Start::After(value) if value.algorithm() != bank => {
            return Err(GenuineListError::Bank { found: value.algorithm(), expected: bank });
        }
        Start::After(value) => value,
    };
    for rule in [BankRule::OwnDigest, BankRule::PaddedSha1] {
        // How many entries belong to the longest prefix that fits; none at all fits as well.
        let after = std::iter::once(first).chain(list.replay(pcr, first, rule));
        let fitting =
            after.enumerate().filter(|(_, value)| *value == expected).map(|(count, _)| count).last();
        if let Some(count) = fitting {
            let entries = list.entries[..count].to_vec();
            for (index, entry) in entries.iter().enumerate() {
                let error = |source| GenuineListError::Entry { number: index + 1, source };
                entry.check_template_hash().map_err(error)?;
            }
            let later = list.entries.len() - count;
            return Ok(GenuineList { entries, register: expected, rule, later });
        }
    }
    let found = list.replay(pcr, first, BankRule::OwnDigest).last().unwrap_or(first);
    Err(GenuineListError::Mismatch {
        pcr,
        entries: list.entries.len(),
        found: Box::new(found),
        expected: Box::new(expected),
    })
}

impl GenuineList {
    /// The entries that the quote vouches for, in their order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the PCR held after them: from where a later part of the list goes on.
    pub fn register(&self) -> Digest {
        self.register
    }

    /// How the kernel extends banks of other hash functions.
    pub fn rule(&self) -> BankRule {
        self.rule
    }

    /// How many entries came along that the quote does not vouch for yet.
    pub fn later(&self) -> usize {
        self.later
    }

    /// Checks that the list belongs to the boot whose PCRs were quoted: its first entry is the digest of
    /// PCR 0 to 9 (of PCR 0 to 7 with SHA-1, and before Linux 5.8; `ima_calc_boot_aggregate_tfm`).
    ///
    /// Only for a list from the boot on.
    ///
    /// # Errors
    /// [`BootAggregateError`].
    pub fn check_boot_aggregate(&self, pcrs: &PcrValues) -> Result<(), BootAggregateError> {
        let named = self.entries.first().filter(|entry| entry.name == b"boot_aggregate");
        let entry = named.ok_or_else(|| BootAggregateError::Missing {
            found: self.entries.first().map_or_else(String::new, |entry| entry.name_text().into_owned()),
        })?;
        let FileHash::Known(bank) = &entry.digest.algorithm else {
            return Err(BootAggregateError::Bank { found: entry.digest.algorithm.name().to_owned() });
        };
        let found = Digest::from_slice(*bank, &entry.digest.bytes)
            .expect("a digest of a known hash function has its length");
        let short = boot_aggregate(pcrs, *bank, 7)?;
        if found == short {
            return Ok(());
        }
        let expected = boot_aggregate(pcrs, *bank, 9)?;
        if found == expected {
            Ok(())
        } else {
            Err(BootAggregateError::Mismatch { found: Box::new(found), expected: Box::new(expected) })
        }
    }
}

fn boot_aggregate(pcrs: &PcrValues, bank: HashAlgorithm, last: u8) -> Result<Digest, BootAggregateError> {
    let values: Vec<Digest> = (0..=last)
        .map(|pcr| pcrs.value(bank, pcr).ok_or(BootAggregateError::NotQuoted { bank, pcr }))
        .collect::<Result<_, _>>()?;
    let parts: Vec<&[u8]> = values.iter().map(Digest::as_bytes).collect();
    Ok(bank.digest_parts(&parts))
}
