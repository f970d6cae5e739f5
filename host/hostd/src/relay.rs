//! What travels between a guest, the seats and the outside?
//!
//! Frames are opaque here: calls to a seat go to that seat's `/v1/guest` as they are, calls to the
//! agent come from the API as they are, and notices are kept for whoever asks. A guest is hostile to
//! its host as well: its calls are bounded in size, rate, number and time ([`Limits`]), and a guest
//! that only sends rubbish loses its relay, nothing else.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use casemate_api::host::{NoticedProgress, SeatAddress};
use casemate_api::progress::Progress;
use casemate_canon::from_cbor;
use casemate_crypto::sign::PublicKey;
use casemate_transport::asynchronous::{End, Handler, Peer};
use casemate_transport::{CallError, Destination, FailureCode, FrameError, Limits, MAX_BODY_BYTES};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// One guest's relay, through every connection that it has.
pub struct Relay {
    desk: Arc<Desk>,
    peer: watch::Sender<Option<Peer>>,
}

impl Relay {
    /// For a guest that may call these seats.
    pub fn new(seats: &[SeatAddress]) -> Self {
        let seats = seats.iter().map(|seat| (seat.public_key, Seat::at(&seat.url))).collect();
        let desk = Desk { seats, heard: Mutex::default(), changed: watch::Sender::new(0) };
        Self { desk: Arc::new(desk), peer: watch::Sender::new(None) }
    }

    /// Talks on `stream` until it ends.
    pub async fn serve(&self, stream: UnixStream) -> End {
        let peer = Peer::start(stream, limits(), self.desk.clone());
        self.peer.send_replace(Some(peer.clone()));
        let end = peer.ended().await;
        self.peer.send_replace(None);
        end
    }

    /// Asks the guest's agent.
    ///
    /// # Errors
    /// As [`Peer::call`]; without a connection within `timeout`, [`CallError::Closed`].
    pub async fn call_agent(&self, body: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, CallError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut peers = self.peer.subscribe();
        let connected = async { peers.wait_for(Option::is_some).await.ok().and_then(|peer| peer.clone()) };
        let peer =
            tokio::time::timeout_at(deadline, connected).await.ok().flatten().ok_or(CallError::Closed)?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        peer.call(Destination::Agent, body, left).await
    }

    /// What the guest said of itself, oldest first; unverified.
    pub fn notices(&self) -> Vec<NoticedProgress> {
        self.heard().notices.iter().cloned().collect()
    }

    /// True once anything came that was a frame.
    pub fn has_heard(&self) -> bool {
        self.heard().frames > 0
    }

    /// How much came that was no frame of this protocol.
    pub fn malformed_frames(&self) -> u64 {
        self.heard().malformed
    }

    /// Changes with every notice.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.desk.changed.subscribe()
    }

    /// Forgets what an earlier run of the guest said.
    pub fn forget(&self) {
        *self.heard() = Heard::default();
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.desk.heard.lock().expect("nothing panics while holding it")
    }
}

/// Bounds on what one guest may ask for.
pub fn limits() -> Limits {
    Limits { incoming_calls: 16, frames_per_second: 200, ..Limits::default() }
}

/// Notices kept per VM.
pub const KEPT_NOTICES: usize = 64;

const SEAT_TIME: Duration = Duration::from_secs(20);

struct Desk {
    seats: HashMap<PublicKey, Seat>,
    heard: Mutex<Heard>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Heard {
    notices: VecDeque<NoticedProgress>,
    frames: u64,
    malformed: u64,
}

impl Handler for Desk {
    async fn call(&self, to: Destination, body: Vec<u8>) -> Result<Vec<u8>, FailureCode> {
        self.heard.lock().expect("nothing panics while holding it").frames += 1;
        let Destination::Seat(key) = to else { return Err(FailureCode::UnknownDestination) };
        let Some(seat) = self.seats.get(&key) else { return Err(FailureCode::UnknownDestination) };
        let size_bytes = body.len();
        let answer = tokio::time::timeout(SEAT_TIME, seat.post(body)).await;
        let answer = answer.unwrap_or(Err(FailureCode::TimedOut));
        match &answer {
            Ok(answer) => {
                tracing::debug!(seat = %key.short(), size_bytes, answer_bytes = answer.len(), "seat answered")
            }
            Err(code) => tracing::info!(seat = %key.short(), size_bytes, %code, "seat did not answer"),
        }
        answer
    }

    fn notice(&self, body: Vec<u8>) {
        let progress = from_cbor::<Progress>(&body, Progress::MAXIMUM_BYTES);
        let mut heard = self.heard.lock().expect("nothing panics while holding it");
        heard.frames += 1;
        match progress {
            Ok(progress) => {
                if heard.notices.len() >= KEPT_NOTICES {
                    heard.notices.pop_front();
                }
                heard.notices.push_back(NoticedProgress { at_ms: now_ms(), progress });
            }
            Err(_) => heard.malformed += 1,
        }
        drop(heard);
        self.changed.send_modify(|number| *number += 1);
    }

    fn malformed(&self, error: &FrameError) {
        self.heard.lock().expect("nothing panics while holding it").malformed += 1;
        tracing::info!(%error, "a guest sent bytes that are no frame");
    }
}

/// Where one seat answers.
enum Seat {
    Http { client: reqwest::Client, url: String },
    Unusable,
}

impl Seat {
    fn at(url: &str) -> Self {
        let builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let (builder, url) = match url.strip_prefix("unix:") {
            Some(path) => (builder.unix_socket(PathBuf::from(path)), "http://seat/v1/guest".to_owned()),
            None => (builder, format!("{}/v1/guest", url.trim_end_matches('/'))),
        };
        match builder.build() {
            Ok(client) => Self::Http { client, url },
            Err(_) => Self::Unusable,
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<Vec<u8>, FailureCode> {
        let Self::Http { client, url } = self else { return Err(FailureCode::Unreachable) };
        let request = client.post(url).header("content-type", "application/cbor").body(body);
        let mut response = request.send().await.map_err(|_| FailureCode::Unreachable)?;
        if !response.status().is_success() {
            let refused = response.status().is_client_error();
            return Err(if refused { FailureCode::Refused } else { FailureCode::Unreachable });
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| FailureCode::Unreachable)? {
            if answer.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(FailureCode::AnswerTooLarge);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

/// True if a seat can be asked at `url`.
pub fn is_seat_url(url: &str) -> bool {
    match url.strip_prefix("unix:") {
        Some(path) => Path::new(path).is_absolute(),
        None => reqwest::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme())),
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
