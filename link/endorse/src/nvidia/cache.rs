//! Which manifests are kept, and which are asked for?

use casemate_crypto::hash::sha256;
use casemate_crypto::provider;
use casemate_evidence::bundle::{Bundle, Item as EvidenceItem, NvidiaDevice};
use casemate_evidence::nvidia::{Manifest, Report};
use casemate_evidence::x509::Certificate;
use casemate_verify::nvidia::{ManifestName, authenticate_manifest, authenticate_report, manifest_names};

use super::server::{ManifestRefusal, ManifestServer};
use crate::cache::{Cache, Inner, Question as AnyQuestion};
use crate::error::Error;
use crate::item::{Item, Key};
use crate::store::{Store, list, written_ms};

/// What a service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Manifest(ManifestName),
}

impl Cache {
    /// The evidence with the manifests that its devices need and it does not carry, and why any is not there:
    /// whether evidence counts without is for the policy.
    pub(crate) async fn add_manifests(&self, bundle: Bundle, now_ms: u64) -> (Bundle, Vec<Error>) {
        let mut names: Vec<ManifestName> = bundle
            .nvidia_devices()
            .iter()
            .flat_map(|device| self.inner.store.names(device, now_ms))
            .collect();
        names.sort();
        names.dedup();
        let mut manifests: Vec<_> = bundle.nvidia_manifests().to_vec();
        let carried: Vec<String> = manifests
            .iter()
            .filter_map(|bytes| Manifest::parse(bytes).ok().map(|manifest| manifest.version().to_owned()))
            .collect();
        let mut missing = Vec::new();
        for name in names {
            if carried.iter().any(|version| version.eq_ignore_ascii_case(&name.version)) {
                continue;
            }
            match self.manifests(&name, now_ms).await {
                Ok(found) => manifests.extend(found.into_iter().map(Into::into)),
                Err(error) => missing.push(error),
            }
        }
        manifests.truncate(NvidiaDevice::MAXIMUM_MANIFESTS);
        match manifests.len() == bundle.nvidia_manifests().len() {
            true => (bundle, missing),
            false => (bundle.with(EvidenceItem::NvidiaManifests(manifests)), missing),
        }
    }

    /// The manifests of a version: those that are stored and hold, or the one that is fetched.
    async fn manifests(&self, name: &ManifestName, now_ms: u64) -> Result<Vec<Vec<u8>>, Error> {
        let inner = &self.inner;
        let absent = || Error::NoManifest { id: name.id.clone(), directory: self.directory().to_owned() };
        let reread = || inner.store.manifests(name, now_ms);
        let stored = reread();
        let Some(server) = &inner.manifest_server else {
            return stored.map(|(found, _)| found).ok_or_else(absent);
        };
        let asked = {
            let (inner, server, name) = (inner.clone(), server.clone(), name.clone());
            async move { inner.fetch_manifest(&server, &name, now_ms).await }
        };
        let question = AnyQuestion::Nvidia(Question::Manifest(name.clone()));
        let found = self.fresh(server.etiquette(), question, stored, now_ms, asked, reread).await?;
        found.ok_or_else(absent)
    }
}

impl Inner {
    async fn fetch_manifest(
        &self,
        server: &ManifestServer,
        name: &ManifestName,
        now_ms: u64,
    ) -> Result<(), Error> {
        let document = server.fetch(name).await?;
        self.import_manifest(&document, now_ms, &server.manifest_address(name)).map(drop)
    }

    /// Keeps a manifest that NVIDIA signed.
    pub(crate) fn import_manifest(&self, document: &[u8], now_ms: u64, origin: &str) -> Result<Key, Error> {
        self.store.verify(document, now_ms, origin)?;
        self.store.put(Item::NvidiaManifest(document.to_vec().into()))
    }
}

impl Store {
    /// What a device's manifests are called, if a trusted root vouches for the device.
    fn names(&self, device: &NvidiaDevice, now_ms: u64) -> Vec<ManifestName> {
        let chain: Result<Vec<_>, _> =
            device.certificates.iter().map(|der| Certificate::parse(der)).collect();
        let (Ok(report), Ok(chain)) = (Report::parse(&device.report), chain) else { return Vec::new() };
        let roots = self.roots.nvidia_device_anchors();
        let genuine = authenticate_report(report, &chain, &roots, now_ms, provider());
        genuine.map_or_else(|_| Vec::new(), |genuine| manifest_names(&genuine))
    }

    /// The kept manifests of a version that hold, and when the newest of them was written.
    fn manifests(&self, name: &ManifestName, now_ms: u64) -> Option<(Vec<Vec<u8>>, u64)> {
        let mut files = list(&self.directory().join("nvidia"));
        files.sort();
        let mut newest_ms = 0;
        let found: Vec<Vec<u8>> = files
            .iter()
            .filter_map(|path| {
                let document = self.use_file(path, |bytes, origin| {
                    let manifest = parse(bytes, origin)?;
                    let fits = manifest.version().eq_ignore_ascii_case(&name.version);
                    if fits {
                        self.verify(bytes, now_ms, origin).map(|()| Some(bytes.to_vec()))
                    } else {
                        Ok(None)
                    }
                })??;
                newest_ms = newest_ms.max(written_ms(path));
                Some(document)
            })
            .collect();
        (!found.is_empty()).then_some((found, newest_ms))
    }

    fn verify(&self, document: &[u8], now_ms: u64, origin: &str) -> Result<(), Error> {
        let manifest = parse(document, origin)?;
        let roots = self.roots.nvidia_manifest_anchors();
        let genuine = authenticate_manifest(manifest, &roots, now_ms, provider());
        genuine.map(drop).map_err(|error| Error::manifest(origin, ManifestRefusal::NotEndorsed(error)))
    }
}

/// Where a manifest belongs.
pub(crate) fn key_of_manifest(document: &[u8], origin: &str) -> Result<Key, Error> {
    let manifest = parse(document, origin)?;
    let (product, version) = (manifest.product().to_owned(), manifest.version().to_owned());
    Ok(Key::NvidiaManifest { product, version, digest: sha256(document) })
}

/// First and last moment at which the signer's certificate holds, in milliseconds since 1970.
pub(crate) fn window(document: &[u8], origin: &str) -> Result<(u64, u64), Error> {
    let manifest = parse(document, origin)?;
    let certificates = &manifest.signature().certificates;
    let first = certificates.iter().map(Certificate::not_before_ms).max().unwrap_or(0);
    Ok((first, certificates.iter().map(Certificate::not_after_ms).min().unwrap_or(0)))
}

fn parse(document: &[u8], origin: &str) -> Result<Manifest, Error> {
    Manifest::parse(document).map_err(|error| Error::manifest(origin, ManifestRefusal::Format(error)))
}
