//! What does the file as a whole say, and does it hold together?

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::{Error, Place, Problem},
    extension,
    fields::{Fields, Public, check_name, excerpt, mapping, template},
    keys::Section,
    model::{Compose, Condition, EVIDENCE_SOCKET, FileSource, Service},
    service, units,
    yaml::Node,
};
use crate::template::Template;

/// Reads the root node.
pub(super) fn read(root: Node, public: &Public) -> Result<Compose, Error> {
    let mut file = Fields::open(Section::File, "compose file", root)?;
    file.take("version");
    let name = match file.take("name") {
        Some(node) => {
            let name = public.text("name", &node)?;
            check_name("name", &name, node.place)?;
            Some(name)
        }
        None => None,
    };
    let volumes = read_volumes(file.take("volumes"), public)?;
    let configs = read_sources(file.take("configs"), Section::Config, public)?;
    let secrets = read_sources(file.take("secrets"), Section::Secret, public)?;
    let extension = file.take("x-casemate");
    let extension_place = extension.as_ref().map_or(Place::START, |node| node.place);
    let casemate = match extension {
        Some(node) => extension::read(node, public)?,
        None => Default::default(),
    };

    let node = file.require("services")?;
    let place = node.place;
    let mut services = BTreeMap::new();
    let mut places = BTreeMap::new();
    for entry in mapping("services", node)? {
        check_name("services", &entry.key, entry.place)?;
        let service = service::read(&entry.key, entry.value, entry.place, public)?;
        places.insert(entry.key.clone(), entry.place);
        services.insert(entry.key, service);
    }
    if services.is_empty() {
        return Err(Problem::NoServices.at(place));
    }
    let compose = Compose { name, services, volumes, configs, secrets, casemate };
    check_references(&compose, &places)?;
    if let Some(name) = compose.casemate.evidence.iter().find(|name| !compose.services.contains_key(*name)) {
        let name = name.clone();
        return Err(Problem::Undeclared { kind: "service", name, section: "services" }.at(extension_place));
    }
    check_dependencies(&compose, &places)?;
    check_ports(&compose, &places)?;
    Ok(compose)
}

fn read_volumes(node: Option<Node>, public: &Public) -> Result<Vec<String>, Error> {
    let mut names = BTreeSet::new();
    for entry in node.map_or(Ok(Vec::new()), |node| mapping("volumes", node))? {
        check_name("volumes", &entry.key, entry.place)?;
        let mut volume = Fields::open(Section::Volume, &entry.key, entry.value)?;
        volume.take("labels");
        if let Some(driver) = volume.take("driver") {
            public.value("driver", &driver, "local", |text| (text == "local").then_some(()))?;
        }
        names.insert(entry.key);
    }
    Ok(names.into_iter().collect())
}

fn read_sources(
    node: Option<Node>,
    section: Section,
    public: &Public,
) -> Result<BTreeMap<String, FileSource>, Error> {
    let mut sources = BTreeMap::new();
    for entry in node.map_or(Ok(Vec::new()), |node| mapping(section.name(), node))? {
        check_name(section.name(), &entry.key, entry.place)?;
        let source = read_source(&entry.key, entry.value, entry.place, section, public)?;
        sources.insert(entry.key, source);
    }
    Ok(sources)
}

fn read_source(
    name: &str,
    node: Node,
    place: Place,
    section: Section,
    public: &Public,
) -> Result<FileSource, Error> {
    let mut fields = Fields::open(section, name, node)?;
    let file = fields.take("file");
    let environment = fields.take("environment");
    let content = if section == Section::Config { fields.take("content") } else { None };
    match (file, environment, content) {
        (Some(node), None, None) => {
            let path = public.value(
                "file",
                &node,
                "a path inside the compose file's folder",
                units::relative_path,
            )?;
            Ok(match section {
                Section::Config => FileSource::PublicFile(path),
                _ => FileSource::SecretFile { path, secret_name: format!("secret:{name}") },
            })
        }
        (None, Some(node), None) => {
            let variable = literal("environment", &node)?;
            if !crate::template::is_variable_name(&variable) {
                return Err(Problem::WrongValue {
                    key: "environment".to_owned(),
                    found: excerpt(&variable),
                    expected: "the name of a variable",
                }
                .at(node.place));
            }
            Ok(FileSource::Content(Template::variable(variable)))
        }
        (None, None, Some(node)) => Ok(FileSource::Content(template("content", &node)?)),
        (None, None, None) => {
            Err(Problem::MissingKey { section: section.name(), key: "file' or 'environment" }.at(place))
        }
        _ => Err(Problem::WrongShape {
            key: name.to_owned(),
            expected: "either a file, content or a variable",
        }
        .at(place)),
    }
}

fn literal(key: &str, node: &Node) -> Result<String, Error> {
    match &node.value {
        super::yaml::Value::Scalar { text, .. } => Ok(text.clone()),
        _ => Err(Problem::WrongShape { key: key.to_owned(), expected: "text" }.at(node.place)),
    }
}

fn check_references(compose: &Compose, places: &BTreeMap<String, Place>) -> Result<(), Error> {
    for service in compose.services.values() {
        let place = places[&service.name];
        let undeclared = |kind, name: &str, section| {
            Err(Problem::Undeclared { kind, name: name.to_owned(), section }.at(place))
        };
        for mount in &service.volumes {
            if !compose.volumes.contains(&mount.volume) {
                return undeclared("volume", &mount.volume, "volumes");
            }
        }
        for mount in &service.configs {
            if !compose.configs.contains_key(&mount.source) {
                return undeclared("config", &mount.source, "configs");
            }
        }
        for mount in &service.secrets {
            if !compose.secrets.contains_key(&mount.source) {
                return undeclared("secret", &mount.source, "secrets");
            }
        }
        for (name, dependency) in &service.depends_on {
            match compose.services.get(name) {
                None => return undeclared("service", name, "services"),
                Some(other) if dependency.condition == Condition::Healthy && other.healthcheck.is_none() => {
                    return Err(Problem::NoHealthcheck { service: name.clone() }.at(place));
                }
                Some(_) => {}
            }
        }
        check_mounts(service, compose.casemate.evidence.contains(&service.name), place)?;
    }
    Ok(())
}

fn check_mounts(service: &Service, may_ask_for_evidence: bool, place: Place) -> Result<(), Error> {
    let mut targets = BTreeSet::new();
    let all = (service.volumes.iter().map(|mount| mount.target.as_str()))
        .chain(service.tmpfs.iter().map(|mount| mount.target.as_str()))
        .chain(service.configs.iter().map(|mount| mount.target.as_str()))
        .chain(service.secrets.iter().map(|mount| mount.target.as_str()))
        .chain(may_ask_for_evidence.then_some(EVIDENCE_SOCKET));
    for target in all {
        if !targets.insert(target) {
            return Err(Problem::MountTwice { target: target.to_owned() }.at(place));
        }
    }
    Ok(())
}

fn check_dependencies(compose: &Compose, places: &BTreeMap<String, Place>) -> Result<(), Error> {
    let mut finished = BTreeSet::new();
    for name in compose.services.keys() {
        visit(compose, name, &mut Vec::new(), &mut finished)
            .map_err(|path| Problem::Cycle { service: name.clone(), path }.at(places[name]))?;
    }
    Ok(())
}

/// Depth first; the error is the circle as text. Depth is bounded by the number of services.
fn visit<'c>(
    compose: &'c Compose,
    name: &'c str,
    path: &mut Vec<&'c str>,
    finished: &mut BTreeSet<&'c str>,
) -> Result<(), String> {
    if finished.contains(name) {
        return Ok(());
    }
    if let Some(start) = path.iter().position(|other| *other == name) {
        let mut circle: Vec<&str> = path[start..].to_vec();
        circle.push(name);
        return Err(circle.join(" -> "));
    }
    path.push(name);
    for other in compose.services[name].depends_on.keys() {
        visit(compose, other, path, finished)?;
    }
    path.pop();
    finished.insert(name);
    Ok(())
}

fn check_ports(compose: &Compose, places: &BTreeMap<String, Place>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for service in compose.services.values() {
        for port in &service.ports {
            if !seen.insert(port.guest_port()) {
                return Err(Problem::PortTwice { port: port.guest_port() }.at(places[&service.name]));
            }
        }
    }
    Ok(())
}
