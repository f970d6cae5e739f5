//! A person at a terminal: a home, a folder with an app, `casemate`, and services that it may ask.
#![allow(dead_code)] // each test file uses its part

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

/// A scratch home and project folder.
pub struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("app")).unwrap();
        Scene { folder }
    }

    pub fn home(&self) -> std::path::PathBuf {
        self.folder.path().join("home")
    }

    pub fn app(&self) -> std::path::PathBuf {
        self.folder.path().join("app")
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.app().join(name), text).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.command(arguments).envs(environment.iter().copied()).output().unwrap()
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever has read enough hangs up.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(arguments).current_dir(self.app()).env_clear().env("CASEMATE_HOME", self.home());
        command
    }

    /// stderr with scratch paths replaced, and the exit code.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32, expected: &str) {
        let output = self.run(arguments);
        let said = self.plain(&output.stderr);
        assert_eq!((output.status.code(), said.as_str()), (Some(code), expected), "{arguments:?}");
        assert!(output.stdout.is_empty(), "a failure says nothing on stdout");
    }

    pub fn plain(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).replace(&self.folder.path().display().to_string(), "SCRATCH")
    }
}

/// A service that answers each request with the bytes that `answer` gives for its head.
pub struct Service {
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    pub fn on_tcp(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(address, move || listener.accept().unwrap().0, answer)
    }

    pub fn on_socket(path: &std::path::Path, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(path).unwrap();
        Self::serve(format!("unix:{}", path.display()), move || listener.accept().unwrap().0, answer)
    }

    fn serve<S: Read + Write>(
        address: String,
        accept: impl Fn() -> S + Send + 'static,
        answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = asked.clone();
        std::thread::spawn(move || {
            loop {
                let mut stream = accept();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                heads.lock().unwrap().push(head.clone());
                // Whoever has read enough hangs up.
                let _ = stream.write_all(&answer(&head));
            }
        });
        Service { address, asked }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// An answer with a body.
pub fn answer(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
