//! Whose evidence may make this seat ask an Endorser's service now?
//!
//! The service is asked at one pace for the whole seat (`casemate_endorse::Etiquette`), and evidence that names
//! ever new chips costs its sender nothing. So each app may use up a part of that pace only, and all apps
//! together that never had keys, whom it costs nothing either to be recorded, another part.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use casemate_record::AppId;

use crate::limit::Bucket;

/// Of one app: calls at once, and further ones a minute. The service is asked ten questions at once, and six a
/// minute.
const OF_AN_APP: (u64, u64) = (8, 3);
/// Of all apps together that were never granted keys.
const OF_NEWCOMERS: (u64, u64) = (5, 2);

/// Who asked lately.
#[derive(Debug)]
pub(crate) struct Lookups {
    started: Instant,
    shares: Mutex<Shares>,
}

#[derive(Debug)]
struct Shares {
    apps: HashMap<AppId, Bucket>,
    newcomers: Bucket,
}

impl Lookups {
    /// Nobody asked yet.
    pub fn new() -> Self {
        let shares = Shares { apps: HashMap::new(), newcomers: bucket(OF_NEWCOMERS, 0) };
        Lookups { started: Instant::now(), shares: Mutex::new(shares) }
    }

    /// Whether evidence for `app`, which is recorded, may make the seat ask.
    pub fn admit(&self, app: AppId, was_granted_keys: bool) -> bool {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).admit(app, was_granted_keys, now_ms)
    }
}

impl Shares {
    fn admit(&mut self, app: AppId, was_granted_keys: bool, now_ms: u64) -> bool {
        let own = self.apps.entry(app).or_insert_with(|| bucket(OF_AN_APP, now_ms));
        own.take(now_ms) && (was_granted_keys || self.newcomers.take(now_ms))
    }
}

fn bucket((burst, per_minute): (u64, u64), now_ms: u64) -> Bucket {
    Bucket::new(per_minute, 60_000, burst, now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(byte: u8) -> AppId {
        AppId::from([byte; 32])
    }

    fn served(lookups: &Lookups, app: AppId, was_granted_keys: bool, now_ms: u64) -> usize {
        let mut shares = lookups.shares.lock().unwrap();
        (0..100).filter(|_| shares.admit(app, was_granted_keys, now_ms)).count()
    }

    #[test]
    fn newcomers_share_a_part_and_take_nothing_of_an_app_that_had_keys() {
        let lookups = Lookups::new();
        assert_eq!(served(&lookups, app(1), false, 0), 5);
        assert_eq!(served(&lookups, app(2), false, 0), 0);
        assert_eq!(served(&lookups, app(3), true, 0), 8, "its own");
        assert_eq!(served(&lookups, app(4), true, 0), 8);
        assert_eq!(served(&lookups, app(5), false, 30_000), 1);
        assert_eq!(served(&lookups, app(3), true, 60_000), 3);
    }
}
