//! Predictable bytes for tests.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// Counts upwards; a stand-in for randomness where a test needs the same bytes twice.
#[derive(Default)]
pub(crate) struct Counter(u64);

impl From<u64> for Counter {
    fn from(start: u64) -> Self {
        Counter(start << 32)
    }
}

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 += 1;
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0 += 1;
        let block = casemate_crypto::hash::sha256(&self.0.to_be_bytes());
        for (byte, value) in bytes.iter_mut().zip(block.as_bytes().iter().cycle()) {
            *byte = *value;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}
