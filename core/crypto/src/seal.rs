//! How is a message sent to one key only?
//!
//! HPKE base mode (RFC 9180) with the X-Wing KEM (X25519 + ML-KEM-768, KEM id 0x647a), HKDF-SHA256
//! and ChaCha20Poly1305: an attacker must break both X25519 and ML-KEM to read it. The receiver is
//! authenticated by its key, the sender by nothing: whoever must be known signs besides.

use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _, aead::Payload};
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    hash::{Sha256, sha256},
    kdf,
    secret::Secret,
};

type Kem = hpke::kem::XWing;
type Kdf = hpke::kdf::HkdfSha256;
type Aead = hpke::aead::ChaCha20Poly1305;

/// Length of an encapsulated X-Wing key in bytes.
pub const ENCAPSULATED_BYTES: usize = 1120;
const RESPONSE_NONCE_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// Why a sealed message or a sealing key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The bytes are not an X-Wing public key.
    #[error(
        "not an X-Wing public key ({found} bytes): it needs {expected} bytes with every ML-KEM coefficient below 3329"
    )]
    PublicKey {
        /// Length found in bytes.
        found: usize,
        /// Length of a key in bytes.
        expected: usize,
    },
    /// The encapsulated key has another length.
    #[error("encapsulated key of {found} bytes, expected {ENCAPSULATED_BYTES}; was the message cut?")]
    Encapsulated {
        /// Length found in bytes.
        found: usize,
    },
    /// Key, context or bytes differ from those the message was sealed with.
    #[error(
        "the sealed message does not open: it was changed on the way, or sealed to another key or context"
    )]
    Open,
    /// The response is shorter than its nonce and tag.
    #[error("sealed response of {found} bytes, at least {minimum} are needed; was it cut?")]
    Response {
        /// Length found in bytes.
        found: usize,
        /// Smallest length in bytes.
        minimum: usize,
    },
}

/// An X-Wing public key: 1216 bytes, ML-KEM-768 encapsulation key then X25519 public key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealingPublicKey(Box<[u8]>);

impl SealingPublicKey {
    /// Length in bytes.
    pub const LEN: usize = 1216;

    /// Takes 1216 bytes whose ML-KEM part is reduced.
    ///
    /// # Errors
    /// [`SealError::PublicKey`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SealError> {
        let refused = || SealError::PublicKey { found: bytes.len(), expected: Self::LEN };
        <Kem as hpke::Kem>::PublicKey::from_bytes(bytes).map_err(|_| refused())?;
        Ok(SealingPublicKey(bytes.into()))
    }

    /// The 1216 bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of the 1216 bytes, by which evidence names the key.
    pub fn digest(&self) -> Sha256 {
        sha256(&self.0)
    }

    fn parsed(&self) -> <Kem as hpke::Kem>::PublicKey {
        <Kem as hpke::Kem>::PublicKey::from_bytes(&self.0).expect("checked on construction")
    }
}

impl std::fmt::Debug for SealingPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingPublicKey({})", self.digest().short())
    }
}

impl<C> Encode<C> for SealingPublicKey {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SealingPublicKey {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::from_slice(d.bytes()?)
            .map_err(|_| minicbor::decode::Error::message("not an X-Wing public key").at(at))
    }
}

/// An X-Wing private key, kept as its 32-byte seed.
#[derive(Clone, Debug)]
pub struct SealingKey(Secret<32>);

impl SealingKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        SealingKey(Secret::generate(rng))
    }

    /// The key of this seed.
    pub fn from_seed(seed: Secret<32>) -> Self {
        SealingKey(seed)
    }

    /// The seed, for storage under the owner's own protection.
    pub fn seed(&self) -> &Secret<32> {
        &self.0
    }

    /// The key others seal to.
    pub fn public(&self) -> SealingPublicKey {
        SealingPublicKey(Kem::sk_to_pk(&self.parsed()).to_bytes().as_slice().into())
    }

    /// Opens what [`seal`] made with the same `info` and `associated_data`.
    ///
    /// # Errors
    /// [`SealError::Encapsulated`], [`SealError::Open`].
    pub fn open(
        &self,
        info: &[u8],
        associated_data: &[u8],
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        Ok(self.open_session(info, associated_data, sealed)?.0)
    }

    /// Opens what [`seal_session`] made, and joins its session.
    ///
    /// # Errors
    /// [`SealError::Encapsulated`], [`SealError::Open`].
    pub fn open_session(
        &self,
        info: &[u8],
        associated_data: &[u8],
        sealed: &Sealed,
    ) -> Result<(Zeroizing<Vec<u8>>, Session), SealError> {
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapsulated)
            .map_err(|_| SealError::Encapsulated { found: sealed.encapsulated.len() })?;
        let mut context =
            hpke::setup_receiver::<Aead, Kdf, Kem>(&OpModeR::Base, &self.parsed(), &encapsulated, info)
                .map_err(|_| SealError::Open)?;
        let plaintext =
            Zeroizing::new(context.open(&sealed.ciphertext, associated_data).map_err(|_| SealError::Open)?);
        let session = Session::new(|label, out| context.export(label, out), &sealed.encapsulated);
        Ok((plaintext, session))
    }

    fn parsed(&self) -> <Kem as hpke::Kem>::PrivateKey {
        <Kem as hpke::Kem>::PrivateKey::from_bytes(self.0.expose()).expect("a seed has 32 bytes")
    }
}

/// A message sealed to one [`SealingPublicKey`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sealed {
    /// The encapsulated key, 1120 bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub encapsulated: Vec<u8>,
    /// The ciphertext: as long as the plaintext, and 16 bytes of tag.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
}

/// Seals `plaintext` to `receiver`; `info` names the use, `associated_data` the context.
pub fn seal(
    rng: &mut impl CryptoRng,
    receiver: &SealingPublicKey,
    info: &[u8],
    associated_data: &[u8],
    plaintext: &[u8],
) -> Sealed {
    seal_session(rng, receiver, info, associated_data, plaintext).0
}

/// Seals as [`seal`] does, and keeps the [`Session`] that only the receiver can join.
pub fn seal_session(
    rng: &mut impl CryptoRng,
    receiver: &SealingPublicKey,
    info: &[u8],
    associated_data: &[u8],
    plaintext: &[u8],
) -> (Sealed, Session) {
    let (encapsulated, mut context) =
        hpke::setup_sender_with_rng::<Aead, Kdf, Kem>(&OpModeS::Base, &receiver.parsed(), info, rng)
            .expect("X-Wing encapsulates to every parsed key");
    let ciphertext = context.seal(plaintext, associated_data).expect("the first message of a context");
    let encapsulated = encapsulated.to_bytes().to_vec();
    let session = Session::new(|label, out| context.export(label, out), &encapsulated);
    (Sealed { encapsulated, ciphertext }, session)
}

/// What sender and receiver of one sealed message share, and nobody else.
#[derive(Clone, Debug)]
pub struct Session {
    response: Secret<32>,
    secret: Secret<32>,
    encapsulated: Vec<u8>,
}

impl Session {
    /// A 32-byte secret of this session, for MACs on later messages.
    pub fn secret(&self) -> &Secret<32> {
        &self.secret
    }

    /// Seals an answer in the other direction (construction of RFC 9458 section 4.4): 32 bytes of
    /// nonce, then the ciphertext.
    pub fn respond(&self, rng: &mut impl CryptoRng, associated_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; RESPONSE_NONCE_BYTES];
        rng.fill_bytes(&mut nonce);
        let (cipher, iv) = self.response_cipher(&nonce);
        let sealed = cipher
            .encrypt(&iv.into(), Payload { msg: plaintext, aad: associated_data })
            .expect("a message in memory is short enough");
        [&nonce[..], &sealed].concat()
    }

    /// Opens what [`Session::respond`] made on the other side.
    ///
    /// # Errors
    /// [`SealError::Response`], [`SealError::Open`].
    pub fn open_response(
        &self,
        associated_data: &[u8],
        bytes: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let minimum = RESPONSE_NONCE_BYTES + TAG_BYTES;
        if bytes.len() < minimum {
            return Err(SealError::Response { found: bytes.len(), minimum });
        }
        let (nonce, sealed) = bytes.split_at(RESPONSE_NONCE_BYTES);
        let (cipher, iv) = self.response_cipher(nonce);
        cipher
            .decrypt(&iv.into(), Payload { msg: sealed, aad: associated_data })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Open)
    }

    fn new(export: impl Fn(&[u8], &mut [u8]) -> Result<(), hpke::HpkeError>, encapsulated: &[u8]) -> Self {
        let exported = |label: &[u8]| {
            let mut out = [0; 32];
            export(label, &mut out).expect("32 bytes are few");
            Secret::take(&mut out)
        };
        Session {
            response: exported(b"casemate/1/response"),
            secret: exported(b"casemate/1/session"),
            encapsulated: encapsulated.to_vec(),
        }
    }

    fn response_cipher(&self, nonce: &[u8]) -> (ChaCha20Poly1305, [u8; 12]) {
        let salt = [&self.encapsulated, nonce].concat();
        let key = kdf::hkdf_sha256::<32>(&salt, self.response.expose(), b"key");
        let iv = kdf::hkdf_sha256::<12>(&salt, self.response.expose(), b"nonce");
        (ChaCha20Poly1305::new(key.expose().into()), *iv.expose())
    }
}
