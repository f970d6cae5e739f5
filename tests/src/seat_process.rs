//! One `casemate-kms` on a socket, to be killed at any point and started again on the same state.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::processes::{program, wait_until};

/// A seat as a process. It ends with this value.
#[derive(Debug)]
pub struct SeatProcess {
    /// Its folder.
    pub state: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// What all its processes logged, one JSON object per line.
    pub log: PathBuf,
    /// Further arguments of `serve`.
    pub options: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl SeatProcess {
    /// A seat that does not run yet.
    pub fn new(state: PathBuf, socket: PathBuf, log: PathBuf, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        SeatProcess { state, socket, log, options, child: Mutex::new(None) }
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(&self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("the log can be written");
        let child = Command::new(program("casemate-kms"))
            .args(["serve", "--listen", &format!("unix:{}", self.socket.display())])
            .arg("--state")
            .arg(&self.state)
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("casemate-kms can be started");
        *self.child() = Some(child);
        wait_until("the seat", 20, || UnixStream::connect(&self.socket).is_ok());
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_file(&self.socket);
        }
    }

    /// SIGKILL, and a new process on the same state.
    pub fn restart(&self) {
        self.kill();
        self.start();
    }

    /// Everything that its processes logged.
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SeatProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
