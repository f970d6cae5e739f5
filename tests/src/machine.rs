//! A machine with Casemate on it: a scratch home, the real programs, an app to run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::processes::{kill_all_naming, program};

/// The name under which apps run here.
pub const NAME: &str = "app";
/// A password nobody else uses, so that a leak is found by looking for it.
pub const PASSWORD: &str = "correct-horse-9c41ab07e2-battery";

/// Path of a file of the small app's site that nothing reads by itself, what it is made of, and its size.
pub const UNREAD: &str = "/unread";
/// See [`UNREAD`].
pub const UNREAD_BYTE: u8 = b'x';
/// See [`UNREAD`].
pub const UNREAD_BYTES: usize = 512 << 10;

/// The passphrase of the owner's key.
pub const PASSPHRASE: &str = "a passphrase for tests";

/// A small app to attack: a web server of busybox with a volume and a secret, and whatever program a test
/// runs beside it.
pub const SMALL_APP: &str = "\
# Note: this letter is changed by a host.
services:
  web:
    image: oci:images/web
    entrypoint: [\"/bin/busybox\"]
    command: [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/site\"]
    user: \"0:0\"
    read_only: true
    ports: [\"8080:8080\"]
    environment:
      SECRET: ${ATTACK_SECRET}
    volumes: [\"data:/data\"]
volumes:
  data:
x-casemate:
  memory: 512m
  vcpus: 1
  volume_size: 64m
  observe: {logs: true, status: true, exec: true}
";

/// Two services that run one image as a user without rights: `web` may ask for evidence; `other`, behind an init,
/// may not.
pub const ASKING_APP: &str = "\
services:
  web:
    image: oci:images/web
    entrypoint: [\"/bin/busybox\"]
    command: [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/site\"]
    user: \"65534:65534\"
    read_only: true
    ports: [\"8080:8080\"]
  other:
    image: oci:images/web
    entrypoint: [\"/bin/busybox\"]
    command: [\"sleep\", \"100000\"]
    user: \"65534:65534\"
    read_only: true
    init: true
x-casemate:
  memory: 512m
  vcpus: 1
  volume_size: 64m
  evidence: [web]
  observe: {logs: true, status: true, exec: true}
";

/// A scratch home with its services, removed with everything that runs in it.
#[derive(Debug)]
pub struct Machine {
    folder: tempfile::TempDir,
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
        for name in [
            "casemate",
            "casemate-kms",
            "casemate-hostd",
            "casemate-validator",
            "casemate-uplink",
            "casemate-simtee",
        ] {
            program(name);
        }
        Self { folder }
    }

    /// The home itself.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A scratch folder beside the home.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Where its own services keep state, sockets and logs.
    pub fn local(&self) -> PathBuf {
        self.home().join("local")
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

    /// The folder of [`SMALL_APP`].
    pub fn small_app(&self) -> PathBuf {
        self.app(SMALL_APP, |extra| {
            std::fs::create_dir_all(extra.join("site")).expect("scratch is writable");
            std::fs::write(extra.join("site/unread"), vec![UNREAD_BYTE; UNREAD_BYTES])
                .expect("scratch is writable");
        })
    }

    /// The folder of [`ASKING_APP`], whose image holds `/bin/evidence-client`.
    pub fn asking_app(&self) -> PathBuf {
        self.app(ASKING_APP, |extra| {
            let client = program("evidence-client");
            let libraries = Command::new("ldd").arg(&client).output().expect("ldd runs");
            let libraries = String::from_utf8(libraries.stdout).expect("text");
            let paths = libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
            let copies = paths.map(|path| (path.clone(), path));
            for (from, to) in copies.chain([(client, PathBuf::from("/bin/evidence-client"))]) {
                let to = extra.join(to.strip_prefix("/").expect("it is absolute"));
                std::fs::create_dir_all(to.parent().expect("a file has a folder"))
                    .expect("scratch is writable");
                std::fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            }
        })
    }

    /// The folder of an app with this compose file: the example's image, and above it one more layer of what
    /// `fill` puts into a folder.
    fn app(&self, compose: &str, fill: impl FnOnce(&Path)) -> PathBuf {
        let folder = self.example("hello");
        std::fs::write(folder.join("compose.yaml"), compose).expect("it is our copy");
        let layers = folder.join("images/web/blobs/sha256");
        let layer = std::fs::read_dir(&layers).expect("an OCI layout").flatten().map(|entry| entry.path());
        let layer = layer.max_by_key(|path| path.metadata().map_or(0, |metadata| metadata.len()));
        let extra = self.folder.path().join("extra");
        std::fs::create_dir_all(&extra).expect("scratch is writable");
        fill(&extra);
        let archive = self.folder.path().join("extra.tar");
        let mut tar = Command::new("tar");
        tar.args(["--create", "--owner=0", "--group=0", "--mode=u=rwX,go=rX", "--file"]).arg(&archive);
        tar.arg("--directory").arg(&extra).arg(".");
        assert!(tar.status().is_ok_and(|status| status.success()), "tar fails");
        let mut layout = Command::new(program("xtask"));
        layout.args(["oci-layout", "--reference", "hello-web:1", "--output"]).arg(folder.join("images/web"));
        layout.arg(layer.expect("the example's layer")).arg(&archive).stdout(Stdio::null());
        assert!(layout.status().is_ok_and(|status| status.success()), "xtask oci-layout fails");
        folder
    }

    /// `casemate` with these arguments, in this home.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("casemate"));
        command
            .args(arguments)
            .env("CASEMATE_HOME", self.home())
            .env("CASEMATE_KEY_PASSPHRASE", PASSPHRASE)
            .env("CASEMATE_IMAGE", image())
            .env("NOTES_DB_PASSWORD", PASSWORD)
            .env("ATTACK_SECRET", PASSWORD)
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
        let _ = Command::new(program("casemate"))
            .args(["--quiet", "local", "stop"])
            .env("CASEMATE_HOME", self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // Whatever else runs below this folder, guests above all, names it on its command line.
        kill_all_naming(self.folder.path());
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
