//! A key service with three seats, of which two must sign.

use casemate_crypto::{seal::SealingKey, secret::Secret, sign::SigningKey};
use casemate_record::{KmsGenesis, Roster, Seat};

/// The key with this number; seat `n` signs with 20 + n.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).expect("a scalar of the curve")
}

/// The service's first roster.
pub fn roster(key_epoch: u32) -> Roster {
    let seat = |index: u8| Seat {
        index,
        signing: key(20 + index).public(),
        sealing: SealingKey::from_seed(Secret::from_slice(&[index; 32]).expect("32 bytes")).public(),
    };
    Roster {
        kms_id: KmsGenesis { operators: key(10).public(), salt: [5; 32].into() }.kms_id(),
        key_epoch,
        number: 1,
        previous: None,
        seats: (1..=3).map(seat).collect(),
        threshold: 2,
        quorum: 2,
        faulty: 0,
    }
}
