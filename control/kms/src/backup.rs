//! How does a single seat survive the loss of its machine?
//!
//! With n = 1 nobody else holds the secrets. A backup is the whole state folder but the operators' key,
//! under a passphrase: Argon2id (256 MiB, t=3, p=1), then ChaCha20-Poly1305. Restoring an old backup
//! brings back old volume states: a volume committed since is then refused or rolled back, so take a
//! backup after every change that must not be lost, and stop the seat first. What a kill interrupted is
//! undone before the database is read, and nobody writes meanwhile.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use casemate_canon::{from_cbor, to_cbor};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _};
use minicbor::{Decode, Encode, bytes::ByteArray, bytes::ByteVec};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{Error, StateFolder, folder::NEEDED, store};

const TAG: &str = "casemate/1/kms-backup";
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
/// [`Error::File`], and those with which a seat does not start on the folder.
pub fn back_up(folder: &StateFolder, passphrase: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, Error> {
    let read = async {
        let mut store = folder.store().await?;
        let locked = store.begin().await?;
        let read = |name: &str| Ok(StoredFile { name: name.to_owned(), content: folder.read(name)?.into() });
        let files = NEEDED.iter().map(|needed| read(needed.name)).collect::<Result<Vec<_>, Error>>();
        drop(locked);
        store.close().await?;
        files
    };
    let files = store::apart(read)??;
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

/// Makes a folder of a backup, all at once.
///
/// # Errors
/// [`Error::Backup`], [`Error::File`], [`Error::AlreadyBorn`], [`Error::Occupied`], and those with which a
/// seat does not start on what was in the backup: then there is no folder.
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
    if !files.iter().map(|file| file.name.as_str()).eq(NEEDED.map(|needed| needed.name)) {
        return Err(Error::Backup);
    }
    StateFolder::fill(
        path,
        files.iter().zip(&NEEDED).map(|(file, needed)| (needed.name, &file.content[..], needed.mode)),
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
