//! Where does a seat keep what must outlive the process?
//!
//! ```text
//! seat.keys            secrets of the seat: signing key, sealing seed, k_A by subset      0600
//! operators.key        the operators' signing key; move it off the machine               0600
//! roster.cbor          the roster chain and birth record, public
//! floor-policy.toml    what this seat demands of every guest, besides the owner's policy
//! state.db             records, boots and volume states (with salts)                     0600
//! ```

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::{seal::SealingKey, secret::Secret, sign::SigningKey};
use casemate_record::{KmsGenesis, Roster, RosterChain, Salt, SignedBirth, SignedRoster, Subset};
use casemate_release::{
    derive::{SubsetSecrets, single_seat_birth},
    seat::Seat,
};
use minicbor::{Decode, Encode, bytes::ByteArray};
use rand_core::CryptoRng;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Error;

/// A seat's state folder, mode 0700.
#[derive(Debug, Clone)]
pub struct StateFolder(PathBuf);

/// What a service with one seat was born as.
#[derive(Debug)]
pub struct Birthday {
    /// Its roster.
    pub roster: Roster,
}

#[derive(Encode, Decode)]
struct StoredKeys {
    #[n(0)]
    signing: ByteArray<32>,
    #[n(1)]
    sealing: ByteArray<32>,
    #[n(2)]
    secrets: Vec<StoredSecret>,
}

#[derive(Encode, Decode)]
struct StoredSecret {
    #[n(0)]
    subset: Subset,
    #[n(1)]
    secret: ByteArray<32>,
}

impl Drop for StoredKeys {
    fn drop(&mut self) {
        self.signing.zeroize();
        self.sealing.zeroize();
        self.secrets.iter_mut().for_each(|stored| stored.secret.zeroize());
    }
}

impl StateFolder {
    /// Makes a service with a single seat (n = t = q = 1) in `path`.
    ///
    /// # Errors
    /// [`Error::AlreadyBorn`] if there is one, [`Error::File`].
    pub fn create(
        path: &Path,
        floor_policy: &str,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Birthday), Error> {
        let folder = StateFolder(path.to_owned());
        let refused = |source| Error::File { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refused)?;
        if folder.keys_path().exists() {
            return Err(Error::AlreadyBorn { path: folder.keys_path() });
        }
        let operators = SigningKey::generate(rng);
        let signing = SigningKey::generate(rng);
        let sealing = SealingKey::generate(rng);
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        let genesis = KmsGenesis { operators: operators.public(), salt: Salt::from(salt) };
        let seat = casemate_record::Seat { index: 1, signing: signing.public(), sealing: sealing.public() };
        let roster = Roster {
            kms_id: genesis.kms_id(),
            key_epoch: 1,
            number: 1,
            previous: None,
            seats: vec![seat],
            threshold: 1,
            quorum: 1,
            faulty: 0,
        };
        let (secrets, birth) = single_seat_birth(&roster, rng)?;
        let mut birth = SignedBirth::new(&birth);
        birth.add_signature(1, &signing);
        let chain = RosterChain { genesis, rosters: vec![SignedRoster::new(&operators, &roster)], birth };
        folder.write("operators.key", &operators.to_bytes()[..], 0o600)?;
        folder.write("floor-policy.toml", floor_policy.as_bytes(), 0o600)?;
        folder.write("roster.cbor", &chain.to_bytes(), 0o644)?;
        // Last, because it is what says that the birth is complete.
        folder.write("seat.keys", &encode_keys(&signing, &sealing, &secrets), 0o600)?;
        Ok((folder, Birthday { roster }))
    }

    /// Opens a folder that [`StateFolder::create`] or a restore made.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Mode`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = StateFolder(path.to_owned());
        for secret in ["seat.keys", "state.db"] {
            let path = folder.0.join(secret);
            match fs::metadata(&path) {
                Ok(found) if found.permissions().mode() & 0o077 != 0 => {
                    return Err(Error::Mode { path, mode: found.permissions().mode() & 0o777 });
                }
                Err(source) if secret == "seat.keys" => return Err(Error::File { path, source }),
                _ => {}
            }
        }
        Ok(folder)
    }

    /// Makes a folder of these files.
    pub(crate) fn fill<'a>(
        path: &Path,
        files: impl Iterator<Item = (&'a str, &'a [u8], u32)>,
    ) -> Result<Self, Error> {
        let folder = StateFolder(path.to_owned());
        let refused = |source| Error::File { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refused)?;
        if folder.keys_path().exists() {
            return Err(Error::AlreadyBorn { path: folder.keys_path() });
        }
        for (name, bytes, mode) in files {
            folder.write(name, bytes, mode)?;
        }
        Ok(folder)
    }

    /// The seat that lives here, after checking its secrets against roster and birth record.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Key`], [`Error::Record`], [`Error::Seat`].
    pub fn seat(&self) -> Result<Seat, Error> {
        let chain = self.chain()?;
        let roster = chain.verify(&chain.genesis.kms_id())?;
        let birth = chain.birth.verify(&roster)?;
        let bytes = Zeroizing::new(self.read("seat.keys")?);
        let path = self.keys_path();
        let stored: StoredKeys =
            from_cbor(&bytes, 16 * 1024).map_err(|source| Error::Damaged { path: path.clone(), source })?;
        let signing =
            SigningKey::from_bytes(&stored.signing).map_err(|source| Error::Key { path, source })?;
        let secret = |bytes: &ByteArray<32>| Secret::from_slice(&bytes[..]).expect("32 bytes");
        let secrets = stored.secrets.iter().map(|entry| (entry.subset, secret(&entry.secret)));
        let sealing = SealingKey::from_seed(secret(&stored.sealing));
        Ok(Seat::new(roster, &birth, signing, sealing, SubsetSecrets::new(secrets))?)
    }

    /// The roster chain, as served.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Record`].
    pub fn chain(&self) -> Result<RosterChain, Error> {
        Ok(RosterChain::from_bytes(&self.read("roster.cbor")?)?)
    }

    /// The floor policy's text.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn floor_policy(&self) -> Result<String, Error> {
        let path = self.0.join("floor-policy.toml");
        fs::read_to_string(&path).map_err(|source| Error::File { path, source })
    }

    pub(crate) fn database(&self) -> Result<PathBuf, Error> {
        let path = self.0.join("state.db");
        // Made here, because SQLite would make it with the mode of the umask.
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Error::File { path: path.clone(), source })?;
        Ok(path)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.0.join(name);
        fs::read(&path).map_err(|source| Error::File { path, source })
    }

    /// Writes a file that does not exist yet, and waits until it is on the disk.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let path = self.0.join(name);
        let written = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&path);
        let written = written.and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::File::open(&self.0)?.sync_all()
        });
        written.map_err(|source| Error::File { path, source })
    }

    fn keys_path(&self) -> PathBuf {
        self.0.join("seat.keys")
    }
}

fn encode_keys(signing: &SigningKey, sealing: &SealingKey, secrets: &SubsetSecrets) -> Zeroizing<Vec<u8>> {
    let stored =
        |(subset, secret): (Subset, &Secret<32>)| StoredSecret { subset, secret: (*secret.expose()).into() };
    let keys = StoredKeys {
        signing: (*signing.to_bytes()).into(),
        sealing: (*sealing.seed().expose()).into(),
        secrets: secrets.iter().map(stored).collect(),
    };
    Zeroizing::new(to_cbor(&keys))
}
