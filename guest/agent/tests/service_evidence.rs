//! What a service gets at its socket: requests over a real one, with one thing changed at a time.

mod support;

use std::cell::{Cell, RefCell};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use casemate_agent::limiter::Limiter;
use casemate_agent::service_evidence::{Guest, Refusal, attend, listen};
use casemate_agent::workload::Workload;
use casemate_api::problem::Problem;
use casemate_evidence::ReportData;
use casemate_release::report_data::{self, MAXIMUM_CHOSEN_BYTES, Purpose};
use casemate_workload::manifest::ImageConfig;
use support::handover;

/// Gives the report data in place of a bundle; its clock stands still.
#[derive(Default)]
struct Recorder {
    without_lease: bool,
    broken: bool,
    uptime_ms: Cell<u64>,
    asked: RefCell<Vec<ReportData>>,
}

impl Guest for Recorder {
    fn has_lease(&self) -> bool {
        !self.without_lease
    }

    fn evidence(&self, report_data: &ReportData) -> Result<Vec<u8>, Refusal> {
        self.asked.borrow_mut().push(*report_data);
        if self.broken { Err(Refusal::NoEvidence) } else { Ok(report_data.as_bytes().to_vec()) }
    }

    fn uptime_ms(&self) -> u64 {
        self.uptime_ms.get()
    }
}

/// Status and body of the answer.
fn exchange(guest: &Recorder, limit: &mut Limiter, request: &[u8]) -> (u16, Vec<u8>) {
    let (mut client, mut server) = UnixStream::pair().unwrap();
    client.write_all(request).unwrap();
    attend(&mut server, guest, limit);
    drop(server);
    let mut answer = Vec::new();
    // A body that was refused unread resets the connection once the answer is read.
    let _ = client.read_to_end(&mut answer);
    let head_bytes = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..head_bytes].to_vec()).unwrap();
    let body = answer.split_off(head_bytes + 4);
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    (head.split(' ').nth(1).expect("a status").parse().unwrap(), body)
}

fn post(chosen: &[u8]) -> Vec<u8> {
    let head =
        format!("POST /v1/evidence HTTP/1.1\r\nHost: guest\r\nContent-Length: {}\r\n\r\n", chosen.len());
    [head.as_bytes(), chosen].concat()
}

fn full() -> Limiter {
    Limiter::new(100, 1_000, 0)
}

fn code(body: &[u8]) -> String {
    serde_json::from_slice::<Problem>(body).expect("a problem").code
}

#[test]
fn chosen_bytes_are_spoken_for_under_their_own_purpose() {
    let guest = Recorder::default();
    let (status, body) = exchange(&guest, &mut full(), &post(b"hello"));
    assert_eq!(
        (status, body.as_slice()),
        (200, report_data::application(b"hello").unwrap().as_bytes().as_slice())
    );
    assert_eq!(guest.asked.borrow().len(), 1);
}

#[test]
fn each_refusal_has_its_name_and_asks_nothing_of_the_hardware() {
    let session = report_data::report_data(Purpose::Session, &[b"nonce"]);
    let long = vec![b'x'; MAXIMUM_CHOSEN_BYTES + 1];
    let table: [(&[u8], u16, &str); 9] = [
        (&post(session.as_bytes()), 403, "reserved"),
        (&post(b"CSM1"), 403, "reserved"),
        (&post(b""), 400, "empty"),
        (&post(&long), 413, "too_long"),
        (b"GET /v1/evidence HTTP/1.1\r\n\r\n", 404, "not_found"),
        (b"POST /v1/evidence/ HTTP/1.1\r\nContent-Length: 1\r\n\r\na", 404, "not_found"),
        (b"POST /v1/evidence HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
        (b"POST /v1/evidence HTTP/1.0\r\nContent-Length: 1\r\n\r\na", 400, "malformed"),
        (b"no request\r\n\r\n", 400, "malformed"),
    ];
    for (request, status, expected) in table {
        let guest = Recorder::default();
        let (found, body) = exchange(&guest, &mut full(), request);
        assert_eq!((found, code(&body).as_str()), (status, expected));
        assert!(guest.asked.borrow().is_empty(), "{expected}");
    }
    let guest = Recorder { without_lease: true, ..Recorder::default() };
    let (status, body) = exchange(&guest, &mut full(), &post(b"x"));
    assert_eq!((status, code(&body).as_str()), (503, "no_lease"));
    assert!(guest.asked.borrow().is_empty());
    let guest = Recorder { broken: true, ..Recorder::default() };
    let (status, body) = exchange(&guest, &mut full(), &post(b"x"));
    assert_eq!((status, code(&body).as_str()), (503, "no_evidence"));
}

#[test]
fn a_service_that_asks_too_often_is_told_so_and_comes_back() {
    let guest = Recorder::default();
    let mut limit = Limiter::new(2, 1_000, 0);
    let mut ask = || exchange(&guest, &mut limit, &post(b"x")).0;
    assert_eq!([ask(), ask(), ask()], [200, 200, 429]);
    guest.uptime_ms.set(1_000);
    assert_eq!([ask(), ask()], [200, 429]);
}

#[test]
fn the_longest_bytes_are_taken() {
    let (status, _) = exchange(&Recorder::default(), &mut full(), &post(&[7; MAXIMUM_CHOSEN_BYTES]));
    assert_eq!(status, 200);
}

#[test]
fn any_user_of_the_container_may_connect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence.sock");
    let _listener = listen(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn only_services_that_the_manifest_names_may_ask() {
    let compose = "services:\n  a: {image: a}\n  b: {image: b}\nx-casemate: {evidence: [b]}\n";
    let workload = Workload::new(handover(compose, &ImageConfig::default(), &[])).unwrap();
    let may: Vec<bool> =
        workload.services().into_iter().map(|service| workload.may_ask_for_evidence(service)).collect();
    assert_eq!(may, [false, true]);
}
