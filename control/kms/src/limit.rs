//! How much may be asked, and how much may be recorded?

/// How much owners may have recorded at a seat. What is recorded stays, also where a limit is lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Apps. Anyone can make one: it costs a key.
    pub apps: u64,
    /// Instances of one app.
    pub instances_per_app: u64,
    /// Volumes of one app, of all its instances, erased ones included.
    pub volumes_per_app: u64,
    /// Bytes of the database above which owners' records no longer make it larger; new apps from half of it,
    /// so that those recorded can go on.
    pub database_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { apps: 1024, instances_per_app: 1024, volumes_per_app: 1024, database_bytes: 1 << 30 }
    }
}

/// A bound of what may be recorded is reached; nothing that is recorded was touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// No app more.
    #[error(
        "{found} apps are recorded at this seat, of at most {limit}; its operator can raise `--apps`, or use \
         another seat"
    )]
    Apps {
        /// The most.
        limit: u64,
        /// Recorded.
        found: u64,
    },
    /// No instance more of this app.
    #[error(
        "{found} instances of this app are recorded at this seat, of at most {limit}; go on with one of them"
    )]
    Instances {
        /// The most.
        limit: u64,
        /// Recorded.
        found: u64,
    },
    /// No volume more of this app.
    #[error("{found} volumes of this app are recorded at this seat, of at most {limit}; go on with those")]
    Volumes {
        /// The most.
        limit: u64,
        /// Recorded.
        found: u64,
    },
    /// The database is as large as it may become.
    #[error(
        "the seat's database has {found} bytes, of at most {limit} for this kind of record; its operator can \
         raise `--database-mib`"
    )]
    Database {
        /// The most, in bytes.
        limit: u64,
        /// Its size, in bytes.
        found: u64,
    },
}

impl Full {
    /// The stable name of the bound.
    pub fn code(&self) -> &'static str {
        match self {
            Full::Apps { .. } => "apps_full",
            Full::Instances { .. } => "instances_full",
            Full::Volumes { .. } => "volumes_full",
            Full::Database { .. } => "database_full",
        }
    }
}

/// A token bucket: `burst` calls at once, then `calls` in each `period_ms` milliseconds.
#[derive(Debug)]
pub(crate) struct Bucket {
    calls: u64,
    period_ms: u64,
    /// Tokens are counted in parts: one call costs `period_ms` of them, one millisecond earns `calls`. So
    /// nothing is rounded, however often is asked.
    parts: u64,
    most: u64,
    last_ms: u64,
}

impl Bucket {
    pub fn new(calls: u64, period_ms: u64, burst: u64, now_ms: u64) -> Self {
        let most = burst * period_ms;
        Bucket { calls, period_ms, parts: most, most, last_ms: now_ms }
    }

    /// Whether one more call may be served now.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.last_ms).saturating_mul(self.calls);
        self.last_ms = self.last_ms.max(now_ms);
        self.parts = self.parts.saturating_add(earned).min(self.most);
        if self.parts < self.period_ms {
            return false;
        }
        self.parts -= self.period_ms;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = Bucket::new(2, 1000, 3, 0);
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
        let mut bucket = Bucket::new(1, 1000, 1, 10_000);
        assert!(bucket.take(10_000));
        assert!(!bucket.take(0));
        assert!(!bucket.take(10_500));
    }

    #[test]
    fn who_asks_every_millisecond_earns_no_less() {
        let mut bucket = Bucket::new(3, 60_000, 1, 0);
        assert_eq!((0..60_000).filter(|now_ms| bucket.take(*now_ms)).count(), 3);
    }
}
