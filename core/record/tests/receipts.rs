//! Three seats of which two must sign: valid receipts, and one change at a time.

#[path = "support/seats.rs"]
mod seats;

use casemate_crypto::hash::sha256;
use casemate_record::{
    Error, InstanceRecord, ReceiptFault, Roster, Signed, Stamp, Submission, SubmissionReceipt,
    SubmissionRequest, Taken, VolumeAction, VolumeName, VolumeRecord,
};
use seats::key;

fn roster() -> Roster {
    seats::roster(1)
}

fn erase(number: u64) -> Submission {
    let record = VolumeRecord {
        app_id: [1; 32].into(),
        instance: [2; 16].into(),
        volume: VolumeName::new("data").unwrap(),
        number,
        action: VolumeAction::Erase,
    };
    Submission::Volume(Signed::sign(&key(1), &record))
}

fn request() -> SubmissionRequest {
    SubmissionRequest { nonce: [7; 32].into(), submission: erase(4) }
}

/// What an honest seat signs.
fn receipt(seat: u8) -> SubmissionReceipt {
    SubmissionReceipt {
        kms_id: roster().kms_id,
        roster_digest: roster().digest(),
        seat,
        nonce: request().nonce,
        submission_digest: request().submission.digest(),
        taken: Taken::Erased { number: 4 },
        time_ms: 1_767_225_600_000,
    }
}

fn sign(receipt: &SubmissionReceipt) -> Vec<u8> {
    Signed::sign(&key(20 + receipt.seat), receipt).to_bytes()
}

/// Why seat 2's receipt does not count, after `change`; seat 1's is good, and alone it is too few.
fn fault(change: impl FnOnce(&mut SubmissionReceipt)) -> ReceiptFault {
    let mut changed = receipt(2);
    change(&mut changed);
    refused(&[sign(&receipt(1)), sign(&changed)])
}

#[track_caller]
fn refused(receipts: &[Vec<u8>]) -> ReceiptFault {
    match roster().confirm(&request(), receipts) {
        Err(Error::TooFewReceipts {
            expected: Taken::Erased { number: 4 },
            found,
            needed: 2,
            mut faults,
        }) => {
            assert_eq!((found.as_slice(), faults.len()), (&[1][..], 1), "{faults:?}");
            faults.remove(0)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_quorum_of_distinct_seats_confirms() {
    for seats in [&[1, 2][..], &[3, 1], &[2, 1, 3]] {
        let receipts: Vec<_> = seats.iter().map(|seat| sign(&receipt(*seat))).collect();
        let confirmed = roster().confirm(&request(), &receipts).unwrap();
        let mut rising = seats.to_vec();
        rising.sort_unstable();
        assert_eq!((confirmed.seats, confirmed.seat_count), (rising, 3));
        assert_eq!(confirmed.taken, Taken::Erased { number: 4 });
    }
    // Rubbish beside a quorum changes nothing.
    let receipts = [vec![0xff], sign(&receipt(1)), sign(&receipt(1)), sign(&receipt(3))];
    assert_eq!(roster().confirm(&request(), &receipts).unwrap().seats, [1, 3]);
}

#[test]
fn a_swallowed_submission_is_not_confirmed() {
    let none: [Vec<u8>; 0] = [];
    let error = roster().confirm(&request(), &none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "0 of the 2 seats that are needed signed that they took the erasure of a volume by record 4"
    );
    let too_few = roster().confirm(&request(), &[sign(&receipt(3))]);
    assert!(
        matches!(&too_few, Err(Error::TooFewReceipts { found, needed: 2, faults, .. }) if *found == [3] && faults.is_empty()),
        "{too_few:?}"
    );
}

#[test]
fn each_changed_field_has_its_own_fault() {
    let other_service = fault(|receipt| receipt.kms_id = [9; 32].into());
    assert!(matches!(other_service, ReceiptFault::OtherService { .. }), "{other_service}");
    let stale = fault(|receipt| receipt.roster_digest = sha256(b"an older roster"));
    assert!(matches!(stale, ReceiptFault::OtherRoster { seat: 2, .. }), "{stale}");
    let unknown = fault(|receipt| receipt.seat = 4);
    assert!(matches!(unknown, ReceiptFault::UnknownSeat { found: 4, seats: 3 }), "{unknown}");
    let replayed = fault(|receipt| receipt.nonce = [8; 32].into());
    assert!(matches!(replayed, ReceiptFault::OtherSending { seat: 2 }), "{replayed}");
    let digest = erase(3).digest();
    let other = fault(|receipt| receipt.submission_digest = digest);
    assert!(
        matches!(other, ReceiptFault::OtherSubmission { seat: 2, found, .. } if found == digest),
        "{other}"
    );
    for taken in [
        Taken::Erased { number: 3 },
        Taken::Restored { number: 4, counter: 1 },
        Taken::Instance { number: 4 },
        Taken::Authority { number: 4 },
    ] {
        let other = fault(|receipt| receipt.taken = taken);
        assert!(
            matches!(other, ReceiptFault::OtherOutcome { seat: 2, found, .. } if found == taken),
            "{other}"
        );
    }
}

#[test]
fn a_seat_counts_once() {
    let twice = refused(&[sign(&receipt(1)), sign(&receipt(1))]);
    assert!(matches!(twice, ReceiptFault::SeatRepeated { seat: 1 }), "{twice}");
    // Again, with the clock a little later.
    let later = SubmissionReceipt { time_ms: 1_767_225_600_001, ..receipt(1) };
    let twice = refused(&[sign(&receipt(1)), sign(&later)]);
    assert!(matches!(twice, ReceiptFault::SeatRepeated { seat: 1 }), "{twice}");
}

#[test]
fn only_the_seats_own_signature_counts() {
    // Another seat, the operators and the owner in the name of seat 2.
    for signer in [21, 10, 1] {
        let forged = Signed::sign(&key(signer), &receipt(2)).to_bytes();
        let forged = refused(&[sign(&receipt(1)), forged]);
        assert!(matches!(forged, ReceiptFault::Signature { seat: 2, .. }), "{forged}");
    }
    // A seat's signature under another kind of record.
    let record = InstanceRecord { app_id: [1; 32].into(), instance: [2; 16].into(), number: 1 };
    let other_kind = refused(&[sign(&receipt(1)), Signed::sign(&key(22), &record).to_bytes()]);
    assert!(matches!(other_kind, ReceiptFault::Encoding { .. }), "{other_kind}");
}

#[test]
fn any_changed_byte_is_noticed() {
    let bytes = sign(&receipt(2));
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        refused(&[sign(&receipt(1)), changed]);
    }
    for length in 0..bytes.len() {
        refused(&[sign(&receipt(1)), bytes[..length].to_vec()]);
    }
}

#[test]
fn more_receipts_than_seats_could_give_are_not_looked_at() {
    let many = vec![sign(&receipt(1)); 19];
    let error = roster().confirm(&request(), &many).unwrap_err();
    assert!(matches!(error, Error::ReceiptCount { found: 19, maximum: 18 }));
}

#[test]
fn a_submission_says_what_it_does() {
    let record = VolumeRecord {
        app_id: [1; 32].into(),
        instance: [2; 16].into(),
        volume: VolumeName::new("data").unwrap(),
        number: 9,
        action: VolumeAction::Restore(Stamp {
            counter: 5,
            header_digest: [3; 32].into(),
            boot_id: [4; 16].into(),
            mac: [6; 32].into(),
        }),
    };
    let restore = Submission::Volume(Signed::sign(&key(1), &record));
    assert_eq!(restore.outcome().unwrap(), Taken::Restored { number: 9, counter: 5 });
    let request = SubmissionRequest { nonce: [1; 32].into(), submission: restore };
    assert_eq!(SubmissionRequest::from_bytes(&request.to_bytes()).unwrap(), request);
    // Without a nonce there is no request.
    assert!(SubmissionRequest::from_bytes(&casemate_canon::to_cbor(&request.submission)).is_err());
}
