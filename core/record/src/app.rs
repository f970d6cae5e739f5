//! Who owns this app, and what did the owner allow?

use casemate_canon::to_cbor;
use casemate_crypto::{hash::sha256, sign::PublicKey};
use minicbor::{Decode, Encode};

use crate::{AppId, Error, InstanceRecord, PolicyDigest, Record, Salt, Signed, VolumeRecord, WorkloadDigest};

const GENESIS_TAG: &str = "casemate/1/app-genesis";

/// Where the authority over an app is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum Authority {
    /// Owner-signed records, kept by every seat.
    #[n(0)]
    Local,
}

/// Who may change which workload the app runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum UpgradeRule {
    /// Nobody: the first authority record is the last.
    #[n(0)]
    Frozen,
    /// The owner, at any time.
    #[n(1)]
    Owner,
}

/// What an app is born with; its hash is the app's name, so none of it can ever change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Genesis {
    /// Key of the owner.
    #[n(0)]
    pub owner: PublicKey,
    /// Where its authority is kept.
    #[n(1)]
    pub authority: Authority,
    /// Who may change the workload.
    #[n(2)]
    pub upgrade_rule: UpgradeRule,
    /// Makes each app its own.
    #[n(3)]
    pub salt: Salt,
}

impl Genesis {
    /// Longest encoding in bytes.
    pub const MAXIMUM_BYTES: usize = 256;

    /// The app's name: SHA-256 of CBOR `[tag, genesis]`.
    pub fn app_id(&self) -> AppId {
        AppId::from(*sha256(&to_cbor(&(GENESIS_TAG, self))).as_bytes())
    }

    /// Refuses another app's genesis.
    ///
    /// # Errors
    /// [`Error::AppIdMismatch`].
    pub fn check_app_id(&self, expected: &AppId) -> Result<(), Error> {
        let found = self.app_id();
        if found == *expected { Ok(()) } else { Err(Error::AppIdMismatch { expected: *expected, found }) }
    }

    /// Takes the next authority record after `current`; the one already known is taken again.
    ///
    /// # Errors
    /// [`Error::Signature`], [`Error::Encoding`], [`Error::AppIdMismatch`], [`Error::NumberZero`],
    /// [`Error::NumberNotRisen`], [`Error::NumberReused`], [`Error::Frozen`].
    pub fn accept(
        &self,
        current: Option<&AuthorityRecord>,
        next: &Signed<AuthorityRecord>,
    ) -> Result<AuthorityRecord, Error> {
        let next = next.verify(&self.owner)?;
        self.check_app_id(&next.app_id)?;
        check_number(current, &next, |record| record.number)?;
        match (self.upgrade_rule, current) {
            (UpgradeRule::Frozen, Some(current)) if *current != next => {
                Err(Error::Frozen { number: current.number })
            }
            _ => Ok(next),
        }
    }

    /// Takes an instance record: `known` is what was taken for this instance before, `highest` the
    /// highest number of any instance record of this app (0 if none).
    ///
    /// # Errors
    /// [`Error::Signature`], [`Error::Encoding`], [`Error::AppIdMismatch`], [`Error::NumberZero`],
    /// [`Error::NumberNotRisen`].
    pub fn accept_instance(
        &self,
        known: Option<&InstanceRecord>,
        highest: u64,
        next: &Signed<InstanceRecord>,
    ) -> Result<InstanceRecord, Error> {
        let next = next.verify(&self.owner)?;
        self.check_app_id(&next.app_id)?;
        if known == Some(&next) {
            return Ok(next);
        }
        if next.number == 0 {
            return Err(Error::NumberZero);
        }
        if next.number <= highest {
            return Err(Error::NumberNotRisen { found: next.number, highest });
        }
        Ok(next)
    }

    /// Takes the next volume record after `current` of the same volume.
    ///
    /// # Errors
    /// [`Error::Signature`], [`Error::Encoding`], [`Error::AppIdMismatch`], [`Error::NumberZero`],
    /// [`Error::NumberNotRisen`], [`Error::NumberReused`].
    pub fn accept_volume(
        &self,
        current: Option<&VolumeRecord>,
        next: &Signed<VolumeRecord>,
    ) -> Result<VolumeRecord, Error> {
        let next = next.verify(&self.owner)?;
        self.check_app_id(&next.app_id)?;
        check_number(current, &next, |record| record.number)?;
        Ok(next)
    }
}

/// What the owner allows the app to run, under which policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AuthorityRecord {
    /// The app.
    #[n(0)]
    pub app_id: AppId,
    /// Rises with each record, beginning at 1 or above.
    #[n(1)]
    pub number: u64,
    /// The one workload allowed from now on.
    #[n(2)]
    pub workload_digest: WorkloadDigest,
    /// The policy that its evidence must meet.
    #[n(3)]
    pub policy_digest: PolicyDigest,
}

impl Record for AuthorityRecord {
    const PURPOSE: &'static str = "casemate/1/authority-record";
}

/// A number above the current one, or the very same record.
pub(crate) fn check_number<T: PartialEq>(
    current: Option<&T>,
    next: &T,
    number: impl Fn(&T) -> u64,
) -> Result<(), Error> {
    let found = number(next);
    if found == 0 {
        return Err(Error::NumberZero);
    }
    let Some(current) = current else { return Ok(()) };
    let highest = number(current);
    if current == next || found > highest {
        Ok(())
    } else if found == highest {
        Err(Error::NumberReused { number: found })
    } else {
        Err(Error::NumberNotRisen { found, highest })
    }
}
