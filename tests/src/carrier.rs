//! Whoever carries records: a proxy before the real validator that does as it likes with each call.

use std::{
    io::{BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// One call on its way.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method and path, as in `POST /v1/records`.
    pub line: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// HTTP status and body.
pub type Reply = (u16, Vec<u8>);

/// A proxy on a socket of its own, until it is dropped.
#[derive(Debug)]
pub struct Carrier {
    socket: PathBuf,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Carrier {
    /// Listens on `socket` and gives each call to `habit`, together with the validator behind.
    pub fn new(
        socket: PathBuf,
        validator: &Path,
        habit: impl Fn(&Call, &dyn Fn(&Call) -> Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(&socket).expect("a socket in a scratch folder");
        let ended = Arc::new(AtomicBool::new(false));
        let (validator, over) = (validator.to_owned(), ended.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hangs up is its own business.
                let _ = serve(stream, &habit, &validator);
            }
        });
        Carrier { socket, ended, thread: Some(thread) }
    }

    /// Its address, as `--validator` takes it.
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket); // wakes the listener
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    mut stream: UnixStream,
    habit: &impl Fn(&Call, &dyn Fn(&Call) -> Reply) -> Reply,
    validator: &Path,
) -> std::io::Result<()> {
    let call = read(&mut BufReader::new(stream.try_clone()?))?;
    let forward = |call: &Call| forward(validator, call).expect("the real validator answers");
    let (status, body) = habit(&call, &forward);
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

/// Hands a call to a validator.
///
/// # Errors
/// If it does not answer in HTTP.
pub fn forward(validator: &Path, call: &Call) -> std::io::Result<Reply> {
    let mut stream = UnixStream::connect(validator)?;
    let head = format!(
        "{} HTTP/1.1\r\nhost: validator\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        call.line,
        call.body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&call.body)?;
    let answer = read(&mut BufReader::new(stream))?;
    let status = answer.line.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, answer.body))
}

/// Reads a request or an answer: its first line without the version at the end, and its body.
fn read(stream: &mut impl std::io::BufRead) -> std::io::Result<Call> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let line = lines.first().map_or("", String::as_str);
    Ok(Call { line: line.strip_suffix(" HTTP/1.1").unwrap_or(line).to_owned(), body })
}
