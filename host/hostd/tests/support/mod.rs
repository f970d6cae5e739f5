//! A daemon of one's own, asked over its socket.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;

pub struct Daemon {
    pub state: PathBuf,
    arguments: Vec<String>,
    accelerator: Option<&'static str>,
    child: Child,
    client: reqwest::Client,
}

impl Daemon {
    /// A daemon that is told to run guests without the processor's help.
    pub async fn start(state: &Path, arguments: &[&str]) -> Self {
        Self::start_with(state, arguments, Some("tcg")).await
    }

    /// A daemon that is told `accelerator`, or finds out by itself.
    pub async fn start_with(state: &Path, arguments: &[&str], accelerator: Option<&'static str>) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let socket = state.join("api.sock");
        let child = spawn(state, &arguments, accelerator);
        let client = reqwest::Client::builder().unix_socket(socket).build().unwrap();
        let daemon = Self { state: state.to_owned(), arguments, accelerator, child, client };
        daemon.answers().await;
        daemon
    }

    /// Ends it as a crash would and starts it again.
    pub async fn crash_and_restart(&mut self) {
        self.kill();
        self.restart().await;
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.state, &self.arguments, self.accelerator);
        self.answers().await;
    }

    async fn answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.client.get("http://host/healthz").send().await.is_err() {
            assert!(Instant::now() < deadline, "casemate-hostd does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> (StatusCode, Vec<u8>) {
        let request = self.client.request(method, format!("http://host{path}")).body(body);
        let response = request.timeout(Duration::from_secs(120)).send().await.unwrap();
        (response.status(), response.bytes().await.unwrap().to_vec())
    }

    pub async fn json(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.ask(method, path, body).await;
        (status, serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    /// Puts bytes as a blob; returns the blob's name.
    pub async fn put(&self, bytes: Vec<u8>) -> String {
        let name = casemate_crypto::hash::sha256(&bytes).to_string();
        let (status, answer) = self.ask(Method::PUT, &format!("/v1/blobs/{name}"), bytes).await;
        assert!(status.is_success(), "{}", String::from_utf8_lossy(&answer));
        name
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(state: &Path, arguments: &[String], accelerator: Option<&str>) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(state.join("hostd.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_casemate-hostd"))
        .args(["serve", "--listen", &format!("unix:{}", state.join("api.sock").display())])
        .args(["--state", state.to_str().unwrap()])
        .args(arguments)
        .env_remove("CASEMATE_ACCEL")
        .envs(accelerator.map(|accelerator| ("CASEMATE_ACCEL", accelerator)))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A definition that needs nothing but the blobs named in it.
pub fn spec(id: &str, blobs: [&str; 4], command_line: &str) -> Value {
    let [firmware, kernel, initrd, launch] = blobs;
    serde_json::json!({
        "id": id,
        "platform": "simulated",
        "image": {"blobs": {
            "firmware": firmware, "kernel": kernel, "initrd": initrd, "command_line": command_line,
        }},
        "shape": {"vcpus": 1, "vcpu_type": "EPYC-v4", "memory_mib": 512, "machine": "q35", "guest_features": 1},
        "workload_digest": "11".repeat(32),
        "launch": launch,
        "data_disk": {"volumes": [{"name": "data", "size_bytes": 64 << 20}]},
        "seats": [{"public_key": "33".repeat(64), "url": "unix:/nonexistent/seat.sock"}],
        "network": {"ports": [{"host_ip": "127.0.0.1", "host_port": 0, "guest_port": 80}]},
    })
}
