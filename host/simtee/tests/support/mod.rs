//! A simulated root, launches to measure, and processes that end with the test.
#![allow(dead_code)] // each test file uses a part

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use casemate_crypto::hash::Sha256;
use casemate_evidence::snp::Report;
use casemate_verify::snp::{AuthenticatedChain, Endorsements, Genuine};
use casemate_verify::{Roots, SimulatedRoot};
use serde_json::Value;

pub const HOST_DATA: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A folder with a root in `root`, made once for all tests of a process.
pub static ROOT: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    // A static is never dropped, so the folder stays: among the build's own files.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = simtee(&["root", "create", "--state", text(&folder.path().join("root"))]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
});

pub fn root() -> PathBuf {
    ROOT.path().join("root")
}

/// Runs the program to its end.
pub fn simtee(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate-simtee")).args(arguments).output().unwrap()
}

/// The files of a launch.
pub struct Files {
    pub firmware: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

impl Files {
    /// Small files that measure like real ones.
    pub fn small(folder: &Path) -> Self {
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        Files {
            firmware: file("firmware", &firmware()),
            kernel: file("kernel", b"kernel"),
            initrd: file("initrd", b"initrd"),
        }
    }
}

/// A running signer.
pub struct Signer {
    pub process: Child,
    pub socket: PathBuf,
    pub ready: Value,
}

impl Signer {
    /// Starts a signer and waits until it listens.
    pub fn start(socket: &Path, files: &Files, cmdline: &str, extra: &[&str]) -> Self {
        let mut process =
            Self::command(socket, files, cmdline, extra).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(ready["ready"], true);
        Signer { process, socket: socket.into(), ready }
    }

    pub fn command(socket: &Path, files: &Files, cmdline: &str, extra: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate-simtee"));
        command.args(["serve", "--state", text(&root()), "--socket", text(socket), "--cmdline", cmdline]);
        command.args(["--firmware", text(&files.firmware), "--kernel", text(&files.kernel)]);
        command.args(["--initrd", text(&files.initrd), "--vcpus", "2", "--host-data", HOST_DATA]);
        command.args(extra);
        command
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends a request and reads the answer.
    pub fn ask(&self, stream: &mut UnixStream, request: &[u8; 96]) -> [u8; Report::LEN] {
        stream.write_all(request).unwrap();
        let mut answer = [0; Report::LEN];
        stream.read_exact(&mut answer).unwrap();
        answer
    }

    /// Verifies a report under the simulated root, with the certificates that the signer names.
    pub fn authenticate(&self, report: &[u8]) -> Genuine {
        let file = |name: &str| std::fs::read(self.ready["certificates"][name].as_str().unwrap()).unwrap();
        let endorsements = Endorsements::parse(&file("leaf"), &file("intermediate"), &file("root")).unwrap();
        let report = Report::parse(report).unwrap();
        let provider = casemate_crypto::provider();
        let chain = AuthenticatedChain::verify(&endorsements, &trusted(), now_ms(), provider).unwrap();
        assert!(AuthenticatedChain::verify(&endorsements, &Roots::builtin(), now_ms(), provider).is_err());
        chain.authenticate(report, now_ms()).unwrap()
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The simulated root, as a policy would list it.
pub fn trusted() -> Roots {
    let shown = simtee(&["root", "show", "--json", "--state", text(&root())]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let key_digest: Sha256 = shown["key_digest"].as_str().unwrap().parse().unwrap();
    Roots::none().with_simulated([SimulatedRoot { key_digest }])
}

pub fn request(report_data: [u8; 64], vmpl: u32) -> [u8; 96] {
    let mut request = [0; 96];
    request[..64].copy_from_slice(&report_data);
    request[64..68].copy_from_slice(&vmpl.to_le_bytes());
    request
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// One page of firmware with SEV metadata, reset block and hash table block, as edk2 lays them out.
pub fn firmware() -> Vec<u8> {
    let mut bytes = vec![0x90; 4096];
    let metadata = [0x5645_5341, 40, 1, 2, 0x80_d000, 0x1000, 2, 0x81_0000, 0x1000, 0x10];
    let table = [
        entry(&[0x600], 0xdc886566_984a_4798_a75e_5585a7bf67cc, None),
        entry(&[0x81_0c00, 0x400], 0x7255371f_3a3b_4b04_927b_1da6efa8d454, None),
        entry(&[0x80_b004], 0x00f771de_1a7e_4fcb_890e_68c77e2fb44e, None),
    ]
    .concat();
    let footer = entry(&[], 0x96b582de_1fb2_45f7_baea_a366c55a082d, Some(table.len() + 18));
    let table = [table, footer].concat();
    let end = 4096 - 32;
    bytes[end - table.len()..end].copy_from_slice(&table);
    let metadata = words(&metadata);
    bytes[4096 - 0x600..][..metadata.len()].copy_from_slice(&metadata);
    bytes
}

pub fn entry(data: &[u32], guid: u128, length: Option<usize>) -> Vec<u8> {
    let mut bytes = words(data);
    bytes.extend((length.unwrap_or(bytes.len() + 18) as u16).to_le_bytes());
    let mut guid = guid.to_be_bytes();
    guid[0..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    bytes.extend(guid);
    bytes
}

pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
