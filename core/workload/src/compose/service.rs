//! What does one service ask for?

use std::collections::BTreeMap;

use super::{
    error::{Error, Place, Problem},
    fields::{Fields, Public, check_name, excerpt, pairs, sequence, template},
    keys::Section,
    model::{
        Build, CAPABILITIES, Condition, Dependency, HealthTest, Healthcheck, ImageSource, Restart, Service,
    },
    mounts, ports, units,
    yaml::{Node, Value},
};
use crate::template::{Template, is_variable_name};

/// Reads one service.
pub(super) fn read(name: &str, node: Node, place: Place, public: &Public) -> Result<Service, Error> {
    let mut fields = Fields::open(Section::Service, name, node)?;
    for ignored in ["labels", "pull_policy", "expose"] {
        fields.take(ignored);
    }
    if let Some(node) = fields.take("platform") {
        public.value("platform", &node, "linux/amd64", |text| (text == "linux/amd64").then_some(()))?;
    }
    if let Some(node) = fields.take("privileged") {
        public.value("privileged", &node, "false", |text| (text == "false").then_some(()))?;
    }
    if let Some(node) = fields.take("security_opt") {
        for item in sequence("security_opt", node)? {
            public.value("security_opt", &item, "no-new-privileges:true", |text| {
                matches!(text, "no-new-privileges:true" | "no-new-privileges=true" | "no-new-privileges")
                    .then_some(())
            })?;
        }
    }
    let (volumes, mut tmpfs) = mounts::volumes(fields.take("volumes"), public)?;
    tmpfs.extend(mounts::tmpfs(fields.take("tmpfs"), public)?);
    Ok(Service {
        name: name.to_owned(),
        image: read_image(&mut fields, place, public)?,
        command: fields.take("command").map(|node| public.command("command", node)).transpose()?,
        entrypoint: fields.take("entrypoint").map(|node| public.command("entrypoint", node)).transpose()?,
        environment: fields.take("environment").map(read_environment).transpose()?.unwrap_or_default(),
        ports: ports::read(fields.take("ports"), public)?,
        volumes,
        tmpfs,
        restart: fields
            .take("restart")
            .map(|node| read_restart(&node, public))
            .transpose()?
            .unwrap_or_default(),
        healthcheck: match fields.take("healthcheck") {
            Some(node) => read_healthcheck(node, public)?,
            None => None,
        },
        depends_on: match fields.take("depends_on") {
            Some(node) => read_dependencies(node, public)?,
            None => BTreeMap::new(),
        },
        configs: mounts::files("configs", fields.take("configs"), public)?,
        secrets: mounts::files("secrets", fields.take("secrets"), public)?,
        user: fields.take("user").map(|node| public.value("user", &node, USER, read_user)).transpose()?,
        working_dir: match fields.take("working_dir") {
            Some(node) => Some(public.value("working_dir", &node, "an absolute path", |text| {
                (text == "/" || units::is_absolute_path(text)).then(|| text.to_owned())
            })?),
            None => None,
        },
        hostname: match fields.take("hostname") {
            Some(node) => Some(public.value("hostname", &node, "letters, digits, '-' and '.'", |text| {
                (units::is_name(text) && !text.contains('_')).then(|| text.to_owned())
            })?),
            None => None,
        },
        read_only: optional_boolean(&mut fields, "read_only", public)?,
        cap_add: read_capabilities(fields.take("cap_add"), "cap_add", public)?,
        cap_drop: read_capabilities(fields.take("cap_drop"), "cap_drop", public)?,
        stop_grace_period_ms: match fields.take("stop_grace_period") {
            Some(node) => public.duration_ms("stop_grace_period", &node)?,
            None => 10_000,
        },
        stop_signal: match fields.take("stop_signal") {
            Some(node) => Some(public.value("stop_signal", &node, "a signal such as SIGINT", read_signal)?),
            None => None,
        },
        init: optional_boolean(&mut fields, "init", public)?,
        mem_limit_bytes: fields
            .take("mem_limit")
            .map(|node| public.size_bytes("mem_limit", &node))
            .transpose()?,
        pids_limit: fields.take("pids_limit").map(|node| public.number("pids_limit", &node)).transpose()?,
        shm_size_bytes: fields
            .take("shm_size")
            .map(|node| public.size_bytes("shm_size", &node))
            .transpose()?,
    })
}

fn optional_boolean(fields: &mut Fields, key: &'static str, public: &Public) -> Result<bool, Error> {
    fields.take(key).map_or(Ok(false), |node| public.boolean(key, &node))
}

fn read_image(fields: &mut Fields, place: Place, public: &Public) -> Result<ImageSource, Error> {
    let image = fields.take("image");
    if let Some(node) = fields.take("build") {
        // Docker tags what it built with `image:`; here the result is named by digest alone.
        if let Some(image) = image {
            read_reference(&image, public)?;
        }
        return Ok(ImageSource::Build(read_build(node, public)?));
    }
    let Some(node) = image else {
        return Err(Problem::MissingKey { section: "a service", key: "image' or 'build" }.at(place));
    };
    Ok(ImageSource::Reference(read_reference(&node, public)?))
}

fn read_reference(node: &Node, public: &Public) -> Result<String, Error> {
    public.value("image", node, "an image reference without spaces", |text| {
        let plain = (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| text.to_owned())
    })
}

fn read_build(node: Node, public: &Public) -> Result<Build, Error> {
    if matches!(node.value, Value::Scalar { .. }) {
        let context = read_context(&node, public)?;
        return Ok(Build { context, dockerfile: None, target: None, args: BTreeMap::new() });
    }
    let mut fields = Fields::open(Section::Build, "build", node)?;
    let mut args = BTreeMap::new();
    if let Some(node) = fields.take("args") {
        for (place, name, value) in pairs("args", node)? {
            let Some(value) = value else {
                return Err(Problem::MissingKey { section: "build.args", key: "value" }.at(place));
            };
            args.insert(name, public.text("args", &value)?);
        }
    }
    Ok(Build {
        context: read_context(&fields.require("context")?, public)?,
        dockerfile: match fields.take("dockerfile") {
            Some(node) => {
                Some(public.value("dockerfile", &node, "a file inside the context", units::relative_path)?)
            }
            None => None,
        },
        target: fields.take("target").map(|node| public.text("target", &node)).transpose()?,
        args,
    })
}

fn read_context(node: &Node, public: &Public) -> Result<String, Error> {
    public.value("build", node, "a folder inside the compose file's folder", |text| {
        if matches!(text, "." | "./") {
            Some(".".to_owned())
        } else {
            units::relative_path(text.trim_end_matches('/'))
        }
    })
}

fn read_environment(node: Node) -> Result<BTreeMap<String, Template>, Error> {
    let mut environment = BTreeMap::new();
    for (place, name, value) in pairs("environment", node)? {
        if !is_variable_name(&name) {
            return Err(Problem::WrongValue {
                key: "environment".to_owned(),
                found: excerpt(&name),
                expected: "names of letters, digits and '_', beginning with no digit",
            }
            .at(place));
        }
        let value = match value {
            Some(node) => template("environment", &node)?,
            None => Template::variable(&name),
        };
        environment.insert(name, value);
    }
    Ok(environment)
}

fn read_restart(node: &Node, public: &Public) -> Result<Restart, Error> {
    public.value("restart", node, "no, always, on-failure[:N] or unless-stopped", |text| match text {
        "no" => Some(Restart::No),
        "always" => Some(Restart::Always),
        "unless-stopped" => Some(Restart::UnlessStopped),
        "on-failure" => Some(Restart::OnFailure(None)),
        other => other.strip_prefix("on-failure:")?.parse().ok().map(|times| Restart::OnFailure(Some(times))),
    })
}

fn read_healthcheck(node: Node, public: &Public) -> Result<Option<Healthcheck>, Error> {
    let mut fields = Fields::open(Section::Healthcheck, "healthcheck", node)?;
    let disabled = optional_boolean(&mut fields, "disable", public)?;
    let mut duration = |key, default| match fields.take(key) {
        Some(node) => public.duration_ms(key, &node),
        None => Ok(default),
    };
    let interval_ms = duration("interval", 30_000)?;
    let timeout_ms = duration("timeout", 30_000)?;
    let start_period_ms = duration("start_period", 0)?;
    let start_interval_ms = duration("start_interval", 5_000)?;
    let retries = fields.take("retries").map_or(Ok(3), |node| public.number("retries", &node))?;
    if disabled {
        fields.take("test");
        return Ok(None);
    }
    let test = fields.require("test")?;
    let Some(test) = read_test(test, public)? else { return Ok(None) };
    Ok(Some(Healthcheck { test, interval_ms, timeout_ms, start_period_ms, start_interval_ms, retries }))
}

fn read_test(node: Node, public: &Public) -> Result<Option<HealthTest>, Error> {
    let place = node.place;
    if matches!(node.value, Value::Scalar { .. }) {
        return Ok(Some(HealthTest::Shell(public.text("test", &node)?)));
    }
    let mut words = public.texts("test", node)?.into_iter();
    let wrong = |found: &str| Problem::WrongValue {
        key: "test".to_owned(),
        found: excerpt(found),
        expected: "a list [NONE], [CMD, program, ...] or [CMD-SHELL, line]",
    };
    let kind = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    match (kind.as_str(), rest.as_slice()) {
        ("NONE", []) => Ok(None),
        ("CMD", [_, ..]) => Ok(Some(HealthTest::Command(rest))),
        ("CMD-SHELL", [line]) => Ok(Some(HealthTest::Shell(line.clone()))),
        _ => Err(wrong(&kind).at(place)),
    }
}

fn read_dependencies(node: Node, public: &Public) -> Result<BTreeMap<String, Dependency>, Error> {
    let mut dependencies = BTreeMap::new();
    if matches!(node.value, Value::Sequence(_)) {
        for item in sequence("depends_on", node)? {
            let name = public.text("depends_on", &item)?;
            check_name("depends_on", &name, item.place)?;
            let dependency = Dependency { condition: Condition::Started, restart: false };
            if dependencies.insert(name.clone(), dependency).is_some() {
                return Err(Problem::DuplicateKey { key: name }.at(item.place));
            }
        }
        return Ok(dependencies);
    }
    for entry in super::fields::mapping("depends_on", node)? {
        check_name("depends_on", &entry.key, entry.place)?;
        let mut fields = Fields::open(Section::DependsOn, &entry.key, entry.value)?;
        if let Some(node) = fields.take("required") {
            public.value("required", &node, "true", |text| (text == "true").then_some(()))?;
        }
        let condition = match fields.take("condition") {
            None => Condition::Started,
            Some(node) => public.value(
                "condition",
                &node,
                "service_started, service_healthy or service_completed_successfully",
                |text| match text {
                    "service_started" => Some(Condition::Started),
                    "service_healthy" => Some(Condition::Healthy),
                    "service_completed_successfully" => Some(Condition::CompletedSuccessfully),
                    _ => None,
                },
            )?,
        };
        let restart = optional_boolean(&mut fields, "restart", public)?;
        dependencies.insert(entry.key, Dependency { condition, restart });
    }
    Ok(dependencies)
}

fn read_capabilities(node: Option<Node>, key: &'static str, public: &Public) -> Result<Vec<String>, Error> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let mut capabilities = Vec::new();
    for item in sequence(key, node)? {
        let name = public.value(key, &item, "a capability that Docker gives by default", |text| {
            let name = text.to_ascii_uppercase();
            let name = name.strip_prefix("CAP_").unwrap_or(&name);
            let known = CAPABILITIES.contains(&name) || (key == "cap_drop" && name == "ALL");
            known.then(|| name.to_owned())
        })?;
        capabilities.push(name);
    }
    capabilities.sort();
    capabilities.dedup();
    Ok(capabilities)
}

const USER: &str = "UID, UID:GID, NAME or NAME:GROUP";

fn read_user(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split(':').collect();
    let plain = parts.len() <= 2
        && parts.iter().all(|part| {
            (1..=32).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        });
    plain.then(|| text.to_owned())
}

fn read_signal(text: &str) -> Option<String> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    matches!(name, "TERM" | "INT" | "QUIT" | "HUP" | "USR1" | "USR2" | "KILL" | "WINCH")
        .then(|| format!("SIG{name}"))
}
