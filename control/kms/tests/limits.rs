//! What does a seat do with more than it takes: records, apps, bytes, calls?
//!
//! Each refusal names its limit, nothing that was taken is lost, and whoever asks too much asks at his own cost.

mod world;

use std::time::{Duration, Instant};

use casemate_crypto::sign::SigningKey;
use casemate_evidence::ReportData;
use casemate_kms::Limits;
use casemate_record::{
    AppId, InstanceId, InstanceRecord, Signed, Submission, SubmissionRequest, VolumeAction, VolumeName,
    VolumeRecord,
};
use casemate_release::{
    guest::{ReleaseSetup, WantedKey},
    message::{MAXIMUM_REQUEST_BYTES, SeatRequest, Step},
};
use tokio::task::JoinHandle;
use world::{WORKLOAD, World, check, data, next_stamp, post_to};

impl World {
    /// The seat again, with other limits on the same folder.
    async fn limited(&mut self, limits: Limits) {
        self.limits = limits;
        self.restart().await;
    }

    /// The seat's status and, of a refusal, its code and message.
    async fn refusal(&self, submission: &Submission) -> (u16, String, String) {
        let request = SubmissionRequest { nonce: [9; 32].into(), submission: submission.clone() };
        let (status, body) = self.post("/v1/records", &request.to_bytes()).await;
        problem(status, &body)
    }

    fn instance_record(&self, instance: u8, number: u64) -> Submission {
        let record = InstanceRecord { app_id: self.app_id(), instance: [instance; 16].into(), number };
        Submission::Instance(Signed::sign(&self.owner, &record))
    }

    fn erasure(&self, name: &str) -> Submission {
        let record = VolumeRecord {
            app_id: self.app_id(),
            instance: self.instance(),
            volume: VolumeName::new(name).unwrap(),
            number: 1,
            action: VolumeAction::Erase,
        };
        Submission::Volume(Signed::sign(&self.owner, &record))
    }

    /// A request for keys of `app` with evidence that shows nothing.
    async fn empty_request(&self, app: AppId) -> Vec<u8> {
        let setup = ReleaseSetup { app_id: app, ..self.setup(1) };
        self.request(setup, |_| self.evidence(ReportData::from([0; 64]))).await
    }

    /// Sends `body` again and again until the seat has had enough; how it says so.
    async fn flood(&self, path: &'static str, body: &[u8]) -> (u16, String, String) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(120) {
            let calls = (0..12).map(|_| {
                let (socket, body) = (self.socket(), body.to_vec());
                tokio::spawn(async move { post_to(&socket, path, &body).await })
            });
            for call in calls.collect::<Vec<_>>() {
                let (status, body) = call.await.unwrap();
                if status == 429 {
                    return problem(status, &body);
                }
            }
        }
        panic!("the seat never had enough");
    }

    /// Sends each of the bodies all the time, until the tasks are ended.
    fn keep_flooding<const COUNT: usize>(&self, bodies: [Vec<u8>; COUNT]) -> [JoinHandle<()>; COUNT] {
        bodies.map(|body| {
            let socket = self.socket();
            tokio::spawn(async move {
                loop {
                    post_to(&socket, "/v1/guest", &body).await;
                }
            })
        })
    }
}

fn problem(status: u16, body: &[u8]) -> (u16, String, String) {
    let read: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| read[field].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}

fn full(status: u16, code: &str, message: &str, refusal: &(u16, String, String)) {
    assert_eq!((refusal.0, refusal.1.as_str()), (status, code), "{refusal:?}");
    assert!(refusal.2.contains(message), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_are_bounded_and_those_recorded_go_on() {
    let mut world = World::new().await;
    world.turn_to_app(2);
    world.authorise(1, WORKLOAD).await.unwrap();
    world.limited(Limits { apps: 2, ..Limits::default() }).await;
    world.turn_to_app(3);
    let request = world.authority_submission(1, WORKLOAD);
    full(507, "apps_full", "2 apps are recorded at this seat, of at most 2", &world.refusal(&request).await);
    // Not even half of it: its instance is one of an unknown app.
    let (status, code, message) = world.refusal(&world.instance_record(3, 1)).await;
    assert_eq!((status, code.as_str()), (422, "record_refused"), "{message}");
    // Apps that are recorded: the same again, a newer version, an instance, an erasure, keys.
    world.turn_to_app(1);
    world.authorise(1, WORKLOAD).await.unwrap();
    world.authorise(2, WORKLOAD).await.unwrap();
    assert_eq!(world.refusal(&world.instance_record(4, 2)).await.0, 200);
    world.boot(1).await.unwrap();
    world.volume_record(1, VolumeAction::Erase).await.unwrap();
    // A lower limit takes nothing away, a higher one takes more.
    world.limited(Limits { apps: 0, ..Limits::default() }).await;
    world.turn_to_app(2);
    world.authorise(2, WORKLOAD).await.unwrap();
    world.limited(Limits { apps: 3, ..Limits::default() }).await;
    world.turn_to_app(3);
    world.authorise(1, WORKLOAD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_and_volumes_of_an_app_are_bounded_and_those_recorded_go_on() {
    let mut world = World::new().await;
    world.limited(Limits { instances_per_app: 2, volumes_per_app: 2, ..Limits::default() }).await;
    assert_eq!(world.refusal(&world.instance_record(4, 2)).await.0, 200);
    let third = world.refusal(&world.instance_record(5, 3)).await;
    full(507, "instances_full", "2 instances of this app are recorded at this seat, of at most 2", &third);
    assert_eq!(world.refusal(&world.instance_record(4, 2)).await.0, 200, "the very same again");

    world.boot(1).await.unwrap();
    assert_eq!(world.refusal(&world.erasure("other")).await.0, 200);
    let third = world.refusal(&world.erasure("third")).await;
    full(507, "volumes_full", "2 volumes of this app are recorded at this seat, of at most 2", &third);
    // Nor does a guest get a third, and the two that are there are as they were.
    let wanted = |name: &str| WantedKey::Disk(VolumeName::new(name).unwrap());
    let setup = ReleaseSetup { keys: vec![wanted("fourth")], ..world.setup(2) };
    assert_eq!(check(world.release_with(setup).await), "seat.busy");
    world.boot(2).await.unwrap();
    world.volume_record(1, VolumeAction::Erase).await.unwrap();
    // Another app has its own count.
    world.turn_to_app(2);
    world.authorise(1, WORKLOAD).await.unwrap();
    world.create_instance(1).await.unwrap();
    world.boot(3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_bounded_for_new_apps_first_and_never_for_guests() {
    let mut world = World::new().await;
    let size = std::fs::metadata(world.folder.path().join("state/state.db")).unwrap().len();
    // New apps get half: there is no room for them, and there is for those recorded.
    world.limited(Limits { database_bytes: size + size / 2, ..Limits::default() }).await;
    world.turn_to_app(2);
    let request = world.authority_submission(1, WORKLOAD);
    let refused = world.refusal(&request).await;
    full(
        507,
        "database_full",
        &format!("of at most {} for this kind of record", (size + size / 2) / 2),
        &refused,
    );
    world.turn_to_app(1);
    assert_eq!(world.refusal(&world.instance_record(4, 2)).await.0, 200);
    // None at all.
    world.limited(Limits { database_bytes: 1, ..Limits::default() }).await;
    for request in
        [world.authority_submission(2, WORKLOAD), world.instance_record(5, 3), world.erasure("another")]
    {
        full(507, "database_full", "of at most 1 for this kind of record", &world.refusal(&request).await);
    }
    world.authorise(1, WORKLOAD).await.unwrap();
    let (release, _) = world.boot(1).await.unwrap();
    world.renew(1).await.unwrap();
    world.volume_record(1, VolumeAction::Erase).await.unwrap();
    drop(release);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_by_name() {
    let world = World::new().await;
    for (path, limit, code) in [
        ("/v1/records", SubmissionRequest::MAXIMUM_BYTES, "record_too_large"),
        ("/v1/guest", MAXIMUM_REQUEST_BYTES, "request_too_large"),
    ] {
        let (status, body) = world.post(path, &vec![0; limit + 1]).await;
        let refusal = problem(status, &body);
        full(413, code, &format!("found more than the {limit} bytes that this call takes"), &refusal);
        assert_ne!(world.post(path, &vec![0; limit]).await.0, 413);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_records_costs_whoever_sends_it() {
    let mut world = World::new().await;
    let first = world.genesis;
    world.turn_to_app(2);
    world.authorise(1, WORKLOAD).await.unwrap();

    // Strangers: bytes that are no record, and records of the owner's app that somebody else signed.
    let forger = SigningKey::from_bytes(&[8; 32]).unwrap();
    let record = InstanceRecord { app_id: world.app_id(), instance: InstanceId::from([7; 16]), number: 9 };
    let forged = Submission::Instance(Signed::sign(&forger, &record));
    let forged = SubmissionRequest { nonce: [1; 32].into(), submission: forged }.to_bytes();
    for body in [vec![0; 1000], forged] {
        let refusal = world.flood("/v1/records", &body).await;
        full(429, "strangers_busy", "of callers that are no app recorded here", &refusal);
    }
    assert_eq!(world.refusal(&world.instance_record(3, 1)).await.0, 200, "the owner is served at once");

    // An app of the same owner: its records keep the other app's out no more than strangers' did.
    let mine = world.instance_record(3, 1);
    let flood = SubmissionRequest { nonce: [1; 32].into(), submission: mine.clone() }.to_bytes();
    let refusal = world.flood("/v1/records", &flood).await;
    full(429, "app_busy", "of this app", &refusal);
    world.genesis = first;
    assert_eq!(world.refusal(&world.instance_record(4, 2)).await.0, 200);
    // Guests are not kept waiting by owners.
    world.boot(1).await.unwrap();
    // And nothing that was taken is lost.
    world.restart().await;
    world.genesis = first;
    assert_eq!(world.refusal(&world.instance_record(4, 2)).await.0, 200);
    world.turn_to_app(2);
    assert_eq!(world.refusal(&mine).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_calls_for_one_app_keeps_no_other_app_waiting() {
    let mut world = World::new().await;
    let flooded = world.app_id();
    world.turn_to_app(2);
    world.authorise(1, WORKLOAD).await.unwrap();
    world.create_instance(1).await.unwrap();
    let (granted, _) = world.boot(1).await.unwrap();

    // For an app that is recorded: until its share and the pool are used up, and on.
    let request = world.empty_request(flooded).await;
    let refusal = world.flood("/v1/guest", &request).await;
    assert_eq!((refusal.0, refusal.1.as_str()), (429, "app_busy"), "{refusal:?}");
    // For an app that is not, for bytes that are no request, and for sessions that nobody has.
    let unknown = world.empty_request([9; 32].into()).await;
    let step = granted.step(Step::Prepare, &data(), &next_stamp(&granted, 1));
    let SeatRequest::Prepare(mut step) = SeatRequest::from_bytes(&step.requests()[0].1).unwrap() else {
        panic!("not a step")
    };
    step.session = [9; 32].into();
    for body in [unknown, vec![0; 100], SeatRequest::Prepare(step).to_bytes()] {
        let refusal = world.flood("/v1/guest", &body).await;
        assert_eq!((refusal.0, refusal.1.as_str()), (429, "strangers_busy"), "{refusal:?}");
    }
    // While all of that goes on, the other app boots, and stays.
    let flooding = world.keep_flooding([request, vec![0; 100]]);
    for boot in 2..5 {
        let began = Instant::now();
        world.boot(boot).await.unwrap();
        world.renew(boot).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "boot {boot} took {:?}", began.elapsed());
    }
    flooding.into_iter().for_each(|flood| flood.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_go_on_although_somebody_names_their_app_without_end() {
    let world = World::new().await;
    world.boot(1).await.unwrap();
    let next = world.release(2).await.unwrap();
    let request = world.empty_request(world.app_id()).await;
    let refusal = world.flood("/v1/guest", &request).await;
    assert_eq!((refusal.0, refusal.1.as_str()), (429, "app_busy"), "{refusal:?}");
    let flooding = world.keep_flooding([request.clone(), request]);
    for _ in 0..5 {
        world.renew(1).await.unwrap();
    }
    let stamp = next_stamp(&next, 2);
    world.step(&next, Step::Prepare, &stamp).await.unwrap();
    world.step(&next, Step::Commit, &stamp).await.unwrap();
    world.renew(2).await.unwrap();
    flooding.into_iter().for_each(|flood| flood.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_for_challenges_takes_nothing_from_those_who_have_one() {
    let mut world = World::new().await;
    world.turn_to_app(2);
    world.authorise(1, WORKLOAD).await.unwrap();
    world.create_instance(1).await.unwrap();
    let waiting = world.empty_request(world.app_id()).await;
    let flooding: Vec<_> = (0..4)
        .map(|_| {
            let socket = world.socket();
            tokio::spawn(async move {
                for _ in 0..500 {
                    let (status, _) = post_to(&socket, "/v1/guest", &SeatRequest::Challenge.to_bytes()).await;
                    assert_eq!(status, 200, "to refuse one costs no less");
                }
            })
        })
        .collect();
    let (status, _) = world.post("/v1/guest", &waiting).await;
    assert_eq!(status, 200, "decided, whatever the decision");
    for flood in flooding {
        flood.await.unwrap();
    }
    world.boot(1).await.unwrap();
}
