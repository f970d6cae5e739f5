//! What does a service get of the hardware's word?
//!
//! A service that the manifest names finds a socket in its container and asks there, in HTTP, for evidence
//! over bytes of its own choice (`docs/reference/service-evidence.md`). Report data always has the purpose
//! `appl`: nothing that the guest says for itself, to seats or to its owner, can be had here. Each socket has
//! its own thread and its own limit, so a service that asks too often waits for itself alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use casemate_evidence::ReportData;
use casemate_evidence::bundle::Item;
use casemate_guest_sys::clock;
use casemate_release::report_data::{self, ChosenError, MAXIMUM_CHOSEN_BYTES};

use crate::lease::Lease;
use crate::limiter::Limiter;
use crate::request::{self, Request};
use crate::workload::Workload;
use crate::{evidence, service};

/// What answering needs of the rest of the guest.
pub trait Guest {
    /// Whether the guest holds a lease now.
    fn has_lease(&self) -> bool;
    /// A bundle with a report over `report_data`.
    fn evidence(&self, report_data: &ReportData) -> Result<Vec<u8>, Refusal>;
    /// Uptime in milliseconds.
    fn uptime_ms(&self) -> u64;
}

/// Why a service gets no evidence. Each has its own name, and its own line in the reference.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a request that is understood.
    #[error(transparent)]
    Request(#[from] request::Error),
    /// Another method or path.
    #[error("only `POST /v1/evidence` is answered here")]
    NotFound,
    /// Bytes that are not taken.
    #[error(transparent)]
    Chosen(#[from] ChosenError),
    /// Too many requests.
    #[error("more than {BURST} reports at once or one each {EVERY_MS} ms; ask again later")]
    Busy,
    /// The guest has no lease now.
    #[error("the seats have not said that this boot may go on; ask again in a second")]
    NoLease,
    /// The platform gave no report.
    #[error("the platform gave no report; ask again later")]
    NoEvidence,
}

impl Refusal {
    /// The name of the variant, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Request(request::Error::BodyTooLong { .. }) => "too_long",
            Refusal::Request(_) => "malformed",
            Refusal::NotFound => "not_found",
            Refusal::Chosen(error) => error.code(),
            Refusal::Busy => "busy",
            Refusal::NoLease => "no_lease",
            Refusal::NoEvidence => "no_evidence",
        }
    }

    fn status(&self) -> &'static str {
        match self {
            Refusal::Chosen(ChosenError::TooLong { .. })
            | Refusal::Request(request::Error::BodyTooLong { .. }) => "413 Content Too Large",
            Refusal::Chosen(ChosenError::Reserved) => "403 Forbidden",
            Refusal::Request(_) | Refusal::Chosen(_) => "400 Bad Request",
            Refusal::NotFound => "404 Not Found",
            Refusal::Busy => "429 Too Many Requests",
            Refusal::NoLease | Refusal::NoEvidence => "503 Service Unavailable",
        }
    }
}

/// Makes the sockets of the services that may ask, and answers there for as long as the guest runs.
///
/// # Errors
/// [`Error`].
pub fn offer(workload: &Arc<Workload>, lease: &Arc<Lease>) -> Result<(), Error> {
    for service in workload.services().into_iter().filter(|service| workload.may_ask_for_evidence(service)) {
        let failed = |source| Error { service: service.name.clone(), source };
        let listener = listen(&service::evidence_socket(service)).map_err(failed)?;
        let guest = ThisGuest { workload: workload.clone(), lease: lease.clone() };
        let serving = move || serve(&listener, &guest);
        std::thread::Builder::new().name("evidence".into()).spawn(serving).map_err(failed)?;
    }
    Ok(())
}

/// Why a service that may ask has nowhere to ask.
#[derive(Debug, thiserror::Error)]
#[error("evidence socket of service {service}: {source}")]
pub struct Error {
    service: String,
    source: io::Error,
}

struct ThisGuest {
    workload: Arc<Workload>,
    lease: Arc<Lease>,
}

impl Guest for ThisGuest {
    fn has_lease(&self) -> bool {
        self.lease.held(clock::uptime_ms()).is_some()
    }

    fn evidence(&self, report_data: &ReportData) -> Result<Vec<u8>, Refusal> {
        let manifest = Item::Manifest(self.workload.manifest_bytes.clone().into());
        evidence::collect_for_service(report_data, vec![manifest]).map_err(|error| match error {
            evidence::Error::Busy => Refusal::Busy,
            _ => Refusal::NoEvidence,
        })
    }

    fn uptime_ms(&self) -> u64 {
        clock::uptime_ms()
    }
}

/// Makes the socket at `path`, which the folder around it keeps from everyone who is not given it.
///
/// # Errors
/// What the file system says.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    // A service may run as any user.
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Answers at `listener`, one connection at a time, for as long as the guest runs.
pub fn serve(listener: &UnixListener, guest: &impl Guest) -> ! {
    let mut limit = Limiter::new(BURST, EVERY_MS, guest.uptime_ms());
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => attend(&mut stream, guest, &mut limit),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Answers one connection.
pub fn attend(stream: &mut UnixStream, guest: &impl Guest, limit: &mut Limiter) {
    let outcome = Request::read(stream, MAXIMUM_CHOSEN_BYTES, PATIENCE)
        .map_err(Refusal::Request)
        .and_then(|request| answer(&request, guest, limit));
    // A client that does not take its answer has lost it.
    let _ = match outcome {
        Ok(bundle) => request::answer(stream, "200 OK", "application/cbor", &bundle),
        Err(refusal) => {
            // Whoever is refused in a loop costs the guest little.
            std::thread::sleep(PAUSE);
            let problem = casemate_api::problem::Problem {
                code: refusal.code().to_owned(),
                message: refusal.to_string(),
                hint: None,
            };
            let body = serde_json::to_vec(&problem).expect("text becomes JSON");
            request::answer(stream, refusal.status(), "application/json", &body)
        }
    };
}

fn answer(request: &Request, guest: &impl Guest, limit: &mut Limiter) -> Result<Vec<u8>, Refusal> {
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/v1/evidence") {
        return Err(Refusal::NotFound);
    }
    let report_data = report_data::application(&request.body)?;
    if !limit.allow(guest.uptime_ms()) {
        return Err(Refusal::Busy);
    }
    if !guest.has_lease() {
        return Err(Refusal::NoLease);
    }
    guest.evidence(&report_data)
}

/// Reports that one service may have at once, and the time in which one more becomes possible.
const BURST: u64 = 4;
const EVERY_MS: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);
