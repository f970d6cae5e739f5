//! Leases of three seats of which two must sign: valid ones, and one change at a time.

#[path = "support/seats.rs"]
mod seats;

use casemate_record::{InstanceRecord, Lease, LeaseFault, LeaseHolder, LeaseTerm, Roster, Signed};
use seats::key;

fn roster() -> Roster {
    seats::roster(3)
}

fn holder() -> LeaseHolder {
    LeaseHolder {
        app_id: [1; 32].into(),
        workload_digest: [2; 32].into(),
        instance: [3; 16].into(),
        boot_id: [4; 16].into(),
    }
}

/// Seat `n` begins at 1,000 + n and ends at 5,000 - n.
fn lease(seat: u8) -> Lease {
    let LeaseHolder { app_id, workload_digest, instance, boot_id } = holder();
    Lease {
        kms_id: roster().kms_id,
        roster_digest: roster().digest(),
        key_epoch: 3,
        seat,
        app_id,
        workload_digest,
        instance,
        boot_id,
        begins_ms: 1_000 + u64::from(seat),
        ends_ms: 5_000 - u64::from(seat),
    }
}

fn sign(lease: &Lease) -> Vec<u8> {
    Signed::sign(&key(20 + lease.seat), lease).to_bytes()
}

fn fault(leases: &[Vec<u8>]) -> LeaseFault {
    roster().check_leases(leases, &holder(), 4_998).unwrap_err()
}

#[test]
fn the_term_is_what_all_seats_grant() {
    let term = roster().check_leases(&[sign(&lease(2)), sign(&lease(1))], &holder(), 4_998).unwrap();
    assert_eq!(term, LeaseTerm { begins_ms: 1_002, ends_ms: 4_998 });
    let all: Vec<_> = (1..=3).map(|seat| sign(&lease(seat))).collect();
    let term = roster().check_leases(&all, &holder(), 4_997).unwrap();
    assert_eq!(term, LeaseTerm { begins_ms: 1_003, ends_ms: 4_997 });
    assert_eq!(lease(1).length_ms(), 3_998);
}

#[test]
fn each_changed_field_has_its_own_fault() {
    type Change = fn(&mut Lease);
    type Expected = fn(&LeaseFault) -> bool;
    let table: [(Change, Expected); 9] = [
        (|l| l.kms_id = [9; 32].into(), |f| matches!(f, LeaseFault::OtherService { .. })),
        (|l| l.roster_digest = [9; 32].into(), |f| matches!(f, LeaseFault::OtherRoster { .. })),
        (|l| l.key_epoch = 2, |f| matches!(f, LeaseFault::OtherKeyEpoch { expected: 3, found: 2 })),
        (|l| l.seat = 4, |f| matches!(f, LeaseFault::UnknownSeat { found: 4, seats: 3 })),
        (|l| l.app_id = [9; 32].into(), |f| matches!(f, LeaseFault::OtherHolder { seat: 2, .. })),
        (|l| l.workload_digest = [9; 32].into(), |f| matches!(f, LeaseFault::OtherHolder { seat: 2, .. })),
        (|l| l.instance = [9; 16].into(), |f| matches!(f, LeaseFault::OtherHolder { seat: 2, .. })),
        (|l| l.boot_id = [9; 16].into(), |f| matches!(f, LeaseFault::OtherHolder { seat: 2, .. })),
        (|l| l.begins_ms = 6_000, |f| matches!(f, LeaseFault::Backwards { seat: 2 })),
    ];
    for (number, (change, expected)) in table.into_iter().enumerate() {
        let mut changed = lease(2);
        change(&mut changed);
        let found = fault(&[sign(&lease(1)), sign(&changed)]);
        assert!(expected(&found), "change {number}: {found}");
    }
    let other_end = roster().check_leases(&[sign(&lease(1)), sign(&lease(2))], &holder(), 4_999).unwrap_err();
    assert_eq!(other_end, LeaseFault::OtherEnd { stated_ms: 4_999, found_ms: 4_998 });
}

#[test]
fn only_distinct_seats_of_the_roster_count() {
    let none: [Vec<u8>; 0] = [];
    assert_eq!(fault(&none), LeaseFault::Count { found: 0, needed: 2 });
    assert_eq!(fault(&[sign(&lease(1))]), LeaseFault::Count { found: 1, needed: 2 });
    assert_eq!(fault(&vec![sign(&lease(1)); 10]), LeaseFault::Count { found: 10, needed: 2 });
    assert_eq!(fault(&[sign(&lease(2)), sign(&lease(2))]), LeaseFault::SeatRepeated { seat: 2 });
    for signer in [21, 10, 1] {
        let forged = Signed::sign(&key(signer), &lease(2)).to_bytes();
        let found = fault(&[sign(&lease(1)), forged]);
        assert!(matches!(found, LeaseFault::Signature { seat: 2, .. }), "{found}");
    }
    let record = InstanceRecord { app_id: [1; 32].into(), instance: [2; 16].into(), number: 1 };
    let other_kind = fault(&[sign(&lease(1)), Signed::sign(&key(22), &record).to_bytes()]);
    assert!(matches!(other_kind, LeaseFault::Encoding { .. }), "{other_kind}");
}
