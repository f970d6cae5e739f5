//! Who is answered what: every call over its public encoding, with one thing changed at a time.

mod support;

use std::sync::{Arc, Mutex, OnceLock};

use casemate_agent::lease::Held;
use casemate_agent::session::{Guest, Session};
use casemate_agent::workload::Workload;
use casemate_api::agent::{
    AgentRequest, AgentResponse, Command, Denial, LogLine, OWNER_CALL_INFO, OwnerCall, OwnerReply, Refusal,
    SecretValue, ServiceStatus,
};
use casemate_api::progress::{Phase, Progress};
use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::hash::sha256;
use casemate_crypto::seal::{Sealed, SealingPublicKey, seal_session};
use casemate_crypto::sign::SigningKey;
use casemate_evidence::ReportData;
use casemate_evidence::bundle::{Bundle, Item, Session as SessionItem};
use casemate_record::{BootId, LeaseHolder, Order, OrderAction, Signed};
use casemate_release::report_data;
use casemate_workload::manifest::ImageConfig;
use support::{LEASE_ENDS_MS, handover, owner, random};

/// Answers with what it was asked; its clock stands still.
#[derive(Clone, Default)]
struct Recorder {
    asked: Arc<Mutex<Vec<String>>>,
    uptime_ms: Arc<Mutex<u64>>,
    lease: Arc<Mutex<Option<Held>>>,
    seats_refuse: Arc<Mutex<bool>>,
}

impl Recorder {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

impl Guest for Recorder {
    fn evidence(&self, report_data: &ReportData, items: Vec<Item>) -> Option<Vec<u8>> {
        let report = Item::SnpReport(report_data.as_bytes().to_vec().into());
        Some(Bundle::new(items.into_iter().chain([report])).to_bytes())
    }

    fn progress(&self) -> Progress {
        Progress { uptime_ms: 1, phase: Phase::Ready }
    }

    fn lease(&self) -> Option<Held> {
        self.lease.lock().unwrap().clone()
    }

    fn confirm(&self) -> bool {
        self.note("seats".into());
        !*self.seats_refuse.lock().unwrap()
    }

    fn shut_down(&self) {
        self.note("stop".into());
    }

    fn deliver(&self, version: u64, values: Vec<SecretValue>) -> Result<(), Denial> {
        self.note(format!("secrets {version} {}", values.len()));
        Ok(())
    }

    fn status(&self) -> Vec<ServiceStatus> {
        vec![]
    }

    fn logs(&self, service: &str, tail: u32, _: Option<u64>, _: usize) -> Result<Vec<LogLine>, Denial> {
        self.note(format!("logs {service} {tail}"));
        Ok(vec![])
    }

    fn exec(&self, service: &str, arguments: &[String], _: usize) -> Result<(u8, Vec<u8>), Denial> {
        self.note(format!("exec {service} {arguments:?}"));
        Ok((3, b"out".to_vec()))
    }

    fn uptime_ms(&self) -> u64 {
        *self.uptime_ms.lock().unwrap()
    }
}

const GRANTED: &str = "services:\n  db:\n    image: db\n    environment:\n      PASSWORD: ${PASSWORD}\n\
                       x-casemate:\n  observe: {logs: true, status: true, exec: true}\n";
const PRIVATE: &str = "services:\n  db:\n    image: db\n    environment:\n      PASSWORD: ${PASSWORD}\n";

struct Side {
    session: Session<Recorder>,
    key: OnceLock<SealingPublicKey>,
    recorder: Recorder,
    workload: Arc<Workload>,
}

impl Side {
    fn new(compose: &str) -> Self {
        let handover = handover(compose, &ImageConfig::default(), &[]);
        let signed = handover.leases.iter().map(Signed::to_bytes).collect();
        let workload = Arc::new(Workload::new(handover).unwrap());
        let recorder = Recorder::default();
        *recorder.lease.lock().unwrap() = Some(Held { ends_ms: LEASE_ENDS_MS, signed });
        let session = Session::new(recorder.clone(), workload.clone(), &mut random());
        Side { session, key: OnceLock::new(), recorder, workload }
    }

    fn ask(&self, request: &AgentRequest) -> AgentResponse {
        from_cbor(&self.session.answer(&to_cbor(request), &mut random()), 1 << 20).unwrap()
    }

    fn bundle(&self, nonce: [u8; 32]) -> Bundle {
        match self.ask(&AgentRequest::Evidence { nonce: nonce.into() }) {
            AgentResponse::Evidence { bundle } => Bundle::parse(&bundle).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Asked for once: evidence is limited.
    fn key(&self) -> &SealingPublicKey {
        self.key.get_or_init(|| {
            SealingPublicKey::from_slice(&self.bundle([0; 32]).session().unwrap().key).unwrap()
        })
    }

    fn order(&self, number: u64, command: &Command) -> Order {
        Order {
            app_id: self.workload.manifest.app_id,
            instance: self.workload.instance,
            boot_id: Some(self.workload.boot_id),
            workload_digest: self.workload.digest,
            number,
            action: match command {
                Command::DeliverSecrets { .. } => OrderAction::DeliverSecrets,
                Command::Status {} => OrderAction::Status,
                Command::Logs { .. } => OrderAction::Logs,
                _ => OrderAction::Exec,
            },
            payload_digest: sha256(&to_cbor(command)),
        }
    }

    fn send(&self, signer: &SigningKey, order: &Order, command: &Command) -> OwnerReply {
        let call = OwnerCall { order: Signed::sign(signer, order).to_bytes(), command: to_cbor(command) };
        self.send_call(&to_cbor(&call))
    }

    fn send_call(&self, plaintext: &[u8]) -> OwnerReply {
        let (call, session) = seal_session(&mut random(), self.key(), OWNER_CALL_INFO, b"", plaintext);
        match self.ask(&AgentRequest::Sealed { call }) {
            AgentResponse::Sealed { ciphertext } => {
                from_cbor(&session.open_response(b"", &ciphertext).unwrap(), 1 << 20).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn exec() -> Command {
    Command::Exec { service: "db".into(), arguments: vec!["psql".into()] }
}

fn secrets() -> Command {
    Command::DeliverSecrets { values: vec![SecretValue { name: "PASSWORD".into(), value: b"p".to_vec() }] }
}

fn denied(denial: Denial) -> OwnerReply {
    OwnerReply::Denied { denial }
}

#[test]
fn evidence_commits_to_nonce_key_workload_instance_boot_roster_and_lease() {
    let side = Side::new(PRIVATE);
    let bundle = side.bundle([5; 32]);
    let session = bundle.session().unwrap();
    let workload_digest = casemate_workload::manifest::digest_of(bundle.manifest().unwrap());
    let data = |session: &SessionItem| report_data::session(&[5; 32], &workload_digest, session);
    assert_eq!(bundle.snp_report().unwrap(), data(session).as_bytes());
    assert_eq!(session.boot_id, [4; 16]);
    assert_eq!(session.roster_digest, *side.workload.roster.digest().as_bytes());
    assert_eq!((session.key_epoch, session.lease_ends_ms), (1, LEASE_ENDS_MS));
    assert_ne!(side.bundle([6; 32]).snp_report(), bundle.snp_report());
    // Whoever carries the bundle can change none of it but the leases, which seats have signed.
    type Change = fn(&mut SessionItem);
    let changes: [Change; 6] = [
        |session| session.key = vec![1].into(),
        |session| session.instance = [9; 16],
        |session| session.boot_id = [9; 16],
        |session| session.roster_digest = [9; 32],
        |session| session.key_epoch = 2,
        |session| session.lease_ends_ms += 1,
    ];
    for change in changes {
        let mut changed = session.clone();
        change(&mut changed);
        assert_ne!(data(&changed), data(session));
    }
    let holder = LeaseHolder {
        app_id: side.workload.manifest.app_id,
        workload_digest,
        instance: session.instance.into(),
        boot_id: session.boot_id.into(),
    };
    let leases: Vec<&[u8]> = session.leases.iter().map(|lease| lease.as_slice()).collect();
    let term = side.workload.roster.check_leases(&leases, &holder, session.lease_ends_ms).unwrap();
    assert_eq!((term.begins_ms, term.ends_ms), (1_000, LEASE_ENDS_MS));
}

#[test]
fn without_a_lease_only_phase_and_stop_are_answered() {
    let side = Side::new(GRANTED);
    side.key();
    *side.recorder.lease.lock().unwrap() = None;
    let refused = AgentResponse::Refused { refusal: Refusal::NoLease };
    assert_eq!(side.ask(&AgentRequest::Evidence { nonce: [0; 32].into() }), refused);
    let call = OwnerCall {
        order: Signed::sign(&owner(), &side.order(1, &Command::Status {})).to_bytes(),
        command: to_cbor(&Command::Status {}),
    };
    let (call, _) = seal_session(&mut random(), side.key(), OWNER_CALL_INFO, b"", &to_cbor(&call));
    assert_eq!(side.ask(&AgentRequest::Sealed { call }), refused);
    assert!(matches!(side.ask(&AgentRequest::Phase {}), AgentResponse::Phase { .. }));
    assert_eq!(side.ask(&AgentRequest::Shutdown {}), AgentResponse::Stopping {});
}

#[test]
fn what_changes_something_waits_for_the_seats() {
    let side = Side::new(GRANTED);
    *side.recorder.seats_refuse.lock().unwrap() = true;
    for (number, command) in (1..).zip([exec(), secrets()]) {
        let reply = side.send(&owner(), &side.order(number, &command), &command);
        assert_eq!(reply, denied(Denial::NotConfirmed));
    }
    assert_eq!(*side.recorder.asked.lock().unwrap(), ["seats", "seats"], "nothing was carried out");
    let status = side.send(&owner(), &side.order(3, &Command::Status {}), &Command::Status {});
    assert_eq!(status, OwnerReply::Status { services: vec![] });
    // A stranger's order, or one that is not granted, does not reach the seats.
    let stranger = SigningKey::from_bytes(&[1; 32]).unwrap();
    assert_eq!(side.send(&stranger, &side.order(4, &exec()), &exec()), denied(Denial::NotTheOwner));
    assert_eq!(side.recorder.asked.lock().unwrap().len(), 2);
}

#[test]
fn evidence_is_limited_and_comes_back() {
    let side = Side::new(PRIVATE);
    let ask = || side.ask(&AgentRequest::Evidence { nonce: [0; 32].into() });
    let answered = (0..50).filter(|_| matches!(ask(), AgentResponse::Evidence { .. })).count();
    assert_eq!(answered, 8);
    assert_eq!(ask(), AgentResponse::Refused { refusal: Refusal::Busy });
    *side.recorder.uptime_ms.lock().unwrap() = 250;
    assert!(matches!(ask(), AgentResponse::Evidence { .. }));
}

#[test]
fn anyone_may_ask_for_the_phase_and_for_a_stop() {
    let side = Side::new(PRIVATE);
    let progress = Progress { uptime_ms: 1, phase: Phase::Ready };
    assert_eq!(side.ask(&AgentRequest::Phase {}), AgentResponse::Phase { progress });
    assert_eq!(side.ask(&AgentRequest::Shutdown {}), AgentResponse::Stopping {});
    assert_eq!(*side.recorder.asked.lock().unwrap(), ["stop"]);
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    let side = Side::new(PRIVATE);
    for bytes in [&b""[..], &[0xff], &[0x82, 0x18, 0x63, 0x80], &[0x82, 0x02, 0x80, 0x00]] {
        let answer: AgentResponse = from_cbor(&side.session.answer(bytes, &mut random()), 4096).unwrap();
        assert_eq!(answer, AgentResponse::Refused { refusal: Refusal::Malformed });
    }
    let garbage = Sealed { encapsulated: vec![0; 1120], ciphertext: vec![0; 64] };
    let refused = AgentResponse::Refused { refusal: Refusal::NotSealedToThisBoot };
    assert_eq!(side.ask(&AgentRequest::Sealed { call: garbage }), refused);
}

#[test]
fn the_owner_gets_what_the_manifest_grants() {
    let side = Side::new(GRANTED);
    let commands = [
        (Command::Status {}, OwnerReply::Status { services: vec![] }),
        (Command::Logs { service: "db".into(), tail: 5, since_ms: None }, OwnerReply::Logs { lines: vec![] }),
        (exec(), OwnerReply::Executed { exit_code: 3, output: b"out".to_vec() }),
    ];
    for (number, (command, expected)) in (1..).zip(commands) {
        assert_eq!(side.send(&owner(), &side.order(number, &command), &command), expected);
    }
    assert_eq!(*side.recorder.asked.lock().unwrap(), ["logs db 5", "seats", "exec db [\"psql\"]"]);
}

#[test]
fn what_the_manifest_does_not_grant_is_denied_even_to_the_owner() {
    let side = Side::new(PRIVATE);
    let logs = Command::Logs { service: "db".into(), tail: 5, since_ms: None };
    for (number, command) in (1..).zip([Command::Status {}, logs, exec()]) {
        assert_eq!(side.send(&owner(), &side.order(number, &command), &command), denied(Denial::NotGranted));
    }
    assert!(side.recorder.asked.lock().unwrap().is_empty());
}

#[test]
fn each_changed_field_of_an_order_is_denied() {
    let side = Side::new(GRANTED);
    type Change = fn(&mut Order);
    let changes: [(&str, Change, Denial); 7] = [
        ("app_id", |order| order.app_id = [9; 32].into(), Denial::NotForThisWorkload),
        ("instance", |order| order.instance = [9; 16].into(), Denial::NotForThisWorkload),
        ("boot_id", |order| order.boot_id = Some(BootId::from([9; 16])), Denial::NotForThisWorkload),
        ("boot_id absent", |order| order.boot_id = None, Denial::NotForThisWorkload),
        ("workload_digest", |order| order.workload_digest = [9; 32].into(), Denial::NotForThisWorkload),
        ("payload_digest", |order| order.payload_digest = [9; 32].into(), Denial::AnotherCommand),
        ("action", |order| order.action = OrderAction::Status, Denial::AnotherCommand),
    ];
    for (field, change, expected) in changes {
        let mut order = side.order(1, &exec());
        change(&mut order);
        assert_eq!(side.send(&owner(), &order, &exec()), denied(expected), "{field}");
    }
    let stranger = SigningKey::from_bytes(&[1; 32]).unwrap();
    assert_eq!(side.send(&stranger, &side.order(1, &exec()), &exec()), denied(Denial::NotTheOwner));
    assert_eq!(side.send_call(b"nonsense"), denied(Denial::Malformed));
    assert!(side.recorder.asked.lock().unwrap().is_empty());
}

#[test]
fn an_order_is_carried_out_once() {
    let side = Side::new(GRANTED);
    let run = |number| side.send(&owner(), &side.order(number, &exec()), &exec());
    assert!(matches!(run(5), OwnerReply::Executed { .. }));
    assert_eq!(run(5), denied(Denial::Replayed));
    assert_eq!(run(4), denied(Denial::Replayed));
    assert!(matches!(run(6), OwnerReply::Executed { .. }));
    let asked = side.recorder.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|what| what.starts_with("exec")).count(), 2);
}

#[test]
fn secrets_may_be_signed_before_the_boot_is_known() {
    let side = Side::new(PRIVATE);
    let mut order = side.order(1_700_000_000_000, &secrets());
    order.boot_id = None;
    let stored = OwnerReply::SecretsStored { version: 1_700_000_000_000 };
    assert_eq!(side.send(&owner(), &order, &secrets()), stored);
    assert_eq!(*side.recorder.asked.lock().unwrap(), ["seats", "secrets 1700000000000 1"]);
}

#[test]
fn a_call_to_an_earlier_boot_does_not_open() {
    let (earlier, side) = (Side::new(GRANTED), Side::new(GRANTED));
    let call = OwnerCall {
        order: Signed::sign(&owner(), &side.order(1, &exec())).to_bytes(),
        command: to_cbor(&exec()),
    };
    let (call, _) = seal_session(&mut random(), earlier.key(), OWNER_CALL_INFO, b"", &to_cbor(&call));
    let refused = AgentResponse::Refused { refusal: Refusal::NotSealedToThisBoot };
    assert_eq!(side.ask(&AgentRequest::Sealed { call }), refused);
}
