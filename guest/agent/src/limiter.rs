//! May this be asked again already?
//!
//! A report takes the security processor tens of milliseconds, one at a time, and whoever reaches the
//! relay may ask for one. A bucket of tokens keeps the guest and the chip free for their own needs.

/// A bucket that fills with time.
#[derive(Clone, Debug)]
pub struct Limiter {
    capacity: u64,
    refill_ms: u64,
    tokens: u64,
    counted_until_ms: u64,
}

impl Limiter {
    /// Allows `capacity` at once and one more every `refill_ms` milliseconds; full at `now_ms`.
    pub fn new(capacity: u64, refill_ms: u64, now_ms: u64) -> Self {
        Limiter { capacity, refill_ms: refill_ms.max(1), tokens: capacity, counted_until_ms: now_ms }
    }

    /// Takes a token, if there is one at `now_ms`.
    pub fn allow(&mut self, now_ms: u64) -> bool {
        let refilled = now_ms.saturating_sub(self.counted_until_ms) / self.refill_ms;
        self.counted_until_ms = self.counted_until_ms.saturating_add(refilled.saturating_mul(self.refill_ms));
        self.tokens = self.tokens.saturating_add(refilled).min(self.capacity);
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let mut limiter = Limiter::new(3, 250, 1_000);
        assert_eq!(
            [0, 0, 0, 0, 249].map(|after| limiter.allow(1_000 + after)),
            [true, true, true, false, false]
        );
        assert_eq!([250, 251, 500].map(|after| limiter.allow(1_000 + after)), [true, false, true]);
    }

    #[test]
    fn a_long_silence_fills_it_once() {
        let mut limiter = Limiter::new(2, 250, 0);
        assert_eq!([u64::MAX, u64::MAX, u64::MAX].map(|at| limiter.allow(at)), [true, true, false]);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut limiter = Limiter::new(1, 250, 10_000);
        assert_eq!([10_000, 0, 0].map(|at| limiter.allow(at)), [true, false, false]);
    }
}
