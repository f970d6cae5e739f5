//! What is kept on disk?
//!
//! One file per item, at a place that the item's own statements choose ([`Key::path`]), written whole or
//! not at all. Whatever is read is verified again: a file that was cut, changed or made for another root
//! counts as absent.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use casemate_evidence::snp::{Product, Report};
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::Roots;
use casemate_verify::snp::{AuthenticatedChain, Endorsements, verify_revocation_list};

use crate::amd::{self, Authority};
use crate::error::Error;
use crate::intel;
use crate::item::{Holder, Item, Key, Kind};
use crate::nvidia;

/// A folder of endorsements and the roots that vouch for them.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
    pub roots: Roots,
}

/// An item that is kept, with its dates.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// What it is.
    pub key: Key,
    /// The item.
    pub item: Item,
    /// When it was written, in milliseconds since 1970; 0 if the disk does not say.
    pub written_ms: u64,
    /// First moment at which it holds, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Last moment at which it holds.
    pub not_after_ms: u64,
}

/// More signing keys of one product are not kept: the one that was written first goes.
const MAXIMUM_SIGNING_KEYS: usize = 4096;
/// As [`MAXIMUM_SIGNING_KEYS`]; Intel knows some hundred kinds of platforms.
const MAXIMUM_SETS: usize = 512;
/// As [`MAXIMUM_SIGNING_KEYS`]; a machine has as many drivers and VBIOS as it has kinds of devices.
const MAXIMUM_MANIFESTS: usize = 256;
/// Of AMD's items none has more than 5 kB; Intel's collateral and NVIDIA's manifests have 20 kB in use.
const MAXIMUM_FILE_LEN: usize = 512 * 1024;

impl Store {
    pub fn new(directory: PathBuf, roots: Roots) -> Self {
        Self { directory, roots }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The root of a product, if it is there and trusted.
    pub fn root(&self, product: Product, now_ms: u64) -> Option<Certificate> {
        let path = self.path(&Key::AmdRoot { product });
        self.use_file(&path, |bytes, origin| amd::root(bytes, &self.roots, now_ms, origin))
    }

    /// Intermediate and root of a product, if they are there and hold.
    pub fn authority(&self, product: Product, signing_key: Kind, now_ms: u64) -> Option<Authority> {
        let root = self.root(product, now_ms)?;
        let path = self.path(&Key::AmdIntermediate { product, signing_key });
        let authority = self.use_file(&path, |bytes, origin| {
            let intermediate = amd::parse_certificate(bytes, origin)?;
            Authority::verify(intermediate, root, &self.roots, now_ms, origin)
        })?;
        ((authority.product, authority.signing_key) == (product, signing_key)).then_some(authority)
    }

    /// The chain of a report's signing key, if it is there and holds. Of several providers' VLEKs it is
    /// the one whose key signed.
    pub fn endorsements(&self, report: &Report, now_ms: u64) -> Option<Endorsements> {
        let signing_key = Kind::of(report.key_info().signing_key())?;
        products(report).into_iter().find_map(|product| {
            let authority = self.authority(product, signing_key, now_ms)?;
            self.signing_keys(report, product, signing_key).into_iter().find_map(|path| {
                let found = self.use_file(&path, |bytes, origin| {
                    let leaf = amd::parse_certificate(bytes, origin)?;
                    if !amd::fits(report, &leaf) {
                        return Err(Error::Foreign { address: origin.to_owned(), product });
                    }
                    authority.endorse(leaf, &self.roots, now_ms, origin)
                })?;
                (signing_key == Kind::Vcek || self.signed(&found, report, now_ms)).then_some(found)
            })
        })
    }

    fn signed(&self, endorsements: &Endorsements, report: &Report, now_ms: u64) -> bool {
        AuthenticatedChain::verify(endorsements, &self.roots, now_ms, casemate_crypto::provider())
            .is_ok_and(|chain| chain.authenticate(report.clone(), now_ms).is_ok())
    }

    /// Files that may hold the report's signing key.
    fn signing_keys(&self, report: &Report, product: Product, signing_key: Kind) -> Vec<PathBuf> {
        let tcb = report.reported_tcb();
        match signing_key {
            Kind::Vcek => {
                let length = if product.has_short_hardware_id() { 8 } else { 64 };
                let holder = Holder::Chip(report.chip_id().as_bytes()[..length].to_vec());
                vec![self.path(&Key::AmdSigningKey { product, holder, tcb })]
            }
            // A report does not name its provider, and there are few.
            Kind::Vlek => {
                let ending = format!("-{tcb}.der");
                let named = |path: &PathBuf| {
                    path.file_name().is_some_and(|name| {
                        let name = name.to_string_lossy();
                        name.starts_with("vlek-") && name.ends_with(&ending)
                    })
                };
                let mut found: Vec<_> =
                    list(&self.directory.join(format!("amd/{product}"))).into_iter().filter(named).collect();
                found.sort();
                found
            }
        }
    }

    /// The current revocation list of a root, and when it was written.
    pub fn revocation_list(
        &self,
        product: Product,
        root: &Certificate,
        now_ms: u64,
    ) -> Option<(RevocationList, u64)> {
        let path = self.path(&Key::AmdRevocationList { product });
        let list = self.use_file(&path, |bytes, origin| amd::revocation_list(bytes, root, now_ms, origin))?;
        Some((list, written_ms(&path)))
    }

    /// When the stored list of this root was made, whether or not it is still current.
    fn stored_list_made_ms(&self, path: &Path, root: &Certificate) -> Option<u64> {
        let bytes = self.read(path).ok().flatten()?;
        let list = amd::parse_list(&bytes, "").ok()?;
        let signed = verify_revocation_list(&list, root, casemate_crypto::provider());
        signed.is_ok().then(|| list.this_update_ms())
    }

    /// Keeps a root that was verified.
    pub fn put_root(&self, root: &Certificate) -> Result<Key, Error> {
        self.put(Item::AmdRoot(root.as_der().to_vec().into()))
    }

    /// Keeps an authority that was verified.
    pub fn put_authority(&self, authority: &Authority) -> Result<Key, Error> {
        self.put_root(&authority.root)?;
        self.put(Item::AmdIntermediate(authority.intermediate.as_der().to_vec().into()))
    }

    /// Keeps a chain that was verified, without its authority.
    pub fn put_endorsements(&self, endorsements: &Endorsements) -> Result<Key, Error> {
        self.put(Item::AmdSigningKey(endorsements.leaf.as_der().to_vec().into()))
    }

    /// Keeps a revocation list that was verified, unless a newer one is there.
    ///
    /// # Errors
    /// [`Error::OlderRevocationList`], [`Error::File`].
    pub fn put_revocation_list(
        &self,
        list: &RevocationList,
        root: &Certificate,
        origin: &str,
    ) -> Result<Key, Error> {
        let item = Item::AmdRevocationList(list.as_der().to_vec().into());
        let path = self.path(&item.key()?);
        let found_ms = list.this_update_ms();
        if let Some(stored_ms) = self.stored_list_made_ms(&path, root).filter(|made| *made > found_ms) {
            return Err(Error::OlderRevocationList { origin: origin.to_owned(), found_ms, stored_ms });
        }
        self.put(item)
    }

    pub fn put(&self, item: Item) -> Result<Key, Error> {
        let key = item.key()?;
        let path = self.path(&key);
        match item {
            Item::AmdSigningKey(_) => make_room(&path, is_signing_key, MAXIMUM_SIGNING_KEYS),
            Item::IntelCollateral(_) => make_room(&path, is_collateral, MAXIMUM_SETS),
            Item::NvidiaManifest(_) => make_room(&path, is_manifest, MAXIMUM_MANIFESTS),
            _ => {}
        }
        write(&path, &item.bytes())?;
        Ok(key)
    }

    /// Everything that is kept and readable, in the order of its keys. Not verified: that is done when it
    /// is used.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Product::ALL
            .into_iter()
            .map(|product| format!("amd/{product}"))
            .chain(["intel", "nvidia"].map(str::to_owned))
            .flat_map(|folder| list(&self.directory.join(folder)))
            .filter_map(|path| self.entry(&path))
            .collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries
    }

    fn entry(&self, path: &Path) -> Option<Entry> {
        let bytes = self.read(path).ok().flatten()?;
        let name = path.file_name()?.to_str()?;
        let item = match name {
            name if name.ends_with("-evaluation-numbers.cbor") => {
                Item::IntelEvaluationNumbers(casemate_canon::from_cbor(&bytes, MAXIMUM_FILE_LEN).ok()?)
            }
            name if name.ends_with(".cbor") => {
                Item::IntelCollateral(casemate_canon::from_cbor(&bytes, MAXIMUM_FILE_LEN).ok()?)
            }
            name if is_manifest(name) => Item::NvidiaManifest(bytes.into()),
            "root.der" => Item::AmdRoot(bytes.into()),
            "revocation.crl" => Item::AmdRevocationList(bytes.into()),
            name if name.ends_with("-intermediate.der") => Item::AmdIntermediate(bytes.into()),
            name if name.ends_with(".der") => Item::AmdSigningKey(bytes.into()),
            _ => return None,
        };
        let key = item.key().ok()?;
        // A file that lies where its content does not belong is not one of ours.
        if self.path(&key) != path {
            return None;
        }
        let (not_before_ms, not_after_ms) = match &item {
            Item::AmdRevocationList(der) => {
                let list = amd::parse_list(der, name).ok()?;
                (list.this_update_ms(), list.next_update_ms())
            }
            Item::IntelCollateral(set) => intel::dates(set, name).ok()?,
            Item::IntelEvaluationNumbers(numbers) => intel::dates_of_numbers(numbers, name).ok()?,
            Item::NvidiaManifest(document) => nvidia::window(document, name).ok()?,
            Item::AmdRoot(der) | Item::AmdIntermediate(der) | Item::AmdSigningKey(der) => {
                let certificate = amd::parse_certificate(der, name).ok()?;
                (certificate.not_before_ms(), certificate.not_after_ms())
            }
        };
        Some(Entry { key, item, written_ms: written_ms(path), not_before_ms, not_after_ms })
    }

    /// What `make` makes of a file; `None` if it is absent, or if it cannot be used, which is logged.
    pub fn use_file<T>(&self, path: &Path, make: impl FnOnce(&[u8], &str) -> Result<T, Error>) -> Option<T> {
        let made = match self.read(path) {
            Ok(None) => return None,
            Ok(Some(bytes)) => make(&bytes, &path.display().to_string()),
            Err(error) => Err(error),
        };
        match made {
            Ok(made) => Some(made),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a stored endorsement cannot be used and counts as absent");
                None
            }
        }
    }

    pub fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(key.path())
    }

    /// At most `MAXIMUM_FILE_LEN` bytes of a file; `None` if it is absent or longer than any item.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > MAXIMUM_FILE_LEN as u64 => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { action: "reading", path: path.to_owned(), source }),
        }
    }
}

/// Strangers choose which chips are asked about; they do not choose how full the disk gets.
fn make_room(path: &Path, counts: fn(&str) -> bool, maximum: usize) {
    let Some(folder) = path.parent() else { return };
    let counts = |path: &PathBuf| path.file_name().is_some_and(|name| counts(&name.to_string_lossy()));
    let mut files: Vec<PathBuf> = list(folder).into_iter().filter(counts).collect();
    if files.len() < maximum {
        return;
    }
    files.sort_by_key(|path| written_ms(path));
    for oldest in &files[..=files.len() - maximum] {
        let _ = std::fs::remove_file(oldest);
    }
}

fn is_signing_key(name: &str) -> bool {
    name.ends_with(".der") && name != "root.der" && !name.ends_with("-intermediate.der")
}

fn is_collateral(name: &str) -> bool {
    name.ends_with(".cbor") && !name.ends_with("-evaluation-numbers.cbor")
}

fn is_manifest(name: &str) -> bool {
    name.ends_with(".xml")
}

/// The products that may have made this report: those in whose layout its TCB version fits.
pub(crate) fn products(report: &Report) -> Vec<Product> {
    let named = match report.cpuid() {
        Some(cpuid) => cpuid.product().into_iter().collect(),
        None => Product::ALL.to_vec(),
    };
    named.into_iter().filter(|product| report.reported_tcb().components(*product).is_ok()).collect()
}

pub(crate) fn list(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect()
}

pub(crate) fn written_ms(path: &Path) -> u64 {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Writes a file that others see whole or not at all, also after a crash.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write as _;

    let failed = |action| move |source| Error::File { action, path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("making the folder of"))?;
    }
    // Two writers of one item in one process must not share a file either.
    static UNFINISHED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = UNFINISHED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let unfinished = path.with_extension(format!("new-{}-{number}", std::process::id()));
    let mut file = std::fs::File::create(&unfinished).map_err(failed("writing"))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(source) = written.and_then(|()| std::fs::rename(&unfinished, path)) {
        let _ = std::fs::remove_file(&unfinished);
        return Err(Error::File { action: "writing", path: path.to_owned(), source });
    }
    Ok(())
}
