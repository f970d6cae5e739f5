//! What does a guest make of the lease in a seat's answer?

use casemate_crypto::{seal::SealingKey, secret::Secret, sign::SigningKey};
use casemate_record::{KmsGenesis, Lease, LeaseFault, Roster, Seat, Signed};
use casemate_release::{
    guest::{Answer, GuestError, Invalid, RenewalAttempt, RenewalSetup, Renewed},
    message::{ChallengeReply, Renewal, SeatResponse, transcript},
};

const NOW_MS: u64 = 1_767_225_600_000;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

fn roster() -> Roster {
    let sealing = SealingKey::from_seed(Secret::from_slice(&[1; 32]).unwrap()).public();
    Roster {
        kms_id: KmsGenesis { operators: key(10).public(), salt: [5; 32].into() }.kms_id(),
        key_epoch: 1,
        number: 1,
        previous: None,
        seats: vec![Seat { index: 1, signing: key(21).public(), sealing }],
        threshold: 1,
        quorum: 1,
        faulty: 0,
    }
}

fn lease() -> Lease {
    Lease {
        kms_id: roster().kms_id,
        roster_digest: roster().digest(),
        key_epoch: 1,
        seat: 1,
        app_id: [1; 32].into(),
        workload_digest: [2; 32].into(),
        instance: [3; 16].into(),
        boot_id: [4; 16].into(),
        begins_ms: NOW_MS,
        ends_ms: NOW_MS + 600_000,
    }
}

/// What comes of a renewal in which the seat signs `lease` by `signer` and says that it is `NOW_MS`.
fn renew(lease: &Lease, signer: u8) -> Result<Renewed, GuestError> {
    let seat = key(21);
    let mut attempt = RenewalAttempt::new(RenewalSetup {
        roster: roster(),
        app_id: [1; 32].into(),
        workload_digest: [2; 32].into(),
        instance: [3; 16].into(),
        boot_id: [4; 16].into(),
    });
    let challenge = ChallengeReply { challenge: [7; 56].into(), roster_digest: roster().digest() };
    let reply = SeatResponse::Challenge(challenge).to_bytes();
    attempt.add_challenge(&seat.public(), &reply).unwrap();
    let request = attempt.requests(b"evidence").remove(0).1;
    let renewal = Renewal {
        transcript: transcript(&seat.public(), &request),
        time_ms: NOW_MS,
        lease: Signed::sign(&key(signer), lease),
    };
    let answer = SeatResponse::Renewed(Signed::sign(&seat, &renewal)).to_bytes();
    attempt.finish(&[(seat.public(), Answer::Bytes(answer))])
}

#[test]
fn a_renewal_brings_the_signed_lease() {
    let renewed = renew(&lease(), 21).unwrap();
    assert_eq!((renewed.time_ms, renewed.lease_ms), (NOW_MS, 600_000));
    assert_eq!(renewed.leases, [Signed::sign(&key(21), &lease())]);
}

#[test]
fn a_lease_for_another_boot_or_by_another_key_is_no_renewal() {
    let invalid = |outcome: Result<Renewed, GuestError>| match outcome {
        Err(GuestError::TooFewGrants { granted: 0, mut invalid, .. }) if invalid.len() == 1 => {
            invalid.remove(0).1
        }
        other => panic!("{other:?}"),
    };
    let other_boot = invalid(renew(&Lease { boot_id: [9; 16].into(), ..lease() }, 21));
    assert!(matches!(other_boot, Invalid::Lease(LeaseFault::OtherHolder { seat: 1, .. })), "{other_boot}");
    let other_roster = invalid(renew(&Lease { roster_digest: [9; 32].into(), ..lease() }, 21));
    assert!(matches!(other_roster, Invalid::Lease(LeaseFault::OtherRoster { .. })), "{other_roster}");
    let forged = invalid(renew(&lease(), 22));
    assert!(matches!(forged, Invalid::Lease(LeaseFault::Signature { seat: 1, .. })), "{forged}");
    // Kept from an earlier answer: it does not begin when this one was given.
    let earlier = invalid(renew(&Lease { begins_ms: NOW_MS - 1, ..lease() }, 21));
    assert!(matches!(earlier, Invalid::Shape { what: "the lease" }), "{earlier}");
}
