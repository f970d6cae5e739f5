//! Which blobs make up an image, and are they what their digests say?
//!
//! OCI image specification 1.1: `image-layout.md`, `image-index.md`, `manifest.md`, `config.md`.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use casemate_crypto::hash::{Sha256, sha256};
use serde::Deserialize;
use sha2::Digest as _;

use super::OciError;
use crate::{Error, files};

/// A folder with an OCI layout.
#[derive(Debug, Clone)]
pub struct Layout {
    path: PathBuf,
}

/// An image whose manifest and configuration are read and checked. Its layers are not yet.
#[derive(Debug)]
pub struct Image {
    /// How people call it.
    pub reference: String,
    /// SHA-256 of the image manifest.
    pub digest: Sha256,
    /// What it says about running it.
    pub config: Config,
    /// Layers, lowest first.
    pub layers: Vec<Layer>,
    layout: Layout,
}

/// One layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// SHA-256 of the blob.
    pub digest: Sha256,
    /// SHA-256 of the uncompressed archive.
    pub diff_id: Sha256,
    /// How it is packed.
    pub packing: Packing,
    /// Its size in bytes, packed.
    pub size_bytes: u64,
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

const MAXIMUM_DOCUMENT_BYTES: u64 = 4 << 20;

impl Layout {
    /// The layout in `path`.
    ///
    /// # Errors
    /// [`OciError::NoLayout`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.join("index.json").is_file() {
            return Err(OciError::NoLayout { path: path.to_owned() }.into());
        }
        Ok(Layout { path: path.to_owned() })
    }

    /// A folder in which blobs lie, with or without an index.
    pub fn of_blobs(path: &Path) -> Self {
        Layout { path: path.to_owned() }
    }

    /// Where the blob of `digest` lies.
    pub fn blob(&self, digest: &Sha256) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.to_string())
    }

    /// The image tagged `tag`, or the only one.
    ///
    /// # Errors
    /// [`OciError`].
    pub fn image(&self, tag: Option<&str>, reference: &str) -> Result<Image, Error> {
        let bytes = files::read(&self.path.join("index.json"), MAXIMUM_DOCUMENT_BYTES)?;
        let index: Index = document("index", &bytes, reference)?;
        let fitting: Vec<&Descriptor> = index
            .manifests
            .iter()
            .filter(|entry| tag.is_none() || entry.annotations.name.as_deref() == tag)
            .collect();
        let mut runnable = Vec::new();
        for descriptor in fitting {
            runnable.extend(self.runnable(descriptor, reference)?);
        }
        match runnable.as_slice() {
            [digest] => self.image_of(*digest, reference),
            other => Err(OciError::NotOneImage {
                path: self.path.clone(),
                tag: tag.map(str::to_owned),
                found: other.len(),
            }
            .into()),
        }
    }

    /// The image whose manifest has `digest`.
    ///
    /// # Errors
    /// [`OciError`].
    pub fn image_of(&self, digest: Sha256, reference: &str) -> Result<Image, Error> {
        let manifest: Manifest = document("manifest", &self.checked(&digest, reference)?, reference)?;
        let config_digest = parse_digest(&manifest.config.digest)?;
        let config: Configuration = document("config", &self.checked(&config_digest, reference)?, reference)?;
        if config.os != "linux" || config.architecture != "amd64" {
            return Err(OciError::NoPlatform { reference: reference.to_owned() }.into());
        }
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(OciError::LayerCount {
                reference: reference.to_owned(),
                layers: manifest.layers.len(),
                named: config.rootfs.diff_ids.len(),
            }
            .into());
        }
        let layers = manifest
            .layers
            .iter()
            .zip(&config.rootfs.diff_ids)
            .map(|(layer, diff_id)| {
                Ok(Layer {
                    digest: parse_digest(&layer.digest)?,
                    diff_id: parse_digest(diff_id)?,
                    packing: packing(&layer.media_type)?,
                    size_bytes: layer.size,
                })
            })
            .collect::<Result<_, OciError>>()?;
        let config = config.config.unwrap_or_default();
        Ok(Image { reference: reference.to_owned(), digest, config, layers, layout: self.clone() })
    }

    /// Manifests for this kind of machine under a descriptor, which may be an index itself.
    fn runnable(&self, descriptor: &Descriptor, reference: &str) -> Result<Vec<Sha256>, Error> {
        let digest = parse_digest(&descriptor.digest)?;
        if !is_index(&descriptor.media_type) {
            let fits = descriptor.platform.as_ref().is_none_or(Platform::is_ours);
            return Ok(if fits { vec![digest] } else { Vec::new() });
        }
        let index: Index = document("index", &self.checked(&digest, reference)?, reference)?;
        let ours = index.manifests.iter().filter(|entry| {
            !is_index(&entry.media_type) && entry.platform.as_ref().is_none_or(Platform::is_ours)
        });
        Ok(ours.map(|entry| parse_digest(&entry.digest)).collect::<Result<_, _>>()?)
    }

    fn checked(&self, digest: &Sha256, reference: &str) -> Result<Vec<u8>, Error> {
        let bytes = files::read(&self.blob(digest), MAXIMUM_DOCUMENT_BYTES)?;
        let found = sha256(&bytes);
        if found != *digest {
            return Err(
                OciError::WrongBlob { reference: reference.to_owned(), expected: *digest, found }.into()
            );
        }
        Ok(bytes)
    }
}

impl Image {
    /// Unpacks a layer into `scratch`, checking the digests of what is read and of what is written.
    ///
    /// # Errors
    /// [`OciError::WrongBlob`], [`OciError::TooLarge`], [`Error::File`].
    pub fn unpack(&self, layer: &Layer, mut scratch: File, maximum_bytes: u64) -> Result<File, Error> {
        let path = self.layout.blob(&layer.digest);
        let fail = |source| files::error("unpack", &path, source);
        let packed = Hashing::new(File::open(&path).map_err(fail)?);
        let (written, packed) = match layer.packing {
            Packing::Plain => copy(packed, &mut scratch, maximum_bytes).map_err(fail)?,
            Packing::Gzip => {
                let mut reader = flate2::read::MultiGzDecoder::new(packed);
                let (written, ()) = copy_from(&mut reader, &mut scratch, maximum_bytes).map_err(fail)?;
                (written, reader.into_inner())
            }
            Packing::Zstd => {
                let mut reader = zstd::stream::read::Decoder::new(packed).map_err(fail)?;
                let (written, ()) = copy_from(&mut reader, &mut scratch, maximum_bytes).map_err(fail)?;
                (written, reader.finish().into_inner())
            }
        };
        let Some(found) = written else {
            return Err(OciError::TooLarge { digest: layer.digest, maximum: maximum_bytes }.into());
        };
        let wrong =
            |expected, found| OciError::WrongBlob { reference: self.reference.clone(), expected, found };
        let packed_digest = packed.finish().map_err(fail)?;
        if packed_digest != layer.digest {
            return Err(wrong(layer.digest, packed_digest).into());
        }
        if found != layer.diff_id {
            return Err(wrong(layer.diff_id, found).into());
        }
        Ok(scratch)
    }
}

/// Reads and hashes.
struct Hashing<R> {
    inner: R,
    hash: sha2::Sha256,
}

impl<R: io::Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Hashing { inner, hash: sha2::Sha256::new() }
    }

    /// Reads what is left, and answers the digest of everything.
    fn finish(mut self) -> io::Result<Sha256> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Sha256::from(<[u8; 32]>::from(self.hash.finalize())))
    }
}

impl<R: io::Read> io::Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

fn copy<R: io::Read>(mut from: R, to: &mut File, maximum: u64) -> io::Result<(Option<Sha256>, R)> {
    let (written, ()) = copy_from(&mut from, to, maximum)?;
    Ok((written, from))
}

/// Copies at most `maximum` bytes; the digest of what was written, or `None` if there is more.
fn copy_from(from: &mut impl io::Read, to: &mut File, maximum: u64) -> io::Result<(Option<Sha256>, ())> {
    let mut limited = Hashing::new(from.take(maximum + 1));
    let copied = io::copy(&mut limited, to)?;
    if copied > maximum {
        return Ok((None, ()));
    }
    Ok((Some(limited.finish()?), ()))
}

/// `sha256:<64 digits>`.
pub fn parse_digest(text: &str) -> Result<Sha256, OciError> {
    text.strip_prefix("sha256:")
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| OciError::Digest { found: text.to_owned() })
}

fn packing(media_type: &str) -> Result<Packing, OciError> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(Packing::Plain)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Packing::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd" => Ok(Packing::Zstd),
        other => Err(OciError::LayerType { found: other.to_owned() }),
    }
}

fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

fn document<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    reference: &str,
) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|source| OciError::Document {
        what,
        reference: reference.to_owned(),
        source,
    })
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Platform {
    fn is_ours(&self) -> bool {
        self.os == "linux" && self.architecture == "amd64"
    }
}

#[derive(Deserialize)]
struct Configuration {
    os: String,
    architecture: String,
    config: Option<Config>,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<String>,
}

/// `config` of an image configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// `Entrypoint`.
    pub entrypoint: Option<Vec<String>>,
    /// `Cmd`.
    pub cmd: Option<Vec<String>>,
    /// `Env`.
    pub env: Option<Vec<String>>,
    /// `WorkingDir`.
    pub working_dir: Option<String>,
    /// `User`.
    pub user: Option<String>,
    /// `Volumes`: a set.
    pub volumes: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    /// `ExposedPorts`: a set.
    pub exposed_ports: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    /// `StopSignal`.
    pub stop_signal: Option<String>,
}
