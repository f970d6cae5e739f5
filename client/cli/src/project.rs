//! What does this folder want to run?

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use casemate_api::launch::LaunchFile;
use casemate_crypto::hash::sha256;
use casemate_record::{AppId, KmsId};
use casemate_workload::{
    Manifest, Substitutions,
    compose::{self, Compose, FileSource, ImageSource},
    manifest::{self, Inputs},
};

use crate::{
    Error, files,
    home::Home,
    lock::{Lock, LockError, LockedImage},
    oci::{self, Converted, Reference},
};

/// A compose file with its lock and environment.
#[derive(Debug)]
pub struct Project {
    /// The folder of the compose file.
    pub folder: PathBuf,
    /// The compose file.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it says.
    pub compose: Compose,
    /// What is pinned.
    pub lock: Lock,
    /// The process environment over `.env`.
    environment: BTreeMap<String, String>,
}

/// How much of the lock may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pins {
    /// What is pinned stays; what is not yet is added.
    Keep,
    /// Everything is resolved anew.
    Renew,
}

const MAXIMUM_ENVIRONMENT_BYTES: u64 = 1 << 20;

/// Names a compose file may have, in the order in which they are looked for.
const FILE_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

impl Project {
    /// Reads the compose file at `path` (a file or a folder; the current one if `None`).
    ///
    /// # Errors
    /// [`Error::NoComposeFile`], [`Error::Compose`], [`Error::Lock`].
    pub fn open(path: Option<&Path>, pins: Pins) -> Result<Self, Error> {
        let file = find(path)?;
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let folder = std::path::absolute(&folder).map_err(|source| files::error("find", &folder, source))?;
        let bytes = files::read(&file, 1 << 20)?;
        let environment = read_environment(&folder)?;
        let mut lock = Lock::read(&folder.join("compose.lock"))?;
        let in_file = |source| Error::Compose { file: file.clone(), source };
        let text = String::from_utf8_lossy(&bytes);
        let variables = compose::variables(&text).map_err(in_file)?;
        lock_variables(&mut lock, &variables, &environment, pins)?;
        let substitutions = Substitutions::from_iter(lock.variables.clone());
        let in_file = |source| Error::Compose { file: file.clone(), source };
        let compose = compose::parse_bytes(&bytes, &substitutions).map_err(in_file)?;
        lock.image.retain(|service, _| compose.services.contains_key(service));
        Ok(Project { folder, file, bytes, compose, lock, environment })
    }

    /// Name for people: the file's `name:`, else the folder's.
    pub fn name(&self) -> String {
        let of_folder = || self.folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = self.compose.name.clone().or_else(of_folder).unwrap_or_default().to_ascii_lowercase();
        let plain: String = name
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
            .collect();
        let plain = plain.trim_matches('-');
        if plain.is_empty() { "app".to_owned() } else { plain.chars().take(40).collect() }
    }

    /// Fetches, builds and converts the images, and pins them.
    ///
    /// # Errors
    /// [`Error::Oci`], [`LockError::ImageChanged`], [`LockError::RootHash`].
    pub async fn resolve_images(
        &mut self,
        home: &Home,
        pins: Pins,
        mut note: impl FnMut(&str, &Converted),
    ) -> Result<BTreeMap<String, Converted>, Error> {
        let mut images = BTreeMap::new();
        for (service, wanted) in &self.compose.services {
            let (reference, converted) = self.resolve(home, service, &wanted.image, pins).await?;
            let found = LockedImage {
                reference,
                oci_digest: converted.oci_digest,
                root_hash: converted.root_hash,
                data_blocks: converted.data_blocks,
            };
            if let Some(locked) = self.locked(service, &found.reference, pins)
                && (locked.root_hash != found.root_hash || locked.data_blocks != found.data_blocks)
            {
                return Err(LockError::RootHash {
                    service: service.clone(),
                    found: found.root_hash,
                    locked: locked.root_hash,
                }
                .into());
            }
            self.lock.image.insert(service.clone(), found);
            note(service, &converted);
            images.insert(service.clone(), converted);
        }
        self.lock.write(&self.folder.join("compose.lock"))?;
        Ok(images)
    }

    /// The manifest of what was resolved, and the contents of its files.
    ///
    /// # Errors
    /// [`Error::Manifest`], [`Error::File`].
    pub fn manifest(
        &self,
        name: &str,
        images: &BTreeMap<String, Converted>,
        app_id: AppId,
        kms_id: KmsId,
        threshold: u8,
    ) -> Result<(Manifest, Vec<LaunchFile>), Error> {
        let mut contents = Vec::new();
        let mut named = Vec::new();
        for path in self.compose.public_files() {
            let content = files::read(&self.folder.join(&path), manifest::MAXIMUM_FILE_BYTES)?;
            let digest = sha256(&content);
            named.push(manifest::File { name: path, digest, size_bytes: content.len() as u64 });
            contents.push(LaunchFile { digest: *digest.as_bytes(), content });
        }
        let images = images
            .iter()
            .map(|(service, image)| manifest::Image {
                service: service.clone(),
                reference: self.lock.image[service].reference.clone(),
                oci_digest: image.oci_digest,
                root_hash: image.root_hash,
                data_blocks: image.data_blocks,
                config: image.config.clone(),
            })
            .collect();
        let (manifest, _) = Manifest::new(Inputs {
            name: name.to_owned(),
            compose: self.bytes.clone(),
            substitutions: Substitutions::from_iter(self.lock.variables.clone()),
            images,
            files: named,
            app_id,
            kms_id,
            threshold,
        })?;
        Ok((manifest, contents))
    }

    /// Values of the secrets that the compose file names. Those with defaults may be absent.
    ///
    /// # Errors
    /// [`Error::SecretsMissing`] names all that are needed and not set.
    pub fn secret_values(&self) -> Result<BTreeMap<String, zeroize::Zeroizing<Vec<u8>>>, Error> {
        let mut values = BTreeMap::new();
        let mut missing = Vec::new();
        for source in self.compose.secrets.values() {
            if let FileSource::SecretFile { path, secret_name } = source {
                let content = files::read(&self.folder.join(path), 64 << 10)?;
                values.insert(secret_name.clone(), zeroize::Zeroizing::new(content));
            }
        }
        for (name, required) in self.compose.secret_names() {
            match self.environment.get(&name) {
                Some(value) => {
                    values.insert(name, zeroize::Zeroizing::new(value.clone().into_bytes()));
                }
                None if required && !values.contains_key(&name) => missing.push(name),
                None => {}
            }
        }
        if missing.is_empty() { Ok(values) } else { Err(Error::SecretsMissing { names: missing }) }
    }

    /// What the lock says about a service's image, if that is still meant.
    fn locked(&self, service: &str, reference: &str, pins: Pins) -> Option<&LockedImage> {
        self.lock.image.get(service).filter(|locked| pins == Pins::Keep && locked.reference == reference)
    }

    async fn resolve(
        &self,
        home: &Home,
        service: &str,
        source: &ImageSource,
        pins: Pins,
    ) -> Result<(String, Converted), Error> {
        let name = match source {
            ImageSource::Reference(name) => name.clone(),
            ImageSource::Build(_) => "build".to_owned(),
        };
        let locked = self.locked(service, &name, pins).map(|locked| locked.oci_digest);
        let image = match source {
            ImageSource::Build(recipe) => {
                if let Some(converted) = locked.and_then(|digest| oci::convert::cached(home, &digest)) {
                    return Ok((name, converted));
                }
                let scratch = scratch_folder(home)?;
                oci::build::build(&self.folder, service, recipe, scratch.path())?;
                let image =
                    oci::layout::Layout::open(scratch.path())?.image(None, &format!("build of {service}"))?;
                let converted = oci::convert::convert(home, &image)?;
                return unchanged(service, locked, converted).map(|converted| (name, converted));
            }
            ImageSource::Reference(text) => match text.parse::<Reference>()? {
                Reference::Layout { path, tag } => {
                    oci::layout::Layout::open(&self.folder.join(path))?.image(tag.as_deref(), text)?
                }
                Reference::Archive { path } => {
                    let scratch = scratch_folder(home)?;
                    oci::build::unpack(&self.folder.join(path), scratch.path())?;
                    let image = oci::layout::Layout::open(scratch.path())?.image(None, text)?;
                    let converted = oci::convert::convert(home, &image)?;
                    return unchanged(service, locked, converted).map(|converted| (name, converted));
                }
                Reference::Registry(reference) => {
                    if let Some(converted) = locked.and_then(|digest| oci::convert::cached(home, &digest)) {
                        return Ok((name, converted));
                    }
                    oci::registry::fetch(home, &reference, locked).await?
                }
            },
        };
        let converted = oci::convert::convert(home, &image)?;
        unchanged(service, locked, converted).map(|converted| (name, converted))
    }
}

fn unchanged(
    service: &str,
    locked: Option<casemate_crypto::hash::Sha256>,
    converted: Converted,
) -> Result<Converted, Error> {
    match locked {
        Some(locked) if locked != converted.oci_digest => {
            Err(LockError::ImageChanged { service: service.to_owned(), found: converted.oci_digest, locked }
                .into())
        }
        _ => Ok(converted),
    }
}

fn scratch_folder(home: &Home) -> Result<tempfile::TempDir, Error> {
    let folder = home.root().join("cache");
    files::make_private_folder(&folder)?;
    tempfile::Builder::new()
        .prefix(".scratch-")
        .tempdir_in(&folder)
        .map_err(|source| files::error("write to", &folder, source))
}

fn find(path: Option<&Path>) -> Result<PathBuf, Error> {
    let path = path.unwrap_or(Path::new("."));
    if path.is_file() {
        return Ok(path.to_owned());
    }
    FILE_NAMES
        .iter()
        .map(|name| path.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Error::NoComposeFile { path: path.to_owned() })
}

fn lock_variables(
    lock: &mut Lock,
    variables: &compose::Variables,
    environment: &BTreeMap<String, String>,
    pins: Pins,
) -> Result<(), Error> {
    if pins == Pins::Renew {
        lock.variables.clear();
    }
    lock.variables.retain(|name, _| variables.public.contains_key(name));
    for name in variables.public.keys() {
        let Some(found) = environment.get(name) else { continue };
        match lock.variables.get(name) {
            Some(locked) if locked != found => {
                return Err(LockError::VariableChanged {
                    name: name.clone(),
                    found: found.clone(),
                    locked: locked.clone(),
                }
                .into());
            }
            _ => {
                lock.variables.insert(name.clone(), found.clone());
            }
        }
    }
    Ok(())
}

/// `.env` beside the compose file, overridden by the process environment.
fn read_environment(folder: &Path) -> Result<BTreeMap<String, String>, Error> {
    let mut environment = BTreeMap::new();
    let path = folder.join(".env");
    if path.is_file() {
        let text = files::read_text(&path, MAXIMUM_ENVIRONMENT_BYTES)?;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pair =
                line.split_once('=').filter(|(name, _)| casemate_workload::template::is_variable_name(name));
            let Some((name, value)) = pair else {
                return Err(Error::DotEnv { path, line: index + 1 });
            };
            environment.insert(name.to_owned(), unquoted(value.trim()).to_owned());
        }
    }
    environment.extend(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    Ok(environment)
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}
