//! Where does a frame end?
//!
//! QEMU's `-netdev stream`: each Ethernet frame behind its length in 4 bytes, big-endian.

use std::collections::VecDeque;
use std::io;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::Error;

/// The socket to QEMU.
pub(crate) struct Frames {
    stream: UnixStream,
    received: Vec<u8>,
    /// What the socket did not take yet, and how much of it is sent.
    sending: Vec<u8>,
    sent: usize,
}

impl Frames {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, received: Vec::new(), sending: Vec::new(), sent: 0 }
    }

    /// Waits until there is something to read, if `read`, or room to write, if `write`. Loses nothing
    /// when it is given up.
    pub(crate) async fn ready(&self, read: bool, write: bool) -> io::Result<()> {
        let interest = match (read, write) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => return std::future::pending().await,
        };
        self.stream.ready(interest).await.map(drop)
    }

    /// Takes what has come, a bounded amount, and hands each whole frame on. False once QEMU has
    /// closed the socket.
    ///
    /// # Errors
    /// [`Error::Frame`], [`Error::Stream`].
    pub(crate) fn receive(&mut self, mut take: impl FnMut(Vec<u8>)) -> Result<bool, Error> {
        let mut open = true;
        let mut chunk = [0; CHUNK_BYTES];
        for _ in 0..CHUNKS_AT_ONCE {
            match self.stream.try_read(&mut chunk) {
                Ok(0) => {
                    open = false;
                    break;
                }
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(Error::Stream(error)),
            }
        }
        let mut begin = 0;
        while let Some(head) = self.received.get(begin..begin + HEAD_BYTES) {
            let length = u32::from_be_bytes(head.try_into().expect("it is as long")) as usize;
            if length > MAXIMUM_FRAME_BYTES {
                return Err(Error::Frame { found: length, maximum: MAXIMUM_FRAME_BYTES });
            }
            let Some(frame) = self.received.get(begin + HEAD_BYTES..begin + HEAD_BYTES + length) else {
                break;
            };
            take(frame.to_vec());
            begin += HEAD_BYTES + length;
        }
        self.received.drain(..begin);
        Ok(open)
    }

    /// Whether a frame is only partly sent.
    pub(crate) fn is_sending(&self) -> bool {
        self.sent < self.sending.len()
    }

    /// Sends as many of these frames as the socket takes now.
    ///
    /// # Errors
    /// [`Error::Stream`].
    pub(crate) fn send(&mut self, frames: &mut VecDeque<Vec<u8>>) -> Result<(), Error> {
        loop {
            if !self.is_sending() {
                self.sending.clear();
                self.sent = 0;
                while self.sending.len() < CHUNK_BYTES
                    && let Some(frame) = frames.pop_front()
                {
                    self.sending.extend_from_slice(&(frame.len() as u32).to_be_bytes());
                    self.sending.extend_from_slice(&frame);
                }
            }
            if self.sending.is_empty() {
                return Ok(());
            }
            match self.stream.try_write(&self.sending[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The next read sees that QEMU is gone.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(Error::Stream(error)),
            }
        }
    }
}

const HEAD_BYTES: usize = 4;
/// QEMU's own limit for a packet (include/net/net.h, NET_BUFSIZE).
const MAXIMUM_FRAME_BYTES: usize = 4096 + 65536;
const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS_AT_ONCE: usize = 4;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn received(bytes: &[u8]) -> (Vec<Vec<u8>>, Result<bool, Error>) {
        let (mut qemu, own) = UnixStream::pair().unwrap();
        let mut frames = Frames::new(own);
        let mut found = Vec::new();
        for part in bytes.chunks(3) {
            qemu.write_all(part).await.unwrap();
            frames.ready(true, false).await.unwrap();
            match frames.receive(|frame| found.push(frame)) {
                Ok(true) => {}
                other => return (found, other),
            }
        }
        drop(qemu);
        frames.ready(true, false).await.unwrap();
        let end = frames.receive(|frame| found.push(frame));
        (found, end)
    }

    #[tokio::test]
    async fn frames_come_whole_however_they_are_cut() {
        let (found, end) = received(b"\0\0\0\x05hello\0\0\0\0\0\0\0\x02ab\0\0\0\x09cut").await;
        assert_eq!(found, [b"hello".to_vec(), vec![], b"ab".to_vec()]);
        assert!(matches!(end, Ok(false)));
    }

    #[tokio::test]
    async fn a_length_beyond_any_packet_is_refused_before_its_bytes_come() {
        let (found, end) = received(b"\xff\0\0\0aaa").await;
        assert!(found.is_empty());
        assert!(matches!(end, Err(Error::Frame { found: 0xff00_0000, .. })));
    }
}
