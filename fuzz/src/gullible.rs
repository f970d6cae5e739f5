//! How does a fuzzer get past signatures?

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_crypto::sign::{Error, PublicKey, Signature};
use casemate_crypto::{Curve, P384PublicKey, P384Signature, PreparedP384, Provider, PssSalt};

/// Finds every signature good, so that whatever lies behind them is reached by changed evidence. What it lets
/// through is verified anew with a real provider before it counts as anything.
#[derive(Clone, Copy, Debug)]
pub struct Gullible;

impl PreparedP384 for Gullible {
    fn verify(&self, _: &[u8], _: &P384Signature) -> Result<(), Error> {
        Ok(())
    }
}

impl Provider for Gullible {
    fn name(&self) -> &'static str {
        "gullible"
    }

    fn prepare_p384(&self, _: &P384PublicKey) -> Result<Box<dyn PreparedP384>, Error> {
        Ok(Box::new(Gullible))
    }

    fn verify_p256(&self, _: &PublicKey, _: &[u8], _: &Signature) -> Result<(), Error> {
        Ok(())
    }

    fn verify_rsa_pkcs1(
        &self,
        _: HashAlgorithm,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), Error> {
        Ok(())
    }

    fn verify_rsa_pss(
        &self,
        _: HashAlgorithm,
        _: PssSalt,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), Error> {
        Ok(())
    }

    fn verify_ecdsa(&self, _: Curve, _: HashAlgorithm, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn verify_rsa_pkcs1_digest(&self, _: &Digest, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn verify_ecdsa_digest(&self, _: Curve, _: &Digest, _: &[u8], _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}
