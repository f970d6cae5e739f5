//! How does a guest call its host, and answer it, with threads?

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::frame::{Decoder, Destination, Event, FailureCode, Frame, FrameError, Mark, encode, encode_mark};
use crate::limits::{Limits, Pace};

/// Answers what the other side asks.
pub trait Handler: Send + Sync + 'static {
    /// Answers a call; runs on one of a few threads.
    ///
    /// # Errors
    /// The code is sent to the caller as it is.
    fn call(&self, to: Destination, body: Vec<u8>) -> Result<Vec<u8>, FailureCode>;

    /// Hears a notice; runs on the reading thread, so it must be quick.
    fn notice(&self, body: Vec<u8>) {
        let _ = body;
    }
}

/// Why one's own call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The other side said so.
    #[error("the call failed: {0}")]
    Failed(FailureCode),
    /// It cannot be sent.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// No answer came in time; the call may have had its effect.
    #[error("no answer within {timeout_ms} ms; the other side may be busy or gone, repeat later")]
    TimedOut {
        /// How long was waited, in milliseconds.
        timeout_ms: u64,
    },
    /// Too many calls of ours are open, or nothing of what was sent before was taken.
    #[error("{maximum} calls are open already; wait for one to end")]
    Busy {
        /// The limit.
        maximum: usize,
    },
    /// The other side went away or began anew while the call was open.
    #[error("the other side began anew while the call was open; repeat it")]
    Interrupted,
    /// The stream is closed for good.
    #[error("the stream is closed; connect again")]
    Closed,
}

/// A stream and how its end is to be read.
pub struct Link {
    file: File,
    end_of_file: EndOfFile,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EndOfFile {
    /// The host's process is away and may come back (virtio-serial).
    Absent,
    /// The other side has closed the stream.
    Closed,
}

impl Link {
    /// A virtio-serial port, by path; see [`crate::port::find`].
    ///
    /// # Errors
    /// What opening the file answers; the kernel lets one process open a port at a time.
    pub fn port(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { file, end_of_file: EndOfFile::Absent })
    }

    /// A connected stream socket.
    pub fn stream(socket: impl Into<OwnedFd>) -> Self {
        Self { file: File::from(socket.into()), end_of_file: EndOfFile::Closed }
    }
}

/// One end of a stream, shared by any number of callers. Closes when the last clone is dropped.
#[derive(Clone)]
pub struct Peer {
    owner: Arc<Owner>,
}

impl Peer {
    /// Starts talking on `link`. Nothing is awaited: calls made before the other side is there
    /// wait in the queue, up to their own limit of time.
    ///
    /// # Errors
    /// If the descriptor cannot be duplicated or a thread not started.
    pub fn start(link: Link, limits: Limits, handler: Arc<dyn Handler>) -> io::Result<Self> {
        nonblocking(&link.file)?;
        let (frames, queue) = sync_channel(limits.queued_frames);
        let (jobs, work) = sync_channel(limits.incoming_calls);
        let (meeting, met) = sync_channel(1);
        let shared = Arc::new(Shared {
            frames,
            limits,
            open: Mutex::default(),
            answering: Mutex::default(),
            next_id: AtomicU64::new(RandomState::new().build_hasher().finish() >> 1),
            answer_due: AtomicBool::new(false),
            met: AtomicBool::new(false),
            meeting,
            closed: AtomicBool::new(false),
        });
        let writer = link.file.try_clone()?;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(run).map(drop)
        };
        let writing = shared.clone();
        spawn(
            "relay-write",
            Box::new(move || writing.write_all_frames(writer, &met, &queue, link.end_of_file)),
        )?;
        let work = Arc::new(Mutex::new(work));
        for _ in 0..limits.incoming_calls.clamp(1, WORKERS) {
            let (shared, work, handler) = (shared.clone(), work.clone(), handler.clone());
            spawn("relay-answer", Box::new(move || shared.answer_calls(&work, &*handler)))?;
        }
        let reading = shared.clone();
        spawn("relay-read", Box::new(move || reading.read_all_frames(link, &jobs, &*handler)))?;
        Ok(Self { owner: Arc::new(Owner { shared }) })
    }

    /// Asks `to` and waits at most `timeout` for the answer.
    ///
    /// # Errors
    /// Each variant of [`CallError`].
    pub fn call(&self, to: Destination, body: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, CallError> {
        let shared = &self.owner.shared;
        if shared.closed.load(Ordering::Acquire) {
            return Err(CallError::Closed);
        }
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let bytes = encode(&Frame::Call { id, to, body })?;
        let (answer, answered) = sync_channel(1);
        {
            let mut open = lock(&shared.open);
            if open.len() >= shared.limits.outgoing_calls {
                return Err(CallError::Busy { maximum: shared.limits.outgoing_calls });
            }
            open.insert(id, answer);
        }
        let result = match shared.frames.try_send(Outgoing::Bytes(bytes)) {
            Ok(()) => match answered.recv_timeout(timeout) {
                Ok(result) => result,
                Err(RecvTimeoutError::Timeout) => {
                    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                    Err(CallError::TimedOut { timeout_ms })
                }
                Err(RecvTimeoutError::Disconnected) => Err(CallError::Closed),
            },
            Err(TrySendError::Full(_)) => Err(CallError::Busy { maximum: shared.limits.queued_frames }),
            Err(TrySendError::Disconnected(_)) => Err(CallError::Closed),
        };
        lock(&shared.open).remove(&id);
        result
    }

    /// Tells the other side something that nobody answers.
    ///
    /// # Errors
    /// [`CallError::Frame`], [`CallError::Busy`], [`CallError::Closed`].
    pub fn notify(&self, body: Vec<u8>) -> Result<(), CallError> {
        let shared = &self.owner.shared;
        let bytes = encode(&Frame::Notice { body })?;
        shared.frames.try_send(Outgoing::Bytes(bytes)).map_err(|error| match error {
            TrySendError::Full(_) => CallError::Busy { maximum: shared.limits.queued_frames },
            TrySendError::Disconnected(_) => CallError::Closed,
        })
    }

    /// Waits until everything queued so far is written, at most `timeout`; false if it was not.
    ///
    /// For a process that is about to end: dropping a peer drops what is queued.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let (written, wait) = sync_channel(1);
        let mut barrier = Outgoing::Barrier(written);
        while let Err(TrySendError::Full(back)) = self.owner.shared.frames.try_send(barrier) {
            if Instant::now() > deadline {
                return false;
            }
            barrier = back;
            std::thread::sleep(ABSENCE);
        }
        wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    /// True once the stream has ended for good.
    pub fn is_closed(&self) -> bool {
        self.owner.shared.closed.load(Ordering::Acquire)
    }
}

/// Threads that answer calls.
const WORKERS: usize = 4;

/// Longest time in which a thread does not notice that the peer was closed.
const TICK: Duration = Duration::from_millis(250);

/// Pause before looking again whether an absent host came back.
const ABSENCE: Duration = Duration::from_millis(20);

struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

type Answer = Result<Vec<u8>, CallError>;

struct Job {
    id: u64,
    to: Destination,
    body: Vec<u8>,
}

/// What the writing thread is given.
enum Outgoing {
    Bytes(Vec<u8>),
    /// Answered once everything before it is written.
    Barrier(SyncSender<()>),
}

struct Shared {
    frames: SyncSender<Outgoing>,
    limits: Limits,
    open: Mutex<HashMap<u64, SyncSender<Answer>>>,
    answering: Mutex<HashSet<u64>>,
    next_id: AtomicU64,
    answer_due: AtomicBool,
    /// Whether the other side was ever heard; until then nothing but a mark is sent to it.
    met: AtomicBool,
    meeting: SyncSender<()>,
    closed: AtomicBool,
}

impl Shared {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.interrupt_calls();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn interrupt_calls(&self) {
        for (_, caller) in lock(&self.open).drain() {
            let _ = caller.try_send(Err(CallError::Interrupted));
        }
    }

    fn read_all_frames(&self, link: Link, jobs: &SyncSender<Job>, handler: &dyn Handler) {
        let mut file = link.file;
        let mut decoder = Decoder::new();
        let mut chunk = vec![0; 64 << 10];
        let mut pace = Pace::new(self.limits.frames_per_second);
        let mut last_frame = Instant::now();
        let mut frame_began = None;
        let mut malformed = 0;
        while !self.is_closed() {
            match read_ready(&mut file, &mut chunk) {
                Ok(Some(0)) if link.end_of_file == EndOfFile::Absent => {
                    self.interrupt_calls();
                    std::thread::sleep(ABSENCE);
                }
                Ok(Some(0)) | Err(_) => return self.close(),
                Ok(Some(length)) => decoder.push(&chunk[..length]),
                Ok(None) => {}
            }
            loop {
                match decoder.next_event() {
                    Ok(None) => break,
                    Ok(Some(event)) => {
                        frame_began = None;
                        let pause = pace.count(last_frame.elapsed());
                        last_frame = Instant::now();
                        std::thread::sleep(pause.min(TICK));
                        self.take(event, jobs, handler);
                    }
                    Err(_) => {
                        malformed += 1;
                        if malformed > self.limits.malformed_frames {
                            return self.close();
                        }
                        self.begin_anew();
                    }
                }
            }
            if decoder.is_within_frame() {
                let began = *frame_began.get_or_insert_with(Instant::now);
                if began.elapsed() > self.limits.frame_time {
                    decoder.lose_step();
                    self.begin_anew();
                    frame_began = None;
                }
            } else {
                frame_began = None;
            }
        }
    }

    /// Asks for a mark after having lost the place in the stream.
    fn begin_anew(&self) {
        self.interrupt_calls();
        let _ = self.frames.try_send(Outgoing::Bytes(encode_mark(Mark::Ask).to_vec()));
    }

    fn take(&self, event: Event, jobs: &SyncSender<Job>, handler: &dyn Handler) {
        match event {
            Event::Mark { mark, .. } => {
                if mark == Mark::Ask {
                    self.answer_due.store(true, Ordering::Release);
                }
                if !self.met.swap(true, Ordering::AcqRel) {
                    let _ = self.meeting.try_send(());
                } else if mark == Mark::Ask {
                    self.interrupt_calls();
                    let _ = self.frames.try_send(Outgoing::Bytes(Vec::new())); // wakes the writer, if it sleeps
                }
            }
            Event::Frame(Frame::Reply { id, body }) => self.deliver(id, Ok(body)),
            Event::Frame(Frame::Failure { id, code }) => self.deliver(id, Err(CallError::Failed(code))),
            Event::Frame(Frame::Notice { body }) => handler.notice(body),
            Event::Frame(Frame::Call { id, to, body }) => {
                if !lock(&self.answering).insert(id) {
                    return self.send(&Frame::Failure { id, code: FailureCode::DuplicateId });
                }
                if jobs.try_send(Job { id, to, body }).is_err() {
                    lock(&self.answering).remove(&id);
                    self.send(&Frame::Failure { id, code: FailureCode::Busy });
                }
            }
        }
    }

    /// Replies to calls that nobody waits for any more are dropped.
    fn deliver(&self, id: u64, answer: Answer) {
        if let Some(caller) = lock(&self.open).remove(&id) {
            let _ = caller.try_send(answer);
        }
    }

    fn answer_calls(&self, work: &Mutex<Receiver<Job>>, handler: &dyn Handler) {
        while !self.is_closed() {
            let job = lock(work).recv_timeout(TICK);
            let Job { id, to, body } = match job {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let reply = match handler.call(to, body) {
                Ok(body) => Frame::Reply { id, body },
                Err(code) => Frame::Failure { id, code },
            };
            lock(&self.answering).remove(&id);
            self.send(&reply);
        }
    }

    /// Queues an answer, dropping it if nothing of the last answers was taken within a while.
    fn send(&self, frame: &Frame) {
        let bytes = match (encode(frame), frame) {
            (Ok(bytes), _) => bytes,
            (Err(_), Frame::Reply { id, .. }) => {
                encode(&Frame::Failure { id: *id, code: FailureCode::AnswerTooLarge }).expect("it is small")
            }
            (Err(_), _) => return,
        };
        let deadline = Instant::now() + self.limits.frame_time;
        let mut outgoing = Outgoing::Bytes(bytes);
        while let Err(TrySendError::Full(back)) = self.frames.try_send(outgoing) {
            if self.is_closed() || Instant::now() > deadline {
                return;
            }
            outgoing = back;
            std::thread::sleep(ABSENCE);
        }
    }

    fn write_all_frames(
        &self,
        mut file: File,
        met: &Receiver<()>,
        queue: &Receiver<Outgoing>,
        end_of_file: EndOfFile,
    ) {
        if write_ready(&mut file, &encode_mark(Mark::Ask), end_of_file, &self.closed).is_err() {
            return self.close();
        }
        if self.wait_for(met).is_none() {
            return;
        }
        let mut bytes = Vec::new();
        loop {
            if self.answer_due.swap(false, Ordering::AcqRel) {
                bytes.splice(..0, encode_mark(Mark::Answer));
            }
            if write_ready(&mut file, &bytes, end_of_file, &self.closed).is_err() {
                return self.close();
            }
            bytes = match self.wait_for(queue) {
                None => return,
                Some(Outgoing::Bytes(next)) => next,
                Some(Outgoing::Barrier(written)) => {
                    let _ = written.try_send(());
                    Vec::new()
                }
            };
        }
    }

    /// The next of `receiver`, or nothing once the peer is closed.
    fn wait_for<T>(&self, receiver: &Receiver<T>) -> Option<T> {
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(next) => return Some(next),
                Err(RecvTimeoutError::Timeout) if !self.is_closed() => {}
                Err(_) => return None,
            }
        }
    }
}

fn nonblocking(file: &File) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Reads what is there, waiting at most a tick; `None` if nothing came.
fn read_ready(file: &mut File, chunk: &mut [u8]) -> io::Result<Option<usize>> {
    if !is_ready(file, PollFlags::POLLIN)? {
        return Ok(None);
    }
    match file.read(chunk) {
        Ok(length) => Ok(Some(length)),
        Err(error) if is_transient(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes all of `bytes`, for as long as the peer is not closed.
fn write_ready(file: &mut File, mut bytes: &[u8], end: EndOfFile, closed: &AtomicBool) -> io::Result<()> {
    while !bytes.is_empty() {
        if closed.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if !is_ready(file, PollFlags::POLLOUT)? {
            continue;
        }
        match file.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if is_transient(&error) => std::thread::sleep(ABSENCE),
            Err(error) if end == EndOfFile::Absent && error.kind() == io::ErrorKind::BrokenPipe => {
                std::thread::sleep(ABSENCE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_ready(file: &File, flags: PollFlags) -> io::Result<bool> {
    let mut descriptors = [PollFd::new(file.as_fd(), flags)];
    let timeout = PollTimeout::try_from(TICK).expect("a tick is short");
    match poll(&mut descriptors, timeout) {
        Ok(_) => Ok(descriptors[0].any().unwrap_or(false)),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A panicking handler must not take the relay with it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
