//! What does evidence establish about whoever handed it over?

#[path = "../../../core/verify/tests/support/mod.rs"]
mod support;

use casemate_cli::session::{Expected, Question};
use casemate_crypto::hash::sha256;
use casemate_evidence::{
    bundle::{Bundle, Item, Session},
    snp::Product,
};
use casemate_record::{BootId, InstanceId};
use casemate_release::report_data;
use casemate_verify::{AcceptSimulated, NotEstablished, Outcome, Policy, Workload};
use casemate_workload::manifest::digest_of;
use support::Tee;

const INSTANCE: [u8; 16] = [3; 16];
const BOOT: [u8; 16] = [4; 16];

/// What a genuine guest answers to `question`, whoever carries it.
fn evidence(tee: &Tee, question: &Question) -> Vec<u8> {
    let (key, manifest) = (vec![5; 1216], b"a manifest".to_vec());
    let digest = digest_of(&manifest);
    let nonce = hex::decode(question.nonce_text()).unwrap().try_into().unwrap();
    let (instance, boot) = (InstanceId::from(INSTANCE), BootId::from(BOOT));
    let mut tee = tee.clone();
    tee.report.host_data = (*digest.as_bytes()).into();
    tee.report.report_data = report_data::session(&nonce, &sha256(&key), &digest, &instance, &boot);
    Bundle::new([
        Item::SnpReport(tee.sign_report().as_bytes().to_vec().into()),
        Item::SnpCertificates(tee.endorsements().to_bundle_item()),
        Item::Manifest(manifest.into()),
        Item::Session(Session { key: key.into(), instance: INSTANCE, boot_id: BOOT }),
    ])
    .to_bytes()
}

#[test]
fn a_site_that_shows_a_guests_evidence_is_not_thereby_the_guest() {
    let tee = Tee::new(Product::Genoa);
    let text = Policy::example(&[tee.root_digest()])
        .replace("measurements = \"expected\"", "measurements = \"any\"");
    let policy = Policy::parse(&text).unwrap();
    for through_session_key in [true, false] {
        let question = Question::new();
        let expected = Expected {
            workload: Workload::Digest { digest: digest_of(b"a manifest"), source: "test".to_owned() },
            images: Vec::new(),
            instance: None,
            accept_simulated: AcceptSimulated::Yes,
            through_session_key,
        };
        let appraised = question.appraise(&evidence(&tee, &question), &policy, &expected).unwrap();
        let verdict = &appraised.verdict;
        assert_eq!(verdict.outcome(), Outcome::Verified, "{:?}", verdict.refusals());
        let is_missing = verdict.not_established().contains(&NotEstablished::Channel);
        assert_eq!(is_missing, !through_session_key);
        assert!(through_session_key || appraised.session.is_none());
    }
}
