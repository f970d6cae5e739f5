//! What endorses this report, and from where can it be had?
//!
//! From the evidence itself, from the folder, from the service: in this order. What the evidence carries
//! is never passed over for something better, so that a verdict does not depend on what a Verifier
//! happens to have; only what it lacks is added.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_evidence::ChipId;
use casemate_evidence::bundle::{Bundle, Item as EvidenceItem};
use casemate_evidence::snp::{Leaf, Product, Report, SigningKeyKind, TcbVersion};
use casemate_evidence::x509::RevocationList;
use casemate_verify::Roots;
use casemate_verify::snp::Endorsements;

use crate::amd::{self, Authority};
use crate::azure::snp_report;
use crate::error::Error;
use crate::flight::Flights;
use crate::intel::{self, CollateralServer};
use crate::item::{Holder, Item, Key, Kind, OfflineBundle};
use crate::key_server::KeyServer;
use crate::nvidia::{self, ManifestServer};
use crate::service::Etiquette;
use crate::store::{Entry, Store, products};

/// Endorsements on disk, and perhaps a service that has more. Clones share both.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub store: Store,
    server: Option<KeyServer>,
    pub collateral_server: Option<CollateralServer>,
    pub manifest_server: Option<ManifestServer>,
    flights: Arc<Flights<Question>>,
}

/// What the service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    SigningKey(ChipId, TcbVersion),
    Authority(Product, Kind),
    RevocationList(Product),
    Intel(intel::Question),
    Nvidia(nvidia::Question),
}

/// Evidence with what could be added to it.
#[derive(Debug)]
pub struct Completed {
    /// The evidence.
    pub bundle: Bundle,
    /// What became of the revocation list.
    pub revocation: Revocation,
    /// Why manifests of its NVIDIA devices are not beside it that should be. Whether evidence counts without
    /// is for the policy.
    pub missing_manifests: Vec<Error>,
}

/// Whether evidence has a revocation list beside it.
#[derive(Debug)]
pub enum Revocation {
    /// It has one: carried along, stored or fetched.
    Present,
    /// The root publishes none that could be asked for: it is simulated, or unknown.
    NotServed,
    /// There should be one. Whether evidence counts without is for the policy.
    Missing(Error),
}

impl Cache {
    /// A cache that never uses the network. The folder need not exist. Only what `roots` vouch for is kept
    /// and used.
    pub fn offline(directory: impl Into<PathBuf>, roots: Roots) -> Self {
        Self::new(Store::new(directory.into(), roots), None, None, None)
    }

    /// A cache that asks `server` for what it lacks of AMD's.
    pub fn online(directory: impl Into<PathBuf>, roots: Roots, server: KeyServer) -> Self {
        Self::new(Store::new(directory.into(), roots), Some(server), None, None)
    }

    /// This folder, and `server` to be asked for Intel's collateral.
    pub fn with_collateral_server(self, server: CollateralServer) -> Self {
        let Inner { store, server: keys, manifest_server, .. } = &*self.inner;
        Self::new(store.clone(), keys.clone(), Some(server), manifest_server.clone())
    }

    /// This folder, and `server` to be asked for NVIDIA's manifests.
    pub fn with_manifest_server(self, server: ManifestServer) -> Self {
        let Inner { store, server: keys, collateral_server, .. } = &*self.inner;
        Self::new(store.clone(), keys.clone(), collateral_server.clone(), Some(server))
    }

    fn new(
        store: Store,
        server: Option<KeyServer>,
        collateral_server: Option<CollateralServer>,
        manifest_server: Option<ManifestServer>,
    ) -> Self {
        let flights = Flights::new();
        Self { inner: Arc::new(Inner { store, server, collateral_server, manifest_server, flights }) }
    }

    /// Whether nobody is there to be asked for what is not stored.
    pub fn is_offline(&self) -> bool {
        self.inner.server.is_none() && self.inner.collateral_server.is_none()
    }

    /// Its folder.
    pub fn directory(&self) -> &Path {
        self.inner.store.directory()
    }

    /// The evidence with the certificates, the collateral, the revocation lists and the manifests that it does not carry,
    /// at `now_ms` (milliseconds since 1970). Evidence that cannot be read comes back as it is: its appraisal says why.
    ///
    /// # Errors
    /// [`Error`], if it carries no certificates or collateral and none can be had.
    pub async fn complete(&self, bundle: Bundle, now_ms: u64) -> Result<Completed, Error> {
        let completed = self.complete_machine(bundle, now_ms).await?;
        let (bundle, missing_manifests) = self.add_manifests(completed.bundle, now_ms).await;
        Ok(Completed { bundle, missing_manifests, ..completed })
    }

    async fn complete_machine(&self, bundle: Bundle, now_ms: u64) -> Result<Completed, Error> {
        if bundle.tdx_quote().is_some() || bundle.sgx_quote().is_some() {
            return self.complete_quote(bundle, now_ms).await;
        }
        let unchanged = |bundle| Completed::new(bundle, Revocation::NotServed);
        let Some(report) = snp_report(&bundle) else { return Ok(unchanged(bundle)) };
        let Ok(carried) = Endorsements::from_bundle(&bundle) else { return Ok(unchanged(bundle)) };
        let (bundle, endorsements) = match carried {
            Some(endorsements) => (bundle, endorsements),
            None => {
                let endorsements = self.chain(&report, now_ms).await?;
                (bundle.with(EvidenceItem::SnpCertificates(endorsements.to_bundle_item())), endorsements)
            }
        };
        if endorsements.revocation_list.is_some() {
            return Ok(Completed::new(bundle, Revocation::Present));
        }
        Ok(match self.revocation_list_of(&endorsements, now_ms).await {
            Ok(Some(list)) => {
                let item = EvidenceItem::SnpRevocationList(list.as_der().to_vec().into());
                Completed::new(bundle.with(item), Revocation::Present)
            }
            Ok(None) => unchanged(bundle),
            Err(error) => Completed::new(bundle, Revocation::Missing(error)),
        })
    }

    /// The same folder, and nobody to ask: what it answers comes at once.
    pub fn without_network(&self) -> Self {
        Self::new(self.inner.store.clone(), None, None, None)
    }

    /// The endorsements of `report`, with the root's revocation list if one can be had.
    ///
    /// # Errors
    /// [`Error`], if there is no chain.
    pub async fn endorsements(&self, report: &Report, now_ms: u64) -> Result<Endorsements, Error> {
        let endorsements = self.chain(report, now_ms).await?;
        let revocation_list = self.revocation_list_of(&endorsements, now_ms).await.ok().flatten();
        Ok(Endorsements { revocation_list, ..endorsements })
    }

    /// Fetches what every chip of a product shares: intermediate, root and revocation list.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fetch_product(&self, product: Product, now_ms: u64) -> Result<(), Error> {
        let Some(server) = &self.inner.server else { return Err(self.not_stored(None)) };
        let authority = self.authority(product, Kind::Vcek, now_ms).await?;
        self.inner.fetch_revocation_list(server, &authority, now_ms).await
    }

    /// Keeps the items that a trusted root vouches for at `now_ms`, and says of each, in the order given,
    /// where it belongs or why it is not kept. What endorses an item may stand behind it.
    pub fn import(&self, items: &[Item], now_ms: u64) -> Vec<Result<Key, Error>> {
        let mut order: Vec<usize> = (0..items.len()).collect();
        // Roots, intermediates, keys, lists: each is checked against what was kept before.
        order.sort_by_key(|index| items[*index].number());
        let mut results: Vec<(usize, Result<Key, Error>)> =
            order.into_iter().map(|index| (index, self.inner.import(&items[index], now_ms))).collect();
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Everything that is kept.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner.store.entries()
    }

    /// Everything that is kept, to carry to another machine.
    pub fn export(&self) -> OfflineBundle {
        OfflineBundle::new(self.entries().into_iter().map(|entry| entry.item))
    }

    async fn chain(&self, report: &Report, now_ms: u64) -> Result<Endorsements, Error> {
        let inner = &self.inner;
        if let Some(stored) = inner.store.endorsements(report, now_ms) {
            return Ok(stored);
        }
        let signing_key = report.key_info().signing_key();
        if signing_key == SigningKeyKind::None || report.key_info().mask_chip_key() {
            return Err(Error::Unsigned);
        }
        let Some(server) = &inner.server else { return Err(self.not_stored(Some(report))) };
        if signing_key == SigningKeyKind::Vlek {
            return Err(Error::VlekNotServed);
        }
        if report.chip_id().is_masked() {
            return Err(Error::ChipMasked);
        }
        let question = Question::SigningKey(report.chip_id(), report.reported_tcb());
        let asked = {
            let (inner, server, report) = (inner.clone(), server.clone(), report.clone());
            async move { inner.fetch_signing_key(&server, &report, now_ms).await }
        };
        self.ask(server, question, asked).await?;
        // Stored and verified by whoever asked; absent only if the disk failed at this very moment.
        inner.store.endorsements(report, now_ms).ok_or_else(|| self.not_stored(Some(report)))
    }

    async fn authority(&self, product: Product, kind: Kind, now_ms: u64) -> Result<Authority, Error> {
        let inner = &self.inner;
        if let Some(stored) = inner.store.authority(product, kind, now_ms) {
            return Ok(stored);
        }
        let Some(server) = &inner.server else { return Err(self.not_stored(None)) };
        let asked = {
            let (inner, server) = (inner.clone(), server.clone());
            async move { inner.fetch_authority(&server, product, kind, now_ms).await.map(drop) }
        };
        self.ask(server, Question::Authority(product, kind), asked).await?;
        inner.store.authority(product, kind, now_ms).ok_or_else(|| self.not_stored(None))
    }

    /// The current list of the root at which this chain ends: the stored one while it holds, else a new
    /// one. `None` for a root that is not a vendor's.
    async fn revocation_list_of(
        &self,
        endorsements: &Endorsements,
        now_ms: u64,
    ) -> Result<Option<RevocationList>, Error> {
        let inner = &self.inner;
        let Ok(leaf) = Leaf::read(&endorsements.leaf) else { return Ok(None) };
        let Some(kind) = Kind::of(leaf.kind()) else { return Ok(None) };
        let Endorsements { intermediate, root, .. } = endorsements.clone();
        let Ok(authority) = Authority::verify(intermediate, root, &inner.store.roots, now_ms, "the evidence")
        else {
            return Ok(None);
        };
        debug_assert_eq!(authority.signing_key, kind);
        let stored = inner.store.revocation_list(authority.product, &authority.root, now_ms);
        let Some(server) = &inner.server else {
            return match stored {
                Some((list, _)) => Ok(Some(list)),
                None => Err(self.not_stored(None)),
            };
        };
        let asked = {
            let (inner, server, authority) = (inner.clone(), server.clone(), authority.clone());
            async move { inner.fetch_revocation_list(&server, &authority, now_ms).await }
        };
        let question = Question::RevocationList(authority.product);
        let reread = || inner.store.revocation_list(authority.product, &authority.root, now_ms);
        let list = self.fresh(server.etiquette(), question, stored, now_ms, asked, reread).await?;
        list.map(Some).ok_or_else(|| self.not_stored(None))
    }

    /// What is stored, if it is of today; else what is fetched. What is stored serves on, as long as it
    /// holds, whatever the service says.
    pub(crate) async fn fresh<T, F>(
        &self,
        etiquette: Etiquette,
        question: Question,
        stored: Option<(T, u64)>,
        now_ms: u64,
        asked: F,
        reread: impl FnOnce() -> Option<(T, u64)>,
    ) -> Result<Option<T>, Error>
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let age = |written_ms: u64| Duration::from_millis(now_ms.saturating_sub(written_ms));
        let stored = match stored {
            Some((found, written_ms)) if age(written_ms) <= etiquette.refresh_after => {
                return Ok(Some(found));
            }
            Some((found, _)) => Some(found),
            None => None,
        };
        let flight = self.inner.flights.start(question, etiquette.failures_kept, asked);
        if stored.is_some() && !etiquette.wait_for_refresh {
            return Ok(stored);
        }
        match (flight.wait(etiquette.patience).await, stored) {
            (Err(error), Some(found)) => {
                tracing::warn!(%error, "what is stored serves on");
                Ok(Some(found))
            }
            (Err(error), None) => Err(error),
            (Ok(()), stored) => Ok(reread().map(|(found, _)| found).or(stored)),
        }
    }

    async fn ask<F>(&self, server: &KeyServer, question: Question, asked: F) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let etiquette = server.etiquette();
        self.inner.flights.start(question, etiquette.failures_kept, asked).wait(etiquette.patience).await
    }

    fn not_stored(&self, report: Option<&Report>) -> Error {
        Error::NotStored {
            chip: report.map_or_else(|| "any".to_owned(), |report| report.chip_id().short().to_string()),
            tcb: report.map_or_else(|| "any".to_owned(), |report| report.reported_tcb().to_string()),
            directory: self.directory().to_owned(),
        }
    }
}

impl Completed {
    pub(crate) fn new(bundle: Bundle, revocation: Revocation) -> Self {
        Self { bundle, revocation, missing_manifests: Vec::new() }
    }
}

impl Inner {
    /// Asks for the VCEK of a report, checks it, and keeps it.
    async fn fetch_signing_key(&self, server: &KeyServer, report: &Report, now_ms: u64) -> Result<(), Error> {
        let mut last = Error::ProductUnknown;
        for product in products(report) {
            let tcb = report.reported_tcb().components(product).expect("products() kept to the layout");
            let address = server.vcek_address(product, &report.chip_id(), &tcb);
            let der = match server.fetch(&address).await {
                Ok(der) => der,
                // Version 2 does not name its product: the service does not know the chip under others.
                Err(error @ Error::Status { status: 400 | 404, .. }) => {
                    last = error;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let leaf = amd::parse_certificate(&der, &address)?;
            // A wrong answer must not settle in the folder, where it would refuse a genuine report for ever.
            if !amd::fits(report, &leaf) {
                return Err(Error::Foreign { address, product });
            }
            let authority = match self.store.authority(product, Kind::Vcek, now_ms) {
                Some(stored) => stored,
                None => self.fetch_authority(server, product, Kind::Vcek, now_ms).await?,
            };
            let endorsements = match authority.endorse(leaf.clone(), &self.store.roots, now_ms, &address) {
                Ok(endorsements) => endorsements,
                // The intermediate may have been renewed since it was stored.
                Err(_) => {
                    let renewed = self.fetch_authority(server, product, Kind::Vcek, now_ms).await?;
                    renewed.endorse(leaf, &self.store.roots, now_ms, &address)?
                }
            };
            self.store.put_endorsements(&endorsements)?;
            return Ok(());
        }
        Err(last)
    }

    async fn fetch_authority(
        &self,
        server: &KeyServer,
        product: Product,
        kind: Kind,
        now_ms: u64,
    ) -> Result<Authority, Error> {
        let address = server.authority_address(product, kind);
        let pem = server.fetch(&address).await?;
        let authority = Authority::parse(&pem, &self.store.roots, now_ms, &address)?;
        if (authority.product, authority.signing_key) != (product, kind) {
            return Err(Error::Foreign { address, product });
        }
        self.store.put_authority(&authority)?;
        Ok(authority)
    }

    async fn fetch_revocation_list(
        &self,
        server: &KeyServer,
        authority: &Authority,
        now_ms: u64,
    ) -> Result<(), Error> {
        let address = server.revocation_list_address(authority.product);
        let der = server.fetch(&address).await?;
        let list = amd::revocation_list(&der, &authority.root, now_ms, &address)?;
        self.store.put_revocation_list(&list, &authority.root, &address).map(drop)
    }

    fn import(&self, item: &Item, now_ms: u64) -> Result<Key, Error> {
        let (origin, roots) = (item.kind_name(), &self.store.roots);
        let alone = || Error::AuthorityMissing { origin: origin.to_owned() };
        match (item, item.key()?) {
            (Item::AmdRoot(der), _) => self.store.put_root(&amd::root(der, roots, now_ms, origin)?),
            (Item::AmdIntermediate(der), Key::AmdIntermediate { product, .. }) => {
                let root = self.store.root(product, now_ms).ok_or_else(alone)?;
                let intermediate = amd::parse_certificate(der, origin)?;
                self.store.put_authority(&Authority::verify(intermediate, root, roots, now_ms, origin)?)
            }
            (Item::AmdSigningKey(der), Key::AmdSigningKey { product, holder, .. }) => {
                let signing_key = match holder {
                    Holder::Chip(_) => Kind::Vcek,
                    Holder::Provider(_) => Kind::Vlek,
                };
                let authority = self.store.authority(product, signing_key, now_ms).ok_or_else(alone)?;
                let leaf = amd::parse_certificate(der, origin)?;
                self.store.put_endorsements(&authority.endorse(leaf, roots, now_ms, origin)?)
            }
            (Item::AmdRevocationList(der), Key::AmdRevocationList { product }) => {
                let root = self.store.root(product, now_ms).ok_or_else(alone)?;
                let list = amd::revocation_list(der, &root, now_ms, origin)?;
                self.store.put_revocation_list(&list, &root, origin)
            }
            (Item::IntelCollateral(set), _) => self.import_set(set, now_ms, origin),
            (Item::IntelEvaluationNumbers(numbers), _) => self.import_numbers(numbers, now_ms, origin),
            (Item::NvidiaManifest(document), _) => self.import_manifest(document, now_ms, origin),
            (item, key) => unreachable!("a key is of its item's kind: {item:?}, {key}"),
        }
    }
}
