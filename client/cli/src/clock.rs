//! What time is it, and how is a time written?

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::DateTime;

/// Milliseconds since 1970 by this machine's clock.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A moment that somebody wrote on a command line, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

/// A text that is no moment.
#[derive(Debug, thiserror::Error)]
#[error("'{found}' is no time; write it in UTC, such as 2026-05-01T00:00:00Z")]
pub struct NotAMoment {
    found: String,
}

impl std::str::FromStr for Moment {
    type Err = NotAMoment;

    /// RFC 3339, in UTC, to the second.
    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let time: DateTime =
            text.parse().map_err(|_| NotAMoment { found: text.chars().take(40).collect() })?;
        Ok(Moment(u64::try_from(time.unix_duration().as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A moment as RFC 3339 writes it, in UTC, to the second; beyond the year 9999 as a number.
pub fn utc(ms: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(ms / 1000))
        .map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_in_utc() {
        let moment: Moment = "2024-05-01T00:00:00Z".parse().unwrap();
        assert_eq!(moment, Moment(1_714_521_600_000));
        assert_eq!(utc(moment.0), "2024-05-01T00:00:00Z");
        for wrong in ["1714521600", "2024-05-01", "2024-05-01T00:00:00+02:00", "2024-13-01T00:00:00Z", ""] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
    }
}
