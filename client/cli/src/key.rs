//! Who owns the apps of this person?
//!
//! One P-256 key, encrypted at rest with ChaCha20Poly1305 under Argon2id of a passphrase. The key
//! that the passphrase gives may wait in a 0600 file for eight hours, so that it is asked once.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use argon2::Argon2;
use casemate_crypto::{
    secret::Secret,
    sign::{PublicKey, SigningKey},
};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Error, files, home::Home, random};

/// Why the owner's key is not at hand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is a key already.
    #[error("there is a key already: {public}")]
    Exists {
        /// The key there is.
        public: PublicKey,
    },
    /// There is none.
    #[error("there is no owner key yet")]
    Absent,
    /// The file is not what `key create` writes.
    #[error("the key file is damaged or of another version")]
    Damaged,
    /// The passphrase does not open it.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// Nobody can be asked.
    #[error("the key is locked, and there is no terminal to ask for the passphrase")]
    NoTerminal,
    /// Two different passphrases were typed.
    #[error("the two passphrases differ")]
    Differ,
    /// A file that should hold a key for results.
    #[error("{path} holds no P-256 private key: expected PKCS#8 in PEM, unencrypted", path = path.display())]
    ResultKey {
        /// The file.
        path: PathBuf,
    },
    /// A key for results was to be made where a file is.
    #[error("{path} is there already", path = path.display())]
    ResultKeyExists {
        /// The file.
        path: PathBuf,
    },
    /// Too short.
    #[error("the passphrase has {found} characters, at least {MINIMUM_PASSPHRASE} are needed")]
    TooShort {
        /// Its length.
        found: usize,
    },
}

const MINIMUM_PASSPHRASE: usize = 8;
const UNLOCKED_FOR: Duration = Duration::from_secs(8 * 3600);
const PASSPHRASE_VARIABLE: &str = "CASEMATE_KEY_PASSPHRASE";

/// The key file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    /// 1.
    version: u32,
    /// The public key, for those who need no more.
    public: PublicKey,
    kdf: StoredKdf,
    /// ChaCha20Poly1305 nonce, 12 bytes, hexadecimal.
    nonce: String,
    /// The sealed secret scalar, hexadecimal; the public key is associated data.
    sealed: String,
}

/// Argon2id 1.3 with these parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKdf {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    /// 16 bytes, hexadecimal.
    salt: String,
}

/// What waits in the runtime folder.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unlocked {
    public: PublicKey,
    key: String,
    until_seconds: u64,
}

/// Makes the owner's key.
///
/// # Errors
/// [`KeyError`], [`Error::File`].
pub fn create(home: &Home) -> Result<PublicKey, Error> {
    if home.owner_key().exists() {
        return Err(KeyError::Exists { public: public(home)? }.into());
    }
    let passphrase = new_passphrase()?;
    let key = SigningKey::generate(&mut random::system());
    let kdf =
        StoredKdf { memory_kib: 64 << 10, passes: 3, lanes: 1, salt: hex::encode(random::bytes::<16>()) };
    let wrapping = stretch(&passphrase, &kdf)?;
    let nonce = random::bytes::<12>();
    let sealed = ChaCha20Poly1305::new(wrapping.expose().into())
        .encrypt(&nonce.into(), Payload { msg: &key.to_bytes()[..], aad: key.public().as_bytes() })
        .expect("a message in memory is short enough");
    let stored = StoredKey {
        version: 1,
        public: key.public(),
        kdf,
        nonce: hex::encode(nonce),
        sealed: hex::encode(sealed),
    };
    let text = toml::to_string(&stored).expect("the key file is plain data");
    files::write_private(&home.owner_key(), text.as_bytes())?;
    remember(home, &stored, &wrapping)?;
    Ok(stored.public)
}

/// The public key.
///
/// # Errors
/// [`KeyError::Absent`], [`KeyError::Damaged`].
pub fn public(home: &Home) -> Result<PublicKey, Error> {
    Ok(read(home)?.public)
}

/// The key itself; asks for the passphrase unless it was given lately or in the environment.
///
/// # Errors
/// [`KeyError`].
pub fn unlock(home: &Home) -> Result<SigningKey, Error> {
    let stored = read(home)?;
    if let Some(wrapping) = remembered(home, &stored)
        && let Ok(key) = open(&stored, &wrapping)
    {
        return Ok(key);
    }
    let passphrase = match passphrase_from_environment() {
        Some(passphrase) => passphrase,
        None => ask("Passphrase of your owner key: ")?,
    };
    let wrapping = stretch(&passphrase, &stored.kdf)?;
    let key = open(&stored, &wrapping)?;
    remember(home, &stored, &wrapping)?;
    Ok(key)
}

/// Forgets an unlocked key; the next command asks again.
///
/// # Errors
/// [`Error::File`].
pub fn lock(home: &Home) -> Result<(), Error> {
    let path = home.unlocked_key();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(files::error("remove", &path, error))
        }
        _ => Ok(()),
    }
}

fn read(home: &Home) -> Result<StoredKey, Error> {
    let path = home.owner_key();
    if !path.exists() {
        return Err(KeyError::Absent.into());
    }
    let text = files::read_text(&path, 4096)?;
    let stored: StoredKey = toml::from_str(&text).map_err(|_| KeyError::Damaged)?;
    let bounded = stored.version == 1
        && (8 << 10..=1 << 20).contains(&stored.kdf.memory_kib)
        && (1..=64).contains(&stored.kdf.passes)
        && (1..=16).contains(&stored.kdf.lanes);
    if bounded { Ok(stored) } else { Err(KeyError::Damaged.into()) }
}

fn open(stored: &StoredKey, wrapping: &Secret<32>) -> Result<SigningKey, KeyError> {
    let nonce: [u8; 12] = bytes_of(&stored.nonce)?;
    let sealed = hex::decode(&stored.sealed).map_err(|_| KeyError::Damaged)?;
    let opened = ChaCha20Poly1305::new(wrapping.expose().into())
        .decrypt(&nonce.into(), Payload { msg: &sealed, aad: stored.public.as_bytes() })
        .map(Zeroizing::new)
        .map_err(|_| KeyError::WrongPassphrase)?;
    let scalar = <&[u8; 32]>::try_from(opened.as_slice()).map_err(|_| KeyError::Damaged)?;
    let key = SigningKey::from_bytes(scalar).map_err(|_| KeyError::Damaged)?;
    if key.public() == stored.public { Ok(key) } else { Err(KeyError::Damaged) }
}

fn stretch(passphrase: &str, kdf: &StoredKdf) -> Result<Secret<32>, KeyError> {
    let salt: [u8; 16] = bytes_of(&kdf.salt)?;
    let parameters = argon2::Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32))
        .map_err(|_| KeyError::Damaged)?;
    let mut key = [0; 32];
    Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters)
        .hash_password_into(passphrase.as_bytes(), &salt, &mut key)
        .map_err(|_| KeyError::Damaged)?;
    Ok(Secret::take(&mut key))
}

fn remember(home: &Home, stored: &StoredKey, wrapping: &Secret<32>) -> Result<(), Error> {
    let until_seconds = seconds_now() + UNLOCKED_FOR.as_secs();
    let unlocked = Unlocked { public: stored.public, key: hex::encode(wrapping.expose()), until_seconds };
    let text = Zeroizing::new(toml::to_string(&unlocked).expect("plain data"));
    files::write_private(&home.unlocked_key(), text.as_bytes())
}

fn remembered(home: &Home, stored: &StoredKey) -> Option<Secret<32>> {
    let path = home.unlocked_key();
    if !is_private(&path) {
        return None;
    }
    let text = Zeroizing::new(files::read_text(&path, 4096).ok()?);
    let unlocked: Unlocked = toml::from_str(&text).ok()?;
    let now = seconds_now();
    let fresh = now < unlocked.until_seconds && unlocked.until_seconds - now <= UNLOCKED_FOR.as_secs();
    if !fresh || unlocked.public != stored.public {
        return None;
    }
    let mut key = bytes_of(&unlocked.key).ok()?;
    Some(Secret::take(&mut key))
}

/// Whether only its owner, who is this user, can read the file.
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_file() && found.mode() & 0o077 == 0 && found.uid() == nix::unistd::geteuid().as_raw()
    })
}

fn new_passphrase() -> Result<Zeroizing<String>, Error> {
    let passphrase = match passphrase_from_environment() {
        Some(passphrase) => passphrase,
        None => {
            let first = ask("New passphrase for your owner key: ")?;
            if *first != *ask("The same again: ")? {
                return Err(KeyError::Differ.into());
            }
            first
        }
    };
    let found = passphrase.chars().count();
    if found < MINIMUM_PASSPHRASE {
        return Err(KeyError::TooShort { found }.into());
    }
    Ok(passphrase)
}

fn passphrase_from_environment() -> Option<Zeroizing<String>> {
    std::env::var(PASSPHRASE_VARIABLE).ok().map(Zeroizing::new)
}

/// Asks on the terminal, without showing what is typed.
fn ask(question: &str) -> Result<Zeroizing<String>, Error> {
    use std::io::{BufRead as _, Write as _};

    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

    let path = Path::new("/dev/tty");
    let mut terminal =
        std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(|_| KeyError::NoTerminal)?;
    let before = tcgetattr(&terminal).map_err(|_| KeyError::NoTerminal)?;
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    let mut line = Zeroizing::new(String::new());
    let read = (|| {
        write!(terminal, "{question}")?;
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &hidden)?;
        let read = std::io::BufReader::new(&terminal).read_line(&mut line);
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &before)?;
        writeln!(terminal)?;
        read
    })();
    read.map_err(|source| files::error("read", path, source))?;
    while line.ends_with(['\n', '\r']) {
        line.pop();
    }
    Ok(line)
}

fn bytes_of<const N: usize>(text: &str) -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::Damaged)?;
    Ok(bytes)
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
