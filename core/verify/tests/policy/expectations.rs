//! What does the caller expect besides, and who puts up with simulation?

use casemate_evidence::snp::Product;
use casemate_record::{LeaseFault, LeaseTerm};
use casemate_verify::{
    AcceptSimulated, Channel, Code, Freshness, KnownRoster, LEASE_ALLOWANCE_MS, Outcome, Policy, Roots,
    SessionStanding, Status,
};

use crate::case::Case;
use crate::support::NOW_MS;

#[test]
fn simulation_needs_the_list_and_the_caller() {
    let listed = Case::new(Product::Genoa);
    assert_eq!(listed.verdict().outcome(), Outcome::Verified);
    let mut unwilling = listed.clone();
    unwilling.accept_simulated = AcceptSimulated::No;
    assert_eq!(unwilling.verdict().outcome(), Outcome::Refused);
    // Not listed by the policy, whatever roots the caller brings.
    let mut unlisted = listed.clone();
    unlisted.policy = Policy::example(&[]);
    assert_eq!(unlisted.verdict().outcome(), Outcome::NotGenuine);
    unlisted.roots = Some(Roots::builtin().with_simulated([listed.tee.simulated_root()]));
    assert_eq!(unlisted.verdict().outcome(), Outcome::Refused);
}

#[test]
fn expectations_bind_even_where_the_policy_accepts_anything() {
    let mut case = Case::new(Product::Genoa);
    case.set("workload.digests", "\"any\"");
    case.set("freshness.report_data", "\"any\"");
    assert_eq!(case.verdict().outcome(), Outcome::Verified);
    let mut workload = case.clone();
    workload.tee.report.host_data = [0; 32].into();
    assert_eq!(
        workload.verdict().failures().map(|check| check.code).collect::<Vec<_>>(),
        [Code::ExpectedWorkload]
    );
    case.tee.report.report_data = [0; 64].into();
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ReportData]);
}

#[test]
fn a_session_is_bound_only_by_report_data_that_matched() {
    let mut case = Case::new(Product::Genoa);
    case.set("freshness.report_data", "\"any\"");
    case.expectations.channel = Channel::Session { key_digest: [0x88; 32].into(), standing: standing() };
    assert_eq!(case.verdict().outcome(), Outcome::Verified);
    case.expectations.freshness = Freshness::Unchecked;
    let verdict = case.verdict();
    assert_eq!(verdict.failures().map(|check| check.code).collect::<Vec<_>>(), [Code::SessionKey]);
    let channel = verdict.groups().iter().find(|group| group.code == Code::Channel).expect("a group");
    assert_eq!(channel.status, Status::Failed);
}

#[test]
fn report_data_of_no_date_is_not_fresh_and_binds_no_session() {
    let mut case = Case::new(Product::Genoa);
    case.expectations.freshness = Freshness::Undated { report_data: [0x77; 64].into() };
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ChallengeAge]);
    case.set("freshness.report_data", "\"any\"");
    let verdict = case.verdict();
    assert_eq!(verdict.outcome(), Outcome::Verified);
    assert!(verdict.not_established().contains(&casemate_verify::NotEstablished::Freshness));
    case.expectations.channel = Channel::Session { key_digest: [0x88; 32].into(), standing: standing() };
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::SessionKey]);
    case.expectations.channel = Channel::Unchecked;
    case.expectations.freshness = Freshness::Undated { report_data: [0; 64].into() };
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ReportData]);
}

/// A session that its seats leased for ten minutes, a minute ago.
fn standing() -> SessionStanding {
    SessionStanding {
        roster_digest: [0x66; 32].into(),
        key_epoch: 1,
        newest: KnownRoster { digest: [0x66; 32].into(), key_epoch: 1 },
        lease: Ok(LeaseTerm { begins_ms: NOW_MS - 60_000, ends_ms: NOW_MS + 540_000 }),
    }
}

#[test]
fn a_session_stands_under_the_newest_roster_and_a_lease_that_runs() {
    type Change = fn(&mut SessionStanding);
    let table: [(Change, &[Code]); 9] = [
        (|_| {}, &[]),
        (|s| s.roster_digest = [1; 32].into(), &[Code::SessionRoster]),
        // Under another roster its epoch and leases mean nothing.
        (|s| (s.roster_digest, s.key_epoch) = ([1; 32].into(), 9), &[Code::SessionRoster]),
        (|s| s.key_epoch = 2, &[Code::SessionKeyEpoch]),
        (|s| s.lease = Err(LeaseFault::Count { found: 0, needed: 1 }), &[Code::SessionLease]),
        (|s| s.lease = Ok(LeaseTerm { begins_ms: NOW_MS + 60_000, ends_ms: NOW_MS + 90_000 }), &[]),
        (
            |s| s.lease = Ok(LeaseTerm { begins_ms: NOW_MS + 60_001, ends_ms: NOW_MS + 90_000 }),
            &[Code::SessionLeaseBegin],
        ),
        (|s| s.lease = Ok(LeaseTerm { begins_ms: 0, ends_ms: NOW_MS - LEASE_ALLOWANCE_MS }), &[]),
        (
            |s| s.lease = Ok(LeaseTerm { begins_ms: 0, ends_ms: NOW_MS - LEASE_ALLOWANCE_MS - 1 }),
            &[Code::SessionLeaseEnd],
        ),
    ];
    for (number, (change, expected)) in table.into_iter().enumerate() {
        let mut case = Case::new(Product::Genoa);
        let mut standing = standing();
        change(&mut standing);
        case.expectations.channel = Channel::Session { key_digest: [0x88; 32].into(), standing };
        let failures: Vec<_> = case.verdict().failures().map(|check| check.code).collect();
        assert_eq!(failures, expected, "row {number}");
    }
}

#[test]
fn a_challenge_from_the_future_is_refused() {
    let mut case = Case::new(Product::Genoa);
    case.now_ms = NOW_MS - 2000;
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ChallengeAge]);
}
