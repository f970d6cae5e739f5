//! What may be asked over HTTP? (types: `casemate_api::validator`)

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        DefaultBodyLimit, Path, Query, Request, State,
        rejection::{BytesRejection, JsonRejection, QueryRejection},
    },
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use casemate_api::{
    problem::Problem,
    validator::{KmsInfo, RecordsTaken, Vm, VmEvent, VmSpec},
};
use casemate_record::SubmissionRequest;
use reqwest::Method;
use serde::Deserialize;
use utoipa::OpenApi as _;

use crate::{Error, Validator, store::Verb};

/// Largest JSON or CBOR body taken, in bytes. Blobs are streamed and bounded by the host.
const BODY_BYTES: usize = 4 << 20;

/// Every call, behind the token if there is one.
pub fn router(validator: Arc<Validator>) -> Router {
    Router::new()
        .route("/v1/vms", post(create).get(list))
        .route("/v1/vms/{vm}", get(show).delete(remove))
        .route("/v1/vms/{vm}/start", post(start))
        .route("/v1/vms/{vm}/stop", post(stop))
        .route("/v1/vms/{vm}/events", get(events))
        .route("/v1/vms/{vm}/agent", post(agent))
        .route("/v1/records", post(records).layer(DefaultBodyLimit::max(SubmissionRequest::MAXIMUM_BYTES)))
        .route("/v1/kms", get(kms))
        .route("/v1/host", get(host))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .route("/v1/blobs/{sha256}", put(put_blob).head(head_blob).layer(DefaultBodyLimit::disable()))
        .layer(middleware::from_fn_with_state(validator.clone(), authorise))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/openapi.json", get(openapi))
        .fallback(async || Error::NoSuchCall)
        .method_not_allowed_fallback(async || Error::Method)
        .with_state(validator)
}

type Shared = State<Arc<Validator>>;

async fn authorise(State(validator): Shared, request: Request, next: Next) -> Result<Response, Error> {
    if let Some(token) = &validator.token {
        let shown = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        if !token.matches(shown) {
            return Err(Error::Unauthorised);
        }
    }
    Ok(next.run(request).await)
}

#[utoipa::path(post, path = "/v1/vms", request_body = VmSpec, responses((status = 200, body = Vm), (status = "default", body = Problem)))]
async fn create(
    State(validator): Shared,
    spec: Result<Json<VmSpec>, JsonRejection>,
) -> Result<Json<Vm>, Error> {
    let Json(spec) = spec.map_err(|rejection| match rejection {
        JsonRejection::BytesRejection(rejection) => unread(rejection, BODY_BYTES),
        other => Error::Body(other),
    })?;
    validator.create(&spec).await.map(Json)
}

#[utoipa::path(get, path = "/v1/vms", responses((status = 200, body = [Vm]), (status = "default", body = Problem)))]
async fn list(State(validator): Shared) -> Result<Json<Vec<Vm>>, Error> {
    validator.store.vms().await.map(Json)
}

#[utoipa::path(get, path = "/v1/vms/{vm}", responses((status = 200, body = Vm), (status = "default", body = Problem)))]
async fn show(State(validator): Shared, Path(vm): Path<String>) -> Result<Json<Vm>, Error> {
    validator.store.vm(&vm).await.map(Json)
}

#[utoipa::path(post, path = "/v1/vms/{vm}/start", responses((status = 200, body = Vm), (status = "default", body = Problem)))]
async fn start(State(validator): Shared, Path(vm): Path<String>) -> Result<Json<Vm>, Error> {
    validator.request(&vm, Verb::Start).await.map(Json)
}

#[utoipa::path(post, path = "/v1/vms/{vm}/stop", responses((status = 200, body = Vm), (status = "default", body = Problem)))]
async fn stop(State(validator): Shared, Path(vm): Path<String>) -> Result<Json<Vm>, Error> {
    validator.request(&vm, Verb::Stop).await.map(Json)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    #[serde(default)]
    disks: bool,
}

#[utoipa::path(delete, path = "/v1/vms/{vm}", params(RemoveQuery), responses((status = 200, body = Vm), (status = "default", body = Problem)))]
async fn remove(
    State(validator): Shared,
    Path(vm): Path<String>,
    query: Result<Query<RemoveQuery>, QueryRejection>,
) -> Result<Json<Vm>, Error> {
    let Query(query) = query?;
    validator.request(&vm, Verb::Remove { disks: query.disks }).await.map(Json)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    after: u64,
}

#[utoipa::path(get, path = "/v1/vms/{vm}/events", params(EventsQuery), responses((status = 200, body = [VmEvent]), (status = "default", body = Problem)))]
async fn events(
    State(validator): Shared,
    Path(vm): Path<String>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Vec<VmEvent>>, Error> {
    let Query(query) = query?;
    let vm = validator.store.vm(&vm).await?;
    validator.store.events(&vm.id, query.after).await.map(Json)
}

/// Carries a call to the guest. The body is evidence or sealed, and means nothing here.
#[utoipa::path(post, path = "/v1/vms/{vm}/agent", request_body(content = [u8], content_type = "application/cbor"), responses((status = 200, body = [u8], content_type = "application/cbor"), (status = "default", body = Problem)))]
async fn agent(
    State(validator): Shared,
    Path(vm): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let body = whole(body, BODY_BYTES)?;
    let vm = validator.store.vm(&vm).await?;
    if vm.state != "running" && vm.state != "starting" {
        return Err(Error::NotRunning { id: vm.id, state: vm.state });
    }
    let answer =
        validator.host.bytes(Method::POST, &format!("/v1/vms/{}/agent", vm.id), Some(body.into())).await?;
    Ok(([(header::CONTENT_TYPE, "application/cbor")], answer).into_response())
}

/// Carries a submission to every seat and their receipts back; what they are worth, its sender finds out.
#[utoipa::path(post, path = "/v1/records", request_body(content = [u8], content_type = "application/cbor"), responses((status = 200, body = RecordsTaken), (status = "default", body = Problem)))]
async fn records(
    State(validator): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RecordsTaken>, Error> {
    validator.submit(whole(body, SubmissionRequest::MAXIMUM_BYTES)?).await.map(Json)
}

#[utoipa::path(get, path = "/v1/kms", responses((status = 200, body = KmsInfo), (status = "default", body = Problem)))]
async fn kms(State(validator): Shared) -> Result<Json<KmsInfo>, Error> {
    let roster = validator.roster_chain().await?;
    Ok(Json(KmsInfo { roster: roster.iter().map(|byte| format!("{byte:02x}")).collect() }))
}

#[utoipa::path(get, path = "/v1/host", responses((status = 200, description = "Capabilities of the host"), (status = "default", body = Problem)))]
async fn host(State(validator): Shared) -> Result<Response, Error> {
    let answer = validator.host.bytes(Method::GET, "/v1/capabilities", None).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

#[utoipa::path(head, path = "/v1/blobs/{sha256}", responses((status = 200, description = "The host has it"), (status = "default", body = Problem)))]
async fn head_blob(State(validator): Shared, Path(sha256): Path<String>) -> Result<(), Error> {
    let sha256 = blob_name(&sha256)?;
    validator.host.send(Method::HEAD, &format!("/v1/blobs/{sha256}"), "", None).await?;
    Ok(())
}

#[utoipa::path(put, path = "/v1/blobs/{sha256}", request_body(content = [u8], content_type = "application/octet-stream"), responses((status = 200, description = "The host keeps it"), (status = "default", body = Problem)))]
async fn put_blob(State(validator): Shared, Path(sha256): Path<String>, body: Body) -> Result<(), Error> {
    let sha256 = blob_name(&sha256)?;
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    validator
        .host
        .send(Method::PUT, &format!("/v1/blobs/{sha256}"), "application/octet-stream", Some(body))
        .await?;
    Ok(())
}

fn whole(body: Result<Bytes, BytesRejection>, limit_bytes: usize) -> Result<Bytes, Error> {
    body.map_err(|rejection| unread(rejection, limit_bytes))
}

/// A body that is too long, or that ended early.
fn unread(rejection: BytesRejection, limit_bytes: usize) -> Error {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::TooLong { limit_bytes },
        _ => Error::Unread(rejection),
    }
}

fn blob_name(text: &str) -> Result<&str, Error> {
    if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text);
    }
    Err(Error::Specification {
        field: "blob",
        found: text.chars().take(80).collect(),
        expected: "64 lower-case hexadecimal digits",
    })
}

/// The OpenAPI description of this interface.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Casemate validator", description = "VMs, and the messages that are carried for them"),
    paths(create, list, show, start, stop, remove, events, agent, records, kms, host, head_blob, put_blob)
)]
struct Description;

async fn openapi() -> impl IntoResponse {
    Json(Description::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_whole() {
        let text = Description::openapi().to_pretty_json().expect("a description is plain JSON");
        for call in
            ["/v1/vms/{vm}/agent", "/v1/blobs/{sha256}", "/v1/records", "VmSpec", "Problem", "Failure"]
        {
            assert!(text.contains(call), "{call} is missing");
        }
        insta::assert_snapshot!(text);
    }
}
