//! Evidence bundles: what must be in them, what comes from elsewhere, and that no bytes cause a panic.

mod support;

use casemate_crypto::hash::sha256;
use casemate_evidence::bundle::{Bundle, Item, SnpCertificates};
use casemate_evidence::snp::{Leaf, Product};
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, Outcome, Policy, Verdict, Verifier, Workload,
};
use proptest::prelude::*;
use support::{ListParts, NOW_MS, Tee};

fn report(tee: &Tee) -> Item {
    Item::SnpReport(tee.sign_report().as_bytes().to_vec().into())
}

fn certificates(tee: &Tee) -> Item {
    Item::SnpCertificates(tee.endorsements().to_bundle_item())
}

fn verdict(tee: &Tee, items: Vec<Item>, elsewhere: bool) -> Verdict {
    let policy = Policy::example(&[tee.root_digest()])
        .replace("measurements = \"expected\"", "measurements = \"any\"")
        .replace("digests = \"expected\"", "digests = \"any\"")
        .replace("report_data = \"expected\"", "report_data = \"any\"");
    let policy = Policy::parse(&policy).expect("well formed");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: casemate_crypto::provider(),
    };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let endorsements = elsewhere.then(|| tee.endorsements().into());
    // Over the wire and back.
    let bundle = Bundle::parse(&Bundle::new(items).to_bytes()).expect("a bundle");
    verifier.verify_bundle(&bundle, endorsements.as_ref(), &expectations, NOW_MS).verdict().clone()
}

fn failures(verdict: &Verdict) -> Vec<Code> {
    verdict.failures().map(|check| check.code).collect()
}

#[test]
fn endorsements_may_be_carried_along_or_come_from_elsewhere() {
    let tee = Tee::new(Product::Genoa);
    assert_eq!(verdict(&tee, vec![report(&tee), certificates(&tee)], false).outcome(), Outcome::Verified);
    assert_eq!(verdict(&tee, vec![report(&tee)], true).outcome(), Outcome::Verified);
    let neither = verdict(&tee, vec![report(&tee)], false);
    assert_eq!(neither.outcome(), Outcome::NotGenuine);
    assert_eq!(failures(&neither), [Code::EndorsementsPresent]);
}

#[test]
fn carried_endorsements_are_not_passed_over_for_better_ones() {
    let tee = Tee::new(Product::Genoa);
    let mut forged = tee.clone();
    forged.leaf.signer = support::Rsa::Other;
    let found = verdict(&tee, vec![report(&tee), certificates(&forged)], true);
    assert_eq!(failures(&found), [Code::CertificateSignature]);
    let unreadable = Item::SnpCertificates(SnpCertificates {
        leaf: vec![1].into(),
        intermediate: vec![2].into(),
        root: vec![3].into(),
    });
    assert_eq!(failures(&verdict(&tee, vec![report(&tee), unreadable], true)), [Code::EndorsementsFormat]);
}

#[test]
fn a_bundle_without_a_report_or_with_a_broken_one_is_not_genuine() {
    let tee = Tee::new(Product::Genoa);
    assert_eq!(failures(&verdict(&tee, vec![certificates(&tee)], false)), [Code::EvidencePresent]);
    let broken = Item::SnpReport(vec![0; 1183].into());
    assert_eq!(failures(&verdict(&tee, vec![broken, certificates(&tee)], false)), [Code::ReportFormat]);
}

#[test]
fn a_manifest_must_be_the_one_that_the_hardware_recorded() {
    let mut tee = Tee::new(Product::Genoa);
    tee.report.host_data = (*sha256(b"manifest").as_bytes()).into();
    let with = |manifest: &[u8]| {
        let items = vec![report(&tee), certificates(&tee), Item::Manifest(manifest.to_vec().into())];
        verdict(&tee, items, false)
    };
    assert_eq!(with(b"manifest").outcome(), Outcome::Verified);
    assert_eq!(failures(&with(b"Manifest")), [Code::Manifest]);
}

#[test]
fn a_revocation_list_that_is_carried_along_counts() {
    let tee = Tee::new(Product::Genoa);
    let with = |list: ListParts| {
        let items = vec![report(&tee), certificates(&tee), Item::SnpRevocationList(list.to_der().into())];
        verdict(&tee, items, false)
    };
    assert_eq!(with(ListParts::new(&tee.root.subject)).outcome(), Outcome::Verified);
    let mut revoking = ListParts::new(&tee.root.subject);
    revoking.revoked = vec![tee.intermediate.serial.clone()];
    assert_eq!(failures(&with(revoking)), [Code::Revocation]);
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Bundle::parse(&bytes);
        let _ = Certificate::parse(&bytes);
        let _ = RevocationList::parse(&bytes);
        let _ = Certificate::parse_pem(&String::from_utf8_lossy(&bytes));
        let _ = Policy::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_change_of_a_certificate_causes_a_panic(at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()) {
        thread_local! {
            static DER: Vec<u8> = Tee::new(Product::Turin).leaf.to_der();
        }
        DER.with(|der| {
            let mut bytes = der.clone();
            let index = at.index(bytes.len());
            bytes[index] = value;
            if let Ok(certificate) = Certificate::parse(&bytes) {
                let _ = Leaf::read(&certificate);
                let _ = (certificate.subject_common_name(), certificate.not_before_ms(), certificate.not_after_ms());
            }
            bytes.truncate(cut.index(bytes.len()));
            let _ = Certificate::parse(&bytes);
        });
    }

    #[test]
    fn a_bundle_read_is_the_bundle_written(report in prop::collection::vec(any::<u8>(), 0..50), manifest in prop::option::of(prop::collection::vec(any::<u8>(), 0..50))) {
        let items = [Some(Item::SnpReport(report.into())), manifest.map(|bytes| Item::Manifest(bytes.into()))];
        let bundle = Bundle::new(items.into_iter().flatten());
        prop_assert_eq!(Bundle::parse(&bundle.to_bytes()).expect("a bundle"), bundle);
    }
}
