//! Who asks what of this guest, and is it answered?
//!
//! Everyone may ask for evidence, for the phase and for a stop. The owner's calls come sealed to the
//! key of this boot, signed by the key of the app's genesis, for this app, instance and workload, each
//! number once; what they ask for must be granted in the manifest, which everyone has verified. Without a
//! lease only phase and stop are answered, and what an owner wants changed waits for the seats' word.

use std::sync::{Mutex, PoisonError};

use casemate_api::agent::{
    AgentRequest, AgentResponse, Command, Denial, LogLine, MAXIMUM_REQUEST_BYTES, MAXIMUM_RESPONSE_BYTES,
    Nonce, OWNER_CALL_INFO, OwnerCall, OwnerReply, Refusal, SecretValue, ServiceStatus,
};
use casemate_api::progress::Progress;
use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::hash::sha256;
use casemate_crypto::seal::{Sealed, SealingKey};
use casemate_evidence::ReportData;
use casemate_evidence::bundle::{Item, Session as SessionItem};
use casemate_record::{Order, OrderAction, Signed};
use casemate_release::report_data;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::lease::Held;
use crate::limiter::Limiter;
use crate::workload::Workload;

/// What answering needs of the rest of the guest.
pub trait Guest: Send + Sync {
    /// A bundle with a report over `report_data`, and `items`; `None` if the platform gives none.
    fn evidence(&self, report_data: &ReportData, items: Vec<Item>) -> Option<Vec<u8>>;
    /// The last notice.
    fn progress(&self) -> Progress;
    /// The lease to show; `None` if there is none now.
    fn lease(&self) -> Option<Held>;
    /// Whether the seats let this boot go on, asked now.
    fn confirm(&self) -> bool;
    /// Begins to stop.
    fn shut_down(&self);
    /// Keeps values that the owner signed as `version`.
    fn deliver(&self, version: u64, values: Vec<SecretValue>) -> Result<(), Denial>;
    /// How the services are.
    fn status(&self) -> Vec<ServiceStatus>;
    /// The last lines of a service, together at most `maximum_bytes`.
    fn logs(
        &self,
        service: &str,
        tail: u32,
        since_ms: Option<u64>,
        maximum_bytes: usize,
    ) -> Result<Vec<LogLine>, Denial>;
    /// Runs a program beside a service: exit code and output of at most `maximum_bytes`.
    fn exec(
        &self,
        service: &str,
        arguments: &[String],
        maximum_bytes: usize,
    ) -> Result<(u8, Vec<u8>), Denial>;
    /// Uptime in milliseconds.
    fn uptime_ms(&self) -> u64;
}

/// The guest's side of all calls.
pub struct Session<G> {
    guest: G,
    workload: std::sync::Arc<Workload>,
    key: SealingKey,
    evidence_limit: Mutex<Limiter>,
    call_limit: Mutex<Limiter>,
    last_number: Mutex<u64>,
}

impl<G: Guest> Session<G> {
    /// A session with a fresh key.
    pub fn new(guest: G, workload: std::sync::Arc<Workload>, rng: &mut impl CryptoRng) -> Self {
        let now_ms = guest.uptime_ms();
        Session {
            key: SealingKey::generate(rng),
            evidence_limit: Mutex::new(Limiter::new(EVIDENCE_BURST, EVIDENCE_EVERY_MS, now_ms)),
            call_limit: Mutex::new(Limiter::new(CALL_BURST, CALL_EVERY_MS, now_ms)),
            last_number: Mutex::new(0),
            guest,
            workload,
        }
    }

    /// Answers one request, CBOR in and out.
    pub fn answer(&self, request: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let response = match from_cbor(request, MAXIMUM_REQUEST_BYTES) {
            Ok(AgentRequest::Evidence { nonce }) => self.evidence(&nonce),
            Ok(AgentRequest::Sealed { call }) => self.sealed(&call, rng),
            Ok(AgentRequest::Shutdown {}) => {
                self.guest.shut_down();
                AgentResponse::Stopping {}
            }
            Ok(AgentRequest::Phase {}) => AgentResponse::Phase { progress: self.guest.progress() },
            Ok(_) => refused(Refusal::Unknown),
            Err(_) => refused(Refusal::Malformed),
        };
        to_cbor(&response)
    }

    fn evidence(&self, nonce: &Nonce) -> AgentResponse {
        if !allow(&self.evidence_limit, self.guest.uptime_ms()) {
            return refused(Refusal::Busy);
        }
        let Some(lease) = self.guest.lease() else { return refused(Refusal::NoLease) };
        let workload = &self.workload;
        let session = SessionItem {
            key: self.key.public().as_slice().to_vec().into(),
            instance: *workload.instance.as_bytes(),
            boot_id: *workload.boot_id.as_bytes(),
            roster_digest: *workload.roster.digest().as_bytes(),
            key_epoch: workload.roster.key_epoch,
            lease_ends_ms: lease.ends_ms,
            leases: lease.signed.into_iter().map(Into::into).collect(),
        };
        let report_data = report_data::session(nonce.as_bytes(), &workload.digest, &session);
        let items = vec![Item::Manifest(workload.manifest_bytes.clone().into()), Item::Session(session)];
        match self.guest.evidence(&report_data, items) {
            Some(bundle) => AgentResponse::Evidence { bundle },
            None => refused(Refusal::NoEvidence),
        }
    }

    fn sealed(&self, call: &Sealed, rng: &mut impl CryptoRng) -> AgentResponse {
        if !allow(&self.call_limit, self.guest.uptime_ms()) {
            return refused(Refusal::Busy);
        }
        if self.guest.lease().is_none() {
            return refused(Refusal::NoLease);
        }
        let Ok((plaintext, session)) = self.key.open_session(OWNER_CALL_INFO, b"", call) else {
            return refused(Refusal::NotSealedToThisBoot);
        };
        let reply = self.order(&plaintext).unwrap_or_else(|denial| OwnerReply::Denied { denial });
        let reply = Zeroizing::new(to_cbor(&reply));
        AgentResponse::Sealed { ciphertext: session.respond(rng, b"", &reply) }
    }

    fn order(&self, plaintext: &[u8]) -> Result<OwnerReply, Denial> {
        let call: OwnerCall = from_cbor(plaintext, MAXIMUM_REQUEST_BYTES).map_err(|_| Denial::Malformed)?;
        let command_bytes = Zeroizing::new(call.command);
        let signed = Signed::<Order>::from_bytes(&call.order).map_err(|_| Denial::Malformed)?;
        let order = signed.verify(&self.workload.owner).map_err(|_| Denial::NotTheOwner)?;
        self.is_for_this_workload(&order)?;
        if order.payload_digest != sha256(&command_bytes) {
            return Err(Denial::AnotherCommand);
        }
        let command: Command =
            from_cbor(&command_bytes, MAXIMUM_REQUEST_BYTES).map_err(|_| Denial::Malformed)?;
        if Some(order.action) != action(&command) {
            return Err(Denial::AnotherCommand);
        }
        self.is_granted(&command)?;
        // Versions of secrets rise across boots, and their store sees to that; other numbers rise
        // within this boot, beyond which no call can be opened.
        if order.action != OrderAction::DeliverSecrets {
            self.is_new(order.number)?;
        }
        // What changes something waits for the seats' word that no newer boot has taken over: a paused
        // guest cannot know by its own clock how old its lease is.
        let changes = matches!(order.action, OrderAction::DeliverSecrets | OrderAction::Exec);
        if changes && !self.guest.confirm() {
            return Err(Denial::NotConfirmed);
        }
        self.carry_out(order.number, command)
    }

    fn is_for_this_workload(&self, order: &Order) -> Result<(), Denial> {
        let workload = &self.workload;
        let boot = match order.boot_id {
            Some(boot_id) => boot_id == workload.boot_id,
            None => order.action == OrderAction::DeliverSecrets,
        };
        let same = order.app_id == workload.manifest.app_id
            && order.instance == workload.instance
            && order.workload_digest == workload.digest
            && boot;
        if same { Ok(()) } else { Err(Denial::NotForThisWorkload) }
    }

    fn is_granted(&self, command: &Command) -> Result<(), Denial> {
        let observe = &self.workload.manifest.observe;
        let granted = match command {
            Command::DeliverSecrets { .. } => true,
            Command::Status {} => observe.status,
            Command::Logs { .. } => observe.logs,
            Command::Exec { .. } => observe.exec,
            _ => false,
        };
        if granted { Ok(()) } else { Err(Denial::NotGranted) }
    }

    fn is_new(&self, number: u64) -> Result<(), Denial> {
        let mut last = self.last_number.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= *last {
            return Err(Denial::Replayed);
        }
        *last = number;
        Ok(())
    }

    fn carry_out(&self, number: u64, command: Command) -> Result<OwnerReply, Denial> {
        match command {
            Command::DeliverSecrets { values } => {
                self.guest.deliver(number, values)?;
                Ok(OwnerReply::SecretsStored { version: number })
            }
            Command::Status {} => Ok(OwnerReply::Status { services: self.guest.status() }),
            Command::Logs { service, tail, since_ms } => {
                let lines = self.guest.logs(&service, tail, since_ms, MAXIMUM_OUTPUT_BYTES)?;
                Ok(OwnerReply::Logs { lines })
            }
            Command::Exec { service, arguments } => {
                let (exit_code, output) = self.guest.exec(&service, &arguments, MAXIMUM_OUTPUT_BYTES)?;
                Ok(OwnerReply::Executed { exit_code, output })
            }
            _ => Err(Denial::Malformed),
        }
    }
}

/// Reports at once, and the time in which one more becomes possible: at most four each second.
const EVIDENCE_BURST: u64 = 8;
const EVIDENCE_EVERY_MS: u64 = 250;
/// Sealed calls at once, and the time in which one more becomes possible.
const CALL_BURST: u64 = 40;
const CALL_EVERY_MS: u64 = 50;
/// Room for logs and output in a reply, next to its own encoding.
const MAXIMUM_OUTPUT_BYTES: usize = MAXIMUM_RESPONSE_BYTES - 4096;

fn action(command: &Command) -> Option<OrderAction> {
    match command {
        Command::DeliverSecrets { .. } => Some(OrderAction::DeliverSecrets),
        Command::Status {} => Some(OrderAction::Status),
        Command::Logs { .. } => Some(OrderAction::Logs),
        Command::Exec { .. } => Some(OrderAction::Exec),
        _ => None,
    }
}

fn refused(refusal: Refusal) -> AgentResponse {
    AgentResponse::Refused { refusal }
}

fn allow(limiter: &Mutex<Limiter>, now_ms: u64) -> bool {
    limiter.lock().unwrap_or_else(PoisonError::into_inner).allow(now_ms)
}
