//! Does the host refuse by name, keep nothing half made, and survive a crash at every step?

mod support;

use std::io::{Read as _, Write as _};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Daemon, spec};

#[tokio::test]
async fn a_blob_is_stored_only_under_its_own_digest() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &["--max-blob-bytes", "1000"]).await;
    let name = daemon.put(vec![7; 1000]).await;
    let (status, blobs) = daemon.json(Method::GET, "/v1/blobs", &Value::Null).await;
    assert_eq!((status, &blobs), (StatusCode::OK, &json!([{"digest": name, "size_bytes": 1000}])));

    let other = format!("/v1/blobs/{}", "ab".repeat(32));
    for (path, body, status, code) in [
        (other.as_str(), vec![1; 10], StatusCode::BAD_REQUEST, "blob_digest"),
        (other.as_str(), vec![1; 1001], StatusCode::PAYLOAD_TOO_LARGE, "blob_too_large"),
        ("/v1/blobs/nonsense", vec![], StatusCode::BAD_REQUEST, "blob_name"),
    ] {
        let (found, answer) = daemon.ask(Method::PUT, path, body).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{answer}");
        assert!(answer["hint"].is_string());
    }
    assert_eq!(daemon.ask(Method::HEAD, &other, "").await.0, StatusCode::NOT_FOUND);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("blobs")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing half written stays");
}

/// Sends the whole of a request before it reads, as simple clients do.
fn put_then_read(socket: &std::path::Path, name: &str, body: &[u8]) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let head = format!(
        "PUT /v1/blobs/{name} HTTP/1.1\r\nHost: host\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).expect("the daemon reads to the end");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the connection is not reset");
    answer
}

#[tokio::test]
async fn who_puts_a_blob_is_heard_to_the_end_whatever_the_answer() {
    const SIZE: usize = 8 << 20; // more than a socket holds
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &["--max-blob-bytes", &SIZE.to_string()]).await;
    let name = daemon.put(vec![7; SIZE]).await;
    let socket = daemon.state.join("api.sock");
    for (name, body, status, word) in [
        (name.as_str(), vec![7; SIZE], "200", name.as_str()),
        (name.as_str(), vec![8; SIZE], "400", "blob_digest"),
        (name.as_str(), vec![7; 2 * SIZE], "413", "blob_too_large"),
        ("nonsense", vec![7; SIZE], "400", "blob_name"),
    ] {
        let (socket, name) = (socket.clone(), name.to_owned());
        let put = tokio::task::spawn_blocking(move || put_then_read(&socket, &name, &body));
        let answer = put.await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(word), "{answer}");
    }
    assert_eq!(std::fs::read(folder.path().join("blobs").join(&name)).unwrap(), vec![7; SIZE]);
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs");
    std::fs::create_dir(&blobs).unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new(arguments[0])
            .args(&arguments[1..])
            .status()
            .is_ok_and(|status| status.success())
    };
    let target = blobs.to_str().unwrap();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", target]) {
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    }
    let daemon = Daemon::start(folder.path(), &[]).await;
    let path = format!("/v1/blobs/{}", "ab".repeat(32));
    let (status, answer) = daemon.ask(Method::PUT, &path, vec![1; 3 << 20]).await;
    let left = std::fs::read_dir(&blobs).unwrap().count();
    drop(daemon);
    assert!(mount(&["umount", target]));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, answer["code"].as_str()), (StatusCode::INSUFFICIENT_STORAGE, Some("disk_full")));
    assert_eq!(left, 0);
}

#[tokio::test]
async fn every_wrong_definition_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]).await;
    let blob = daemon.put(b"blob".to_vec()).await;
    let right = spec("notes", [&blob; 4], "quiet");
    let absent = "cd".repeat(32);
    for (pointer, value, code) in [
        ("/id", json!("Notes"), "vm_id"),
        ("/id", json!("../notes"), "vm_id"),
        ("/id", json!("x".repeat(41)), "vm_id"),
        ("/launch", json!(absent), "blob_absent"),
        ("/image/blobs/kernel", json!(absent), "blob_absent"),
        ("/image", json!({"named": {"name": "../../etc"}}), "image_absent"),
        ("/image", json!({"directory": {"path": "relative"}}), "image_path"),
        ("/seats/0/url", json!("file:///etc/passwd"), "seat_url"),
        ("/seats/0/url", json!("unix:relative"), "seat_url"),
        ("/data_disk/volumes/0/name", json!("a/b"), "volume_name"),
        ("/data_disk/volumes", json!([]), "volume_count"),
        ("/data_disk/volumes/0/size_bytes", json!(1_u64 << 50), "disk_too_large"),
        ("/network/kind", json!("tap"), "network_kind"),
        ("/surprise", json!(1), "body"),
    ] {
        let mut wrong = right.clone();
        match wrong.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                wrong.pointer_mut(parent).unwrap()[name] = value;
            }
        }
        let (status, answer) = daemon.json(Method::POST, "/v1/vms", &wrong).await;
        assert!(status.is_client_error(), "{pointer}: {status}");
        assert_eq!(answer["code"], code, "{pointer}: {answer}");
    }
    let (_, vms) = daemon.json(Method::GET, "/v1/vms", &Value::Null).await;
    assert_eq!(vms, json!([]));
}

#[tokio::test]
async fn a_definition_survives_a_crash_and_disks_outlive_their_vm_only_if_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), &[]).await;
    let blob = daemon.put(b"blob".to_vec()).await;
    let right = spec("notes", [&blob; 4], "quiet");
    assert_eq!(daemon.json(Method::POST, "/v1/vms", &right).await.0, StatusCode::CREATED);
    let disk = folder.path().join("disks/notes.img");
    assert!(disk.is_file());

    // What a crash in the middle of making or removing others leaves behind.
    for half_made in [".other.new", ".other.gone"] {
        std::fs::create_dir(folder.path().join("vms").join(half_made)).unwrap();
    }
    std::fs::write(folder.path().join("blobs/.incoming-1-1"), "half").unwrap();
    daemon.crash_and_restart().await;
    assert_eq!(std::fs::read_dir(folder.path().join("vms")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).unwrap().count(), 1);
    let (_, vm) = daemon.json(Method::GET, "/v1/vms/notes", &Value::Null).await;
    assert_eq!(vm["state"], "created");

    // The same definition again is the same VM; another one is refused.
    assert_eq!(daemon.json(Method::POST, "/v1/vms", &right).await.0, StatusCode::CREATED);
    let mut other = right.clone();
    other["shape"]["vcpus"] = 2.into();
    let (status, answer) = daemon.json(Method::POST, "/v1/vms", &other).await;
    assert_eq!((status, answer["code"].as_str()), (StatusCode::CONFLICT, Some("vm_exists")));

    let (_, answer) = daemon.json(Method::DELETE, &format!("/v1/blobs/{blob}"), &Value::Null).await;
    assert_eq!(answer["code"], "blob_in_use");
    let (_, answer) = daemon.json(Method::POST, "/v1/vms/notes/stop", &Value::Null).await;
    assert_eq!(answer["code"], "vm_never_ran");
    let (_, answer) = daemon.json(Method::POST, "/v1/vms/notes/agent", &Value::Null).await;
    assert_eq!(answer["code"], "vm_not_running");

    let (_, answer) = daemon.json(Method::DELETE, "/v1/vms/notes", &Value::Null).await;
    assert_eq!(answer["code"], "disks_unsaid");
    let (status, _) = daemon.json(Method::DELETE, "/v1/vms/notes?disks=false", &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(disk.is_file());
    daemon.json(Method::POST, "/v1/vms", &right).await;
    daemon.json(Method::DELETE, "/v1/vms/notes?disks=true", &Value::Null).await;
    assert!(!disk.exists());
    let (_, answer) = daemon.json(Method::GET, "/v1/vms/notes", &Value::Null).await;
    assert_eq!(answer["code"], "vm_absent");
}

#[tokio::test]
async fn a_second_daemon_on_the_same_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]).await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_casemate-hostd"))
        .args(["serve", "--state", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another casemate-hostd uses"));
    drop(daemon);
}

#[tokio::test]
async fn sigterm_ends_the_daemon_although_clients_stay_connected() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]).await;
    let needle = format!("unix:{}", folder.path().join("api.sock").display());
    let [process] = casemate_hostd::processes::with_argument(&needle)[..] else { panic!("one daemon") };
    let began = std::time::Instant::now();
    process.end(std::time::Duration::from_secs(15)).await.unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
    drop(daemon);
}
