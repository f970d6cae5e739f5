//! What a service does that asks for evidence: `evidence-client HEX` sends these bytes to the socket in its
//! container, and prints the answer's status and its body in base64, each on a line.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

fn main() {
    let digits = std::env::args().nth(1).expect("bytes in hexadecimal");
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
        .collect();
    let mut stream = match UnixStream::connect("/run/casemate/evidence.sock") {
        Ok(stream) => stream,
        Err(error) => return println!("no socket: {error}"),
    };
    write!(stream, "POST /v1/evidence HTTP/1.1\r\nHost: guest\r\nContent-Length: {}\r\n\r\n", bytes.len())
        .and_then(|()| stream.write_all(&bytes))
        .expect("the socket takes a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let status = String::from_utf8_lossy(&answer[..head]);
    println!("{}", status.lines().next().unwrap_or_default());
    println!("{}", BASE64_STANDARD.encode(&answer[head + 4..]));
}
