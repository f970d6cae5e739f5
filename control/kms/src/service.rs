//! What does the seat answer, and what does it write down first?

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use casemate_crypto::{hash::Sha256, sign::PublicKey};
use casemate_endorse::Cache;
use casemate_evidence::ReportData;
use casemate_record::{AppId, BootId, InstanceId, RosterChain, VolumeName};
use casemate_release::{
    challenge::ChallengeKeeper,
    message::{ReleaseRequest, RenewRequest, SeatRequest, SeatResponse, Step, VolumeStep, transcript},
    seat::{Attested, BootStanding, Refusal, ReleaseFacts, Seat, SeatSession, StepFacts},
};
use casemate_volume::VolumeState;
use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::{
    Error, Limits, StateFolder,
    admission::{Admission, Bounds, Caller, Rate},
    appraise::{Appraiser, Question, policy_digest},
    recent::Recent,
    store::{App, Store, Transaction},
};

/// How a seat runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether simulated roots count, where the floor policy and the owner's policy list them as well.
    pub accept_simulated: bool,
    /// How long a boot may go on without renewal.
    pub lease: Duration,
    /// How long a challenge is good.
    pub challenge_lifetime: Duration,
    /// Where certificates and revocation lists are had that evidence does not carry; `None`: nowhere, then
    /// evidence must carry its certificates.
    pub endorsements: Option<Cache>,
    /// How much owners may have recorded.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            accept_simulated: false,
            lease: Duration::from_secs(600),
            challenge_lifetime: Duration::from_secs(120),
            endorsements: None,
            limits: Limits::default(),
        }
    }
}

/// How long a session is remembered, in milliseconds.
const SESSION_MS: u64 = 3_600_000;

/// Guests' calls other than for challenges. Each may mean an appraisal.
const GUESTS: Bounds = Bounds {
    own: Rate { per_second: 1, burst: 40 },
    pool: Rate { per_second: 100, burst: 400 },
    strangers: Rate { per_second: 100, burst: 400 },
    at_once: 128,
    at_once_each: 32,
    at_once_reserved: 64,
};
/// Owners' records. Each may mean a write.
const OWNERS: Bounds = Bounds {
    own: Rate { per_second: 1, burst: 60 },
    pool: Rate { per_second: 50, burst: 200 },
    strangers: Rate { per_second: 20, burst: 100 },
    at_once: 64,
    at_once_each: 16,
    at_once_reserved: 0,
};

/// A running seat.
pub struct Service {
    pub(crate) seat: Seat,
    chain: RosterChain,
    appraiser: Appraiser,
    options: Options,
    keeper: Mutex<ChallengeKeeper>,
    sessions: Recent<Sha256, SeatSession>,
    /// Boots that were granted keys or renewed.
    boots: Recent<(AppId, InstanceId, BootId), ()>,
    pub(crate) store: tokio::sync::Mutex<Store>,
    guests: Admission,
    pub(crate) owners: Admission,
    owner_keys: Mutex<HashMap<AppId, PublicKey>>,
}

/// An app for whose guests something is asked.
struct Known {
    app: App,
    was_granted_keys: bool,
}

/// Why a call has no signed answer.
enum Failure {
    Refused(Refusal),
    Broken(Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Broken(error)
    }
}

impl Service {
    /// Opens the folder's seat.
    ///
    /// # Errors
    /// [`Error`]: the seat does not start on anything that does not fit together.
    pub async fn open(folder: &StateFolder, options: Options) -> Result<Self, Error> {
        let seat = folder.seat()?;
        let appraiser =
            Appraiser::new(&folder.floor_policy()?, options.accept_simulated, options.endorsements.clone())?;
        let mut store = folder.store().await?;
        let known = store.begin().await?.owners().await?;
        let lifetime_ms = milliseconds(options.challenge_lifetime);
        // Room for every challenge that can be used up before the first of them expires: no caller fills it.
        let apps = options.limits.apps.max(known.len() as u64);
        let used = usize::try_from(GUESTS.most_in(lifetime_ms, apps)).unwrap_or(usize::MAX);
        let keeper = ChallengeKeeper::new(&mut UnwrapErr(SysRng), lifetime_ms, used);
        let lease_ms = milliseconds(options.lease);
        let service = Service {
            seat,
            chain: folder.chain()?,
            appraiser,
            options,
            keeper: Mutex::new(keeper),
            sessions: Recent::new(SESSION_MS),
            boots: Recent::new(lease_ms.saturating_mul(2)),
            store: tokio::sync::Mutex::new(store),
            guests: Admission::new(GUESTS),
            owners: Admission::new(OWNERS),
            owner_keys: Mutex::new(HashMap::new()),
        };
        known.into_iter().for_each(|(app_id, owner)| service.know(app_id, owner));
        Ok(service)
    }

    /// Gives an app that is recorded now its share of calls.
    pub(crate) fn know(&self, app_id: AppId, owner: PublicKey) {
        self.guests.know(app_id);
        self.owners.know(app_id);
        self.owner_keys.lock().expect("no panic while held").insert(app_id, owner);
    }

    /// Who owns a recorded app.
    pub(crate) fn owner(&self, app_id: &AppId) -> Option<PublicKey> {
        self.owner_keys.lock().expect("no panic while held").get(app_id).copied()
    }

    pub(crate) fn limits(&self) -> Limits {
        self.options.limits
    }

    /// The roster chain that guests verify.
    pub fn chain(&self) -> &RosterChain {
        &self.chain
    }

    /// Answers a guest's request, as bytes to bytes. A refusal is an answer, signed.
    ///
    /// # Errors
    /// [`Error::TooMany`], or [`Error`] where the seat itself is broken: then nothing was decided.
    pub async fn answer(&self, request: &[u8]) -> Result<Vec<u8>, Error> {
        let transcript = transcript(&self.seat.public(), request);
        let now_ms = now_ms();
        let parsed = SeatRequest::from_bytes(request);
        let _permit = match &parsed {
            // To make a challenge costs no more than to refuse it, and nothing is kept of it.
            Ok(SeatRequest::Challenge) => None,
            Ok(request) => Some(self.guests.enter(self.caller(request, now_ms))?),
            Err(_) => Some(self.guests.enter(Caller::Anyone)?),
        };
        let outcome = match parsed {
            Err(_) => Err(Refusal::Encoding { bytes: request.len() }.into()),
            Ok(SeatRequest::Challenge) => {
                let keeper = self.keeper.lock().expect("no panic while held");
                Ok(self.seat.challenge(&keeper, &mut UnwrapErr(SysRng), now_ms))
            }
            Ok(SeatRequest::Release(request)) => self.release(&request, transcript, now_ms).await,
            Ok(SeatRequest::Prepare(request)) => self.step(Step::Prepare, &request, transcript, now_ms).await,
            Ok(SeatRequest::Commit(request)) => self.step(Step::Commit, &request, transcript, now_ms).await,
            Ok(SeatRequest::Renew(request)) => self.renew(&request, transcript, now_ms).await,
        };
        match outcome {
            Ok(response) => Ok(response.to_bytes()),
            Err(Failure::Refused(refusal)) => {
                tracing::warn!(
                    transcript = %transcript.short(), check = refusal.check(), found = %refusal.found(), "denied"
                );
                Ok(self.seat.deny(transcript, &refusal, now_ms).to_bytes())
            }
            Err(Failure::Broken(error)) => {
                tracing::error!(transcript = %transcript.short(), %error, "no decision");
                Err(error)
            }
        }
    }

    /// Whose call it is. Sessions are known to a guest and its host only, boot ids also to those who saw its
    /// evidence.
    fn caller(&self, request: &SeatRequest, now_ms: u64) -> Caller {
        match request {
            SeatRequest::Challenge => Caller::Anyone,
            SeatRequest::Release(request) => Caller::Naming(request.app_id),
            SeatRequest::Renew(request) => {
                let boot = (request.app_id, request.instance, request.boot_id);
                match self.boots.find(&boot, now_ms) {
                    Some(()) => Caller::Of(request.app_id),
                    None => Caller::Naming(request.app_id),
                }
            }
            SeatRequest::Prepare(step) | SeatRequest::Commit(step) => self
                .sessions
                .find(&step.session, now_ms)
                .map_or(Caller::Anyone, |session| Caller::Of(session.app_id)),
        }
    }

    async fn release(
        &self,
        request: &ReleaseRequest,
        transcript: Sha256,
        now_ms: u64,
    ) -> Result<SeatResponse, Failure> {
        let made_ms = {
            let mut keeper = self.keeper.lock().expect("no panic while held");
            self.seat.check_release(&mut keeper, request, now_ms)?
        };
        let known = self.known(&request.app_id).await?;
        let evidence = request.evidence.to_vec();
        let attested = self.appraise(&known, evidence, request.report_data(), made_ms, now_ms).await?;
        let mut store = self.store.lock().await;
        let mut transaction = store.begin().await?;
        let mut facts = self.facts(&mut transaction, &known.app, &request.app_id, &request.instance).await?;
        facts.boot = transaction.boot(&request.app_id, &request.instance, &request.boot_id).await?;
        for volume in request.keys.iter().filter_map(|key| key.volume.as_ref()) {
            let (state, _) = transaction.volume(&request.app_id, &request.instance, volume).await?;
            facts.volumes.insert(volume.clone(), state);
        }
        let new = facts.volumes.values().filter(|state| matches!(state, VolumeState::Absent)).count() as u64;
        if new > 0 {
            let found = transaction.volume_count(&request.app_id).await?;
            if found + new > self.options.limits.volumes_per_app {
                tracing::warn!(app = %request.app_id.short(), found, new, "the app has as many volumes as it may");
                return Err(Refusal::Busy.into());
            }
        }
        let decision = self.seat.decide_release(
            request,
            transcript,
            &attested,
            facts,
            now_ms,
            &mut UnwrapErr(SysRng),
        )?;
        for (volume, state) in &decision.volumes {
            transaction.put_volume(&request.app_id, &request.instance, volume, state).await?;
        }
        transaction.note_boot(&request.app_id, &request.instance, &request.boot_id).await?;
        if decision.supersedes {
            transaction.commit_boot(&request.app_id, &request.instance, &request.boot_id).await?;
        }
        transaction.commit().await?;
        drop(store);
        self.sessions.remember(transcript, request.app_id, decision.session, now_ms);
        self.boots.remember((request.app_id, request.instance, request.boot_id), request.app_id, (), now_ms);
        tracing::info!(
            transcript = %transcript.short(), app = %request.app_id.short(),
            instance = %request.instance.short(), boot = %request.boot_id.short(),
            trust = %attested.trust_class(), "granted"
        );
        Ok(decision.response)
    }

    async fn renew(
        &self,
        request: &RenewRequest,
        transcript: Sha256,
        now_ms: u64,
    ) -> Result<SeatResponse, Failure> {
        let made_ms = {
            let mut keeper = self.keeper.lock().expect("no panic while held");
            self.seat.check_renewal(&mut keeper, request, now_ms)?
        };
        let known = self.known(&request.app_id).await?;
        let evidence = request.evidence.to_vec();
        let attested = self.appraise(&known, evidence, request.report_data(), made_ms, now_ms).await?;
        let mut store = self.store.lock().await;
        let mut transaction = store.begin().await?;
        let mut facts = self.facts(&mut transaction, &known.app, &request.app_id, &request.instance).await?;
        facts.boot = transaction.granted_boot(&request.app_id, &request.instance, &request.boot_id).await?;
        let response = self.seat.decide_renewal(request, transcript, &attested, &facts, now_ms)?;
        self.boots.remember((request.app_id, request.instance, request.boot_id), request.app_id, (), now_ms);
        tracing::info!(
            transcript = %transcript.short(), instance = %request.instance.short(),
            boot = %request.boot_id.short(), "renewed"
        );
        Ok(response)
    }

    async fn step(
        &self,
        step: Step,
        request: &VolumeStep,
        transcript: Sha256,
        now_ms: u64,
    ) -> Result<SeatResponse, Failure> {
        let session = self.sessions.find(&request.session, now_ms);
        let session = self.seat.check_step(session.as_ref(), step, request)?;
        let (app_id, instance, boot_id): (&AppId, &InstanceId, &BootId) =
            (&session.app_id, &session.instance, &session.boot_id);
        let volume: &VolumeName = &request.volume;
        let mut store = self.store.lock().await;
        let mut transaction = store.begin().await?;
        let boot = transaction.granted_boot(app_id, instance, boot_id).await?;
        let (state, _) = transaction.volume(app_id, instance, volume).await?;
        let authority = transaction.app(app_id).await?.map(|app| app.authority);
        let facts = StepFacts { authority, boot, volume: state };
        let (next, response) = self.seat.decide_step(session, step, request, transcript, facts, now_ms)?;
        transaction.put_volume(app_id, instance, volume, &next).await?;
        if step == Step::Commit {
            transaction.commit_boot(app_id, instance, boot_id).await?;
        }
        transaction.commit().await?;
        tracing::info!(
            transcript = %transcript.short(), ?step, %volume, counter = request.stamp.counter,
            instance = %instance.short(), boot = %boot_id.short(), "stamped"
        );
        Ok(response)
    }

    /// Appraises a guest's evidence under the app's recorded policy and authority.
    async fn appraise(
        &self,
        Known { app, was_granted_keys }: &Known,
        bundle: Vec<u8>,
        report_data: ReportData,
        made_ms: u64,
        now_ms: u64,
    ) -> Result<Attested, Failure> {
        let (policy, authority, was_granted_keys) = (app.policy.clone(), app.authority, *was_granted_keys);
        let question = Question { bundle, policy, authority, was_granted_keys, report_data, made_ms, now_ms };
        Ok(self.appraiser.appraise(question).await?)
    }

    async fn known(&self, app_id: &AppId) -> Result<Known, Failure> {
        let mut store = self.store.lock().await;
        let mut transaction = store.begin().await?;
        let app = transaction.app(app_id).await?;
        let app = app.ok_or(Refusal::AppUnknown { found: *app_id })?;
        Ok(Known { was_granted_keys: transaction.was_granted_keys(app_id).await?, app })
    }

    /// What is recorded about the app, provided that its policy is still the one appraised under.
    async fn facts(
        &self,
        transaction: &mut Transaction<'_>,
        appraised: &App,
        app_id: &AppId,
        instance: &InstanceId,
    ) -> Result<ReleaseFacts, Failure> {
        let app = transaction.app(app_id).await?.ok_or(Refusal::AppUnknown { found: *app_id })?;
        if app.authority.policy_digest != policy_digest(&appraised.policy) {
            return Err(Refusal::PolicyMissing.into());
        }
        Ok(ReleaseFacts {
            genesis: Some(app.genesis),
            authority: Some(app.authority),
            instance: transaction.instance(app_id, instance).await?,
            boot: BootStanding::Open,
            volumes: std::collections::BTreeMap::new(),
            lease_ms: milliseconds(self.options.lease),
        })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The machine's clock, Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, milliseconds)
}
