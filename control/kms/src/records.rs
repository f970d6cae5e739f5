//! Which records does the seat take, and what does it sign then?
//!
//! Each record is checked against the app's own genesis, written down in one transaction, and only then
//! answered with a receipt. The very same record may come again: it changes nothing and gets a receipt.

use casemate_record::{
    AppId, AuthorityRecord, Genesis, InstanceRecord, Signed, Submission, SubmissionReceipt,
    SubmissionRequest, Taken, VolumeAction, VolumeRecord,
};
use casemate_volume::VolumeState;

use crate::{
    Error, Service,
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
        let request = SubmissionRequest::from_bytes(bytes)?;
        let mut store = self.store.lock().await;
        let mut transaction = store.begin().await?;
        let taken = match &request.submission {
            Submission::Authority { genesis, record, policy } => {
                take_authority(&mut transaction, genesis, record, policy).await?
            }
            Submission::Instance(record) => take_instance(&mut transaction, record).await?,
            Submission::Volume(record) => take_volume(&mut transaction, record).await?,
        };
        transaction.commit().await?;
        drop(store);
        tracing::info!(%taken, submission = %request.submission.digest().short(), "record taken");
        Ok(self.seat.receipt(&request, taken, now_ms()))
    }
}

async fn take_authority(
    transaction: &mut Transaction<'_>,
    genesis: &Genesis,
    record: &Signed<AuthorityRecord>,
    policy: &[u8],
) -> Result<Taken, Error> {
    let claimed = record.claimed()?;
    let known = transaction.app(&claimed.app_id).await?;
    let current = known.as_ref().map(|app| &app.authority);
    let authority = genesis.accept(current, record)?;
    let found = policy_digest(policy);
    if found != authority.policy_digest {
        return Err(Error::PolicyDigest { expected: authority.policy_digest, found });
    }
    Appraiser::check_policy(policy)?;
    transaction.put_app(&App { genesis: *genesis, authority, policy: policy.to_vec() }).await?;
    Ok(Taken::Authority { number: authority.number })
}

async fn take_instance(
    transaction: &mut Transaction<'_>,
    record: &Signed<InstanceRecord>,
) -> Result<Taken, Error> {
    let claimed = record.claimed()?;
    let app = known_app(transaction, &claimed.app_id).await?;
    let known = transaction.instance(&claimed.app_id, &claimed.instance).await?;
    let highest = transaction.highest_instance_number(&claimed.app_id).await?;
    let record = app.genesis.accept_instance(known.as_ref(), highest, record)?;
    transaction.put_instance(&record).await?;
    Ok(Taken::Instance { number: record.number })
}

async fn take_volume(
    transaction: &mut Transaction<'_>,
    record: &Signed<VolumeRecord>,
) -> Result<Taken, Error> {
    let claimed = record.claimed()?;
    let app = known_app(transaction, &claimed.app_id).await?;
    let (mut state, current) =
        transaction.volume(&claimed.app_id, &claimed.instance, &claimed.volume).await?;
    let record = app.genesis.accept_volume(current.as_ref(), record)?;
    if current.as_ref() != Some(&record) {
        state = match record.action {
            VolumeAction::Restore(stamp) => state.restore(stamp)?,
            VolumeAction::Erase => state.erase(),
            _ => unreachable!("the parser knows no other action"),
        };
        transaction.put_volume(&record.app_id, &record.instance, &record.volume, &state).await?;
        transaction.put_volume_record(&record).await?;
    }
    // "Erased" is said of the state that is stored, not of the wish.
    match (record.action, &state) {
        (VolumeAction::Erase, VolumeState::Erased { .. }) | (VolumeAction::Restore(_), _) => {
            Ok(record.outcome())
        }
        _ => Err(Error::NotErased { volume: record.volume.clone() }),
    }
}

async fn known_app(transaction: &mut Transaction<'_>, app_id: &AppId) -> Result<App, Error> {
    transaction.app(app_id).await?.ok_or(Error::AppUnknown(*app_id))
}
