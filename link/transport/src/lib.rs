//! How do two sides that share one byte stream call each other?
//!
//! A guest reaches its host over one virtio-serial port (or a vsock or Unix stream). On it travel
//! [`Frame`]s: calls, replies, failures and notices, at most [`MAX_FRAME_BYTES`] each, either side
//! calling. [`Peer`] does this with threads, for guests; `asynchronous::Peer` (feature `tokio`) for services.
//!
//! ```
//! use casemate_transport::{Decoder, Destination, Event, Frame, encode};
//!
//! let call = Frame::Call { id: 1, to: Destination::Agent, body: b"hello".to_vec() };
//! let mut decoder = Decoder::started();
//! decoder.push(&encode(&call)?);
//! assert_eq!(decoder.next_event()?, Some(Event::Frame(call)));
//! # Ok::<(), casemate_transport::FrameError>(())
//! ```
//!
//! It authenticates nobody and hides nothing: whoever owns the stream may read, drop, repeat or
//! invent frames. What must be secret or genuine is sealed or signed by the layers above.

mod frame;
mod limits;
mod peer;
pub mod port;
pub mod private;
pub mod socket;
mod sys;

#[cfg(feature = "tokio")]
pub mod asynchronous;

pub use frame::{
    Decoder, Destination, Event, FailureCode, Frame, FrameError, MARK_BYTES, MAX_BODY_BYTES, MAX_FRAME_BYTES,
    Mark, encode, encode_mark,
};
pub use limits::Limits;
pub use peer::{CallError, Handler, Link, Peer};
