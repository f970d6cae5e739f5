//! A workload that would have the hardware say what only its guest may say.
//!
//! Attack (issue: report data that begins with `CSM1`; peers C2: 32): a service with the grant asks at its socket for
//! the very report data that a seat or an owner waits for, and for the digest in it; a service without the grant
//! asks at all; a service asks without end. Expected: `reserved`; evidence over the digest has the purpose `appl`,
//! verifies as such, and neither session nor renewal nor release takes it; no socket; `busy`, while the guest's own
//! evidence goes on.

use std::fs;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_api::agent::{AgentRequest, AgentResponse};
use casemate_canon::{from_cbor, to_cbor};
use casemate_cli::clock::{now_ms, utc};
use casemate_evidence::bundle::{Bundle, Item, Session};
use casemate_record::RosterChain;
use casemate_release::{
    guest::{
        Answer, Challenged, GuestError, ReleaseAttempt, ReleaseSetup, RenewalAttempt, RenewalSetup, WantedKey,
    },
    report_data,
};
use casemate_tests::{
    findings::Findings,
    http,
    keys::VolumeOwner,
    machine::{Machine, NAME, image},
};
use casemate_verify::{AcceptSimulated, Channel, Expectations, Freshness, Policy, Verifier, Workload};
use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::{key_leak::deployment, target::Target};

const NONCE: [u8; 32] = [0x4E; 32];

pub(crate) fn attack() {
    let machine = Machine::new();
    let folder = machine.asking_app();
    let up = machine.up(&folder);
    let target = Target::of(machine, folder, up);
    let mut findings = Findings::new();
    let seat = Seat::of(&target);

    let (_, found) =
        target.shell_in("other", "/bin/busybox ls -a /run /run/casemate; /bin/evidence-client 00");
    findings.says("a service without the grant", &found, "no socket: No such file or directory");

    // What an owner, and a seat, would take for the guest's own word.
    let session = session(&target);
    let own = report_data::session(&NONCE, &seat.owner.workload_digest, &session);
    findings.same("the session's report data", ask(&target, own.as_bytes()).0, "reserved");
    let mut renewal = seat.renewal(&session);
    let own = renewal.report_data().expect("a challenge was taken");
    findings.same("a renewal's report data", ask(&target, own.as_bytes()).0, "reserved");
    findings.same("the first four bytes", ask(&target, b"CSM1").0, "reserved");
    findings.same("no bytes", ask(&target, b"").0, "empty");

    // The digest in it, which is ordinary bytes.
    let digest = &own.as_bytes()[16..];
    let (code, bundle) = ask(&target, digest);
    findings.same("its digest alone", code, "200");
    findings.same("as a renewal", seat.renew(&mut renewal, &bundle), REFUSED);
    let release = seat.release(&session);
    let (_, bundle) = ask(&target, &release.report_data().as_bytes()[16..]);
    findings.same("as a release", seat.ask_for_keys(release, &bundle), REFUSED);
    as_a_session(&target, session, &seat.owner, &mut findings);
    verifies_as_what_it_is(&target, digest, &mut findings);
    the_guest_goes_first(&target, &mut findings);
    findings.finish();
}

/// What a seat denies it for.
const REFUSED: &str = "policy.freshness.report_data";

/// Put beside a true session, for a nonce that an owner asked with.
fn as_a_session(target: &Target, session: Session, owner: &VolumeOwner, findings: &mut Findings) {
    let report_data = report_data::session(&NONCE, &owner.workload_digest, &session);
    let (_, bundle) = ask(target, &report_data.as_bytes()[16..]);
    let bundle = Bundle::parse(&bundle).expect("a bundle");
    findings.same("the session in it", format!("{:?}", bundle.session()), "None");
    let bundle = Bundle::new(bundle.items().iter().cloned().chain([Item::Session(session)]));
    let policy =
        Policy::parse(&fs::read_to_string(noted(target, "policy")).expect("a file")).expect("a policy");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: casemate_crypto::provider(),
    };
    let now_ms = now_ms();
    let expectations = Expectations {
        freshness: Freshness::Challenge { report_data, made_ms: now_ms },
        workload: Workload::Digest { digest: owner.workload_digest, source: "the test".into() },
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let appraisal = verifier.verify_bundle(&bundle, None, &expectations, now_ms);
    let failed: Vec<_> = appraisal.verdict().failures().map(|check| check.code).collect();
    findings.same("as a session's", format!("{failed:?}"), "[ReportData]");
}

/// Sends bytes from `web`: `200` and the bundle, or the refusal's code.
fn ask(target: &Target, chosen: &[u8]) -> (String, Vec<u8>) {
    let (_, said) = target.shell(&format!("/bin/evidence-client '{}'", hex(chosen)));
    let mut lines = said.lines();
    let status = lines.next().unwrap_or_default().to_owned();
    let body = BASE64_STANDARD.decode(lines.next().unwrap_or_default()).unwrap_or_default();
    if status == "HTTP/1.1 200 OK" {
        return ("200".to_owned(), body);
    }
    match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(problem) => (problem["code"].as_str().unwrap_or_default().to_owned(), Vec::new()),
        Err(_) => (said, Vec::new()),
    }
}

/// What the command line noted about the app.
fn noted(target: &Target, name: &str) -> String {
    let path = target.machine.home().join(format!("deployments/{NAME}.toml"));
    let noted: toml::Table = fs::read_to_string(path).expect("`up` noted it").parse().expect("TOML");
    noted[name].as_str().expect("text").to_owned()
}

/// The relying party's own command, over what the service handed it.
fn verifies_as_what_it_is(target: &Target, digest: &[u8], findings: &mut Findings) {
    let (code, bundle) = ask(target, digest);
    findings.same("once more", code, "200");
    let file = target.machine.scratch().join("evidence.cbor");
    fs::write(&file, bundle).expect("scratch is writable");
    let (file, image) = (file.display().to_string(), image().display().to_string());
    let (policy, workload) = (noted(target, "policy"), noted(target, "workload_digest"));
    let made = utc(now_ms());
    let verify = |data: &str| {
        target.machine.casemate([
            "--json",
            "verify",
            &file,
            "--application-data",
            data,
            "--made",
            &made,
            "--policy",
            &policy,
            "--accept-simulated",
            "--digest",
            &workload,
            "--image",
            &image,
            "--vcpus",
            "1",
        ])
    };
    let good = verify(&hex(digest));
    findings.holds("`verify` with its bytes", good.status == 0, "verified", &(good.stdout + &good.stderr));
    let other = verify(&hex(b"other bytes"));
    findings.same("`verify` with other bytes: exit code", other.status.to_string(), "3");
    findings.says("`verify` with other bytes", &other.stdout, REFUSED);
}

/// A service that asks without end gets `busy`; owner and lease do not notice.
fn the_guest_goes_first(target: &Target, findings: &mut Findings) {
    let flood = "for i in 1 2 3; do (while true; do /bin/evidence-client 00; done >/dev/null 2>&1 &); done";
    let (code, said) = target.shell(flood);
    findings.holds("a flood", code == 0, "begun", &said);
    let refused = (0..10).any(|_| ask(target, b"x").0 == "busy");
    findings.holds("asked too often", refused, "busy", "never refused");
    let verified = target.machine.casemate(["--json", "verify", NAME]);
    findings.holds("the owner's question meanwhile", verified.status == 0, "verified", &verified.stderr);
}

/// The session that the guest shows to everyone.
fn session(target: &Target) -> Session {
    let question = to_cbor(&AgentRequest::Evidence { nonce: NONCE.into() });
    match from_cbor(&target.host.agent(&target.vm, &question), 1 << 20) {
        Ok(AgentResponse::Evidence { bundle }) => {
            Bundle::parse(&bundle).expect("a bundle").session().expect("it has one").clone()
        }
        other => panic!("{other:?}"),
    }
}

/// The key service's one seat, to which anyone on the machine may speak as a guest.
struct Seat {
    socket: std::path::PathBuf,
    roster: casemate_record::Roster,
    owner: VolumeOwner,
}

impl Seat {
    fn of(target: &Target) -> Self {
        let socket = target.machine.local().join("kms.sock");
        let chain = http::exchange(&socket, "GET", "/v1/roster", "", b"").expect("the seat answers").body;
        let chain = RosterChain::from_bytes(&chain).expect("a chain");
        let roster = chain.verify(&chain.genesis.kms_id()).expect("a chain from its own genesis");
        Seat { socket, roster, owner: deployment(&target.machine) }
    }

    fn ask(&self, request: &[u8]) -> Vec<u8> {
        let answer = http::exchange(&self.socket, "POST", "/v1/guest", http::CBOR, request);
        answer.expect("the seat answers").body
    }

    fn renewal(&self, session: &Session) -> RenewalAttempt {
        let mut attempt = RenewalAttempt::new(RenewalSetup {
            roster: self.roster.clone(),
            app_id: self.owner.app_id,
            workload_digest: self.owner.workload_digest,
            instance: self.owner.instance,
            boot_id: session.boot_id.into(),
        });
        let reply = self.ask(&attempt.challenge_request());
        attempt.add_challenge(&self.roster.seats[0].signing, &reply).expect("a challenge");
        attempt
    }

    fn renew(&self, attempt: &mut RenewalAttempt, evidence: &[u8]) -> String {
        let answers = attempt.requests(evidence);
        let answers: Vec<_> =
            answers.iter().map(|(seat, request)| (*seat, Answer::Bytes(self.ask(request)))).collect();
        check(attempt.finish(&answers).map(drop))
    }

    fn release(&self, session: &Session) -> Challenged {
        let setup = ReleaseSetup {
            roster: self.roster.clone(),
            app_id: self.owner.app_id,
            workload_digest: self.owner.workload_digest,
            instance: self.owner.instance,
            boot_id: session.boot_id.into(),
            keys: vec![WantedKey::Identity],
        };
        let mut attempt = ReleaseAttempt::new(setup, &mut UnwrapErr(SysRng)).expect("one key");
        let reply = self.ask(&attempt.challenge_request());
        attempt.add_challenge(&self.roster.seats[0].signing, &reply).expect("a challenge");
        attempt.challenged().expect("one seat is enough")
    }

    fn ask_for_keys(&self, mut challenged: Challenged, evidence: &[u8]) -> String {
        let requests = challenged.requests(evidence, &mut UnwrapErr(SysRng));
        let answers: Vec<_> =
            requests.iter().map(|(seat, request)| (*seat, Answer::Bytes(self.ask(request)))).collect();
        check(challenged.finish(&answers).map(drop))
    }
}

/// The check that a denial names.
fn check(outcome: Result<(), GuestError>) -> String {
    match outcome {
        Err(GuestError::TooFewGrants { denied, .. }) if denied.len() == 1 => denied[0].check.clone(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
