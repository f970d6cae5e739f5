//! Whose call is served now, so that nobody's flood keeps another's calls out?
//!
//! Each app that is recorded here has two shares of its own, which no other app can use up: one for calls that
//! show something only the app's owner or guests have, one for calls that merely name it, as anybody can. Beyond
//! them, apps draw from one pool. Whoever is no recorded app is a stranger, and all strangers together have one
//! bucket. Nothing is remembered of strangers, so ever new names cost them more than the seat.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use casemate_record::AppId;

use crate::limit::Bucket;

/// So many calls per second, and so many at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub per_second: u64,
    pub burst: u64,
}

impl Rate {
    pub fn bucket(self) -> Bucket {
        Bucket::new(self.per_second, 1000, self.burst, 0)
    }

    /// The most calls that are served in any `ms` milliseconds.
    fn most_in(self, ms: u64) -> u64 {
        self.burst.saturating_add(ms.saturating_mul(self.per_second) / 1000).saturating_add(1)
    }
}

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nobody's in particular.
    Anyone,
    /// It names the app, and shows nothing yet.
    Naming(AppId),
    /// It shows what only the app's owner or guests have.
    Of(AppId),
}

/// How much of one kind of call is served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of each recorded app, whatever others do; and as much again of those that name it.
    pub own: Rate,
    /// Of all recorded apps together, besides.
    pub pool: Rate,
    /// Of all others together.
    pub strangers: Rate,
    /// Calls in work.
    pub at_once: usize,
    /// Calls in work of one app, of those that name it, or of all strangers.
    pub at_once_each: usize,
    /// Calls in work besides, of apps' own only.
    pub at_once_reserved: usize,
}

impl Bounds {
    /// The most calls that are served in any `ms` milliseconds when `apps` are recorded.
    pub fn most_in(&self, ms: u64, apps: u64) -> u64 {
        let each = self.own.most_in(ms).saturating_mul(2).saturating_mul(apps);
        each.saturating_add(self.pool.most_in(ms)).saturating_add(self.strangers.most_in(ms))
    }
}

/// Which bound turned a call away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    scope: Scope,
    limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    App,
    Strangers,
    Seat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    PerSecond(u64),
    AtOnce(usize),
}

impl TooMany {
    /// The stable name of the bound.
    pub fn code(&self) -> &'static str {
        match self.scope {
            Scope::App => "app_busy",
            Scope::Strangers => "strangers_busy",
            Scope::Seat => "seat_busy",
        }
    }
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.scope {
            Scope::App => "of this app",
            Scope::Strangers => "of callers that are no app recorded here",
            Scope::Seat => "of all callers together",
        };
        match self.limit {
            Limit::PerSecond(rate) => {
                write!(f, "found more calls {whose} than the {rate} a second that are served")
            }
            Limit::AtOnce(most) => write!(f, "found {most} calls {whose} in work, the most at once"),
        }?;
        f.write_str("; try again in a second")
    }
}

impl std::error::Error for TooMany {}

/// The doorkeeper of one kind of call.
#[derive(Debug)]
pub(crate) struct Admission {
    bounds: Bounds,
    started: Instant,
    doors: Mutex<Doors>,
}

#[derive(Debug)]
struct Doors {
    apps: HashMap<AppId, Shares>,
    strangers: Share,
    pool: Bucket,
    at_once: usize,
}

/// Of one app.
#[derive(Debug)]
struct Shares {
    own: Share,
    naming: Share,
}

#[derive(Debug)]
struct Share {
    bucket: Bucket,
    at_once: usize,
}

impl Share {
    fn new(rate: Rate) -> Self {
        Share { bucket: rate.bucket(), at_once: 0 }
    }
}

/// A call in work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    admission: &'a Admission,
    caller: Caller,
}

impl Admission {
    /// Nobody is known yet.
    pub fn new(bounds: Bounds) -> Self {
        let doors = Doors {
            apps: HashMap::new(),
            strangers: Share::new(bounds.strangers),
            pool: bounds.pool.bucket(),
            at_once: 0,
        };
        Admission { bounds, started: Instant::now(), doors: Mutex::new(doors) }
    }

    /// Gives an app that is recorded now a share of its own.
    pub fn know(&self, app: AppId) {
        let share = || Share::new(self.bounds.own);
        self.doors().apps.entry(app).or_insert_with(|| Shares { own: share(), naming: share() });
    }

    /// Lets a call in. Whoever is of an app that is not known is a stranger.
    ///
    /// # Errors
    /// [`TooMany`], by bound.
    pub fn enter(&self, caller: Caller) -> Result<Permit<'_>, TooMany> {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // The lock is released before there is a permit, whose end takes it again.
        let caller = self.doors().admit(caller, &self.bounds, now_ms)?;
        Ok(Permit { admission: self, caller })
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut doors = self.admission.doors();
        doors.at_once -= 1;
        doors.share(self.caller).1.at_once -= 1;
    }
}

impl Doors {
    /// As whom the caller is served, and from which share.
    fn share(&mut self, caller: Caller) -> (Caller, &mut Share) {
        let shares = match caller {
            Caller::Anyone => None,
            Caller::Naming(app) | Caller::Of(app) => self.apps.get_mut(&app),
        };
        match (caller, shares) {
            (Caller::Of(_), Some(shares)) => (caller, &mut shares.own),
            (Caller::Naming(_), Some(shares)) => (caller, &mut shares.naming),
            _ => (Caller::Anyone, &mut self.strangers),
        }
    }

    /// As whom the call is served.
    fn admit(&mut self, caller: Caller, bounds: &Bounds, now_ms: u64) -> Result<Caller, TooMany> {
        let all_at_once = self.at_once;
        let (caller, share) = self.share(caller);
        let (scope, rate, most) = match caller {
            Caller::Anyone => (Scope::Strangers, bounds.strangers, bounds.at_once),
            Caller::Naming(_) => (Scope::App, bounds.own, bounds.at_once),
            Caller::Of(_) => (Scope::App, bounds.own, bounds.at_once + bounds.at_once_reserved),
        };
        if all_at_once >= most {
            return Err(TooMany { scope: Scope::Seat, limit: Limit::AtOnce(most) });
        }
        if share.at_once >= bounds.at_once_each {
            return Err(TooMany { scope, limit: Limit::AtOnce(bounds.at_once_each) });
        }
        let served = share.bucket.take(now_ms) || (caller != Caller::Anyone && self.pool.take(now_ms));
        if !served {
            return Err(TooMany { scope, limit: Limit::PerSecond(rate.per_second) });
        }
        self.share(caller).1.at_once += 1;
        self.at_once += 1;
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        own: Rate { per_second: 1, burst: 2 },
        pool: Rate { per_second: 1, burst: 3 },
        strangers: Rate { per_second: 1, burst: 2 },
        at_once: 6,
        at_once_each: 4,
        at_once_reserved: 1,
    };

    fn app(byte: u8) -> AppId {
        AppId::from([byte; 32])
    }

    fn knowing(apps: &[u8]) -> Admission {
        let admission = Admission::new(BOUNDS);
        apps.iter().for_each(|byte| admission.know(app(*byte)));
        admission
    }

    /// How many calls are served, each done before the next, and why the next is not.
    fn served(admission: &Admission, who: Caller) -> (usize, TooMany) {
        (0..)
            .find_map(|count| admission.enter(who).err().map(|why| (count, why)))
            .expect("every bucket has a bottom")
    }

    #[test]
    fn an_app_that_takes_all_there_is_leaves_others_their_share() {
        let admission = knowing(&[1, 2]);
        let (count, why) = served(&admission, Caller::Of(app(1)));
        assert_eq!((count, why.code()), (5, "app_busy"), "its own and the pool");
        assert_eq!(served(&admission, Caller::Of(app(2))).0, 2, "its own");
        assert_eq!(served(&admission, Caller::Anyone).0, 2);
    }

    #[test]
    fn who_names_an_app_takes_nothing_of_its_own() {
        let admission = knowing(&[1]);
        let (count, why) = served(&admission, Caller::Naming(app(1)));
        assert_eq!((count, why.code()), (5, "app_busy"), "what is for such calls, and the pool");
        assert_eq!(served(&admission, Caller::Of(app(1))).0, 2);
    }

    #[test]
    fn no_flood_of_everybody_is_served_more_often_than_the_bounds_say() {
        const APPS: [u8; 3] = [1, 2, 3];
        let mut doors = Admission::new(BOUNDS).doors.into_inner().unwrap();
        for byte in APPS {
            let share = || Share::new(BOUNDS.own);
            doors.apps.insert(app(byte), Shares { own: share(), naming: share() });
        }
        let callers: Vec<_> = APPS
            .iter()
            .flat_map(|byte| [Caller::Of(app(*byte)), Caller::Naming(app(*byte))])
            .chain([Caller::Anyone])
            .collect();
        let mut served = 0;
        for now_ms in (0..5_000).step_by(10) {
            for caller in &callers {
                if let Ok(caller) = doors.admit(*caller, &BOUNDS, now_ms) {
                    served += 1;
                    doors.at_once -= 1;
                    doors.share(caller).1.at_once -= 1;
                }
            }
        }
        let most = BOUNDS.most_in(5_000, APPS.len() as u64);
        // For each of the eight buckets one call more is reckoned than it can have, and the last is not yet earned.
        assert!((most - 2 * 8..=most).contains(&served), "{served} of at most {most}");
    }

    #[test]
    fn strangers_share_one_bucket_under_whatever_names() {
        let admission = knowing(&[1]);
        assert_eq!(served(&admission, Caller::Of(app(8))).0, 2);
        let (count, why) = served(&admission, Caller::Of(app(9)));
        assert_eq!((count, why.code()), (0, "strangers_busy"));
        assert_eq!(served(&admission, Caller::Anyone).0, 0);
        assert_eq!(served(&admission, Caller::Of(app(1))).0, 5);
        assert_eq!(admission.doors().apps.len(), 1, "nothing is remembered of strangers");
    }

    #[test]
    fn calls_in_work_are_bounded_each_and_together_and_end_with_their_permits() {
        let admission = knowing(&[1, 2, 3]);
        let first: Vec<_> = (0..4).map(|_| admission.enter(Caller::Naming(app(1))).unwrap()).collect();
        let why = admission.enter(Caller::Naming(app(1))).unwrap_err();
        assert_eq!(
            why.to_string(),
            "found 4 calls of this app in work, the most at once; try again in a second"
        );
        let second: Vec<_> = (0..2).map(|_| admission.enter(Caller::Naming(app(2))).unwrap()).collect();
        assert_eq!(admission.enter(Caller::Naming(app(3))).unwrap_err().code(), "seat_busy");
        let reserved = admission.enter(Caller::Of(app(3))).unwrap();
        assert_eq!(admission.enter(Caller::Of(app(3))).unwrap_err().code(), "seat_busy");
        drop(reserved);
        drop(first);
        drop(admission.enter(Caller::Naming(app(3))).unwrap());
        drop(second);
        assert_eq!(admission.doors().at_once, 0);
        assert!(
            admission.doors().apps.values().all(|share| share.naming.at_once == 0 && share.own.at_once == 0)
        );
    }

    #[test]
    fn who_becomes_known_while_a_call_is_in_work_upsets_no_count() {
        let admission = knowing(&[]);
        let stranger = admission.enter(Caller::Of(app(1))).unwrap();
        admission.know(app(1));
        drop(stranger);
        let doors = admission.doors();
        assert_eq!((doors.strangers.at_once, doors.at_once), (0, 0));
    }

    #[test]
    fn a_refusal_says_which_bound_it_was() {
        let admission = knowing(&[1]);
        let why = served(&admission, Caller::Of(app(1))).1.to_string();
        assert_eq!(
            why,
            "found more calls of this app than the 1 a second that are served; try again in a second"
        );
        let why = served(&admission, Caller::Anyone).1.to_string();
        assert!(why.contains("of callers that are no app recorded here"), "{why}");
    }
}
