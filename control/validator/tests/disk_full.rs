//! What does a validator answer when its disk is full, and what is left when there is room again?
//!
//! The real program, in a mount namespace of its own, with its state on a small tmpfs: both are gone with it.
//! That needs root; without it the test says that it did not run, and with `CI` set it fails instead.

mod house;

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use casemate_api::validator::Vm;
use casemate_validator::{Options, Validator, http};
use house::{Client, House, notices, serve, spec};
use serde_json::Value;

/// The validator as a process, and its disk as seen from here.
struct Process {
    child: Child,
    disk: PathBuf,
}

impl Process {
    async fn start(house: &House, socket: &Path) -> Option<Self> {
        let scratch = house.folder.path();
        let disk = scratch.join("small");
        fs::create_dir(&disk).unwrap();
        let script = "mount -t tmpfs -o size=512k,mode=700 casemate-test \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&disk);
        command.arg(env!("CARGO_BIN_EXE_casemate-validator")).arg("serve");
        command.arg("--state").arg(disk.join("state"));
        command.args(["--listen", &format!("unix:{}", socket.display()), "--host", &house.options.host]);
        command.args(["--seat", &house.options.seats[0]]);
        let log = File::create(scratch.join("validator.log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio::net::UnixStream::connect(socket).await.is_err() {
            let ended = child.try_wait().unwrap().is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(scratch.join("validator.log")).unwrap();
                let _ = child.kill();
                let _ = child.wait();
                assert!(std::env::var_os("CI").is_none(), "a mount of its own needs root: {log}");
                eprintln!("not tested: a mount of its own needs root");
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let root = PathBuf::from(format!("/proc/{}/root", child.id()));
        let disk = root.join(disk.strip_prefix("/").unwrap());
        Some(Process { child, disk })
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.disk.join("ballast")).unwrap();
        for size in [65_536, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.disk.join("ballast")).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A call is done, or refused with the one error that says why; whether it was done.
fn done(call: &str, (status, answer): &(u16, Value)) -> bool {
    if *status == 200 {
        return true;
    }
    assert_eq!((*status, answer["code"].as_str()), (507, Some("disk_full")), "{call}: {answer}");
    assert!(answer["message"].as_str().unwrap().contains("nothing of it was done; make room"), "{answer}");
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_without_room_does_nothing_by_halves_and_goes_on() {
    let house = House::new().await;
    let socket = house.folder.path().join("validator.sock");
    let Some(process) = Process::start(&house, &socket).await else { return };
    let client = Client::new(&socket);
    let notes = client.create("notes").await;
    until(&client, &notes.id, "host", || house.host.lock().unwrap().vms.contains_key(&notes.id)).await;
    house.set(&notes.id, |vm| notices(vm, &["booted", "ready"]));
    until_state(&client, &notes.id, "running").await;
    house.calls();

    // What still fits into pages that are there already is done: the disk is filled again until it is refused.
    let mut made = vec!["notes".to_owned()];
    let mut refused = Vec::new();
    for attempt in 0..400 {
        process.fill();
        let name = format!("vm{attempt}");
        match done("create", &client.call("POST", "/v1/vms", Some(spec(&name))).await) {
            true => made.push(name),
            false => refused.push(name),
        }
        if refused.len() == 3 {
            break;
        }
    }
    assert_eq!(refused.len(), 3, "the disk was never full");

    // Calls that write something down: refused as a whole, or done as a whole.
    for (method, path) in [
        ("POST", "/v1/vms/notes/stop"),
        ("DELETE", "/v1/vms/notes?disks=true"),
        ("POST", "/v1/vms/notes/start"),
    ] {
        process.fill();
        let answer = client.call(method, path, None).await;
        // A start or stop that does not follow from where the VM stands is refused as ever.
        if answer.0 != 409 {
            done(path, &answer);
        }
    }
    // Calls that only read or pass something on have an answer or a typed error.
    for (method, path) in [
        ("GET", "/v1/vms"),
        ("GET", "/v1/vms/notes"),
        ("GET", "/v1/vms/notes/events"),
        ("GET", "/v1/kms"),
        ("GET", "/v1/host"),
        ("POST", "/v1/vms/notes/agent"),
        ("POST", "/v1/records"),
    ] {
        process.fill();
        let (status, answer) = client.call(method, path, None).await;
        assert!(status == 200 || answer["code"].is_string(), "{path}: {status} {answer}");
    }
    let names = || async {
        let (status, listed) = client.call("GET", "/v1/vms", None).await;
        assert_eq!(status, 200, "{listed}");
        let mut listed: Vec<Vm> = serde_json::from_value(listed).unwrap();
        listed.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
        listed
    };

    // The same process goes on.
    process.make_room();
    for name in &refused {
        let vm = client.create(name).await;
        assert_eq!(vm.state, "starting", "what was refused left nothing, not even its name");
        until(&client, &vm.id, "its host", || house.host.lock().unwrap().vms.contains_key(&vm.id)).await;
        made.push(name.clone());
    }
    let again = client.call("POST", "/v1/vms", Some(spec(&refused[0]))).await;
    assert_eq!((again.0, again.1["code"].as_str()), (409, Some("name_taken")));
    let listed = names().await;
    for vm in &listed {
        assert!(made.contains(&vm.spec.name) && vm.failure.is_none(), "{vm:?}");
        until(&client, &vm.id, "its host", || {
            vm.spec.name == "notes" || house.host.lock().unwrap().vms.contains_key(&vm.id)
        })
        .await;
    }
    client.call("DELETE", &format!("/v1/vms/{}?disks=true", refused[0]), None).await;
    let gone = &listed.iter().find(|vm| vm.spec.name == refused[0]).unwrap().id;
    until_state(&client, gone, "removed").await;

    // What it says is on the disk, not in a transaction that never ends: another validator reads it there.
    let copy = house.folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(process.disk.join("state")).unwrap().flatten() {
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let options = Options { state: copy, host: "unix:/nowhere".into(), ..house.options.clone() };
    let other = Validator::open(&options).await.unwrap();
    let other_socket = house.folder.path().join("other.sock");
    serve(&other_socket, http::router(other));
    let expected: Vec<String> = names().await.into_iter().map(|vm| vm.spec.name).collect();
    let (_, found) = Client::new(&other_socket).call("GET", "/v1/vms", None).await;
    let found: Vec<Vm> = serde_json::from_value(found).unwrap();
    let mut found: Vec<String> = found.into_iter().map(|vm| vm.spec.name).collect();
    found.sort();
    assert_eq!(found, expected);
    drop(process);
}

async fn until_state(client: &Client, id: &str, state: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let vm = client.vm(id).await;
        if vm.state == state {
            return;
        }
        assert!(Instant::now() < deadline, "{state} did not come: {vm:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until(client: &Client, id: &str, what: &str, ready: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < deadline, "{what} did not hear of {:?}", client.vm(id).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
