//! How does a service talk on the same stream, with tasks?
//!
//! The same frames, limits and errors as [`crate::Peer`].

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::frame::{Decoder, Destination, Event, FailureCode, Frame, FrameError, Mark, encode, encode_mark};
use crate::limits::{Limits, Pace};
use crate::peer::CallError;

/// Answers what the other side asks.
pub trait Handler: Send + Sync + 'static {
    /// Answers a call, as one of at most [`Limits::incoming_calls`] at a time.
    fn call(
        &self,
        to: Destination,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, FailureCode>> + Send;

    /// Hears a notice; runs between two reads, so it must be quick.
    fn notice(&self, body: Vec<u8>);

    /// Hears of bytes that were no frame. The stream continues at the next mark.
    fn malformed(&self, error: &FrameError) {
        let _ = error;
    }
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// The other side closed it, or the kernel did.
    #[error("the other side closed the stream")]
    Closed,
    /// Too much of what came was no frame.
    #[error("{count} malformed frames; the other side does not speak this protocol")]
    Malformed {
        /// How many.
        count: u32,
    },
    /// The last [`Peer`] was dropped.
    #[error("no longer needed")]
    Dropped,
}

/// One end of a stream, shared by any number of callers. Closes when the last clone is dropped.
#[derive(Clone)]
pub struct Peer {
    shared: Arc<Shared>,
    _owner: Arc<watch::Sender<()>>,
    end: watch::Receiver<Option<End>>,
}

impl Peer {
    /// Starts talking on `stream`, in tasks of the current runtime.
    pub fn start<S, H>(stream: S, limits: Limits, handler: Arc<H>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        H: Handler,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (frames, queue) = mpsc::channel(limits.queued_frames);
        let (owner, owned) = watch::channel(());
        let (ended, end) = watch::channel(None);
        let shared = Arc::new(Shared {
            frames,
            limits,
            open: Mutex::default(),
            answering: Mutex::default(),
            answerers: Arc::new(Semaphore::new(limits.incoming_calls)),
            next_id: AtomicU64::new(RandomState::new().build_hasher().finish() >> 1),
            answer_due: AtomicBool::new(false),
            met: AtomicBool::new(false),
            meeting: Notify::new(),
        });
        let task = shared.clone();
        tokio::spawn(async move {
            let mut owned = owned;
            let end = tokio::select! {
                end = task.clone().read_all_frames(reader, handler) => end,
                () = task.write_all_frames(writer, queue) => End::Closed,
                _ = owned.changed() => End::Dropped,
            };
            task.interrupt_calls();
            let _ = ended.send(Some(end));
        });
        Self { shared, _owner: Arc::new(owner), end }
    }

    /// Asks `to` and waits at most `timeout` for the answer.
    ///
    /// # Errors
    /// Each variant of [`CallError`].
    pub async fn call(
        &self,
        to: Destination,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, CallError> {
        if self.end.borrow().is_some() {
            return Err(CallError::Closed);
        }
        let shared = &self.shared;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let bytes = encode(&Frame::Call { id, to, body })?;
        let (answer, answered) = oneshot::channel();
        {
            let mut open = lock(&shared.open);
            if open.len() >= shared.limits.outgoing_calls {
                return Err(CallError::Busy { maximum: shared.limits.outgoing_calls });
            }
            open.insert(id, answer);
        }
        let _forget = Forget { shared, id };
        shared.frames.try_send(bytes).map_err(|error| shared.not_queued(&error))?;
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => {
                let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                Err(CallError::TimedOut { timeout_ms })
            }
        }
    }

    /// Tells the other side something that nobody answers.
    ///
    /// # Errors
    /// [`CallError::Frame`], [`CallError::Busy`], [`CallError::Closed`].
    pub fn notify(&self, body: Vec<u8>) -> Result<(), CallError> {
        let bytes = encode(&Frame::Notice { body })?;
        self.shared.frames.try_send(bytes).map_err(|error| self.shared.not_queued(&error))
    }

    /// Waits until the stream has ended, and says why.
    pub async fn ended(&self) -> End {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        ended.ok().and_then(|end| *end).unwrap_or(End::Closed)
    }
}

/// A call that is not awaited any more leaves nothing behind.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.shared.open).remove(&self.id);
    }
}

type Answer = Result<Vec<u8>, CallError>;

struct Shared {
    frames: mpsc::Sender<Vec<u8>>,
    limits: Limits,
    open: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    answering: Mutex<HashSet<u64>>,
    answerers: Arc<Semaphore>,
    next_id: AtomicU64,
    answer_due: AtomicBool,
    /// Whether the other side was ever heard; until then nothing but a mark is sent to it.
    met: AtomicBool,
    meeting: Notify,
}

impl Shared {
    fn interrupt_calls(&self) {
        for (_, caller) in lock(&self.open).drain() {
            let _ = caller.send(Err(CallError::Interrupted));
        }
    }

    fn not_queued(&self, error: &mpsc::error::TrySendError<Vec<u8>>) -> CallError {
        match error {
            mpsc::error::TrySendError::Full(_) => CallError::Busy { maximum: self.limits.queued_frames },
            mpsc::error::TrySendError::Closed(_) => CallError::Closed,
        }
    }

    async fn read_all_frames<R, H>(self: Arc<Self>, mut reader: R, handler: Arc<H>) -> End
    where
        R: AsyncRead + Unpin,
        H: Handler,
    {
        let mut decoder = Decoder::new();
        let mut chunk = vec![0; 64 << 10];
        let mut pace = Pace::new(self.limits.frames_per_second);
        let mut last_frame = Instant::now();
        let mut frame_began: Option<Instant> = None;
        let mut malformed = 0;
        loop {
            let deadline = frame_began.map(|began| began + self.limits.frame_time);
            let read = reader.read(&mut chunk);
            let length = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, read).await,
                None => Ok(read.await),
            };
            match length {
                Ok(Ok(0) | Err(_)) => return End::Closed,
                Ok(Ok(length)) => decoder.push(&chunk[..length]),
                Err(_) => {
                    decoder.lose_step();
                    frame_began = None;
                    self.begin_anew();
                    continue;
                }
            }
            loop {
                match decoder.next_event() {
                    Ok(None) => break,
                    Ok(Some(event)) => {
                        frame_began = None;
                        let pause = pace.count(last_frame.elapsed());
                        last_frame = Instant::now();
                        if !pause.is_zero() {
                            tokio::time::sleep(pause).await;
                        }
                        self.take(event, &handler);
                    }
                    Err(error) => {
                        handler.malformed(&error);
                        malformed += 1;
                        if malformed > self.limits.malformed_frames {
                            return End::Malformed { count: malformed };
                        }
                        self.begin_anew();
                    }
                }
            }
            if !decoder.is_within_frame() {
                frame_began = None;
            } else if frame_began.is_none() {
                frame_began = Some(Instant::now());
            }
        }
    }

    /// Asks for a mark after having lost the place in the stream.
    fn begin_anew(&self) {
        self.interrupt_calls();
        let _ = self.frames.try_send(encode_mark(Mark::Ask).to_vec());
    }

    fn take<H: Handler>(self: &Arc<Self>, event: Event, handler: &Arc<H>) {
        match event {
            Event::Mark { mark, .. } => {
                if mark == Mark::Ask {
                    self.answer_due.store(true, Ordering::Release);
                }
                if !self.met.swap(true, Ordering::AcqRel) {
                    self.meeting.notify_one();
                } else if mark == Mark::Ask {
                    self.interrupt_calls();
                    let _ = self.frames.try_send(Vec::new()); // wakes the writer, if it sleeps
                }
            }
            Event::Frame(Frame::Reply { id, body }) => self.deliver(id, Ok(body)),
            Event::Frame(Frame::Failure { id, code }) => self.deliver(id, Err(CallError::Failed(code))),
            Event::Frame(Frame::Notice { body }) => handler.notice(body),
            Event::Frame(Frame::Call { id, to, body }) => self.answer(id, to, body, handler),
        }
    }

    fn answer<H: Handler>(self: &Arc<Self>, id: u64, to: Destination, body: Vec<u8>, handler: &Arc<H>) {
        if !lock(&self.answering).insert(id) {
            return self.fail(id, FailureCode::DuplicateId);
        }
        let Ok(permit) = self.answerers.clone().try_acquire_owned() else {
            lock(&self.answering).remove(&id);
            return self.fail(id, FailureCode::Busy);
        };
        let (shared, handler) = (self.clone(), handler.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let frame = match handler.call(to, body).await {
                Ok(body) => Frame::Reply { id, body },
                Err(code) => Frame::Failure { id, code },
            };
            lock(&shared.answering).remove(&id);
            let bytes = match encode(&frame) {
                Ok(bytes) => bytes,
                Err(_) => {
                    encode(&Frame::Failure { id, code: FailureCode::AnswerTooLarge }).expect("it is small")
                }
            };
            // A guest that does not read gets no answers; this task ends all the same.
            let _ = tokio::time::timeout(shared.limits.frame_time, shared.frames.send(bytes)).await;
        });
    }

    /// Failures are dropped when the caller does not even read the answers it has.
    fn fail(&self, id: u64, code: FailureCode) {
        let _ = self.frames.try_send(encode(&Frame::Failure { id, code }).expect("it is small"));
    }

    /// Replies to calls that nobody waits for any more are dropped.
    fn deliver(&self, id: u64, answer: Answer) {
        if let Some(caller) = lock(&self.open).remove(&id) {
            let _ = caller.send(answer);
        }
    }

    async fn write_all_frames<W: AsyncWrite + Unpin>(
        &self,
        mut writer: W,
        mut queue: mpsc::Receiver<Vec<u8>>,
    ) {
        if writer.write_all(&encode_mark(Mark::Ask)).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        self.meeting.notified().await;
        let mut bytes = Vec::new();
        loop {
            if self.answer_due.swap(false, Ordering::AcqRel) {
                bytes.splice(..0, encode_mark(Mark::Answer));
            }
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                return;
            }
            let Some(next) = queue.recv().await else { return };
            bytes = next;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
