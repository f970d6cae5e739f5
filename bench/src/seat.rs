//! What does a seat see of a guest?
//!
//! The calls that `casemate-init` makes, with evidence of the simulated chip, at a real `casemate-kms` on its
//! Unix socket; the guest itself is left out. Only the seat's answers are timed: what the guest computes
//! between them is the guest's.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use casemate_api::launch::LaunchBundle;
use casemate_canon::from_cbor;
use casemate_crypto::{hash::sha256, sign::PublicKey};
use casemate_evidence::{
    ReportData,
    bundle::{Bundle, Item, SnpCertificates},
    snp::Report,
};
use casemate_record::{
    BootId, Genesis, InstanceRecord, Roster, RosterChain, Signed, VolumeName, WorkloadDigest,
};
use casemate_release::{
    guest::{Answer, Challenged, Release, ReleaseAttempt, ReleaseSetup, WantedKey},
    message::{SeatResponse, Step},
};
use casemate_tests::{boot::Deployment, http};
use getrandom::SysRng;
use rand_core::{Rng as _, UnwrapErr};

/// A guest without a machine, and the seat that it asks.
pub struct Guest {
    deployment: Deployment,
    chip: UnixStream,
    certificates: SnpCertificates,
    launch: LaunchBundle,
    roster: Roster,
}

/// How many seconds the seat took for each call of one boot.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// The challenge.
    pub challenge: f64,
    /// The keys.
    pub release: f64,
    /// The new stamp, prepared.
    pub prepare: f64,
    /// The new stamp, committed.
    pub commit: f64,
}

/// A request for keys that only has to be sent.
pub struct Request {
    attempt: Challenged,
    boot_id: BootId,
    /// CBOR `SeatRequest`.
    pub bytes: Vec<u8>,
    /// How many seconds the seat took for the challenge.
    pub challenge: f64,
}

impl Guest {
    /// Deploys an app on `image`; seat and chip keep everything inside `parent`.
    ///
    /// # Panics
    /// If one of them does not start.
    pub fn new(parent: &Path, image: &Path) -> Self {
        let mut deployment = Deployment::inside(parent, image);
        let (socket, _) = deployment.start_chip("bench");
        let chip = UnixStream::connect(socket).expect("the chip listens");
        let launch = fs::read(deployment.path("launch")).expect("the launch disk is written");
        let launch = LaunchBundle::from_disk(&launch).expect("a launch disk");
        let chain = RosterChain::from_bytes(&launch.roster_chain).expect("a roster chain");
        let roster = chain.verify(&chain.genesis.kms_id()).expect("the seat's own roster");
        let certificates = certificates(&deployment.path("chip").join("public"));
        Guest { deployment, chip, certificates, launch, roster }
    }

    /// One boot's calls, from the challenge to the committed stamp.
    ///
    /// # Panics
    /// If the seat denies one.
    pub fn boot(&mut self) -> Calls {
        let Request { attempt, boot_id, bytes, challenge } = self.request();
        let (answer, release) = self.call(&bytes);
        let granted = attempt.finish(&[(self.seat(), Answer::Bytes(answer))]).expect("the seat grants");
        let prepare = self.step(&granted, Step::Prepare, boot_id);
        let commit = self.step(&granted, Step::Commit, boot_id);
        Calls { challenge, release, prepare, commit }
    }

    /// A request for keys with fresh challenge, evidence and boot id.
    ///
    /// # Panics
    /// If the seat gives no challenge or the chip no report.
    pub fn request(&mut self) -> Request {
        let mut random = UnwrapErr(SysRng);
        let setup = self.setup();
        let boot_id = setup.boot_id;
        let mut attempt = ReleaseAttempt::new(setup, &mut random).expect("one key is wanted");
        let (reply, challenge) = self.call(&attempt.challenge_request());
        attempt.add_challenge(&self.seat(), &reply).expect("a challenge");
        let mut attempt = attempt.challenged().expect("one seat is enough");
        let evidence = self.evidence(attempt.report_data());
        let bytes = attempt.requests(&evidence, &mut random).remove(0).1;
        Request { attempt, boot_id, bytes, challenge }
    }

    /// The evidence bundle that this guest would send.
    ///
    /// # Panics
    /// If the chip gives no report.
    pub fn evidence(&mut self, report_data: ReportData) -> Vec<u8> {
        let report = Item::SnpReport(self.report(report_data).into());
        Bundle::new([report, Item::SnpCertificates(self.certificates.clone())]).to_bytes()
    }

    /// A report of the simulated chip.
    ///
    /// # Panics
    /// If it gives none.
    pub fn report(&mut self, report_data: ReportData) -> Vec<u8> {
        // `struct snp_report_req` (linux/sev-guest.h): report data, VMPL 0, reserved.
        let mut request = [0; 96];
        request[..64].copy_from_slice(report_data.as_bytes());
        self.chip.write_all(&request).expect("the chip listens");
        let mut report = vec![0; Report::LEN];
        self.chip.read_exact(&mut report).expect("the chip answers");
        report
    }

    /// Where the seat listens.
    pub fn socket(&self) -> PathBuf {
        self.deployment.path("seat.sock")
    }

    /// The policy that owner and seat both apply.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn policy(&self) -> String {
        fs::read_to_string(self.deployment.path("policy.toml")).expect("the policy is written")
    }

    /// The VCEK certificate in DER.
    pub fn vcek(&self) -> &[u8] {
        &self.certificates.leaf
    }

    /// The digest that the app's owner authorised.
    pub fn workload_digest(&self) -> WorkloadDigest {
        WorkloadDigest::from(*sha256(&self.launch.manifest).as_bytes())
    }

    /// Digest-bound name of the app.
    pub fn app_id(&self) -> casemate_record::AppId {
        self.genesis().app_id()
    }

    fn step(&self, granted: &Release, step: Step, boot_id: BootId) -> f64 {
        let name = volume();
        let volume = granted.volume(&name).expect("its key was wanted");
        let stamp = volume.keys.stamp(volume.next_counter, sha256(b"header"), boot_id);
        let attempt = granted.step(step, &name, &stamp);
        let (answer, seconds) = self.call(&attempt.requests()[0].1);
        attempt.finish(&[(self.seat(), Answer::Bytes(answer))]).expect("the seat takes the stamp");
        seconds
    }

    /// One call, and how many seconds the answer took.
    fn call(&self, request: &[u8]) -> (Vec<u8>, f64) {
        call(&self.socket(), request)
    }

    fn setup(&self) -> ReleaseSetup {
        let mut boot_id = [0; 16];
        UnwrapErr(SysRng).fill_bytes(&mut boot_id);
        let record: Signed<InstanceRecord> =
            Signed::from_bytes(&self.launch.instance_record).expect("an instance record");
        ReleaseSetup {
            roster: self.roster.clone(),
            app_id: self.app_id(),
            workload_digest: self.workload_digest(),
            instance: record.claimed().expect("an instance record").instance,
            boot_id: BootId::from(boot_id),
            keys: vec![WantedKey::Disk(volume())],
        }
    }

    fn genesis(&self) -> Genesis {
        from_cbor(&self.launch.genesis, Genesis::MAXIMUM_BYTES).expect("a genesis")
    }

    fn seat(&self) -> PublicKey {
        self.roster.seats[0].signing
    }
}

/// Asks the seat at `socket`, on a connection of its own; how many seconds the answer took.
///
/// Of one app a seat answers some 100 calls a second, challenges aside: where it has had enough, this waits
/// and asks again, and only the answered call counts.
///
/// # Panics
/// If the seat answers with anything else than 200.
pub fn call(socket: &Path, request: &[u8]) -> (Vec<u8>, f64) {
    loop {
        let began = Instant::now();
        let answer = http::exchange(socket, "POST", "/v1/guest", "application/cbor", request)
            .expect("the seat answers");
        let seconds = began.elapsed().as_secs_f64();
        if answer.status != 429 {
            assert_eq!(answer.status, 200, "{}", answer.text());
            return (answer.body, seconds);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Whether an answer gives keys.
pub fn grants(answer: &[u8]) -> bool {
    matches!(SeatResponse::from_bytes(answer), Ok(SeatResponse::Granted(_)))
}

fn certificates(folder: &Path) -> SnpCertificates {
    let listed = fs::read_dir(folder).expect("the chip wrote its certificates");
    let names: Vec<String> =
        listed.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let read = |prefix: &str| {
        let name = names.iter().find(|name| name.starts_with(prefix) && name.ends_with(".der"));
        let name = name.unwrap_or_else(|| panic!("no {prefix}*.der in {}", folder.display()));
        fs::read(folder.join(name)).expect("a certificate can be read").into()
    };
    SnpCertificates { leaf: read("vcek-genoa"), intermediate: read("ask-genoa"), root: read("ark") }
}

/// The one volume of the app.
fn volume() -> VolumeName {
    VolumeName::new("data").expect("a volume's name")
}
