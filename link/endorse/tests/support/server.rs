//! A key server on this machine, with answers by path, that can fall silent, lie and count.
#![allow(dead_code)] // each test file uses its part

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What is answered to which path; everything else is 404.
pub type Answers = HashMap<String, (u16, Vec<u8>)>;

pub struct Server {
    pub base: String,
    answers: Arc<Mutex<Answers>>,
    headers: Arc<Mutex<HashMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
    gate: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start(answers: Answers) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (answers, asked) = (Arc::new(Mutex::new(answers)), Arc::new(Mutex::new(Vec::new())));
        let headers = Arc::new(Mutex::new(HashMap::new()));
        let (gate, open) = tokio::sync::watch::channel(true);
        let task = tokio::spawn({
            let (answers, headers, asked) = (answers.clone(), headers.clone(), asked.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (answers, headers) = (answers.clone(), headers.clone());
                    tokio::spawn(serve(stream, answers, headers, asked.clone(), open.clone()));
                }
            }
        });
        Self { base, answers, headers, asked, gate, task }
    }

    /// Every path that was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic while locked").clone()
    }

    /// How many questions contained `part`.
    pub fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|path| path.contains(part)).count()
    }

    pub fn answer(&self, path: &str, status: u16, body: Vec<u8>) {
        self.answers.lock().expect("no panic while locked").insert(path.to_owned(), (status, body));
    }

    /// Sends a line among the headers of the answer to `path`.
    pub fn header(&self, path: &str, name: &str, value: &str) {
        let line = format!("{name}: {value}\r\n");
        self.headers.lock().expect("no panic while locked").insert(path.to_owned(), line);
    }

    /// Takes questions and keeps the answers back, until [`speak`](Self::speak).
    pub fn fall_silent(&self) {
        self.gate.send_replace(false);
    }

    pub fn speak(&self) {
        self.gate.send_replace(true);
    }

    /// Nobody listens there any more.
    pub async fn go_away(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn serve(
    mut stream: tokio::net::TcpStream,
    answers: Arc<Mutex<Answers>>,
    headers: Arc<Mutex<HashMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
    mut open: tokio::sync::watch::Receiver<bool>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).await.is_err() {
            return;
        }
        request.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().expect("no panic while locked").push(path.clone());
    let _ = open.wait_for(|open| *open).await;
    let answer = answers.lock().expect("no panic while locked").get(&path).cloned();
    let (status, body) = answer.unwrap_or((404, Vec::new()));
    let header = headers.lock().expect("no panic while locked").get(&path).cloned().unwrap_or_default();
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
}
