//! With which key are results signed?
//!
//! A P-256 key of its own, never the owner's: PKCS#8 in PEM, as OpenSSL writes it, readable by its owner only.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use casemate_crypto::{
    hash::sha256,
    sign::{PublicKey, Signature, SigningKey},
};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use zeroize::Zeroizing;

use crate::{Error, files, key::KeyError, random};

/// A key that signs attestation results.
#[derive(Debug)]
pub struct ResultKey(SigningKey);

impl ResultKey {
    /// Makes a key in a new file.
    ///
    /// # Errors
    /// [`KeyError::ResultKeyExists`], [`Error::File`].
    pub fn create(path: &Path) -> Result<Self, Error> {
        let key = SigningKey::generate(&mut random::system());
        let pem = secret(&key).to_pkcs8_pem(LineEnding::LF).expect("a P-256 key is always encodable");
        files::write_new_private(path, pem.as_bytes())?
            .then_some(ResultKey(key))
            .ok_or_else(|| KeyError::ResultKeyExists { path: path.to_owned() }.into())
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`KeyError::ResultKey`], [`Error::File`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = || KeyError::ResultKey { path: path.to_owned() };
        let text = Zeroizing::new(files::read(path, 4096)?);
        let text = std::str::from_utf8(&text).map_err(|_| wrong())?;
        let secret = p256::SecretKey::from_pkcs8_pem(text).map_err(|_| wrong())?;
        let scalar = Zeroizing::new(<[u8; 32]>::from(secret.to_bytes()));
        Ok(ResultKey(SigningKey::from_bytes(&scalar).map_err(|_| wrong())?))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// Its public half as `SubjectPublicKeyInfo` in PEM, for those who check results.
    pub fn public_pem(&self) -> String {
        let public = secret(&self.0).public_key().to_public_key_pem(LineEnding::LF);
        public.expect("a P-256 key is always encodable")
    }

    /// SHA-256 of its JWK (RFC 7638), in base64url: what `kid` says.
    pub fn thumbprint(&self) -> String {
        let public = self.public();
        let (x, y) = public.as_bytes().split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        // Members in this order and without spaces: RFC 7638 §3.
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(sha256(jwk.as_bytes()))
    }

    /// Signs `message`: r and s, as JWS wants them.
    pub(super) fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }
}

fn secret(key: &SigningKey) -> p256::SecretKey {
    p256::SecretKey::from_slice(&key.to_bytes()[..]).expect("it is a key of the same curve")
}
