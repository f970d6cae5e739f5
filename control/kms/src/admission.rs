//! Whose call is served now, so that nobody's flood keeps another's calls out?
//!
//! Each app that is recorded here has a share of its own, which nobody else can use up; beyond it, apps draw
//! from one pool. Whoever is no recorded app is a stranger, and all strangers together have one bucket. Nothing
//! is remembered of strangers, so ever new names cost them more than the seat.

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
        Bucket::new(self.per_second, self.burst, 0)
    }
}

/// How much of one kind of call is served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of each recorded app, whatever others do.
    pub own: Rate,
    /// Of all recorded apps together, besides.
    pub pool: Rate,
    /// Of all others together.
    pub strangers: Rate,
    /// Calls in work.
    pub at_once: usize,
    /// Calls in work of one app, or of all strangers.
    pub at_once_each: usize,
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

    /// The bound of calls that belong to nobody.
    pub(crate) fn of_the_seat(rate: Rate) -> Self {
        TooMany { scope: Scope::Seat, limit: Limit::PerSecond(rate.per_second) }
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
    apps: HashMap<AppId, Share>,
    strangers: Share,
    pool: Bucket,
    at_once: usize,
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
    app: Option<AppId>,
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
        let own = self.bounds.own;
        self.doors().apps.entry(app).or_insert_with(|| Share::new(own));
    }

    /// Lets a call in. `app` is whose it is; an app that is not known is a stranger.
    ///
    /// # Errors
    /// [`TooMany`], by bound.
    pub fn enter(&self, app: Option<AppId>) -> Result<Permit<'_>, TooMany> {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // The lock is released before there is a permit, whose end takes it again.
        let app = self.doors().admit(app, &self.bounds, now_ms)?;
        Ok(Permit { admission: self, app })
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut doors = self.admission.doors();
        doors.at_once -= 1;
        match self.app.and_then(|app| doors.apps.get_mut(&app)) {
            Some(share) => share.at_once -= 1,
            None => doors.strangers.at_once -= 1,
        }
    }
}

impl Doors {
    /// Whose share the call counts for.
    fn admit(&mut self, app: Option<AppId>, bounds: &Bounds, now_ms: u64) -> Result<Option<AppId>, TooMany> {
        let known = app.and_then(|app| self.apps.get_mut(&app).map(|share| (app, share)));
        let (app, share, scope, rate) = match known {
            Some((app, share)) => (Some(app), share, Scope::App, bounds.own),
            None => (None, &mut self.strangers, Scope::Strangers, bounds.strangers),
        };
        if self.at_once >= bounds.at_once {
            return Err(TooMany { scope: Scope::Seat, limit: Limit::AtOnce(bounds.at_once) });
        }
        if share.at_once >= bounds.at_once_each {
            return Err(TooMany { scope, limit: Limit::AtOnce(bounds.at_once_each) });
        }
        let served = share.bucket.take(now_ms) || (app.is_some() && self.pool.take(now_ms));
        if !served {
            return Err(TooMany { scope, limit: Limit::PerSecond(rate.per_second) });
        }
        share.at_once += 1;
        self.at_once += 1;
        Ok(app)
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
    fn served(admission: &Admission, who: Option<AppId>) -> (usize, TooMany) {
        (0..)
            .find_map(|count| admission.enter(who).err().map(|why| (count, why)))
            .expect("every bucket has a bottom")
    }

    #[test]
    fn an_app_that_takes_all_there_is_leaves_others_their_share() {
        let admission = knowing(&[1, 2]);
        let (count, why) = served(&admission, Some(app(1)));
        assert_eq!((count, why.code()), (5, "app_busy"), "its own and the pool");
        assert_eq!(served(&admission, Some(app(2))).0, 2, "its own");
        assert_eq!(served(&admission, None).0, 2);
    }

    #[test]
    fn strangers_share_one_bucket_under_whatever_names() {
        let admission = knowing(&[1]);
        assert_eq!(served(&admission, Some(app(8))).0, 2);
        let (count, why) = served(&admission, Some(app(9)));
        assert_eq!((count, why.code()), (0, "strangers_busy"));
        assert_eq!(served(&admission, None).0, 0);
        assert_eq!(served(&admission, Some(app(1))).0, 5);
        assert_eq!(admission.doors().apps.len(), 1, "nothing is remembered of strangers");
    }

    #[test]
    fn calls_in_work_are_bounded_each_and_together_and_end_with_their_permits() {
        let admission = knowing(&[1, 2, 3]);
        let first: Vec<_> = (0..4).map(|_| admission.enter(Some(app(1))).unwrap()).collect();
        let why = admission.enter(Some(app(1))).unwrap_err();
        assert_eq!(
            why.to_string(),
            "found 4 calls of this app in work, the most at once; try again in a second"
        );
        let second: Vec<_> = (0..2).map(|_| admission.enter(Some(app(2))).unwrap()).collect();
        assert_eq!(admission.enter(Some(app(3))).unwrap_err().code(), "seat_busy");
        drop(first);
        drop(admission.enter(Some(app(3))).unwrap());
        drop(second);
        assert_eq!(admission.doors().at_once, 0);
        assert!(admission.doors().apps.values().all(|share| share.at_once == 0));
    }

    #[test]
    fn who_becomes_known_while_a_call_is_in_work_upsets_no_count() {
        let admission = knowing(&[]);
        let stranger = admission.enter(Some(app(1))).unwrap();
        admission.know(app(1));
        drop(stranger);
        let doors = admission.doors();
        assert_eq!((doors.strangers.at_once, doors.at_once), (0, 0));
    }

    #[test]
    fn a_refusal_says_which_bound_it_was() {
        let admission = knowing(&[1]);
        let why = served(&admission, Some(app(1))).1.to_string();
        assert_eq!(
            why,
            "found more calls of this app than the 1 a second that are served; try again in a second"
        );
        let why = served(&admission, None).1.to_string();
        assert!(why.contains("of callers that are no app recorded here"), "{why}");
    }
}
