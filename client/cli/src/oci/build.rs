//! What does `build:` give?
//!
//! Whatever builder is installed builds; Casemate takes the resulting image by digest.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use casemate_workload::compose;

use super::OciError;
use crate::{Error, files};

/// Builds `service` and unpacks the result as an OCI layout into `folder`.
///
/// # Errors
/// [`OciError::NoBuilder`], [`OciError::Build`], [`Error::File`].
pub fn build(project: &Path, service: &str, recipe: &compose::Build, folder: &Path) -> Result<(), Error> {
    let archive = folder.join("image.tar");
    let name = format!("localhost/casemate-{service}:build");
    let context = project.join(&recipe.context);
    let common = |command: &mut Command| {
        if let Some(dockerfile) = &recipe.dockerfile {
            command.arg("--file").arg(context.join(dockerfile));
        }
        if let Some(target) = &recipe.target {
            command.arg("--target").arg(target);
        }
        for (name, value) in &recipe.args {
            command.arg("--build-arg").arg(format!("{name}={value}"));
        }
        command.arg("--platform").arg("linux/amd64");
    };
    let run = |program: &'static str, mut command: Command| -> Result<(), Error> {
        // What the builder prints is progress.
        command.stdout(Stdio::null()).stdin(Stdio::null());
        let status = command.status().map_err(|source| files::error("run", Path::new(program), source))?;
        if status.success() {
            return Ok(());
        }
        Err(OciError::Build { service: service.to_owned(), program, code: status.code().unwrap_or(-1) }
            .into())
    };
    if installed("podman") {
        let mut command = Command::new("podman");
        command.args(["build", "--format", "oci", "--tag", &name]);
        common(&mut command);
        run("podman", {
            command.arg(&context);
            command
        })?;
        let mut command = Command::new("podman");
        command.args(["save", "--format", "oci-archive", "--output"]).arg(&archive).arg(&name);
        run("podman", command)?;
    } else if installed("buildah") {
        let mut command = Command::new("buildah");
        command.args(["build", "--format", "oci", "--tag", &name]);
        common(&mut command);
        run("buildah", {
            command.arg(&context);
            command
        })?;
        let mut command = Command::new("buildah");
        command.arg("push").arg(&name).arg(format!("oci-archive:{}", archive.display()));
        run("buildah", command)?;
    } else if installed("docker") {
        let mut command = Command::new("docker");
        command.args(["buildx", "build", "--tag", &name]);
        command.arg("--output").arg(format!("type=oci,dest={}", archive.display()));
        common(&mut command);
        run("docker", {
            command.arg(&context);
            command
        })?;
    } else {
        return Err(OciError::NoBuilder { service: service.to_owned() }.into());
    }
    unpack(&archive, folder)
}

/// Unpacks an OCI archive as a layout. Only what a layout consists of is written.
///
/// # Errors
/// [`OciError::Archive`], [`Error::File`].
pub fn unpack(archive: &Path, folder: &Path) -> Result<(), Error> {
    let fail = |source| files::error("unpack", archive, source);
    let mut reader = tar::Archive::new(File::open(archive).map_err(fail)?);
    files::make_private_folder(&folder.join("blobs/sha256"))?;
    for entry in reader.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let path = entry.path().map_err(fail)?.into_owned();
        let path: PathBuf = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let Some(place) = layout_place(&path) else {
            // `docker save` adds these for older versions of itself.
            if matches!(path.to_str(), Some("manifest.json" | "repositories")) {
                continue;
            }
            let entry = path.display().to_string();
            return Err(OciError::Archive { path: archive.to_owned(), entry }.into());
        };
        let mut file = File::create(folder.join(place)).map_err(fail)?;
        std::io::copy(&mut entry, &mut file).map_err(fail)?;
    }
    Ok(())
}

/// Where a file of an archive goes, if a layout has such a file.
fn layout_place(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    if matches!(text, "index.json" | "oci-layout") {
        return Some(text.to_owned());
    }
    let digest = text.strip_prefix("blobs/sha256/")?;
    let plain = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| text.to_owned())
}

fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
