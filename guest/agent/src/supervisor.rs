//! What happens from the handover to the last power-off?
//!
//! One thread owns the [`Schedule`] and waits for messages; whatever takes time (programs, images,
//! seats) happens on threads of its own that send a message when they are done.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use casemate_api::agent::{Denial, LogLine, SecretValue, ServiceState, ServiceStatus};
use casemate_api::handover::{self, Handover};
use casemate_api::progress::{Phase, Progress};
use casemate_canon::from_cbor;
use casemate_evidence::ReportData;
use casemate_evidence::bundle::Item;
use casemate_guest_sys::clock;
use casemate_transport::{Destination, FailureCode, Handler, Limits, Link, Peer, port};
use casemate_workload::compose::{HealthTest, Service};
use zeroize::Zeroizing;

use crate::failure::Error;
use crate::images::Images;
use crate::lease::{self, Held, Keeper, Lease};
use crate::notices::Notices;
use crate::schedule::{Action, Event, Schedule};
use crate::secrets::{Secrets, Store};
use crate::session::{Guest, Session};
use crate::workload::Workload;
use crate::{engine, evidence, logs, network, processes, resolver, root, service, service_evidence, system};

/// Runs the workload that init handed over until it ends, is stopped, or must not go on. On return
/// nothing of it runs; the caller unmounts and powers off.
///
/// # Errors
/// [`Error`]: why it must not go on.
pub fn run(notices: &Arc<Notices>) -> Result<(), Error> {
    let ended = run_workload(notices);
    // A disk that was changed is the reason for whatever else failed.
    match root::check() {
        Err(changed @ root::Error::Changed) => Err(changed.into()),
        Ok(()) | Err(_) => ended,
    }
}

fn run_workload(notices: &Arc<Notices>) -> Result<(), Error> {
    let handover = read_handover()?;
    let (begun_ms, length_ms) = (handover.granted_uptime_ms, handover.lease_ms);
    let lease = Arc::new(Lease::new(begun_ms, length_ms, handover.leases.clone(), clock::uptime_ms()));
    let workload = Arc::new(Workload::new(handover)?);
    let keeper = Arc::new(Keeper::new(lease.clone(), workload.clone()));
    let store = Arc::new(Store::open(&Path::new(handover::DATA).join("secrets"))?);
    let (messages, inbox) = channel();
    let schedule = Arc::new(Mutex::new(Schedule::new(workload.rules())));
    let outside = Outside {
        workload: workload.clone(),
        store: store.clone(),
        schedule: schedule.clone(),
        notices: notices.clone(),
        keeper: keeper.clone(),
        messages: messages.clone(),
    };
    let session = Session::new(outside, workload.clone(), &mut random());
    let relay_port = port::wait_for(port::RELAY, PORT_PATIENCE)?;
    let link = Link::port(&relay_port).map_err(Error::Relay)?;
    let relay = Peer::start(link, Limits::default(), Arc::new(Relay { session })).map_err(Error::Relay)?;
    notices.send_on(relay.clone());
    notices.tell(Phase::Switched);
    keeper.reach_by(relay);
    keep_lease(keeper, workload.roster.faulty, messages.clone());

    system::prepare().map_err(Error::System)?;
    let images = prepare(&workload)?;
    let run = Run { workload, notices: notices.clone(), lease, schedule, messages, inbox };
    let ended = run.serve_names().and_then(|()| run.to_the_end(&store, &images));
    // As for the root.
    let ended = images.check().map_err(Error::from).and(ended);
    for service in run.workload.services() {
        service::dissolve(service);
    }
    images.close();
    ended
}

/// Everything about the data volume's folder that the agent uses.
fn data() -> &'static Path {
    Path::new(handover::DATA)
}

enum Message {
    Event(Event),
    SecretsDelivered,
    ShutDown,
    Superseded,
}

struct Run {
    workload: Arc<Workload>,
    notices: Arc<Notices>,
    lease: Arc<Lease>,
    schedule: Arc<Mutex<Schedule>>,
    messages: Sender<Message>,
    inbox: Receiver<Message>,
}

impl Run {
    /// Waits for secrets where they are wanted, then runs the services until none is left.
    fn to_the_end(&self, store: &Store, images: &Images) -> Result<(), Error> {
        let Some(secrets) = self.await_secrets(store, images)? else {
            self.notices.tell(Phase::Stopping);
            return Ok(());
        };
        service_evidence::offer(&self.workload, &self.lease)?;
        let own_program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from(handover::AGENT));
        for index in 0..self.workload.services().len() {
            service::configure(&self.workload, index, images, data(), &secrets, &own_program)?;
        }
        drop(secrets);
        self.supervise(images)
    }

    /// The values the workload leaves open; `None` if it is to stop before it has them.
    fn await_secrets(&self, store: &Store, images: &Images) -> Result<Option<Secrets>, Error> {
        if self.workload.wanted().is_empty() {
            return Ok(Some(Secrets::default()));
        }
        if let Some(stored) = store.load(&self.workload.digest)? {
            return Ok(Some(stored));
        }
        self.notices.tell(Phase::AwaitingSecrets);
        loop {
            match self.next(None)? {
                Some(Message::SecretsDelivered) => {
                    if let Some(stored) = store.load(&self.workload.digest)? {
                        return Ok(Some(stored));
                    }
                }
                Some(Message::ShutDown) => return Ok(None),
                Some(Message::Superseded) => return Err(Error::Superseded),
                Some(Message::Event(_)) | None => {}
            }
            watch(images)?;
        }
    }

    /// Carries out what the schedule says until nothing runs any more. The first reason to stop is
    /// the one that is told. Without a lease there is no grace: another boot may have the volume by now.
    fn supervise(&self, images: &Images) -> Result<(), Error> {
        let mut reason = Ok(());
        let mut forbidden = false;
        let mut actions = self.schedule().advance(clock::uptime_ms());
        loop {
            if forbidden {
                // Again in each round, for what was just being started.
                processes::end_all();
            }
            while !actions.is_empty() {
                for action in actions {
                    match self.act(action) {
                        Step::Going => {}
                        Step::GaveUp(error) if reason.is_ok() => reason = Err(error),
                        Step::GaveUp(_) => {}
                        Step::Ended => return reason,
                    }
                }
                actions = self.schedule().advance(clock::uptime_ms());
            }
            let deadline_ms = self.schedule().next_deadline_ms();
            let event = match self.next(deadline_ms) {
                Ok(Some(Message::Event(event))) => Some(event),
                Ok(Some(Message::SecretsDelivered) | None) => None,
                Ok(Some(Message::ShutDown)) => {
                    self.notices.tell(Phase::Stopping);
                    Some(Event::Stop)
                }
                Ok(Some(Message::Superseded)) => {
                    reason = reason.and(Err(Error::Superseded));
                    forbidden = true;
                    Some(Event::Kill)
                }
                Err(error) => {
                    reason = reason.and(Err(error));
                    forbidden = true;
                    Some(Event::Kill)
                }
            };
            let now_ms = clock::uptime_ms();
            actions = match event {
                Some(event) => self.schedule().handle(event, now_ms),
                None => self.schedule().advance(now_ms),
            };
            // At least once a second, as long as nothing else ends the guest.
            if reason.is_ok()
                && let Err(error) = watch(images)
            {
                reason = Err(error);
                forbidden = true;
                // What was made of a changed disk is not said to work.
                actions
                    .retain(|action| !matches!(action, Action::AnnounceHealthy(_) | Action::AnnounceReady));
                actions.extend(self.schedule().handle(Event::Kill, now_ms));
            }
        }
    }

    /// Waits for a message until `deadline_ms`, if there is one.
    ///
    /// # Errors
    /// [`Error::LeaseLapsed`], as soon as it has; once told, it is not told again.
    fn next(&self, deadline_ms: Option<u64>) -> Result<Option<Message>, Error> {
        let now_ms = clock::uptime_ms();
        self.lease.look(now_ms);
        if let Some(late_ms) = self.lease.lapse(now_ms) {
            return Err(Error::LeaseLapsed { late_ms });
        }
        let until_ms = deadline_ms.unwrap_or(u64::MAX).min(self.lease.ends_ms());
        // Uptime goes on while a suspended guest does not: look again at least each second.
        let wait = Duration::from_millis(until_ms.saturating_sub(now_ms).min(1000));
        match self.inbox.recv_timeout(wait) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    fn act(&self, action: Action) -> Step {
        let services = self.workload.services();
        match action {
            Action::Start(index) => {
                self.notices.tell(Phase::Starting { service: services[index].name.clone() });
                self.start(index);
            }
            Action::Check { service, run } => self.check(service, run),
            Action::AskToStop(index) => {
                let image = self.workload.image(services[index]);
                let signal = stop_signal(services[index], &image.config.stop_signal);
                self.signal(services[index], signal);
            }
            Action::Kill(index) => self.signal(services[index], "SIGKILL".into()),
            Action::AnnounceHealthy(index) => {
                self.notices.tell(Phase::Healthy { service: services[index].name.clone() });
            }
            Action::AnnounceReady => self.notices.tell(Phase::Ready),
            Action::GiveUp { service, code } => {
                return Step::GaveUp(Error::ServiceEnded { service: services[service].name.clone(), code });
            }
            Action::Ended => return Step::Ended,
        }
        Step::Going
    }

    /// Runs the container on a thread of its own, which tells when it runs and when it has ended.
    fn start(&self, index: usize) {
        let services = self.workload.services();
        let (name, bundle) = (services[index].name.clone(), service::bundle(services[index]));
        let (log, init) = (service::log(data(), services[index]), services[index].init);
        let messages = self.messages.clone();
        let tell = move |event| drop(messages.send(Message::Event(event)));
        in_background("container", move || {
            let _ = engine::remove(&name);
            let started = log.map_err(drop).and_then(|log| engine::run(&name, &bundle, log).map_err(drop));
            let Ok(engine) = started else {
                return tell(Event::Exited { service: index, code: CANNOT_START });
            };
            let code = match engine::wait_until_begun(&bundle, &engine, init) {
                Ok(()) => {
                    tell(Event::Started { service: index });
                    engine.wait()
                }
                Err(code) => code,
            };
            tell(Event::Exited { service: index, code });
        });
    }

    fn check(&self, index: usize, run: u32) {
        let services = self.workload.services();
        let Some(check) = services[index].healthcheck.clone() else { return };
        let arguments = match check.test {
            HealthTest::Command(arguments) => arguments,
            HealthTest::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line],
        };
        let (name, bundle) = (services[index].name.clone(), service::bundle(services[index]));
        let messages = self.messages.clone();
        in_background("health", move || {
            let limit = Duration::from_millis(check.timeout_ms);
            let passed =
                engine::exec(&name, &bundle, &arguments, limit, 0).is_ok_and(|ended| ended.code == 0);
            let _ = messages.send(Message::Event(Event::Checked { service: index, run, passed }));
        });
    }

    fn signal(&self, service: &Service, signal: String) {
        let name = service.name.clone();
        in_background("signal", move || drop(engine::signal(&name, &signal)));
    }

    /// Answers names on the bridge, for as long as the guest runs.
    fn serve_names(&self) -> Result<(), Error> {
        let address = SocketAddr::from((network::GATEWAY, DNS_PORT));
        let socket = UdpSocket::bind(address).map_err(|source| Error::Resolver { address, source })?;
        let upstream = SocketAddr::from((network::UPSTREAM_RESOLVER, DNS_PORT));
        let zone = self.workload.zone();
        let open: Arc<resolver::OpenEgress> = Arc::new(|rules, addresses, ttl_seconds| {
            system::nft(&network::open_egress(rules, addresses, ttl_seconds)).is_ok()
        });
        in_background("resolver", move || drop(resolver::serve(socket, upstream, &zone, open)));
        Ok(())
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }
}

enum Step {
    Going,
    GaveUp(Error),
    Ended,
}

/// Refuses to go on once a block of a disk was not the one it must be.
fn watch(images: &Images) -> Result<(), Error> {
    root::check()?;
    Ok(images.check()?)
}

/// Network and images at the same time: neither needs the other.
fn prepare(workload: &Workload) -> Result<Images, Error> {
    std::thread::scope(|scope| {
        let network = scope.spawn(|| {
            let rules = network::rules(&workload.published(), &workload.manifest.egress);
            system::network(&rules, workload.services().len()).map_err(Error::Network)
        });
        let images = Images::open(&workload.manifest.images)?;
        let made = service::prepare_volumes(workload, &images, data()).and_then(|()| {
            workload
                .services()
                .into_iter()
                .try_for_each(|service| service::prepare_root(workload, service, &images, data()))
        });
        images.check()?;
        made?;
        network.join().expect("it does not panic")?;
        Ok(images)
    })
}

/// Renews the lease for as long as the guest runs, and looks at the clock each second.
fn keep_lease(keeper: Arc<Keeper>, faulty: u8, messages: Sender<Message>) {
    in_background("lease", move || {
        let mut not_before_ms = 0;
        loop {
            let now_ms = clock::uptime_ms();
            keeper.lease().look(now_ms);
            let next_ms = keeper.lease().renewal_ms().max(not_before_ms);
            if now_ms < next_ms {
                std::thread::sleep(Duration::from_millis((next_ms - now_ms).min(1000)));
                continue;
            }
            match keeper.renew() {
                Ok(()) => not_before_ms = 0,
                Err(error) if lease::is_superseded(&error, faulty) => {
                    let _ = messages.send(Message::Superseded);
                    return;
                }
                Err(_) => not_before_ms = clock::uptime_ms().saturating_add(keeper.lease().retry_ms()),
            }
        }
    });
}

/// Reads what init left, and removes it.
fn read_handover() -> Result<Handover, Error> {
    let failed = |source| Error::Handover { path: handover::PATH, source };
    let bytes = std::fs::read(handover::PATH).map_err(failed)?;
    std::fs::remove_file(handover::PATH).map_err(failed)?;
    Ok(from_cbor(&bytes, Handover::MAXIMUM_BYTES)?)
}

/// What the session asks of the rest.
struct Outside {
    workload: Arc<Workload>,
    store: Arc<Store>,
    schedule: Arc<Mutex<Schedule>>,
    notices: Arc<Notices>,
    keeper: Arc<Keeper>,
    messages: Sender<Message>,
}

impl Guest for Outside {
    fn evidence(&self, report_data: &ReportData, items: Vec<Item>) -> Option<Vec<u8>> {
        evidence::collect(report_data, items).ok()
    }

    fn progress(&self) -> Progress {
        self.notices.last()
    }

    fn lease(&self) -> Option<Held> {
        self.keeper.lease().held(clock::uptime_ms())
    }

    fn confirm(&self) -> bool {
        let confirmed = self.keeper.confirm();
        if confirmed.as_ref().is_err_and(|error| lease::is_superseded(error, self.workload.roster.faulty)) {
            let _ = self.messages.send(Message::Superseded);
        }
        confirmed.is_ok()
    }

    fn shut_down(&self) {
        let _ = self.messages.send(Message::ShutDown);
    }

    fn deliver(&self, version: u64, values: Vec<SecretValue>) -> Result<(), Denial> {
        let delivered = self.store.deliver(&self.workload.digest, &self.workload.wanted(), version, values);
        delivered.map_err(|_| Denial::Failed)??;
        let _ = self.messages.send(Message::SecretsDelivered);
        Ok(())
    }

    fn status(&self) -> Vec<ServiceStatus> {
        let schedule = lock(&self.schedule);
        let status = |(index, service): (usize, &Service)| {
            let (state, health, exit_code, restarts) = schedule.status(index);
            ServiceStatus { service: service.name.clone(), state, health, exit_code, restarts }
        };
        self.workload.services().into_iter().enumerate().map(status).collect()
    }

    fn logs(
        &self,
        name: &str,
        tail: u32,
        since_ms: Option<u64>,
        maximum: usize,
    ) -> Result<Vec<LogLine>, Denial> {
        self.workload.index(name).ok_or(Denial::NoSuchService)?;
        let tail = usize::try_from(tail).unwrap_or(usize::MAX);
        logs::read(&service::log_folder(data(), name), tail, since_ms, maximum).map_err(|_| Denial::Failed)
    }

    fn exec(&self, name: &str, arguments: &[String], maximum: usize) -> Result<(u8, Vec<u8>), Denial> {
        let index = self.workload.index(name).ok_or(Denial::NoSuchService)?;
        if arguments.first().is_none_or(String::is_empty) {
            return Err(Denial::Malformed);
        }
        if lock(&self.schedule).status(index).0 != ServiceState::Running {
            return Err(Denial::NotRunning);
        }
        let bundle = service::bundle(self.workload.services()[index]);
        let ended = engine::exec(name, &bundle, arguments, EXEC_TIME, maximum).map_err(|_| Denial::Failed)?;
        Ok((ended.code, ended.output))
    }

    fn uptime_ms(&self) -> u64 {
        clock::uptime_ms()
    }
}

struct Relay {
    session: Session<Outside>,
}

impl Handler for Relay {
    fn call(&self, to: Destination, body: Vec<u8>) -> Result<Vec<u8>, FailureCode> {
        let body = Zeroizing::new(body);
        match to {
            Destination::Agent => Ok(self.session.answer(&body, &mut random())),
            Destination::Seat(_) => Err(FailureCode::UnknownDestination),
        }
    }
}

/// The compose file's signal, or the image's, or SIGTERM.
fn stop_signal(service: &Service, image: &str) -> String {
    let image = Some(image).filter(|signal| !signal.is_empty());
    service.stop_signal.as_deref().or(image).unwrap_or("SIGTERM").to_owned()
}

fn random() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn in_background(name: &str, work: impl FnOnce() + Send + 'static) {
    // Without threads a guest cannot go on; the kernel powers off when PID 1 panics.
    let started: io::Result<_> = std::thread::Builder::new().name(name.into()).spawn(work);
    started.expect("the guest has room for a thread");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As `docker run` reports an engine that cannot run a container.
const CANNOT_START: u8 = 125;
const DNS_PORT: u16 = 53;
const PORT_PATIENCE: Duration = Duration::from_secs(5);
/// Longest run of an owner's program, below the relay's own limit for calls.
const EXEC_TIME: Duration = Duration::from_secs(20);
