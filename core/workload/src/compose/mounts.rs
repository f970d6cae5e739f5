//! What is mounted into a container?

use super::{
    error::{Error, Problem},
    fields::{Fields, Public, check_name, excerpt, sequence},
    keys::Section,
    model::{FileMount, Tmpfs, VolumeMount},
    units,
    yaml::{Node, Value},
};

/// Reads a service's `volumes`, in both syntaxes.
pub(super) fn volumes(node: Option<Node>, public: &Public) -> Result<(Vec<VolumeMount>, Vec<Tmpfs>), Error> {
    let (mut volumes, mut tmpfs) = (Vec::new(), Vec::new());
    for item in node.map_or(Ok(Vec::new()), |node| sequence("volumes", node))? {
        if !matches!(item.value, Value::Mapping(_)) {
            volumes.push(short_volume(&item, public)?);
            continue;
        }
        let mut fields = Fields::open(Section::Mount, "volumes", item)?;
        let kind = fields.require("type")?;
        let is_volume = public.value(
            "type",
            &kind,
            "volume or tmpfs; nothing of the host can be mounted, use 'configs' for files",
            |text| match text {
                "volume" => Some(true),
                "tmpfs" => Some(false),
                _ => None,
            },
        )?;
        let target = public.path("target", &fields.require("target")?)?;
        if is_volume {
            let source = fields.require("source")?;
            let volume = public.text("source", &source)?;
            check_name("source", &volume, source.place)?;
            let read_only =
                fields.take("read_only").map_or(Ok(false), |node| public.boolean("read_only", &node))?;
            refuse_leftover(&mut fields, &["tmpfs"])?;
            volumes.push(VolumeMount { volume, target, read_only });
        } else {
            let (mut size_bytes, mut mode) = (None, None);
            if let Some(node) = fields.take("tmpfs") {
                let mut options = Fields::open(Section::MountTmpfs, "tmpfs", node)?;
                size_bytes = options.take("size").map(|node| public.size_bytes("size", &node)).transpose()?;
                mode = options.take("mode").map(|node| public.mode("mode", &node)).transpose()?;
            }
            refuse_leftover(&mut fields, &["source", "read_only"])?;
            tmpfs.push(Tmpfs { target, size_bytes, mode });
        }
    }
    Ok((volumes, tmpfs))
}

fn refuse_leftover(fields: &mut Fields, keys: &[&'static str]) -> Result<(), Error> {
    for key in keys {
        if let Some(node) = fields.take(key) {
            return Err(Problem::UnsupportedKey {
                key: (*key).to_owned(),
                section: "a mount of this type",
                advice: "remove it",
            }
            .at(node.place));
        }
    }
    Ok(())
}

fn short_volume(node: &Node, public: &Public) -> Result<VolumeMount, Error> {
    let text = public.text("volumes", node)?;
    let refused = |expected| {
        Err(Problem::WrongValue { key: "volumes".to_owned(), found: excerpt(&text), expected }.at(node.place))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (volume, target, read_only) = match parts.as_slice() {
        [_] => {
            return refused(
                "NAME:PATH; anonymous volumes are lost at the next start, name it, or use 'tmpfs'",
            );
        }
        [volume, target] | [volume, target, "rw"] => (*volume, *target, false),
        [volume, target, "ro"] => (*volume, *target, true),
        _ => return refused("NAME:PATH[:ro|:rw]"),
    };
    if volume.starts_with(['/', '.', '~']) {
        return refused("NAME:PATH; nothing of the host can be mounted, use 'configs' for files");
    }
    check_name("volumes", volume, node.place)?;
    if !units::is_absolute_path(target) {
        return refused("NAME:PATH with an absolute path in the container");
    }
    Ok(VolumeMount { volume: volume.to_owned(), target: target.to_owned(), read_only })
}

/// Reads `tmpfs`.
pub(super) fn tmpfs(node: Option<Node>, public: &Public) -> Result<Vec<Tmpfs>, Error> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let items = match node.value {
        Value::Scalar { .. } => vec![node],
        _ => sequence("tmpfs", node)?,
    };
    items.iter().map(|item| public.value("tmpfs", item, "PATH[:size=SIZE,mode=MODE]", short_tmpfs)).collect()
}

fn short_tmpfs(text: &str) -> Option<Tmpfs> {
    let (target, options) =
        text.split_once(':').map_or((text, None), |(path, options)| (path, Some(options)));
    let mut tmpfs = Tmpfs { target: target.to_owned(), size_bytes: None, mode: None };
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        match option.split_once('=')? {
            ("size", size) => tmpfs.size_bytes = Some(units::size_bytes(size)?),
            ("mode", mode) => tmpfs.mode = Some(units::mode(mode)?),
            _ => return None,
        }
    }
    units::is_absolute_path(target).then_some(tmpfs)
}

/// Reads a service's `configs` or `secrets`, in both syntaxes.
pub(super) fn files(key: &'static str, node: Option<Node>, public: &Public) -> Result<Vec<FileMount>, Error> {
    let Some(node) = node else { return Ok(Vec::new()) };
    sequence(key, node)?.into_iter().map(|item| file(key, item, public)).collect()
}

fn file(key: &'static str, node: Node, public: &Public) -> Result<FileMount, Error> {
    let folder = if key == "configs" { "/" } else { "/run/secrets/" };
    if matches!(node.value, Value::Scalar { .. }) {
        let source = public.text(key, &node)?;
        check_name(key, &source, node.place)?;
        let target = format!("{folder}{source}");
        return Ok(FileMount { source, target, uid: 0, gid: 0, mode: 0o444 });
    }
    let mut fields = Fields::open(Section::FileMount, key, node)?;
    let node = fields.require("source")?;
    let source = public.text("source", &node)?;
    check_name("source", &source, node.place)?;
    let target = match fields.take("target") {
        Some(node) => {
            let text = public.text("target", &node)?;
            let target = if text.starts_with('/') { text } else { format!("{folder}{text}") };
            if !units::is_absolute_path(&target) {
                return Err(Problem::WrongValue {
                    key: "target".to_owned(),
                    found: excerpt(&target),
                    expected: "a path without '.', '..' or a slash at the end",
                }
                .at(node.place));
            }
            target
        }
        None => format!("{folder}{source}"),
    };
    let mut number = |key| fields.take(key).map_or(Ok(0), |node| public.number(key, &node));
    let (uid, gid) = (number("uid")?, number("gid")?);
    let mode = fields.take("mode").map_or(Ok(0o444), |node| public.mode("mode", &node))?;
    Ok(FileMount { source, target, uid, gid, mode })
}
