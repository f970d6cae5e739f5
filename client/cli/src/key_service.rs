//! Which key service is the app's, and did its seats take what was sent?
//!
//! `.casemate/app.toml` pins the service by its genesis and remembers its newest roster ever seen. A
//! validator carries the roster chain, submissions and receipts: it can hold each of them back and forge
//! none.

use casemate_record::{
    Confirmed, Error as RecordError, KmsId, Roster, RosterChain, Submission, SubmissionRequest,
};

use crate::{
    Error,
    api::{ApiError, Validator},
    app::App,
    random,
};

/// The key service of an app, by the newest roster that is known here.
#[derive(Debug)]
pub struct KeyService {
    chain: RosterChain,
    roster: Roster,
}

impl KeyService {
    /// Asks the validator for the roster chain and takes it if it is that of the app's key service, and no
    /// older or other one than was seen before. What `named` and `is_local` mean, [`App::follow`] says.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Roster`], [`Error::App`].
    pub async fn of(
        app: &mut App,
        validator: &Validator,
        named: Option<KmsId>,
        is_local: bool,
    ) -> Result<Self, Error> {
        let bytes = validator.roster_chain().await?;
        let chain =
            RosterChain::from_bytes(&bytes).map_err(|source| Error::Roster { source: Box::new(source) })?;
        let roster = app.follow(&chain, named, is_local)?;
        Ok(KeyService { chain, roster })
    }

    /// The chain that guests verify.
    pub fn chain(&self) -> &RosterChain {
        &self.chain
    }

    /// Its newest roster.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Sends a submission through the validator. It counts as taken once q seats have signed so, for
    /// this very sending; sending it again is harmless.
    ///
    /// # Errors
    /// [`Error::Api`] if no seat took it, [`Error::NotConfirmed`] if too few signed.
    pub async fn submit(&self, validator: &Validator, submission: Submission) -> Result<Confirmed, Error> {
        let request = SubmissionRequest { nonce: random::bytes().into(), submission };
        let answer = validator.record(request.to_bytes()).await?;
        let receipts: Result<Vec<Vec<u8>>, _> = answer.receipts.iter().map(hex::decode).collect();
        let receipts = receipts.map_err(|_| ApiError::Answer { address: validator.address().to_owned() })?;
        self.roster
            .confirm(&request, &receipts)
            .map_err(|source| Error::NotConfirmed { source: Box::new(source), refusals: answer.refusals })
    }
}

/// What to do about a roster chain that is refused.
pub(crate) fn roster_hint(error: &RecordError) -> &'static str {
    match error {
        RecordError::RosterOlder { .. } => {
            "this validator is behind, or lies: seats of an older roster may be out of the service for a reason; \
             ask it again later, or use another validator"
        }
        RecordError::RosterOtherThanSeen { .. } => {
            "the operators' key signed two histories: entrust nothing to this service, and tell its users"
        }
        _ => "this validator's key service cannot be used; ask its operator",
    }
}

/// What to do about receipts that are missing.
pub(crate) fn receipts_hint(error: &RecordError) -> &'static str {
    use casemate_record::ReceiptFault;

    let RecordError::TooFewReceipts { faults, .. } = error else {
        return "is this a validator, and of this version? `casemate doctor` compares";
    };
    if faults.iter().any(|fault| matches!(fault, ReceiptFault::OtherRoster { .. })) {
        return "the seats may just have changed: run the command again, which asks for the roster anew";
    }
    "do not count on it: whoever carries records may have kept this one; run the command again, or use another \
     validator of the same key service"
}
