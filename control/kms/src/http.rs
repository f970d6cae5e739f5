//! How is the seat reached?
//!
//! | Call | Body | Answer |
//! |---|---|---|
//! | `POST /v1/guest` | CBOR `SeatRequest`, at most 512 KiB | CBOR `SeatResponse` |
//! | `POST /v1/records` | CBOR `SubmissionRequest`, at most 128 KiB | CBOR `Signed<SubmissionReceipt>` |
//! | `GET /v1/roster` | | CBOR `RosterChain` |
//! | `GET /healthz` | | `ok` |
//!
//! A refusal to a guest is a signed answer with status 200; other failures are a JSON `Problem`. There is
//! no TLS: everything that matters is sealed or signed end to end, and the seat listens on loopback or a
//! Unix socket only.

use std::{future::Future, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use casemate_api::problem::Problem;
use casemate_record::SubmissionRequest;
use casemate_release::message::MAXIMUM_REQUEST_BYTES;

use crate::{Error, Options, Service, StateFolder, TooMany};

const CALL_LIMIT: Duration = Duration::from_secs(30);
const CBOR: &str = "application/cbor";

/// Where to listen: `unix:PATH` or a loopback address with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket, mode 0600 from its first moment; one that nobody listens on any more is replaced.
    Unix(PathBuf),
    /// A loopback address.
    Loopback(SocketAddr),
}

impl FromStr for Listen {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Listen { text: text.into() };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(refused()) } else { Ok(Listen::Unix(path.into())) };
        }
        let address: SocketAddr = text.parse().map_err(|_| refused())?;
        if address.ip().is_loopback() { Ok(Listen::Loopback(address)) } else { Err(refused()) }
    }
}

/// Serves the folder's seat until `stop` is ready.
///
/// # Errors
/// [`Error`] if the seat does not start.
pub async fn serve(
    folder: StateFolder,
    options: Options,
    listen: Listen,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let service = Service::open(&folder, options).await?;
    let routes = routes(service);
    match listen {
        Listen::Unix(path) => {
            let refused = |source| Error::File { path: path.clone(), source };
            let listener = casemate_transport::private::listen(&path).map_err(refused)?;
            listener.set_nonblocking(true).map_err(refused)?;
            let listener = tokio::net::UnixListener::from_std(listener).map_err(refused)?;
            tracing::info!(socket = %path.display(), "listening");
            axum::serve(listener, routes).with_graceful_shutdown(stop).await.map_err(refused)
        }
        Listen::Loopback(address) => {
            let refused = |source| Error::File { path: address.to_string().into(), source };
            let listener = tokio::net::TcpListener::bind(address).await.map_err(refused)?;
            let address = listener.local_addr().map_err(refused)?;
            tracing::info!(%address, "listening");
            axum::serve(listener, routes).with_graceful_shutdown(stop).await.map_err(refused)
        }
    }
}

fn routes(service: Service) -> Router {
    Router::new()
        .route("/v1/guest", post(guest).layer(DefaultBodyLimit::max(MAXIMUM_REQUEST_BYTES)))
        .route("/v1/records", post(records).layer(DefaultBodyLimit::max(SubmissionRequest::MAXIMUM_BYTES)))
        .route("/v1/roster", get(roster))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(Arc::new(service))
}

type Body = Result<Bytes, BytesRejection>;

async fn guest(State(service): State<Arc<Service>>, body: Body) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unread(&rejection, "request_too_large", MAXIMUM_REQUEST_BYTES),
    };
    match tokio::time::timeout(CALL_LIMIT, service.answer(&body)).await {
        Ok(Ok(answer)) => ([(header::CONTENT_TYPE, CBOR)], answer).into_response(),
        Ok(Err(Error::TooMany(why))) => too_many(&why),
        Ok(Err(error)) => broken(&error),
        Err(_) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "seat_slow",
            "the seat did not decide in 30 s".to_owned(),
            "ask again with a new challenge",
        ),
    }
}

async fn records(State(service): State<Arc<Service>>, body: Body) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unread(&rejection, "record_too_large", SubmissionRequest::MAXIMUM_BYTES),
    };
    match service.submit(&body).await {
        Ok(receipt) => ([(header::CONTENT_TYPE, CBOR)], receipt.to_bytes()).into_response(),
        Err(error @ (Error::Store(_) | Error::Stored { .. } | Error::NotErased { .. })) => broken(&error),
        Err(Error::TooMany(why)) => too_many(&why),
        Err(Error::Full(full)) => {
            tracing::warn!(code = full.code(), %full, "record refused");
            problem(
                StatusCode::INSUFFICIENT_STORAGE,
                full.code(),
                full.to_string(),
                "nothing was taken, and nothing recorded before is lost",
            )
        }
        Err(error) => {
            tracing::warn!(%error, "record refused");
            problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "record_refused",
                error.to_string(),
                "correct the record and sign it again with a higher number",
            )
        }
    }
}

async fn roster(State(service): State<Arc<Service>>) -> Response {
    ([(header::CONTENT_TYPE, CBOR)], service.chain().to_bytes()).into_response()
}

fn too_many(why: &TooMany) -> Response {
    problem(StatusCode::TOO_MANY_REQUESTS, why.code(), why.to_string(), "try again in a second")
}

/// A body that is too long, or that ended early.
fn unread(rejection: &BytesRejection, too_large: &str, limit: usize) -> Response {
    let status = rejection.status();
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => problem(
            status,
            too_large,
            format!("found more than the {limit} bytes that this call takes"),
            "send less: of a record its policy is the largest part",
        ),
        _ => problem(status, "body", rejection.to_string(), "send the whole body again"),
    }
}

/// What broke is in the seat's log; callers learn only that it did.
fn broken(error: &Error) -> Response {
    tracing::error!(%error, "call failed");
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "seat_broken",
        "the seat could not decide; nothing was given or taken".to_owned(),
        "the seat's operator finds the reason in its log",
    )
}

fn problem(status: StatusCode, code: &str, message: String, hint: &str) -> Response {
    (status, Json(Problem { code: code.to_owned(), message, hint: Some(hint.to_owned()) })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_sockets_are_listened_on() {
        assert_eq!("unix:/run/x".parse::<Listen>().unwrap(), Listen::Unix("/run/x".into()));
        assert!(matches!("127.0.0.1:0".parse(), Ok(Listen::Loopback(_))));
        assert!(matches!("[::1]:1".parse(), Ok(Listen::Loopback(_))));
        for bad in ["0.0.0.0:7070", "unix:", "192.0.2.1:1", "localhost:1", ""] {
            assert!(matches!(bad.parse::<Listen>(), Err(Error::Listen { .. })), "{bad}");
        }
    }
}
