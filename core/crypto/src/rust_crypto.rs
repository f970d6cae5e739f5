//! Signatures by RustCrypto: pure Rust, for the guest, wasm32 and contracts.

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::traits::SignatureScheme as _;

use crate::hash::{Digest, HashAlgorithm};
use crate::provider::{Curve, P384PublicKey, P384Signature, PreparedP384, Provider, PssSalt, check_rsa_key};
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

    fn verify_rsa_pkcs1(
        &self,
        hash: HashAlgorithm,
        modulus: &[u8],
        exponent: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        verify_rsa_pkcs1_digest(&hash.digest(message), modulus, exponent, signature)
    }

    fn verify_rsa_pss(
        &self,
        hash: HashAlgorithm,
        salt: PssSalt,
        modulus: &[u8],
        exponent: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        fn verify<D: sha2::Digest + sha2::digest::FixedOutputReset>(
            key: rsa::RsaPublicKey,
            salt: PssSalt,
            digest: &[u8],
            signature: &[u8],
        ) -> Result<(), Error> {
            use rsa::pss::{Signature, VerifyingKey};
            let key = match salt {
                PssSalt::DigestLength => VerifyingKey::<D>::new(key),
                PssSalt::AsSigned => VerifyingKey::<D>::new_with_auto_salt_len(key),
            };
            let signature = Signature::try_from(signature).map_err(|_| Error::BadSignature)?;
            key.verify_prehash(digest, &signature).map_err(|_| Error::BadSignature)
        }
        let key = rsa_key(modulus, exponent, signature)?;
        let digest = hash.digest(message);
        match hash {
            HashAlgorithm::Sha1 => Err(Error::BadSignature),
            HashAlgorithm::Sha256 => verify::<sha2::Sha256>(key, salt, digest.as_bytes(), signature),
            HashAlgorithm::Sha384 => verify::<sha2::Sha384>(key, salt, digest.as_bytes(), signature),
            HashAlgorithm::Sha512 => verify::<sha2::Sha512>(key, salt, digest.as_bytes(), signature),
        }
    }

    fn verify_ecdsa(
        &self,
        curve: Curve,
        hash: HashAlgorithm,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        verify_ecdsa_digest(curve, &hash.digest(message), key, signature)
    }
}

/// See [`Provider::verify_rsa_pkcs1_digest`].
pub(crate) fn verify_rsa_pkcs1_digest(
    digest: &Digest,
    modulus: &[u8],
    exponent: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    let key = rsa_key(modulus, exponent, signature)?;
    let scheme = match digest.algorithm() {
        HashAlgorithm::Sha1 => rsa::Pkcs1v15Sign::new::<sha1::Sha1>(),
        HashAlgorithm::Sha256 => rsa::Pkcs1v15Sign::new::<sha2::Sha256>(),
        HashAlgorithm::Sha384 => rsa::Pkcs1v15Sign::new::<sha2::Sha384>(),
        HashAlgorithm::Sha512 => rsa::Pkcs1v15Sign::new::<sha2::Sha512>(),
    };
    scheme.verify(&key, digest.as_bytes(), signature).map_err(|_| Error::BadSignature)
}

/// See [`Provider::verify_ecdsa_digest`].
pub(crate) fn verify_ecdsa_digest(
    curve: Curve,
    digest: &Digest,
    key: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    if digest.algorithm() == HashAlgorithm::Sha1 {
        return Err(Error::BadSignature);
    }
    if key.len() != 2 * curve.field_len() {
        return Err(Error::NotAKey);
    }
    match curve {
        Curve::P256 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed::<65>(key))
                .map_err(|_| Error::NotAKey)?;
            let signature = p256::ecdsa::Signature::from_slice(signature).map_err(|_| Error::BadSignature)?;
            key.verify_prehash(digest.as_bytes(), &signature).map_err(|_| Error::BadSignature)
        }
        Curve::P384 => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed::<97>(key))
                .map_err(|_| Error::NotAKey)?;
            let signature = p384::ecdsa::Signature::from_slice(signature).map_err(|_| Error::BadSignature)?;
            key.verify_prehash(digest.as_bytes(), &signature).map_err(|_| Error::BadSignature)
        }
    }
}

/// The key, for a signature of its length.
fn rsa_key(modulus: &[u8], exponent: &[u8], signature: &[u8]) -> Result<rsa::RsaPublicKey, Error> {
    check_rsa_key(modulus, exponent)?;
    if signature.len() != modulus.len() {
        return Err(Error::BadSignature);
    }
    rsa::RsaPublicKey::new(
        rsa::BoxedUint::from_be_slice_vartime(modulus),
        rsa::BoxedUint::from_be_slice_vartime(exponent),
    )
    .map_err(|_| Error::NotAKey)
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
