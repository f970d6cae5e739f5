//! Did this key sign this record, as this kind of record?

use std::marker::PhantomData;

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::sign::{PublicKey, Signature, SigningKey};
use minicbor::{Decode, Encode, bytes::ByteSlice};

use crate::Error;

/// A kind of record that is signed: its purpose is part of what is signed.
pub trait Record: Encode<()> + for<'b> Decode<'b, ()> {
    /// Purpose tag, unique among all kinds of records.
    const PURPOSE: &'static str;
    /// Longest encoding accepted in bytes.
    const MAXIMUM_BYTES: usize = 4096;
}

/// A record as it was signed: its encoding and an ES256 signature over
/// CBOR `[purpose: tstr, body: bstr]`.
///
/// Signatures are malleable, so nothing is ever named by its signature bytes.
pub struct Signed<T> {
    body: Vec<u8>,
    signature: Signature,
    kind: PhantomData<fn() -> T>,
}

impl<T: Record> Signed<T> {
    /// Signs `record`.
    pub fn sign(key: &SigningKey, record: &T) -> Self {
        let body = to_cbor(record);
        let signature = key.sign(&Self::message(&body));
        Signed { body, signature, kind: PhantomData }
    }

    /// The record, if `key` signed it as this kind.
    ///
    /// # Errors
    /// [`Error::Signature`] first, then [`Error::Encoding`].
    pub fn verify(&self, key: &PublicKey) -> Result<T, Error> {
        key.verify(&Self::message(&self.body), &self.signature)
            .map_err(|source| Error::Signature { purpose: T::PURPOSE, source })?;
        self.claimed()
    }

    /// What the record says, before anyone checked who signed it: only good for finding the key to
    /// [`Signed::verify`] with.
    ///
    /// # Errors
    /// [`Error::Encoding`].
    pub fn claimed(&self) -> Result<T, Error> {
        from_cbor(&self.body, T::MAXIMUM_BYTES).map_err(|source| Error::Encoding { what: T::PURPOSE, source })
    }

    /// The encoded record.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Reads a signed record; the signature is not checked yet.
    ///
    /// # Errors
    /// [`Error::Encoding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        from_cbor(bytes, T::MAXIMUM_BYTES + 128)
            .map_err(|source| Error::Encoding { what: T::PURPOSE, source })
    }

    /// The encoding that [`Signed::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }

    fn message(body: &[u8]) -> Vec<u8> {
        signing_input(T::PURPOSE, body)
    }
}

/// What is signed for a record of `purpose` whose encoding is `body`.
pub(crate) fn signing_input(purpose: &str, body: &[u8]) -> Vec<u8> {
    to_cbor(&(purpose, <&ByteSlice>::from(body)))
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Signed { body: self.body.clone(), signature: self.signature, kind: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body && self.signature == other.signature
    }
}

impl<T> Eq for Signed<T> {}

impl<T> std::fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signed({})", casemate_crypto::hash::sha256(&self.body).short())
    }
}

impl<C, T> Encode<C> for Signed<T> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        c: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?.bytes(&self.body)?;
        self.signature.encode(e, c)
    }
}

impl<'b, C, T> Decode<'b, C> for Signed<T> {
    fn decode(d: &mut minicbor::Decoder<'b>, c: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a signed record has two items").at(at));
        }
        let body = d.bytes()?.to_vec();
        Ok(Signed { body, signature: Signature::decode(d, c)?, kind: PhantomData })
    }
}
