//! Every rule has a file that breaks it and nothing else.

use super::*;
use crate::template::Template;

fn read(text: &str) -> Result<Compose, Error> {
    parse(text, &Substitutions::from_iter([("TAG", "1.27"), ("PORT", "8080")]))
}

/// The problem of a service with `body` (YAML lines, indented here), and its line.
#[track_caller]
fn refused(text: &str) -> (usize, String) {
    let error = read(text).expect_err("must be refused");
    (error.place.line, error.problem.to_string())
}

const NOTES: &str = r#"
name: notes
x-comment: anything
services:
  db:
    image: oci:images/db
    command: ["postgres", "-c", "jit=off"]
    environment:
      POSTGRES_PASSWORD: ${DB_PASSWORD:?choose one}
      PGDATA: /data/pg
    volumes: ["pgdata:/data"]
    tmpfs: /run/postgresql:size=16m,mode=0755
    user: "999:999"
    stop_signal: INT
    stop_grace_period: 1m
    healthcheck:
      test: ["CMD", "pg_isready"]
      interval: 2s
      start_period: 1m
      retries: 10
  web:
    image: "registry.example/web:${TAG}"
    ports: ["127.0.0.1:${PORT}:80"]
    environment:
      - DSN=postgres://u:${DB_PASSWORD}@db/notes
      - API_KEY
      - COST=5$$
    depends_on:
      db: {condition: service_healthy}
    configs:
      - source: page
        target: /etc/page.html
        mode: 0440
    secrets: [token, key]
    restart: on-failure:3
    read_only: true
    cap_drop: [ALL]
    cap_add: [NET_BIND_SERVICE]
    mem_limit: 256m
volumes:
  pgdata:
configs:
  page: {file: ./page.html}
secrets:
  token: {environment: TOKEN}
  key: {file: key.pem}
x-casemate:
  egress: ["mirror.example.org:443", "1.1.1.1:53/udp"]
  observe: {logs: true}
  evidence: [web, db, web]
  volume_size: 2g
  memory: 1g
  vcpus: 2
"#;

#[test]
fn a_whole_file_is_read() {
    let app = read(NOTES).unwrap();
    assert_eq!(app.name.as_deref(), Some("notes"));
    assert_eq!(app.start_order(), ["db", "web"]);
    let (db, web) = (&app.services["db"], &app.services["web"]);
    assert_eq!(db.stop_grace_period_ms, 60_000);
    assert_eq!(db.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(db.healthcheck.as_ref().unwrap().test, HealthTest::Command(vec!["pg_isready".into()]));
    assert_eq!(db.healthcheck.as_ref().unwrap().timeout_ms, 30_000);
    assert_eq!(
        db.tmpfs[0],
        Tmpfs { target: "/run/postgresql".into(), size_bytes: Some(16 << 20), mode: Some(0o755) }
    );
    assert_eq!(
        db.volumes[0],
        VolumeMount { volume: "pgdata".into(), target: "/data".into(), read_only: false }
    );
    assert_eq!(web.image, ImageSource::Reference("registry.example/web:1.27".into()));
    assert_eq!(web.ports[0].guest_port(), 8080);
    assert_eq!(web.environment["API_KEY"], Template::variable("API_KEY"));
    assert_eq!(web.environment["COST"].render(&|_| None).unwrap(), "5$");
    assert_eq!(web.depends_on["db"].condition, Condition::Healthy);
    assert_eq!(web.configs[0].mode, 0o440);
    assert_eq!(web.secrets[1].target, "/run/secrets/key");
    assert_eq!(web.restart, Restart::OnFailure(Some(3)));
    assert_eq!(app.casemate.egress.len(), 2);
    assert!(app.casemate.observe.logs && !app.casemate.observe.exec);
    assert_eq!(app.casemate.evidence, ["db", "web"]);
    let names: Vec<_> = app.secret_names().into_iter().collect();
    assert_eq!(
        names,
        [
            ("API_KEY".into(), true),
            ("DB_PASSWORD".into(), true),
            ("TOKEN".into(), true),
            ("secret:key".into(), true)
        ]
    );
    assert_eq!(app.public_files(), ["page.html"]);
}

#[test]
fn both_ways_to_list_variables_agree() {
    let listed = variables(NOTES).unwrap();
    assert_eq!(listed.public.into_iter().collect::<Vec<_>>(), [("PORT".into(), true), ("TAG".into(), true)]);
    let mut model = read(NOTES).unwrap().secret_names();
    model.retain(|name, _| !name.starts_with("secret:"));
    assert_eq!(listed.secret, model);
}

#[test]
fn a_refusal_names_line_key_and_what_to_do() {
    let (line, problem) = refused("services:\n  web:\n    image: a\n    network_mode: host\n");
    assert_eq!(line, 4);
    assert_eq!(
        problem,
        "not supported by the lite profile: 'network_mode' in a service; all services share one private \
         network; remove it"
    );
}

#[test]
fn keys_outside_the_table_are_refused_everywhere() {
    for section in Section::ALL {
        let text = match section {
            Section::File => "services: {a: {image: a}}\nbogus: 1",
            Section::Service => "services: {a: {image: a, bogus: 1}}",
            Section::Build => "services: {a: {build: {context: a, bogus: 1}}}",
            Section::Healthcheck => "services: {a: {image: a, healthcheck: {test: a, bogus: 1}}}",
            Section::DependsOn => "services: {a: {image: a}, b: {image: b, depends_on: {a: {bogus: 1}}}}",
            Section::Port => "services: {a: {image: a, ports: [{target: 1, bogus: 1}]}}",
            Section::Mount => "services: {a: {image: a, volumes: [{type: tmpfs, target: /a, bogus: 1}]}}",
            Section::MountTmpfs => {
                "services: {a: {image: a, volumes: [{type: tmpfs, target: /a, tmpfs: {bogus: 1}}]}}"
            }
            Section::FileMount => {
                "services: {a: {image: a, configs: [{source: c, bogus: 1}]}}\nconfigs: {c: {content: c}}"
            }
            Section::Volume => "services: {a: {image: a}}\nvolumes: {v: {bogus: 1}}",
            Section::Config => "services: {a: {image: a}}\nconfigs: {c: {content: c, bogus: 1}}",
            Section::Secret => "services: {a: {image: a}}\nsecrets: {c: {file: c, bogus: 1}}",
            Section::Extension => "services: {a: {image: a}}\nx-casemate: {bogus: 1}",
            Section::Observe => "services: {a: {image: a}}\nx-casemate: {observe: {bogus: true}}",
        };
        let error = read(text).unwrap_err();
        assert!(
            matches!(&error.problem, Problem::UnsupportedKey { key, section: found, .. } if key == "bogus" && *found == section.name()),
            "{section:?}: {error}"
        );
        let without = text.replace(", bogus: 1", "").replace("bogus: 1", "").replace("bogus: true", "");
        read(&without).unwrap_or_else(|error| panic!("{section:?} without the key: {error}"));
    }
}

/// What a service may not say, and the beginning of the answer.
const REFUSED_SERVICES: &[(&str, &str)] = &[
    ("privileged: true", "'privileged: true' is not supported; expected false"),
    ("security_opt: ['seccomp:unconfined']", "'security_opt: seccomp:unconfined' is not supported"),
    ("platform: linux/arm64", "'platform: linux/arm64' is not supported"),
    ("cap_add: [SYS_ADMIN]", "'cap_add: SYS_ADMIN' is not supported"),
    ("cap_add: [ALL]", "'cap_add: ALL' is not supported"),
    (
        "volumes: ['/etc:/etc']",
        "'volumes: /etc:/etc' is not supported; expected NAME:PATH; nothing of the host",
    ),
    ("volumes: ['./a:/a']", "'volumes: ./a:/a' is not supported; expected NAME:PATH; nothing of the host"),
    ("volumes: ['/data']", "'volumes: /data' is not supported; expected NAME:PATH; anonymous"),
    ("volumes: ['v:/a:z']", "'volumes: v:/a:z' is not supported"),
    ("volumes: ['v:a']", "'volumes: v:a' is not supported"),
    ("volumes: ['v:/a/../b']", "'volumes: v:/a/../b' is not supported"),
    ("volumes: ['v:/a']", "volume 'v' is not declared; add it under 'volumes:'"),
    ("volumes: [{type: bind, source: /, target: /a}]", "'type: bind' is not supported"),
    (
        "volumes: [{type: tmpfs, target: /a, read_only: true}]",
        "not supported by the lite profile: 'read_only'",
    ),
    ("tmpfs: ['/a:exec']", "'tmpfs: /a:exec' is not supported"),
    ("tmpfs: [/a, /a]", "two mounts at /a"),
    ("ports: ['80/udp']", "'ports: 80/udp' is not supported"),
    ("ports: ['8000-8010:8000-8010']", "'ports: 8000-8010:8000-8010' is not supported"),
    ("ports: ['80', '80']", "port 80 is published twice"),
    ("ports: 80", "'ports' must be a list"),
    ("ports: [{published: 80}]", "ports has no 'target'"),
    ("environment: {A: true}", "'true' without quotes is no text"),
    ("environment: {A: 1.10}", "'1.10' without quotes is a number"),
    ("environment: {A: 0755}", "'0755' without quotes is a number"),
    ("environment: {A-B: x}", "'environment: A-B' is not supported"),
    ("environment: [A=1, A=2]", "'A' is given twice"),
    ("environment: {A: '$5'}", "'$' begins no variable"),
    ("environment: {A: [1]}", "'environment' must be text"),
    (
        "environment: {A: '${TAG}'}\n    hostname: '${TAG}'",
        "variable TAG is used here, where values are public",
    ),
    ("command: 'echo ${UNSET}'", "variable UNSET is not set"),
    ("command: \"echo 'a\"", "'command: echo 'a' is not supported; expected words with closed quotes"),
    ("healthcheck: {interval: 1s}", "healthcheck has no 'test'"),
    ("healthcheck: {test: [RUN, a]}", "'test: RUN' is not supported"),
    ("healthcheck: {test: a, interval: 10}", "'interval: 10' is not supported; expected a duration"),
    ("depends_on: [other]", "service 'other' is not declared"),
    ("depends_on: [a]", "'a' waits for itself through depends_on: a -> a"),
    ("depends_on: {a: {condition: service_healthy}}", "'a' has no healthcheck"),
    ("depends_on: {a: {condition: healthy}}", "'condition: healthy' is not supported"),
    ("depends_on: {a: {required: false}}", "'required: false' is not supported"),
    ("configs: [c]", "config 'c' is not declared"),
    ("secrets: [c]", "secret 'c' is not declared"),
    ("user: 'a b'", "'user: a b' is not supported"),
    ("user: '1:2:3'", "'user: 1:2:3' is not supported"),
    ("working_dir: a", "'working_dir: a' is not supported"),
    ("restart: sometimes", "'restart: sometimes' is not supported"),
    ("read_only: yes", "'read_only: yes' is not supported; expected true or false"),
    ("stop_signal: SIGBOGUS", "'stop_signal: SIGBOGUS' is not supported"),
    ("stop_grace_period: 5", "'stop_grace_period: 5' is not supported"),
    ("mem_limit: lots", "'mem_limit: lots' is not supported"),
    ("hostname: a_b", "'hostname: a_b' is not supported"),
    ("build: ../other", "'build: ../other' is not supported"),
    ("networks: [a]", "not supported by the lite profile: 'networks' in a service"),
    ("env_file: .env", "not supported by the lite profile: 'env_file' in a service"),
    ("image: b", "'image' is given twice"),
];

#[test]
fn what_a_service_may_not_say() {
    for (body, expected) in REFUSED_SERVICES {
        let (_, problem) = refused(&format!("services:\n  a:\n    image: a\n    {body}\n"));
        assert!(problem.starts_with(expected), "{body}: {problem}");
    }
}

/// What a file may not say, and the beginning of the answer.
const REFUSED_FILES: &[(&str, &str)] = &[
    ("", "the file is empty"),
    ("services:", "the file has no 'services'"),
    ("services: {}", "'services' is empty"),
    ("[]", "'compose file' must be a mapping"),
    ("services: {a: {command: b}}", "a service has no 'image' or 'build'"),
    ("services: {a b: {image: a}}", "'services: a b' is not supported"),
    ("services: {a: {image: a}}\n---\nservices: {}", "a second document"),
    ("services: {a: &x {image: a}}", "anchors and aliases"),
    ("services: {a: {image: a}, b: *x}", "not YAML"),
    ("services: {a: {<<: {image: a}}}", "merge keys"),
    ("services: {a: {image: !!str a}}", "tags ('!')"),
    ("services: {a: {image: !secret a}}", "tags ('!')"),
    ("services: {a: {image: a}, a: {image: a}}", "'a' is given twice"),
    ("services: {[a]: {image: a}}", "a key must be text"),
    ("services: {a: {image: \"a\\0\"}}", "text holds a NUL"),
    ("services: {a: {image: a", "not YAML"),
    (
        "services: {a: {image: a}}\nvolumes: {v: {external: true}}",
        "not supported by the lite profile: 'external' in volumes",
    ),
    ("services: {a: {image: a}}\nvolumes: {v: {driver: nfs}}", "'driver: nfs' is not supported"),
    ("services: {a: {image: a}}\nconfigs: {c: {file: ../c}}", "'file: ../c' is not supported"),
    ("services: {a: {image: a}}\nconfigs: {c: {file: /etc/passwd}}", "'file: /etc/passwd' is not supported"),
    ("services: {a: {image: a}}\nconfigs: {c: {}}", "configs has no 'file' or 'environment'"),
    (
        "services: {a: {image: a}}\nconfigs: {c: {file: c, content: c}}",
        "'c' must be either a file, content or a variable",
    ),
    (
        "services: {a: {image: a}}\nsecrets: {c: {content: hunter2}}",
        "not supported by the lite profile: 'content' in secrets",
    ),
    ("services: {a: {image: a}}\nsecrets: {c: {environment: 'A B'}}", "'environment: A B' is not supported"),
    ("services: {a: {image: a}}\nx-casemate: {egress: ['*:443']}", "'egress: *:443' is not supported"),
    ("services: {a: {image: a}}\nx-casemate: {observe: true}", "'observe' must be a mapping"),
    ("services: {a: {image: a}}\nx-casemate: {profile: full}", "'profile: full' is not supported"),
    ("services: {a: {image: a}}\nx-casemate: {memory: 100m}", "'memory: 100m' is not supported"),
    ("services: {a: {image: a}}\nx-casemate: {vcpus: 0}", "'vcpus: 0' is not supported"),
    ("services: {a: {image: a}}\nx-casemate: {volume_size: 1m}", "'volume_size: 1m' is not supported"),
    (
        "services: {a: {image: a}}\nx-casemate: {domains: [Example.org]}",
        "'domains: Example.org' is not supported",
    ),
    ("services: {a: {image: a}}\nx-casemate: {evidence: a}", "'evidence' must be a list"),
    ("services: {a: {image: a}}\nx-casemate: {evidence: true}", "'evidence' must be a list"),
    ("services: {a: {image: a}}\nx-casemate: {evidence: [b]}", "service 'b' is not declared"),
    (
        "services: {a: {image: a, tmpfs: /run/casemate/evidence.sock}}\nx-casemate: {evidence: [a]}",
        "two mounts at /run/casemate/evidence.sock",
    ),
    (
        "services: {a: {image: a, depends_on: [b]}, b: {image: b, depends_on: [a]}}",
        "'a' waits for itself through depends_on: a -> b -> a",
    ),
];

#[test]
fn what_a_file_may_not_say() {
    for (text, expected) in REFUSED_FILES {
        let (_, problem) = refused(text);
        assert!(problem.starts_with(expected), "{text}: {problem}");
    }
}

#[test]
fn size_depth_and_number_are_bounded() {
    let deep = "services: ".to_owned() + &"[".repeat(200);
    assert!(matches!(read(&deep).unwrap_err().problem, Problem::TooDeep { .. }));
    let wide = format!("services: [{}]", "a,".repeat(20_000));
    assert!(matches!(read(&wide).unwrap_err().problem, Problem::TooManyNodes { .. }));
    let long = "#".repeat(300_000);
    assert!(matches!(read(&long).unwrap_err().problem, Problem::TooLong { .. }));
    assert!(matches!(
        parse_bytes(b"services: \xff", &Substitutions::default()).unwrap_err().problem,
        Problem::NotUtf8
    ));
}

#[test]
fn every_key_of_the_table_is_read_somewhere() {
    // A key that is listed but never taken would be accepted and ignored.
    let sources = [
        include_str!("file.rs"),
        include_str!("service.rs"),
        include_str!("mounts.rs"),
        include_str!("ports.rs"),
        include_str!("extension.rs"),
    ]
    .concat();
    for key in KEYS {
        assert!(sources.contains(&format!("\"{}\"", key.name)), "{} in {}", key.name, key.section.name());
    }
}

proptest::proptest! {
    #[test]
    fn input_never_panics(text in "[a-z:{}\\[\\]\\-$ \n'\"&*!|>#,0-9?]{0,200}") {
        let _ = read(&text);
        let _ = variables(&text);
    }

    #[test]
    fn changed_files_never_panic(at in 0usize..1400, with in proptest::char::any()) {
        let changed: String = NOTES.char_indices().map(|(i, c)| if i == at { with } else { c }).collect();
        let _ = read(&changed);
    }
}
