//! Is the guest what was deployed, and how is it spoken to in confidence?
//!
//! A [`Question`] carries a fresh nonce; the guest's evidence answers it and commits to the guest's
//! session key. Only evidence that `casemate-verify` accepts yields a [`Session`], and only a session
//! can seal orders: there is no way to send a secret to a guest that was not verified.

use std::time::Duration;

use casemate_api::agent::{
    AgentRequest, AgentResponse, Command, Nonce, OWNER_CALL_INFO, OwnerCall, OwnerReply, Refusal,
};
use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::{
    hash::{Sha256, sha256},
    seal::{SealingPublicKey, seal_session},
    sign::SigningKey,
};
use casemate_evidence::bundle::{self, Bundle};
use casemate_record::{
    AppId, BootId, InstanceId, LeaseHolder, Order, OrderAction, Roster, Signed, WorkloadDigest,
};
use casemate_release::report_data;
use casemate_verify::{
    AcceptSimulated, Appraisal, Channel, Expectations, Freshness, KnownRoster, Policy, ReferenceValue,
    SessionStanding, Verdict, Verifier, Workload,
};

use crate::{
    Error,
    api::{ApiError, Validator},
    clock, random,
};

/// What a guest's evidence is compared with.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The workload.
    pub workload: Workload,
    /// The image.
    pub images: Vec<ReferenceValue>,
    /// The instance, where one is meant.
    pub instance: Option<InstanceId>,
    /// Whether a simulated TEE will do.
    pub accept_simulated: AcceptSimulated,
    /// How this guest is spoken to.
    pub channel: ExpectedChannel,
}

/// How a guest is spoken to.
#[derive(Debug, Clone)]
pub enum ExpectedChannel {
    /// Through its session key, as long as the seats of this roster, the newest that is known of the app's
    /// key service, let the boot go on.
    SessionKey {
        /// The app that the seats' leases must be for.
        app_id: AppId,
        /// That roster.
        roster: Roster,
    },
    /// In another way. The verdict says that no channel was established: whoever answered may have fetched
    /// the evidence from another machine.
    Other,
}

/// A question that no older evidence answers.
#[derive(Debug)]
pub struct Question {
    nonce: [u8; 32],
    made_ms: u64,
}

/// A guest that was verified, and the key that its evidence vouches for.
#[derive(Debug)]
pub struct Session {
    key: SealingPublicKey,
    app_id: AppId,
    instance: InstanceId,
    boot_id: BootId,
    workload_digest: WorkloadDigest,
}

/// Evidence, appraised.
#[derive(Debug)]
pub struct Appraised {
    /// Every check.
    pub verdict: Verdict,
    /// How to speak with the guest, if the evidence was accepted and binds a key.
    pub session: Option<Session>,
}

/// Why evidence cannot be appraised, or a guest not be spoken to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Not a bundle.
    #[error("what the guest sent is no evidence: {source}")]
    Bundle {
        /// Why.
        #[source]
        source: Box<casemate_evidence::bundle::BundleError>,
    },
    /// The bundle answers no nonce.
    #[error("the evidence names no session, so it cannot answer a nonce")]
    NoSession,
    /// The guest is another instance.
    #[error("the guest is instance {found}, expected {expected}")]
    OtherInstance {
        /// Found.
        found: InstanceId,
        /// Expected.
        expected: InstanceId,
    },
    /// The evidence was refused, so nothing is sent.
    #[error("the guest's evidence was refused; nothing was sent to it")]
    NotVerified,
    /// The answer does not open.
    #[error("the guest's answer does not open: it is not from the guest that was verified")]
    Answer,
    /// The guest denied the order.
    #[error("the guest denied the order: {}", serde_json::to_string(denial).unwrap_or_default())]
    Denied {
        /// Why.
        denial: casemate_api::agent::Denial,
    },
}

/// Largest answer, in bytes.
const MAXIMUM_REPLY_BYTES: usize = 1 << 20;

impl Question {
    /// A fresh question.
    pub fn new() -> Self {
        Question { nonce: random::bytes(), made_ms: clock::now_ms() }
    }

    /// Its nonce, hexadecimal.
    pub fn nonce_text(&self) -> String {
        hex::encode(self.nonce)
    }

    /// Asks the guest `name` through `validator`; patient while the guest is busy or not there yet.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn ask(&self, validator: &Validator, name: &str) -> Result<Vec<u8>, Error> {
        let request = AgentRequest::Evidence { nonce: Nonce::from(self.nonce) };
        let mut tries = 0;
        loop {
            match validator.agent(name, &request).await {
                Ok(AgentResponse::Evidence { bundle }) => return Ok(bundle),
                Ok(_) => return Err(ApiError::OtherAnswer.into()),
                Err(ApiError::Guest { refusal: Refusal::Busy | Refusal::NoLease }) if tries < 10 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(700)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Appraises an answer.
    ///
    /// # Errors
    /// [`SessionError`] if it is no evidence at all.
    pub fn appraise(&self, bundle: &[u8], policy: &Policy, expected: &Expected) -> Result<Appraised, Error> {
        let bundle =
            Bundle::parse(bundle).map_err(|source| SessionError::Bundle { source: Box::new(source) })?;
        let claimed = bundle.session().ok_or(SessionError::NoSession)?;
        let instance = InstanceId::from(claimed.instance);
        if let Some(wanted) = expected.instance.filter(|wanted| *wanted != instance) {
            return Err(SessionError::OtherInstance { found: instance, expected: wanted }.into());
        }
        let boot_id = BootId::from(claimed.boot_id);
        let manifest = bundle.manifest().ok_or(SessionError::NoSession)?;
        // The report data is over the manifest that came along; appraisal checks that HOST_DATA names it.
        let workload_digest = casemate_workload::manifest::digest_of(manifest);
        let report_data = report_data::session(&self.nonce, &workload_digest, claimed);
        let expectations = Expectations {
            freshness: Freshness::Challenge { report_data, made_ms: self.made_ms },
            workload: expected.workload.clone(),
            images: expected.images.clone(),
            channel: match &expected.channel {
                ExpectedChannel::SessionKey { app_id, roster } => Channel::Session {
                    key_digest: sha256(&claimed.key),
                    standing: standing(claimed, *app_id, workload_digest, roster),
                },
                ExpectedChannel::Other => Channel::Unchecked,
            },
        };
        let verifier = Verifier {
            policy,
            roots: &policy.roots(),
            accept_simulated: expected.accept_simulated,
            provider: casemate_crypto::provider(),
        };
        let appraisal = verifier.verify_bundle(&bundle, None, &expectations, clock::now_ms());
        let verdict = appraisal.verdict().clone();
        let session = match appraisal {
            Appraisal::Accepted(accepted)
                if matches!(expected.channel, ExpectedChannel::SessionKey { .. })
                    && accepted.workload_digest() == Some(workload_digest) =>
            {
                let manifest = casemate_workload::Manifest::parse(manifest).map(|(manifest, _)| manifest);
                match (manifest, SealingPublicKey::from_slice(&claimed.key)) {
                    (Ok(manifest), Ok(key)) => {
                        Some(Session { key, app_id: manifest.app_id, instance, boot_id, workload_digest })
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        Ok(Appraised { verdict, session })
    }
}

impl Default for Question {
    fn default() -> Self {
        Question::new()
    }
}

impl Appraised {
    /// The session.
    ///
    /// # Errors
    /// [`SessionError::NotVerified`].
    pub fn session(self) -> Result<Session, Error> {
        self.session.ok_or_else(|| SessionError::NotVerified.into())
    }
}

impl Session {
    /// SHA-256 of the guest's session key.
    pub fn key_digest(&self) -> Sha256 {
        self.key.digest()
    }

    /// Gives an order, signed with the owner's `key` under `number`, which no other order has.
    ///
    /// # Errors
    /// [`SessionError::Denied`], [`SessionError::Answer`], [`Error::Api`].
    pub async fn order(
        &self,
        validator: &Validator,
        name: &str,
        key: &SigningKey,
        number: u64,
        command: &Command,
    ) -> Result<OwnerReply, Error> {
        let command_bytes = zeroize::Zeroizing::new(to_cbor(command));
        let order = Order {
            app_id: self.app_id,
            instance: self.instance,
            boot_id: Some(self.boot_id),
            workload_digest: self.workload_digest,
            number,
            action: action(command),
            payload_digest: sha256(&command_bytes),
        };
        let call = OwnerCall { order: Signed::sign(key, &order).to_bytes(), command: command_bytes.to_vec() };
        let plaintext = zeroize::Zeroizing::new(to_cbor(&call));
        let (sealed, session) =
            seal_session(&mut random::system(), &self.key, OWNER_CALL_INFO, b"", &plaintext);
        let answer = validator.agent(name, &AgentRequest::Sealed { call: sealed }).await?;
        let AgentResponse::Sealed { ciphertext } = answer else { return Err(ApiError::OtherAnswer.into()) };
        let reply = session.open_response(b"", &ciphertext).map_err(|_| SessionError::Answer)?;
        match from_cbor(&reply, MAXIMUM_REPLY_BYTES).map_err(|_| SessionError::Answer)? {
            OwnerReply::Denied { denial } => Err(SessionError::Denied { denial }.into()),
            other => Ok(other),
        }
    }
}

/// What the session says of roster and lease, beside what is known here of the key service.
fn standing(
    claimed: &bundle::Session,
    app_id: AppId,
    workload_digest: WorkloadDigest,
    roster: &Roster,
) -> SessionStanding {
    let holder = LeaseHolder {
        app_id,
        workload_digest,
        instance: claimed.instance.into(),
        boot_id: claimed.boot_id.into(),
    };
    let leases: Vec<&[u8]> = claimed.leases.iter().map(|lease| lease.as_slice()).collect();
    SessionStanding {
        roster_digest: claimed.roster_digest.into(),
        key_epoch: claimed.key_epoch,
        newest: KnownRoster { digest: roster.digest(), key_epoch: roster.key_epoch },
        lease: roster.check_leases(&leases, &holder, claimed.lease_ends_ms),
    }
}

fn action(command: &Command) -> OrderAction {
    match command {
        Command::DeliverSecrets { .. } => OrderAction::DeliverSecrets,
        Command::Logs { .. } => OrderAction::Logs,
        Command::Exec { .. } => OrderAction::Exec,
        _ => OrderAction::Status,
    }
}
