//! What does Intel say of the platform that made this quote, and from where can it be had?
//!
//! Of each kind of platform a whole set is kept: TCB info, identity of the Quoting Enclave, both
//! revocation lists and the certificates of whoever signed them. It is fetched, verified and replaced as
//! one, so that whatever is stored holds together.

use casemate_evidence::bundle::{Bundle, Item as EvidenceItem};
use casemate_evidence::intel::{Certification, Quote, Tee};

use super::error::{CollateralRefusal, Edition, Part};
use super::server::CollateralServer;
use super::set::{self, Numbers, Platform, Set};
use crate::cache::{Cache, Completed, Inner, Question as AnyQuestion, Revocation};
use crate::error::Error;
use crate::item::{Item, Key, PlatformCollateral, SignedNumbers};
use crate::store::{Store, list, written_ms};

/// What a service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Collateral(Platform),
}

impl Cache {
    /// A quote's evidence with the collateral that it does not carry.
    pub(crate) async fn complete_quote(&self, bundle: Bundle, now_ms: u64) -> Result<Completed, Error> {
        if bundle.intel_collateral().is_some() {
            return Ok(Completed::new(bundle, Revocation::Present));
        }
        let unchanged = |bundle| Completed::new(bundle, Revocation::NotServed);
        let quote = bundle.tdx_quote().or(bundle.sgx_quote()).map(Quote::parse);
        let Some(Ok(quote)) = quote else { return Ok(unchanged(bundle)) };
        if matches!(quote.signature().certification, Certification::Name(_)) {
            return Err(Error::PckNotCarried);
        }
        let Some(platform) = Platform::of_quote(&quote, &self.inner.store.roots, now_ms) else {
            return Ok(unchanged(bundle));
        };
        let set = self.collateral(&platform, now_ms).await?;
        let bundle = bundle.with(EvidenceItem::IntelCollateral(set.to_bundle_item()));
        Ok(Completed::new(bundle, Revocation::Present))
    }

    /// The collateral of a kind of platform: what is stored while it holds, or is fetched anew.
    async fn collateral(&self, platform: &Platform, now_ms: u64) -> Result<Set, Error> {
        let inner = &self.inner;
        let absent =
            || Error::NoCollateral { platform: platform.clone(), directory: self.directory().to_owned() };
        let reread = || inner.store.collateral(platform, now_ms);
        let stored = reread();
        let Some(server) = &inner.collateral_server else {
            return stored.map(|(set, _)| set).ok_or_else(absent);
        };
        let asked = {
            let (inner, server, platform) = (inner.clone(), server.clone(), platform.clone());
            async move { inner.fetch_collateral(&server, &platform, now_ms).await }
        };
        let question = AnyQuestion::Intel(Question::Collateral(platform.clone()));
        let found = self.fresh(server.etiquette(), question, stored, now_ms, asked, reread).await?;
        found.ok_or_else(absent)
    }
}

impl Inner {
    async fn fetch_collateral(
        &self,
        server: &CollateralServer,
        platform: &Platform,
        now_ms: u64,
    ) -> Result<(), Error> {
        let origin = server.tcb_info_address(platform);
        let set = set::set(&server.fetch(platform).await?, &self.store.roots, now_ms, &origin)?;
        if set.platform != *platform {
            let (found, expected) = (set.platform, platform.clone());
            return Err(Error::collateral(&origin, CollateralRefusal::OtherPlatform { found, expected }));
        }
        match server.fetch_evaluation_numbers(platform.tee).await {
            Ok(numbers) => {
                let origin = server.evaluation_numbers_address(platform.tee);
                self.put_numbers(&numbers, platform.tee, now_ms, &origin)?;
            }
            // Caches of clouds do not all serve it, and without it nothing is known to be withdrawn.
            Err(error) => tracing::warn!(%error, "no TCB evaluation data numbers"),
        }
        self.put_set(&set, now_ms, &origin).map(drop)
    }

    pub(crate) fn import_set(
        &self,
        item: &PlatformCollateral,
        now_ms: u64,
        origin: &str,
    ) -> Result<Key, Error> {
        self.put_set(&set::set(item, &self.store.roots, now_ms, origin)?, now_ms, origin)
    }

    pub(crate) fn import_numbers(
        &self,
        item: &SignedNumbers,
        now_ms: u64,
        origin: &str,
    ) -> Result<Key, Error> {
        let tee = set::numbers(item, &self.store.roots, now_ms, origin)?.tee;
        self.put_numbers(item, tee, now_ms, origin)
    }

    /// Keeps a set that was verified, unless a part of it is older than what is kept, or withdrawn.
    fn put_set(&self, set: &Set, now_ms: u64, origin: &str) -> Result<Key, Error> {
        for stored in self.store.sets_even_if_expired(now_ms) {
            set.check_not_older_than(&stored, origin)?;
        }
        if let Some(stored) = self.store.numbers(set.platform.tee, now_ms) {
            stored.numbers.check(&set.collateral).map_err(|error| Error::collateral(origin, error))?;
        }
        self.store.put(Item::IntelCollateral(Box::new(set.item.clone())))
    }

    /// Verifies numbers and keeps them, unless newer ones are kept.
    fn put_numbers(
        &self,
        item: &SignedNumbers,
        expected: Tee,
        now_ms: u64,
        origin: &str,
    ) -> Result<Key, Error> {
        let Numbers { tee: found, edition: found_edition, .. } =
            set::numbers(item, &self.store.roots, now_ms, origin)?;
        if found != expected {
            return Err(Error::collateral(origin, CollateralRefusal::OtherTee { found, expected }));
        }
        if let Some(stored) = self.store.numbers_even_if_expired(found, now_ms)
            && found_edition.is_older_than(&stored)
        {
            let (part, found) = (Part::EvaluationNumbers, found_edition);
            return Err(Error::collateral(origin, CollateralRefusal::Older { part, found, stored }));
        }
        self.store.put(Item::IntelEvaluationNumbers(item.clone()))
    }
}

impl Store {
    /// The collateral of a kind of platform and when it was written, if it is there, holds, and was not
    /// withdrawn.
    fn collateral(&self, platform: &Platform, now_ms: u64) -> Option<(Set, u64)> {
        let path = self.path(&Key::IntelCollateral { platform: platform.clone() });
        let set = self.use_file(&path, |bytes, origin| {
            let set = set::set(&decode(bytes, origin)?, &self.roots, now_ms, origin)?;
            match self.numbers(platform.tee, now_ms) {
                Some(stored) => match stored.numbers.check(&set.collateral) {
                    Ok(()) => Ok(set),
                    Err(error) => Err(Error::collateral(origin, error)),
                },
                None => Ok(set),
            }
        })?;
        (set.platform == *platform).then(|| (set, written_ms(&path)))
    }

    /// The numbers of a TEE, if they are there and hold.
    fn numbers(&self, tee: Tee, now_ms: u64) -> Option<Numbers> {
        let path = self.path(&Key::IntelEvaluationNumbers { tee });
        let found = self.use_file(&path, |bytes, origin| {
            set::numbers(&decode(bytes, origin)?, &self.roots, now_ms, origin)
        })?;
        (found.tee == tee).then_some(found)
    }

    /// Every set that was genuine at its time, for what it knows.
    fn sets_even_if_expired(&self, now_ms: u64) -> Vec<Set> {
        let read = |path: std::path::PathBuf| {
            let is_set = |key: &Key| matches!(key, Key::IntelCollateral { .. }) && self.path(key) == path;
            self.use_file(&path, |bytes, origin| {
                let item: PlatformCollateral = decode(bytes, origin)?;
                let at_ms = within(set::dates(&item, origin)?, now_ms);
                set::set(&item, &self.roots, at_ms, origin)
            })
            .filter(|set| is_set(&Key::IntelCollateral { platform: set.platform.clone() }))
        };
        let named = |path: &std::path::PathBuf| !path.to_string_lossy().ends_with("-evaluation-numbers.cbor");
        list(&self.directory().join("intel")).into_iter().filter(named).filter_map(read).collect()
    }

    fn numbers_even_if_expired(&self, tee: Tee, now_ms: u64) -> Option<Edition> {
        let path = self.path(&Key::IntelEvaluationNumbers { tee });
        let found = self.use_file(&path, |bytes, origin| {
            let item: SignedNumbers = decode(bytes, origin)?;
            let at_ms = within(set::dates_of_numbers(&item, origin)?, now_ms);
            set::numbers(&item, &self.roots, at_ms, origin)
        })?;
        (found.tee == tee).then_some(found.edition)
    }
}

/// The moment of a window that is nearest to `now_ms`.
fn within((start_ms, end_ms): (u64, u64), now_ms: u64) -> u64 {
    now_ms.min(end_ms).max(start_ms)
}

fn decode<'a, T: minicbor::Decode<'a, ()> + minicbor::Encode<()>>(
    bytes: &'a [u8],
    origin: &str,
) -> Result<T, Error> {
    casemate_canon::from_cbor(bytes, bytes.len())
        .map_err(|source| Error::Stored { path: origin.into(), source })
}
