//! Signatures by AWS-LC: the fast back end of native builds.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PSS_2048_8192_SHA384,
};

use crate::provider::{P384PublicKey, P384Signature, PreparedP384, Provider, check_rsa_key};
use crate::rust_crypto::uncompressed;
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

    fn verify_rsa_pss_sha384(
        &self,
        modulus: &[u8],
        exponent: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        check_rsa_key(modulus, exponent)?;
        PublicKeyComponents { n: modulus, e: exponent }
            .verify(&RSA_PSS_2048_8192_SHA384, message, signature)
            .map_err(|_| Error::BadSignature)
    }
}

struct Prepared(ParsedPublicKey);

impl PreparedP384 for Prepared {
    fn verify(&self, message: &[u8], signature: &P384Signature) -> Result<(), Error> {
        self.0.verify_sig(message, signature.as_bytes()).map_err(|_| Error::BadSignature)
    }
}
