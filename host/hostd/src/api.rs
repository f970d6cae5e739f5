//! How is the host asked, over HTTP?
//!
//! `casemate_api::host` lists the calls. Whoever can connect may do everything: the socket's mode is
//! the only lock, for the host's owner can do all of this anyway.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use casemate_api::host::{Blob, BlobDigest, Capabilities, HostVm, HostVmSpec, StopRequest};
use casemate_api::problem::Problem;
use casemate_transport::MAX_BODY_BYTES;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::accelerator::Probe;
use crate::blobs::Blobs;
use crate::capabilities;
use crate::error::{Blame, Error};
use crate::vms::{DEFAULT_GRACE, Settings, Vms};

/// What the handlers share.
pub struct Host {
    /// Stored files.
    pub blobs: Arc<Blobs>,
    /// VMs.
    pub vms: Vms,
    /// What the processor can do.
    pub probe: Arc<Probe>,
    /// Where things are.
    pub settings: Settings,
}

/// Every route.
pub fn router(host: Arc<Host>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/v1/capabilities", get(describe_host))
        .route("/v1/blobs", get(list_blobs))
        .route("/v1/blobs/{digest}", put(put_blob).head(head_blob).delete(delete_blob))
        .route("/v1/vms", get(list_vms).post(create_vm))
        .route("/v1/vms/{id}", get(describe_vm).delete(remove_vm))
        .route("/v1/vms/{id}/start", post(start_vm))
        .route("/v1/vms/{id}/stop", post(stop_vm))
        .route("/v1/vms/{id}/kill", post(kill_vm))
        .route("/v1/vms/{id}/agent", post(call_agent))
        .route("/v1/vms/{id}/console", get(console))
        .fallback(async || {
            refuse(StatusCode::NOT_FOUND, "no_such_call", "no such call", "see docs/reference/host-api.md")
        })
        .method_not_allowed_fallback(async || {
            refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this call takes another method",
                "see docs/reference/host-api.md",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(host)
}

type Answer<T> = Result<T, Refusal>;

/// An error on its way to the caller.
struct Refusal(Error);

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, blame, _) = self.0.explain();
        let status = match blame {
            Blame::Request => StatusCode::BAD_REQUEST,
            Blame::Absent => StatusCode::NOT_FOUND,
            Blame::Conflict => StatusCode::CONFLICT,
            Blame::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Blame::NoRoom => StatusCode::INSUFFICIENT_STORAGE,
            Blame::Guest => StatusCode::GATEWAY_TIMEOUT,
            Blame::Host => StatusCode::INTERNAL_SERVER_ERROR,
        };
        tracing::info!(code, status = status.as_u16(), "refused");
        (status, Json(self.0.problem())).into_response()
    }
}

async fn describe_host(State(host): State<Arc<Host>>) -> Json<Capabilities> {
    Json(capabilities::describe(&host.settings, &host.probe).await)
}

async fn list_blobs(State(host): State<Arc<Host>>) -> Answer<Json<Vec<Blob>>> {
    Ok(Json(host.blobs.list()?))
}

async fn put_blob(
    State(host): State<Arc<Host>>,
    Path(digest): Path<String>,
    mut body: Body,
) -> Answer<Response> {
    let answer = match digest.parse() {
        Ok(digest) => take_blob(&host.blobs, digest, &mut body).await,
        Err(_) => Ok(not_a_digest()),
    };
    // Who is answered while it still sends meets a connection that was reset, and reads no answer.
    drain(&mut body).await;
    answer
}

async fn take_blob(blobs: &Blobs, digest: BlobDigest, body: &mut Body) -> Answer<Response> {
    let mut incoming = blobs.begin(digest).await?;
    loop {
        match tokio::time::timeout(BLOB_SILENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    incoming.write(bytes).await?;
                }
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return Err(incoming.cut_short().into()),
        }
    }
    let status = if incoming.is_new() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(incoming.finish().await?)).into_response())
}

/// How long a sender may pause.
const BLOB_SILENCE: Duration = Duration::from_secs(60);

/// Reads what is left of a body that was refused, up to [`DRAIN_BYTES`] and for at most [`DRAIN_TIME`].
async fn drain(body: &mut Body) {
    let mut left = DRAIN_BYTES;
    let read = async {
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}

const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(20);

async fn head_blob(State(host): State<Arc<Host>>, Path(digest): Path<String>) -> Answer<Response> {
    let Ok(digest) = digest.parse() else { return Ok(not_a_digest()) };
    Ok([(header::CONTENT_LENGTH, host.blobs.describe(&digest)?.size_bytes)].into_response())
}

async fn delete_blob(State(host): State<Arc<Host>>, Path(digest): Path<String>) -> Answer<Response> {
    let Ok(digest) = digest.parse::<BlobDigest>() else { return Ok(not_a_digest()) };
    if host.vms.referenced_blobs().await.contains(&digest) {
        let hint = "remove the VM first";
        return Ok(refuse(StatusCode::CONFLICT, "blob_in_use", "a VM needs this blob", hint));
    }
    host.blobs.remove(&digest)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list_vms(State(host): State<Arc<Host>>) -> Json<Vec<HostVm>> {
    Json(host.vms.list().await)
}

async fn create_vm(State(host): State<Arc<Host>>, body: Bytes) -> Answer<Response> {
    let spec: HostVmSpec = match parse(&body) {
        Ok(spec) => spec,
        Err(refusal) => return Ok(*refusal),
    };
    Ok((StatusCode::CREATED, Json(host.vms.create(spec).await?)).into_response())
}

async fn describe_vm(State(host): State<Arc<Host>>, Path(id): Path<String>) -> Answer<Json<HostVm>> {
    Ok(Json(host.vms.describe(&id).await?))
}

async fn start_vm(State(host): State<Arc<Host>>, Path(id): Path<String>) -> Answer<Json<HostVm>> {
    // In a task of its own: a caller that goes away must not leave a VM half started.
    let started = tokio::spawn(async move { host.vms.start(&id).await });
    Ok(Json(joined(started).await?))
}

async fn stop_vm(State(host): State<Arc<Host>>, Path(id): Path<String>, body: Bytes) -> Answer<Response> {
    let request = if body.is_empty() { Ok(StopRequest::default()) } else { parse(&body) };
    let request: StopRequest = match request {
        Ok(request) => request,
        Err(refusal) => return Ok(*refusal),
    };
    let grace = request.grace_ms.map_or(DEFAULT_GRACE, Duration::from_millis).min(MAXIMUM_GRACE);
    let stopped = tokio::spawn(async move { host.vms.stop(&id, grace).await });
    Ok(Json(joined(stopped).await?).into_response())
}

const MAXIMUM_GRACE: Duration = Duration::from_secs(600);

async fn kill_vm(State(host): State<Arc<Host>>, Path(id): Path<String>) -> Answer<Json<HostVm>> {
    let killed = tokio::spawn(async move { host.vms.kill(&id).await });
    Ok(Json(joined(killed).await?))
}

/// Whether disks go too has no default: losing data by omission is no option, nor is leaving it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    disks: bool,
}

async fn remove_vm(
    State(host): State<Arc<Host>>,
    Path(id): Path<String>,
    removal: Result<Query<Removal>, axum::extract::rejection::QueryRejection>,
) -> Answer<Response> {
    let Ok(Query(Removal { disks })) = removal else {
        let hint = "add ?disks=true to destroy the data disk, or ?disks=false to keep it";
        return Ok(refuse(
            StatusCode::BAD_REQUEST,
            "disks_unsaid",
            "say what becomes of the data disk",
            hint,
        ));
    };
    let removed = tokio::spawn(async move { host.vms.remove(&id, disks).await });
    joined(removed).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn call_agent(State(host): State<Arc<Host>>, Path(id): Path<String>, body: Bytes) -> Answer<Response> {
    let answer = host.vms.call_agent(&id, body.into()).await?;
    Ok(([(header::CONTENT_TYPE, "application/cbor")], answer).into_response())
}

async fn console(State(host): State<Arc<Host>>, Path(id): Path<String>) -> Answer<Response> {
    let text = host.vms.console(&id).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

async fn joined<T>(task: tokio::task::JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    task.await.expect("a verb neither panics nor is cancelled")
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the request's body is not the expected JSON: {error}");
        Box::new(refuse(StatusCode::BAD_REQUEST, "body", &message, "see docs/reference/host-api.md"))
    })
}

fn not_a_digest() -> Response {
    let message = "a blob is named by 64 lower-case hexadecimal digits";
    refuse(StatusCode::BAD_REQUEST, "blob_name", message, "name it by SHA-256 of its bytes")
}

fn refuse(status: StatusCode, code: &str, message: &str, hint: &str) -> Response {
    let problem = Problem { code: code.into(), message: message.into(), hint: Some(hint.into()) };
    (status, Json(problem)).into_response()
}
