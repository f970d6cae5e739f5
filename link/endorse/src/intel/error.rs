//! Why does collateral not count?

use casemate_evidence::intel::Tee;
use casemate_verify::intel::{ChainError, CollateralFileError, DocumentError, EvaluationNumbersError};

use super::set::Platform;

/// Why collateral that a server, a file or the disk gave is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralRefusal {
    /// Not what it should be.
    #[error(transparent)]
    Format(#[from] CollateralFileError),
    /// The header that carries the signer's certificates is missing, or holds something else.
    #[error("header {name} does not hold two certificates, the signer's and the root's; is it Intel's API?")]
    IssuerChain {
        /// The header.
        name: &'static str,
    },
    /// A part is not there.
    #[error("{part} is not there; give all parts together")]
    Missing {
        /// The part.
        part: &'static str,
    },
    /// No trusted root vouches for it, or it is not current.
    #[error(transparent)]
    NotEndorsed(#[from] DocumentError),
    /// No trusted root vouches for the authority of the PCK, or it did not sign the list.
    #[error(transparent)]
    Authority(#[from] ChainError),
    /// No trusted root vouches for the evaluation numbers, or Intel withdrew the collateral.
    #[error(transparent)]
    EvaluationNumbers(#[from] EvaluationNumbersError),
    /// Of another platform than asked for.
    #[error("collateral of {found}, asked for was that of {expected}")]
    OtherPlatform {
        /// Platform found.
        found: Platform,
        /// Platform asked for.
        expected: Platform,
    },
    /// TCB info of one TEE beside the identity of the other's Quoting Enclave, or numbers of the other.
    #[error("the TCB info and what stands beside it are not of one TEE: {found:?}, expected {expected:?}")]
    OtherTee {
        /// TEE found.
        found: Tee,
        /// TEE of the TCB info, or asked for.
        expected: Tee,
    },
    /// Older than what is kept: what it does not know yet stays known.
    #[error("{part} {found}, older than the stored {stored}; the stored one is kept")]
    Older {
        /// Which part.
        part: Part,
        /// Edition found.
        found: Edition,
        /// Edition that is kept.
        stored: Edition,
    },
}

/// A part of collateral that is replaced by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// TCB info.
    TcbInfo,
    /// Identity of the Quoting Enclave.
    QeIdentity,
    /// Revocation list of the root.
    RootRevocationList,
    /// Revocation list of the authority of the PCK.
    PckRevocationList,
    /// TCB evaluation data numbers.
    EvaluationNumbers,
}

/// Which edition of a part: both numbers rise with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    /// TCB evaluation data number or CRL number, if it has any.
    pub number: Option<u128>,
    /// When it was made, milliseconds since 1970.
    pub made_ms: u64,
}

impl Edition {
    /// Whether it is older than `other` in any way that can be compared.
    pub(crate) fn is_older_than(&self, other: &Edition) -> bool {
        let by_number = matches!((self.number, other.number), (Some(found), Some(stored)) if found < stored);
        by_number || self.made_ms < other.made_ms
    }
}

impl std::fmt::Display for Edition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            Some(number) => write!(f, "number {number} of {} ms", self.made_ms),
            None => write!(f, "of {} ms", self.made_ms),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::TcbInfo => "TCB info",
            Part::QeIdentity => "identity of the Quoting Enclave",
            Part::RootRevocationList => "root's revocation list",
            Part::PckRevocationList => "revocation list of the PCK's authority",
            Part::EvaluationNumbers => "TCB evaluation data numbers",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edition_is_older_by_its_number_or_by_its_day() {
        let edition = |number, made_ms| Edition { number, made_ms };
        let stored = edition(Some(17), 100);
        assert!(edition(Some(16), 200).is_older_than(&stored), "a lower number, although issued later");
        assert!(edition(Some(18), 99).is_older_than(&stored), "issued earlier");
        assert!(edition(None, 99).is_older_than(&stored));
        for same_or_newer in [stored, edition(Some(17), 101), edition(Some(18), 100), edition(None, 100)] {
            assert!(!same_or_newer.is_older_than(&stored), "{same_or_newer}");
        }
    }
}
