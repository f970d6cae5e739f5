//! What does a file's signature say?
//!
//! Source: Linux 6.12, `security/integrity/integrity.h`, `struct signature_v2_hdr`, as `evmctl` writes it.

use casemate_crypto::hash::HashAlgorithm;

use crate::reader::{Reader, Truncated};

/// A signature of version 2 over a file's digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSignature {
    /// hash_algo: with which hash function the file was digested.
    pub algorithm: HashAlgorithm,
    /// keyid: the last four bytes of the signer's subject key identifier.
    pub key_id: [u8; 4],
    /// The signature: RSASSA-PKCS1-v1_5, or ECDSA in DER.
    pub value: Vec<u8>,
}

/// Why bytes are no signature of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileSignatureError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Another kind of `security.ima`: a plain digest, or a signature of fs-verity.
    #[error("type {found:#04x}, expected 0x03: a digital signature")]
    Kind {
        /// enum evm_ima_xattr_type.
        found: u8,
    },
    /// Another version.
    #[error("version {found}, expected 2")]
    Version {
        /// The field.
        found: u8,
    },
    /// A hash function that Casemate does not know.
    #[error("hash_algo {found}, expected 2, 4, 5 or 6 (SHA-1, SHA-256, SHA-384, SHA-512)")]
    Hash {
        /// enum hash_algo.
        found: u8,
    },
    /// Another length than the header says.
    #[error("a signature of {stated} bytes, but {found} follow")]
    Length {
        /// sig_size.
        stated: u16,
        /// How many bytes follow.
        found: usize,
    },
}

impl FileSignature {
    /// Reads what the field `sig` holds.
    ///
    /// # Errors
    /// [`FileSignatureError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FileSignatureError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            0x03 => {} // EVM_IMA_XATTR_DIGSIG
            found => return Err(FileSignatureError::Kind { found }),
        }
        match reader.u8()? {
            2 => {}
            found => return Err(FileSignatureError::Version { found }),
        }
        // enum hash_algo (include/uapi/linux/hash_info.h)
        let algorithm = match reader.u8()? {
            2 => HashAlgorithm::Sha1,
            4 => HashAlgorithm::Sha256,
            5 => HashAlgorithm::Sha384,
            6 => HashAlgorithm::Sha512,
            found => return Err(FileSignatureError::Hash { found }),
        };
        let key_id = reader.array()?;
        let stated = reader.u16_be()?;
        let value = reader.rest();
        if usize::from(stated) != value.len() {
            return Err(FileSignatureError::Length { stated, found: value.len() });
        }
        Ok(Self { algorithm, key_id, value: value.to_vec() })
    }
}
