//! What does a published port answer?

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Sends one HTTP/1.0 request to loopback and returns the whole answer.
pub fn ask(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Asks for a page until it comes, for at most two minutes.
///
/// # Panics
/// With the last answer, if it does not come.
pub fn get(port: u16, path: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = ask(port, "GET", path, "");
        match answer {
            Ok(text) if text.starts_with("HTTP/1.") && text.contains(" 200 ") => return text,
            other if Instant::now() > deadline => panic!("no page at port {port}: {other:?}"),
            _ => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}
