//! Signatures by RustCrypto: pure Rust, for the guest, wasm32 and contracts.

use p256::ecdsa::signature::Verifier as _;

use crate::provider::{P384PublicKey, P384Signature, PreparedP384, Provider, check_rsa_key};
use crate::sign::{Error, PublicKey, Signature};

/// The `p256`, `p384` and `rsa` crates.
#[derive(Debug, Clone, Copy)]
pub struct RustCrypto;

impl Provider for RustCrypto {
    fn name(&self) -> &'static str {
        "RustCrypto"
    }

    fn prepare_p384(&self, key: &P384PublicKey) -> Result<Box<dyn PreparedP384>, Error> {
        let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed::<97>(key.as_bytes()))
            .map_err(|_| Error::NotAKey)?;
        Ok(Box::new(Prepared(key)))
    }

    fn verify_p256(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), Error> {
        let key = p256_key(key)?;
        let signature =
            p256::ecdsa::Signature::from_slice(signature.as_bytes()).map_err(|_| Error::BadSignature)?;
        key.verify(message, &signature).map_err(|_| Error::BadSignature)
    }

    fn verify_rsa_pss_sha384(
        &self,
        modulus: &[u8],
        exponent: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        check_rsa_key(modulus, exponent)?;
        if signature.len() != modulus.len() {
            return Err(Error::BadSignature);
        }
        let key = rsa::RsaPublicKey::new(
            rsa::BoxedUint::from_be_slice_vartime(modulus),
            rsa::BoxedUint::from_be_slice_vartime(exponent),
        )
        .map_err(|_| Error::NotAKey)?;
        let signature = rsa::pss::Signature::try_from(signature).map_err(|_| Error::BadSignature)?;
        rsa::pss::VerifyingKey::<sha2::Sha384>::new(key)
            .verify(message, &signature)
            .map_err(|_| Error::BadSignature)
    }
}

struct Prepared(p384::ecdsa::VerifyingKey);

impl PreparedP384 for Prepared {
    fn verify(&self, message: &[u8], signature: &P384Signature) -> Result<(), Error> {
        let signature =
            p384::ecdsa::Signature::from_slice(signature.as_bytes()).map_err(|_| Error::BadSignature)?;
        self.0.verify(message, &signature).map_err(|_| Error::BadSignature)
    }
}

pub(crate) fn p256_key(key: &PublicKey) -> Result<p256::ecdsa::VerifyingKey, Error> {
    p256::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed::<65>(key.as_bytes()))
        .map_err(|_| Error::NotAKey)
}

/// SEC 1 §2.3.3: 0x04, x, y. `LENGTH` is one more than the length of x and y together.
pub(crate) fn uncompressed<const LENGTH: usize>(x_and_y: &[u8]) -> [u8; LENGTH] {
    let mut bytes = [0x04; LENGTH];
    bytes[1..].copy_from_slice(x_and_y);
    bytes
}
