//! A validator between a host that is a script behind a real socket, and a seat that only serves a roster.

#![allow(dead_code, reason = "each test uses a part of it")]

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
    host::{HostVm, HostVmSpec, HostVmState, NoticedProgress},
    problem::Problem,
    progress::Progress,
    validator::Vm,
};
use casemate_crypto::{seal::SealingKey, secret::Secret, sign::SigningKey};
use casemate_record::{
    Birth, KmsGenesis, Roster, RosterChain, Seat, SignedBirth, SignedRoster, Subset, SubsetCommitment,
};
use casemate_validator::{Options, Validator, http};
use serde_json::{Value, json};

/// What the scripted host has been told, and what it will say.
#[derive(Default)]
pub struct Host {
    pub vms: BTreeMap<String, HostVm>,
    pub calls: Vec<String>,
    pub refuse_next: Option<(StatusCode, Problem)>,
}

pub type Shared = Arc<Mutex<Host>>;

pub struct House {
    pub host: Shared,
    pub options: Options,
    pub folder: tempfile::TempDir,
}

impl House {
    pub async fn new() -> Self {
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
        Self { host, options, folder }
    }

    /// A validator as it is after a restart: everything it knows comes from its folder.
    pub async fn validator(&self) -> (Arc<Validator>, Client) {
        let validator = Validator::open(&self.options).await.unwrap();
        let socket = self.options.state.join(format!("{:x}.sock", rand()));
        serve(&socket, http::router(validator.clone()));
        (validator, Client::new(&socket))
    }

    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.host.lock().unwrap().calls)
    }

    pub fn set(&self, id: &str, change: impl FnOnce(&mut HostVm)) {
        change(self.host.lock().unwrap().vms.get_mut(id).expect("the host has the VM"));
    }
}

pub struct Client(reqwest::Client);

impl Client {
    pub fn new(socket: &Path) -> Self {
        Self(reqwest::Client::builder().unix_socket(socket).build().unwrap())
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.0.request(method, format!("http://localhost{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    pub async fn create(&self, name: &str) -> Vm {
        let (status, vm) = self.call("POST", "/v1/vms", Some(spec(name))).await;
        assert_eq!(status, 200, "{vm}");
        serde_json::from_value(vm).unwrap()
    }

    pub async fn vm(&self, id: &str) -> Vm {
        serde_json::from_value(self.call("GET", &format!("/v1/vms/{id}"), None).await.1).unwrap()
    }
}

pub fn spec(name: &str) -> Value {
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

pub fn notices(vm: &mut HostVm, phases: &[&str]) {
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

pub fn serve(socket: &Path, router: Router) {
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
