//! Do a guest's threads and a host's tasks understand each other, and survive each other's faults?

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use casemate_transport::asynchronous::{self, End};
use casemate_transport::{
    CallError, Decoder, Destination, Event, FailureCode, Frame, Handler, Limits, Link, Mark, Peer, encode,
    encode_mark,
};

const LONG: Duration = Duration::from_secs(10);

struct Echo;

impl Handler for Echo {
    fn call(&self, to: Destination, body: Vec<u8>) -> Result<Vec<u8>, FailureCode> {
        match to {
            Destination::Agent => Ok(body),
            _ => Err(FailureCode::UnknownDestination),
        }
    }
}

struct Host {
    notices: std::sync::Mutex<Sender<Vec<u8>>>,
    delay: Duration,
}

impl asynchronous::Handler for Host {
    async fn call(&self, to: Destination, mut body: Vec<u8>) -> Result<Vec<u8>, FailureCode> {
        tokio::time::sleep(self.delay).await;
        match to {
            Destination::Seat(_) => {
                body.reverse();
                Ok(body)
            }
            Destination::Agent => Err(FailureCode::NotNow),
        }
    }

    fn notice(&self, body: Vec<u8>) {
        self.notices.lock().unwrap().send(body).unwrap();
    }
}

fn host(delay: Duration) -> (Arc<Host>, std::sync::mpsc::Receiver<Vec<u8>>) {
    let (notices, heard) = channel();
    (Arc::new(Host { notices: notices.into(), delay }), heard)
}

fn asynchronous_end(stream: UnixStream, limits: Limits, host: Arc<Host>) -> asynchronous::Peer {
    stream.set_nonblocking(true).unwrap();
    asynchronous::Peer::start(tokio::net::UnixStream::from_std(stream).unwrap(), limits, host)
}

fn seat() -> Destination {
    Destination::Seat([5; 64].into())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_call_and_notices_arrive() {
    let (near, far) = UnixStream::pair().unwrap();
    let (handler, heard) = host(Duration::ZERO);
    let host = asynchronous_end(far, Limits::default(), handler);
    let guest = Peer::start(Link::stream(near), Limits::default(), Arc::new(Echo)).unwrap();

    let asking = guest.clone();
    let reply = tokio::task::spawn_blocking(move || asking.call(seat(), vec![1, 2, 3], LONG)).await.unwrap();
    assert_eq!(reply.unwrap(), [3, 2, 1]);
    assert_eq!(host.call(Destination::Agent, vec![7; 500_000], LONG).await.unwrap(), [7; 500_000]);
    assert!(matches!(
        host.call(seat(), vec![], LONG).await,
        Err(CallError::Failed(FailureCode::UnknownDestination))
    ));
    guest.notify(b"news".to_vec()).unwrap();
    assert_eq!(heard.recv_timeout(LONG).unwrap(), b"news");

    drop(guest);
    assert_eq!(tokio::time::timeout(LONG, host.ended()).await.unwrap(), End::Closed);
    assert!(matches!(host.call(Destination::Agent, vec![], LONG).await, Err(CallError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_are_told_apart() {
    let (near, far) = UnixStream::pair().unwrap();
    let (handler, _heard) = host(Duration::ZERO);
    let host = asynchronous_end(far, Limits::default(), handler);
    let _guest = Peer::start(Link::stream(near), Limits::default(), Arc::new(Echo)).unwrap();
    let calls: Vec<_> = (0..16_u8)
        .map(|number| {
            let host = host.clone();
            tokio::spawn(async move { (number, host.call(Destination::Agent, vec![number], LONG).await) })
        })
        .collect();
    for call in calls {
        let (number, reply) = call.await.unwrap();
        assert_eq!(reply.unwrap(), [number]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_a_timeout_and_is_then_ignored() {
    let (near, far) = UnixStream::pair().unwrap();
    let (handler, _heard) = host(Duration::from_millis(300));
    let _host = asynchronous_end(far, Limits::default(), handler);
    let guest = Peer::start(Link::stream(near), Limits::default(), Arc::new(Echo)).unwrap();
    let results = tokio::task::spawn_blocking(move || {
        let late = guest.call(seat(), vec![1], Duration::from_millis(50));
        (late, guest.call(seat(), vec![2, 3], LONG))
    });
    let (late, next) = results.await.unwrap();
    assert!(matches!(late, Err(CallError::TimedOut { timeout_ms: 50 })));
    assert_eq!(next.unwrap(), [3, 2]);
}

/// A guest made of raw bytes.
struct RawGuest {
    stream: UnixStream,
    decoder: Decoder,
}

impl RawGuest {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        let mut guest = Self { stream, decoder: Decoder::new() };
        guest.send(&encode_mark(Mark::Ask));
        guest
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn call(&mut self, id: u64) {
        self.send(&encode(&Frame::Call { id, to: seat(), body: vec![1, 2] }).unwrap());
    }

    fn next_frame(&mut self) -> Frame {
        loop {
            match self.decoder.next_event().unwrap() {
                Some(Event::Frame(frame)) => return frame,
                Some(Event::Mark { .. }) => {}
                None => {
                    let mut chunk = [0; 4096];
                    let length = self.stream.read(&mut chunk).unwrap();
                    assert_ne!(length, 0, "the host closed the stream");
                    self.decoder.push(&chunk[..length]);
                }
            }
        }
    }
}

async fn against_raw_guest(
    limits: Limits,
    delay: Duration,
    attack: impl FnOnce(&mut RawGuest) + Send + 'static,
) -> asynchronous::Peer {
    let (near, far) = UnixStream::pair().unwrap();
    let (handler, _heard) = host(delay);
    let host = asynchronous_end(far, limits, handler);
    tokio::task::spawn_blocking(move || attack(&mut RawGuest::new(near))).await.unwrap();
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_or_malformed_frame_costs_only_itself() {
    against_raw_guest(Limits::default(), Duration::ZERO, |guest| {
        for rubbish in [&[0xf0, 0, 0, 0, 1, 2, 3][..], &[0, 0, 0, 0], &[0, 0, 0, 2, 0x82, 0x77]] {
            guest.send(rubbish);
            guest.send(&encode_mark(Mark::Answer));
            guest.call(9);
            assert_eq!(guest.next_frame(), Frame::Reply { id: 9, body: vec![2, 1] });
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_malformed_frames_end_the_stream() {
    let limits = Limits { malformed_frames: 3, ..Limits::default() };
    let host = against_raw_guest(limits, Duration::ZERO, |guest| {
        // The host hangs up at the fourth, perhaps before all of it is written or read.
        for _ in 0..4 {
            let _ = guest.stream.write_all(&[0, 0, 0, 0]);
            let _ = guest.stream.write_all(&encode_mark(Mark::Answer));
        }
        let _ = guest.stream.read_to_end(&mut Vec::new());
    })
    .await;
    assert_eq!(tokio::time::timeout(LONG, host.ended()).await.unwrap(), End::Malformed { count: 4 });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_use_is_refused_and_calls_beyond_the_limit_are_busy() {
    let limits = Limits { incoming_calls: 2, ..Limits::default() };
    against_raw_guest(limits, Duration::from_millis(400), |guest| {
        guest.call(1);
        guest.call(1);
        assert_eq!(guest.next_frame(), Frame::Failure { id: 1, code: FailureCode::DuplicateId });
        guest.call(2);
        guest.call(3);
        assert_eq!(guest.next_frame(), Frame::Failure { id: 3, code: FailureCode::Busy });
        assert!(matches!(guest.next_frame(), Frame::Reply { id: 1 | 2, .. }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_never_ends_is_given_up() {
    let limits = Limits { frame_time: Duration::from_millis(100), ..Limits::default() };
    against_raw_guest(limits, Duration::ZERO, |guest| {
        let frame = encode(&Frame::Notice { body: vec![0; 1000] }).unwrap();
        guest.send(&frame[..500]);
        std::thread::sleep(Duration::from_millis(300));
        // Without the limit these bytes would still belong to the unfinished frame.
        guest.send(&[0; 600]);
        guest.send(&encode_mark(Mark::Answer));
        guest.call(4);
        assert_eq!(guest.next_frame(), Frame::Reply { id: 4, body: vec![2, 1] });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_slowed_down_and_still_answered() {
    let limits = Limits { frames_per_second: 100, ..Limits::default() };
    against_raw_guest(limits, Duration::ZERO, |guest| {
        let began = Instant::now();
        for id in 0..150 {
            guest.call(id);
            guest.next_frame();
        }
        assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_in_the_guest_interrupts_calls_to_the_old_one() {
    let (near, far) = UnixStream::pair().unwrap();
    let (handler, _heard) = host(Duration::ZERO);
    let host = asynchronous_end(far, Limits::default(), handler);
    let mut guest = RawGuest::new(near);
    let calling = host.clone();
    let call = tokio::spawn(async move { calling.call(Destination::Agent, vec![1], LONG).await });
    tokio::task::spawn_blocking(move || {
        assert!(matches!(guest.next_frame(), Frame::Call { .. }));
        guest.send(&encode_mark(Mark::Ask));
        guest.call(1);
        guest.next_frame();
    })
    .await
    .unwrap();
    assert!(matches!(call.await.unwrap(), Err(CallError::Interrupted)));
}
