//! Is this request an answer to a challenge this process made just now, for the first time?
//!
//! A challenge is an expiry time, 16 random bytes and a MAC under a key that lives and dies with the
//! process; making one costs no memory. Only used ones are remembered, until they expire, and at most
//! so many: when memory is full, new answers are refused rather than old ones forgotten.

use std::collections::BTreeSet;

use casemate_crypto::{
    kdf::{self, MacTag},
    secret::Secret,
};
use rand_core::CryptoRng;

const TAG: &str = "casemate/1/challenge";

casemate_canon::byte_type! {
    /// A seat's challenge: 8 bytes of expiry in Unix milliseconds, big-endian, 16 random bytes, 32
    /// bytes of MAC.
    pub struct Challenge([u8; 56]);
}

/// Why a challenge is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// Not made by this process.
    #[error("the challenge was not made by this seat since it started; ask for a new one")]
    Foreign,
    /// Too late.
    #[error("the challenge expired {late_ms} ms ago; ask for a new one")]
    Expired {
        /// By how many milliseconds.
        late_ms: u64,
    },
    /// The second use.
    #[error("the challenge was used before; ask for a new one")]
    Used,
    /// Too many used ones to remember.
    #[error("the seat remembers as many used challenges as it can; try again in {wait_ms} ms")]
    Busy {
        /// When the oldest expires, in milliseconds from now.
        wait_ms: u64,
    },
}

/// Makes challenges and takes each once.
#[derive(Debug)]
pub struct ChallengeKeeper {
    key: Secret<32>,
    lifetime_ms: u64,
    capacity: usize,
    /// Expiry and random bytes, the first to expire first.
    used: BTreeSet<(u64, [u8; 16])>,
}

impl ChallengeKeeper {
    /// A keeper with a fresh key, whose challenges live `lifetime_ms`, and which remembers at most
    /// `capacity` used ones.
    pub fn new(rng: &mut impl CryptoRng, lifetime_ms: u64, capacity: usize) -> Self {
        ChallengeKeeper { key: Secret::generate(rng), lifetime_ms, capacity, used: BTreeSet::new() }
    }

    /// A new challenge.
    pub fn issue(&self, rng: &mut impl CryptoRng, now_ms: u64) -> Challenge {
        let expiry = now_ms.saturating_add(self.lifetime_ms);
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let mut bytes = [0; 56];
        bytes[..8].copy_from_slice(&expiry.to_be_bytes());
        bytes[8..24].copy_from_slice(&nonce);
        let mac = kdf::hmac_sha256(&self.key, TAG, &[&bytes[..24]]);
        bytes[24..].copy_from_slice(mac.as_bytes());
        Challenge::from(bytes)
    }

    /// Takes a challenge, for the first and last time, and tells when it was made, in Unix milliseconds.
    ///
    /// # Errors
    /// [`ChallengeError`], by check.
    pub fn redeem(&mut self, challenge: &Challenge, now_ms: u64) -> Result<u64, ChallengeError> {
        let bytes = challenge.as_bytes();
        let mac = MacTag::try_from(&bytes[24..]).expect("32 bytes are left");
        if !kdf::verify_hmac_sha256(&self.key, TAG, &[&bytes[..24]], &mac) {
            return Err(ChallengeError::Foreign);
        }
        let expiry = u64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"));
        if now_ms >= expiry {
            return Err(ChallengeError::Expired { late_ms: now_ms - expiry });
        }
        while self.used.first().is_some_and(|(expiry, _)| *expiry <= now_ms) {
            self.used.pop_first();
        }
        let name = (expiry, bytes[8..24].try_into().expect("16 bytes"));
        if self.used.contains(&name) {
            return Err(ChallengeError::Used);
        }
        if self.used.len() >= self.capacity {
            let oldest = self.used.first().map_or(now_ms, |(expiry, _)| *expiry);
            return Err(ChallengeError::Busy { wait_ms: oldest - now_ms });
        }
        self.used.insert(name);
        Ok(expiry.saturating_sub(self.lifetime_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Counter;

    fn keeper() -> ChallengeKeeper {
        ChallengeKeeper::new(&mut Counter::default(), 1000, 2)
    }

    #[test]
    fn a_challenge_is_taken_once() {
        let mut keeper = keeper();
        let challenge = keeper.issue(&mut Counter::default(), 5000);
        assert_eq!(keeper.redeem(&challenge, 5999), Ok(5000));
        assert_eq!(keeper.redeem(&challenge, 5999), Err(ChallengeError::Used));
        assert_eq!(keeper.redeem(&challenge, 6000), Err(ChallengeError::Expired { late_ms: 0 }));
    }

    #[test]
    fn any_changed_byte_makes_it_foreign() {
        let mut keeper = keeper();
        let challenge = keeper.issue(&mut Counter::default(), 5000);
        for place in 0..56 {
            let mut bytes = *challenge.as_bytes();
            bytes[place] ^= 1;
            assert_eq!(keeper.redeem(&Challenge::from(bytes), 5000), Err(ChallengeError::Foreign));
        }
    }

    #[test]
    fn another_process_does_not_know_it() {
        let challenge = keeper().issue(&mut Counter::default(), 5000);
        let mut other = ChallengeKeeper::new(&mut Counter::from(9), 1000, 2);
        assert_eq!(other.redeem(&challenge, 5000), Err(ChallengeError::Foreign));
    }

    #[test]
    fn a_full_memory_refuses_rather_than_forgets() {
        let mut keeper = keeper();
        let mut random = Counter::default();
        let all: Vec<_> = (0..3).map(|step| keeper.issue(&mut random, 5000 + step)).collect();
        assert_eq!(keeper.redeem(&all[0], 5500), Ok(5000));
        assert_eq!(keeper.redeem(&all[1], 5500), Ok(5001));
        assert_eq!(keeper.redeem(&all[2], 5500), Err(ChallengeError::Busy { wait_ms: 500 }));
        assert_eq!(keeper.redeem(&all[2], 6001), Ok(5002));
    }
}
