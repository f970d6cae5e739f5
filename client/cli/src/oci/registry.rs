//! What does a registry hold under this name?
//!
//! Everything fetched is checked against its digest; the registry is trusted for nothing but the
//! first answer to "which digest has this tag", which `compose.lock` then pins.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use casemate_crypto::hash::{Sha256, sha256};
use oci_client::{Client, Reference, client::ClientConfig, manifest::OciManifest, secrets::RegistryAuth};
use sha2::Digest as _;

use super::{
    OciError,
    layout::{Image, Layout, parse_digest},
};
use crate::{Error, files, home::Home};

/// Most bytes of one blob.
const MAXIMUM_BLOB_BYTES: u64 = 16 << 30;

/// Fetches the image into the cache: the one with `pinned`, or what the tag names now.
///
/// # Errors
/// [`OciError::Registry`], [`OciError::WrongBlob`], [`Error::File`].
pub async fn fetch(home: &Home, reference: &Reference, pinned: Option<Sha256>) -> Result<Image, Error> {
    let layout = Layout::of_blobs(&home.registry_cache());
    let name = reference.whole();
    if let Some(digest) = pinned
        && let Ok(image) = layout.image_of(digest, &name)
        && image.layers.iter().all(|layer| layout.blob(&layer.digest).is_file())
    {
        return Ok(image);
    }
    let client = Client::new(ClientConfig::default());
    let auth = credentials();
    let registry = |source| OciError::Registry { reference: name.clone(), source: Box::new(source) };
    let wanted = match pinned {
        Some(digest) => reference.clone_with_digest(format!("sha256:{digest}")),
        None => reference.clone(),
    };
    let (mut bytes, _) = client.pull_manifest_raw(&wanted, &auth, MANIFEST_TYPES).await.map_err(registry)?;
    let mut digest = sha256(&bytes);
    let document = |source| OciError::Document { what: "manifest", reference: name.clone(), source };
    if let OciManifest::ImageIndex(index) = serde_json::from_slice(&bytes).map_err(document)? {
        let ours = index.manifests.iter().find(|entry| {
            entry.platform.as_ref().is_some_and(|platform| {
                platform.os.to_string() == "linux" && platform.architecture.to_string() == "amd64"
            })
        });
        let Some(ours) = ours else { return Err(OciError::NoPlatform { reference: name }.into()) };
        let wanted = reference.clone_with_digest(ours.digest.clone());
        bytes = client.pull_manifest_raw(&wanted, &auth, MANIFEST_TYPES).await.map_err(registry)?.0;
        digest = sha256(&bytes);
        check(&name, parse_digest(&ours.digest)?, digest)?;
    }
    if let Some(expected) = pinned {
        check(&name, expected, digest)?;
    }
    store(&layout.blob(&digest), &bytes)?;
    let OciManifest::Image(manifest) = serde_json::from_slice(&bytes).map_err(document)? else {
        return Err(OciError::NoPlatform { reference: name }.into());
    };
    for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let expected = parse_digest(&descriptor.digest)?;
        let path = layout.blob(&expected);
        if path.is_file() {
            continue;
        }
        let stream = client.pull_blob_stream(reference, descriptor).await.map_err(registry)?;
        save(stream.stream, &path, expected, &name).await?;
    }
    layout.image_of(digest, &name)
}

const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// From `CASEMATE_REGISTRY_USER` and `CASEMATE_REGISTRY_PASSWORD`, else nobody.
fn credentials() -> RegistryAuth {
    match (std::env::var("CASEMATE_REGISTRY_USER"), std::env::var("CASEMATE_REGISTRY_PASSWORD")) {
        (Ok(user), Ok(password)) => RegistryAuth::Basic(user, password),
        _ => RegistryAuth::Anonymous,
    }
}

fn check(reference: &str, expected: Sha256, found: Sha256) -> Result<(), OciError> {
    if expected == found {
        return Ok(());
    }
    Err(OciError::WrongBlob { reference: reference.to_owned(), expected, found })
}

fn store(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        files::make_private_folder(folder)?;
    }
    files::write(path, bytes)
}

async fn save<S, B>(mut stream: S, path: &Path, expected: Sha256, reference: &str) -> Result<(), Error>
where
    S: futures_core::Stream<Item = io::Result<B>> + Unpin,
    B: AsRef<[u8]>,
{
    let folder = path.parent().expect("a blob lies in a folder");
    files::make_private_folder(folder)?;
    let fail = |source| files::error("write", path, source);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    let mut hash = sha2::Sha256::new();
    let mut written = 0u64;
    while let Some(chunk) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut stream).poll_next(context)).await
    {
        let chunk = chunk.map_err(fail)?;
        let chunk = chunk.as_ref();
        written += chunk.len() as u64;
        if written > MAXIMUM_BLOB_BYTES {
            return Err(OciError::TooLarge { digest: expected, maximum: MAXIMUM_BLOB_BYTES }.into());
        }
        hash.update(chunk);
        file.write_all(chunk).map_err(fail)?;
    }
    check(reference, expected, Sha256::from(<[u8; 32]>::from(hash.finalize())))?;
    file.persist(path).map_err(|error| fail(error.error))?;
    fs::metadata(path).map_err(fail)?;
    Ok(())
}
