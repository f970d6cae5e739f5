//! What a handover becomes: services, names, ports, values, and the engine's configuration.

mod support;

use std::path::Path;

use casemate_agent::container::{Bind, Container};
use casemate_agent::names::Decision;
use casemate_agent::network::{self, Publish};
use casemate_agent::secrets::Secrets;
use casemate_agent::user::User;
use casemate_agent::workload::{Error, Workload};
use casemate_workload::compose::Condition;
use casemate_workload::manifest::ImageConfig;
use support::handover;

const NOTES: &str = r#"
services:
  db:
    image: postgres
    environment:
      POSTGRES_PASSWORD: ${PASSWORD}
      POSTGRES_DB: notes
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck: {test: ["CMD", "pg_isready"]}
    restart: always
  web:
    image: web
    command: ["serve", "--port", "80"]
    ports: ["8080:80"]
    depends_on: {db: {condition: service_healthy}}
    read_only: true
    tmpfs: [/tmp]
    configs: [{source: site, target: /etc/site.conf}]
    secrets: [token]
volumes: {data: {}}
configs: {site: {file: ./site.conf}}
secrets: {token: {environment: TOKEN}}
x-casemate:
  egress: ["api.example.org:443", "192.0.2.0/24:123/udp"]
"#;

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/entry".into()],
        cmd: vec!["default".into()],
        env: vec!["PATH=/opt/bin:/bin".into(), "POSTGRES_DB=other".into()],
        user: "www".into(),
        working_dir: "/srv".into(),
        ..ImageConfig::default()
    }
}

fn notes() -> Workload {
    Workload::new(handover(NOTES, &image(), &[("site.conf", "listen 80")])).unwrap()
}

fn secrets() -> Secrets {
    [("PASSWORD".to_owned(), b"hunter2".to_vec()), ("TOKEN".to_owned(), b"t0ken".to_vec())]
        .into_iter()
        .collect()
}

#[test]
fn the_schedule_gets_the_compose_files_rules() {
    let rules = notes().rules();
    assert_eq!(rules[1].depends_on, [(0, Condition::Healthy)]);
    assert!(rules[0].healthcheck.is_some());
}

#[test]
fn ports_and_names_follow_the_services() {
    let workload = notes();
    assert_eq!(workload.published(), [Publish { service: 1, guest_port: 8080, container_port: 80 }]);
    let mut query = simple_dns::Packet::new_query(1);
    let name = simple_dns::Name::new("api.example.org").unwrap();
    let class = simple_dns::QCLASS::CLASS(simple_dns::CLASS::IN);
    query.questions.push(simple_dns::Question::new(name, simple_dns::TYPE::A.into(), class, false));
    let decision = workload.zone().decide(&query.build_bytes_vec().unwrap());
    assert_eq!(decision, Decision::Forward { name: "api.example.org".into(), rules: vec![0] });
    let rules = network::rules(&workload.published(), &workload.manifest.egress);
    assert!(rules.contains("ip daddr 192.0.2.0/24 udp dport 123 accept"), "{rules}");
}

#[test]
fn values_are_rendered_with_delivered_secrets_only() {
    let workload = notes();
    let db = workload.services()[0];
    let environment = workload.environment(db, &secrets()).unwrap();
    assert!(environment.contains(&("POSTGRES_PASSWORD".into(), "hunter2".into())));
    assert!(matches!(workload.environment(db, &Secrets::default()), Err(Error::Value { .. })));
    let web = workload.services()[1];
    let content = |source| workload.content(web, source, &secrets()).unwrap().to_vec();
    assert_eq!(content(workload.config("site").unwrap()), b"listen 80");
    assert_eq!(content(workload.secret("token").unwrap()), b"t0ken");
}

#[test]
fn a_file_that_was_not_handed_over_is_named() {
    let mut handed = handover(NOTES, &image(), &[("site.conf", "listen 80")]);
    handed.files[0].content.push(b'!');
    assert!(matches!(Workload::new(handed), Err(Error::FileMissing { name, .. }) if name == "site.conf"));
}

#[test]
fn another_apps_genesis_is_refused() {
    let mut handed = handover(NOTES, &image(), &[("site.conf", "listen 80")]);
    let at = handed.genesis.len() - 1;
    handed.genesis[at] ^= 1;
    assert!(matches!(Workload::new(handed), Err(Error::Record(_))));
}

fn config(workload: &Workload, index: usize) -> serde_json::Value {
    let service = workload.services()[index];
    Container {
        service,
        image: &workload.image(service).config,
        user: &User { uid: 33, gid: 33, groups: vec![44], home: "/srv".into() },
        environment: &workload.environment(service, &secrets()).unwrap(),
        binds: &[Bind {
            source: "/data/volumes/data".into(),
            target: "/var/lib/data".into(),
            read_only: false,
        }],
        rootfs: Path::new("/run/agent/containers/x/rootfs"),
        network_namespace: Path::new("/run/netns/s0"),
        own_program: Path::new("/sbin/casemate-agent"),
    }
    .config()
    .unwrap()
}

#[test]
fn the_engine_is_told_what_compose_and_image_say() {
    let workload = notes();
    let (db, web) = (config(&workload, 0), config(&workload, 1));
    assert_eq!(db["process"]["args"], serde_json::json!(["/entry", "default"]));
    assert_eq!(web["process"]["args"], serde_json::json!(["/entry", "serve", "--port", "80"]));
    assert_eq!(web["process"]["cwd"], "/srv");
    assert_eq!(web["root"]["readonly"], true);
    assert_eq!(db["root"]["readonly"], false);
    assert_eq!(
        db["process"]["env"],
        serde_json::json!([
            "PATH=/opt/bin:/bin",
            "HOSTNAME=db",
            "HOME=/srv",
            "POSTGRES_DB=notes",
            "POSTGRES_PASSWORD=hunter2"
        ])
    );
    assert_eq!(db["process"]["user"], serde_json::json!({"uid": 33, "gid": 33, "additionalGids": [44]}));
}

#[test]
fn a_container_is_confined() {
    let workload = notes();
    let config = config(&workload, 1);
    assert_eq!(config["process"]["noNewPrivileges"], true);
    assert_eq!(config["process"]["capabilities"]["effective"], serde_json::json!([]), "it is not root");
    assert_eq!(
        config["linux"]["resources"]["devices"],
        serde_json::json!([{"allow": false, "access": "rwm"}])
    );
    assert!(config["linux"].get("devices").is_none(), "no device of the guest is passed on");
    assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    let namespaces: Vec<&str> =
        config["linux"]["namespaces"].as_array().unwrap().iter().filter_map(|n| n["type"].as_str()).collect();
    assert_eq!(namespaces, ["pid", "ipc", "uts", "mount", "cgroup", "network"]);
    let text = config.to_string();
    for outside in
        ["/dev/sev", "/dev/vport", "/dev/vsock", "/dev/mapper", "/run/casemate", "\"source\":\"/dev"]
    {
        assert!(!text.contains(outside), "{outside}");
    }
    let bounding = config["process"]["capabilities"]["bounding"].as_array().unwrap();
    for absent in ["CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_MKNOD", "CAP_SYS_PTRACE"] {
        assert!(!bounding.iter().any(|present| present == absent), "{absent}");
    }
}

#[test]
fn folders_are_mounted_before_what_lies_inside_them() {
    let workload = notes();
    let config = config(&workload, 1);
    let targets: Vec<&str> = config["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|mount| mount["destination"].as_str())
        .collect();
    for (at, target) in targets.iter().enumerate() {
        let inside = |later: &&&str| target.starts_with(&format!("{later}/"));
        assert_eq!(targets[at..].iter().find(inside), None, "{target}");
    }
    assert!(targets.contains(&"/tmp") && targets.contains(&"/var/lib/data"));
}
