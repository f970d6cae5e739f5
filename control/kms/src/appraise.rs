//! Is the evidence good enough for the owner and for this seat?

use std::sync::Arc;

use casemate_crypto::hash::sha256;
use casemate_endorse::{Cache, Completed, Error as EndorseError, Revocation};
use casemate_evidence::{ReportData, bundle::Bundle};
use casemate_record::{AuthorityRecord, PolicyDigest};
use casemate_release::seat::{Attested, Refusal};
use casemate_verify::{
    AcceptSimulated, Accepted, Channel, Expectations, Freshness, Policy, Verdict, Verifier, Workload,
};

use tokio::sync::Semaphore;

use crate::{Error, lookups::Lookups};

/// Appraises under the owner's policy and the seat's own floor.
#[derive(Debug, Clone)]
pub(crate) struct Appraiser {
    floor: Arc<Policy>,
    accept_simulated: AcceptSimulated,
    endorsements: Option<Cache>,
    /// Calls that may wait for certificates at the same time; the others of a seat go on meanwhile.
    waiting: Arc<Semaphore>,
    lookups: Arc<Lookups>,
}

/// Far fewer than the calls that a seat serves at the same time (`http::IN_FLIGHT`).
const WAITING: usize = 16;

/// Evidence, and what it must show.
pub(crate) struct Question {
    pub bundle: Vec<u8>,
    /// The owner's policy file.
    pub policy: Vec<u8>,
    pub authority: AuthorityRecord,
    /// Whether a guest of the app ever had keys here: then evidence for it was accepted.
    pub was_granted_keys: bool,
    pub report_data: ReportData,
    pub made_ms: u64,
    pub now_ms: u64,
}

/// The digest by which an authority record names a policy file.
pub(crate) fn policy_digest(policy: &[u8]) -> PolicyDigest {
    PolicyDigest::from(*sha256(policy).as_bytes())
}

impl Appraiser {
    /// Reads the floor policy.
    pub fn new(floor: &str, accept_simulated: bool, endorsements: Option<Cache>) -> Result<Self, Error> {
        let floor = Policy::parse(floor).map_err(|error| Error::FloorPolicy { source: Box::new(error) })?;
        let accept_simulated = if accept_simulated { AcceptSimulated::Yes } else { AcceptSimulated::No };
        let waiting = Arc::new(Semaphore::new(WAITING));
        let lookups = Arc::new(Lookups::new());
        Ok(Appraiser { floor: Arc::new(floor), accept_simulated, endorsements, waiting, lookups })
    }

    /// Refuses a policy file that could never be appraised under.
    pub fn check_policy(policy: &[u8]) -> Result<(), Error> {
        if parse(policy)?.lists_measurements() { Ok(()) } else { Err(Error::NoMeasurements) }
    }

    /// Appraises, off the threads that serve calls.
    pub async fn appraise(&self, mut question: Question) -> Result<Attested, Refusal> {
        if let Some(cache) = &self.endorsements
            && let Ok(bundle) = Bundle::parse(&question.bundle)
        {
            question.bundle = self.complete(cache, bundle, &question).await?.to_bytes();
        }
        let appraiser = self.clone();
        let task = tokio::task::spawn_blocking(move || appraiser.judge(&question));
        task.await.unwrap_or(Err(Refusal::Busy))
    }

    /// The evidence with the certificates and the revocation list that it does not carry. What cannot be
    /// had is left out, and the appraisal names it; what may come in a moment is worth asking again.
    async fn complete(&self, cache: &Cache, bundle: Bundle, question: &Question) -> Result<Bundle, Refusal> {
        let now_ms = question.now_ms;
        let not_yet = || Refusal::Evidence {
            check: "seat.endorsements".to_owned(),
            found: "not there yet; ask again with a new challenge".to_owned(),
        };
        let stored = cache.without_network().complete(bundle.clone(), now_ms).await;
        let is_whole = |completed: &Completed| !matches!(completed.revocation, Revocation::Missing(_));
        // Anybody may make this seat ask for ever new chips, at his app's own cost.
        let is_missing = |error: &EndorseError| {
            matches!(error, EndorseError::NotStored { .. } | EndorseError::NoCollateral { .. })
        };
        let must_ask = !cache.is_offline() && stored.as_ref().is_err_and(is_missing);
        if must_ask && !self.lookups.admit(question.authority.app_id, question.was_granted_keys) {
            return Err(not_yet());
        }
        let permit = self.waiting.try_acquire();
        let completed = match (stored, permit) {
            (Ok(stored), Err(_)) => Ok(stored),
            (Err(_), Err(_)) => return Err(not_yet()),
            // Whole already: this asks at most for a newer list, and does not wait for it.
            (Ok(stored), Ok(permit)) if is_whole(&stored) => {
                drop(permit);
                cache.complete(bundle.clone(), now_ms).await
            }
            (_, Ok(_permit)) => cache.complete(bundle.clone(), now_ms).await,
        };
        match completed {
            Ok(completed) => {
                if let Revocation::Missing(error) = &completed.revocation {
                    tracing::warn!(%error, "no current revocation list");
                }
                Ok(completed.bundle)
            }
            Err(error) => {
                tracing::warn!(%error, "no endorsements");
                if error.is_passing() { Err(not_yet()) } else { Ok(bundle) }
            }
        }
    }

    fn judge(&self, question: &Question) -> Result<Attested, Refusal> {
        let bundle = Bundle::parse(&question.bundle).map_err(|_| Refusal::Evidence {
            check: "evidence.bundle".to_owned(),
            found: format!("{} bytes", question.bundle.len()),
        })?;
        let owner = parse(&question.policy).map_err(|_| Refusal::PolicyMissing)?;
        if !owner.lists_measurements() {
            return Err(Refusal::PolicyMissing);
        }
        let floor = self.appraise_under(&self.floor, &bundle, question)?;
        let owner = self.appraise_under(&owner, &bundle, question)?;
        Attested::new(&owner, &floor)
    }

    fn appraise_under(
        &self,
        policy: &Policy,
        bundle: &Bundle,
        question: &Question,
    ) -> Result<Accepted, Refusal> {
        let verifier = Verifier {
            policy,
            roots: &policy.roots(),
            accept_simulated: self.accept_simulated,
            provider: casemate_crypto::provider(),
        };
        // A seat knows no image: a policy that is to release keys lists measurements.
        let expectations = Expectations {
            freshness: Freshness::Challenge { report_data: question.report_data, made_ms: question.made_ms },
            workload: Workload::Authorised {
                app_id: question.authority.app_id,
                digest: question.authority.workload_digest,
            },
            images: Vec::new(),
            channel: Channel::Unchecked,
        };
        let appraisal = verifier.verify_bundle(bundle, None, &expectations, question.now_ms);
        appraisal.accepted().map_err(|verdict| refusal(&verdict))
    }
}

/// Names the first check that failed.
fn refusal(verdict: &Verdict) -> Refusal {
    match verdict.refusals().first() {
        Some(first) => {
            Refusal::Evidence { check: first.code.as_str().to_owned(), found: first.found.to_string() }
        }
        None => Refusal::Evidence { check: "evidence".to_owned(), found: String::new() },
    }
}

fn parse(policy: &[u8]) -> Result<Policy, Error> {
    let text = std::str::from_utf8(policy).map_err(|error| Error::Policy { source: Box::new(error) })?;
    Policy::parse(text).map_err(|error| Error::Policy { source: Box::new(error) })
}
