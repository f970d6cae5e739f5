//! What does one service need before it can start?
//!
//! Its root filesystem, volumes, files and configuration, made once per boot in a folder of its own:
//! `/run/agent/containers/NAME`, on a memory file system that only root can enter.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use casemate_guest_sys::mount;
use casemate_workload::compose::{EVIDENCE_SOCKET, Service};

use crate::container::{self, Bind, Container};
use crate::images::{self, Images, Upper};
use crate::secrets::Secrets;
use crate::workload::{self, Workload};
use crate::{logs, network, user, volumes};

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its root filesystem.
    #[error(transparent)]
    Image(#[from] images::Error),
    /// A volume or file of it.
    #[error(transparent)]
    Volume(#[from] volumes::Error),
    /// Its user.
    #[error("service {service}: {source}")]
    User {
        /// Service.
        service: String,
        /// Why.
        source: user::Error,
    },
    /// Its configuration.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// A value of it.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// A file of the guest.
    #[error("{path}: {source}; is the data volume full?")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Folder that holds the configuration of `service`.
pub fn bundle(service: &Service) -> PathBuf {
    Path::new(CONTAINERS).join(&service.name)
}

/// Where the socket of `service` is at which it asks for evidence, if it may.
pub fn evidence_socket(service: &Service) -> PathBuf {
    bundle(service).join("evidence.sock")
}

/// Folder that holds the log of the service named `name`.
pub fn log_folder(data: &Path, name: &str) -> PathBuf {
    data.join("logs").join(name)
}

/// Opens the log of `service` to go on with it.
///
/// # Errors
/// [`Error::File`].
pub fn log(data: &Path, service: &Service) -> Result<logs::Log, Error> {
    let folder = log_folder(data, &service.name);
    logs::Log::open(&folder, logs::MAXIMUM_BYTES).map_err(|source| Error::File { path: folder, source })
}

/// Makes the volumes of all services that do not exist yet: in order, as two services may share one
/// and the first in the file's order fills it.
///
/// # Errors
/// [`Error::Volume`].
pub fn prepare_volumes(workload: &Workload, images: &Images, data: &Path) -> Result<(), Error> {
    for service in workload.services() {
        let image = images.folder(workload.image(service));
        for mount in &service.volumes {
            volumes::prepare(&data.join("volumes").join(&mount.volume), image, &mount.target)?;
        }
    }
    Ok(())
}

/// Puts the root filesystem of `service` together; once per boot.
///
/// # Errors
/// [`Error::Image`], [`Error::File`].
pub fn prepare_root(
    workload: &Workload,
    service: &Service,
    images: &Images,
    data: &Path,
) -> Result<(), Error> {
    let bundle = bundle(service);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(bundle.join("files"));
    made.map_err(|source| Error::File { path: bundle.clone(), source })?;
    let kept = data.join("containers").join(&service.name);
    images::keep_only_for(&kept, &workload.digest.to_string())?;
    let memory = bundle.join("layer");
    let upper = if service.read_only { Upper::Memory(&memory) } else { Upper::Kept(&kept) };
    let lower = images.folder(workload.image(service));
    Ok(images::overlay(&service.name, lower, upper, &bundle.join("rootfs"))?)
}

/// Writes the files and the configuration of the service with this index.
///
/// # Errors
/// Each variant of [`Error`].
pub fn configure(
    workload: &Workload,
    index: usize,
    images: &Images,
    data: &Path,
    secrets: &Secrets,
    own_program: &Path,
) -> Result<(), Error> {
    let services = workload.services();
    let service = services[index];
    let bundle = bundle(service);
    let image = workload.image(service);
    let lower = images.folder(image);
    let text = |path: &str| {
        volumes::text_in(lower, path).map_err(|source| Error::File { path: lower.join(&path[1..]), source })
    };
    let wanted = service.user.as_deref().unwrap_or(&image.config.user);
    let user = user::find(wanted, &text("/etc/passwd")?, &text("/etc/group")?)
        .map_err(|source| Error::User { service: service.name.clone(), source })?;
    let mut binds = named_volumes(service, data);
    binds.extend(anonymous_volumes(service, &image.config.volumes, lower, data)?);
    binds.extend(name_files(&services, index, &bundle)?);
    binds.extend(files(workload, service, &bundle, secrets)?);
    binds.extend(workload.may_ask_for_evidence(service).then(|| Bind {
        source: evidence_socket(service).to_string_lossy().into_owned(),
        target: EVIDENCE_SOCKET.into(),
        read_only: true,
    }));
    let environment = workload.environment(service, secrets)?;
    let config = Container {
        service,
        image: &image.config,
        user: &user,
        environment: &environment,
        binds: &binds,
        rootfs: &bundle.join("rootfs"),
        network_namespace: &Path::new("/run/netns").join(network::namespace(index)),
        own_program,
    }
    .config()?;
    write_private(&bundle.join("config.json"), config.to_string().as_bytes())
}

/// Takes the root filesystem of `service` apart again.
pub fn dissolve(service: &Service) {
    let _ = mount::unmount(bundle(service).join("rootfs"));
}

fn named_volumes(service: &Service, data: &Path) -> Vec<Bind> {
    let bind = |mount: &casemate_workload::compose::VolumeMount| Bind {
        source: data.join("volumes").join(&mount.volume).to_string_lossy().into_owned(),
        target: mount.target.clone(),
        read_only: mount.read_only,
    };
    service.volumes.iter().map(bind).collect()
}

/// Folders that the image declares as volumes and the compose file does not mount, kept as long as the
/// container: as Docker's anonymous volumes.
fn anonymous_volumes(
    service: &Service,
    declared: &[String],
    lower: &Path,
    data: &Path,
) -> Result<Vec<Bind>, Error> {
    let trimmed = |path: &str| path.trim_end_matches('/').to_owned();
    let mounted = |path: &str| {
        service.volumes.iter().any(|mount| trimmed(&mount.target) == path)
            || service.tmpfs.iter().any(|tmpfs| trimmed(&tmpfs.target) == path)
    };
    let mut binds = Vec::new();
    for (number, path) in declared.iter().map(|path| trimmed(path)).enumerate() {
        if !path.starts_with('/') || mounted(&path) {
            continue;
        }
        let folder = data.join("containers").join(&service.name).join(format!("volume-{number}"));
        volumes::prepare(&folder, lower, &path)?;
        binds.push(Bind { source: folder.to_string_lossy().into_owned(), target: path, read_only: false });
    }
    Ok(binds)
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
fn name_files(services: &[&Service], index: usize, bundle: &Path) -> Result<Vec<Bind>, Error> {
    let own = services[index];
    let hostname = own.hostname.as_deref().unwrap_or(&own.name);
    let mut hosts = String::from("127.0.0.1\tlocalhost\n");
    for (other, service) in services.iter().enumerate() {
        let alias = service.hostname.as_deref().filter(|alias| *alias != service.name);
        let address = network::address(other);
        hosts.push_str(&format!(
            "{address}\t{}{}\n",
            service.name,
            alias.map(|a| format!(" {a}")).unwrap_or_default()
        ));
    }
    let resolver = format!("nameserver {}\noptions ndots:0\n", network::GATEWAY);
    let contents = [
        ("hosts", "/etc/hosts", hosts),
        ("hostname", "/etc/hostname", format!("{hostname}\n")),
        ("resolv.conf", "/etc/resolv.conf", resolver),
    ];
    let write = |(name, target, content): (&str, &str, String)| {
        let path = bundle.join(name);
        volumes::write_file(&path, content.as_bytes(), 0, 0, 0o644)?;
        Ok(Bind { source: path.to_string_lossy().into_owned(), target: target.into(), read_only: true })
    };
    contents.into_iter().map(write).collect()
}

/// Configs and secrets, in memory only.
fn files(
    workload: &Workload,
    service: &Service,
    bundle: &Path,
    secrets: &Secrets,
) -> Result<Vec<Bind>, Error> {
    let configs = service.configs.iter().map(|mount| (mount, workload.config(&mount.source)));
    let secret_files = service.secrets.iter().map(|mount| (mount, workload.secret(&mount.source)));
    let mut binds = Vec::new();
    for (number, (mount, source)) in configs.chain(secret_files).enumerate() {
        let source = source.expect("the compose parser checks that each mount has its source");
        let content = workload.content(service, source, secrets)?;
        let path = bundle.join("files").join(number.to_string());
        volumes::write_file(&path, &content, mount.uid, mount.gid, mount.mode)?;
        binds.push(Bind {
            source: path.to_string_lossy().into_owned(),
            target: mount.target.clone(),
            read_only: true,
        });
    }
    Ok(binds)
}

fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, content)
    };
    write().map_err(|source| Error::File { path: path.to_owned(), source })
}

const CONTAINERS: &str = "/run/agent/containers";
