//! What does the command make of services that answer too much, ask for a token, or are to be stopped?

mod scene;

use std::sync::Mutex;

use casemate_api::validator::{Vm, VmSpec};
use casemate_cli::{
    Error,
    api::{ApiError, Validator},
    guest_image,
    token::Token,
};
use scene::{Scene, Service};

fn json(status: u16, body: &impl serde::Serialize) -> Vec<u8> {
    scene::answer(status, &serde_json::to_vec(body).unwrap())
}

/// An answer that announces a length and never gets there.
fn announced(status: u16, length: u64) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n[").into_bytes()
}

/// An answer without a length, of 16 MiB.
fn endless(status: u16) -> Vec<u8> {
    let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n");
    [head.into_bytes(), chunk.repeat(16)].concat()
}

/// What a command says on stderr, with its exit code.
fn said(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    let output = scene.run(arguments);
    (output.status.code(), scene.plain(&output.stderr))
}

#[test]
fn an_answer_that_is_too_long_is_not_read() {
    let scene = Scene::new();
    let hint = "hint: is this a validator, and of this version? `casemate doctor` compares\n";
    let bytes = 1 << 40;
    for (answer, limit) in [(announced(200, bytes), 8 << 20), (announced(500, bytes), 64 << 10)] {
        let service = Service::on_tcp(move |_| answer.clone());
        let (code, words) = said(&scene, &["ps", "--validator", &service.address]);
        let expected = format!(
            "error: {} answered {bytes} bytes or more, at most {limit} are read\n{hint}",
            service.address
        );
        assert_eq!((code, words), (Some(7), expected));
    }
    for (status, limit) in [(200, 8 << 20), (500, 64 << 10)] {
        let service = Service::on_tcp(move |_| endless(status));
        let (code, words) = said(&scene, &["ps", "--validator", &service.address]);
        let found = words.strip_prefix(&format!("error: {} answered ", service.address));
        let found = found.and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        // It stops at the piece that passes the limit.
        let found = found.unwrap_or_else(|| panic!("{words}"));
        assert!(found > limit && found <= limit + (1 << 20), "{words}");
        assert!(words.ends_with(&format!(" bytes or more, at most {limit} are read\n{hint}")), "{words}");
        assert_eq!(code, Some(7));
    }
}

#[test]
fn a_site_that_answers_too_much_is_not_read() {
    let scene = Scene::new();
    let service = Service::on_tcp(|_| announced(200, 1 << 40));
    let (code, words) = said(&scene, &["verify", &service.address]);
    assert_eq!(code, Some(7), "{words}");
    assert!(words.contains(" answered 1099511627776 bytes or more, at most 1048576 are read\n"), "{words}");
}

#[test]
fn an_answer_that_breaks_off_is_named() {
    let scene = Scene::new();
    let service = Service::on_tcp(|_| announced(200, 100));
    let (code, words) = said(&scene, &["ps", "--validator", &service.address]);
    assert_eq!(code, Some(7), "{words}");
    assert!(words.starts_with(&format!("error: {} broke off its answer: ", service.address)), "{words}");
}

#[test]
fn a_token_is_shown_to_the_validator_that_was_named_and_to_nobody_else() {
    let scene = Scene::new();
    scene.write("token", "s3cret\n");
    let none: [Vm; 0] = [];
    let named = Service::on_tcp(move |head| match head.contains("authorization: Bearer s3cret\r\n") {
        true => json(200, &none),
        false => json(401, &serde_json::json!({ "code": "unauthorised", "message": "no valid token" })),
    });
    let (code, words) = said(&scene, &["ps", "--validator", &named.address, "--token-file", "token"]);
    assert_eq!((code, words.as_str()), (Some(0), ""));
    let environment = [("CASEMATE_TOKEN_FILE", "token"), ("CASEMATE_VALIDATOR", &named.address)];
    assert!(scene.run_with(&["ps"], &environment).status.success());

    let (code, words) = said(&scene, &["ps", "--validator", &named.address]);
    let expected = "error: no valid token (unauthorised)\nhint: give the token that its operator gave you: --token-file \
                    FILE, or CASEMATE_TOKEN_FILE\n";
    assert_eq!((code, words.as_str()), (Some(8), expected));

    // This machine's own validator is a socket of this user.
    let own = Service::on_socket(&scene.home().join("local/validator.sock"), move |_| json(200, &[0; 0]));
    assert!(scene.run(&["ps", "--token-file", "token"]).status.success());
    assert_eq!(own.asked().len(), 1);
    assert!(!own.asked()[0].contains("s3cret"));

    let (code, words) = said(&scene, &["ps", "--validator", "http://192.0.2.1:80", "--token-file", "token"]);
    let expected = "error: http://192.0.2.1:80 is reached in the clear, and the token would be seen on the \
                    way\nhint: use https://, or a tunnel that ends at unix:/PATH or http://127.0.0.1:PORT\n";
    assert_eq!((code, words.as_str()), (Some(2), expected));

    scene.write("token", "two words");
    let (code, words) = said(&scene, &["ps", "--validator", &named.address, "--token-file", "token"]);
    let expected = "error: token holds no token: expected one line of 1 to 4096 visible ASCII characters\nhint: \
                    write what the validator's operator gave you into it\n";
    assert_eq!((code, words.as_str()), (Some(2), expected));
}

#[test]
fn a_token_is_one_line_and_is_never_printed() {
    let scene = Scene::new();
    let path = scene.app().join("token");
    let token = |text: &str| {
        scene.write("token", text);
        Token::read(&path)
    };
    let good = token("s3cret-words\n").unwrap();
    assert_eq!(format!("{good:?}"), "Token(..)");
    let validator = Validator::with_token("http://127.0.0.1:80", Some(&good)).unwrap();
    assert!(!format!("{validator:?}").contains("s3cret"));
    for wrong in ["", "\n", "two\nlines", "two words", "na\u{ef}ve", "a\u{7f}"] {
        let error = token(wrong).unwrap_err();
        assert!(matches!(error, Error::Token { .. }), "{wrong:?}: {error}");
    }
    assert!(token(&"x".repeat(Token::MAXIMUM_LEN)).is_ok());
    assert!(matches!(token(&"x".repeat(Token::MAXIMUM_LEN + 1)).unwrap_err(), Error::Token { .. }));
    assert!(matches!(token(&"x".repeat(8192)).unwrap_err(), Error::FileTooLarge { .. }));
}

#[test]
fn a_token_does_not_travel_in_the_clear() {
    let scene = Scene::new();
    scene.write("token", "s3cret");
    let token = Token::read(&scene.app().join("token")).unwrap();
    for safe in [
        "unix:/run/v.sock",
        "https://v.example",
        "http://127.0.0.1:80",
        "http://[::1]:80",
        "http://localhost",
    ] {
        assert!(Validator::with_token(safe, Some(&token)).is_ok(), "{safe}");
    }
    for open in [
        "http://v.example",
        "http://10.0.0.1:80",
        "http://127.0.0.1.v.example",
        "http://localhost@v.example",
        "http://127.0.0.1:80@v.example/",
    ] {
        let refused = Validator::with_token(open, Some(&token)).unwrap_err();
        assert!(matches!(refused, ApiError::TokenInClear { .. }), "{open}");
    }
}

#[test]
fn a_redirect_does_not_carry_the_token_elsewhere() {
    let scene = Scene::new();
    scene.write("token", "s3cret");
    let elsewhere = Service::on_tcp(|_| json(200, &[0; 0]));
    let target = elsewhere.address.clone();
    let named = Service::on_tcp(move |_| {
        format!("HTTP/1.1 302 X\r\nlocation: {target}/v1/vms\r\ncontent-length: 0\r\n\r\n").into_bytes()
    });
    let (code, words) = said(&scene, &["ps", "--validator", &named.address, "--token-file", "token"]);
    assert_eq!(code, Some(7), "{words}");
    assert!(words.contains(" answered 302 without a reason"), "{words}");
    assert!(elsewhere.asked().is_empty());
}

fn vm(name: &str, id: &str, state: &str) -> Vm {
    Vm {
        id: id.to_owned(),
        spec: VmSpec {
            name: name.to_owned(),
            image: "lite".to_owned(),
            simulated: true,
            shape: guest_image::shape(Some(1), None),
            app_id: [1; 32].into(),
            instance: [2; 16].into(),
            workload_digest: [3; 32].into(),
            launch_blob: String::new(),
            images: Vec::new(),
            volumes: Vec::new(),
            ports: Vec::new(),
            egress: false,
        },
        state: state.to_owned(),
        phase: None,
        failure: None,
        ports: Vec::new(),
        created_ms: 0,
        changed_ms: 0,
    }
}

/// A validator with two VMs that run and one that does not; they stop when they are told to.
fn validator(scene: &Scene) -> Service {
    let vms =
        Mutex::new([vm("db", "a1", "running"), vm("old", "b2", "stopped"), vm("web", "c3", "starting")]);
    Service::on_socket(&scene.home().join("local/validator.sock"), move |head| {
        let mut vms = vms.lock().unwrap();
        let mut line = head.split(' ');
        let (method, path) = (line.next().unwrap(), line.next().unwrap());
        if (method, path) == ("GET", "/v1/vms") {
            return json(200, &*vms);
        }
        match vms.iter_mut().find(|vm| path.starts_with(&format!("/v1/vms/{}", vm.id))) {
            Some(vm) if method == "POST" && path.ends_with("/stop") => {
                vm.state = "stopped".to_owned();
                json(200, vm)
            }
            Some(vm) => json(200, vm),
            None => json(200, &"ok"),
        }
    })
}

/// The paths of stop orders.
fn stops(service: &Service) -> Vec<String> {
    let posts = service.asked().into_iter().filter(|head| head.starts_with("POST "));
    posts.map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn stopping_the_services_leaves_vms_alone_and_says_so() {
    let scene = Scene::new();
    let service = validator(&scene);
    let (code, words) = said(&scene, &["local", "stop"]);
    assert_eq!(code, Some(0));
    assert!(words.contains("no services were running"), "{words}");
    assert!(
        words.ends_with("VMs        db, web go on; `casemate local stop --vms` stops VMs as well\n"),
        "{words}"
    );
    assert!(stops(&service).is_empty());

    let output = scene.run(&["local", "stop", "--json", "--quiet"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["vms_running"], serde_json::json!(["db", "web"]));
}

#[test]
fn with_vms_each_that_runs_is_stopped_first() {
    let scene = Scene::new();
    let service = validator(&scene);
    let output = scene.run(&["local", "stop", "--vms", "--json", "--quiet"]);
    assert!(output.status.success(), "{}", scene.plain(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["vms_stopped"], serde_json::json!(["db", "web"]));
    assert_eq!(answer["vms_running"], serde_json::json!([]));
    assert_eq!(stops(&service), ["/v1/vms/a1/stop", "/v1/vms/c3/stop"]);
}

#[test]
fn without_services_nobody_says_that_there_are_no_vms() {
    let scene = Scene::new();
    let output = scene.run(&["local", "stop", "--vms", "--json", "--quiet"]);
    assert!(output.status.success(), "{}", scene.plain(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["vms_running"].is_null());
    // Nothing was made only to be stopped.
    assert!(!scene.home().join("local/kms").exists());
}
