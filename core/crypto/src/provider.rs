//! Which library verifies signatures?

use crate::sign::{Error, PublicKey, Signature, SigningKey};

casemate_canon::byte_type! {
    /// A P-384 public key: affine x and y, 48 bytes each, big-endian, without a prefix.
    pub struct P384PublicKey([u8; 96]);
}

casemate_canon::byte_type! {
    /// An ECDSA P-384 signature: r and s, 48 bytes each, big-endian.
    pub struct P384Signature([u8; 96]);
}

/// The signature algorithms that evidence and records need. Every implementation gives the same
/// answer for every input; `tests/providers.rs` holds them to it.
pub trait Provider: Send + Sync + 'static {
    /// Name of the library, for logs and benchmarks.
    fn name(&self) -> &'static str;

    /// Reads a P-384 key once, to verify many signatures with it.
    ///
    /// # Errors
    /// [`Error::NotAKey`] if the bytes are no point of the curve.
    fn prepare_p384(&self, key: &P384PublicKey) -> Result<Box<dyn PreparedP384>, Error>;

    /// ECDSA on P-384 over SHA-384 of `message`.
    ///
    /// # Errors
    /// [`Error::NotAKey`], [`Error::BadSignature`].
    fn verify_p384(
        &self,
        key: &P384PublicKey,
        message: &[u8],
        signature: &P384Signature,
    ) -> Result<(), Error> {
        self.prepare_p384(key)?.verify(message, signature)
    }

    /// ECDSA on P-256 over SHA-256 of `message`.
    ///
    /// # Errors
    /// [`Error::NotAKey`], [`Error::BadSignature`].
    fn verify_p256(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), Error>;

    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes (RFC 8017 §8.1).
    ///
    /// `modulus` and `exponent` are big-endian without leading zeros; keys of 2048 to 4096 bits with
    /// exponent 65537 are accepted.
    ///
    /// # Errors
    /// [`Error::NotAKey`], [`Error::BadSignature`].
    fn verify_rsa_pss_sha384(
        &self,
        modulus: &[u8],
        exponent: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error>;

    /// ECDSA on P-256 over SHA-256 of `message`, with a deterministic nonce (RFC 6979).
    fn sign_p256(&self, key: &SigningKey, message: &[u8]) -> Signature {
        key.sign(message)
    }
}

/// A P-384 key that was read and checked once; see [`Provider::prepare_p384`].
pub trait PreparedP384: Send + Sync {
    /// ECDSA on P-384 over SHA-384 of `message`.
    ///
    /// # Errors
    /// [`Error::BadSignature`].
    fn verify(&self, message: &[u8], signature: &P384Signature) -> Result<(), Error>;
}

/// The provider of this build: AWS-LC with feature `aws-lc`, RustCrypto without.
pub fn provider() -> &'static dyn Provider {
    #[cfg(feature = "aws-lc")]
    return &crate::AwsLc;
    #[cfg(not(feature = "aws-lc"))]
    return &crate::RustCrypto;
}

/// What every back end accepts as an RSA key, checked before it is asked, so that no answer depends on
/// the limits of one library.
pub(crate) fn check_rsa_key(modulus: &[u8], exponent: &[u8]) -> Result<(), Error> {
    let whole_bytes = (256..=512).contains(&modulus.len());
    let top_bit = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    if whole_bytes && top_bit && odd && exponent == [1, 0, 1] { Ok(()) } else { Err(Error::NotAKey) }
}
