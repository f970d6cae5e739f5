//! What does a service on a Unix socket answer?

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status; 0 if there was none.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One exchange with the service at `socket`; `kind` is the body's content type.
///
/// # Errors
/// If the service cannot be reached, or closes without a whole head.
pub fn exchange(socket: &Path, method: &str, path: &str, kind: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    send(&mut stream, method, path, kind, body)?;
    receive(&mut stream)
}

/// Sends a request and does not wait for its answer.
///
/// # Errors
/// If the service hangs up.
pub fn send(
    stream: &mut UnixStream,
    method: &str,
    path: &str,
    kind: &str,
    body: &[u8],
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let kind = if body.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: service\r\n{kind}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())
}

/// Receives the answer to the one request of this connection.
///
/// # Errors
/// If the service closes without a whole head.
pub fn receive(stream: &mut UnixStream) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = std::str::from_utf8(&bytes[..end]).ok().and_then(|head| head.get(9..12)?.parse().ok());
    Ok(Answer { status: status.unwrap_or(0), body: bytes.split_off(end + 4) })
}

/// Content type of JSON bodies.
pub const JSON: &str = "application/json";
/// Content type of CBOR bodies.
pub const CBOR: &str = "application/cbor";

const PATIENCE: Duration = Duration::from_secs(60);
