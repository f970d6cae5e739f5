//! Signatures by AWS-LC: the fast back end of native builds.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1,
    ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA512_ASN1,
    EcdsaVerificationAlgorithm, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
};

use crate::hash::HashAlgorithm;
use crate::provider::{Curve, P384PublicKey, P384Signature, PreparedP384, Provider, PssSalt, check_rsa_key};
use crate::rust_crypto::{RustCrypto, uncompressed};
use crate::sign::{Error, PublicKey, Signature};

/// The `aws-lc-rs` crate.
#[derive(Debug, Clone, Copy)]
pub struct AwsLc;

impl Provider for AwsLc {
    fn name(&self) -> &'static str {
        "AWS-LC"
    }

    fn prepare_p384(&self, key: &P384PublicKey) -> Result<Box<dyn PreparedP384>, Error> {
        let key = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, uncompressed::<97>(key.as_bytes()))
            .map_err(|_| Error::NotAKey)?;
        Ok(Box::new(Prepared(key)))
    }

    fn verify_p256(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), Error> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed::<65>(key.as_bytes()))
            .map_err(|_| Error::NotAKey)?
            .verify_sig(message, signature.as_bytes())
            .map_err(|_| Error::BadSignature)
    }

    fn verify_rsa_pkcs1(
        &self,
        hash: HashAlgorithm,
        modulus: &[u8],
        exponent: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        let parameters = match hash {
            HashAlgorithm::Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            HashAlgorithm::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            HashAlgorithm::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
            HashAlgorithm::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        };
        verify_rsa(parameters, modulus, exponent, message, signature)
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
        if salt == PssSalt::AsSigned {
            // AWS-LC's interface for Rust knows salts of the digest's length only.
            return RustCrypto.verify_rsa_pss(hash, salt, modulus, exponent, message, signature);
        }
        let parameters = match hash {
            HashAlgorithm::Sha1 => return Err(Error::BadSignature),
            HashAlgorithm::Sha256 => &RSA_PSS_2048_8192_SHA256,
            HashAlgorithm::Sha384 => &RSA_PSS_2048_8192_SHA384,
            HashAlgorithm::Sha512 => &RSA_PSS_2048_8192_SHA512,
        };
        verify_rsa(parameters, modulus, exponent, message, signature)
    }

    fn verify_ecdsa(
        &self,
        curve: Curve,
        hash: HashAlgorithm,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        let algorithm: &'static EcdsaVerificationAlgorithm = match (curve, hash) {
            (_, HashAlgorithm::Sha1) => return Err(Error::BadSignature),
            (Curve::P256, HashAlgorithm::Sha256) => &ECDSA_P256_SHA256_ASN1,
            (Curve::P256, HashAlgorithm::Sha384) => &ECDSA_P256_SHA384_ASN1,
            (Curve::P256, HashAlgorithm::Sha512) => &ECDSA_P256_SHA512_ASN1,
            (Curve::P384, HashAlgorithm::Sha256) => &ECDSA_P384_SHA256_ASN1,
            (Curve::P384, HashAlgorithm::Sha384) => &ECDSA_P384_SHA384_ASN1,
            (Curve::P384, HashAlgorithm::Sha512) => &ECDSA_P384_SHA512_ASN1,
        };
        if key.len() != 2 * curve.field_len() {
            return Err(Error::NotAKey);
        }
        let key = match curve {
            Curve::P256 => ParsedPublicKey::new(algorithm, uncompressed::<65>(key)),
            Curve::P384 => ParsedPublicKey::new(algorithm, uncompressed::<97>(key)),
        }
        .map_err(|_| Error::NotAKey)?;
        if signature.len() != 2 * curve.field_len() {
            return Err(Error::BadSignature);
        }
        let (r, s) = signature.split_at(curve.field_len());
        key.verify_sig(message, &ecdsa_sig_value(r, s)).map_err(|_| Error::BadSignature)
    }
}

fn verify_rsa(
    parameters: &'static RsaParameters,
    modulus: &[u8],
    exponent: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    check_rsa_key(modulus, exponent)?;
    PublicKeyComponents { n: modulus, e: exponent }
        .verify(parameters, message, signature)
        .map_err(|_| Error::BadSignature)
}

/// Ecdsa-Sig-Value (RFC 3279 §2.2.3) in DER: for most pairs of curve and hash function AWS-LC knows no
/// other form. Its 102 bytes at most need no length of more than one byte.
fn ecdsa_sig_value(r: &[u8], s: &[u8]) -> Vec<u8> {
    fn integer(number: &[u8]) -> Vec<u8> {
        let zeros = number.iter().take_while(|byte| **byte == 0).count().min(number.len() - 1);
        let digits = &number[zeros..];
        let sign = digits[0] >> 7; // a leading 1 bit would make the number negative
        let mut der = vec![0x02, digits.len() as u8 + sign];
        der.extend(std::iter::repeat_n(0, sign.into()));
        der.extend_from_slice(digits);
        der
    }
    let numbers = [integer(r), integer(s)].concat();
    [vec![0x30, numbers.len() as u8], numbers].concat()
}

struct Prepared(ParsedPublicKey);

impl PreparedP384 for Prepared {
    fn verify(&self, message: &[u8], signature: &P384Signature) -> Result<(), Error> {
        self.0.verify_sig(message, signature.as_bytes()).map_err(|_| Error::BadSignature)
    }
}
