//! What happened lately, by name, so that no app's calls make the seat forget another's?

use std::{collections::HashMap, hash::Hash, sync::Mutex};

use casemate_record::AppId;

/// Most things remembered, and of one app.
const MOST: usize = 4096;
const MOST_OF_AN_APP: usize = 512;

/// Things of apps, each remembered for a while, in memory only.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    kept_ms: u64,
    entries: Mutex<HashMap<K, Entry<V>>>,
}

#[derive(Debug)]
struct Entry<V> {
    expiry_ms: u64,
    app: AppId,
    value: V,
}

impl<K: Copy + Eq + Hash, V: Clone> Recent<K, V> {
    /// Nothing yet; each is remembered for `kept_ms` milliseconds.
    pub fn new(kept_ms: u64) -> Self {
        Recent { kept_ms, entries: Mutex::new(HashMap::new()) }
    }

    /// Remembers `value` from now on. An app that has too many loses its own oldest first.
    pub fn remember(&self, name: K, app: AppId, value: V, now_ms: u64) {
        let mut entries = self.entries.lock().expect("no panic while held");
        entries.retain(|_, entry| entry.expiry_ms > now_ms);
        if !entries.contains_key(&name) {
            let only_own = entries.values().filter(|entry| entry.app == app).count() >= MOST_OF_AN_APP;
            if only_own || entries.len() >= MOST {
                let candidates = entries.iter().filter(|(_, entry)| !only_own || entry.app == app);
                let oldest = candidates.min_by_key(|(_, entry)| entry.expiry_ms).map(|(name, _)| *name);
                oldest.and_then(|oldest| entries.remove(&oldest));
            }
        }
        let expiry_ms = now_ms.saturating_add(self.kept_ms);
        entries.insert(name, Entry { expiry_ms, app, value });
    }

    /// What is remembered under the name.
    pub fn find(&self, name: &K, now_ms: u64) -> Option<V> {
        let entries = self.entries.lock().expect("no panic while held");
        let entry = entries.get(name)?;
        (entry.expiry_ms > now_ms).then(|| entry.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_forgotten_in_time_and_an_app_that_has_too_many_forgets_its_own() {
        let (busy, quiet) = (AppId::from([1; 32]), AppId::from([2; 32]));
        let recent = Recent::new(1_000_000);
        recent.remember(usize::MAX, quiet, "quiet", 0);
        for name in 0..=MOST_OF_AN_APP {
            recent.remember(name, busy, "busy", 1 + name as u64);
        }
        assert_eq!(recent.find(&0, 1000), None, "its oldest");
        assert_eq!(recent.find(&1, 1000), Some("busy"));
        assert_eq!(recent.find(&usize::MAX, 1000), Some("quiet"));
        assert_eq!(recent.find(&usize::MAX, 1_000_000), None, "in time");
        // The same again takes nobody's place, and is remembered longer.
        recent.remember(1, busy, "again", 1000);
        assert_eq!(recent.find(&2, 1000), Some("busy"));
        assert_eq!(recent.find(&1, 1_000_100), Some("again"));
    }
}
