//! Where does a seat keep what must outlive the process?
//!
//! ```text
//! seat.keys            secrets of the seat: signing key, sealing seed, k_A by subset      0600
//! operators.key        the operators' signing key; move it off the machine               0600
//! roster.cbor          the roster chain and birth record, public
//! floor-policy.toml    what this seat demands of every guest, besides the owner's policy
//! state.db             records, boots and volume states (with salts)                     0600
//! ```
//!
//! All of them are there from birth, or the folder is not: a seat that starts without one of them would forget
//! what it promised. Only the operators' key may be elsewhere.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
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

use crate::{
    Error,
    store::{self, Identity, Store},
    unfinished::{self, Unfinished},
};

/// A file without which a seat does not start.
pub(crate) struct Needed {
    pub name: &'static str,
    pub mode: u32,
    /// Whether others must not be able to read it.
    pub secret: bool,
    pub holds: &'static str,
}

/// What a seat's folder and its backups hold, in the order of backups.
pub(crate) const NEEDED: [Needed; 4] = [
    Needed {
        name: "floor-policy.toml",
        mode: 0o600,
        secret: false,
        holds: "what the seat demands of every guest",
    },
    Needed { name: "roster.cbor", mode: 0o644, secret: false, holds: "the roster that guests verify" },
    Needed {
        name: "state.db",
        mode: 0o600,
        secret: true,
        holds: "its records and volume states: without them it would take every volume for a new one",
    },
    Needed {
        name: "seat.keys",
        mode: 0o600,
        secret: true,
        holds: "its secrets: without them it can derive no key",
    },
];

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
        let unfinished = Unfinished::begin(path)?;
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
        unfinished.write("operators.key", &operators.to_bytes()[..], 0o600)?;
        unfinished.write("floor-policy.toml", floor_policy.as_bytes(), 0o600)?;
        unfinished.write("roster.cbor", &chain.to_bytes(), 0o644)?;
        unfinished.write("seat.keys", &encode_keys(&signing, &sealing, &secrets), 0o600)?;
        // Made here, because SQLite would make it with the mode of the umask.
        unfinished.write("state.db", &[], 0o600)?;
        let identity = Identity { kms_id: roster.kms_id, seat: signing.public() };
        store::apart(Store::create(&unfinished.path().join("state.db"), &identity))??;
        unfinished.finish()?;
        Ok((StateFolder(path.to_owned()), Birthday { roster }))
    }

    /// Opens a folder that [`StateFolder::create`] or a restore made, and nothing less.
    ///
    /// # Errors
    /// [`Error::Unborn`], [`Error::Missing`], [`Error::Mode`], [`Error::File`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = StateFolder(path.to_owned());
        folder.must_be_born()?;
        for needed in &NEEDED {
            folder.must_have(needed)?;
        }
        Ok(folder)
    }

    /// The folder as it is, whether or not a seat can start on it.
    pub(crate) fn unchecked(path: &Path) -> Self {
        StateFolder(path.to_owned())
    }

    /// Refuses a folder that has nothing of a seat.
    pub(crate) fn must_be_born(&self) -> Result<(), Error> {
        for needed in &NEEDED {
            if self.mode(needed.name)?.is_some() {
                return Ok(());
            }
        }
        let entries = fs::read_dir(&self.0).ok().map(Iterator::count);
        let found = match (unfinished::interrupted(&self.0), entries) {
            (Some(_), _) => "only a birth that was interrupted, beside it",
            (None, None) => "no such folder",
            (None, Some(0)) => "an empty folder",
            (None, Some(_)) => "other files",
        };
        Err(Error::Unborn { path: self.0.clone(), found })
    }

    /// Refuses a file that is missing, or that others may read.
    pub(crate) fn must_have(&self, needed: &Needed) -> Result<(), Error> {
        let path = self.0.join(needed.name);
        match self.mode(needed.name)? {
            None => Err(Error::Missing { path, holds: needed.holds }),
            Some(mode) if needed.secret && mode & 0o077 != 0 => Err(Error::Mode { path, mode }),
            Some(_) => Ok(()),
        }
    }

    /// Permissions of a file; nothing if it is not there.
    pub(crate) fn mode(&self, name: &str) -> Result<Option<u32>, Error> {
        let path = self.0.join(name);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.permissions().mode() & 0o777)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// Makes a folder of these files, all at once.
    pub(crate) fn fill<'a>(
        path: &Path,
        files: impl Iterator<Item = (&'a str, &'a [u8], u32)>,
    ) -> Result<Self, Error> {
        let unfinished = Unfinished::begin(path)?;
        for (name, bytes, mode) in files {
            unfinished.write(name, bytes, mode)?;
        }
        // Before it is in its place: files that do not fit together are no seat.
        let folder = StateFolder(unfinished.path().to_owned());
        store::apart(async { folder.store().await?.close().await })??;
        unfinished.finish()?;
        Ok(StateFolder(path.to_owned()))
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

    /// The database of this very seat.
    pub(crate) async fn store(&self) -> Result<Store, Error> {
        Store::open(&self.path("state.db"), &self.identity()?).await
    }

    /// Whom the roster names, by which the database knows its seat.
    pub(crate) fn identity(&self) -> Result<Identity, Error> {
        let seat = self.seat()?;
        Ok(Identity { kms_id: seat.roster().kms_id, seat: seat.public() })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.0.join(name);
        fs::read(&path).map_err(|source| Error::File { path, source })
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
