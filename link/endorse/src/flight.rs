//! Who is asking this already?
//!
//! Many callers with one question make one question: it is asked by a task of its own, which goes on
//! when callers lose patience or go away, and whose failure is remembered for a while.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::Error;

/// Questions under way, and those that failed.
#[derive(Debug)]
pub(crate) struct Flights<K> {
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    running: HashMap<K, watch::Receiver<Option<Outcome>>>,
    failed: HashMap<K, (Instant, Arc<Error>)>,
}

type Outcome = Result<(), Arc<Error>>;

/// More failures are not remembered; the oldest go.
const FAILURES: usize = 4096;

impl<K: Clone + Eq + Hash + Send + 'static> Flights<K> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { running: HashMap::new(), failed: HashMap::new() }) })
    }

    /// Asks `question` unless it is being asked or has just failed; the answer is wherever `asked` put it.
    pub fn start<F>(self: &Arc<Self>, question: K, failures_kept: Duration, asked: F) -> Flight
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let mut state = self.state.lock().expect("no panic while held");
        if let Some((until, error)) = state.failed.get(&question)
            && *until > Instant::now()
        {
            return Flight(Err(error.clone()));
        }
        if let Some(running) = state.running.get(&question) {
            return Flight(Ok(running.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        state.running.insert(question.clone(), receiver.clone());
        drop(state);
        let flights = self.clone();
        tokio::spawn(async move {
            // Also if the question panics: nobody may wait for it for ever.
            let landing = Landing { flights, question };
            let outcome = asked.await.map_err(Arc::new);
            if let Err(error) = &outcome {
                landing.remember(error, failures_kept);
            }
            drop(landing);
            let _ = sender.send(Some(outcome));
        });
        Flight(Ok(receiver))
    }
}

/// A question that is being asked, perhaps for somebody else.
pub(crate) struct Flight(Result<watch::Receiver<Option<Outcome>>, Arc<Error>>);

impl Flight {
    /// Waits for the answer, but not longer than `patience`.
    ///
    /// # Errors
    /// [`Error::Shared`], [`Error::Slow`].
    pub async fn wait(self, patience: Duration) -> Result<(), Error> {
        let mut receiver = self.0.map_err(Error::Shared)?;
        let slow = Error::Slow { seconds: patience.as_secs() };
        let answered = tokio::time::timeout(patience, receiver.wait_for(Option::is_some)).await;
        match answered {
            Ok(Ok(outcome)) => match outcome.as_ref().expect("waited for") {
                Ok(()) => Ok(()),
                Err(error) => Err(Error::Shared(error.clone())),
            },
            _ => Err(slow),
        }
    }
}

struct Landing<K: Clone + Eq + Hash> {
    flights: Arc<Flights<K>>,
    question: K,
}

impl<K: Clone + Eq + Hash> Landing<K> {
    fn remember(&self, error: &Arc<Error>, failures_kept: Duration) {
        if failures_kept.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut state = self.flights.state.lock().expect("no panic while held");
        state.failed.retain(|_, (until, _)| *until > now);
        while state.failed.len() >= FAILURES {
            let oldest = state.failed.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            state.failed.remove(&oldest);
        }
        // What may pass is tried again sooner than what the service does not know.
        let kept = if error.is_passing() { failures_kept.min(PASSING) } else { failures_kept };
        state.failed.insert(self.question.clone(), (now + kept, error.clone()));
    }
}

impl<K: Clone + Eq + Hash> Drop for Landing<K> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.flights.state.lock() {
            state.running.remove(&self.question);
        }
    }
}

/// How long a failure is remembered that may pass.
const PASSING: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const KEPT: Duration = Duration::from_secs(60);
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn one_question_is_asked_once_however_many_wait() {
        let (flights, asked) = (Flights::new(), Arc::new(AtomicUsize::new(0)));
        let (release, gate) = watch::channel(false);
        let ask = || {
            let (asked, mut gate) = (asked.clone(), gate.clone());
            flights.start("chip", KEPT, async move {
                asked.fetch_add(1, Ordering::SeqCst);
                let _ = gate.wait_for(|open| *open).await;
                Ok(())
            })
        };
        let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(ask().wait(PATIENCE))).collect();
        release.send(true).unwrap();
        for one in waiting {
            one.await.unwrap().unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        ask().wait(PATIENCE).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "an answer is not remembered here");
    }

    #[tokio::test]
    async fn a_failure_is_remembered_and_an_impatient_caller_ends_nothing() {
        let flights = Flights::new();
        let unknown = || async { Err(Error::ProductUnknown) };
        assert!(matches!(flights.start("a", KEPT, unknown()).wait(PATIENCE).await, Err(Error::Shared(_))));
        let never = async { panic!("asked although it has just failed") };
        let again = flights.start("a", KEPT, never).wait(PATIENCE).await;
        assert!(matches!(again, Err(Error::Shared(error)) if matches!(*error, Error::ProductUnknown)));

        let (finished, mut done) = watch::channel(false);
        let (release, mut gate) = watch::channel(false);
        let slow = flights.start("b", KEPT, async move {
            let _ = gate.wait_for(|open| *open).await;
            let _ = finished.send(true);
            Ok(())
        });
        assert!(matches!(slow.wait(Duration::ZERO).await, Err(Error::Slow { seconds: 0 })));
        release.send(true).unwrap();
        done.wait_for(|done| *done).await.unwrap();
    }

    #[tokio::test]
    async fn a_question_that_panics_is_over() {
        let flights = Flights::new();
        let broken = flights.start("a", KEPT, async { panic!("broken on purpose") });
        assert!(matches!(broken.wait(PATIENCE).await, Err(Error::Slow { .. })));
        flights.start("a", KEPT, async { Ok(()) }).wait(PATIENCE).await.unwrap();
    }
}
