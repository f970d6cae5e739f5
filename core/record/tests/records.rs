//! Valid records, and one change at a time.

use casemate_crypto::{seal::SealingKey, secret::Secret, sign::SigningKey};
use casemate_record::{
    Authority, AuthorityRecord, Birth, Error, Genesis, InstanceRecord, KmsGenesis, PolicyDigest, Roster,
    RosterChain, Seat, Signed, SignedBirth, SignedRoster, Subset, SubsetCommitment, UpgradeRule,
    WorkloadDigest,
};

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

fn genesis(upgrade_rule: UpgradeRule) -> Genesis {
    Genesis { owner: key(1).public(), authority: Authority::Local, upgrade_rule, salt: [1; 32].into() }
}

fn record(genesis: &Genesis, number: u64, workload: u8) -> AuthorityRecord {
    AuthorityRecord {
        app_id: genesis.app_id(),
        number,
        workload_digest: WorkloadDigest::from([workload; 32]),
        policy_digest: PolicyDigest::from([3; 32]),
    }
}

#[test]
fn an_app_id_changes_with_every_field_of_its_genesis() {
    let base = genesis(UpgradeRule::Owner);
    let others = [
        Genesis { owner: key(2).public(), ..base },
        Genesis { upgrade_rule: UpgradeRule::Frozen, ..base },
        Genesis { salt: [2; 32].into(), ..base },
    ];
    for other in others {
        assert!(matches!(other.check_app_id(&base.app_id()), Err(Error::AppIdMismatch { .. })));
    }
}

#[test]
fn authority_records_only_rise() {
    let genesis = genesis(UpgradeRule::Owner);
    let accept = |current: Option<&AuthorityRecord>, next: &AuthorityRecord| {
        genesis.accept(current, &Signed::sign(&key(1), next))
    };
    let first = record(&genesis, 5, 2);
    assert_eq!(accept(None, &first).unwrap(), first);
    assert_eq!(accept(Some(&first), &first).unwrap(), first);
    assert_eq!(accept(Some(&first), &record(&genesis, 6, 3)).unwrap().number, 6);
    assert!(matches!(accept(None, &record(&genesis, 0, 2)), Err(Error::NumberZero)));
    assert!(matches!(
        accept(Some(&first), &record(&genesis, 4, 2)),
        Err(Error::NumberNotRisen { found: 4, highest: 5 })
    ));
    assert!(matches!(accept(Some(&first), &record(&genesis, 5, 3)), Err(Error::NumberReused { number: 5 })));
    let foreign = AuthorityRecord { app_id: [9; 32].into(), ..first };
    assert!(matches!(accept(None, &foreign), Err(Error::AppIdMismatch { .. })));
    let forged = genesis.accept(None, &Signed::sign(&key(2), &first));
    assert!(matches!(forged, Err(Error::Signature { .. })));
}

#[test]
fn a_frozen_app_takes_one_record() {
    let genesis = genesis(UpgradeRule::Frozen);
    let first = record(&genesis, 1, 2);
    let sign = |record| Signed::sign(&key(1), record);
    assert!(genesis.accept(None, &sign(&first)).is_ok());
    assert!(genesis.accept(Some(&first), &sign(&first)).is_ok());
    let second = genesis.accept(Some(&first), &sign(&record(&genesis, 2, 3)));
    assert!(matches!(second, Err(Error::Frozen { number: 1 })));
}

#[test]
fn a_signature_is_good_for_one_kind_of_record_and_one_content() {
    let genesis = genesis(UpgradeRule::Owner);
    let instance = InstanceRecord { app_id: genesis.app_id(), instance: [4; 16].into(), number: 1 };
    let signed = Signed::sign(&key(1), &instance);
    let bytes = signed.to_bytes();
    let other_kind = Signed::<AuthorityRecord>::from_bytes(&bytes).unwrap();
    assert!(matches!(other_kind.verify(&key(1).public()), Err(Error::Signature { .. })));
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        let outcome = Signed::<InstanceRecord>::from_bytes(&changed).and_then(|s| s.verify(&key(1).public()));
        assert!(matches!(outcome, Err(Error::Signature { .. } | Error::Encoding { .. })), "byte {place}");
    }
}

fn kms() -> KmsGenesis {
    KmsGenesis { operators: key(10).public(), salt: [5; 32].into() }
}

fn roster(count: u8, threshold: u8, quorum: u8, faulty: u8) -> Roster {
    let seat = |index: u8| Seat {
        index,
        signing: key(20 + index).public(),
        sealing: SealingKey::from_seed(Secret::from_slice(&[index; 32]).unwrap()).public(),
    };
    Roster {
        kms_id: kms().kms_id(),
        key_epoch: 1,
        number: 1,
        previous: None,
        seats: (1..=count).map(seat).collect(),
        threshold,
        quorum,
        faulty,
    }
}

fn birth(roster: &Roster) -> SignedBirth {
    let subsets = Subset::all(roster.seat_count(), roster.threshold).unwrap();
    let commitments =
        subsets.into_iter().map(|subset| SubsetCommitment { subset, commitment: [6; 32].into() }).collect();
    let birth = Birth { kms_id: roster.kms_id, key_epoch: roster.key_epoch, commitments };
    let mut signed = SignedBirth::new(&birth);
    for seat in &roster.seats {
        signed.add_signature(seat.index, &key(20 + seat.index));
    }
    signed
}

#[test]
fn a_roster_states_numbers_that_hold_together() {
    for (count, threshold, quorum, faulty) in
        [(1, 1, 1, 0), (3, 2, 2, 0), (5, 3, 4, 2), (5, 2, 3, 0), (9, 5, 9, 8)]
    {
        roster(count, threshold, quorum, faulty).check().unwrap();
    }
    assert!(matches!(roster(3, 3, 2, 0).check(), Err(Error::Threshold { threshold: 3, seats: 3 })));
    assert!(matches!(roster(3, 0, 2, 0).check(), Err(Error::Threshold { .. })));
    assert!(matches!(roster(0, 1, 1, 0).check(), Err(Error::SeatCount { found: 0 })));
    assert!(matches!(roster(10, 2, 9, 0).check(), Err(Error::SeatCount { found: 10 })));
    assert!(matches!(roster(5, 3, 3, 2).check(), Err(Error::Quorum { quorum: 3, seats: 5, faulty: 2 })));
    assert!(matches!(roster(3, 2, 4, 0).check(), Err(Error::Quorum { .. })));
    let mut repeated = roster(3, 2, 2, 0);
    repeated.seats[2].signing = repeated.seats[0].signing;
    assert!(matches!(repeated.check(), Err(Error::SeatRepeated { index: 3 })));
    let mut swapped = roster(3, 2, 2, 0);
    swapped.seats.swap(0, 1);
    assert!(matches!(swapped.check(), Err(Error::SeatIndex { found: 2, expected: 1 })));
}

#[test]
fn a_chain_is_followed_from_its_genesis() {
    let first = roster(3, 2, 2, 0);
    let second = Roster { number: 2, previous: Some(first.digest()), ..first.clone() };
    let signed_first = SignedRoster::new(&key(10), &first);
    let mut signed_second = SignedRoster::new(&key(10), &second);
    signed_second.add_signature(1, &key(21));
    let chain = |rosters: Vec<SignedRoster>| RosterChain { genesis: kms(), rosters, birth: birth(&first) };
    let pinned = kms().kms_id();
    assert_eq!(chain(vec![signed_first.clone()]).verify(&pinned).unwrap(), first);
    let short = chain(vec![signed_first.clone(), signed_second.clone()]).verify(&pinned);
    assert!(matches!(short, Err(Error::SignatureCount { found: 1, needed: 2 })));
    signed_second.add_signature(3, &key(23));
    let whole = chain(vec![signed_first.clone(), signed_second.clone()]);
    assert_eq!(whole.verify(&pinned).unwrap(), second);
    assert_eq!(RosterChain::from_bytes(&whole.to_bytes()).unwrap(), whole);
    assert!(matches!(whole.verify(&[9; 32].into()), Err(Error::KmsIdMismatch { .. })));
    assert!(matches!(chain(vec![]).verify(&pinned), Err(Error::ChainLength { found: 0, .. })));
    let skipped = chain(vec![signed_second.clone()]).verify(&pinned);
    assert!(matches!(skipped, Err(Error::RosterNumber { found: 2, expected: 1 })));
    let stranger = chain(vec![SignedRoster::new(&key(11), &first)]).verify(&pinned);
    assert!(matches!(stranger, Err(Error::Signature { .. })));
    // Another first roster of the same operators: the second does not follow it.
    let other = roster(3, 2, 3, 0);
    let forked = chain(vec![SignedRoster::new(&key(10), &other), signed_second]).verify(&pinned);
    assert!(matches!(forked, Err(Error::RosterForked { number: 2 })));
}

#[test]
fn a_birth_counts_only_with_every_seat_and_subset() {
    let roster = roster(3, 2, 2, 0);
    assert_eq!(birth(&roster).verify(&roster).unwrap().commitments.len(), 3);
    let empty = Birth { kms_id: roster.kms_id, key_epoch: 1, commitments: vec![] };
    let mut signed = SignedBirth::new(&empty);
    signed.add_signature(1, &key(21));
    assert!(matches!(signed.verify(&roster), Err(Error::SignatureCount { found: 1, needed: 3 })));
    signed.add_signature(2, &key(22));
    signed.add_signature(3, &key(22));
    assert!(matches!(signed.verify(&roster), Err(Error::Signature { .. })));
    signed.add_signature(3, &key(23));
    assert!(matches!(signed.verify(&roster), Err(Error::Commitments { found: 0, expected: 3 })));
    let later = Roster { key_epoch: 2, ..roster };
    assert!(matches!(signed.verify(&later), Err(Error::KeyEpochMismatch { expected: 2, found: 1 })));
}
