//! Of which TCB recoveries does Intel publish collateral?
//!
//! Source: Provisioning Certification Service API, version 4, "Get TCB Evaluation Data Numbers". Collateral
//! of a number that is not listed any more was withdrawn.

use casemate_crypto::sign;
use serde::Deserialize;

use super::json::{self, CollateralError};
use super::tcb_info::Tee;

/// A list of TCB evaluation data numbers, well formed; nothing about its signature is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationNumbers {
    body: Vec<u8>,
    file: File,
}

/// A TCB recovery of which Intel publishes collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationNumber {
    /// The number, which rises with each TCB recovery.
    #[serde(rename = "tcbEvaluationDataNumber")]
    pub number: u32,
    /// When Intel made the recovery public, in milliseconds since 1970.
    #[serde(deserialize_with = "json::time_ms", rename = "tcbRecoveryEventDate")]
    pub recovery_ms: u64,
    /// The day whose knowledge the collateral has, in milliseconds since 1970.
    #[serde(deserialize_with = "json::time_ms", rename = "tcbDate")]
    pub tcb_date_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    id: Tee,
    version: u32,
    #[serde(deserialize_with = "json::time_ms")]
    issue_date: u64,
    #[serde(deserialize_with = "json::time_ms")]
    next_update: u64,
    tcb_eval_numbers: Vec<EvaluationNumber>,
}

impl EvaluationNumbers {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 32 * 1024;

    /// Reads a list, the very bytes that are signed.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn parse(body: &[u8]) -> Result<Self, CollateralError> {
        let file: File = json::read(DOCUMENT, body, Self::MAXIMUM_LEN)?;
        if file.version != 1 {
            return Err(CollateralError::Version { document: DOCUMENT, found: file.version, expected: "1" });
        }
        if file.tcb_eval_numbers.is_empty() {
            return Err(CollateralError::NoLevels { document: DOCUMENT });
        }
        Ok(Self { body: body.to_vec(), file })
    }

    /// Reads an answer of Intel's service: a list and its signature.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn parse_response(bytes: &[u8]) -> Result<(Self, sign::Signature), CollateralError> {
        let (body, signature) =
            json::split_response(DOCUMENT, "tcbEvaluationDataNumbers", bytes, Self::MAXIMUM_LEN)?;
        Ok((Self::parse(&body)?, signature))
    }

    /// The bytes that are signed.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Which TEE it speaks of.
    pub fn tee(&self) -> Tee {
        self.file.id
    }

    /// When it was issued, in milliseconds since 1970.
    pub fn issued_ms(&self) -> u64 {
        self.file.issue_date
    }

    /// When the next is due, in milliseconds since 1970.
    pub fn next_update_ms(&self) -> u64 {
        self.file.next_update
    }

    /// The recoveries, as listed.
    pub fn numbers(&self) -> &[EvaluationNumber] {
        &self.file.tcb_eval_numbers
    }

    /// The least number of which collateral is still published.
    pub fn least(&self) -> u32 {
        let numbers = self.file.tcb_eval_numbers.iter().map(|one| one.number);
        numbers.fold(u32::MAX, u32::min)
    }
}

const DOCUMENT: &str = "list of TCB evaluation data numbers";

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"id":"TDX","version":1,"issueDate":"2026-03-01T00:00:00Z","nextUpdate":"2026-03-31T00:00:00Z","tcbEvalNumbers":[{"tcbEvaluationDataNumber":19,"tcbRecoveryEventDate":"2025-05-13T00:00:00Z","tcbDate":"2025-05-14T00:00:00Z"},{"tcbEvaluationDataNumber":17,"tcbRecoveryEventDate":"2024-11-12T00:00:00Z","tcbDate":"2024-11-13T00:00:00Z"}]}"#;

    #[test]
    fn a_list_is_read_with_its_least_number() {
        let response = format!(r#"{{"tcbEvaluationDataNumbers":{BODY},"signature":"{}"}}"#, "5a".repeat(64));
        let (list, signature) = EvaluationNumbers::parse_response(response.as_bytes()).unwrap();
        assert_eq!(list.signed_bytes(), BODY.as_bytes());
        assert_eq!(signature.as_bytes(), &[0x5A; 64]);
        assert_eq!((list.tee(), list.least(), list.numbers().len()), (Tee::Tdx, 17, 2));
        assert_eq!(list.issued_ms(), 1_772_323_200_000);
        assert_eq!(list.next_update_ms(), 1_774_915_200_000);
    }

    #[test]
    fn other_shapes_are_refused() {
        let read = |from: &str, to: &str| EvaluationNumbers::parse(BODY.replace(from, to).as_bytes());
        assert!(matches!(
            read(r#""version":1"#, r#""version":2"#),
            Err(CollateralError::Version { found: 2, .. })
        ));
        assert!(matches!(read("TDX", "TPM"), Err(CollateralError::Json { .. })));
        assert!(matches!(read("tcbDate", "tcbDay"), Err(CollateralError::Json { .. })));
        assert!(matches!(read(r#""version""#, r#""more":1,"version""#), Err(CollateralError::Json { .. })));
        let empty = BODY.split_once('[').unwrap().0.to_owned() + "[]}";
        assert!(matches!(EvaluationNumbers::parse(empty.as_bytes()), Err(CollateralError::NoLevels { .. })));
        let long = vec![b' '; EvaluationNumbers::MAXIMUM_LEN + 1];
        assert!(matches!(EvaluationNumbers::parse(&long), Err(CollateralError::TooLong { .. })));
        let other = br#"{"tcbInfo":{},"signature":""}"#;
        assert!(matches!(EvaluationNumbers::parse_response(other), Err(CollateralError::Json { .. })));
    }
}
