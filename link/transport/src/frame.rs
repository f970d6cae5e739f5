//! What may travel on the stream, and which bytes are it?
//!
//! `docs/reference/relay.md` specifies this with worked bytes.

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::sign::PublicKey;
use minicbor::{Decode, Encode};

/// What one side tells the other.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Frame {
    /// A question; exactly one [`Frame::Reply`] or [`Frame::Failure`] with its id answers it.
    #[n(0)]
    Call {
        /// Chosen by the caller, not reused while the call is open.
        #[n(0)]
        id: u64,
        /// Who is to answer.
        #[n(1)]
        to: Destination,
        /// Opaque here.
        #[cbor(n(2), with = "minicbor::bytes")]
        body: Vec<u8>,
    },
    /// The answer to a call.
    #[n(1)]
    Reply {
        /// The id of the call.
        #[n(0)]
        id: u64,
        /// Opaque here.
        #[cbor(n(1), with = "minicbor::bytes")]
        body: Vec<u8>,
    },
    /// No answer to a call, and why.
    #[n(2)]
    Failure {
        /// The id of the call.
        #[n(0)]
        id: u64,
        /// Why.
        #[n(1)]
        code: FailureCode,
    },
    /// News that nobody answers.
    #[n(3)]
    Notice {
        /// Opaque here.
        #[cbor(n(0), with = "minicbor::bytes")]
        body: Vec<u8>,
    },
}

/// Who is to answer a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Destination {
    /// The seat of the key service that signs with this key.
    #[n(0)]
    Seat(#[n(0)] PublicKey),
    /// The guest's agent (or `init`, before it).
    #[n(1)]
    Agent,
}

/// Why a call was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum FailureCode {
    /// Too many calls are open; wait for some to end.
    #[n(0)]
    #[error("too many calls are open; wait for one to end and repeat")]
    Busy,
    /// Nobody of that name is known here.
    #[n(1)]
    #[error("the other side knows no such destination; compare its seats with the roster")]
    UnknownDestination,
    /// The destination is known and did not accept the call.
    #[n(2)]
    #[error("the destination could not be reached; is it running?")]
    Unreachable,
    /// The destination accepted the call and did not answer in time.
    #[n(3)]
    #[error("the destination did not answer in time; repeat later")]
    TimedOut,
    /// The destination's answer does not fit a frame.
    #[n(4)]
    #[error("the destination's answer is larger than a frame; ask for less")]
    AnswerTooLarge,
    /// The destination answered that it refuses the call, without a body to carry.
    #[n(5)]
    #[error("the destination refused the call; its own log says why")]
    Refused,
    /// A call with this id is open already.
    #[n(6)]
    #[error("a call with this id is open already; use each id once")]
    DuplicateId,
    /// The callee does not take this call in its present state.
    #[n(7)]
    #[error("the other side does not take this call now; it is starting or stopping")]
    NotNow,
}

/// Largest CBOR part of a frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Largest body that fits into every kind of frame, in bytes.
pub const MAX_BODY_BYTES: usize = MAX_FRAME_BYTES - 128;

/// Length of a [`Mark`] on the wire, in bytes.
pub const MARK_BYTES: usize = 16;

// Four 0xff bytes are no legal frame length, so a mark is told from a frame by its first byte.
const MARK: [u8; MARK_BYTES - 1] = *b"\xff\xff\xff\xffcasemate-sy";

/// A point in the stream where whatever came before ends and a frame may begin.
///
/// A virtio-serial port outlives the processes on its two ends: a restarted reader starts in the
/// middle of a frame, and a restarted writer leaves half of one behind. So each side begins with
/// [`Mark::Ask`], which the other answers with [`Mark::Answer`], and reads nothing before a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// "I begin here; answer with a mark." Calls that were open are lost.
    Ask,
    /// "I have seen your mark."
    Answer,
}

/// What a [`Decoder`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole frame.
    Frame(Frame),
    /// A mark, after this many bytes that belong to no frame.
    Mark {
        /// Which.
        mark: Mark,
        /// Bytes thrown away before it since the last event.
        dropped_bytes: usize,
    },
}

/// Why bytes are not a frame, or a frame cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The announced or actual length is beyond the limit. Nothing was allocated for it.
    #[error("frame of {found} bytes, at most {maximum} may be sent; send less, or in parts")]
    TooLarge {
        /// Size in bytes.
        found: usize,
        /// Largest size in bytes.
        maximum: usize,
    },
    /// A frame of length zero, which no frame has.
    #[error("frame of length zero; every frame is one CBOR value")]
    Empty,
    /// The frame is not the deterministic CBOR of any frame known here.
    #[error("malformed frame: {0}")]
    Malformed(#[from] casemate_canon::Error),
    /// The frame holds the bytes of a mark and would be cut in two.
    #[error("the frame contains the 16 bytes that mark a new beginning; compress or seal its body")]
    ContainsMark,
}

/// Writes a frame: length as `u32` big-endian, then CBOR.
///
/// # Errors
/// [`FrameError::TooLarge`], [`FrameError::ContainsMark`].
pub fn encode(frame: &Frame) -> Result<Vec<u8>, FrameError> {
    let body = to_cbor(frame);
    if body.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge { found: body.len(), maximum: MAX_FRAME_BYTES });
    }
    if position_of_mark(&body, 0).is_some() {
        return Err(FrameError::ContainsMark);
    }
    let length = u32::try_from(body.len()).expect("MAX_FRAME_BYTES fits in 32 bits");
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Writes a mark.
pub fn encode_mark(mark: Mark) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[..MARK.len()].copy_from_slice(&MARK);
    bytes[MARK.len()] = match mark {
        Mark::Ask => 1,
        Mark::Answer => 2,
    };
    bytes
}

/// Finds frames in a stream of bytes that arrive in any portions. Reads no stream itself.
///
/// It holds at most one frame beyond what the last [`push`](Self::push) brought. After an error it
/// drops everything up to the next mark: a stream that lost its place is never guessed at.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// What lies before it has been taken or dropped; it is cut off with the next bytes that arrive, not with each
    /// frame, so that many small frames cost no more than their bytes.
    start: usize,
    /// No mark begins before it that is not taken or in `mark`.
    searched: usize,
    /// The first mark, where it begins.
    mark: Option<(usize, Mark)>,
    in_step: bool,
    dropped_bytes: usize,
}

impl Decoder {
    /// For a stream that may be joined in the middle: finds nothing before a mark.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a stream whose first byte begins a frame.
    pub fn started() -> Self {
        Self { in_step: true, ..Self::default() }
    }

    /// Takes bytes that arrived. Call [`next_event`](Self::next_event) until it finds nothing.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched = self.searched.saturating_sub(self.start);
        self.mark = self.mark.map(|(at, mark)| (at - self.start, mark));
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// True while a frame has begun and not ended.
    pub fn is_within_frame(&self) -> bool {
        self.in_step && self.start < self.buffer.len()
    }

    /// Forgets what has arrived and waits for a mark.
    pub fn lose_step(&mut self) {
        let dropped_bytes = self.dropped_bytes + self.buffer.len() - self.start;
        *self = Self { dropped_bytes, ..Self::default() };
    }

    /// The next frame or mark, if all of it has arrived.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`], [`FrameError::Empty`], [`FrameError::Malformed`]; after each the
    /// decoder looks for a mark.
    pub fn next_event(&mut self) -> Result<Option<Event>, FrameError> {
        let mark = self.find_mark();
        if self.in_step {
            let end = mark.map_or(self.buffer.len(), |(at, _)| at);
            match self.take_frame(end) {
                Ok(Some(frame)) => return Ok(Some(Event::Frame(frame))),
                Ok(None) => {}
                Err(error) => {
                    // The mark, if any, is taken by the next call.
                    self.drop_until(mark.map_or(self.searched, |(at, _)| at));
                    self.in_step = false;
                    return Err(error);
                }
            }
        }
        if let Some((at, mark)) = mark {
            self.drop_until(at);
            self.start += MARK_BYTES;
            self.mark = None;
            self.in_step = true;
            return Ok(Some(Event::Mark { mark, dropped_bytes: std::mem::take(&mut self.dropped_bytes) }));
        }
        if !self.in_step {
            self.drop_until(self.searched);
        }
        Ok(None)
    }

    fn find_mark(&mut self) -> Option<(usize, Mark)> {
        if self.mark.is_none() {
            let from = self.searched.max(self.start);
            self.mark = position_of_mark(&self.buffer, from);
            // The last bytes may begin a mark.
            let searched = self.buffer.len().saturating_sub(MARK_BYTES - 1);
            self.searched = self.mark.map_or(searched.max(from), |(at, _)| at);
        }
        self.mark
    }

    fn take_frame(&mut self, end: usize) -> Result<Option<Frame>, FrameError> {
        let bytes = &self.buffer[self.start..end];
        let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
        let begins_mark = bytes.len() < MARK_BYTES && MARK.starts_with(bytes);
        if begins_mark {
            return Ok(None);
        }
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge { found: length, maximum: MAX_FRAME_BYTES });
        }
        if length == 0 {
            return Err(FrameError::Empty);
        }
        let Some(body) = bytes.get(4..4 + length) else { return Ok(None) };
        let frame = from_cbor(body, MAX_FRAME_BYTES)?;
        self.start += 4 + length;
        Ok(Some(frame))
    }

    fn drop_until(&mut self, position: usize) {
        self.dropped_bytes += position - self.start;
        self.start = position;
    }
}

/// Where the first whole mark begins at or after `from`.
fn position_of_mark(bytes: &[u8], from: usize) -> Option<(usize, Mark)> {
    let mut at = from;
    while let Some(step) = bytes.get(at..)?.iter().position(|byte| *byte == MARK[0]) {
        at += step;
        let candidate = bytes.get(at..at + MARK_BYTES)?;
        if candidate.starts_with(&MARK) {
            match candidate[MARK.len()] {
                1 => return Some((at, Mark::Ask)),
                2 => return Some((at, Mark::Answer)),
                _ => {}
            }
        }
        at += 1;
    }
    None
}
