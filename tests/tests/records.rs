//! A real seat behind a real validator, and someone between owner and validator who would rather that a
//! record were never taken. No guest is booted.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use casemate_api::validator::RecordsTaken;
use casemate_cli::{
    Error, api::Validator, app::App, deployment::Deployment, guest_image, home::Home, key_service::KeyService,
};
use casemate_crypto::{hash::sha256, sign::SigningKey};
use casemate_evidence::Measurement;
use casemate_record::{
    Confirmed, Error as RecordError, PolicyDigest, ReceiptFault, Submission, SubmissionRequest, Taken,
};
use casemate_tests::{
    carrier::{Call, Carrier, Reply},
    machine::Machine,
};
use casemate_verify::Policy;

/// The services of a machine, and an owner with an app.
struct World {
    machine: Machine,
    owner: SigningKey,
    policy: String,
}

impl World {
    fn new() -> Self {
        let machine = Machine::new();
        machine.casemate(["local", "start"]).success();
        let listed = format!("measurements = [\"{}\"]", Measurement::from([0x4d; 48]));
        let policy = Policy::example(&[sha256(b"a root")]).replace("measurements = \"expected\"", &listed);
        World { machine, owner: SigningKey::from_bytes(&[7; 32]).unwrap(), policy }
    }

    fn validator(&self) -> PathBuf {
        self.machine.home().join("local/validator.sock")
    }

    fn app(&self) -> App {
        let folder = self.machine.scratch().join("project");
        std::fs::create_dir_all(&folder).unwrap();
        App::open_or_create(&folder, &self.owner.public()).unwrap()
    }

    /// The owner's word that the app may run workload `number`.
    fn authority(&self, app: &mut App, number: u8) -> Submission {
        let digest = PolicyDigest::from(*sha256(self.policy.as_bytes()).as_bytes());
        let record = app.authorise(&self.owner, [number; 32].into(), digest).unwrap();
        let policy = self.policy.clone().into_bytes().into();
        Submission::Authority { genesis: app.genesis, record, policy }
    }

    /// Sends a submission through a carrier with this habit.
    fn send(
        &self,
        app: &mut App,
        submission: Submission,
        habit: impl Fn(&Call, &dyn Fn(&Call) -> Reply) -> Reply + Send + Sync + 'static,
    ) -> Result<Confirmed, Error> {
        static COUNT: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut count = COUNT.lock().unwrap();
            *count += 1;
            *count
        };
        let socket = self.machine.scratch().join(format!("carrier-{number}.sock"));
        let carrier = Carrier::new(socket, &self.validator(), habit);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let validator = Validator::at(&carrier.address()).unwrap();
            let service = KeyService::of(app, &validator, None, true).await?;
            service.submit(&validator, submission).await
        })
    }
}

fn is_record(call: &Call) -> bool {
    call.line == "POST /v1/records"
}

fn answer(receipts: Vec<String>) -> Reply {
    (200, serde_json::to_vec(&RecordsTaken { receipts, refusals: vec![] }).unwrap())
}

fn receipts(reply: &Reply) -> Vec<String> {
    let taken: RecordsTaken = serde_json::from_slice(&reply.1).unwrap();
    taken.receipts
}

/// The faults, where too few receipts counted.
#[track_caller]
fn faults(outcome: Result<Confirmed, Error>) -> Vec<ReceiptFault> {
    let Err(Error::NotConfirmed { source, .. }) = outcome else { panic!("{outcome:?}") };
    match *source {
        RecordError::TooFewReceipts { found, needed: 1, faults, .. } if found.is_empty() => faults,
        other => panic!("{other}"),
    }
}

#[test]
fn a_carrier_that_keeps_or_changes_a_record_is_found_out() {
    let world = World::new();
    let mut app = world.app();
    let first = world.authority(&mut app, 1);
    let kept = Arc::new(Mutex::new(Vec::new()));

    // An honest one: the seat has it, and signs so again when it comes again.
    let keep = kept.clone();
    let honest = move |call: &Call, forward: &dyn Fn(&Call) -> Reply| {
        let reply = forward(call);
        if is_record(call) {
            *keep.lock().unwrap() = receipts(&reply);
        }
        reply
    };
    for _ in 0..2 {
        let confirmed = world.send(&mut app, first.clone(), honest.clone()).unwrap();
        assert_eq!((confirmed.taken, confirmed.seats), (Taken::Authority { number: 1 }, vec![1]));
    }

    // "Taken", and nothing sent on.
    let swallow = |call: &Call, forward: &dyn Fn(&Call) -> Reply| match is_record(call) {
        true => answer(vec![]),
        false => forward(call),
    };
    let second = world.authority(&mut app, 2);
    assert!(faults(world.send(&mut app, second.clone(), swallow)).is_empty());

    // The receipt for the record before, or for an earlier sending of this very one.
    let old = kept.lock().unwrap().clone();
    let replay = move |call: &Call, forward: &dyn Fn(&Call) -> Reply| match is_record(call) {
        true => answer(old.clone()),
        false => forward(call),
    };
    let found = faults(world.send(&mut app, second.clone(), replay.clone()));
    assert!(matches!(found[..], [ReceiptFault::OtherSubmission { seat: 1, .. }]), "{found:?}");
    let found = faults(world.send(&mut app, first.clone(), replay));
    assert!(matches!(found[..], [ReceiptFault::OtherSending { seat: 1 }]), "{found:?}");

    // The record before, sent once more in place of this one, with this one's nonce.
    let before = first.clone();
    let swap = move |call: &Call, forward: &dyn Fn(&Call) -> Reply| {
        let mut call = call.clone();
        if is_record(&call) {
            let sent = SubmissionRequest::from_bytes(&call.body).unwrap();
            call.body = SubmissionRequest { nonce: sent.nonce, submission: before.clone() }.to_bytes();
        }
        forward(&call)
    };
    let found = faults(world.send(&mut app, second.clone(), swap));
    assert!(matches!(found[..], [ReceiptFault::OtherSubmission { seat: 1, .. }]), "{found:?}");

    // A changed receipt, and one with a good one's name on it twice.
    let alter = |call: &Call, forward: &dyn Fn(&Call) -> Reply| {
        let reply = forward(call);
        if !is_record(call) || reply.0 != 200 {
            return reply;
        }
        let mut changed = receipts(&reply);
        let last = changed[0].pop().unwrap();
        changed[0].push(if last == '0' { '1' } else { '0' });
        answer(changed)
    };
    let found = faults(world.send(&mut app, second.clone(), alter));
    assert!(matches!(found[..], [ReceiptFault::Signature { seat: 1, .. }]), "{found:?}");

    // None of this kept the owner from going on once the way is free.
    let confirmed = world.send(&mut app, second, honest).unwrap();
    assert_eq!(confirmed.taken, Taken::Authority { number: 2 });
    let refused = world.send(&mut app, first, |call, forward| forward(call));
    let Err(Error::Api(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("is not above 2"), "{error}");
}

#[test]
fn a_carrier_with_seats_of_its_own_is_found_out() {
    let (world, other) = (World::new(), World::new());
    let mut app = world.app();
    let first = world.authority(&mut app, 1);
    world.send(&mut app, first.clone(), |call, forward| forward(call)).unwrap();

    // It shows the roster of the app's own service and lets its own seats sign.
    let stranger = other.validator();
    let elsewhere = move |call: &Call, forward: &dyn Fn(&Call) -> Reply| match is_record(call) {
        true => ask(&stranger, call),
        false => forward(call),
    };
    let found = faults(world.send(&mut app, first.clone(), elsewhere));
    assert!(matches!(found[..], [ReceiptFault::OtherService { .. }]), "{found:?}");

    // It shows its own service at once.
    let stranger = other.validator();
    let own = move |call: &Call, _: &dyn Fn(&Call) -> Reply| ask(&stranger, call);
    let refused = world.send(&mut app, first, own);
    assert!(matches!(refused, Err(Error::App(casemate_cli::app::AppError::OtherKms { .. }))), "{refused:?}");
}

/// Asks another validator.
fn ask(validator: &Path, call: &Call) -> Reply {
    casemate_tests::carrier::forward(validator, call).expect("the other validator answers")
}

#[test]
fn down_says_erased_only_when_the_seat_has_signed() {
    let world = World::new();
    let machine = &world.machine;
    machine.casemate(["key", "create"]).success();
    let public = machine.casemate(["key", "show"]).success().stdout.trim().parse().unwrap();
    let folder = machine.scratch().join("notes");
    std::fs::create_dir_all(&folder).unwrap();
    let mut app = App::open_or_create(&folder, &public).unwrap();
    let swallow = |call: &Call, forward: &dyn Fn(&Call) -> Reply| match is_record(call) {
        true => answer(vec![]),
        false => forward(call),
    };
    let socket = machine.scratch().join("carrier.sock");
    let carrier = Carrier::new(socket, &world.validator(), swallow);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let direct = Validator::at(&format!("unix:{}", world.validator().display())).unwrap();
    runtime.block_on(KeyService::of(&mut app, &direct, None, true)).unwrap();
    let deployment = Deployment {
        name: "notes".into(),
        policy: folder.join("casemate.policy.toml"),
        folder,
        image: machine.scratch().into(),
        validator: Some(carrier.address()),
        app_id: app.id(),
        instance: [3; 16].into(),
        workload_digest: [5; 32].into(),
        simulated: true,
        shape: guest_image::shape(None, None),
    };
    deployment.save(&Home::at(&machine.home()).unwrap()).unwrap();

    let outcome = machine.casemate(["--quiet", "down", "notes", "--volumes"]);
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (
            4,
            "error: 0 of the 1 seats that are needed signed that they took the erasure of a volume by record 1\n\
             hint: do not count on it: whoever carries records may have kept this one; run the command again, or \
             use another validator of the same key service\n"
        )
    );
    // The way is free now; this seat was never told of the app, and says so itself.
    let direct = direct.address().to_owned();
    let outcome = machine.casemate(["--quiet", "--validator", &direct, "down", "notes", "--volumes"]);
    assert_eq!(outcome.status, 8, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("is not known here; send its authority record first"),
        "{}",
        outcome.stderr
    );
}
