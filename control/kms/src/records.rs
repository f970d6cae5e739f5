//! Which records does the seat take, and what does it sign then?
//!
//! Each record is checked against the app's own genesis, written down in one transaction, and only then
//! answered with a receipt. The very same record may come again: it changes nothing and gets a receipt. What is
//! new must fit into the seat's limits; what is recorded is never given up for it.

use casemate_record::{
    AppId, AuthorityRecord, Genesis, InstanceRecord, Signed, Submission, SubmissionReceipt,
    SubmissionRequest, Taken, VolumeAction, VolumeRecord,
};
use casemate_volume::VolumeState;

use crate::{
    Error, Full, Limits, Service,
    admission::Caller,
    appraise::{Appraiser, policy_digest},
    service::now_ms,
    store::{App, Transaction},
};

impl Service {
    /// Takes a record from an owner, through whoever carries it.
    ///
    /// # Errors
    /// [`Error`], by check; nothing was taken then.
    pub async fn submit(&self, bytes: &[u8]) -> Result<Signed<SubmissionReceipt>, Error> {
        let request = SubmissionRequest::from_bytes(bytes);
        let owned = request.as_ref().ok().and_then(|request| self.signed_by_owner(&request.submission));
        let _permit = self.owners.enter(owned.map_or(Caller::Anyone, Caller::Of))?;
        let request = request?;
        let taken = self.take(&request.submission).await?;
        if let Submission::Authority { genesis, .. } = &request.submission {
            self.know(genesis.app_id(), genesis.owner);
        }
        tracing::info!(%taken, submission = %request.submission.digest().short(), "record taken");
        Ok(self.seat.receipt(&request, taken, now_ms()))
    }

    /// Writes a record down, in one transaction.
    async fn take(&self, submission: &Submission) -> Result<Taken, Error> {
        let mut store = self.store.lock().await;
        let mut taking = Taking { transaction: store.begin().await?, limits: self.limits() };
        let taken = match submission {
            Submission::Authority { genesis, record, policy } => {
                taking.authority(genesis, record, policy).await?
            }
            Submission::Instance(record) => taking.instance(record).await?,
            Submission::Volume(record) => taking.volume(record).await?,
        };
        taking.transaction.commit().await?;
        Ok(taken)
    }

    /// The app whose owner signed this, so that nobody else's records count against its share.
    fn signed_by_owner(&self, submission: &Submission) -> Option<AppId> {
        match submission {
            Submission::Authority { genesis, record, .. } => {
                let record = record.verify(&genesis.owner).ok()?;
                (record.app_id == genesis.app_id()).then_some(record.app_id)
            }
            Submission::Instance(record) => {
                let owner = self.owner(&record.claimed().ok()?.app_id)?;
                Some(record.verify(&owner).ok()?.app_id)
            }
            Submission::Volume(record) => {
                let owner = self.owner(&record.claimed().ok()?.app_id)?;
                Some(record.verify(&owner).ok()?.app_id)
            }
        }
    }
}

/// A record on its way into the database.
struct Taking<'a> {
    transaction: Transaction<'a>,
    limits: Limits,
}

impl Taking<'_> {
    async fn authority(
        &mut self,
        genesis: &Genesis,
        record: &Signed<AuthorityRecord>,
        policy: &[u8],
    ) -> Result<Taken, Error> {
        let claimed = record.claimed()?;
        let known = self.transaction.app(&claimed.app_id).await?;
        let current = known.as_ref().map(|app| &app.authority);
        let authority = genesis.accept(current, record)?;
        let found = policy_digest(policy);
        if found != authority.policy_digest {
            return Err(Error::PolicyDigest { expected: authority.policy_digest, found });
        }
        Appraiser::check_policy(policy)?;
        match current {
            Some(current) if *current == authority => {}
            Some(_) => self.must_have_room(self.limits.database_bytes).await?,
            None => {
                let (limit, found) = (self.limits.apps, self.transaction.app_count().await?);
                must_be_below(found, limit, Full::Apps { limit, found })?;
                self.must_have_room(self.limits.database_bytes / 2).await?;
            }
        }
        self.transaction.put_app(&App { genesis: *genesis, authority, policy: policy.to_vec() }).await?;
        Ok(Taken::Authority { number: authority.number })
    }

    async fn instance(&mut self, record: &Signed<InstanceRecord>) -> Result<Taken, Error> {
        let claimed = record.claimed()?;
        let app = known_app(&mut self.transaction, &claimed.app_id).await?;
        let known = self.transaction.instance(&claimed.app_id, &claimed.instance).await?;
        let highest = self.transaction.highest_instance_number(&claimed.app_id).await?;
        let record = app.genesis.accept_instance(known.as_ref(), highest, record)?;
        if known.is_none() {
            let limit = self.limits.instances_per_app;
            let found = self.transaction.instance_count(&record.app_id).await?;
            must_be_below(found, limit, Full::Instances { limit, found })?;
            self.must_have_room(self.limits.database_bytes).await?;
        }
        self.transaction.put_instance(&record).await?;
        Ok(Taken::Instance { number: record.number })
    }

    async fn volume(&mut self, record: &Signed<VolumeRecord>) -> Result<Taken, Error> {
        let claimed = record.claimed()?;
        let app = known_app(&mut self.transaction, &claimed.app_id).await?;
        let (mut state, current) =
            self.transaction.volume(&claimed.app_id, &claimed.instance, &claimed.volume).await?;
        let record = app.genesis.accept_volume(current.as_ref(), record)?;
        if current.as_ref() != Some(&record) {
            // An erasure of what is there must always be possible.
            if matches!(state, VolumeState::Absent) {
                let limit = self.limits.volumes_per_app;
                let found = self.transaction.volume_count(&record.app_id).await?;
                must_be_below(found, limit, Full::Volumes { limit, found })?;
                self.must_have_room(self.limits.database_bytes).await?;
            }
            state = match record.action {
                VolumeAction::Restore(stamp) => state.restore(stamp)?,
                VolumeAction::Erase => state.erase(),
                _ => unreachable!("the parser knows no other action"),
            };
            self.transaction.put_volume(&record.app_id, &record.instance, &record.volume, &state).await?;
            self.transaction.put_volume_record(&record).await?;
        }
        // "Erased" is said of the state that is stored, not of the wish.
        match (record.action, &state) {
            (VolumeAction::Erase, VolumeState::Erased { .. }) | (VolumeAction::Restore(_), _) => {
                Ok(record.outcome())
            }
            _ => Err(Error::NotErased { volume: record.volume.clone() }),
        }
    }

    async fn must_have_room(&mut self, limit: u64) -> Result<(), Error> {
        let found = self.transaction.size_bytes().await?;
        must_be_below(found, limit, Full::Database { limit, found })
    }
}

fn must_be_below(found: u64, limit: u64, full: Full) -> Result<(), Error> {
    if found < limit { Ok(()) } else { Err(full.into()) }
}

async fn known_app(transaction: &mut Transaction<'_>, app_id: &AppId) -> Result<App, Error> {
    transaction.app(app_id).await?.ok_or(Error::AppUnknown(*app_id))
}
