//! Which chain belongs to which report of a device?

use casemate_crypto::hash::HashAlgorithm;
use casemate_crypto::{Curve, provider};
use casemate_evidence::bundle::NvidiaDevice;
use casemate_evidence::nvidia::Report;
use casemate_evidence::x509::{Certificate, PublicKey};

/// Whether NVIDIA issued one of these certificates, by the name that the issuer has.
pub(crate) fn is_chain(file: &[Certificate]) -> bool {
    file.iter().any(|one| one.issuer_common_name().starts_with("NVIDIA "))
}

/// Each report with the chain whose first key signed it, whatever the order of either. A report that no key
/// signed gets what is left over, so that the verdict can say what is wrong with it; a single report gets
/// every file.
pub(crate) fn pair(mut reports: Vec<Vec<u8>>, mut chains: Vec<Vec<Certificate>>) -> Vec<NvidiaDevice> {
    reports.sort();
    chains.iter_mut().for_each(|chain| chain.sort_by_key(Certificate::is_authority));
    chains
        .sort_by(|one, other| one.iter().map(Certificate::as_der).cmp(other.iter().map(Certificate::as_der)));
    if let [_] = reports[..] {
        let mut all: Vec<Certificate> = chains.drain(..).flatten().collect();
        all.sort_by_key(Certificate::is_authority);
        chains.push(all);
    }
    let mut found: Vec<Option<Vec<Certificate>>> = reports
        .iter()
        .map(|report| {
            let at = chains.iter().position(|chain| chain.first().is_some_and(|leaf| signed(report, leaf)));
            at.map(|at| chains.remove(at))
        })
        .collect();
    let mut rest = chains.into_iter();
    found.iter_mut().filter(|chain| chain.is_none()).for_each(|chain| *chain = rest.next());
    reports
        .into_iter()
        .zip(found)
        .map(|(report, chain)| {
            let der = |one: &Certificate| one.as_der().to_vec().into();
            let chain = chain.unwrap_or_default();
            let certificates = chain.iter().map(der).take(NvidiaDevice::MAXIMUM_CERTIFICATES);
            NvidiaDevice { report: report.into(), certificates: certificates.collect() }
        })
        .collect()
}

fn signed(report: &[u8], leaf: &Certificate) -> bool {
    let (Ok(report), PublicKey::P384(key)) = (Report::parse(report), leaf.public_key()) else { return false };
    let (message, signature) = (report.signed_bytes(), report.signature());
    provider().verify_ecdsa(Curve::P384, HashAlgorithm::Sha384, key.as_bytes(), message, signature).is_ok()
}
