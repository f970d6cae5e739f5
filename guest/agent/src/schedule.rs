//! Which service is started, checked, restarted or stopped next?
//!
//! A pure state machine: events and the time in, actions out. Rules are those of the Compose
//! Specification for `depends_on`, `restart`, `healthcheck` and `stop_grace_period`; where Casemate
//! differs (health is also asked before the first interval has passed) a comment says so.

use casemate_api::agent::{Health, ServiceState};
use casemate_workload::compose::{Condition, Healthcheck, Restart};

/// The services of a workload, and what each is doing.
#[derive(Debug)]
pub struct Schedule {
    slots: Vec<Slot>,
    stopping: bool,
    at_once: bool,
    announced_ready: bool,
    ended: bool,
}

/// What the compose file says about one service's life.
#[derive(Clone, Debug)]
pub struct Rules {
    /// When to start it again.
    pub restart: Restart,
    /// How often to ask whether it works.
    pub healthcheck: Option<Healthcheck>,
    /// What must be so before it starts, by index of the other service.
    pub depends_on: Vec<(usize, Condition)>,
    /// Milliseconds between the stop signal and the kill.
    pub stop_grace_period_ms: u64,
}

/// Something happened to the service of this index, in its run of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its process runs.
    Started {
        /// Index of the service.
        service: usize,
    },
    /// Its process ended, or could not be made (then with code 125 to 127, as `crun` reports it).
    Exited {
        /// Index of the service.
        service: usize,
        /// Exit code; 128 + signal where a signal ended it.
        code: u8,
    },
    /// A health check ended.
    Checked {
        /// Index of the service.
        service: usize,
        /// Run that was checked.
        run: u32,
        /// Whether it passed.
        passed: bool,
    },
    /// Stop everything, in order.
    Stop,
    /// Kill everything: it must not run a moment longer.
    Kill,
}

/// What to do to the service of this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make its container and run it.
    Start(usize),
    /// Run its health check, and say which run it was for.
    Check {
        /// Index of the service.
        service: usize,
        /// Its run.
        run: u32,
    },
    /// Send its stop signal.
    AskToStop(usize),
    /// Kill it.
    Kill(usize),
    /// Tell the world that it works.
    AnnounceHealthy(usize),
    /// Tell the world that everything works.
    AnnounceReady,
    /// Give up: it ended for good before everything worked.
    GiveUp {
        /// Index of the service.
        service: usize,
        /// Its last exit code.
        code: u8,
    },
    /// Nothing runs any more, and nothing will.
    Ended,
}

impl Schedule {
    /// Services in the compose file's order; `depends_on` has no cycles.
    pub fn new(rules: Vec<Rules>) -> Self {
        let slots = rules.into_iter().map(Slot::new).collect();
        Schedule { slots, stopping: false, at_once: false, announced_ready: false, ended: false }
    }

    /// Takes note of `event` at `now_ms` and says what to do.
    pub fn handle(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        match event {
            Event::Started { service } => self.slots[service].started(now_ms),
            Event::Exited { service, code } => self.slots[service].exited(code, now_ms, self.stopping),
            Event::Checked { service, run, passed } => self.slots[service].checked(run, passed, now_ms),
            Event::Stop => self.stopping = true,
            Event::Kill => {
                self.stopping = true;
                self.at_once = true;
            }
        }
        self.advance(now_ms)
    }

    /// Says what to do at `now_ms` though nothing happened.
    pub fn advance(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.stopping {
            self.stop_in_order(now_ms, &mut actions);
        } else {
            self.start_in_order(now_ms, &mut actions);
            self.check_health(now_ms, &mut actions);
            self.announce(&mut actions);
        }
        if !self.ended && self.slots.iter().all(|slot| matches!(slot.state, State::Exited)) {
            self.ended = true;
            actions.push(Action::Ended);
        }
        actions
    }

    /// When [`Schedule::advance`] must be called next, in the clock of `now_ms`.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.slots.iter().filter_map(|slot| slot.deadline_ms(self.stopping)).min()
    }

    /// Whether everything has worked once.
    pub fn was_ready(&self) -> bool {
        self.announced_ready
    }

    /// State, health, last exit code and number of restarts of a service.
    pub fn status(&self, service: usize) -> (ServiceState, Option<Health>, Option<u8>, u32) {
        let slot = &self.slots[service];
        let state = match slot.state {
            State::Waiting => ServiceState::Waiting,
            State::Starting => ServiceState::Starting,
            State::Running { .. } => ServiceState::Running,
            State::BackingOff { .. } => ServiceState::BackingOff,
            State::Stopping { .. } => ServiceState::Stopping,
            State::Exited => ServiceState::Exited,
        };
        let health = slot.rules.healthcheck.as_ref().map(|_| slot.health);
        (state, health, slot.last_code, slot.runs.saturating_sub(1))
    }

    fn start_in_order(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        for index in 0..self.slots.len() {
            let begin = match self.slots[index].state {
                State::Waiting => self.dependencies_met(index),
                State::BackingOff { until_ms } => until_ms <= now_ms,
                _ => false,
            };
            if begin {
                self.slots[index].begin();
                actions.push(Action::Start(index));
            }
        }
    }

    fn dependencies_met(&self, index: usize) -> bool {
        self.slots[index]
            .rules
            .depends_on
            .iter()
            .all(|&(other, condition)| self.slots[other].meets(condition))
    }

    fn check_health(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        for (service, slot) in self.slots.iter_mut().enumerate() {
            let run = slot.runs;
            if let State::Running { next_check_ms: next @ Some(_), .. } = &mut slot.state
                && next.is_some_and(|at| at <= now_ms)
            {
                *next = None; // until the check's result is in
                actions.push(Action::Check { service, run });
            }
        }
    }

    fn announce(&mut self, actions: &mut Vec<Action>) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.works() && !slot.announced {
                slot.announced = true;
                actions.push(Action::AnnounceHealthy(index));
            }
        }
        if self.announced_ready {
            return;
        }
        if let Some(service) = self.hopeless() {
            self.stopping = true;
            let code = self.slots[service].last_code.unwrap_or(0);
            actions.push(Action::GiveUp { service, code });
            return;
        }
        if self.slots.iter().all(|slot| slot.works() || slot.completed()) {
            self.announced_ready = true;
            actions.push(Action::AnnounceReady);
        }
    }

    /// A service that ended for good with a failure, or without ever being what others wait for.
    fn hopeless(&self) -> Option<usize> {
        let unmet = |other: usize| {
            self.slots.iter().any(|slot| {
                matches!(slot.state, State::Waiting)
                    && slot
                        .rules
                        .depends_on
                        .iter()
                        .any(|&(on, condition)| on == other && !self.slots[other].meets(condition))
            })
        };
        (0..self.slots.len()).find(|&index| {
            let slot = &self.slots[index];
            matches!(slot.state, State::Exited) && (slot.last_code != Some(0) || unmet(index))
        })
    }

    /// A service is asked to stop once nothing that depends on it runs.
    fn stop_in_order(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        for slot in &mut self.slots {
            if matches!(slot.state, State::Waiting | State::BackingOff { .. }) {
                slot.state = State::Exited;
            }
        }
        for index in 0..self.slots.len() {
            let needed = self.slots.iter().any(|slot| {
                !matches!(slot.state, State::Exited)
                    && slot.rules.depends_on.iter().any(|&(on, _)| on == index)
            });
            let slot = &mut self.slots[index];
            match slot.state {
                State::Running { .. } | State::Stopping { kill_at_ms: Some(_) } if self.at_once => {
                    slot.state = State::Stopping { kill_at_ms: None };
                    actions.push(Action::Kill(index));
                }
                State::Running { .. } if !needed => {
                    let kill_at_ms = Some(now_ms.saturating_add(slot.rules.stop_grace_period_ms));
                    slot.state = State::Stopping { kill_at_ms };
                    actions.push(Action::AskToStop(index));
                }
                State::Stopping { kill_at_ms: Some(at) } if at <= now_ms => {
                    slot.state = State::Stopping { kill_at_ms: None };
                    actions.push(Action::Kill(index));
                }
                _ => {}
            }
        }
    }
}

/// First pause before a service is started again; each further one is twice as long.
const FIRST_BACKOFF_MS: u64 = 100;
/// Longest pause before a service is started again.
const LONGEST_BACKOFF_MS: u64 = 60_000;
/// A run of this length makes the next pause short again (Docker: 10 seconds).
const STEADY_RUN_MS: u64 = 10_000;
/// When health is asked for the first time after a start.
const FIRST_CHECK_MS: u64 = 500;

#[derive(Debug)]
struct Slot {
    rules: Rules,
    state: State,
    health: Health,
    announced: bool,
    runs: u32,
    failed_checks: u32,
    early_gap_ms: u64,
    backoff_ms: u64,
    last_code: Option<u8>,
}

#[derive(Debug)]
enum State {
    Waiting,
    Starting,
    Running { since_ms: u64, next_check_ms: Option<u64> },
    BackingOff { until_ms: u64 },
    Stopping { kill_at_ms: Option<u64> },
    Exited,
}

impl Slot {
    fn new(rules: Rules) -> Self {
        Slot {
            rules,
            state: State::Waiting,
            health: Health::Starting,
            announced: false,
            runs: 0,
            failed_checks: 0,
            early_gap_ms: FIRST_CHECK_MS,
            backoff_ms: FIRST_BACKOFF_MS,
            last_code: None,
        }
    }

    fn begin(&mut self) {
        self.state = State::Starting;
        self.health = Health::Starting;
        self.failed_checks = 0;
        self.early_gap_ms = FIRST_CHECK_MS;
        self.runs = self.runs.saturating_add(1);
    }

    fn started(&mut self, now_ms: u64) {
        if matches!(self.state, State::Starting) {
            let next_check_ms =
                self.rules.healthcheck.as_ref().map(|_| now_ms.saturating_add(FIRST_CHECK_MS));
            self.state = State::Running { since_ms: now_ms, next_check_ms };
        }
    }

    fn exited(&mut self, code: u8, now_ms: u64, stopping: bool) {
        if matches!(self.state, State::Exited) {
            return;
        }
        self.last_code = Some(code);
        if stopping || matches!(self.state, State::Stopping { .. }) || !self.restarts_after(code) {
            self.state = State::Exited;
            return;
        }
        if let State::Running { since_ms, .. } = self.state
            && now_ms.saturating_sub(since_ms) >= STEADY_RUN_MS
        {
            self.backoff_ms = FIRST_BACKOFF_MS;
        }
        self.state = State::BackingOff { until_ms: now_ms.saturating_add(self.backoff_ms) };
        self.backoff_ms = (self.backoff_ms * 2).min(LONGEST_BACKOFF_MS);
    }

    fn restarts_after(&self, code: u8) -> bool {
        match self.rules.restart {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure(most) => code != 0 && most.is_none_or(|most| self.runs <= most),
        }
    }

    fn checked(&mut self, run: u32, passed: bool, now_ms: u64) {
        let Some(check) = &self.rules.healthcheck else { return };
        let State::Running { since_ms, next_check_ms } = &mut self.state else { return };
        if run != self.runs {
            return;
        }
        // Docker waits a whole interval before the first check. Asking earlier and more often lets a
        // start be noticed at once; such early failures do not count, as there they never happen.
        let uncounted_until_ms = since_ms.saturating_add(check.start_period_ms.max(check.interval_ms));
        let early = self.health == Health::Starting && now_ms < uncounted_until_ms;
        if passed {
            self.failed_checks = 0;
            self.health = Health::Healthy;
        } else if !early {
            self.failed_checks = self.failed_checks.saturating_add(1);
            if self.failed_checks >= check.retries.max(1) {
                self.health = Health::Unhealthy;
            }
        }
        let gap_ms = if early && !passed {
            self.early_gap_ms = (self.early_gap_ms * 2).min(check.start_interval_ms.max(FIRST_CHECK_MS));
            self.early_gap_ms.min(check.interval_ms)
        } else {
            check.interval_ms
        };
        *next_check_ms = Some(now_ms.saturating_add(gap_ms.max(SHORTEST_GAP_MS)));
    }

    fn meets(&self, condition: Condition) -> bool {
        match condition {
            Condition::Started => self.runs > 0 && !matches!(self.state, State::Starting),
            Condition::Healthy => self.works(),
            Condition::CompletedSuccessfully => self.completed(),
        }
    }

    /// It runs, and its health check passes if it has one.
    fn works(&self) -> bool {
        matches!(self.state, State::Running { .. })
            && (self.rules.healthcheck.is_none() || self.health == Health::Healthy)
    }

    fn completed(&self) -> bool {
        matches!(self.state, State::Exited) && self.last_code == Some(0)
    }

    fn deadline_ms(&self, stopping: bool) -> Option<u64> {
        match self.state {
            State::Running { next_check_ms, .. } if !stopping => next_check_ms,
            State::BackingOff { until_ms } => Some(until_ms),
            State::Stopping { kill_at_ms } => kill_at_ms,
            _ => None,
        }
    }
}

/// Shortest time between two checks, whatever the compose file says.
const SHORTEST_GAP_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use casemate_workload::compose::HealthTest;

    use super::*;

    fn rules() -> Rules {
        Rules { restart: Restart::No, healthcheck: None, depends_on: vec![], stop_grace_period_ms: 10_000 }
    }

    fn check() -> Healthcheck {
        Healthcheck {
            test: HealthTest::Shell("true".into()),
            interval_ms: 30_000,
            timeout_ms: 30_000,
            start_period_ms: 0,
            start_interval_ms: 5_000,
            retries: 3,
        }
    }

    fn two(condition: Condition, database: Rules) -> Schedule {
        Schedule::new(vec![database, Rules { depends_on: vec![(0, condition)], ..rules() }])
    }

    #[test]
    fn independent_services_start_at_once() {
        let mut schedule = Schedule::new(vec![rules(), rules()]);
        assert_eq!(schedule.advance(0), [Action::Start(0), Action::Start(1)]);
        assert_eq!(schedule.advance(0), []);
    }

    #[test]
    fn a_dependent_waits_until_the_other_runs() {
        let mut schedule = two(Condition::Started, rules());
        assert_eq!(schedule.advance(0), [Action::Start(0)]);
        // Advance before announcing: the dependent starts in the same step.
        assert_eq!(
            schedule.handle(Event::Started { service: 0 }, 5),
            [Action::Start(1), Action::AnnounceHealthy(0)]
        );
        assert_eq!(
            schedule.handle(Event::Started { service: 1 }, 9),
            [Action::AnnounceHealthy(1), Action::AnnounceReady]
        );
    }

    #[test]
    fn a_dependent_waits_until_the_other_is_healthy() {
        let mut schedule = two(Condition::Healthy, Rules { healthcheck: Some(check()), ..rules() });
        schedule.advance(0);
        assert_eq!(schedule.handle(Event::Started { service: 0 }, 1_000), []);
        assert_eq!(schedule.next_deadline_ms(), Some(1_500));
        assert_eq!(schedule.advance(1_500), [Action::Check { service: 0, run: 1 }]);
        assert_eq!(schedule.next_deadline_ms(), None);
        assert_eq!(schedule.handle(Event::Checked { service: 0, run: 1, passed: false }, 1_600), []);
        assert_eq!(schedule.next_deadline_ms(), Some(2_600), "early checks come with growing gaps");
        assert_eq!(schedule.advance(2_600), [Action::Check { service: 0, run: 1 }]);
        assert_eq!(
            schedule.handle(Event::Checked { service: 0, run: 1, passed: true }, 2_700),
            [Action::Start(1), Action::AnnounceHealthy(0)]
        );
        assert_eq!(schedule.next_deadline_ms(), Some(32_700), "once healthy, every interval");
    }

    #[test]
    fn a_dependent_waits_until_the_other_has_completed() {
        let mut schedule = two(Condition::CompletedSuccessfully, rules());
        schedule.advance(0);
        assert_eq!(schedule.handle(Event::Started { service: 0 }, 1), [Action::AnnounceHealthy(0)]);
        assert_eq!(schedule.handle(Event::Exited { service: 0, code: 0 }, 2), [Action::Start(1)]);
        assert!(schedule.handle(Event::Started { service: 1 }, 3).contains(&Action::AnnounceReady));
    }

    #[test]
    fn a_failed_migration_gives_up() {
        let mut schedule = two(Condition::CompletedSuccessfully, rules());
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 1);
        let actions = schedule.handle(Event::Exited { service: 0, code: 3 }, 2);
        assert_eq!(actions, [Action::GiveUp { service: 0, code: 3 }]);
        assert_eq!(schedule.advance(2), [Action::Ended]);
    }

    #[test]
    fn a_dependency_that_ends_unhealthy_gives_up() {
        let mut schedule = two(Condition::Healthy, Rules { healthcheck: Some(check()), ..rules() });
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 1);
        let actions = schedule.handle(Event::Exited { service: 0, code: 0 }, 2);
        assert_eq!(actions, [Action::GiveUp { service: 0, code: 0 }]);
    }

    #[test]
    fn failures_count_only_after_the_first_interval() {
        let mut schedule = Schedule::new(vec![Rules { healthcheck: Some(check()), ..rules() }]);
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 0);
        let mut now_ms = 0;
        while schedule.status(0).1 != Some(Health::Unhealthy) {
            now_ms = schedule.next_deadline_ms().unwrap();
            assert_eq!(schedule.advance(now_ms), [Action::Check { service: 0, run: 1 }]);
            schedule.handle(Event::Checked { service: 0, run: 1, passed: false }, now_ms);
        }
        assert!((90_000..130_000).contains(&now_ms), "as late as Docker would say so: {now_ms}");
        // It may still become healthy.
        schedule.handle(Event::Checked { service: 0, run: 1, passed: true }, now_ms);
        assert_eq!(schedule.status(0).1, Some(Health::Healthy));
    }

    #[test]
    fn a_check_of_an_earlier_run_counts_for_nothing() {
        let always = Rules { restart: Restart::Always, healthcheck: Some(check()), ..rules() };
        let mut schedule = Schedule::new(vec![always]);
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 0);
        schedule.advance(500);
        schedule.handle(Event::Exited { service: 0, code: 1 }, 600);
        schedule.advance(700);
        schedule.handle(Event::Started { service: 0 }, 710);
        schedule.handle(Event::Checked { service: 0, run: 1, passed: true }, 720);
        assert_eq!(schedule.status(0).1, Some(Health::Starting));
    }

    #[test]
    fn restarts_back_off_and_a_steady_run_forgives() {
        let mut schedule = Schedule::new(vec![Rules { restart: Restart::Always, ..rules() }]);
        schedule.advance(0);
        let mut now_ms = 0;
        let mut gaps = Vec::new();
        for _ in 0..12 {
            schedule.handle(Event::Started { service: 0 }, now_ms);
            schedule.handle(Event::Exited { service: 0, code: 0 }, now_ms);
            let until_ms = schedule.next_deadline_ms().unwrap();
            gaps.push(until_ms - now_ms);
            now_ms = until_ms;
            assert_eq!(schedule.advance(now_ms), [Action::Start(0)]);
        }
        assert_eq!(gaps, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        schedule.handle(Event::Started { service: 0 }, now_ms);
        schedule.handle(Event::Exited { service: 0, code: 0 }, now_ms + 10_000);
        assert_eq!(schedule.next_deadline_ms(), Some(now_ms + 10_100));
        assert_eq!(schedule.status(0).3, 12);
    }

    #[test]
    fn each_restart_policy_answers_each_ending() {
        let table = [
            (Restart::No, 0, false),
            (Restart::No, 1, false),
            (Restart::Always, 0, true),
            (Restart::UnlessStopped, 1, true),
            (Restart::OnFailure(None), 0, false),
            (Restart::OnFailure(None), 1, true),
            (Restart::OnFailure(Some(0)), 1, false),
            (Restart::OnFailure(Some(1)), 1, true),
        ];
        for (restart, code, again) in table {
            let mut schedule = Schedule::new(vec![Rules { restart, ..rules() }]);
            schedule.advance(0);
            schedule.handle(Event::Started { service: 0 }, 0);
            schedule.handle(Event::Exited { service: 0, code }, 1);
            assert_eq!(schedule.status(0).0 == ServiceState::BackingOff, again, "{restart:?} after {code}");
        }
    }

    #[test]
    fn on_failure_with_a_limit_ends() {
        let mut schedule = Schedule::new(vec![Rules { restart: Restart::OnFailure(Some(2)), ..rules() }]);
        let mut starts = 0;
        let mut now_ms = 0;
        for _ in 0..10 {
            starts += schedule.advance(now_ms).iter().filter(|action| **action == Action::Start(0)).count();
            schedule.handle(Event::Exited { service: 0, code: 9 }, now_ms);
            now_ms += 100_000;
        }
        assert_eq!(starts, 3);
    }

    #[test]
    fn dependents_stop_first() {
        let mut schedule = two(Condition::Started, rules());
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 1);
        schedule.handle(Event::Started { service: 1 }, 2);
        assert_eq!(schedule.handle(Event::Stop, 10), [Action::AskToStop(1)]);
        assert_eq!(schedule.next_deadline_ms(), Some(10_010));
        assert_eq!(schedule.handle(Event::Exited { service: 1, code: 143 }, 20), [Action::AskToStop(0)]);
        assert_eq!(schedule.handle(Event::Exited { service: 0, code: 0 }, 30), [Action::Ended]);
    }

    #[test]
    fn what_does_not_stop_in_time_is_killed_once() {
        let mut schedule = Schedule::new(vec![rules()]);
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 0);
        schedule.handle(Event::Stop, 0);
        assert_eq!(schedule.advance(9_999), []);
        assert_eq!(schedule.advance(10_000), [Action::Kill(0)]);
        assert_eq!(schedule.advance(10_001), []);
        assert_eq!(schedule.handle(Event::Exited { service: 0, code: 137 }, 10_002), [Action::Ended]);
    }

    #[test]
    fn a_kill_waits_for_nobody() {
        let mut schedule = two(Condition::Started, rules());
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 0);
        schedule.handle(Event::Started { service: 1 }, 0);
        assert_eq!(schedule.handle(Event::Stop, 1), [Action::AskToStop(1)]);
        assert_eq!(schedule.handle(Event::Kill, 2), [Action::Kill(0), Action::Kill(1)]);
        assert_eq!(schedule.next_deadline_ms(), None);
    }

    #[test]
    fn a_stop_during_a_start_waits_for_the_process() {
        let mut schedule = Schedule::new(vec![rules()]);
        schedule.advance(0);
        assert_eq!(schedule.handle(Event::Stop, 1), []);
        assert_eq!(schedule.handle(Event::Started { service: 0 }, 2), [Action::AskToStop(0)]);
    }

    #[test]
    fn nothing_restarts_while_stopping() {
        let mut schedule = Schedule::new(vec![Rules { restart: Restart::Always, ..rules() }]);
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 0);
        schedule.handle(Event::Stop, 1);
        assert_eq!(schedule.handle(Event::Exited { service: 0, code: 1 }, 2), [Action::Ended]);
    }

    #[test]
    fn a_crash_after_everything_worked_is_only_a_state() {
        let mut schedule = Schedule::new(vec![rules(), rules()]);
        schedule.advance(0);
        schedule.handle(Event::Started { service: 0 }, 0);
        assert!(schedule.handle(Event::Started { service: 1 }, 0).contains(&Action::AnnounceReady));
        assert_eq!(schedule.handle(Event::Exited { service: 0, code: 1 }, 5), []);
        assert_eq!(schedule.status(0), (ServiceState::Exited, None, Some(1), 0));
    }
}
