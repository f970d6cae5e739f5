//! One seat, one app with one instance, and a machine that is made of software: all that a guest's talk with
//! the key service needs, without booting one.
//!
//! The seat is the real program on a real socket, to be killed at any point. The test is guest and relay: it
//! sends what `casemate_release::guest` makes, or something else.

#[path = "../../control/kms/tests/world/app.rs"]
mod app;

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

pub use app::{App, MEASUREMENT, WORKLOAD, data, evidence_of, next_stamp, report_of};
use casemate_evidence::ReportData;
use casemate_kms::{Options, StateFolder};
use casemate_record::{Stamp, Submission, SubmissionRequest};
use casemate_release::{
    guest::{
        Answer, Challenged, GuestError, Invalid, Release, ReleaseAttempt, ReleaseSetup, RenewalAttempt,
        Renewed,
    },
    message::{SeatResponse, Step},
};
use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::{http, processes, seat_process::SeatProcess, tee::Tee};

/// A seat on a Unix socket, one app with one instance, and a simulated machine.
pub struct World {
    // Before the folder, so that nothing writes to what is being removed.
    process: SeatProcess,
    thread: Option<tokio::runtime::Runtime>,
    calls: Cell<u32>,
    _folder: tempfile::TempDir,
    app: App,
}

/// When the seat is killed while it is asked something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Before the request reaches it.
    Before,
    /// So many microseconds after the request was sent; an answer may or may not come.
    After {
        /// Microseconds.
        micros: u64,
    },
    /// Once its answer has come.
    Answered,
}

impl World {
    /// A world whose seat accepts simulated roots; app and instance are recorded.
    pub fn new() -> Self {
        Self::with(scratch(), &["--accept-simulated"])
    }

    /// As [`World::new`], with everything below `folder`.
    pub fn new_in(folder: &Path) -> Self {
        Self::with(tempfile::tempdir_in(folder).expect("a scratch folder"), &["--accept-simulated"])
    }

    /// As [`World::new`], with a seat for production: it does not accept simulation.
    pub fn in_production() -> Self {
        Self::with(scratch(), &[])
    }

    /// As [`World::new`], with a seat whose challenges are good for `lifetime` only. It runs in a thread, for
    /// its program has no such option.
    pub fn with_challenges_of(lifetime: Duration) -> Self {
        let mut world = Self::born(scratch(), &[]);
        let options = Options { accept_simulated: true, challenge_lifetime: lifetime, ..Options::default() };
        world.start_in_thread(options);
        world.deploy();
        world
    }

    fn with(folder: tempfile::TempDir, options: &[&str]) -> Self {
        let world = Self::born(folder, options);
        world.process.start();
        world.deploy();
        world
    }

    fn born(folder: tempfile::TempDir, options: &[&str]) -> Self {
        let state = folder.path().join("state");
        let app = App::on_new_seat(&state);
        let (socket, log) = (folder.path().join("seat.sock"), folder.path().join("seat.log"));
        let process = SeatProcess::new(state, socket, log, options);
        let calls = Cell::new(0);
        World { process, thread: None, calls, _folder: folder, app }
    }

    fn deploy(&self) {
        self.authorise(1, WORKLOAD).expect("the seat takes the record");
        self.create_instance(1).expect("the seat takes the record");
    }

    fn start_in_thread(&mut self, options: Options) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        let folder = StateFolder::open(&self.process.state).expect("it was born");
        let listen = format!("unix:{}", self.process.socket.display()).parse().expect("an address");
        runtime.spawn(casemate_kms::serve(folder, options, listen, std::future::pending()));
        self.thread = Some(runtime);
        processes::wait_until("the seat", 20, || UnixStream::connect(&self.process.socket).is_ok());
    }

    /// SIGKILL to the seat, and a new process on the same state.
    pub fn restart(&self) {
        self.process.restart();
    }

    /// The seat.
    pub fn process(&self) -> &SeatProcess {
        &self.process
    }

    /// Sends a guest's request and returns the answer.
    ///
    /// # Panics
    /// If the seat does not answer with 200.
    #[track_caller]
    pub fn ask(&self, request: &[u8]) -> Vec<u8> {
        self.pace();
        let answer = self.post("/v1/guest", request).expect("the seat answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }

    /// Sends a guest's request to a seat that is killed meanwhile and started again; what came back, if
    /// anything did.
    pub fn ask_and_kill(&self, request: &[u8], kill: Kill) -> Option<Vec<u8>> {
        let outcome = match kill {
            Kill::Before => {
                self.process.kill();
                None
            }
            Kill::After { micros } => {
                let mut stream = UnixStream::connect(&self.process.socket).expect("the seat listens");
                http::send(&mut stream, "POST", "/v1/guest", http::CBOR, request).expect("it is taken");
                std::thread::sleep(Duration::from_micros(micros));
                self.process.kill();
                http::receive(&mut stream).ok().filter(http::Answer::is_success).map(|answer| answer.body)
            }
            Kill::Answered => {
                let answer = self.ask(request);
                self.process.kill();
                Some(answer)
            }
        };
        self.process.start();
        outcome
    }

    /// A call to the seat, whatever it answers.
    ///
    /// # Errors
    /// If it does not.
    pub fn post(&self, path: &str, body: &[u8]) -> std::io::Result<http::Answer> {
        http::exchange(&self.process.socket, "POST", path, http::CBOR, body)
    }

    /// Stays below the seat's limit of calls.
    fn pace(&self) {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get().is_multiple_of(100) {
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Sends a record.
    ///
    /// # Errors
    /// The seat's words.
    pub fn submit(&self, submission: Submission) -> Result<(), String> {
        self.pace();
        let request = SubmissionRequest { nonce: [1; 32].into(), submission }.to_bytes();
        let answer = self.post("/v1/records", &request).expect("the seat answers");
        if answer.is_success() { Ok(()) } else { Err(answer.text()) }
    }

    /// The owner's word that `workload` may run.
    ///
    /// # Errors
    /// The seat's words.
    pub fn authorise(&self, number: u64, workload: [u8; 32]) -> Result<(), String> {
        self.submit(self.authority_submission(number, workload))
    }

    /// The owner's word that the instance exists.
    ///
    /// # Errors
    /// The seat's words.
    pub fn create_instance(&self, number: u64) -> Result<(), String> {
        self.submit(self.instance_submission(number))
    }

    /// Evidence of this world's machine over `report_data`.
    pub fn evidence(&self, report_data: ReportData) -> Vec<u8> {
        evidence_of(&self.tee, report_data)
    }

    /// A request for keys, challenge taken and evidence made, not yet sent.
    pub fn release_request(&self, setup: ReleaseSetup) -> (Challenged, Vec<u8>) {
        self.release_request_with(setup, &self.tee)
    }

    /// As [`World::release_request`], by another machine.
    pub fn release_request_with(&self, setup: ReleaseSetup, tee: &Tee) -> (Challenged, Vec<u8>) {
        let mut attempt = ReleaseAttempt::new(setup, &mut UnwrapErr(SysRng)).expect("keys wanted once");
        let reply = self.ask(&attempt.challenge_request());
        attempt.add_challenge(&self.seat(), &reply).expect("a challenge");
        let mut challenged = attempt.challenged().expect("one seat is enough");
        let evidence = evidence_of(tee, challenged.report_data());
        let request = challenged.requests(&evidence, &mut UnwrapErr(SysRng))[0].1.clone();
        (challenged, request)
    }

    /// What a guest makes of an answer to its request for keys.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn finish(&self, challenged: Challenged, answer: Option<Vec<u8>>) -> Result<Release, GuestError> {
        challenged.finish(&[(self.seat(), heard(answer))])
    }

    /// Keys for boot number `boot`.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn release(&self, boot: u8) -> Result<Release, GuestError> {
        self.release_with(self.setup(boot))
    }

    /// Keys for `setup`.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn release_with(&self, setup: ReleaseSetup) -> Result<Release, GuestError> {
        let (challenged, request) = self.release_request(setup);
        let answer = self.ask(&request);
        self.finish(challenged, Some(answer))
    }

    /// One step of the volume.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn step(&self, release: &Release, step: Step, stamp: &Stamp) -> Result<(), GuestError> {
        let attempt = release.step(step, &data(), stamp);
        let answer = self.ask(&attempt.requests()[0].1);
        attempt.finish(&[(self.seat(), Answer::Bytes(answer))])
    }

    /// What a guest does from grant to mount; answers the committed stamp.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn boot(&self, boot: u8) -> Result<(Release, Stamp), GuestError> {
        let release = self.release(boot)?;
        let stamp = next_stamp(&release, boot);
        self.step(&release, Step::Prepare, &stamp)?;
        self.step(&release, Step::Commit, &stamp)?;
        Ok((release, stamp))
    }

    /// A request for another lease, challenge taken and evidence made, not yet sent.
    pub fn renewal_request(&self, boot: u8) -> (RenewalAttempt, Vec<u8>) {
        let mut attempt = self.renewal(boot);
        let reply = self.ask(&attempt.challenge_request());
        attempt.add_challenge(&self.seat(), &reply).expect("a challenge");
        let evidence = self.evidence(attempt.report_data().expect("one seat is enough"));
        let request = attempt.requests(&evidence)[0].1.clone();
        (attempt, request)
    }

    /// Another lease for boot number `boot`.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn renew(&self, boot: u8) -> Result<Renewed, GuestError> {
        let (attempt, request) = self.renewal_request(boot);
        let answer = self.ask(&request);
        attempt.finish(&[(self.seat(), Answer::Bytes(answer))])
    }

    /// The check that a signed denial in `answer` names; nothing if it is none.
    pub fn denied(&self, answer: &[u8]) -> Option<String> {
        match SeatResponse::from_bytes(answer) {
            Ok(SeatResponse::Denied(signed)) => Some(signed.verify(&self.seat()).ok()?.check),
            _ => None,
        }
    }
}

impl Deref for World {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut App {
        &mut self.app
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.process.logged();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        if let Some(runtime) = self.thread.take() {
            runtime.shutdown_background();
        }
    }
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch folder")
}

/// An answer as far as the relay let it come.
pub fn heard(answer: Option<Vec<u8>>) -> Answer {
    answer.map_or(Answer::Silent, Answer::Bytes)
}

/// What a guest was told, in one word: the name of the check in a denial, or of what is wrong with the
/// answer.
pub fn name<T>(outcome: &Result<T, GuestError>) -> String {
    match outcome {
        Ok(_) => "granted".to_owned(),
        Err(GuestError::TooFewGrants { denied, .. }) if denied.len() == 1 => denied[0].check.clone(),
        Err(GuestError::TooFewGrants { silent, .. }) if silent.len() == 1 => "silent".to_owned(),
        Err(GuestError::TooFewGrants { invalid, .. }) if invalid.len() == 1 => match &invalid[0].1 {
            Invalid::Encoding(_) => "not a response".to_owned(),
            Invalid::Record(_) => "not signed by the seat".to_owned(),
            Invalid::OtherTranscript => "answers another request".to_owned(),
            Invalid::OtherKind => "another kind of answer".to_owned(),
            other => format!("{other:?}"),
        },
        Err(GuestError::NotAChallenge(_)) => "not a challenge".to_owned(),
        Err(GuestError::UnexpectedAnswer) => "another kind of answer".to_owned(),
        Err(GuestError::OtherRoster { .. }) => "another roster".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}
