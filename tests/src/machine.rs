//! A machine with Casemate on it: a scratch home, the real programs, an app to run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The name under which apps run here.
pub const NAME: &str = "app";
/// A password nobody else uses, so that a leak is found by looking for it.
pub const PASSWORD: &str = "correct-horse-9c41ab07e2-battery";

/// A scratch home with its services, removed with everything that runs in it.
#[derive(Debug)]
pub struct Machine {
    folder: tempfile::TempDir,
    programs: PathBuf,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status; -1 if a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// The outcome, if the command succeeded.
    ///
    /// # Panics
    /// With everything it printed, otherwise.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(self.status, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }
}

impl Machine {
    /// An empty home. Nothing runs in it yet.
    pub fn new() -> Self {
        // Sockets of VMs lie below it, and the kernel takes 107 bytes.
        let folder = tempfile::Builder::new().prefix("cm").tempdir_in("/tmp").expect("/tmp is writable");
        // The command line finds its services beside itself.
        let command = program("casemate");
        let programs = command.parent().expect("a file has a folder").to_owned();
        for name in ["kms", "hostd", "validator", "uplink", "simtee"] {
            let path = programs.join(format!("casemate-{name}"));
            assert!(path.is_file(), "{} is missing; run `cargo build --workspace`", path.display());
        }
        Self { folder, programs }
    }

    /// The home itself.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A scratch folder beside the home.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// A program of Casemate.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Copies an example, with its images, to where `up` may write beside it.
    pub fn example(&self, name: &str) -> PathBuf {
        let source = workspace().join("examples").join(name);
        if !source.join("images").is_dir() {
            let made = Command::new("bash").arg(source.join("images.sh")).stdin(Stdio::null()).status();
            assert!(made.is_ok_and(|status| status.success()), "examples/{name}/images.sh failed");
        }
        let copy = self.folder.path().join(name);
        let status = Command::new("cp").arg("-r").arg(&source).arg(&copy).status().expect("cp runs");
        assert!(status.success());
        copy
    }

    /// `casemate` with these arguments, in this home.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program("casemate"));
        command
            .args(arguments)
            .env("CASEMATE_HOME", self.home())
            .env("CASEMATE_KEY_PASSPHRASE", "a passphrase for tests")
            .env("CASEMATE_IMAGE", image())
            .env("NOTES_DB_PASSWORD", PASSWORD)
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("CASEMATE_VALIDATOR")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `casemate` with a limit on time.
    pub fn casemate<const N: usize>(&self, arguments: [&str; N]) -> Outcome {
        limited(self.command(&arguments), Duration::from_secs(420))
    }

    /// Brings an app up under [`NAME`] on a port that the host chooses, and returns `up`'s JSON.
    #[track_caller]
    pub fn up(&self, folder: &Path) -> Value {
        self.try_up(folder).success().json()
    }

    /// As [`Machine::up`], without expecting success.
    pub fn try_up(&self, folder: &Path) -> Outcome {
        let folder = folder.display().to_string();
        self.casemate(["--json", "up", &folder, "--name", NAME, "--publish", "web=0"])
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        // The supervisor first: it would start again what is ended.
        let _ = Command::new(self.program("casemate"))
            .args(["--quiet", "local", "stop"])
            .env("CASEMATE_HOME", self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // Whatever else runs below this folder, guests above all, names it on its command line.
        let _ =
            Command::new("pkill").args(["-KILL", "-f", &self.folder.path().display().to_string()]).status();
    }
}

impl Machine {
    /// Prints the ends of all logs: a test that fails is to be understood from its output.
    pub fn tell(&self) {
        let mut folders = vec![self.home().join("local")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if name.ends_with(".log") || name == "console" {
                    let text =
                        String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
                    let lines = text.lines().collect::<Vec<_>>();
                    eprintln!("--- {}", path.display());
                    eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
                }
            }
        }
    }
}

/// Runs a command and ends it when its time is over.
pub fn limited(mut command: Command, limit: Duration) -> Outcome {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let deadline = Instant::now() + limit;
    // Readers of their own: a full pipe must not stop the command.
    let stdout = drain(child.stdout.take().expect("it is piped"));
    let stderr = drain(child.stderr.take().expect("it is piped"));
    while child.try_wait().expect("it is our child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            eprintln!("ended after {} s: {command:?}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let Output { status, .. } = child.wait_with_output().expect("it has ended");
    Outcome {
        status: status.code().unwrap_or(-1),
        stdout: stdout.join().expect("the reader does not panic"),
        stderr: stderr.join().expect("the reader does not panic"),
    }
}

fn drain(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// A program of Casemate: of this build, or from the folder that `CASEMATE_PROGRAMS` names.
///
/// # Panics
/// If it is in neither.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let folder = this.parent().expect("a file has a folder");
    // Tests and benches run from `deps`, which lies beside the programs.
    let beside =
        if folder.ends_with("deps") { folder.parent().expect("deps lies in a folder") } else { folder };
    let elsewhere = std::env::var_os("CASEMATE_PROGRAMS").map(PathBuf::from);
    let found = [Some(beside.to_owned()), elsewhere].into_iter().flatten().find_map(|folder| {
        let path = folder.join(name);
        path.is_file().then_some(path)
    });
    found.unwrap_or_else(|| {
        panic!("{} is missing; run `cargo build --workspace`", beside.join(name).display())
    })
}

/// The guest image under test, which `make guest-files` builds.
pub fn image() -> PathBuf {
    let path =
        std::env::var_os("CASEMATE_IMAGE").map_or_else(|| workspace().join("target/image"), PathBuf::from);
    assert!(
        path.join("image.toml").is_file(),
        "no guest image in {}; run `make guest-files`",
        path.display()
    );
    path
}
