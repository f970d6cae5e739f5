//! What do AMD's certificates endorse, and does a trusted root vouch for them?
//!
//! Source: AMD 57230. The checks themselves are `casemate_verify::snp`'s.

use casemate_crypto::provider;
use casemate_evidence::snp::{Leaf, Product, Report};
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::Roots;
use casemate_verify::snp::{
    AuthenticatedChain, Endorsements, EndorsementsError, check_chip, check_tcb, verify_authority,
    verify_current_revocation_list, verify_root,
};

use crate::error::Error;
use crate::item::{Holder, Key, Kind};

/// Intermediate and root of a product; verified when made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub product: Product,
    pub signing_key: Kind,
    pub intermediate: Certificate,
    pub root: Certificate,
}

impl Authority {
    /// # Errors
    /// [`Error::Unreadable`], [`Error::NotEndorsed`].
    pub fn verify(
        intermediate: Certificate,
        root: Certificate,
        roots: &Roots,
        now_ms: u64,
        origin: &str,
    ) -> Result<Self, Error> {
        let found = verify_authority(&intermediate, &root, roots, now_ms, provider())
            .map_err(|source| Error::NotEndorsed { origin: origin.to_owned(), source: Box::new(source) })?;
        let signing_key = Kind::of(found.signing_key).expect("an intermediate certifies VCEKs or VLEKs");
        Ok(Self { product: found.product, signing_key, intermediate, root })
    }

    /// From PEM: intermediate, then root, as AMD's service sends them (AMD 57230 §4, `cert_chain`).
    pub fn parse(pem: &[u8], roots: &Roots, now_ms: u64, origin: &str) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { origin: origin.to_owned(), source };
        let certificates = Certificate::parse_pem(&String::from_utf8_lossy(pem))
            .map_err(|error| unreadable(EndorsementsError::Unreadable(error)))?;
        let found = certificates.len();
        let [intermediate, root] = <[_; 2]>::try_from(certificates)
            .map_err(|_| unreadable(EndorsementsError::ChainLength { found }))?;
        Self::verify(intermediate, root, roots, now_ms, origin)
    }

    /// The chain from `leaf` up, if it holds.
    ///
    /// # Errors
    /// [`Error::NotEndorsed`].
    pub fn endorse(
        &self,
        leaf: Certificate,
        roots: &Roots,
        now_ms: u64,
        origin: &str,
    ) -> Result<Endorsements, Error> {
        let endorsements = Endorsements {
            leaf,
            intermediate: self.intermediate.clone(),
            root: self.root.clone(),
            revocation_list: None,
        };
        match AuthenticatedChain::verify(&endorsements, roots, now_ms, provider()) {
            Ok(_) => Ok(endorsements),
            Err(source) => Err(Error::NotEndorsed { origin: origin.to_owned(), source: Box::new(source) }),
        }
    }
}

/// A root that is trusted at this time.
///
/// # Errors
/// [`Error::Unreadable`], [`Error::NotEndorsed`].
pub(crate) fn root(der: &[u8], roots: &Roots, now_ms: u64, origin: &str) -> Result<Certificate, Error> {
    let root = parse_certificate(der, origin)?;
    match verify_root(&root, roots, now_ms, provider()) {
        Ok(_) => Ok(root),
        Err(source) => Err(Error::NotEndorsed { origin: origin.to_owned(), source: Box::new(source) }),
    }
}

/// A revocation list, if it is the current one of this root.
///
/// # Errors
/// [`Error::Unreadable`], [`Error::NotEndorsed`].
pub(crate) fn revocation_list(
    der: &[u8],
    root: &Certificate,
    now_ms: u64,
    origin: &str,
) -> Result<RevocationList, Error> {
    let list = parse_list(der, origin)?;
    match verify_current_revocation_list(&list, root, now_ms, provider()) {
        Ok(()) => Ok(list),
        Err(source) => Err(Error::NotEndorsed { origin: origin.to_owned(), source: Box::new(source) }),
    }
}

/// Where a root belongs.
pub(crate) fn key_of_root(der: &[u8], origin: &str) -> Result<Key, Error> {
    root_key(&parse_certificate(der, origin)?.subject_common_name(), origin)
        .map(|product| Key::AmdRoot { product })
}

/// Where an intermediate belongs.
pub(crate) fn key_of_intermediate(der: &[u8], origin: &str) -> Result<Key, Error> {
    let name = parse_certificate(der, origin)?.subject_common_name();
    let kinds = [(Kind::Vlek, "SEV-VLEK-"), (Kind::Vcek, "SEV-")];
    let found = kinds.into_iter().find_map(|(signing_key, prefix)| {
        let product = Product::from_extension(name.strip_prefix(prefix)?)?;
        Some(Key::AmdIntermediate { product, signing_key })
    });
    found.ok_or_else(|| Error::UnknownName { origin: origin.to_owned(), found: name })
}

/// Where a revocation list belongs.
pub(crate) fn key_of_list(der: &[u8], origin: &str) -> Result<Key, Error> {
    root_key(&parse_list(der, origin)?.issuer_common_name(), origin)
        .map(|product| Key::AmdRevocationList { product })
}

/// The product of a root, by its name: `ARK-Milan`, or `ARK-Milan` and what a simulated root adds.
fn root_key(name: &str, origin: &str) -> Result<Product, Error> {
    let product = name.strip_prefix("ARK-").and_then(|rest| rest.split(' ').next());
    product
        .and_then(Product::from_extension)
        .ok_or_else(|| Error::UnknownName { origin: origin.to_owned(), found: name.to_owned() })
}

/// Where a signing key's certificate belongs.
pub(crate) fn leaf_key(certificate: &Certificate, origin: &str) -> Result<Key, Error> {
    let leaf = Leaf::read(certificate).map_err(|source| Error::NotEndorsed {
        origin: origin.to_owned(),
        source: Box::new(source.into()),
    })?;
    let holder = match (leaf.hardware_id(), leaf.provider()) {
        (Some(id), _) => Holder::Chip(id.as_bytes().to_vec()),
        (None, provider) => Holder::provider(provider.unwrap_or_default()),
    };
    Ok(Key::AmdSigningKey { product: leaf.product(), holder, tcb: leaf.tcb() })
}

/// Whether this certificate is for the report's chip and firmware.
pub(crate) fn fits(report: &Report, certificate: &Certificate) -> bool {
    Leaf::read(certificate).is_ok_and(|leaf| {
        leaf.kind() == report.key_info().signing_key()
            && check_tcb(report, &leaf).is_ok()
            && check_chip(report, &leaf).is_ok()
    })
}

pub(crate) fn parse_certificate(der: &[u8], origin: &str) -> Result<Certificate, Error> {
    Certificate::parse(der).map_err(|error| Error::Unreadable {
        origin: origin.to_owned(),
        source: EndorsementsError::Unreadable(error),
    })
}

pub(crate) fn parse_list(der: &[u8], origin: &str) -> Result<RevocationList, Error> {
    RevocationList::parse(der).map_err(|error| Error::Unreadable {
        origin: origin.to_owned(),
        source: EndorsementsError::Unreadable(error),
    })
}
