//! What did the TPM state, and about what?

use casemate_crypto::hash::{Digest, HashAlgorithm};
use serde::Serialize;

use super::error::TpmError;
use super::pcr::PcrSelection;
use super::public::Name;
use crate::reader::Reader;

/// TPMS_ATTEST (TPM2 Part 2 §10.12.12): what a TPM signs when it attests; well formed, and it proves
/// nothing until a trusted key's signature over [`as_bytes`](Self::as_bytes) is verified.
///
/// A TPM signs nothing else that begins with this magic with a restricted key, so the magic proves that a
/// TPM made the structure, as long as the key is restricted.
#[derive(Clone, PartialEq, Eq)]
pub struct Attest {
    bytes: Vec<u8>,
    /// Qualified name of the key that signs it.
    pub qualified_signer: Name,
    /// extraData: up to 66 bytes that the caller chose (`qualifyingData`).
    ///
    /// Covered by the signature, but proves freshness only if it commits to the Verifier's nonce.
    pub extra_data: Vec<u8>,
    /// How the TPM's clock and its counters stand.
    pub clock: ClockInfo,
    /// Version of the TPM's firmware; its meaning is the vendor's.
    pub firmware_version: u64,
    /// What the statement is about.
    pub attested: Attested,
}

/// TPMU_ATTEST (TPM2 Part 2 §10.12.11).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attested {
    /// TPMS_QUOTE_INFO: the values of PCRs.
    Quote {
        /// Which PCRs, each bank at most once.
        selection: Vec<PcrSelection>,
        /// Digest of their values in the order of the selection, by the hash function of the signature's
        /// scheme; at most 64 bytes.
        digest: Vec<u8>,
    },
    /// TPMS_CERTIFY_INFO: an object that is loaded in the same TPM.
    Certify {
        /// The object's name.
        name: Name,
        /// Its qualified name.
        qualified_name: Name,
    },
}

/// What a statement is about, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttestType {
    /// TPM_ST_ATTEST_QUOTE.
    Quote,
    /// TPM_ST_ATTEST_CERTIFY.
    Certify,
}

/// TPMS_CLOCK_INFO (TPM2 Part 2 §10.11.1).
///
/// Restricted keys outside of the endorsement and platform hierarchies see the counters obfuscated by a
/// constant of their own: compare them with earlier values of the same key only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockInfo {
    /// Milliseconds during which the TPM was powered, since it was last cleared.
    pub clock_ms: u64,
    /// How often the TPM was reset since it was last cleared.
    pub reset_count: u32,
    /// How often it was restarted or resumed since it was last reset.
    pub restart_count: u32,
    /// Whether the TPM never reported a greater clock.
    pub safe: bool,
}

impl Attest {
    /// Greatest length of a TPMS_ATTEST in bytes: sizeof(TPMS_ATTEST) of the reference implementation, with
    /// room for the longest names and selections.
    pub const MAXIMUM_LEN: usize = 1024;

    /// Reads a TPMS_ATTEST.
    ///
    /// # Errors
    /// [`TpmError`], the first broken rule in the order of the structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        if bytes.len() > Self::MAXIMUM_LEN {
            return Err(TpmError::TooLong {
                field: "attest",
                found: bytes.len(),
                maximum: Self::MAXIMUM_LEN,
            });
        }
        let mut reader = Reader::new(bytes);
        match reader.u32_be()? {
            TPM_GENERATED_VALUE => {}
            found => return Err(TpmError::Magic { found }),
        }
        let kind = match reader.u16_be()? {
            TPM_ST_ATTEST_QUOTE => AttestType::Quote,
            TPM_ST_ATTEST_CERTIFY => AttestType::Certify,
            found => return Err(TpmError::AttestType { found }),
        };
        let qualified_signer = Name::read(&mut reader)?;
        let extra_data = read_sized(&mut reader, "extraData", 66)?.to_vec(); // sizeof(TPMT_HA) with SHA-512
        let clock = ClockInfo::read(&mut reader)?;
        let firmware_version = reader.u64_be()?;
        let attested = match kind {
            AttestType::Quote => Attested::Quote {
                selection: PcrSelection::read_list(&mut reader)?,
                digest: read_sized(&mut reader, "pcrDigest", 64)?.to_vec(),
            },
            AttestType::Certify => {
                Attested::Certify { name: Name::read(&mut reader)?, qualified_name: Name::read(&mut reader)? }
            }
        };
        finish(&reader)?;
        Ok(Self { bytes: bytes.to_vec(), qualified_signer, extra_data, clock, firmware_version, attested })
    }

    /// Reads a TPM2B_ATTEST: the same behind its length in two bytes.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn parse_sized(bytes: &[u8]) -> Result<Self, TpmError> {
        Self::parse(strip_size(bytes)?)
    }

    /// The bytes that the signature covers.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the statement is about, in one word.
    pub fn attest_type(&self) -> AttestType {
        match self.attested {
            Attested::Quote { .. } => AttestType::Quote,
            Attested::Certify { .. } => AttestType::Certify,
        }
    }
}

impl std::fmt::Debug for Attest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attest")
            .field("qualified_signer", &self.qualified_signer)
            .field("clock", &self.clock)
            .field("attested", &self.attested)
            .finish_non_exhaustive()
    }
}

impl ClockInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        Ok(Self {
            clock_ms: reader.u64_be()?,
            reset_count: reader.u32_be()?,
            restart_count: reader.u32_be()?,
            safe: match reader.u8()? {
                0 => false,
                1 => true,
                found => return Err(TpmError::YesNo { found }),
            },
        })
    }
}

/// TPM_GENERATED_VALUE (TPM2 Part 2 §6.2): "\xffTCG".
const TPM_GENERATED_VALUE: u32 = 0xFF54_4347;
/// TPM_ST (TPM2 Part 2 §6.9).
const TPM_ST_ATTEST_CERTIFY: u16 = 0x8017;
const TPM_ST_ATTEST_QUOTE: u16 = 0x8018;

/// TPMI_ALG_HASH (TPM2 Part 2 §6.3, TPM_ALG_ID).
pub(super) fn read_hash(reader: &mut Reader<'_>) -> Result<HashAlgorithm, TpmError> {
    let found = reader.u16_be()?;
    hash_of(found).ok_or(TpmError::Hash { found })
}

pub(super) fn hash_of(id: u16) -> Option<HashAlgorithm> {
    Some(match id {
        0x0004 => HashAlgorithm::Sha1,
        0x000B => HashAlgorithm::Sha256,
        0x000C => HashAlgorithm::Sha384,
        0x000D => HashAlgorithm::Sha512,
        _ => return None,
    })
}

pub(super) fn id_of(hash: HashAlgorithm) -> u16 {
    match hash {
        HashAlgorithm::Sha1 => 0x0004,
        HashAlgorithm::Sha256 => 0x000B,
        HashAlgorithm::Sha384 => 0x000C,
        HashAlgorithm::Sha512 => 0x000D,
    }
}

/// TPM2B: a length in two bytes and as many bytes.
pub(super) fn read_sized<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    maximum: usize,
) -> Result<&'a [u8], TpmError> {
    let found = usize::from(reader.u16_be()?);
    if found > maximum {
        return Err(TpmError::TooLong { field, found, maximum });
    }
    Ok(reader.take(found)?)
}

/// What a TPM2B that fills `bytes` holds.
pub(super) fn strip_size(bytes: &[u8]) -> Result<&[u8], TpmError> {
    let mut reader = Reader::new(bytes);
    let stated = usize::from(reader.u16_be()?);
    let found = reader.rest().len();
    if stated == found { Ok(reader.rest()) } else { Err(TpmError::Length { stated, found }) }
}

pub(super) fn finish(reader: &Reader<'_>) -> Result<(), TpmError> {
    if reader.is_at_end() { Ok(()) } else { Err(TpmError::Trailing { found: reader.rest().len() }) }
}

impl Name {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        Self::parse(read_sized(reader, "name", 66)?)
    }

    /// Reads what a TPM2B_NAME holds: a handle, or a hash algorithm and its digest (TPM2 Part 2 §10.5.1).
    ///
    /// # Errors
    /// [`TpmError::Name`], [`TpmError::Hash`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        match bytes.len() {
            0 => Ok(Self::Empty),
            4 => Ok(Self::Handle(reader.u32_be()?)),
            found => {
                let bad_length = TpmError::Name { found };
                let algorithm = reader.u16_be().map_err(|_| bad_length.clone())?;
                let algorithm = hash_of(algorithm).ok_or(TpmError::Hash { found: algorithm })?;
                Digest::from_slice(algorithm, reader.rest()).map(Self::Object).ok_or(bad_length)
            }
        }
    }
}
