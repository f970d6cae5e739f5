//! Which disk does a container image become?
//!
//! An image comes from an OCI layout, an archive of one, a registry or a build; each ends as an OCI
//! layout whose every blob is checked against its digest. [`convert`] turns it, once and the same way
//! on every machine, into the disk that the guest mounts: erofs with its dm-verity tree.

pub mod build;
pub mod convert;
pub mod layout;
pub mod reference;
pub mod registry;

pub use convert::Converted;
pub use reference::Reference;

use std::path::PathBuf;

use casemate_crypto::hash::Sha256;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// Not a reference.
    #[error(
        "'{found}' is no image reference; write NAME[:TAG][@sha256:..], oci:PATH[:TAG] or oci-archive:FILE"
    )]
    Reference {
        /// What was given.
        found: String,
    },
    /// The layout has no `index.json`.
    #[error("{path} is no OCI layout: it has no index.json")]
    NoLayout {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The layout has several images or none of that name.
    #[error("{path} has {found} images{}", tag.as_deref().map(|tag| format!(" tagged '{tag}'")).unwrap_or_default())]
    NotOneImage {
        /// The layout.
        path: PathBuf,
        /// The tag looked for.
        tag: Option<String>,
        /// Images that would do.
        found: usize,
    },
    /// No image for this kind of machine.
    #[error("{reference} has no image for linux/amd64")]
    NoPlatform {
        /// The image.
        reference: String,
    },
    /// A blob is not what its digest says.
    #[error("blob {expected} of {reference} has digest {found}; fetch or build the image again")]
    WrongBlob {
        /// The image.
        reference: String,
        /// Digest named.
        expected: Sha256,
        /// Digest of what is there.
        found: Sha256,
    },
    /// A blob is larger than it says or than is accepted.
    #[error("blob {digest} is larger than {maximum} bytes")]
    TooLarge {
        /// Its digest.
        digest: Sha256,
        /// Limit in bytes.
        maximum: u64,
    },
    /// A document of the image is not well formed.
    #[error("{what} of {reference} is not well formed")]
    Document {
        /// Which.
        what: &'static str,
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A digest of another algorithm, or none.
    #[error("'{found}' is no SHA-256 digest; only sha256:<64 digits> is accepted")]
    Digest {
        /// What was given.
        found: String,
    },
    /// A compression that is not read.
    #[error("layer media type '{found}' is not supported; tar, tar+gzip and tar+zstd are")]
    LayerType {
        /// What the manifest says.
        found: String,
    },
    /// The manifest and the configuration disagree.
    #[error("{reference} has {layers} layers and {named} digests for them; build it again")]
    LayerCount {
        /// The image.
        reference: String,
        /// Layers in the manifest.
        layers: usize,
        /// `diff_ids` in the configuration.
        named: usize,
    },
    /// The file system cannot be made.
    #[error("{reference}: {source}")]
    Rootfs {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: casemate_rootfs::Error,
    },
    /// The registry did not give it.
    #[error("{reference}: {source}")]
    Registry {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: Box<oci_client::errors::OciDistributionError>,
    },
    /// Nothing builds here.
    #[error("service '{service}' is built, and neither podman, buildah nor docker is installed")]
    NoBuilder {
        /// The service.
        service: String,
    },
    /// The build failed.
    #[error("building '{service}' with {program} failed (exit {code})")]
    Build {
        /// The service.
        service: String,
        /// The program.
        program: &'static str,
        /// Its exit code.
        code: i32,
    },
    /// A builder's archive has something in it that no layout has.
    #[error("{path} is no OCI archive: unexpected entry '{entry}'")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The entry.
        entry: String,
    },
}
