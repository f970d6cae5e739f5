//! Why are these bytes no TPM structure?

use casemate_crypto::hash::HashAlgorithm;

use crate::reader::Truncated;

/// Why bytes are not the TPM structure that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// They end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Bytes follow the structure.
    #[error("{found} bytes follow the structure; send it alone")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// TPM2B: another length than what follows.
    #[error("the length field says {stated} bytes, but {found} follow; was the structure cut or padded?")]
    Length {
        /// What the length field says.
        stated: usize,
        /// How many bytes follow.
        found: usize,
    },
    /// TPMS_ATTEST.magic: made outside of a TPM.
    #[error("magic {found:#010x}, expected 0xff544347: a TPM did not make this structure")]
    Magic {
        /// The field.
        found: u32,
    },
    /// TPMS_ATTEST.type: neither a quote nor a certification.
    #[error("attestation of type {found:#06x}, expected 0x8018 (quote) or 0x8017 (certify)")]
    AttestType {
        /// The field.
        found: u16,
    },
    /// A hash function that Casemate does not verify.
    #[error("hash algorithm {found:#06x}, expected SHA-1, SHA-256, SHA-384 or SHA-512")]
    Hash {
        /// TPM_ALG_ID.
        found: u16,
    },
    /// TPM2B_NAME of a length that no name has.
    #[error("a name of {found} bytes; a name is a handle of 4 bytes, or a hash algorithm and its digest")]
    Name {
        /// Length in bytes.
        found: usize,
    },
    /// A byte string longer than its type allows.
    #[error("`{field}` has {found} bytes, at most {maximum} are allowed")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Length in bytes.
        found: usize,
        /// Greatest length allowed.
        maximum: usize,
    },
    /// A list with more entries than any TPM makes.
    #[error("`{field}` has {found} entries, at most {maximum} are allowed")]
    TooMany {
        /// The field.
        field: &'static str,
        /// Number of entries.
        found: usize,
        /// Greatest number allowed.
        maximum: usize,
    },
    /// TPMI_YES_NO that is neither.
    #[error("clockInfo.safe is {found}, expected 0 or 1")]
    YesNo {
        /// The byte.
        found: u8,
    },
    /// TPMS_PCR_SELECT of a size that no TPM of a PC uses.
    #[error("a PCR bitmap of {found} bytes, expected 3 or 4")]
    SelectSize {
        /// sizeofSelect.
        found: u8,
    },
    /// The same bank twice in a selection.
    #[error("the PCR selection names the {found} bank twice")]
    DuplicateBank {
        /// The bank.
        found: HashAlgorithm,
    },
    /// A signature scheme that Casemate does not verify.
    #[error("signature scheme {found:#06x}, expected RSASSA (0x0014), RSAPSS (0x0016) or ECDSA (0x0018)")]
    Scheme {
        /// TPM_ALG_ID.
        found: u16,
    },
    /// A key that is neither RSA nor elliptic curve.
    #[error("key of type {found:#06x}, expected RSA (0x0001) or ECC (0x0023)")]
    KeyType {
        /// TPM_ALG_ID.
        found: u16,
    },
    /// A curve that Casemate does not verify.
    #[error("curve {found:#06x}, expected P-256 (0x0003) or P-384 (0x0004)")]
    Curve {
        /// TPM_ECC_CURVE.
        found: u16,
    },
    /// A parameter of a public area that is not one of those defined.
    #[error("`{field}` is {found:#06x}, which is not defined there")]
    Parameter {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u16,
    },
    /// An RSA modulus of another length than keyBits says.
    #[error("an RSA modulus of {found} bytes in a key of {key_bits} bits")]
    Modulus {
        /// Length in bytes.
        found: usize,
        /// keyBits.
        key_bits: u16,
    },
}
