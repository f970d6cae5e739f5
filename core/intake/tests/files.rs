//! Loose files are put together, whatever their order, names and form; and each way in which they do not
//! belong together has its own refusal.

#[path = "../../verify/tests/support/mod.rs"]
mod support;

use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::snp::Product;
use casemate_intake::{Error, File, Kind, Question, Sorted, verify};
use casemate_verify::{Outcome, Policy};
use support::{ListParts, NOW_MS, Tee};

fn tee() -> Tee {
    let mut tee = Tee::new(Product::Genoa);
    tee.revocation_list = Some(ListParts::new(&tee.root.subject));
    tee
}

/// Report, leaf, intermediate, root and revocation list.
fn parts(tee: &Tee) -> [Vec<u8>; 5] {
    let list = tee.revocation_list.as_ref().expect("there is a list").to_der();
    let report = tee.sign_report().as_bytes().to_vec();
    [report, tee.leaf.to_der(), tee.intermediate.to_der(), tee.root.to_der(), list]
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).expect("PEM of a certificate").into_bytes()
}

fn files(contents: &[Vec<u8>]) -> Vec<File<'_>> {
    contents.iter().map(|bytes| File { name: "a file", bytes }).collect()
}

fn sort(contents: &[Vec<u8>]) -> Result<Sorted, Error> {
    Sorted::read(&files(contents))
}

fn outcome(tee: &Tee, contents: &[Vec<u8>]) -> Outcome {
    let simulated = Policy::example(&[tee.root_digest()]);
    let (_, roots) = simulated.split_once("spki_sha256 = ").expect("the policy lists roots");
    let roots = roots.lines().next().expect("a line");
    let policy = Policy::hardware_only()
        .replace("spki_sha256 = \"none\"", &format!("spki_sha256 = {roots}"))
        .replace("revocation_list = \"optional\"", "revocation_list = \"required\"");
    let question = Question { accept_simulated: true, ..Question::new(policy, NOW_MS) };
    let answer = verify(&question, &files(contents), casemate_crypto::provider())
        .expect("there is something to judge");
    answer.verdict.outcome()
}

#[test]
fn order_and_form_do_not_matter() {
    let tee = tee();
    let [report, leaf, intermediate, root, list] = parts(&tee);
    let loose = [report.clone(), leaf.clone(), intermediate.clone(), root.clone(), list.clone()];
    let mut turned = loose.to_vec();
    for _ in 0..loose.len() {
        turned.rotate_left(1);
        assert_eq!(outcome(&tee, &turned), Outcome::Verified);
    }
    turned.reverse();
    assert_eq!(outcome(&tee, &turned), Outcome::Verified);

    let chain = [pem("CERTIFICATE", &root), pem("CERTIFICATE", &intermediate)].concat();
    let in_pem = [pem("X509 CRL", &list), chain, pem("CERTIFICATE", &leaf), report.clone()];
    assert_eq!(outcome(&tee, &in_pem), Outcome::Verified);
    let sorted = sort(&in_pem).expect("they belong together");
    let kinds = [Kind::RevocationList, Kind::Certificates, Kind::Certificates, Kind::SnpReport];
    assert_eq!(sorted.kinds, kinds);

    // A cloud's chain repeats what AMD's holds.
    let twice = [report, leaf, intermediate.clone(), root.clone(), intermediate, root, list];
    assert_eq!(outcome(&tee, &twice), Outcome::Verified);
}

#[test]
fn a_bundle_stays_as_it_is() {
    let tee = tee();
    let [report, leaf, intermediate, root, list] = parts(&tee);
    let alone = Bundle::new([Item::SnpReport(report.into())]);
    let beside = [alone.to_bytes(), leaf, intermediate, root, list.clone()];
    assert_eq!(sort(&beside).expect("they belong together").bundle, alone);
    assert_eq!(outcome(&tee, &beside), Outcome::Verified);
    let whole = alone
        .with(Item::SnpCertificates(tee.endorsements().to_bundle_item()))
        .with(Item::SnpRevocationList(list.into()));
    assert_eq!(outcome(&tee, &[whole.to_bytes()]), Outcome::Verified);
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let [report, leaf, intermediate, root, list] = parts(&tee());
    let certificates = [leaf.clone(), intermediate.clone(), root.clone()].concat();
    assert!(matches!(sort(&[certificates]), Err(Error::Certificates { .. })), "not one certificate in DER");
    assert!(matches!(sort(&[]), Err(Error::NoEvidence { found }) if found.is_empty()));
    assert!(
        matches!(sort(std::slice::from_ref(&leaf)), Err(Error::NoEvidence { found }) if found == [Kind::Certificates])
    );
    let twice = |kind, contents: &[Vec<u8>]| {
        assert!(matches!(sort(contents), Err(Error::Twice { kind: found, .. }) if found == kind), "{kind}");
    };
    twice(Kind::SnpReport, &[report.clone(), report.clone()]);
    twice(Kind::RevocationList, &[list.clone(), report.clone(), list]);
    let bundle = Bundle::new([Item::SnpReport(report.clone().into())]).to_bytes();
    twice(Kind::Bundle, &[report.clone(), bundle]);
    let chain = |contents: &[&Vec<u8>], expected: [usize; 3]| {
        let contents: Vec<_> = contents.iter().map(|bytes| bytes.to_vec()).chain([report.clone()]).collect();
        match sort(&contents) {
            Err(Error::Chain { leaves, intermediates, roots }) => {
                assert_eq!([leaves, intermediates, roots], expected);
            }
            other => panic!("{other:?}"),
        }
    };
    chain(&[&leaf], [1, 0, 0]);
    chain(&[&intermediate, &root], [0, 1, 1]);
    chain(&[&leaf, &root], [1, 0, 1]);
    let other = Tee::new(Product::Milan);
    chain(&[&leaf, &intermediate, &root, &other.leaf.to_der()], [2, 1, 1]);
    let many = vec![report; Sorted::MAXIMUM_FILES + 1];
    assert!(matches!(sort(&many), Err(Error::TooMany { found: 33, maximum: 32 })));
}

/// The last byte of a signature is any byte, one that text would call white among them.
#[test]
fn binary_certificates_keep_their_last_byte() {
    let tee = tee();
    let mut signed_anew = std::iter::repeat_with(|| parts(&tee)).take(2000);
    let white = |parts: &[Vec<u8>; 5]| parts[1].last().is_some_and(u8::is_ascii_whitespace);
    let parts = signed_anew.find(white).expect("one signature in forty ends so");
    assert_eq!(outcome(&tee, &parts), Outcome::Verified);
}

#[test]
fn a_report_without_certificates_is_judged_and_not_genuine() {
    let tee = tee();
    let [report, ..] = parts(&tee);
    assert_eq!(outcome(&tee, &[report]), Outcome::NotGenuine);
}
