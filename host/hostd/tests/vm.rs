//! Do real VMs start, outlive the daemon, stop, and is a firmware that refuses its kernel named?
//!
//! Needs QEMU and a built guest image: the folder `CASEMATE_IMAGE`, by default `target/image`. Instead of
//! its firmware and kernel, `CASEMATE_TEST_FIRMWARE` (OVMF.amdsev.fd) and `CASEMATE_TEST_KERNEL` (a bzImage).

#[path = "support/guest.rs"]
mod guest;
mod support;

use std::time::{Duration, Instant};

use guest::{STAYS, define, image, processes_of, program, stand_in_tee};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Daemon, spec};

async fn until(daemon: &Daemon, id: &str, what: &str, found: impl Fn(&Value, &str) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let (_, vm) = daemon.json(Method::GET, &format!("/v1/vms/{id}"), &Value::Null).await;
        let (_, console) = daemon.ask(Method::GET, &format!("/v1/vms/{id}/console"), "").await;
        let console = String::from_utf8_lossy(&console);
        if found(&vm, &console) {
            return vm;
        }
        assert!(Instant::now() < deadline, "never {what}: {vm}\n{console}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_vm_outlives_the_daemon_and_leaves_no_process_when_removed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("simtee")).unwrap();
    let tee = stand_in_tee(folder.path());
    let mut daemon = Daemon::start(folder.path(), &["--simtee", &tee]).await;
    if !define(&daemon, "stays", STAYS, |_| {}).await {
        return;
    }
    let (status, vm) = daemon.json(Method::POST, "/v1/vms/stays/start", &Value::Null).await;
    assert_eq!((status, vm["state"].as_str()), (StatusCode::OK, Some("running")), "{vm}");
    assert_ne!(vm["endpoints"][0]["host_port"], 0);
    let (status, answer) = daemon.json(Method::POST, "/v1/vms/stays/start", &Value::Null).await;
    assert_eq!((status, answer["code"].as_str()), (StatusCode::CONFLICT, Some("vm_runs")));
    assert_eq!(processes_of(folder.path()), 3);
    until(&daemon, "stays", "booted Linux", |_, console| console.contains("Kernel panic")).await;

    daemon.crash_and_restart().await;
    let (_, again) = daemon.json(Method::GET, "/v1/vms/stays", &Value::Null).await;
    assert_eq!(again["state"], "running");
    assert_eq!(again["endpoints"], vm["endpoints"]);
    assert_eq!(processes_of(folder.path()), 3);

    // An uplink that ends is started again on the same ports, and QEMU takes it.
    let needle = folder.path().join("vms/stays/net.sock").display().to_string();
    let [uplink] = casemate_hostd::processes::with_argument(&needle)[..] else { panic!("one uplink") };
    uplink.end(Duration::ZERO).await.unwrap();
    let port = vm["endpoints"][0]["host_port"].as_u64().unwrap() as u16;
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the uplink does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let [again] = casemate_hostd::processes::with_argument(&needle)[..] else { panic!("QEMU refused it") };
    assert_ne!(again, uplink);

    let (_, answer) = daemon.json(Method::DELETE, "/v1/vms/stays?disks=true", &Value::Null).await;
    assert_eq!(answer["code"], "vm_runs");
    let began = Instant::now();
    let (_, vm) = daemon.json(Method::POST, "/v1/vms/stays/stop", &json!({"grace_ms": 500})).await;
    assert_eq!(vm["state"], "stopped", "{vm}");
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(processes_of(folder.path()), 0);
    let (status, _) = daemon.json(Method::DELETE, "/v1/vms/stays?disks=true", &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_end_of_a_vm_has_a_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("simtee")).unwrap();
    let tee = stand_in_tee(folder.path());
    // Breaks the table by which the firmware checks the kernel, if a file says so.
    let qemu = "#!/bin/sh\nset -e\nif [ -e ../../break ]; then printf X | dd of=hashes.bin bs=1 seek=60 conv=notrunc 2>/dev/null; fi\nexec qemu-system-x86_64 \"$@\"\n";
    let qemu = program(folder.path(), "qemu.sh", qemu);
    let mut daemon = Daemon::start(folder.path(), &["--simtee", &tee, "--qemu", &qemu]).await;
    if !define(&daemon, "ends", "console=ttyS0 panic=-1", |_| {}).await {
        return;
    }
    // A panicking kernel resets the machine.
    daemon.json(Method::POST, "/v1/vms/ends/start", &Value::Null).await;
    let vm = until(&daemon, "ends", "ended", |vm, _| vm["state"] == "failed").await;
    assert_eq!(vm["failure"]["code"], "guest_powered_off", "{vm}");

    // The firmware refuses a kernel that is not the table's.
    std::fs::write(folder.path().join("break"), "").unwrap();
    let (status, vm) = daemon.json(Method::POST, "/v1/vms/ends/start", &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{vm}");
    let vm = until(&daemon, "ends", "halted", |vm, _| vm["state"] == "failed").await;
    assert_eq!(vm["failure"]["code"], "firmware_halted", "{vm}");
    std::fs::remove_file(folder.path().join("break")).unwrap();

    // QEMU and the daemon are killed together; the daemon comes back.
    daemon.json(Method::POST, "/v1/vms/ends/start", &Value::Null).await;
    let needle = folder.path().join("vms/ends/qmp.sock").display().to_string();
    for process in casemate_hostd::processes::with_argument(&needle) {
        process.end(Duration::ZERO).await.unwrap();
    }
    daemon.crash_and_restart().await;
    let vm = until(&daemon, "ends", "ended", |vm, _| vm["state"] == "failed").await;
    let code = vm["failure"]["code"].as_str().unwrap();
    assert!(["host_restarted", "qemu_exited"].contains(&code), "{vm}");
    assert_eq!(processes_of(folder.path()), 0);
    daemon.json(Method::DELETE, "/v1/vms/ends?disks=true", &Value::Null).await;
}

#[tokio::test]
async fn a_qemu_that_refuses_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("simtee")).unwrap();
    let tee = stand_in_tee(folder.path());
    let qemu = program(folder.path(), "qemu.sh", "#!/bin/sh\necho 'no such machine' >&2\nexit 1\n");
    let daemon = Daemon::start(folder.path(), &["--simtee", &tee, "--qemu", &qemu]).await;
    if !define(&daemon, "refused", STAYS, |_| {}).await {
        return;
    }
    let (status, answer) = daemon.json(Method::POST, "/v1/vms/refused/start", &Value::Null).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer["code"], "qemu_refused");
    assert!(answer["message"].as_str().unwrap().contains("no such machine"));
    let (_, vm) = daemon.json(Method::GET, "/v1/vms/refused", &Value::Null).await;
    assert_eq!(
        (vm["state"].as_str(), vm["failure"]["code"].as_str()),
        (Some("failed"), Some("qemu_refused"))
    );
    assert_eq!(processes_of(folder.path()), 0);
}

#[tokio::test]
async fn a_daemon_that_is_told_nothing_finds_what_runs_a_real_guest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("simtee")).unwrap();
    let tee = stand_in_tee(folder.path());
    let Some((image, _)) = image() else { return };
    let mut daemon = Daemon::start_with(folder.path(), &["--simtee", &tee], None).await;
    let launch = daemon.put(vec![0; 4096]).await;
    let mut right = spec("real", [&launch; 4], "");
    right["image"] = json!({"directory": {"path": image}});
    let (status, answer) = daemon.json(Method::POST, "/v1/vms", &right).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let (status, vm) = daemon.json(Method::POST, "/v1/vms/real/start", &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{vm}");
    let vm =
        until(&daemon, "real", "spoke", |vm, console| !console.is_empty() || vm["state"] == "failed").await;
    assert_ne!(vm["failure"]["code"], "firmware_halted", "{vm}");
    let trial = folder.path().join("trial/").display().to_string();
    assert_eq!(casemate_hostd::processes::with_argument(&trial), []);
    daemon.json(Method::POST, "/v1/vms/real/kill", &Value::Null).await;

    // What a trial found is known to the next daemon at once.
    let (_, before) = daemon.json(Method::GET, "/v1/capabilities", &Value::Null).await;
    eprintln!("KVM here: {}", before["kvm"]);
    if before["kvm"]["state"] != "absent" && folder.path().join("accelerator.json").exists() {
        daemon.crash_and_restart().await;
        let (_, after) = daemon.json(Method::GET, "/v1/capabilities", &Value::Null).await;
        assert_eq!(after["kvm"], before["kvm"]);
    }
    assert_eq!(processes_of(folder.path()), 0);
}
