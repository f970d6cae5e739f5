//! Which app is this folder, and what has its owner signed?
//!
//! `.casemate/app.toml` beside the compose file holds the app's genesis and the numbers used so far.
//! Nothing in it is secret; losing it loses the app's id, and with it the keys to its volumes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::sign::{PublicKey, SigningKey};
use casemate_record::{
    AppId, Authority, AuthorityRecord, Genesis, InstanceId, InstanceRecord, KmsId, PolicyDigest, Roster,
    RosterChain, Salt, SeenRoster, Signed, UpgradeRule, VolumeAction, VolumeName, VolumeRecord,
    WorkloadDigest,
};
use serde::{Deserialize, Serialize};

use crate::{Error, files, random};

/// The app of a folder.
#[derive(Debug)]
pub struct App {
    path: PathBuf,
    /// Its genesis.
    pub genesis: Genesis,
    stored: Stored,
}

/// Why an app's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// Not what this program writes.
    #[error("{path} is damaged; restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Another owner.
    #[error("{path} belongs to owner {expected}, your key is {found}")]
    OtherOwner {
        /// The file.
        path: PathBuf,
        /// Owner in the genesis.
        expected: Box<PublicKey>,
        /// This person's key.
        found: Box<PublicKey>,
    },
    /// Another key service than the app's volumes and secrets were entrusted to.
    #[error("this app uses key service {expected}, the validator names {found}")]
    OtherKms {
        /// Pinned in `.casemate/app.toml`, or given on the command line.
        expected: KmsId,
        /// What the validator names.
        found: KmsId,
    },
    /// A validator elsewhere names a key service, and nobody else did.
    #[error("the validator names key service {found}, and nothing here says that it is yours")]
    KmsUnnamed {
        /// What the validator names.
        found: KmsId,
    },
    /// A volume of a name that no record can carry.
    #[error("volume name '{name}' is not usable in a record")]
    VolumeName {
        /// The name.
        name: String,
    },
}

impl App {
    /// The app of `folder`, made now if there is none.
    ///
    /// # Errors
    /// [`AppError`], [`Error::File`].
    pub fn open_or_create(folder: &Path, owner: &PublicKey) -> Result<Self, Error> {
        let path = place(folder);
        if path.exists() {
            let app = Self::open(folder)?;
            if app.genesis.owner != *owner {
                return Err(AppError::OtherOwner {
                    path,
                    expected: Box::new(app.genesis.owner),
                    found: Box::new(*owner),
                }
                .into());
            }
            return Ok(app);
        }
        let genesis = Genesis {
            owner: *owner,
            authority: Authority::Local,
            upgrade_rule: UpgradeRule::Owner,
            salt: Salt::from(random::bytes()),
        };
        let stored = Stored {
            version: 1,
            app_id: genesis.app_id(),
            kms_id: None,
            roster: None,
            genesis: hex::encode(to_cbor(&genesis)),
            authority: None,
            last_instance: 0,
            last_order: 0,
            last_volume: 0,
            instance: BTreeMap::new(),
        };
        let app = App { path, genesis, stored };
        app.save()?;
        Ok(app)
    }

    /// The app of `folder`.
    ///
    /// # Errors
    /// [`AppError::Damaged`], [`Error::File`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = place(folder);
        let text = files::read_text(&path, 1 << 20)?;
        let damaged = || AppError::Damaged { path: path.clone() };
        let stored: Stored = toml::from_str(&text).map_err(|_| damaged())?;
        let genesis = hex::decode(&stored.genesis).map_err(|_| damaged())?;
        let genesis: Genesis = from_cbor(&genesis, Genesis::MAXIMUM_BYTES).map_err(|_| damaged())?;
        if stored.version != 1 || genesis.app_id() != stored.app_id {
            return Err(damaged().into());
        }
        Ok(App { path, genesis, stored })
    }

    /// Its id.
    pub fn id(&self) -> AppId {
        self.stored.app_id
    }

    /// The owner's word that it may run this workload under this policy.
    ///
    /// The same word is given again for the same workload and policy, with the same number.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn authorise(
        &mut self,
        key: &SigningKey,
        workload_digest: WorkloadDigest,
        policy_digest: PolicyDigest,
    ) -> Result<Signed<AuthorityRecord>, Error> {
        let same = |record: &&StoredAuthority| {
            record.workload_digest == workload_digest && record.policy_digest == policy_digest
        };
        let number = match self.stored.authority.as_ref().filter(same) {
            Some(record) => record.number,
            None => self.stored.authority.as_ref().map_or(0, |record| record.number) + 1,
        };
        self.stored.authority = Some(StoredAuthority { number, workload_digest, policy_digest });
        self.save()?;
        let record = AuthorityRecord { app_id: self.id(), number, workload_digest, policy_digest };
        Ok(Signed::sign(key, &record))
    }

    /// The instance called `name`, made now if there is none, and the owner's word that it exists.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn instance(
        &mut self,
        key: &SigningKey,
        name: &str,
    ) -> Result<(InstanceId, Signed<InstanceRecord>), Error> {
        let stored = match self.stored.instance.get(name) {
            Some(stored) => stored.clone(),
            None => {
                self.stored.last_instance += 1;
                let id = InstanceId::from(random::bytes());
                let new = StoredInstance { id, number: self.stored.last_instance };
                self.stored.instance.insert(name.to_owned(), new.clone());
                self.save()?;
                new
            }
        };
        let record = InstanceRecord { app_id: self.id(), instance: stored.id, number: stored.number };
        Ok((stored.id, Signed::sign(key, &record)))
    }

    /// The instance called `name`.
    pub fn known_instance(&self, name: &str) -> Option<InstanceId> {
        self.stored.instance.get(name).map(|stored| stored.id)
    }

    /// A number for the next order; kept before it is used, so that none is used twice.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn next_order(&mut self) -> Result<u64, Error> {
        // Rises with time as well, should the file be restored from a backup.
        self.stored.last_order = (self.stored.last_order + 1).max(crate::clock::now_ms());
        self.save()?;
        Ok(self.stored.last_order)
    }

    /// The owner's word that a volume of an instance is to be erased. The instance is forgotten.
    ///
    /// # Errors
    /// [`AppError::VolumeName`], [`Error::File`].
    pub fn erase_volume(
        &mut self,
        key: &SigningKey,
        instance: InstanceId,
        volume: &str,
    ) -> Result<Signed<VolumeRecord>, Error> {
        self.stored.last_volume += 1;
        self.save()?;
        let name = VolumeName::new(volume).map_err(|_| AppError::VolumeName { name: volume.to_owned() })?;
        let record = VolumeRecord {
            app_id: self.id(),
            instance,
            volume: name,
            number: self.stored.last_volume,
            action: VolumeAction::Erase,
        };
        Ok(Signed::sign(key, &record))
    }

    /// Forgets the instance called `name`: the next `up` makes another.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn forget_instance(&mut self, name: &str) -> Result<(), Error> {
        self.stored.instance.remove(name);
        self.save()
    }

    /// Takes the service of this roster chain as the app's key service, or refuses it; answers its newest
    /// roster, which is remembered.
    ///
    /// Whoever holds a seat's secrets opens the volumes of its apps, so a validator may not choose the
    /// service: it is the one that `named` says, else the one that the app had before, else, on this
    /// machine only, this machine's own. Nor may it go back to seats that were replaced: of the same service
    /// no roster is taken that is older than the one remembered, or does not follow from it.
    ///
    /// # Errors
    /// [`AppError::OtherKms`], [`AppError::KmsUnnamed`], [`Error::Roster`], [`Error::File`].
    pub fn follow(
        &mut self,
        chain: &RosterChain,
        named: Option<KmsId>,
        is_local: bool,
    ) -> Result<Roster, Error> {
        let found = chain.genesis.kms_id();
        match named.or(self.stored.kms_id) {
            Some(expected) if expected != found => return Err(AppError::OtherKms { expected, found }.into()),
            None if !is_local => return Err(AppError::KmsUnnamed { found }.into()),
            _ => {}
        }
        let seen = self.stored.roster.filter(|_| self.stored.kms_id == Some(found));
        let roster = chain
            .verify_since(&found, seen.as_ref())
            .map_err(|source| Error::Roster { source: Box::new(source) })?;
        let newest = (Some(found), Some(roster.seen()));
        if (self.stored.kms_id, self.stored.roster) != newest {
            (self.stored.kms_id, self.stored.roster) = newest;
            self.save()?;
        }
        Ok(roster)
    }

    fn save(&self) -> Result<(), Error> {
        let text = format!(
            "# The identity of this app. Keep it: without it, its volumes cannot be opened again.\n{}",
            toml::to_string(&self.stored).expect("an app's file is plain data")
        );
        files::write_private(&self.path, text.as_bytes())
    }
}

fn place(folder: &Path) -> PathBuf {
    folder.join(".casemate/app.toml")
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    app_id: AppId,
    /// The key service that its volumes and secrets are entrusted to.
    #[serde(default)]
    kms_id: Option<KmsId>,
    /// CBOR, hexadecimal.
    genesis: String,
    last_instance: u64,
    last_order: u64,
    last_volume: u64,
    authority: Option<StoredAuthority>,
    /// The newest roster ever seen of that service.
    #[serde(default)]
    roster: Option<SeenRoster>,
    #[serde(default)]
    instance: BTreeMap<String, StoredInstance>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAuthority {
    number: u64,
    workload_digest: WorkloadDigest,
    policy_digest: PolicyDigest,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredInstance {
    id: InstanceId,
    number: u64,
}

#[cfg(test)]
mod tests {
    use casemate_crypto::{seal::SealingKey, secret::Secret};
    use casemate_record::{
        Birth, Error as RecordError, KmsGenesis, Seat, SignedBirth, SignedRoster, Subset, SubsetCommitment,
    };

    use super::*;

    fn owner() -> SigningKey {
        SigningKey::from_bytes(&[7; 32]).unwrap()
    }

    #[test]
    fn the_same_word_has_the_same_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut app = App::open_or_create(folder.path(), &owner().public()).unwrap();
        let word = |app: &mut App, digest: u8| {
            app.authorise(&owner(), [digest; 32].into(), [9; 32].into()).unwrap().claimed().unwrap().number
        };
        assert_eq!(
            [word(&mut app, 1), word(&mut app, 1), word(&mut app, 2), word(&mut app, 1)],
            [1, 1, 2, 3]
        );
    }

    #[test]
    fn instances_are_kept_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut app = App::open_or_create(folder.path(), &owner().public()).unwrap();
        let (first, record) = app.instance(&owner(), "notes").unwrap();
        let app_id = app.id();
        let mut app = App::open_or_create(folder.path(), &owner().public()).unwrap();
        assert_eq!((app.id(), app.instance(&owner(), "notes").unwrap()), (app_id, (first, record)));
        app.forget_instance("notes").unwrap();
        let (second, record) = app.instance(&owner(), "notes").unwrap();
        assert_ne!(second, first);
        assert_eq!(record.claimed().unwrap().number, 2);
    }

    #[test]
    fn another_owner_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        App::open_or_create(folder.path(), &owner().public()).unwrap();
        let other = SigningKey::from_bytes(&[8; 32]).unwrap().public();
        let error = App::open_or_create(folder.path(), &other).unwrap_err();
        assert!(matches!(error, Error::App(AppError::OtherOwner { .. })));
    }

    /// A service whose operators' key is `operators`, with as many rosters as `quorums`, one seat each but
    /// for the first of three; `quorums` are what tells two histories apart.
    fn chain(operators: u8, quorums: &[u8]) -> RosterChain {
        let key = |number: u8| SigningKey::from_bytes(&[number; 32]).unwrap();
        let genesis = KmsGenesis { operators: key(operators).public(), salt: [5; 32].into() };
        let seat = |index: u8| Seat {
            index,
            signing: key(20 + index).public(),
            sealing: SealingKey::from_seed(Secret::from_slice(&[index; 32]).unwrap()).public(),
        };
        let mut rosters: Vec<Roster> = Vec::new();
        let mut signed = Vec::new();
        for (number, quorum) in (1..).zip(quorums) {
            let roster = Roster {
                kms_id: genesis.kms_id(),
                key_epoch: 1,
                number,
                previous: rosters.last().map(Roster::digest),
                seats: (1..=3).map(seat).collect(),
                threshold: 2,
                quorum: *quorum,
                faulty: 0,
            };
            let mut next = SignedRoster::new(&key(operators), &roster);
            (1..=3).for_each(|index| next.add_signature(index, &key(20 + index)));
            signed.push(next);
            rosters.push(roster);
        }
        let commitments = Subset::all(3, 2).unwrap().into_iter();
        let commitments = commitments.map(|subset| SubsetCommitment { subset, commitment: [6; 32].into() });
        let mut birth = SignedBirth::new(&Birth {
            kms_id: genesis.kms_id(),
            key_epoch: 1,
            commitments: commitments.collect(),
        });
        (1..=3).for_each(|index| birth.add_signature(index, &key(20 + index)));
        RosterChain { genesis, rosters: signed, birth }
    }

    #[test]
    fn the_key_service_is_not_the_validators_choice() {
        let folder = tempfile::tempdir().unwrap();
        let mut app = App::open_or_create(folder.path(), &owner().public()).unwrap();
        let (own, other) = (chain(1, &[2]), chain(2, &[2]));
        let (own_id, other_id) = (own.genesis.kms_id(), other.genesis.kms_id());
        let refused = |outcome: Result<Roster, Error>| match outcome {
            Err(Error::App(error)) => error,
            other => panic!("{other:?}"),
        };
        let unnamed = refused(app.follow(&own, None, false));
        assert!(matches!(unnamed, AppError::KmsUnnamed { found } if found == own_id), "{unnamed}");
        app.follow(&own, Some(own_id), false).unwrap();
        let mut app = App::open(folder.path()).unwrap();
        app.follow(&own, None, false).unwrap();
        for is_local in [false, true] {
            let changed = refused(app.follow(&other, None, is_local));
            assert!(
                matches!(changed, AppError::OtherKms { expected, .. } if expected == own_id),
                "{changed}"
            );
        }
        let lied = refused(app.follow(&other, Some(own_id), false));
        assert!(matches!(lied, AppError::OtherKms { .. }), "{lied}");
        app.follow(&other, Some(other_id), false).unwrap();
    }

    #[test]
    fn an_older_or_other_roster_than_was_seen_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut app = App::open_or_create(folder.path(), &owner().public()).unwrap();
        let follow = |app: &mut App, quorums: &[u8]| match app.follow(&chain(1, quorums), None, true) {
            Ok(roster) => Ok(roster.number),
            Err(Error::Roster { source }) => Err(source),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(follow(&mut app, &[2]).unwrap(), 1);
        assert_eq!(follow(&mut app, &[2, 2, 3]).unwrap(), 3);
        let mut app = App::open(folder.path()).unwrap();
        let older = follow(&mut app, &[2, 2]).unwrap_err();
        assert!(matches!(*older, RecordError::RosterOlder { found: 2, seen } if seen.number == 3), "{older}");
        for forked in [&[2, 2, 2][..], &[2, 2, 2, 3]] {
            let other = follow(&mut app, forked).unwrap_err();
            assert!(
                matches!(*other, RecordError::RosterOtherThanSeen { seen, .. } if seen.number == 3),
                "{other}"
            );
        }
        assert_eq!(follow(&mut app, &[2, 2, 3, 2]).unwrap(), 4);
        // Another service, by the owner's own word, begins anew.
        let other = chain(2, &[2]);
        assert_eq!(app.follow(&other, Some(other.genesis.kms_id()), false).unwrap().number, 1);
    }

    #[test]
    fn order_numbers_rise() {
        let folder = tempfile::tempdir().unwrap();
        let mut app = App::open_or_create(folder.path(), &owner().public()).unwrap();
        let first = app.next_order().unwrap();
        assert!(app.next_order().unwrap() > first);
    }
}
