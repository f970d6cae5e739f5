//! Which files belong together?

use casemate_evidence::bundle::{Bundle, Item, NvidiaDevice, TpmKey, TpmQuote};
use casemate_evidence::tpm::PcrValues;
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::{Endorsements, intel, snp};
use minicbor::bytes::ByteVec;

use crate::content::{Content, File, Kind};
use crate::device;
use crate::error::Error;

/// What was handed over, put together: evidence as one bundle, and what endorses it.
#[derive(Debug, Clone)]
pub struct Sorted {
    /// The evidence: a bundle as it came, or one made of loose files.
    pub bundle: Bundle,
    /// Endorsements that came beside it.
    pub endorsements: Endorsements,
    /// The kind of each file, in the order in which they came.
    pub kinds: Vec<Kind>,
}

impl Sorted {
    /// Greatest number of files.
    pub const MAXIMUM_FILES: usize = 32;

    /// Reads the files and puts them together, whatever their order and names.
    ///
    /// # Errors
    /// As [`Content::read`]; [`Error::TooMany`], [`Error::Twice`] if there is more than one of what can only
    /// be there once, [`Error::NoEvidence`], [`Error::Chain`] if certificates are there and make no chain.
    pub fn read(files: &[File<'_>]) -> Result<Self, Error> {
        if files.len() > Self::MAXIMUM_FILES {
            return Err(Error::TooMany { found: files.len(), maximum: Self::MAXIMUM_FILES });
        }
        let mut kinds = Vec::new();
        let mut parts = Parts::default();
        for file in files {
            let content = Content::read(file)?;
            kinds.push(content.kind());
            parts.take(content, file.name)?;
        }
        let (bundle, endorsements) = parts.finish(&kinds)?;
        Ok(Self { bundle, endorsements, kinds })
    }
}

/// What was handed over, by its place.
#[derive(Default)]
struct Parts<'a> {
    /// A bundle, or evidence that is one item.
    evidence: Option<(Bundle, &'a str)>,
    azure_report: Option<(Vec<u8>, &'a str)>,
    statement: Option<(Vec<u8>, &'a str)>,
    signature: Option<(Vec<u8>, &'a str)>,
    pcrs: Option<(PcrValues, &'a str)>,
    public_area: Option<(Vec<u8>, &'a str)>,
    public_key: Option<(Vec<u8>, &'a str)>,
    event_log: Option<(Vec<u8>, &'a str)>,
    ima_list: Option<(Vec<u8>, &'a str)>,
    reports: Vec<(Vec<u8>, &'a str)>,
    manifests: Vec<(Vec<u8>, &'a str)>,
    /// File by file, for the chain of a device is one of them.
    certificates: Vec<Vec<Certificate>>,
    list: Option<(RevocationList, &'a str)>,
    collateral: Option<(intel::Collateral, &'a str)>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, content: Content, name: &'a str) -> Result<(), Error> {
        let kind = content.kind();
        let alone = |item| Bundle::new([item]);
        match content {
            Content::Bundle(bundle) => once(&mut self.evidence, *bundle, kind, name),
            Content::SnpReport(bytes) => {
                once(&mut self.evidence, alone(Item::SnpReport(bytes.into())), kind, name)
            }
            Content::TdxQuote(bytes) => {
                once(&mut self.evidence, alone(Item::TdxQuote(bytes.into())), kind, name)
            }
            Content::SgxQuote(bytes) => {
                once(&mut self.evidence, alone(Item::SgxQuote(bytes.into())), kind, name)
            }
            Content::NitroDocument(bytes) => {
                once(&mut self.evidence, alone(Item::NitroDocument(bytes.into())), kind, name)
            }
            Content::AzureReport(bytes) => once(&mut self.azure_report, bytes, kind, name),
            Content::TpmQuote(bytes) => once(&mut self.statement, bytes, kind, name),
            Content::TpmSignature(bytes) => once(&mut self.signature, bytes, kind, name),
            Content::TpmPcrs(pcrs) => once(&mut self.pcrs, *pcrs, kind, name),
            Content::TpmPublicArea(bytes) => once(&mut self.public_area, bytes, kind, name),
            Content::PublicKey(bytes) => once(&mut self.public_key, bytes, kind, name),
            Content::EventLog(bytes) => once(&mut self.event_log, bytes, kind, name),
            Content::ImaList(bytes) => once(&mut self.ima_list, bytes, kind, name),
            Content::IntelCollateral(found) => once(&mut self.collateral, *found, kind, name),
            Content::RevocationList(found) => once(&mut self.list, *found, kind, name),
            Content::Certificates(found) => {
                self.certificates.push(found);
                Ok(())
            }
            Content::NvidiaReport(bytes) => several(&mut self.reports, bytes, name, NvidiaDevice::MAXIMUM),
            Content::NvidiaManifest(bytes) => {
                several(&mut self.manifests, bytes, name, NvidiaDevice::MAXIMUM_MANIFESTS)
            }
        }
    }

    fn finish(mut self, kinds: &[Kind]) -> Result<(Bundle, Endorsements), Error> {
        let is_evidence = self.evidence.is_some()
            || self.azure_report.is_some()
            || self.statement.is_some()
            || !self.reports.is_empty();
        if !is_evidence {
            return Err(Error::NoEvidence { found: kinds.to_vec() });
        }
        let bundle = self.evidence.take();
        let (bundle, name) = bundle.unwrap_or_else(|| (Bundle::new([]), ""));
        let mut endorsements =
            Endorsements { intel: self.collateral.take().map(|(found, _)| found), ..Endorsements::default() };
        let has_azure_report = self.azure_report.is_some() || bundle.azure_report().is_some();
        let files = std::mem::take(&mut self.certificates);
        let alone = bundle.items().is_empty() && self.azure_report.is_none() && self.statement.is_none();
        let (chains, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| !self.reports.is_empty() && (alone || device::is_chain(file)));
        // Quotes of Intel carry their certificates with them, and so do documents of AWS.
        let (amd, others): (Vec<_>, Vec<_>) = files
            .into_iter()
            .flatten()
            .partition(|one| bundle.snp_report().is_some() || (has_azure_report && is_amds(one)));
        self.certificates = vec![others];
        if let Some(mut chain) = snp_chain(amd)? {
            chain.revocation_list = self.list.take().map(|(list, _)| list);
            endorsements.snp = Some(chain);
        }
        let mut items = self.items(chains);
        let bundle = items.drain(..).try_fold(bundle, |bundle, (item, kind, second)| {
            let is_there = bundle.items().iter().any(|other| other.number() == item.number());
            match is_there {
                true => Err(Error::Twice { kind, first: name.to_owned(), second: second.to_owned() }),
                false => Ok(bundle.with(item)),
            }
        })?;
        Ok((bundle, endorsements))
    }

    /// What is an item of a bundle by itself, or becomes one together.
    fn items(self, chains: Vec<Vec<Certificate>>) -> Vec<(Item, Kind, &'a str)> {
        let mut items = Vec::new();
        if let Some((_, name)) = self.reports.first() {
            let reports = self.reports.iter().map(|(bytes, _)| bytes.clone()).collect();
            items.push((Item::NvidiaDevices(device::pair(reports, chains)), Kind::NvidiaReport, *name));
        }
        if let Some((_, name)) = self.manifests.first() {
            let mut manifests: Vec<ByteVec> =
                self.manifests.iter().map(|(bytes, _)| bytes.clone().into()).collect();
            manifests.sort();
            items.push((Item::NvidiaManifests(manifests), Kind::NvidiaManifest, *name));
        }
        let mut put = |part: Option<(Vec<u8>, &'a str)>, kind, item: fn(ByteVec) -> Item| {
            if let Some((bytes, name)) = part {
                items.push((item(bytes.into()), kind, name));
            }
        };
        put(self.azure_report, Kind::AzureReport, Item::AzureReport);
        put(self.event_log, Kind::EventLog, Item::EventLog);
        put(self.ima_list, Kind::ImaList, Item::ImaList);
        let bytes = |part: Option<(Vec<u8>, &str)>| part.map_or_else(Vec::new, |(bytes, _)| bytes).into();
        if let Some((statement, name)) = self.statement {
            let quote = TpmQuote {
                statement: statement.into(),
                signature: bytes(self.signature),
                pcrs: self.pcrs.map_or_else(Vec::new, |(pcrs, _)| pcrs.to_items()),
            };
            items.push((Item::TpmQuote(quote), Kind::TpmQuote, name));
        }
        let key_file = [(Kind::TpmPublicArea, &self.public_area), (Kind::PublicKey, &self.public_key)]
            .into_iter()
            .find_map(|(kind, part)| part.as_ref().map(|(_, name)| (kind, *name)));
        let certificates: Vec<Certificate> = self.certificates.into_iter().flatten().collect();
        let is_tpms = items.iter().any(|(item, ..)| matches!(item, Item::TpmQuote(_)));
        if key_file.is_some() || (is_tpms && !certificates.is_empty()) {
            let (kind, name) = key_file.unwrap_or((Kind::Certificates, "certificates"));
            let der = |der: &[u8]| ByteVec::from(der.to_vec());
            let key = TpmKey {
                public_key: bytes(self.public_key),
                public_area: bytes(self.public_area),
                certificates: certificates.iter().map(|one| der(one.as_der())).collect(),
                revocation_lists: self.list.iter().map(|(list, _)| der(list.as_der())).collect(),
            };
            items.push((Item::TpmKey(key), kind, name));
        }
        items
    }
}

/// Whether AMD issued it, by the name that its issuer has: ARK or SEV and the product (AMD 57230 §2).
fn is_amds(certificate: &Certificate) -> bool {
    let issuer = certificate.issuer_common_name();
    issuer.starts_with("ARK-") || issuer.starts_with("SEV-")
}

fn once<'a, T>(slot: &mut Option<(T, &'a str)>, found: T, kind: Kind, name: &'a str) -> Result<(), Error> {
    if let Some((_, first)) = slot {
        return Err(Error::Twice { kind, first: (*first).to_owned(), second: name.to_owned() });
    }
    *slot = Some((found, name));
    Ok(())
}

fn several<'a>(
    slot: &mut Vec<(Vec<u8>, &'a str)>,
    bytes: Vec<u8>,
    name: &'a str,
    maximum: usize,
) -> Result<(), Error> {
    slot.push((bytes, name));
    if slot.len() > maximum { Err(Error::TooMany { found: slot.len(), maximum }) } else { Ok(()) }
}

/// Leaf, intermediate and root, told apart by what they say of themselves; whether that is true, the
/// verifier finds out.
fn snp_chain(certificates: Vec<Certificate>) -> Result<Option<snp::Endorsements>, Error> {
    if certificates.is_empty() {
        return Ok(None);
    }
    let (mut leaves, mut intermediates, mut roots) = (Vec::new(), Vec::new(), Vec::new());
    for certificate in certificates {
        let place = match (certificate.may_sign_certificates(), certificate.issuer() == certificate.subject())
        {
            (false, _) => &mut leaves,
            (true, false) => &mut intermediates,
            (true, true) => &mut roots,
        };
        // The same certificate twice, as a cloud's chain beside AMD's, is no contradiction.
        if !place.contains(&certificate) {
            place.push(certificate);
        }
    }
    let found = [leaves.len(), intermediates.len(), roots.len()];
    match (leaves.pop(), intermediates.pop(), roots.pop()) {
        (Some(leaf), Some(intermediate), Some(root)) if found == [1, 1, 1] => {
            Ok(Some(snp::Endorsements { leaf, intermediate, root, revocation_list: None }))
        }
        _ => Err(Error::Chain { leaves: found[0], intermediates: found[1], roots: found[2] }),
    }
}
