//! What does one HTTP/1.1 request say?
//!
//! As much of RFC 9112 as a client on a Unix socket needs: one request with `Content-Length`, one answer, and
//! the connection ends. Whoever is slow or long-winded is cut off.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A request with its whole body.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// `/v1/evidence`, without a query.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection broke or was too slow.
    #[error(transparent)]
    Connection(#[from] io::Error),
    /// Not a request of HTTP/1.1 with one `Content-Length`.
    #[error("not a request of HTTP/1.1 with its length; expected `POST /v1/evidence` and `Content-Length`")]
    Malformed,
    /// A body that is longer than is taken, unread.
    #[error("a body of {found} bytes, at most {maximum} are taken")]
    BodyTooLong {
        /// Its length.
        found: u64,
        /// The limit.
        maximum: usize,
    },
}

impl Request {
    /// Reads a request whose body has at most `maximum` bytes, within `patience`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(stream: &mut UnixStream, maximum: usize, patience: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + patience;
        let mut received = Vec::new();
        let head_bytes = loop {
            if let Some(at) = received.windows(END.len()).position(|window| window == END) {
                break at;
            }
            if received.len() > MAXIMUM_HEAD_BYTES {
                return Err(Error::Malformed);
            }
            more(stream, &mut received, deadline)?;
        };
        let head = std::str::from_utf8(&received[..head_bytes]).map_err(|_| Error::Malformed)?;
        let Head { method, path, length } = Head::parse(head).ok_or(Error::Malformed)?;
        let length = match usize::try_from(length) {
            Ok(length) if length <= maximum => length,
            _ => return Err(Error::BodyTooLong { found: length, maximum }),
        };
        let mut body = received.split_off(head_bytes + END.len());
        while body.len() < length {
            more(stream, &mut body, deadline)?;
        }
        if body.len() > length {
            return Err(Error::Malformed);
        }
        Ok(Request { method, path, body })
    }
}

/// Writes an answer; the connection is to be closed then.
///
/// # Errors
/// What the connection says.
pub fn answer(stream: &mut UnixStream, status: &str, content_type: &str, body: &[u8]) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

struct Head {
    method: String,
    path: String,
    length: u64,
}

impl Head {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, path, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || version != "HTTP/1.1" {
            return None;
        }
        let mut length = None;
        for line in lines {
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("transfer-encoding") {
                return None;
            }
            if name.eq_ignore_ascii_case("content-length") {
                let value = value.trim_matches([' ', '\t']);
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                if length.is_some() || !digits {
                    return None;
                }
                length = Some(value.parse().ok()?);
            }
        }
        Some(Head { method: method.into(), path: path.into(), length: length.unwrap_or(0) })
    }
}

fn more(stream: &mut UnixStream, received: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            received.extend_from_slice(&chunk[..length]);
            Ok(())
        }
    }
}

const END: &[u8] = b"\r\n\r\n";
const MAXIMUM_HEAD_BYTES: usize = 8 << 10;
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    fn read(bytes: &[u8]) -> Result<Request, Error> {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        client.write_all(bytes).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        Request::read(&mut server, 10, PATIENCE)
    }

    #[test]
    fn a_request_is_read_whole() {
        let request = read(b"POST /v1/evidence HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\nabc").unwrap();
        let expected = Request { method: "POST".into(), path: "/v1/evidence".into(), body: b"abc".to_vec() };
        assert_eq!(request, expected);
        let request = read(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!((request.method.as_str(), request.body.len()), ("GET", 0));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for bytes in [
            &b"POST / HTTP/1.0\r\n\r\n"[..],
            b"POST /\r\n\r\n",
            b"POST / a HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nno colon\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
            b"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nab",
            b"\xff / HTTP/1.1\r\n\r\n",
        ] {
            let error = read(bytes).unwrap_err();
            assert!(matches!(error, Error::Malformed), "{}: {error}", String::from_utf8_lossy(bytes));
        }
        let endless = [&b"POST / HTTP/1.1\r\nX: "[..], &vec![b'x'; MAXIMUM_HEAD_BYTES]].concat();
        assert!(matches!(read(&endless).unwrap_err(), Error::Malformed));
    }

    #[test]
    fn a_long_body_is_refused_unread_and_a_broken_one_too() {
        let error = read(b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n").unwrap_err();
        assert!(matches!(error, Error::BodyTooLong { found: 11, maximum: 10 }));
        let error = read(b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n").unwrap_err();
        assert!(matches!(error, Error::BodyTooLong { .. }));
        let error = read(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na").unwrap_err();
        assert!(matches!(error, Error::Connection(_)));
    }

    #[test]
    fn whoever_is_slow_is_cut_off() {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na").unwrap();
        let begun = Instant::now();
        assert!(matches!(Request::read(&mut server, 10, PATIENCE), Err(Error::Connection(_))));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
