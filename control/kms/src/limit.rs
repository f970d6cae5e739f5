//! How much may strangers ask?

/// A token bucket: `burst` calls at once, then `rate` per second.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate_per_second: u64,
    burst_milli: u64,
    tokens_milli: u64,
    last_ms: u64,
}

impl Bucket {
    pub fn new(rate_per_second: u64, burst: u64, now_ms: u64) -> Self {
        let burst_milli = burst * 1000;
        Bucket { rate_per_second, burst_milli, tokens_milli: burst_milli, last_ms: now_ms }
    }

    /// Whether one more call may be served now.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.last_ms);
        self.last_ms = self.last_ms.max(now_ms);
        // One token per call is 1000 milli-tokens, so rate per second is rate milli-tokens per ms.
        let earned = passed.saturating_mul(self.rate_per_second);
        self.tokens_milli = self.tokens_milli.saturating_add(earned).min(self.burst_milli);
        if self.tokens_milli < 1000 {
            return false;
        }
        self.tokens_milli -= 1000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = Bucket::new(2, 3, 0);
        assert_eq!(
            [bucket.take(0), bucket.take(0), bucket.take(0), bucket.take(0)],
            [true, true, true, false]
        );
        assert!(!bucket.take(499));
        assert!(bucket.take(500));
        assert!(!bucket.take(501));
    }

    #[test]
    fn a_clock_that_goes_back_earns_nothing() {
        let mut bucket = Bucket::new(1, 1, 10_000);
        assert!(bucket.take(10_000));
        assert!(!bucket.take(0));
        assert!(!bucket.take(10_500));
    }
}
