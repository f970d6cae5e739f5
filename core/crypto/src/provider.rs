//! Which library verifies signatures?

use crate::hash::{Digest, HashAlgorithm};
use crate::sign::{Error, PublicKey, Signature, SigningKey};

casemate_canon::byte_type! {
    /// A P-384 public key: affine x and y, 48 bytes each, big-endian, without a prefix.
    pub struct P384PublicKey([u8; 96]);
}

casemate_canon::byte_type! {
    /// An ECDSA P-384 signature: r and s, 48 bytes each, big-endian.
    pub struct P384Signature([u8; 96]);
}

/// A curve on which evidence or a certificate is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Curve {
    /// Length of a coordinate, and of r and s, in bytes.
    pub const fn field_len(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }
}

/// How many bytes of salt an RSASSA-PSS signature has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PssSalt {
    /// As many as the digest (X.509, FIPS 186-5).
    DigestLength,
    /// As many as the signature says: a TPM takes as many as fit (TPM 2.0 Part 1, B.7 RSASSA_PSS).
    AsSigned,
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
    ) -> Result<(), Error> {
        let (hash, salt) = (HashAlgorithm::Sha384, PssSalt::DigestLength);
        self.verify_rsa_pss(hash, salt, modulus, exponent, message, signature)
    }

    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2). Keys as for [`verify_rsa_pss`](Self::verify_rsa_pss).
    ///
    /// # Errors
    /// [`Error::NotAKey`], [`Error::BadSignature`].
    fn verify_rsa_pkcs1(
        &self,
        hash: HashAlgorithm,
        modulus: &[u8],
        exponent: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error>;

    /// RSASSA-PSS (RFC 8017 §8.1), MGF1 with the same hash function; never with SHA-1.
    ///
    /// `modulus` and `exponent` are big-endian without leading zeros; keys of 2048 to 4096 bits with
    /// exponent 65537 are accepted.
    ///
    /// # Errors
    /// [`Error::NotAKey`], [`Error::BadSignature`] (also for SHA-1).
    fn verify_rsa_pss(
        &self,
        hash: HashAlgorithm,
        salt: PssSalt,
        modulus: &[u8],
        exponent: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error>;

    /// ECDSA over the digest of `message`; never with SHA-1.
    ///
    /// `key` is affine x and y, `signature` r and s, each number big-endian of [`Curve::field_len`] bytes.
    ///
    /// # Errors
    /// [`Error::NotAKey`] (also of another length), [`Error::BadSignature`] (also for SHA-1).
    fn verify_ecdsa(
        &self,
        curve: Curve,
        hash: HashAlgorithm,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error>;

    /// RSASSA-PKCS1-v1_5 over a digest that somebody else made. By RustCrypto in every back end: AWS-LC's
    /// interface for Rust digests itself.
    ///
    /// # Errors
    /// [`Error::NotAKey`], [`Error::BadSignature`].
    fn verify_rsa_pkcs1_digest(
        &self,
        digest: &Digest,
        modulus: &[u8],
        exponent: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        crate::rust_crypto::verify_rsa_pkcs1_digest(digest, modulus, exponent, signature)
    }

    /// ECDSA over a digest that somebody else made, as [`verify_ecdsa`](Self::verify_ecdsa) takes key and
    /// signature. By RustCrypto in every back end.
    ///
    /// # Errors
    /// [`Error::NotAKey`], [`Error::BadSignature`] (also for SHA-1).
    fn verify_ecdsa_digest(
        &self,
        curve: Curve,
        digest: &Digest,
        key: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        crate::rust_crypto::verify_ecdsa_digest(curve, digest, key, signature)
    }

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
