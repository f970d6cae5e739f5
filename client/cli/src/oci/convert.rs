//! Which disk does this image become, and was it made before?

use std::{
    fs::{self, File},
    io::{BufWriter, Seek as _, Write},
    path::{Path, PathBuf},
};

use casemate_crypto::hash::Sha256;
use casemate_rootfs::{Limits, Tree, write_image};
use casemate_workload::manifest;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{OciError, layout};
use crate::{Error, files, home::Home};

/// Most bytes of one unpacked layer.
const MAXIMUM_LAYER_BYTES: u64 = 16 << 30;

/// A disk made of a container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The disk.
    pub disk: PathBuf,
    /// SHA-256 of the disk: its name at the host.
    pub blob: Sha256,
    /// SHA-256 of the OCI image manifest.
    pub oci_digest: Sha256,
    /// dm-verity root hash.
    pub root_hash: Sha256,
    /// Data blocks of 4096 bytes.
    pub data_blocks: u64,
    /// Size of the disk in bytes.
    pub size_bytes: u64,
    /// What the image says about running it.
    pub config: manifest::ImageConfig,
}

/// The disk of an image that was converted before.
pub fn cached(home: &Home, oci_digest: &Sha256) -> Option<Converted> {
    let folder = home.image_cache().join(oci_digest.to_string());
    let text = files::read_text(&folder.join("image.toml"), 1 << 20).ok()?;
    let note: Note = toml::from_str(&text).ok()?;
    let disk = folder.join("disk.img");
    let size_bytes = fs::metadata(&disk).ok()?.len();
    (note.format == FORMAT && size_bytes == note.size_bytes && note.oci_digest == *oci_digest)
        .then(|| note.into_converted(disk))
}

/// Converts `image`, unless that was done before.
///
/// # Errors
/// [`OciError`], [`Error::File`].
pub fn convert(home: &Home, image: &layout::Image) -> Result<Converted, Error> {
    if let Some(converted) = cached(home, &image.digest) {
        return Ok(converted);
    }
    let folder = home.image_cache();
    files::make_private_folder(&folder)?;
    let scratch = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(&folder)
        .map_err(|source| files::error("write to", &folder, source))?;

    let rootfs = |source| OciError::Rootfs { reference: image.reference.clone(), source };
    let mut tree = Tree::new(Limits::default());
    let mut layers = Vec::new();
    for layer in &image.layers {
        let file = tempfile::tempfile_in(scratch.path())
            .map_err(|source| files::error("write to", scratch.path(), source))?;
        let mut file = image.unpack(layer, file, MAXIMUM_LAYER_BYTES)?;
        file.rewind().map_err(|source| files::error("read", scratch.path(), source))?;
        tree.apply_layer(&mut std::io::BufReader::new(&file)).map_err(rootfs)?;
        layers.push(file);
    }
    let path = scratch.path().join("disk.img");
    let file = File::create(&path).map_err(|source| files::error("write", &path, source))?;
    let mut out = Hashing { inner: BufWriter::with_capacity(1 << 20, file), hash: sha2::Sha256::new() };
    let written = write_image(&tree, &mut layers, &mut out).map_err(rootfs)?;
    let blob = Sha256::from(<[u8; 32]>::from(out.hash.finalize()));

    let note = Note {
        format: FORMAT,
        oci_digest: image.digest,
        root_hash: Sha256::from(*written.root_hash.as_bytes()),
        data_blocks: written.data_blocks,
        size_bytes: written.size_bytes,
        blob,
        config: image_config(&image.config).into(),
    };
    let text = toml::to_string(&note).expect("the note is plain data");
    files::write(&scratch.path().join("image.toml"), text.as_bytes())?;
    put_in_place(scratch.keep(), &folder.join(image.digest.to_string()))?;
    cached(home, &image.digest).ok_or(Error::CacheLost { digest: image.digest })
}

/// Moves a finished folder to its name; a folder of that name is an older format or a half one.
fn put_in_place(new: PathBuf, place: &Path) -> Result<(), Error> {
    if place.exists() {
        fs::remove_dir_all(place).map_err(|source| files::error("replace", place, source))?;
    }
    fs::rename(&new, place).map_err(|source| files::error("write", place, source))
}

fn image_config(config: &layout::Config) -> manifest::ImageConfig {
    let keys = |set: &Option<std::collections::BTreeMap<String, serde_json::Value>>| {
        set.as_ref().map(|set| set.keys().cloned().collect()).unwrap_or_default()
    };
    manifest::ImageConfig {
        entrypoint: config.entrypoint.clone().unwrap_or_default(),
        cmd: config.cmd.clone().unwrap_or_default(),
        env: config.env.clone().unwrap_or_default(),
        working_dir: config.working_dir.clone().unwrap_or_default(),
        user: config.user.clone().unwrap_or_default(),
        volumes: keys(&config.volumes),
        exposed_ports: keys(&config.exposed_ports),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
    }
}

struct Hashing<W> {
    inner: W,
    hash: sha2::Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Rises when the same layers would give another disk.
const FORMAT: u32 = 1;

/// `image.toml` beside the disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    format: u32,
    oci_digest: Sha256,
    root_hash: Sha256,
    data_blocks: u64,
    size_bytes: u64,
    blob: Sha256,
    config: NoteConfig,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteConfig {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    env: Vec<String>,
    working_dir: String,
    user: String,
    volumes: Vec<String>,
    exposed_ports: Vec<String>,
    stop_signal: String,
}

impl From<manifest::ImageConfig> for NoteConfig {
    fn from(config: manifest::ImageConfig) -> Self {
        let manifest::ImageConfig {
            entrypoint,
            cmd,
            env,
            working_dir,
            user,
            volumes,
            exposed_ports,
            stop_signal,
        } = config;
        NoteConfig { entrypoint, cmd, env, working_dir, user, volumes, exposed_ports, stop_signal }
    }
}

impl Note {
    fn into_converted(self, disk: PathBuf) -> Converted {
        let NoteConfig { entrypoint, cmd, env, working_dir, user, volumes, exposed_ports, stop_signal } =
            self.config;
        Converted {
            disk,
            blob: self.blob,
            oci_digest: self.oci_digest,
            root_hash: self.root_hash,
            data_blocks: self.data_blocks,
            size_bytes: self.size_bytes,
            config: manifest::ImageConfig {
                entrypoint,
                cmd,
                env,
                working_dir,
                user,
                volumes,
                exposed_ports,
                stop_signal,
            },
        }
    }
}
