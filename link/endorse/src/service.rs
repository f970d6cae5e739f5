//! How is an Endorser's service asked, and how often?

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::Error;

/// A service that answers over HTTP, asked with manners.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    client: reqwest::Client,
    pub etiquette: Etiquette,
    turn: Arc<Mutex<Turn>>,
}

/// What a service sent.
pub(crate) struct Answer {
    pub body: Vec<u8>,
    headers: reqwest::header::HeaderMap,
}

/// How a service is asked, and how long its answers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Etiquette {
    /// Questions at once, after a rest.
    pub burst: u32,
    /// A further question becomes possible after each of these.
    pub every: Duration,
    /// How long a caller waits; the question itself goes on, and its answer is kept.
    pub patience: Duration,
    /// How long a failure is remembered, so that the same question is not asked again.
    pub failures_kept: Duration,
    /// After which time a revocation list that still holds is fetched anew.
    pub refresh_after: Duration,
    /// Whether a caller waits for a new list while the stored one still holds.
    pub wait_for_refresh: bool,
}

impl Etiquette {
    /// For a person at a terminal, who waits and asks about few machines.
    pub fn person() -> Self {
        Self {
            burst: 20,
            every: Duration::from_secs(2),
            patience: Duration::from_secs(60),
            failures_kept: Duration::ZERO,
            refresh_after: Duration::from_secs(24 * 3600),
            wait_for_refresh: true,
        }
    }

    /// For a service that strangers can make ask: AMD's own limit is about one question in ten seconds.
    pub fn service() -> Self {
        Self {
            burst: 10,
            every: Duration::from_secs(10),
            patience: Duration::from_secs(8),
            failures_kept: Duration::from_secs(300),
            refresh_after: Duration::from_secs(24 * 3600),
            wait_for_refresh: false,
        }
    }
}

/// Who may ask next.
#[derive(Debug)]
struct Turn {
    /// Milliseconds that count towards questions; one costs [`Etiquette::every`].
    saved_ms: u64,
    counted: Instant,
    /// Nothing is asked before this moment: the service did not answer.
    down_until: Option<Instant>,
}

/// How long a service that cannot be reached is left alone.
const DOWN: Duration = Duration::from_secs(30);

impl Service {
    /// # Errors
    /// [`Error::Network`] if this machine cannot set up TLS.
    pub fn new(base: &str, etiquette: Etiquette) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30))
            // A mirror that sends elsewhere would choose whom this machine talks to.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| Error::Network { address: base.to_owned(), source })?;
        let saved_ms = u64::from(etiquette.burst) * every_ms(&etiquette);
        let turn = Turn { saved_ms, counted: Instant::now(), down_until: None };
        Ok(Self { client, etiquette, turn: Arc::new(Mutex::new(turn)) })
    }

    /// Fetches at most `maximum` bytes, if it is our turn.
    pub async fn fetch(
        &self,
        address: &str,
        maximum: usize,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Answer, Error> {
        self.take_turn(address, Instant::now())?;
        tracing::debug!(address, "asking an Endorser's service");
        let answer = self.ask(address, maximum, headers).await;
        if matches!(answer, Err(Error::Network { .. })) {
            self.turn.lock().expect("no panic while held").down_until = Some(Instant::now() + DOWN);
        }
        answer
    }

    async fn ask(
        &self,
        address: &str,
        maximum: usize,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Answer, Error> {
        let network = |source: reqwest::Error| Error::Network {
            address: address.to_owned(),
            source: source.without_url(),
        };
        let request = self.client.get(address);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = request.send().await.map_err(network)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Error::Status { address: address.to_owned(), status: status.as_u16() });
        }
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            if body.len() + chunk.len() > maximum {
                return Err(Error::TooLong { address: address.to_owned(), maximum });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { body, headers })
    }

    fn take_turn(&self, address: &str, now: Instant) -> Result<(), Error> {
        let refused =
            |seconds: u64| Error::TooManyRequests { address: address.to_owned(), seconds: seconds.max(1) };
        let every_ms = every_ms(&self.etiquette);
        let mut turn = self.turn.lock().expect("no panic while held");
        if let Some(until) = turn.down_until.filter(|until| *until > now)
            && self.etiquette.failures_kept > Duration::ZERO
        {
            return Err(refused(until.duration_since(now).as_secs()));
        }
        let full_ms = u64::from(self.etiquette.burst) * every_ms;
        // Only whole milliseconds are counted, and only those are left behind: who asks often loses none.
        let passed_ms = now.saturating_duration_since(turn.counted).as_millis();
        let passed_ms = u64::try_from(passed_ms).unwrap_or(u64::MAX).min(full_ms);
        turn.counted = match passed_ms < full_ms {
            true => turn.counted + Duration::from_millis(passed_ms),
            false => now,
        };
        turn.saved_ms = turn.saved_ms.saturating_add(passed_ms).min(full_ms);
        if turn.saved_ms < every_ms {
            return Err(refused((every_ms - turn.saved_ms) / 1000));
        }
        turn.saved_ms -= every_ms;
        Ok(())
    }
}

/// Milliseconds for each question. The pace is that of a service, far below one question a millisecond.
fn every_ms(etiquette: &Etiquette) -> u64 {
    u64::from(u32::try_from(etiquette.every.as_millis()).unwrap_or(u32::MAX)).max(1)
}

impl Answer {
    /// The value of a header, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_there_is_one_question_per_interval() {
        let etiquette = Etiquette { burst: 2, every: Duration::from_secs(10), ..Etiquette::service() };
        let server = Service::new("http://kds.example", etiquette).unwrap();
        let start = Instant::now();
        let at = |seconds: u64| server.take_turn("x", start + Duration::from_secs(seconds));
        assert!(at(0).is_ok() && at(0).is_ok());
        assert!(matches!(at(0), Err(Error::TooManyRequests { seconds: 10, .. })));
        assert!(matches!(at(6), Err(Error::TooManyRequests { seconds: 4, .. })));
        assert!(at(10).is_ok());
        assert!(at(10).is_err());
        assert!(at(1000).is_ok() && at(1000).is_ok());
        assert!(at(1000).is_err(), "rest does not save up more than a burst");
    }

    #[test]
    fn who_asks_all_the_time_is_not_kept_waiting_for_it() {
        let etiquette = Etiquette { burst: 1, every: Duration::from_secs(10), ..Etiquette::service() };
        let server = Service::new("http://kds.example", etiquette).unwrap();
        let start = Instant::now();
        let asked = |micros: u64| server.take_turn("x", start + Duration::from_micros(micros)).is_ok();
        // Every 0.7 ms for a minute.
        assert_eq!((0..60_000_000).step_by(700).filter(|micros| asked(*micros)).count(), 6);
    }
}
