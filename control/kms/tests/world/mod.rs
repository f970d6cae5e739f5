//! A seat on a Unix socket, one app with one instance, and a simulated machine.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

#[path = "../../../../link/endorse/tests/support/server.rs"]
pub mod server;
#[path = "../../../../core/verify/tests/support/mod.rs"]
pub mod support;

mod app;

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    path::PathBuf,
    time::Duration,
};

pub use app::{App, MEASUREMENT, WORKLOAD, data, evidence_of, next_stamp, report_of};
use casemate_endorse::{Cache, Etiquette, KeyServer};
use casemate_evidence::{ReportData, snp::Product};
use casemate_kms::{Limits, Options, StateFolder, serve};
use casemate_record::{Genesis, Signed, Stamp, Submission, SubmissionRequest, VolumeAction, VolumeRecord};
use casemate_release::{
    guest::{Answer, GuestError, Release, ReleaseAttempt, ReleaseSetup},
    message::Step,
};
use casemate_verify::Roots;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use server::Server;
use support::Tee;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A seat on a Unix socket, one app with one instance, and a simulated machine.
pub struct World {
    pub folder: tempfile::TempDir,
    pub task: Option<tokio::task::JoinHandle<()>>,
    pub app: App,
    pub endorsements: Option<Cache>,
    pub limits: Limits,
    /// Whether the guest's evidence carries no certificates.
    pub bare: bool,
}

impl World {
    pub async fn new() -> Self {
        Self::with(true).await
    }

    pub async fn with(accept_simulated: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = App::on_new_seat(&folder.path().join("state"));
        let (endorsements, bare) = (None, false);
        let limits = Limits::default();
        let mut world = World { folder, task: None, app, endorsements, limits, bare };
        world.start(accept_simulated).await;
        world.authorise(1, WORKLOAD).await.unwrap();
        world.create_instance(1).await.unwrap();
        world
    }

    pub async fn start(&mut self, accept_simulated: bool) {
        let folder = StateFolder::open(&self.folder.path().join("state")).unwrap();
        let endorsements = self.endorsements.clone();
        let limits = self.limits;
        let options = Options { accept_simulated, endorsements, limits, ..Options::default() };
        let listen = format!("unix:{}", self.socket().display()).parse().unwrap();
        let serving = serve(folder, options, listen, std::future::pending());
        self.task = Some(tokio::spawn(async move { serving.await.unwrap() }));
        for _ in 0..200 {
            if tokio::net::UnixStream::connect(self.socket()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the seat does not listen");
    }

    /// Kills the seat where it stands and starts it again.
    pub async fn restart(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
        std::fs::remove_file(self.socket()).unwrap();
        self.start(true).await;
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("seat.socket")
    }

    pub async fn post(&self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        post_to(&self.socket(), path, body).await
    }

    pub async fn ask(&self, request: &[u8]) -> Vec<u8> {
        let (status, body) = self.post("/v1/guest", request).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        body
    }

    /// Sends a submission and counts the receipt, as an owner does.
    pub async fn submit(&self, submission: &Submission) -> Result<(), String> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).unwrap();
        let request = SubmissionRequest { nonce: nonce.into(), submission: submission.clone() };
        let (status, body) = self.post("/v1/records", &request.to_bytes()).await;
        if status != 200 {
            return Err(String::from_utf8(body).unwrap());
        }
        let confirmed = self.roster.confirm(&request, &[body]).unwrap();
        assert_eq!(confirmed.taken, submission.outcome().unwrap());
        Ok(())
    }

    pub async fn authorise(&self, number: u64, workload: [u8; 32]) -> Result<(), String> {
        self.submit(&self.authority_submission(number, workload)).await
    }

    pub async fn create_instance(&self, number: u64) -> Result<(), String> {
        self.submit(&self.instance_submission(number)).await
    }

    pub async fn volume_record(&self, number: u64, action: VolumeAction) -> Result<(), String> {
        self.submit(&self.volume_submission(number, action)).await
    }

    pub fn volume_submission(&self, number: u64, action: VolumeAction) -> Submission {
        let record =
            VolumeRecord { app_id: self.app_id(), instance: self.instance(), volume: data(), number, action };
        Submission::Volume(Signed::sign(&self.owner, &record))
    }

    pub fn evidence(&self, report_data: ReportData) -> Vec<u8> {
        match self.bare {
            true => report_of(&self.tee, report_data).to_bytes(),
            false => evidence_of(&self.tee, report_data),
        }
    }

    /// The seat again, with a key server that knows the chip, and a guest that brings no certificates.
    pub async fn with_key_server(etiquette: Etiquette) -> (Self, Server) {
        let mut world = Self::new().await;
        let chip = world.tee.endorsements();
        let pem = |one: &casemate_evidence::x509::Certificate| {
            der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, one.as_der()).unwrap()
        };
        let chain = (pem(&chip.intermediate) + &pem(&chip.root)).into_bytes();
        let list = support::ListParts::new(&world.tee.root.subject).to_der();
        let nowhere = KeyServer::at("", etiquette).unwrap();
        let tcb = support::tcb(Product::Genoa);
        let vcek = nowhere.vcek_address(Product::Genoa, &world.tee.report.chip_id, &tcb);
        let server = Server::start(HashMap::from([
            (vcek, (200, chip.leaf.as_der().to_vec())),
            ("/vcek/v1/Genoa/cert_chain".to_owned(), (200, chain)),
            ("/vcek/v1/Genoa/crl".to_owned(), (200, list)),
        ]))
        .await;
        let roots = Roots::none().with_simulated([world.tee.simulated_root()]);
        let folder = world.folder.path().join("endorsements");
        world.endorsements =
            Some(Cache::online(folder, roots, KeyServer::at(&server.base, etiquette).unwrap()));
        world.restart().await;
        world.bare = true;
        (world, server)
    }

    pub async fn release(&self, boot: u8) -> Result<Release, GuestError> {
        self.release_with(self.setup(boot)).await
    }

    pub async fn release_with(&self, setup: ReleaseSetup) -> Result<Release, GuestError> {
        let mut attempt = ReleaseAttempt::new(setup, &mut UnwrapErr(SysRng))?;
        let reply = self.ask(&attempt.challenge_request()).await;
        attempt.add_challenge(&self.seat(), &reply)?;
        let mut challenged = attempt.challenged()?;
        let evidence = self.evidence(challenged.report_data());
        let requests = challenged.requests(&evidence, &mut UnwrapErr(SysRng));
        let answer = self.ask(&requests[0].1).await;
        challenged.finish(&[(self.seat(), Answer::Bytes(answer))])
    }

    /// A request for keys that is ready to be sent, with whatever evidence shows the report data it is given.
    pub async fn request(&self, setup: ReleaseSetup, evidence: impl Fn(ReportData) -> Vec<u8>) -> Vec<u8> {
        let mut attempt = ReleaseAttempt::new(setup, &mut UnwrapErr(SysRng)).unwrap();
        let reply = self.ask(&attempt.challenge_request()).await;
        attempt.add_challenge(&self.seat(), &reply).unwrap();
        let mut challenged = attempt.challenged().unwrap();
        let evidence = evidence(challenged.report_data());
        challenged.requests(&evidence, &mut UnwrapErr(SysRng)).remove(0).1
    }

    /// A request for keys by a guest on another chip.
    pub async fn request_on(&mut self, chip: u8) -> Vec<u8> {
        let known = std::mem::replace(&mut self.tee.report.chip_id, [chip; 64].into());
        let request = self.request(self.setup(chip), |report_data| self.evidence(report_data)).await;
        self.tee.report.chip_id = known;
        request
    }

    /// From now on the owner speaks of another app of hers.
    pub fn turn_to_app(&mut self, number: u8) {
        self.genesis = Genesis { salt: [number; 32].into(), ..self.genesis };
    }

    pub async fn step(&self, release: &Release, step: Step, stamp: &Stamp) -> Result<(), GuestError> {
        let attempt = release.step(step, &data(), stamp);
        let answer = self.ask(&attempt.requests()[0].1).await;
        attempt.finish(&[(self.seat(), Answer::Bytes(answer))])
    }

    /// What a guest does from grant to mount; answers the committed stamp.
    pub async fn boot(&self, boot: u8) -> Result<(Release, Stamp), GuestError> {
        let release = self.release(boot).await?;
        let stamp = next_stamp(&release, boot);
        self.step(&release, Step::Prepare, &stamp).await?;
        self.step(&release, Step::Commit, &stamp).await?;
        Ok((release, stamp))
    }

    pub async fn renew(&self, boot: u8) -> Result<(), GuestError> {
        let mut attempt = self.renewal(boot);
        let reply = self.ask(&attempt.challenge_request()).await;
        attempt.add_challenge(&self.seat(), &reply)?;
        let evidence = self.evidence(attempt.report_data()?);
        let requests = attempt.requests(&evidence);
        let answer = self.ask(&requests[0].1).await;
        attempt.finish(&[(self.seat(), Answer::Bytes(answer))]).map(drop)
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

pub async fn post_to(socket: &std::path::Path, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: seat\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

/// The name of the check in the one denial.
pub fn check(outcome: Result<impl Sized, GuestError>) -> String {
    match outcome {
        Err(GuestError::TooFewGrants { granted: 0, denied, .. }) if denied.len() == 1 => {
            denied[0].check.clone()
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("not refused"),
    }
}
