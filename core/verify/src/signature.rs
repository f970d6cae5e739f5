//! Did this key sign these bytes?
//!
//! The one place where a certificate's, a TPM's or a device's algorithm meets the cryptography. What an
//! algorithm says and what the key is must agree; SHA-1 is refused unless the caller asks for it by name.

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_crypto::{Curve, Provider, PssSalt, sign};
use casemate_evidence::x509::{PublicKey, SignatureAlgorithm};
use der::Decode as _;

/// Whether a signature over a SHA-1 digest will do.
///
/// SHA-1 collisions can be made, so who may choose what is signed may have another text signed as well. A
/// vendor's own certificates of 2012 to 2019 are such that nobody else chose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sha1 {
    /// No.
    Refused,
    /// Yes, for certificates of a vendor's authorities.
    AcceptedForAuthorities,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// An RSA signature of an elliptic-curve key, or the reverse.
    #[error("the signature's algorithm does not belong to a key of this kind")]
    KeyKind,
    /// A key that is no point of its curve, or no RSA key of 2048 to 4096 bits with exponent 65537.
    #[error(
        "the key is not a point of its curve, or not an RSA key of 2048 to 4096 bits with exponent 65537"
    )]
    Key,
    /// A signature over a SHA-1 digest.
    #[error("signed with SHA-1, of which collisions can be made")]
    WeakHash,
    /// An ECDSA signature that is not two numbers of the curve's size.
    #[error("not the encoding of an ECDSA signature: two numbers of at most the curve's size")]
    Encoding,
    /// Another key made it, or over other bytes.
    #[error("the signature does not verify: another key made it, or the signed bytes changed")]
    Mismatch,
}

/// Checks a signature as certificates carry it (RFC 5280 §4.1.1.3); of ECDSA an Ecdsa-Sig-Value in DER.
///
/// # Errors
/// [`SignatureError`].
pub fn verify_x509(
    key: &PublicKey,
    algorithm: SignatureAlgorithm,
    sha1: Sha1,
    message: &[u8],
    signature: &[u8],
    provider: &dyn Provider,
) -> Result<(), SignatureError> {
    use SignatureAlgorithm as A;
    if sha1 == Sha1::Refused && algorithm == A::RsaPkcs1(HashAlgorithm::Sha1) {
        return Err(SignatureError::WeakHash);
    }
    match (algorithm, key) {
        (A::RsaPkcs1(hash), PublicKey::Rsa { modulus, exponent }) => {
            answer(provider.verify_rsa_pkcs1(hash, modulus, exponent, message, signature))
        }
        (A::RsaPss(hash), PublicKey::Rsa { modulus, exponent }) => {
            let salt = PssSalt::DigestLength;
            answer(provider.verify_rsa_pss(hash, salt, modulus, exponent, message, signature))
        }
        (A::Ecdsa(hash), PublicKey::P256(key)) => {
            let signature = fixed_size(signature, Curve::P256)?;
            answer(provider.verify_ecdsa(Curve::P256, hash, key.as_bytes(), message, &signature))
        }
        (A::Ecdsa(hash), PublicKey::P384(key)) => {
            let signature = fixed_size(signature, Curve::P384)?;
            answer(provider.verify_ecdsa(Curve::P384, hash, key.as_bytes(), message, &signature))
        }
        _ => Err(SignatureError::KeyKind),
    }
}

/// Checks a signature over a digest that somebody else made of the signed bytes: RSASSA-PKCS1-v1_5, or ECDSA
/// as an Ecdsa-Sig-Value, whichever the key is for. Never of SHA-1.
///
/// # Errors
/// [`SignatureError`].
pub fn verify_digest(
    key: &PublicKey,
    digest: &Digest,
    signature: &[u8],
    provider: &dyn Provider,
) -> Result<(), SignatureError> {
    if digest.algorithm() == HashAlgorithm::Sha1 {
        return Err(SignatureError::WeakHash);
    }
    match key {
        PublicKey::Rsa { modulus, exponent } => {
            answer(provider.verify_rsa_pkcs1_digest(digest, modulus, exponent, signature))
        }
        PublicKey::P256(key) => {
            let signature = fixed_size(signature, Curve::P256)?;
            answer(provider.verify_ecdsa_digest(Curve::P256, digest, key.as_bytes(), &signature))
        }
        PublicKey::P384(key) => {
            let signature = fixed_size(signature, Curve::P384)?;
            answer(provider.verify_ecdsa_digest(Curve::P384, digest, key.as_bytes(), &signature))
        }
        _ => Err(SignatureError::KeyKind),
    }
}

/// What the provider's answer means here.
pub(crate) fn answer(result: Result<(), sign::Error>) -> Result<(), SignatureError> {
    result.map_err(|error| match error {
        sign::Error::NotAKey => SignatureError::Key,
        _ => SignatureError::Mismatch,
    })
}

/// r and s of an Ecdsa-Sig-Value (RFC 3279 §2.2.3), each as long as the curve's field.
fn fixed_size(signature: &[u8], curve: Curve) -> Result<Vec<u8>, SignatureError> {
    let numbers = read_numbers(signature).map_err(|_| SignatureError::Encoding)?;
    let mut fixed = Vec::with_capacity(2 * curve.field_len());
    for number in numbers {
        let zeros = curve.field_len().checked_sub(number.len()).ok_or(SignatureError::Encoding)?;
        fixed.resize(fixed.len() + zeros, 0);
        fixed.extend_from_slice(&number);
    }
    Ok(fixed)
}

fn read_numbers(signature: &[u8]) -> Result<[Vec<u8>; 2], der::Error> {
    use der::Reader as _;
    let mut reader = der::SliceReader::new(signature)?;
    let numbers = reader.sequence(|sequence| {
        let r = der::asn1::UintRef::decode(sequence)?;
        let s = der::asn1::UintRef::decode(sequence)?;
        Ok::<_, der::Error>([r.as_bytes().to_vec(), s.as_bytes().to_vec()])
    })?;
    reader.finish()?;
    Ok(numbers)
}
