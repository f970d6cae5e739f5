//! How did the TPM sign?

use casemate_crypto::hash::HashAlgorithm;

use super::attest::{finish, hash_of, read_hash, read_sized};
use super::error::TpmError;
use super::public::{Scheme, TPM_ALG_ECDSA, TPM_ALG_RSAPSS, TPM_ALG_RSASSA};
use crate::reader::Reader;

/// A signature by a TPM; whether it is one is asked in `casemate_verify`.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// The scheme, with the hash function that also digests the PCRs of a quote.
    pub scheme: Scheme,
    value: Vec<u8>,
}

impl Signature {
    /// Greatest length in bytes, of an RSA signature of 4096 bits in a TPMT_SIGNATURE.
    pub const MAXIMUM_LEN: usize = 2 + 2 + 2 + 512;

    /// Reads a TPMT_SIGNATURE (TPM2 Part 2 §11.3.4).
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        let signature = match reader.u16_be()? {
            TPM_ALG_RSASSA => {
                Self { scheme: Scheme::RsaSsa(read_hash(&mut reader)?), value: read_rsa(&mut reader)? }
            }
            TPM_ALG_RSAPSS => {
                Self { scheme: Scheme::RsaPss(read_hash(&mut reader)?), value: read_rsa(&mut reader)? }
            }
            TPM_ALG_ECDSA => {
                let scheme = Scheme::Ecdsa(read_hash(&mut reader)?);
                let r = read_sized(&mut reader, "signatureR", 48)?;
                let s = read_sized(&mut reader, "signatureS", 48)?;
                // Leading zeros may be left out: the shorter is as long as the field of the smallest curve
                // that holds both.
                let len = if r.len().max(s.len()) > 32 { 48 } else { 32 };
                Self { scheme, value: [padded(r, len), padded(s, len)].concat() }
            }
            found => return Err(TpmError::Scheme { found }),
        };
        finish(&reader)?;
        Ok(signature)
    }

    /// Takes an RSA signature by itself, as Azure and others carry it: which scheme it has must be known
    /// from elsewhere.
    ///
    /// # Errors
    /// [`TpmError::TooLong`].
    pub fn from_raw_rsa(scheme: Scheme, bytes: &[u8]) -> Result<Self, TpmError> {
        if bytes.len() > 512 {
            return Err(TpmError::TooLong { field: "signature", found: bytes.len(), maximum: 512 });
        }
        Ok(Self { scheme, value: bytes.to_vec() })
    }

    /// Reads what a device handed over: a TPMT_SIGNATURE, or the number alone, which vTPMs of Azure make with RSASSA and
    /// SHA-256.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn parse_structured_or_raw(bytes: &[u8]) -> Result<Self, TpmError> {
        match Self::looks_structured(bytes) {
            true => Self::parse(bytes),
            false => Self::from_raw_rsa(Scheme::RsaSsa(HashAlgorithm::Sha256), bytes),
        }
    }

    /// Whether these bytes begin as a TPMT_SIGNATURE of a known scheme does. An RSA signature by itself
    /// does so by chance once in 20 million times, and then has another length.
    pub fn looks_structured(bytes: &[u8]) -> bool {
        let mut reader = Reader::new(bytes);
        let (Ok(scheme), Ok(hash)) = (reader.u16_be(), reader.u16_be()) else { return false };
        [TPM_ALG_RSASSA, TPM_ALG_RSAPSS, TPM_ALG_ECDSA].contains(&scheme) && hash_of(hash).is_some()
    }

    /// RSA: the signature, big-endian. ECDSA: r and s, big-endian and of the same length.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signature").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<Vec<u8>, TpmError> {
    Ok(read_sized(reader, "signature", 512)?.to_vec())
}

fn padded(number: &[u8], len: usize) -> Vec<u8> {
    let mut padded = vec![0; len - number.len()];
    padded.extend_from_slice(number);
    padded
}
