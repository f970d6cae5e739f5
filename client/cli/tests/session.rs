//! What does evidence establish about whoever handed it over?

#[path = "../../../core/verify/tests/support/mod.rs"]
mod support;

#[path = "../../../core/record/tests/support/seats.rs"]
mod seats;

use casemate_cli::{
    clock,
    session::{Appraised, Expected, ExpectedChannel, Question},
};
use casemate_evidence::{
    bundle::{Bundle, Item, Session},
    snp::Product,
};
use casemate_record::{AppId, Lease, Roster, Signed};
use casemate_release::report_data;
use casemate_verify::{AcceptSimulated, Code, NotEstablished, Outcome, Policy, Workload};
use casemate_workload::manifest::digest_of;
use seats::key;
use support::Tee;

const INSTANCE: [u8; 16] = [3; 16];
const BOOT: [u8; 16] = [4; 16];
const APP: [u8; 32] = [6; 32];
const MINUTE_MS: u64 = 60_000;

fn roster() -> Roster {
    seats::roster(2)
}

/// A guest whose lease runs from five minutes ago to five minutes ahead.
struct Guest {
    tee: Tee,
    roster: Roster,
    /// What the seats lease to whom.
    lease: Lease,
    seats: Vec<u8>,
    /// Said by the guest itself, which its report data commits to.
    key_epoch: u32,
    stated_end_ms: u64,
}

impl Guest {
    fn new() -> Self {
        let now_ms = clock::now_ms();
        let roster = roster();
        let lease = Lease {
            kms_id: roster.kms_id,
            roster_digest: roster.digest(),
            key_epoch: roster.key_epoch,
            seat: 0,
            app_id: APP.into(),
            workload_digest: digest_of(b"a manifest"),
            instance: INSTANCE.into(),
            boot_id: BOOT.into(),
            begins_ms: now_ms - 5 * MINUTE_MS,
            ends_ms: now_ms + 5 * MINUTE_MS,
        };
        Guest {
            tee: Tee::new(Product::Genoa),
            lease,
            seats: vec![1, 3],
            key_epoch: roster.key_epoch,
            stated_end_ms: lease.ends_ms,
            roster,
        }
    }

    fn lasting(begins_ms: u64, ends_ms: u64) -> Self {
        let mut guest = Self::new();
        (guest.lease.begins_ms, guest.lease.ends_ms, guest.stated_end_ms) = (begins_ms, ends_ms, ends_ms);
        guest
    }

    fn session(&self) -> Session {
        let signed = self.seats.iter().map(|seat| {
            let lease = Lease { seat: *seat, ..self.lease };
            Signed::sign(&key(20 + seat), &lease).to_bytes().into()
        });
        Session {
            key: vec![5; 1216].into(),
            instance: INSTANCE,
            boot_id: BOOT,
            roster_digest: *self.roster.digest().as_bytes(),
            key_epoch: self.key_epoch,
            lease_ends_ms: self.stated_end_ms,
            leases: signed.collect(),
        }
    }

    /// What it answers to `question`, whoever carries it; `change` is done on the way.
    fn evidence(&self, question: &Question, change: impl FnOnce(&mut Session)) -> Vec<u8> {
        let (manifest, mut session) = (b"a manifest".to_vec(), self.session());
        let digest = digest_of(&manifest);
        let nonce = hex::decode(question.nonce_text()).unwrap().try_into().unwrap();
        let mut tee = self.tee.clone();
        tee.report.host_data = (*digest.as_bytes()).into();
        tee.report.report_data = report_data::session(&nonce, &digest, &session);
        change(&mut session);
        Bundle::new([
            Item::SnpReport(tee.sign_report().as_bytes().to_vec().into()),
            Item::SnpCertificates(tee.endorsements().to_bundle_item()),
            Item::Manifest(manifest.into()),
            Item::Session(session),
        ])
        .to_bytes()
    }

    fn appraised(&self, channel: ExpectedChannel, change: impl FnOnce(&mut Session)) -> Appraised {
        let text = Policy::example(&[self.tee.root_digest()])
            .replace("measurements = \"expected\"", "measurements = \"any\"");
        let policy = Policy::parse(&text).unwrap();
        let question = Question::new();
        let expected = Expected {
            workload: Workload::Digest { digest: digest_of(b"a manifest"), source: "test".to_owned() },
            images: Vec::new(),
            instance: None,
            accept_simulated: AcceptSimulated::Yes,
            channel,
        };
        question.appraise(&self.evidence(&question, change), &policy, &expected).unwrap()
    }

    /// The failed checks, for a caller who knows [`roster`]; a refusal opens no session.
    fn failures(&self) -> Vec<Code> {
        self.failures_after(|_| {})
    }

    fn failures_after(&self, change: impl FnOnce(&mut Session)) -> Vec<Code> {
        let appraised = self.appraised(through_session_key(), change);
        let failures: Vec<_> = appraised.verdict.failures().map(|check| check.code).collect();
        assert!(failures.is_empty() || appraised.session.is_none());
        assert_eq!(failures.is_empty(), appraised.verdict.outcome() == Outcome::Verified);
        failures
    }
}

fn through_session_key() -> ExpectedChannel {
    ExpectedChannel::SessionKey { app_id: AppId::from(APP), roster: roster() }
}

#[test]
fn a_site_that_shows_a_guests_evidence_is_not_thereby_the_guest() {
    for (channel, is_missing) in [(through_session_key(), false), (ExpectedChannel::Other, true)] {
        let appraised = Guest::new().appraised(channel, |_| {});
        let verdict = &appraised.verdict;
        assert_eq!(verdict.outcome(), Outcome::Verified, "{:?}", verdict.refusals());
        assert_eq!(verdict.not_established().contains(&NotEstablished::Channel), is_missing);
        assert!(!is_missing || appraised.session.is_none());
    }
}

#[test]
fn a_session_under_another_roster_than_the_newest_known_is_refused() {
    let mut guest = Guest::new();
    guest.roster.number = 2;
    guest.lease.roster_digest = guest.roster.digest();
    assert_eq!(guest.failures(), [Code::SessionRoster]);
    let mut guest = Guest::new();
    guest.key_epoch = 1;
    assert_eq!(guest.failures(), [Code::SessionKeyEpoch]);
}

#[test]
fn a_lease_that_has_ended_is_refused_a_minute_later() {
    let now_ms = clock::now_ms();
    let begun_ms = now_ms - 20 * MINUTE_MS;
    // The clocks of caller and seats may differ; what is allowed is a minute.
    assert_eq!(Guest::lasting(begun_ms, now_ms - MINUTE_MS / 2).failures(), []);
    assert_eq!(Guest::lasting(begun_ms, now_ms - 2 * MINUTE_MS).failures(), [Code::SessionLeaseEnd]);
    let later_ms = now_ms + 10 * MINUTE_MS;
    assert_eq!(Guest::lasting(now_ms + MINUTE_MS / 2, later_ms).failures(), []);
    assert_eq!(Guest::lasting(now_ms + 2 * MINUTE_MS, later_ms).failures(), [Code::SessionLeaseBegin]);
}

#[test]
fn a_lease_that_the_seats_did_not_sign_for_this_boot_is_refused() {
    type Change = fn(&mut Guest);
    let changes: [Change; 9] = [
        |guest| guest.seats = vec![1],
        |guest| guest.seats = vec![1, 1],
        |guest| guest.seats = vec![1, 4],
        |guest| guest.seats = vec![],
        |guest| guest.lease.app_id = [9; 32].into(),
        |guest| guest.lease.workload_digest = [9; 32].into(),
        |guest| guest.lease.instance = [9; 16].into(),
        |guest| guest.lease.boot_id = [9; 16].into(),
        |guest| guest.stated_end_ms += MINUTE_MS,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut guest = Guest::new();
        change(&mut guest);
        assert_eq!(guest.failures(), [Code::SessionLease], "change {number}");
    }
}

#[test]
fn what_a_carrier_changes_in_a_session_is_noticed() {
    let later_ms = clock::now_ms() + 60 * MINUTE_MS;
    // A paused guest's old session, made to look younger: the report data covers the end.
    let old = Guest::lasting(clock::now_ms() - 60 * MINUTE_MS, clock::now_ms() - 50 * MINUTE_MS);
    assert_eq!(old.failures(), [Code::SessionLeaseEnd]);
    let longer = old.failures_after(|session| session.lease_ends_ms = later_ms);
    assert_eq!(longer, [Code::ReportData, Code::SessionKey]);
    // Leases of another boot in place of its own: they end when it says, and are not its own.
    let mut newer = Guest::new();
    newer.lease.boot_id = [9; 16].into();
    let foreign = newer.session().leases;
    let swapped = Guest::new().failures_after(|session| session.leases = foreign);
    assert_eq!(swapped, [Code::SessionLease]);
    type Change = fn(&mut Session);
    let changes: [Change; 3] = [
        |session| session.key = vec![9; 1216].into(),
        |session| session.roster_digest = [9; 32],
        |session| session.boot_id = [9; 16],
    ];
    for change in changes {
        let failures = Guest::new().failures_after(change);
        assert_eq!(failures, [Code::ReportData, Code::SessionKey]);
    }
}
