//! What does a seat know about a volume, and what may happen to it next?
//!
//! ```text
//! Absent --begin--> Creating --prepare, commit--> Live --prepare, commit--> Live
//!                   Creating --begin (another boot)--> Creating
//! any --erase--> Erased          Live --restore--> Live
//! ```
//!
//! The boot whose salt a new volume has is its creator, and only the creator can commit it. Between prepare
//! and commit the old stamp and the prepared one are both good; after the commit only
//! the new one is. A boot makes one stamp.

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::secret::Secret;
use casemate_record::{BootId, Stamp};
use minicbor::{Decode, Encode, bytes::ByteVec};
use zeroize::Zeroizing;

/// Random input of a volume's derivation, proposed by the guest that formats it and destroyed on erase.
pub type VolumeSalt = Secret<32>;

/// Why a step is refused; the state stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The volume was erased.
    #[error("the volume was erased by its owner; its key is gone for good")]
    Erased,
    /// Nothing was begun.
    #[error("the volume was never created; ask for its key first")]
    Absent,
    /// A salt is needed to begin.
    #[error("the volume has no salt yet; the request must propose one")]
    SaltMissing,
    /// The counter is not the next one.
    #[error("stamp counter {found}, expected {expected}; this is not the newest state of the volume")]
    Counter {
        /// Counter found.
        found: u64,
        /// Counter expected.
        expected: u64,
    },
    /// The stamp names another boot than the one that sends it.
    #[error("the stamp names boot {found}, the session belongs to boot {expected}")]
    Boot {
        /// Boot of the session.
        expected: BootId,
        /// Boot in the stamp.
        found: BootId,
    },
    /// Another boot took over the creation.
    #[error("boot {creator} is creating this volume, not boot {found}; start over with a new grant")]
    OtherCreator {
        /// The boot whose salt the volume has.
        creator: BootId,
        /// The boot that sent the step.
        found: BootId,
    },
    /// The boot made another stamp before.
    #[error("boot {boot} already made another stamp with counter {counter}; a boot makes one")]
    BootAlreadyStamped {
        /// The boot.
        boot: BootId,
        /// Counter of its stamp.
        counter: u64,
    },
    /// The stamp to commit is not the prepared one.
    #[error("stamp {counter} was not prepared here, or another boot prepared after it; prepare it first")]
    NotPrepared {
        /// Its counter.
        counter: u64,
    },
    /// Only a live volume can be restored.
    #[error("only a live volume can be restored; this one is {0}")]
    NotLive(Standing),
    /// A counter that no volume ever had, after which none could follow.
    #[error("stamp counter {found} to restore, of at most {HIGHEST_RESTORED}; give the stamp of a backup")]
    CounterTooHigh {
        /// Counter found.
        found: u64,
    },
    /// What was stored does not read back.
    #[error("the stored volume state does not read: {0}; restore the seat's database from its backup")]
    Storage(Damage),
}

/// The kind of damage in a stored state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not its encoding.
    #[error("not its encoding")]
    Encoding,
    /// A salt of another length.
    #[error("salt of another length")]
    Salt,
}

/// A volume's state in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// Never begun.
    #[n(0)]
    Absent,
    /// A key was given, nothing was committed: may be formatted.
    #[n(1)]
    Creating,
    /// Committed: must be opened, never formatted.
    #[n(2)]
    Live,
    /// Erased for good.
    #[n(3)]
    Erased,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Standing::Absent => "absent",
            Standing::Creating => "creating",
            Standing::Live => "live",
            Standing::Erased => "erased",
        })
    }
}

/// What a seat holds about one volume.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum VolumeState {
    /// Never begun.
    #[default]
    Absent,
    /// A key was given; nothing is committed, so nothing on the disk matters yet.
    Creating {
        /// Input of the derivation, 1 for the first.
        generation: u32,
        /// The boot that proposed the salt.
        creator: BootId,
        /// Input of the derivation.
        salt: VolumeSalt,
        /// A first stamp that was prepared.
        pending: Option<Stamp>,
    },
    /// Committed at least once.
    Live {
        /// Input of the derivation.
        generation: u32,
        /// Input of the derivation.
        salt: VolumeSalt,
        /// The newest committed stamp.
        stamp: Stamp,
        /// The highest counter ever prepared, so that none is used twice.
        highest: u64,
        /// A stamp that was prepared after `stamp`.
        pending: Option<Stamp>,
    },
    /// The salt is gone.
    Erased {
        /// The last generation.
        generation: u32,
    },
}

impl VolumeState {
    /// The state in one word.
    pub fn standing(&self) -> Standing {
        match self {
            VolumeState::Absent => Standing::Absent,
            VolumeState::Creating { .. } => Standing::Creating,
            VolumeState::Live { .. } => Standing::Live,
            VolumeState::Erased { .. } => Standing::Erased,
        }
    }

    /// `boot` asks for the key. Before the first commit its proposed salt takes the place of any other, and
    /// only this boot can commit then; in a live volume the stored salt stays.
    ///
    /// # Errors
    /// [`StateError::Erased`], [`StateError::SaltMissing`].
    pub fn begin(self, boot: &BootId, proposed: Option<VolumeSalt>) -> Result<Self, StateError> {
        match self {
            VolumeState::Absent => {
                let salt = proposed.ok_or(StateError::SaltMissing)?;
                Ok(VolumeState::Creating { generation: 1, creator: *boot, salt, pending: None })
            }
            VolumeState::Creating { generation, .. } => {
                let salt = proposed.ok_or(StateError::SaltMissing)?;
                Ok(VolumeState::Creating { generation, creator: *boot, salt, pending: None })
            }
            live @ VolumeState::Live { .. } => Ok(live),
            VolumeState::Erased { .. } => Err(StateError::Erased),
        }
    }

    /// The counter that the next stamp must carry.
    pub fn next_counter(&self) -> u64 {
        match self {
            // Far from overflow: `restore` takes none above HIGHEST_RESTORED, and a boot adds one.
            VolumeState::Live { highest, .. } => highest + 1,
            _ => 1,
        }
    }

    /// `boot` says that it is about to write `stamp`. Preparing the same stamp again changes nothing.
    ///
    /// # Errors
    /// [`StateError::Absent`], [`StateError::Erased`], [`StateError::Boot`], [`StateError::Counter`],
    /// [`StateError::OtherCreator`], [`StateError::BootAlreadyStamped`].
    pub fn prepare(self, boot: &BootId, stamp: Stamp) -> Result<Self, StateError> {
        if stamp.boot_id != *boot {
            return Err(StateError::Boot { expected: *boot, found: stamp.boot_id });
        }
        let expected = self.next_counter();
        match self {
            VolumeState::Absent => Err(StateError::Absent),
            VolumeState::Erased { .. } => Err(StateError::Erased),
            VolumeState::Creating { generation, creator, salt, pending } => {
                check_creator(&creator, boot)?;
                let pending = check_next(pending, None, stamp, expected)?;
                Ok(VolumeState::Creating { generation, creator, salt, pending: Some(pending) })
            }
            VolumeState::Live { generation, salt, stamp: committed, highest, pending } => {
                if committed == stamp {
                    // Committed already; the answer was lost on the way.
                    return Ok(VolumeState::Live { generation, salt, stamp: committed, highest, pending });
                }
                let pending = check_next(pending, Some(committed), stamp, expected)?;
                let highest = highest.max(pending.counter);
                Ok(VolumeState::Live { generation, salt, stamp: committed, highest, pending: Some(pending) })
            }
        }
    }

    /// `boot` has written and flushed `stamp`: from now on only it is good. Committing again changes
    /// nothing.
    ///
    /// # Errors
    /// [`StateError::Absent`], [`StateError::Erased`], [`StateError::Boot`], [`StateError::NotPrepared`].
    pub fn commit(self, boot: &BootId, stamp: Stamp) -> Result<Self, StateError> {
        if stamp.boot_id != *boot {
            return Err(StateError::Boot { expected: *boot, found: stamp.boot_id });
        }
        let refused = StateError::NotPrepared { counter: stamp.counter };
        match self {
            VolumeState::Absent => Err(StateError::Absent),
            VolumeState::Erased { .. } => Err(StateError::Erased),
            VolumeState::Creating { generation, creator, salt, pending } => {
                check_creator(&creator, boot)?;
                if pending != Some(stamp) {
                    return Err(refused);
                }
                Ok(VolumeState::Live { generation, salt, stamp, highest: stamp.counter, pending: None })
            }
            live @ VolumeState::Live { stamp: committed, .. } if committed == stamp => Ok(live),
            VolumeState::Live { generation, salt, highest, pending, .. } => {
                if pending != Some(stamp) {
                    return Err(refused);
                }
                Ok(VolumeState::Live { generation, salt, stamp, highest, pending: None })
            }
        }
    }

    /// The owner wants it gone: the salt is dropped, whatever the state was.
    #[must_use]
    pub fn erase(self) -> Self {
        match self {
            VolumeState::Absent => VolumeState::Erased { generation: 0 },
            VolumeState::Creating { generation, .. }
            | VolumeState::Live { generation, .. }
            | VolumeState::Erased { generation } => VolumeState::Erased { generation },
        }
    }

    /// The owner wants an older committed state back; counters go on rising from the highest.
    ///
    /// # Errors
    /// [`StateError::CounterTooHigh`], [`StateError::NotLive`].
    pub fn restore(self, stamp: Stamp) -> Result<Self, StateError> {
        if stamp.counter > HIGHEST_RESTORED {
            return Err(StateError::CounterTooHigh { found: stamp.counter });
        }
        match self {
            VolumeState::Live { generation, salt, highest, .. } => {
                let highest = highest.max(stamp.counter);
                Ok(VolumeState::Live { generation, salt, stamp, highest, pending: None })
            }
            other => Err(StateError::NotLive(other.standing())),
        }
    }

    /// The encoding for the seat's own storage. It contains the salt.
    pub fn to_storage(&self) -> Zeroizing<Vec<u8>> {
        let stored = match self {
            VolumeState::Absent => Stored::default(),
            VolumeState::Creating { generation, creator, salt, pending } => Stored {
                standing: 1,
                generation: *generation,
                creator: Some(*creator),
                salt: salt.expose().to_vec().into(),
                stamp: None,
                highest: 0,
                pending: *pending,
            },
            VolumeState::Live { generation, salt, stamp, highest, pending } => Stored {
                standing: 2,
                generation: *generation,
                creator: None,
                salt: salt.expose().to_vec().into(),
                stamp: Some(*stamp),
                highest: *highest,
                pending: *pending,
            },
            VolumeState::Erased { generation } => {
                Stored { standing: 3, generation: *generation, ..Stored::default() }
            }
        };
        let bytes = Zeroizing::new(to_cbor(&stored));
        let _zeroed_on_drop = Zeroizing::new(Vec::from(stored.salt));
        bytes
    }

    /// Reads what [`VolumeState::to_storage`] wrote.
    ///
    /// # Errors
    /// [`StateError::Storage`].
    pub fn from_storage(bytes: &[u8]) -> Result<Self, StateError> {
        let state = Self::read_storage(bytes)?;
        // A standing uses some of the fields; the others must be as they are written.
        let whole = state.to_storage().as_slice() == bytes;
        if whole { Ok(state) } else { Err(StateError::Storage(Damage::Encoding)) }
    }

    fn read_storage(bytes: &[u8]) -> Result<Self, StateError> {
        let stored: Stored = from_cbor(bytes, 1024).map_err(|_| StateError::Storage(Damage::Encoding))?;
        let salt = Zeroizing::new(Vec::from(stored.salt));
        let salt = || VolumeSalt::from_slice(&salt).ok_or(StateError::Storage(Damage::Salt));
        match (stored.standing, stored.stamp, stored.creator) {
            (0, None, None) => Ok(VolumeState::Absent),
            (1, None, Some(creator)) => Ok(VolumeState::Creating {
                generation: stored.generation,
                creator,
                salt: salt()?,
                pending: stored.pending,
            }),
            (2, Some(stamp), None) => Ok(VolumeState::Live {
                generation: stored.generation,
                salt: salt()?,
                stamp,
                highest: stored.highest,
                pending: stored.pending,
            }),
            (3, None, None) => Ok(VolumeState::Erased { generation: stored.generation }),
            _ => Err(StateError::Storage(Damage::Encoding)),
        }
    }
}

#[derive(Encode, Decode)]
struct Stored {
    #[n(0)]
    standing: u8,
    #[n(1)]
    generation: u32,
    #[n(2)]
    salt: ByteVec,
    #[n(3)]
    stamp: Option<Stamp>,
    #[n(4)]
    highest: u64,
    #[n(5)]
    pending: Option<Stamp>,
    #[n(6)]
    creator: Option<BootId>,
}

impl Default for Stored {
    fn default() -> Self {
        Stored {
            standing: 0,
            generation: 0,
            salt: Vec::new().into(),
            stamp: None,
            highest: 0,
            pending: None,
            creator: None,
        }
    }
}

fn check_creator(creator: &BootId, found: &BootId) -> Result<(), StateError> {
    if creator == found { Ok(()) } else { Err(StateError::OtherCreator { creator: *creator, found: *found }) }
}

/// The stamp to hold as prepared, or why it cannot be.
/// A boot adds one to a volume's counter.
const HIGHEST_RESTORED: u64 = 1 << 62;

fn check_next(
    pending: Option<Stamp>,
    committed: Option<Stamp>,
    stamp: Stamp,
    expected: u64,
) -> Result<Stamp, StateError> {
    if pending == Some(stamp) {
        return Ok(stamp);
    }
    let earlier = [pending, committed].into_iter().flatten().find(|earlier| earlier.boot_id == stamp.boot_id);
    if let Some(earlier) = earlier {
        return Err(StateError::BootAlreadyStamped { boot: stamp.boot_id, counter: earlier.counter });
    }
    if stamp.counter != expected {
        return Err(StateError::Counter { found: stamp.counter, expected });
    }
    Ok(stamp)
}
