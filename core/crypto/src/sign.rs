//! Who signed these bytes?
//!
//! Owners, seats and operators sign with ECDSA on P-256 over SHA-256 (FIPS 186-5; "ES256"), because
//! the P-256 precompile of EVM chains, WebCrypto and CosmWasm all verify it. Nonces are deterministic
//! (RFC 6979), so signing needs no randomness. Signatures are malleable: (r, s) and (r, n-s) both
//! verify, therefore nothing is ever named by its signature bytes.

use p256::ecdsa::signature::Signer as _;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

casemate_canon::byte_type! {
    /// A P-256 public key: affine x and y, 32 bytes each, big-endian, without a prefix.
    ///
    /// Any 64 bytes fit; bytes that are no point of the curve verify nothing.
    pub struct PublicKey([u8; 64]);
}

casemate_canon::byte_type! {
    /// An ECDSA P-256 signature: r and s, 32 bytes each, big-endian.
    pub struct Signature([u8; 64]);
}

impl PublicKey {
    /// Reads a key and checks that it is a point of the curve.
    ///
    /// # Errors
    /// [`Error::NotAKey`].
    pub fn checked(bytes: [u8; 64]) -> Result<Self, Error> {
        let key = Self::from(bytes);
        crate::rust_crypto::p256_key(&key)?;
        Ok(key)
    }

    /// Checks `signature` over `message` with the provider of this build.
    ///
    /// # Errors
    /// [`Error::NotAKey`], [`Error::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Error> {
        crate::provider().verify_p256(self, message, signature)
    }
}

/// A P-256 private key; zeroed when dropped, shown as `SigningKey(..)`.
#[derive(Clone)]
pub struct SigningKey(p256::ecdsa::SigningKey);

impl SigningKey {
    /// Makes a key from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            rng.fill_bytes(bytes.as_mut());
            // All but 2^-32 of the candidates are below the group order (FIPS 186-5, A.2.2).
            if let Ok(key) = Self::from_bytes(&bytes) {
                return key;
            }
        }
    }

    /// Reads the secret scalar, 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`Error::NotAKey`] if it is zero or not below the group order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        Ok(Self(p256::ecdsa::SigningKey::from_slice(bytes).map_err(|_| Error::NotAKey)?))
    }

    /// The secret scalar, 32 bytes, big-endian.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        let point = self.0.verifying_key().to_sec1_point(false);
        let bytes = point.as_bytes(); // 0x04, x, y
        PublicKey::try_from(&bytes[1..]).expect("an uncompressed P-256 point has 65 bytes")
    }

    /// Signs `message` (hashed here with SHA-256).
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        Signature::from(<[u8; 64]>::from(signature.to_bytes()))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Why a key or signature is refused.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no key of the algorithm.
    #[error("these bytes are no key of the expected algorithm and size; was another kind of key meant?")]
    NotAKey,
    /// The signature was not made by this key over this message.
    #[error("the signature does not verify: another key made it, or the signed bytes changed")]
    BadSignature,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32]).unwrap()
    }

    #[test]
    fn signature_verifies_for_its_key_and_message_only() {
        let signature = key().sign(b"message");
        assert_eq!(key().public().verify(b"message", &signature), Ok(()));
        assert_eq!(key().public().verify(b"massage", &signature), Err(Error::BadSignature));
        let other = SigningKey::from_bytes(&[8; 32]).unwrap().public();
        assert_eq!(other.verify(b"message", &signature), Err(Error::BadSignature));
    }

    #[test]
    fn signing_is_deterministic() {
        assert_eq!(key().sign(b"message"), key().sign(b"message"));
    }

    #[test]
    fn bytes_off_the_curve_are_no_key() {
        assert_eq!(PublicKey::checked([1; 64]), Err(Error::NotAKey));
        assert_eq!(PublicKey::from([1; 64]).verify(b"m", &key().sign(b"m")), Err(Error::NotAKey));
    }

    #[test]
    fn zero_is_no_secret_key() {
        assert_eq!(SigningKey::from_bytes(&[0; 32]).unwrap_err(), Error::NotAKey);
    }

    #[test]
    fn the_secret_survives_storage_and_stays_out_of_debug_output() {
        let stored = key().to_bytes();
        assert_eq!(SigningKey::from_bytes(&stored).unwrap().public(), key().public());
        assert_eq!(format!("{:?}", key()), "SigningKey(..)");
    }
}
