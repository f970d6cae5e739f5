//! Does a guest reach its seats through the relay and nothing else, whatever either side does?

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use casemate_api::host::SeatAddress;
use casemate_api::progress::{Phase, Progress};
use casemate_canon::to_cbor;
use casemate_hostd::relay::{KEPT_NOTICES, Relay};
use casemate_transport::{CallError, Destination, FailureCode, Handler, Limits, Link, MAX_BODY_BYTES, Peer};

const LONG: Duration = Duration::from_secs(20);

struct Agent;

impl Handler for Agent {
    fn call(&self, _: Destination, mut body: Vec<u8>) -> Result<Vec<u8>, FailureCode> {
        body.push(b'!');
        Ok(body)
    }
}

/// A seat that answers by what it is asked.
async fn seat(socket: &Path) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let answer = async |body: Bytes| match &body[..] {
        b"refuse" => (StatusCode::FORBIDDEN, Vec::new()),
        b"break" => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
        b"flood" => (StatusCode::OK, vec![0; MAX_BODY_BYTES + 1]),
        other => (StatusCode::OK, other.iter().rev().copied().collect()),
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/guest", post(answer))).await });
}

fn key(byte: u8) -> casemate_crypto::sign::PublicKey {
    [byte; 64].into()
}

/// A relay with seat 1, which answers, and seat 2, which is not there; and a guest on its other end.
async fn relay(folder: &Path) -> (Arc<Relay>, Peer) {
    let socket = folder.join("seat.sock");
    seat(&socket).await;
    let at =
        |byte, path: &Path| SeatAddress { public_key: key(byte), url: format!("unix:{}", path.display()) };
    let relay = Arc::new(Relay::new(&[at(1, &socket), at(2, &folder.join("absent.sock"))]));
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let far = tokio::net::UnixStream::from_std(far).unwrap();
    let serving = relay.clone();
    tokio::spawn(async move { serving.serve(far).await });
    (relay, Peer::start(Link::stream(near), Limits::default(), Arc::new(Agent)).unwrap())
}

async fn ask(guest: &Peer, to: Destination, body: &[u8]) -> Result<Vec<u8>, CallError> {
    let (guest, body) = (guest.clone(), body.to_vec());
    tokio::task::spawn_blocking(move || guest.call(to, body, LONG)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_of_a_seat_has_a_code_and_the_relay_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, guest) = relay(folder.path()).await;
    for (to, body, code) in [
        (Destination::Seat(key(2)), &b"x"[..], FailureCode::Unreachable),
        (Destination::Seat(key(3)), b"x", FailureCode::UnknownDestination),
        (Destination::Agent, b"x", FailureCode::UnknownDestination),
        (Destination::Seat(key(1)), b"refuse", FailureCode::Refused),
        (Destination::Seat(key(1)), b"break", FailureCode::Unreachable),
        (Destination::Seat(key(1)), b"flood", FailureCode::AnswerTooLarge),
    ] {
        let Err(CallError::Failed(found)) = ask(&guest, to, body).await else { panic!("{code} expected") };
        assert_eq!(found, code);
        assert_eq!(ask(&guest, Destination::Seat(key(1)), b"abc").await.unwrap(), b"cba");
    }
    assert_eq!(relay.call_agent(b"hello".to_vec(), LONG).await.unwrap(), b"hello!");
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_kept_within_bounds_and_nonsense_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, guest) = relay(folder.path()).await;
    guest.notify(b"nonsense".to_vec()).unwrap();
    for uptime_ms in 0..KEPT_NOTICES as u64 + 10 {
        let body = to_cbor(&Progress { uptime_ms, phase: Phase::Booted });
        while matches!(guest.notify(body.clone()), Err(CallError::Busy { .. })) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let last = KEPT_NOTICES as u64 + 9;
    let mut changes = relay.changes();
    let arrived = async {
        while relay.notices().last().is_none_or(|notice| notice.progress.uptime_ms != last) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LONG, arrived).await.unwrap();
    assert_eq!(relay.notices().len(), KEPT_NOTICES);
    assert_eq!(relay.malformed_frames(), 1);
    relay.forget();
    assert!(relay.notices().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_not_there_is_not_awaited_for_ever() {
    let relay = Relay::new(&[]);
    let silent = relay.call_agent(Vec::new(), Duration::from_millis(50)).await;
    assert!(matches!(silent, Err(CallError::Closed)));
}
