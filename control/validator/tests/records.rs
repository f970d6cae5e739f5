//! Does every seat get what an owner sends, and does what they answer come back unchanged?

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::StatusCode, response::IntoResponse as _, routing::post};
use casemate_api::{problem::Problem, validator::RecordsTaken};
use casemate_record::SubmissionRequest;
use casemate_validator::{Options, Validator, http};

/// A validator whose seats answer as scripted, in order, and what they were sent.
struct House {
    client: reqwest::Client,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new(answers: Vec<(StatusCode, Vec<u8>)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let mut seats = Vec::new();
        for (place, (status, body)) in answers.into_iter().enumerate() {
            let note = sent.clone();
            let answer = move |received: Bytes| async move {
                note.lock().unwrap().push(received.to_vec());
                (status, body).into_response()
            };
            let socket = folder.path().join(format!("seat-{place}.sock"));
            serve(&socket, Router::new().route("/v1/records", post(answer)));
            seats.push(format!("unix:{}", socket.display()));
        }
        seats.push(format!("unix:{}", folder.path().join("nobody.sock").display()));
        let options = Options {
            state: folder.path().join("state"),
            host: "unix:/nowhere".into(),
            seats,
            token: None,
            accept_image_paths: false,
        };
        let validator = Validator::open(&options).await.unwrap();
        let socket = folder.path().join("validator.sock");
        serve(&socket, http::router(validator));
        let client = reqwest::Client::builder().unix_socket(socket).build().unwrap();
        House { client, sent, _folder: folder }
    }

    async fn submit(&self, body: Vec<u8>) -> (u16, Vec<u8>) {
        let call = self.client.post("http://localhost/v1/records").body(body).send();
        let answer = call.await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }
}

fn refusal(code: &str) -> (StatusCode, Vec<u8>) {
    let problem = Problem { code: code.into(), message: "no".into(), hint: Some("do".into()) };
    (StatusCode::UNPROCESSABLE_ENTITY, serde_json::to_vec(&problem).unwrap())
}

fn serve(socket: &Path, router: Router) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
}

#[tokio::test]
async fn every_seat_is_asked_and_receipts_come_back_as_they_were() {
    let receipts = [vec![0x82, 1, 2], vec![0xff, 0]];
    let house = House::new(vec![
        (StatusCode::OK, receipts[0].clone()),
        refusal("record_refused"),
        (StatusCode::OK, receipts[1].clone()),
        (StatusCode::OK, vec![7; 5000]),
    ])
    .await;
    let (status, body) = house.submit(b"what the owner sent".to_vec()).await;
    assert_eq!(status, 200);
    let taken: RecordsTaken = serde_json::from_slice(&body).unwrap();
    assert_eq!(taken.receipts, ["820102", "ff00"]);
    let refusals: Vec<_> =
        taken.refusals.iter().map(|refusal| (refusal.seat, refusal.problem.code.as_str())).collect();
    assert_eq!(refusals, [(2, "record_refused"), (4, "unexpected_answer"), (5, "unreachable")]);
    assert_eq!(*house.sent.lock().unwrap(), vec![b"what the owner sent".to_vec(); 4]);
}

#[tokio::test]
async fn where_no_seat_took_it_the_first_ones_own_words_come_back() {
    let house = House::new(vec![refusal("record_refused"), refusal("too_often")]).await;
    let (status, body) = house.submit(vec![1]).await;
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, problem.code.as_str(), problem.hint.as_deref()), (422, "record_refused", Some("do")));
}

#[tokio::test]
async fn what_no_seat_would_read_is_not_carried() {
    let house = House::new(vec![(StatusCode::OK, vec![1])]).await;
    let (status, body) = house.submit(vec![0; SubmissionRequest::MAXIMUM_BYTES + 1]).await;
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, problem.code.as_str()), (413, "body_too_large"));
    let limit = format!("found more than the {} bytes", SubmissionRequest::MAXIMUM_BYTES);
    assert!(problem.message.starts_with(&limit), "{}", problem.message);
    assert!(house.sent.lock().unwrap().is_empty());
}
