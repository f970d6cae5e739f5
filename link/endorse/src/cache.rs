//! What was fetched before?
//!
//! One folder per chip and TCB version, `snp/{chip id}-{tcb}/`, with `leaf.der`, `intermediate.der` and
//! `root.der`; one revocation list per product, `snp/{product}.crl`. Files appear whole or not at all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use casemate_evidence::snp::{Leaf, Product, Report, SigningKeyKind, Tcb};
use casemate_evidence::x509::RevocationList;
use casemate_verify::snp::{Endorsements, EndorsementsError, check_chip, check_tcb};

use crate::error::Error;
use crate::key_server::KeyServer;

/// Endorsements on disk, and perhaps a service that has more.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    server: Option<KeyServer>,
}

impl Cache {
    /// A cache that never uses the network. The folder need not exist.
    pub fn offline(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), server: None }
    }

    /// A cache that asks `server` for what it lacks.
    pub fn online(directory: impl Into<PathBuf>, server: KeyServer) -> Self {
        Self { directory: directory.into(), server: Some(server) }
    }

    /// The endorsements of `report`, with the product's revocation list if there is a current one at
    /// `now_ms` (milliseconds since 1970).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn endorsements(&self, report: &Report, now_ms: u64) -> Result<Endorsements, Error> {
        let endorsements = match self.stored(report)? {
            Some(stored) => stored,
            None => self.fetch(report).await?,
        };
        let Ok(leaf) = Leaf::read(&endorsements.leaf) else { return Ok(endorsements) };
        match self.revocation_list(leaf.product(), &endorsements, now_ms).await? {
            Some(list) => Ok(Endorsements { revocation_list: Some(list), ..endorsements }),
            None => Ok(endorsements),
        }
    }

    /// The endorsements of `report` that are on disk, without the revocation list.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Unreadable`].
    pub fn stored(&self, report: &Report) -> Result<Option<Endorsements>, Error> {
        let folder = self.folder(report);
        let mut files = Vec::new();
        for name in [LEAF, INTERMEDIATE, ROOT] {
            match read(&folder.join(name))? {
                Some(bytes) => files.push(bytes),
                None => return Ok(None),
            }
        }
        Endorsements::parse(&files[0], &files[1], &files[2])
            .map(Some)
            .map_err(|source| Error::Unreadable { origin: folder.display().to_string(), source })
    }

    /// Stores endorsements that came with the evidence: of simulated chips, of VLEKs, or before going
    /// offline.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn store(&self, report: &Report, endorsements: &Endorsements) -> Result<(), Error> {
        let folder = self.folder(report);
        // The leaf last: a folder without it is incomplete and read as empty.
        write(&folder.join(ROOT), endorsements.root.as_der())?;
        write(&folder.join(INTERMEDIATE), endorsements.intermediate.as_der())?;
        write(&folder.join(LEAF), endorsements.leaf.as_der())
    }

    async fn fetch(&self, report: &Report) -> Result<Endorsements, Error> {
        let Some(server) = &self.server else {
            return Err(Error::NotCached {
                chip: report.chip_id().short().to_string(),
                tcb: report.reported_tcb().to_string(),
                directory: self.folder(report),
            });
        };
        if report.key_info().signing_key() == SigningKeyKind::Vlek {
            return Err(Error::VlekNotServed);
        }
        if report.chip_id().is_masked() {
            return Err(Error::ChipMasked);
        }
        let mut last = Error::ProductUnknown;
        for (product, tcb) in candidates(report) {
            match fetch_vcek(server, report, product, &tcb).await {
                Ok(endorsements) => {
                    self.store(report, &endorsements)?;
                    return Ok(endorsements);
                }
                // Version 2 does not name its product: the service does not know the chip under others.
                Err(error @ Error::Status { status: 400 | 404, .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The revocation list of a product: from disk while it is current, else from the service; `None`
    /// offline, or for a root that is not AMD's.
    async fn revocation_list(
        &self,
        product: Product,
        endorsements: &Endorsements,
        now_ms: u64,
    ) -> Result<Option<RevocationList>, Error> {
        let path = self.directory.join("snp").join(format!("{product}.crl"));
        let parse = |bytes: &[u8], origin: String| {
            RevocationList::parse(bytes)
                .map_err(|error| Error::Unreadable { origin, source: EndorsementsError::Unreadable(error) })
        };
        let of_this_root = |list: &RevocationList| list.issuer() == endorsements.root.subject();
        if let Some(bytes) = read(&path)? {
            let list = parse(&bytes, path.display().to_string())?;
            if of_this_root(&list) && now_ms <= list.next_update_ms() {
                return Ok(Some(list));
            }
        }
        let (Some(server), true) = (&self.server, is_amd(endorsements)) else { return Ok(None) };
        let address = server.revocation_list_address(product);
        let bytes = server.fetch(&address).await?;
        let list = parse(&bytes, address.clone())?;
        if !of_this_root(&list) {
            return Err(Error::Foreign { address, product });
        }
        write(&path, &bytes)?;
        Ok(Some(list))
    }

    fn folder(&self, report: &Report) -> PathBuf {
        let kind = match report.key_info().signing_key() {
            SigningKeyKind::Vlek => "vlek-",
            _ => "",
        };
        self.directory.join("snp").join(format!("{kind}{}-{}", report.chip_id(), report.reported_tcb()))
    }
}

const LEAF: &str = "leaf.der";
const INTERMEDIATE: &str = "intermediate.der";
const ROOT: &str = "root.der";

/// The products that may have made this report, with its TCB version in their layouts.
fn candidates(report: &Report) -> Vec<(Product, Tcb)> {
    let products = match report.cpuid() {
        Some(cpuid) => cpuid.product().into_iter().collect(),
        None => Product::ALL.to_vec(),
    };
    let in_layout = |product: Product| Some((product, report.reported_tcb().components(product).ok()?));
    products.into_iter().filter_map(in_layout).collect()
}

async fn fetch_vcek(
    server: &KeyServer,
    report: &Report,
    product: Product,
    tcb: &Tcb,
) -> Result<Endorsements, Error> {
    let address = server.vcek_address(product, &report.chip_id(), tcb);
    let leaf = server.fetch(&address).await?;
    let chain_address = server.chain_address(product);
    let chain = server.fetch(&chain_address).await?;
    let endorsements = Endorsements::parse_with_pem_chain(&leaf, &String::from_utf8_lossy(&chain))
        .map_err(|source| Error::Unreadable { origin: address.clone(), source })?;
    // A wrong answer must not settle in the cache, where it would refuse a genuine report for ever.
    let fits = Leaf::read(&endorsements.leaf)
        .is_ok_and(|leaf| check_tcb(report, &leaf).is_ok() && check_chip(report, &leaf).is_ok());
    if fits { Ok(endorsements) } else { Err(Error::Foreign { address, product }) }
}

fn is_amd(endorsements: &Endorsements) -> bool {
    let digest = endorsements.root.public_key_digest();
    casemate_verify::Roots::builtin().amd().iter().any(|root| root.key_digest == digest)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { action: "reading", path: path.to_owned(), source }),
    }
}

/// Writes a file that others see whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |action| move |source| Error::File { action, path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("making the folder of"))?;
    }
    let unfinished = path.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&unfinished, bytes).map_err(failed("writing"))?;
    std::fs::rename(&unfinished, path).map_err(failed("finishing"))
}
