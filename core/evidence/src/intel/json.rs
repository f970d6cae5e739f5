//! How is Intel's collateral written?
//!
//! JSON whose bytes are signed as they stand. Unknown members are refused: what Casemate does not know
//! might limit what it knows. Intel added members under a known version once (`tdxModuleIdentities`);
//! when that happens again, an update of Casemate is needed, not a guess.

use casemate_crypto::sign;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Why bytes are no collateral.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Longer than any in use.
    #[error("{found} bytes of {document}, at most {maximum} are accepted")]
    TooLong {
        /// What it should be.
        document: &'static str,
        /// Length in bytes.
        found: usize,
        /// Greatest length accepted.
        maximum: usize,
    },
    /// Not JSON of the expected shape; the source names line and column.
    #[error("not the expected {document}: {source}; Intel may have added to it: update Casemate")]
    Json {
        /// What it should be.
        document: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A version whose rules are not known.
    #[error("{document} of version {found}, expected {expected}")]
    Version {
        /// What it is.
        document: &'static str,
        /// The version.
        found: u32,
        /// Known ones.
        expected: &'static str,
    },
    /// A TCB type whose comparison is not known.
    #[error("TCB type {found}, expected 0; update Casemate")]
    TcbType {
        /// The type.
        found: u32,
    },
    /// A document that speaks of TDX without describing its module, or of SGX while describing one.
    #[error("the TCB info is of {id}, but its levels or module belong to the other TEE")]
    WrongTee {
        /// The TEE that it names.
        id: &'static str,
    },
    /// A list that must not be empty.
    #[error("{document} without TCB levels says nothing about any platform")]
    NoLevels {
        /// Which document.
        document: &'static str,
    },
}

/// Reads `bytes` as JSON of one shape.
pub(super) fn read<T: DeserializeOwned>(
    document: &'static str,
    bytes: &[u8],
    maximum: usize,
) -> Result<T, CollateralError> {
    if bytes.len() > maximum {
        return Err(CollateralError::TooLong { document, found: bytes.len(), maximum });
    }
    serde_json::from_slice(bytes).map_err(|source| CollateralError::Json { document, source })
}

/// Splits the answer of Intel's service, `{"NAME": body, "signature": digits}`, into the body's bytes as
/// they stand and their signature.
pub(super) fn split_response(
    document: &'static str,
    name: &str,
    bytes: &[u8],
    maximum: usize,
) -> Result<(Vec<u8>, sign::Signature), CollateralError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Response<'a> {
        #[serde(borrow, rename = "tcbInfo")]
        tcb_info: Option<&'a RawValue>,
        #[serde(borrow, rename = "enclaveIdentity")]
        enclave_identity: Option<&'a RawValue>,
        #[serde(borrow, rename = "tcbEvaluationDataNumbers")]
        evaluation_numbers: Option<&'a RawValue>,
        signature: sign::Signature,
    }
    if bytes.len() > maximum {
        return Err(CollateralError::TooLong { document, found: bytes.len(), maximum });
    }
    let json = |source| CollateralError::Json { document, source };
    let response: Response = serde_json::from_slice(bytes).map_err(json)?;
    let body = match (response.tcb_info, response.enclave_identity, response.evaluation_numbers) {
        (Some(body), None, None) if name == "tcbInfo" => body,
        (None, Some(body), None) if name == "enclaveIdentity" => body,
        (None, None, Some(body)) if name == "tcbEvaluationDataNumbers" => body,
        _ => {
            return Err(json(serde_json::Error::custom(format_args!(
                "expected the members {name} and signature"
            ))));
        }
    };
    Ok((body.get().as_bytes().to_vec(), response.signature))
}

/// A time such as `2026-03-01T19:36:43Z`, in milliseconds since 1970.
pub(super) fn time_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time: der::DateTime =
        text.parse().map_err(|_| D::Error::custom("expected a time such as 2026-03-01T19:36:43Z"))?;
    u64::try_from(time.unix_duration().as_millis()).map_err(D::Error::custom)
}

/// Bytes written as hexadecimal digits of either case.
pub(super) fn hex<'de, D: Deserializer<'de>, const LENGTH: usize>(
    deserializer: D,
) -> Result<[u8; LENGTH], D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut bytes = [0; LENGTH];
    let digits = text.as_bytes();
    if digits.len() != 2 * LENGTH {
        return Err(D::Error::custom(format_args!("expected {} hexadecimal digits", 2 * LENGTH)));
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => *byte = (high << 4 | low) as u8,
            _ => return Err(D::Error::custom("expected hexadecimal digits")),
        }
    }
    Ok(bytes)
}
