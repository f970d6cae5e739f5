//! Does a VM go through its life as asked, whatever the host answers and whenever the validator dies?
//!
//! The host is a script behind a real socket; the guests' side is tested with real hosts in `tests/`.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use casemate_api::{
    host::{HostVm, HostVmSpec, HostVmState, NoticedProgress, VmFailure, VmFailureCode},
    problem::Problem,
    progress::Progress,
    validator::{Vm, VmEvent},
};
use casemate_crypto::{seal::SealingKey, secret::Secret, sign::SigningKey};
use casemate_record::{
    Birth, KmsGenesis, Roster, RosterChain, Seat, SignedBirth, SignedRoster, Subset, SubsetCommitment,
};
use casemate_validator::{Options, Validator, http, reconcile};
use serde_json::{Value, json};

/// What the scripted host has been told, and what it will say.
#[derive(Default)]
struct Host {
    vms: BTreeMap<String, HostVm>,
    calls: Vec<String>,
    refuse_next: Option<(StatusCode, Problem)>,
}

type Shared = Arc<Mutex<Host>>;

struct House {
    host: Shared,
    options: Options,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Shared::default();
        serve(&folder.path().join("host.sock"), host_router(host.clone()));
        let roster = roster_chain();
        let seat = Router::new().route("/v1/roster", get(move || async move { roster.clone() }));
        serve(&folder.path().join("seat.sock"), seat);
        let options = Options {
            state: folder.path().join("validator"),
            host: format!("unix:{}", folder.path().join("host.sock").display()),
            seats: vec![format!("unix:{}", folder.path().join("seat.sock").display())],
            token: None,
            accept_image_paths: false,
        };
        Self { host, options, _folder: folder }
    }

    /// A validator as it is after a restart: everything it knows comes from its folder.
    async fn validator(&self) -> (Arc<Validator>, Client) {
        let validator = Validator::open(&self.options).await.unwrap();
        let socket = self.options.state.join(format!("{:x}.sock", rand()));
        serve(&socket, http::router(validator.clone()));
        (validator, Client::new(&socket))
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.host.lock().unwrap().calls)
    }

    fn set(&self, id: &str, change: impl FnOnce(&mut HostVm)) {
        change(self.host.lock().unwrap().vms.get_mut(id).expect("the host has the VM"));
    }
}

struct Client(reqwest::Client);

impl Client {
    fn new(socket: &Path) -> Self {
        Self(reqwest::Client::builder().unix_socket(socket).build().unwrap())
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.0.request(method, format!("http://localhost{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    async fn create(&self, name: &str) -> Vm {
        let (status, vm) = self.call("POST", "/v1/vms", Some(spec(name))).await;
        assert_eq!(status, 200, "{vm}");
        serde_json::from_value(vm).unwrap()
    }

    async fn vm(&self, id: &str) -> Vm {
        serde_json::from_value(self.call("GET", &format!("/v1/vms/{id}"), None).await.1).unwrap()
    }
}

fn spec(name: &str) -> Value {
    json!({
        "name": name, "image": "lite", "simulated": true,
        "shape": {"vcpus": 2, "vcpu_type": "EPYC-v4", "memory_mib": 512, "machine": "q35", "guest_features": 1},
        "app_id": "11".repeat(32), "instance": "22".repeat(16), "workload_digest": "33".repeat(32),
        "launch_blob": "44".repeat(32),
        "volumes": [{"name": "data", "size_bytes": 1 << 30}],
        "ports": [{"host_ip": "127.0.0.1", "host_port": 0, "guest_port": 8080}],
        "egress": false
    })
}

#[tokio::test]
async fn a_vm_lives_and_is_removed() {
    let house = House::new().await;
    let (validator, client) = house.validator().await;
    let vm = client.create("notes").await;
    assert_eq!(vm.state, "starting");

    reconcile::round(&validator).await.unwrap();
    reconcile::round(&validator).await.unwrap();
    let expected = ["GET", "create", "start", "GET"].map(str::to_owned);
    assert_eq!(house.calls(), expected, "created and started once");
    assert_eq!(client.vm("notes").await.ports[0].host_port, 41000, "the host's choice is kept");

    house.set(&vm.id, |vm| notices(vm, &["booted", "ready"]));
    reconcile::round(&validator).await.unwrap();
    reconcile::round(&validator).await.unwrap();
    let running = client.vm("notes").await;
    assert_eq!((running.state.as_str(), running.phase.as_deref()), ("running", Some("ready")));
    let (_, events) = client.call("GET", "/v1/vms/notes/events", None).await;
    let events: Vec<VmEvent> = serde_json::from_value(events).unwrap();
    let values = events.iter().map(|event| event.value.as_str()).collect::<Vec<_>>();
    assert_eq!(values, ["defined", "starting", "running", "booted", "ready"], "each notice once");

    client.call("POST", "/v1/vms/notes/stop", None).await;
    reconcile::round(&validator).await.unwrap();
    assert_eq!(client.vm("notes").await.state, "stopped");

    client.call("DELETE", "/v1/vms/notes?disks=true", None).await;
    reconcile::round(&validator).await.unwrap();
    assert_eq!(client.vm(&vm.id).await.state, "removed");
    assert!(house.calls().contains(&"delete disks=true".to_owned()));
    assert_ne!(client.create("notes").await.id, vm.id, "the name is free, the id is not");
}

#[tokio::test]
async fn a_host_that_refuses_fails_the_vm_with_its_own_words() {
    let house = House::new().await;
    let (validator, client) = house.validator().await;
    let problem = Problem {
        code: "port_taken".into(),
        message: "port 8080 is taken".into(),
        hint: Some("free it".into()),
    };
    house.host.lock().unwrap().refuse_next = Some((StatusCode::CONFLICT, problem));
    let vm = client.create("notes").await;
    reconcile::round(&validator).await.unwrap();
    let failed = client.vm(&vm.id).await;
    let failure = failed.failure.unwrap();
    assert_eq!((failed.state.as_str(), failure.code.as_str()), ("failed", "port_taken"));
    assert_eq!(failure.hint.as_deref(), Some("free it"));
}

#[tokio::test]
async fn a_guest_that_fails_is_failed_and_may_be_started_again() {
    let house = House::new().await;
    let (validator, client) = house.validator().await;
    let vm = client.create("notes").await;
    reconcile::round(&validator).await.unwrap();
    house.set(&vm.id, |vm| {
        vm.state = HostVmState::Failed;
        vm.failure = Some(VmFailure {
            code: VmFailureCode::FirmwareHalted,
            message: "the firmware halted".into(),
            hint: "rebuild the image".into(),
        });
    });
    reconcile::round(&validator).await.unwrap();
    let failed = client.vm(&vm.id).await;
    assert_eq!((failed.state.as_str(), failed.failure.unwrap().code.as_str()), ("failed", "firmware_halted"));

    client.call("POST", "/v1/vms/notes/start", None).await;
    reconcile::round(&validator).await.unwrap();
    let again = client.vm(&vm.id).await;
    assert_eq!((again.state.as_str(), again.failure), ("starting", None));
}

#[tokio::test]
async fn a_guest_that_goes_away_unasked_has_failed() {
    let house = House::new().await;
    let (validator, client) = house.validator().await;
    let vm = client.create("notes").await;
    reconcile::round(&validator).await.unwrap();
    house.set(&vm.id, |vm| vm.state = HostVmState::Stopped);
    reconcile::round(&validator).await.unwrap();
    assert_eq!(client.vm(&vm.id).await.failure.unwrap().code, "guest_powered_off");
}

#[tokio::test]
async fn a_restart_between_any_two_steps_loses_nothing() {
    let house = House::new().await;
    let id = {
        let (_, client) = house.validator().await;
        client.create("notes").await.id // dies before the host was told
    };
    {
        let (validator, _) = house.validator().await;
        reconcile::round(&validator).await.unwrap(); // told; dies before it looked
    }
    house.set(&id, |vm| notices(vm, &["ready"]));
    {
        let (validator, client) = house.validator().await;
        reconcile::round(&validator).await.unwrap();
        assert_eq!(client.vm(&id).await.state, "running");
        client.call("POST", &format!("/v1/vms/{id}/stop"), None).await; // dies before the host was told
    }
    let (validator, client) = house.validator().await;
    reconcile::round(&validator).await.unwrap();
    assert_eq!(client.vm(&id).await.state, "stopped");
    let created = house.calls().iter().filter(|call| *call == "create").count();
    assert_eq!(created, 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let house = House::new().await;
    let (_validator, client) = house.validator().await;
    let table = [
        ("name", json!("No Name"), "specification"),
        (
            "shape",
            json!({"vcpus": 0, "vcpu_type": "EPYC-v4", "memory_mib": 512, "machine": "q35", "guest_features": 1}),
            "specification",
        ),
        (
            "shape",
            json!({"vcpus": 2, "vcpu_type": "EPYC-v4", "memory_mib": 64, "machine": "q35", "guest_features": 1}),
            "specification",
        ),
    ];
    for (field, value, code) in table {
        let mut body = spec("notes");
        body[field] = value;
        let (status, problem) = client.call("POST", "/v1/vms", Some(body)).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some(code)), "{field}: {problem}");
    }
    let mut unknown = spec("notes");
    unknown["debug"] = json!(true);
    let (status, problem) = client.call("POST", "/v1/vms", Some(unknown)).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("body")));

    client.create("notes").await;
    let (status, problem) = client.call("POST", "/v1/vms", Some(spec("notes"))).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("name_taken")));
    let (status, problem) = client.call("GET", "/v1/vms/other", None).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("vm_not_found")));
    let (status, problem) = client.call("PUT", "/v1/blobs/..%2fetc", Some(json!(1))).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("specification")));
}

#[tokio::test]
async fn an_image_is_a_name_and_a_path_only_where_that_was_allowed() {
    let mut house = House::new().await;
    let call = async |client: &Client, image: &str| {
        let mut body = spec("notes");
        body["image"] = json!(image);
        client.call("POST", "/v1/vms", Some(body)).await
    };
    for accept_image_paths in [false, true] {
        house.options.accept_image_paths = accept_image_paths;
        let (_validator, client) = house.validator().await;
        for image in ["", "../lite", "lite/../../etc", ".hidden", "a b", "relative/path"] {
            let (status, problem) = call(&client, image).await;
            assert_eq!((status, problem["code"].as_str()), (422, Some("specification")), "{image}");
            assert!(problem["message"].as_str().unwrap().starts_with("`image` is "), "{problem}");
        }
        let (status, problem) = call(&client, "/srv/images/lite").await;
        match accept_image_paths {
            true => assert_eq!(status, 200, "{problem}"),
            false => assert_eq!((status, problem["code"].as_str()), (422, Some("specification"))),
        }
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_answered() {
    let mut house = House::new().await;
    house.options.token = Some("correct".to_owned());
    let (_validator, client) = house.validator().await;
    let (status, problem) = client.call("GET", "/v1/vms", None).await;
    assert_eq!((status, problem["code"].as_str()), (401, Some("unauthorised")));
}

fn host_router(host: Shared) -> Router {
    Router::new()
        .route("/v1/vms", post(create))
        .route("/v1/vms/{id}", get(show).delete(remove))
        .route("/v1/vms/{id}/start", post(start))
        .route("/v1/vms/{id}/stop", post(stop))
        .with_state(host)
}

async fn create(State(host): State<Shared>, Json(spec): Json<HostVmSpec>) -> Response {
    let mut host = host.lock().unwrap();
    host.calls.push("create".into());
    if let Some((status, problem)) = host.refuse_next.take() {
        return (status, Json(problem)).into_response();
    }
    let mut endpoints = spec.network.ports;
    endpoints.iter_mut().for_each(|port| port.host_port = 41000);
    let vm = HostVm {
        id: spec.id.clone(),
        state: HostVmState::Created,
        platform: spec.platform,
        failure: None,
        progress: None,
        notices: Vec::new(),
        endpoints,
        started_at_ms: None,
        stopped_at_ms: None,
    };
    host.vms.insert(spec.id, vm.clone());
    Json(vm).into_response()
}

async fn show(State(host): State<Shared>, UrlPath(id): UrlPath<String>) -> Response {
    let mut host = host.lock().unwrap();
    host.calls.push("GET".into());
    answer(host.vms.get(&id))
}

async fn start(State(host): State<Shared>, UrlPath(id): UrlPath<String>) -> Response {
    let mut host = host.lock().unwrap();
    host.calls.push("start".into());
    if let Some(vm) = host.vms.get_mut(&id) {
        vm.state = HostVmState::Running;
        vm.failure = None;
    }
    answer(host.vms.get(&id))
}

async fn stop(State(host): State<Shared>, UrlPath(id): UrlPath<String>) -> Response {
    let mut host = host.lock().unwrap();
    if let Some(vm) = host.vms.get_mut(&id) {
        vm.state = HostVmState::Stopped;
    }
    answer(host.vms.get(&id))
}

async fn remove(
    State(host): State<Shared>,
    UrlPath(id): UrlPath<String>,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Response {
    let mut host = host.lock().unwrap();
    host.calls.push(format!("delete {}", query.unwrap_or_default()));
    host.vms.remove(&id);
    StatusCode::NO_CONTENT.into_response()
}

fn answer(vm: Option<&HostVm>) -> Response {
    match vm {
        Some(vm) => Json(vm).into_response(),
        None => {
            let problem = Problem { code: "vm_not_found".into(), message: "no such VM".into(), hint: None };
            (StatusCode::NOT_FOUND, Json(problem)).into_response()
        }
    }
}

fn notices(vm: &mut HostVm, phases: &[&str]) {
    vm.notices = phases
        .iter()
        .enumerate()
        .map(|(at, phase)| NoticedProgress {
            at_ms: at as u64,
            progress: Progress {
                uptime_ms: at as u64,
                phase: serde_json::from_value(serde_json::json!({ "name": phase })).unwrap(),
            },
        })
        .collect();
    vm.progress = vm.notices.last().cloned();
}

fn serve(socket: &Path, router: Router) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
}

fn rand() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// The roster chain of a key service with one seat.
fn roster_chain() -> Vec<u8> {
    let operators = SigningKey::from_bytes(&[1; 32]).unwrap();
    let signing = SigningKey::from_bytes(&[2; 32]).unwrap();
    let sealing = SealingKey::from_seed(Secret::from_slice(&[3; 32]).unwrap());
    let genesis = KmsGenesis { operators: operators.public(), salt: [4; 32].into() };
    let roster = Roster {
        kms_id: genesis.kms_id(),
        key_epoch: 1,
        number: 1,
        previous: None,
        seats: vec![Seat { index: 1, signing: signing.public(), sealing: sealing.public() }],
        threshold: 1,
        quorum: 1,
        faulty: 0,
    };
    let commitments = Subset::all(1, 1)
        .unwrap()
        .into_iter()
        .map(|subset| SubsetCommitment { subset, commitment: [5; 32].into() })
        .collect();
    let mut birth = SignedBirth::new(&Birth { kms_id: genesis.kms_id(), key_epoch: 1, commitments });
    birth.add_signature(1, &signing);
    RosterChain { genesis, rosters: vec![SignedRoster::new(&operators, &roster)], birth }.to_bytes()
}
