//! How does a single seat survive the loss of its machine?
//!
//! With n = 1 nobody else holds the secrets. A backup is the whole state folder but the operators' key,
//! under a passphrase: Argon2id (256 MiB, t=3, p=1), then ChaCha20-Poly1305. Restoring an old backup
//! brings back old volume states: a volume committed since is then refused or rolled back, so take a
//! backup after every change that must not be lost, and stop the seat first.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use casemate_canon::{from_cbor, to_cbor};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _};
use minicbor::{Decode, Encode, bytes::ByteArray, bytes::ByteVec};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{Error, StateFolder};

const TAG: &str = "casemate/1/kms-backup";
const FILES: [(&str, u32); 4] =
    [("floor-policy.toml", 0o600), ("roster.cbor", 0o644), ("state.db", 0o600), ("seat.keys", 0o600)];
const MAXIMUM_BYTES: usize = 1 << 30;

#[derive(Encode, Decode)]
struct Backup {
    #[n(0)]
    tag: String,
    #[n(1)]
    salt: ByteArray<16>,
    #[n(2)]
    nonce: ByteArray<12>,
    #[n(3)]
    ciphertext: ByteVec,
}

#[derive(Encode, Decode)]
struct StoredFile {
    #[n(0)]
    name: String,
    #[n(1)]
    content: ByteVec,
}

/// The folder under `passphrase`, for writing to a safe place. The seat must not run meanwhile.
///
/// # Errors
/// [`Error::File`].
pub fn back_up(folder: &StateFolder, passphrase: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, Error> {
    folder.database()?;
    let mut files = Vec::new();
    for (name, _) in FILES {
        files.push(StoredFile { name: name.to_owned(), content: folder.read(name)?.into() });
    }
    let plain = Zeroizing::new(to_cbor(&files));
    let (mut salt, mut nonce) = ([0; 16], [0; 12]);
    rng.fill_bytes(&mut salt);
    rng.fill_bytes(&mut nonce);
    let ciphertext = cipher(passphrase, &salt)
        .encrypt(&nonce.into(), &plain[..])
        .expect("a folder in memory is short enough");
    let backup =
        Backup { tag: TAG.to_owned(), salt: salt.into(), nonce: nonce.into(), ciphertext: ciphertext.into() };
    Ok(to_cbor(&backup))
}

/// Writes a backup into an empty folder.
///
/// # Errors
/// [`Error::Backup`], [`Error::File`], [`Error::AlreadyBorn`].
pub fn restore(path: &Path, backup: &[u8], passphrase: &[u8]) -> Result<StateFolder, Error> {
    let backup: Backup = from_cbor(backup, MAXIMUM_BYTES).map_err(|_| Error::Backup)?;
    if backup.tag != TAG {
        return Err(Error::Backup);
    }
    let plain = cipher(passphrase, &backup.salt)
        .decrypt(&(*backup.nonce).into(), &backup.ciphertext[..])
        .map_err(|_| Error::Backup)?;
    let plain = Zeroizing::new(plain);
    let files: Vec<StoredFile> = from_cbor(&plain, MAXIMUM_BYTES).map_err(|_| Error::Backup)?;
    if !files.iter().map(|file| file.name.as_str()).eq(FILES.map(|(name, _)| name)) {
        return Err(Error::Backup);
    }
    StateFolder::fill(
        path,
        files.iter().zip(FILES).map(|(file, (name, mode))| (name, &file.content[..], mode)),
    )
}

fn cipher(passphrase: &[u8], salt: &[u8; 16]) -> ChaCha20Poly1305 {
    let parameters = Params::new(256 * 1024, 3, 1, Some(32)).expect("parameters within Argon2's limits");
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(passphrase, salt, &mut key[..])
        .expect("lengths within Argon2's limits");
    ChaCha20Poly1305::new((&*key).into())
}
