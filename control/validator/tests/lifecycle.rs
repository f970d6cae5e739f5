//! Does a VM go through its life as asked, whatever the host answers and whenever the validator dies?
//!
//! The host is a script behind a real socket; the guests' side is tested with real hosts in `tests/`.

mod house;

use axum::http::StatusCode;
use casemate_api::{
    host::{HostVmState, VmFailure, VmFailureCode},
    problem::Problem,
    validator::VmEvent,
};
use casemate_validator::reconcile;
use house::{Client, House, notices, spec};
use serde_json::json;

#[tokio::test]
async fn a_vm_lives_and_is_removed() {
    let house = House::new().await;
    let (validator, client) = house.validator().await;
    let vm = client.create("notes").await;
    assert_eq!(vm.state, "starting");

    reconcile::round(&validator).await.unwrap();
    reconcile::round(&validator).await.unwrap();
    let expected = ["GET", "create", "start", "GET"].map(str::to_owned);
    assert_eq!(house.calls(), expected, "created and started once");
    assert_eq!(client.vm("notes").await.ports[0].host_port, 41000, "the host's choice is kept");

    house.set(&vm.id, |vm| notices(vm, &["booted", "ready"]));
    reconcile::round(&validator).await.unwrap();
    reconcile::round(&validator).await.unwrap();
    let running = client.vm("notes").await;
    assert_eq!((running.state.as_str(), running.phase.as_deref()), ("running", Some("ready")));
    let (_, events) = client.call("GET", "/v1/vms/notes/events", None).await;
    let events: Vec<VmEvent> = serde_json::from_value(events).unwrap();
    let values = events.iter().map(|event| event.value.as_str()).collect::<Vec<_>>();
    assert_eq!(values, ["defined", "starting", "running", "booted", "ready"], "each notice once");

    client.call("POST", "/v1/vms/notes/stop", None).await;
    reconcile::round(&validator).await.unwrap();
    assert_eq!(client.vm("notes").await.state, "stopped");

    client.call("DELETE", "/v1/vms/notes?disks=true", None).await;
    reconcile::round(&validator).await.unwrap();
    assert_eq!(client.vm(&vm.id).await.state, "removed");
    assert!(house.calls().contains(&"delete disks=true".to_owned()));
    assert_ne!(client.create("notes").await.id, vm.id, "the name is free, the id is not");
}

#[tokio::test]
async fn a_host_that_refuses_fails_the_vm_with_its_own_words() {
    let house = House::new().await;
    let (validator, client) = house.validator().await;
    let problem = Problem {
        code: "port_taken".into(),
        message: "port 8080 is taken".into(),
        hint: Some("free it".into()),
    };
    house.host.lock().unwrap().refuse_next = Some((StatusCode::CONFLICT, problem));
    let vm = client.create("notes").await;
    reconcile::round(&validator).await.unwrap();
    let failed = client.vm(&vm.id).await;
    let failure = failed.failure.unwrap();
    assert_eq!((failed.state.as_str(), failure.code.as_str()), ("failed", "port_taken"));
    assert_eq!(failure.hint.as_deref(), Some("free it"));
}

#[tokio::test]
async fn a_guest_that_fails_is_failed_and_may_be_started_again() {
    let house = House::new().await;
    let (validator, client) = house.validator().await;
    let vm = client.create("notes").await;
    reconcile::round(&validator).await.unwrap();
    house.set(&vm.id, |vm| {
        vm.state = HostVmState::Failed;
        vm.failure = Some(VmFailure {
            code: VmFailureCode::FirmwareHalted,
            message: "the firmware halted".into(),
            hint: "rebuild the image".into(),
        });
    });
    reconcile::round(&validator).await.unwrap();
    let failed = client.vm(&vm.id).await;
    assert_eq!((failed.state.as_str(), failed.failure.unwrap().code.as_str()), ("failed", "firmware_halted"));

    client.call("POST", "/v1/vms/notes/start", None).await;
    reconcile::round(&validator).await.unwrap();
    let again = client.vm(&vm.id).await;
    assert_eq!((again.state.as_str(), again.failure), ("starting", None));
}

#[tokio::test]
async fn a_guest_that_goes_away_unasked_has_failed() {
    let house = House::new().await;
    let (validator, client) = house.validator().await;
    let vm = client.create("notes").await;
    reconcile::round(&validator).await.unwrap();
    house.set(&vm.id, |vm| vm.state = HostVmState::Stopped);
    reconcile::round(&validator).await.unwrap();
    assert_eq!(client.vm(&vm.id).await.failure.unwrap().code, "guest_powered_off");
}

#[tokio::test]
async fn a_restart_between_any_two_steps_loses_nothing() {
    let house = House::new().await;
    let id = {
        let (_, client) = house.validator().await;
        client.create("notes").await.id // dies before the host was told
    };
    {
        let (validator, _) = house.validator().await;
        reconcile::round(&validator).await.unwrap(); // told; dies before it looked
    }
    house.set(&id, |vm| notices(vm, &["ready"]));
    {
        let (validator, client) = house.validator().await;
        reconcile::round(&validator).await.unwrap();
        assert_eq!(client.vm(&id).await.state, "running");
        client.call("POST", &format!("/v1/vms/{id}/stop"), None).await; // dies before the host was told
    }
    let (validator, client) = house.validator().await;
    reconcile::round(&validator).await.unwrap();
    assert_eq!(client.vm(&id).await.state, "stopped");
    let created = house.calls().iter().filter(|call| *call == "create").count();
    assert_eq!(created, 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let house = House::new().await;
    let (_validator, client) = house.validator().await;
    let table = [
        ("name", json!("No Name"), "specification"),
        (
            "shape",
            json!({"vcpus": 0, "vcpu_type": "EPYC-v4", "memory_mib": 512, "machine": "q35", "guest_features": 1}),
            "specification",
        ),
        (
            "shape",
            json!({"vcpus": 2, "vcpu_type": "EPYC-v4", "memory_mib": 64, "machine": "q35", "guest_features": 1}),
            "specification",
        ),
    ];
    for (field, value, code) in table {
        let mut body = spec("notes");
        body[field] = value;
        let (status, problem) = client.call("POST", "/v1/vms", Some(body)).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some(code)), "{field}: {problem}");
    }
    let mut unknown = spec("notes");
    unknown["debug"] = json!(true);
    let (status, problem) = client.call("POST", "/v1/vms", Some(unknown)).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("body")));

    client.create("notes").await;
    let (status, problem) = client.call("POST", "/v1/vms", Some(spec("notes"))).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("name_taken")));
    let (status, problem) = client.call("GET", "/v1/vms/other", None).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("vm_not_found")));
    let (status, problem) = client.call("PUT", "/v1/blobs/..%2fetc", Some(json!(1))).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("specification")));

    let long = json!({"name": "x".repeat(4 << 20)});
    for (method, path, body, status, code) in [
        ("POST", "/v1/vms", Some(long.clone()), 413, "body_too_large"),
        ("POST", "/v1/vms/notes/agent", Some(long), 413, "body_too_large"),
        ("GET", "/v1/vms/notes/events?after=last", None, 422, "query"),
        ("DELETE", "/v1/vms/notes?disk=true", None, 422, "query"),
        ("GET", "/v1/nothing", None, 404, "no_such_call"),
        ("PUT", "/v1/vms", None, 405, "method"),
    ] {
        let (found, problem) = client.call(method, path, body).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{method} {path}: {problem}");
    }
}

#[tokio::test]
async fn an_image_is_a_name_and_a_path_only_where_that_was_allowed() {
    let mut house = House::new().await;
    let call = async |client: &Client, image: &str| {
        let mut body = spec("notes");
        body["image"] = json!(image);
        client.call("POST", "/v1/vms", Some(body)).await
    };
    for accept_image_paths in [false, true] {
        house.options.accept_image_paths = accept_image_paths;
        let (_validator, client) = house.validator().await;
        for image in ["", "../lite", "lite/../../etc", ".hidden", "a b", "relative/path"] {
            let (status, problem) = call(&client, image).await;
            assert_eq!((status, problem["code"].as_str()), (422, Some("specification")), "{image}");
            assert!(problem["message"].as_str().unwrap().starts_with("`image` is "), "{problem}");
        }
        let (status, problem) = call(&client, "/srv/images/lite").await;
        match accept_image_paths {
            true => assert_eq!(status, 200, "{problem}"),
            false => assert_eq!((status, problem["code"].as_str()), (422, Some("specification"))),
        }
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_answered() {
    let mut house = House::new().await;
    house.options.token = Some("correct".to_owned());
    let (_validator, client) = house.validator().await;
    let (status, problem) = client.call("GET", "/v1/vms", None).await;
    assert_eq!((status, problem["code"].as_str()), (401, Some("unauthorised")));
}
