//! Which Quoting Enclave is Intel's?
//!
//! Source: Provisioning Certification Service API, "Get Quoting Enclave Identity", data structure of
//! version 2.

use casemate_crypto::hash::Sha256;
use casemate_crypto::sign;
use serde::{Deserialize, Serialize};

use super::json::{self, CollateralError};
use super::tcb_info::TcbStatus;
use crate::sgx;

/// Identity of an enclave, well formed; nothing about its signature is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnclaveIdentity {
    body: Vec<u8>,
    file: File,
}

/// Which of Intel's enclaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EnclaveKind {
    /// Quoting Enclave for SGX.
    #[serde(rename = "QE")]
    Qe,
    /// Quoting Enclave for TDX.
    #[serde(rename = "TD_QE")]
    TdQe,
}

/// A version of an enclave or module and what Intel says of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EnclaveLevel {
    #[serde(rename = "tcb")]
    versions: Versions,
    #[serde(deserialize_with = "json::time_ms", rename = "tcbDate")]
    date_ms: u64,
    #[serde(rename = "tcbStatus")]
    status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisories: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versions {
    isvsvn: u16,
}

impl EnclaveLevel {
    /// Least ISVSVN.
    pub fn isv_svn(&self) -> u16 {
        self.versions.isvsvn
    }

    /// The day whose knowledge the judgement has, in milliseconds since 1970.
    pub fn date_ms(&self) -> u64 {
        self.date_ms
    }

    /// The judgement.
    pub fn status(&self) -> TcbStatus {
        self.status
    }

    /// Advisories that are open at this level.
    pub fn advisories(&self) -> &[String] {
        &self.advisories
    }
}

impl EnclaveIdentity {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 32 * 1024;

    /// Reads an identity, the very bytes that are signed.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn parse(body: &[u8]) -> Result<Self, CollateralError> {
        let file: File = json::read(DOCUMENT, body, Self::MAXIMUM_LEN)?;
        if file.version != 2 {
            return Err(CollateralError::Version { document: DOCUMENT, found: file.version, expected: "2" });
        }
        if file.tcb_levels.is_empty() {
            return Err(CollateralError::NoLevels { document: DOCUMENT });
        }
        Ok(Self { body: body.to_vec(), file })
    }

    /// Reads an answer of Intel's service: an identity and its signature.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn parse_response(bytes: &[u8]) -> Result<(Self, sign::Signature), CollateralError> {
        let (body, signature) = json::split_response(DOCUMENT, "enclaveIdentity", bytes, Self::MAXIMUM_LEN)?;
        Ok((Self::parse(&body)?, signature))
    }

    /// The bytes that are signed.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Of which enclave it speaks.
    pub fn kind(&self) -> EnclaveKind {
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

    /// TCB evaluation data number: rises with each TCB recovery.
    pub fn evaluation_number(&self) -> u32 {
        self.file.tcb_evaluation_data_number
    }

    /// MRSIGNER.
    pub fn mr_signer(&self) -> Sha256 {
        self.file.mrsigner.into()
    }

    /// ISVPRODID.
    pub fn isv_prod_id(&self) -> u16 {
        self.file.isvprodid
    }

    /// Judgements, newest first.
    pub fn levels(&self) -> &[EnclaveLevel] {
        &self.file.tcb_levels
    }

    /// MISCSELECT of the report where the mask is set, and what must be there.
    pub fn misc_select(&self, report: &sgx::Report) -> Masked<4> {
        Masked::new(report.misc_select(), self.file.miscselect_mask, self.file.miscselect)
    }

    /// ATTRIBUTES of the report where the mask is set, and what must be there.
    pub fn attributes(&self, report: &sgx::Report) -> Masked<16> {
        Masked::new(report.attributes().to_bytes(), self.file.attributes_mask, self.file.attributes)
    }
}

/// What was found where a mask is set, and what must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked<const LENGTH: usize> {
    /// The value of the report, other bits zero.
    pub found: [u8; LENGTH],
    /// The value that is asked for.
    pub expected: [u8; LENGTH],
}

impl<const LENGTH: usize> Masked<LENGTH> {
    /// Keeps the bits of `found` that `mask` sets.
    pub fn new(found: [u8; LENGTH], mask: [u8; LENGTH], expected: [u8; LENGTH]) -> Self {
        let mut masked = found;
        for (byte, mask) in masked.iter_mut().zip(mask) {
            *byte &= mask;
        }
        Self { found: masked, expected }
    }

    /// Whether both are equal.
    pub fn holds(&self) -> bool {
        self.found == self.expected
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    id: EnclaveKind,
    version: u32,
    #[serde(deserialize_with = "json::time_ms")]
    issue_date: u64,
    #[serde(deserialize_with = "json::time_ms")]
    next_update: u64,
    tcb_evaluation_data_number: u32,
    #[serde(deserialize_with = "json::hex")]
    miscselect: [u8; 4],
    #[serde(deserialize_with = "json::hex")]
    miscselect_mask: [u8; 4],
    #[serde(deserialize_with = "json::hex")]
    attributes: [u8; 16],
    #[serde(deserialize_with = "json::hex")]
    attributes_mask: [u8; 16],
    #[serde(deserialize_with = "json::hex")]
    mrsigner: [u8; 32],
    isvprodid: u16,
    tcb_levels: Vec<EnclaveLevel>,
}

const DOCUMENT: &str = "enclave identity";
