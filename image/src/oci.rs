//! Which OCI image is this root filesystem?
//!
//! Writes an OCI image layout (image-spec v1.1, `image-layout.md`) from uncompressed tar layers and a
//! run configuration. The same input gives the same digests: no creation time, no compression.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use casemate_crypto::hash::{Sha256, sha256};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::Error;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How containers of an image start (image-spec v1.1, `config.md`, property `config`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user` or `user:group`, names or numbers.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub user: String,
    /// Ports such as `5432/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub env: Vec<String>,
    /// First arguments.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entrypoint: Vec<String>,
    /// Further arguments, unless others are given.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cmd: Vec<String>,
    /// Directories that hold data.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub volumes: BTreeMap<String, Empty>,
    /// Where the first process starts.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub working_dir: String,
}

/// The empty object that stands behind ports and volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// What a layout was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenLayout {
    /// Digest of the image's manifest: what `image@sha256:..` names.
    pub manifest: Sha256,
    /// Digest of its configuration: the image id.
    pub config: Sha256,
}

/// Writes the image of `layers` (uncompressed tar files, lowest first) into the folder `output` and
/// names it `reference`. Another image that the folder holds is no longer named there.
///
/// # Errors
/// [`Error::Read`], [`Error::Write`].
pub fn write_layout(
    output: &Path,
    reference: &str,
    layers: &[PathBuf],
    config: &RunConfig,
) -> Result<WrittenLayout, Error> {
    let blobs = output.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(Error::writing(&blobs))?;
    let layers = layers.iter().map(|layer| copy_blob(&blobs, layer)).collect::<Result<Vec<_>, _>>()?;
    let diff_ids = layers.iter().map(|(digest, _)| named(digest)).collect();
    let root_fs = RootFs { kind: "layers", diff_ids };
    let image = ImageConfig { architecture: "amd64", os: "linux", config, rootfs: root_fs };
    let (config, config_size) = write_blob(&blobs, &image)?;
    let describe = |media_type, digest: &Sha256, size| Descriptor {
        media_type,
        digest: named(digest),
        size,
        annotations: BTreeMap::new(),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: describe(CONFIG, &config, config_size),
        layers: layers.iter().map(|(digest, size)| describe(LAYER, digest, *size)).collect(),
    };
    let (manifest, manifest_size) = write_blob(&blobs, &manifest)?;
    let mut entry = describe(MANIFEST, &manifest, manifest_size);
    entry.annotations.insert("org.opencontainers.image.ref.name", reference.to_owned());
    let index = Index { schema_version: 2, media_type: INDEX, manifests: vec![entry] };
    write(&output.join("index.json"), &json(&index))?;
    write(&output.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(WrittenLayout { manifest, config })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct ImageConfig<'a> {
    architecture: &'a str,
    os: &'a str,
    config: &'a RunConfig,
    rootfs: RootFs<'a>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    diff_ids: Vec<String>,
}

fn named(digest: &Sha256) -> String {
    format!("sha256:{digest}")
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers are JSON")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(Error::writing(path))
}

fn write_blob(blobs: &Path, value: &impl Serialize) -> Result<(Sha256, u64), Error> {
    let bytes = json(value);
    let digest = sha256(&bytes);
    write(&blobs.join(digest.to_string()), &bytes)?;
    Ok((digest, bytes.len() as u64))
}

/// Copies a file to where its digest says, without holding it in memory.
fn copy_blob(blobs: &Path, source: &Path) -> Result<(Sha256, u64), Error> {
    let mut input = fs::File::open(source).map_err(Error::reading(source))?;
    let partial = blobs.join(format!(".partial-{}", std::process::id()));
    let mut output = fs::File::create(&partial).map_err(Error::writing(&partial))?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let read = input.read(&mut buffer).map_err(Error::reading(source))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        output.write_all(&buffer[..read]).map_err(Error::writing(&partial))?;
        size += read as u64;
    }
    let digest = Sha256::from(<[u8; 32]>::from(hash.finalize()));
    let target = blobs.join(digest.to_string());
    fs::rename(&partial, &target).map_err(Error::writing(&target))?;
    Ok((digest, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_gives_the_same_digests() {
        let folder = tempfile::tempdir().unwrap();
        let layer = folder.path().join("root.tar");
        fs::write(&layer, [0; 1024]).unwrap();
        let config = RunConfig {
            entrypoint: vec!["/bin/server".into()],
            exposed_ports: BTreeMap::from([("80/tcp".into(), Empty {})]),
            ..RunConfig::default()
        };
        let write = |name: &str| {
            write_layout(&folder.path().join(name), "demo:1", std::slice::from_ref(&layer), &config).unwrap()
        };
        let (one, two) = (write("one"), write("two"));
        assert_eq!(one, two);

        let path = folder.path().join("one/blobs/sha256").join(one.config.to_string());
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(
            text,
            r#"{"architecture":"amd64","os":"linux","config":{"ExposedPorts":{"80/tcp":{}},"Entrypoint":["/bin/server"]},"rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#
        );
    }
}
