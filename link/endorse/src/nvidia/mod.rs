//! What should this NVIDIA device measure, and from where can that be had?
//!
//! Manifests are asked for by the names that genuine devices give: nobody is asked about what strangers made
//! up. They have no edition: each is good while its signer's certificate is, and several of one version may
//! be kept, of which the Verifier takes the one that fits.

mod cache;
mod server;

pub(crate) use cache::{Question, key_of_manifest, window};
pub use server::{ManifestRefusal, ManifestServer};
