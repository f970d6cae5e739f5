//! Whose turn is it to ask the hardware?
//!
//! It makes one report at a time. What the guest asks for itself goes first, whatever services want: a guest
//! that cannot renew its lease has to stop. Services are served in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Everyone who waits for the hardware.
#[derive(Debug, Default)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    guest_waits: usize,
    /// Numbers of waiting services, oldest first.
    services: VecDeque<u64>,
    next_number: u64,
}

/// The hardware may be asked, until this is dropped.
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped"]
pub struct Turn<'a>(&'a Turns);

impl Turns {
    /// Nobody waits.
    pub const fn new() -> Self {
        let state = State { taken: false, guest_waits: 0, services: VecDeque::new(), next_number: 0 };
        Turns { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a turn of the guest itself.
    pub fn guest(&self) -> Turn<'_> {
        let mut state = self.state();
        state.guest_waits += 1;
        while state.taken {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.guest_waits -= 1;
        state.taken = true;
        Turn(self)
    }

    /// Waits for a turn of a service, for at most `patience`.
    pub fn service(&self, patience: Duration) -> Option<Turn<'_>> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        state.services.push_back(number);
        loop {
            if !state.taken && state.guest_waits == 0 && state.services.front() == Some(&number) {
                state.services.pop_front();
                state.taken = true;
                return Some(Turn(self));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.services.retain(|other| *other != number);
                self.changed.notify_all();
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().taken = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Waits until this many services and askers of the guest wait.
    fn wait_for(turns: &Turns, services: usize, guest: usize) {
        let deadline = Instant::now() + LONG;
        loop {
            let state = turns.state();
            if (state.services.len(), state.guest_waits) == (services, guest) {
                return;
            }
            assert!(Instant::now() < deadline, "{state:?}");
            drop(state);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_guest_goes_first_and_services_in_their_order() {
        let turns = Arc::new(Turns::new());
        let (sender, order) = channel();
        let first = turns.guest();
        let mut threads = Vec::new();
        for (waiting, name) in ["a", "b", "c"].into_iter().enumerate() {
            let (turns_there, sender) = (turns.clone(), sender.clone());
            threads.push(std::thread::spawn(move || {
                let turn = turns_there.service(LONG).expect("patient");
                sender.send(name).expect("somebody listens");
                drop(turn);
            }));
            wait_for(&turns, waiting + 1, 0);
        }
        let (turns_there, sender) = (turns.clone(), sender);
        threads.push(std::thread::spawn(move || {
            let turn = turns_there.guest();
            sender.send("guest").expect("somebody listens");
            drop(turn);
        }));
        wait_for(&turns, 3, 1);
        drop(first);
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        assert_eq!(order.into_iter().collect::<Vec<_>>(), ["guest", "a", "b", "c"]);
    }

    #[test]
    fn a_service_that_gives_up_holds_nobody_up() {
        let turns = Turns::new();
        let held = turns.guest();
        assert!(turns.service(Duration::from_millis(20)).is_none());
        drop(held);
        drop(turns.service(Duration::ZERO).expect("nobody else waits"));
        drop(turns.guest());
    }
}
