//! What time is it, if the host's clock is not to be believed?
//!
//! Seats sign the time into each grant, and the median of those that granted counts. The host's RTC is
//! never asked.

use casemate_api::handover;
use casemate_guest_sys as sys;

/// Sets the system clock to `time_ms` (Unix milliseconds), the seats' time, if it can be right.
///
/// # Errors
/// [`ClockError`].
pub fn set_from_seats(time_ms: u64) -> Result<(), ClockError> {
    let image_ms = std::fs::metadata(handover::AGENT)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |age| age.as_millis() as u64);
    check(time_ms, image_ms.max(EARLIEST_MS))?;
    Ok(sys::clock::set(time_ms)?)
}

/// Why the time is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The seats' time lies before the image was made.
    #[error(
        "the seats' time is {found_ms} ms, this image was made at {earliest_ms} ms; check the seats' clocks"
    )]
    BeforeImage {
        /// Their time, in Unix milliseconds.
        found_ms: u64,
        /// The earliest possible time, in Unix milliseconds.
        earliest_ms: u64,
    },
    /// The seats' time lies beyond any certificate.
    #[error("the seats' time is {found_ms} ms, beyond the year 2200; check the seats' clocks")]
    TooLate {
        /// Their time, in Unix milliseconds.
        found_ms: u64,
    },
    /// The kernel refused it.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
}

fn check(found_ms: u64, earliest_ms: u64) -> Result<(), ClockError> {
    if found_ms < earliest_ms {
        return Err(ClockError::BeforeImage { found_ms, earliest_ms });
    }
    if found_ms > LATEST_MS {
        return Err(ClockError::TooLate { found_ms });
    }
    Ok(())
}

/// 2026-01-01T00:00:00Z: no guest that has this program booted before it.
const EARLIEST_MS: u64 = 1_767_225_600_000;
/// 2200-01-01T00:00:00Z.
const LATEST_MS: u64 = 7_258_118_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn a_time_after_the_image_is_believed() {
        assert!(check(NOW, NOW).is_ok());
        assert!(check(LATEST_MS, EARLIEST_MS).is_ok());
    }

    #[test]
    fn a_time_before_the_image_is_refused() {
        let error = check(NOW - 1, NOW).unwrap_err();
        assert!(matches!(error, ClockError::BeforeImage { earliest_ms: NOW, .. }), "{error}");
        assert!(matches!(check(0, EARLIEST_MS), Err(ClockError::BeforeImage { .. })));
    }

    #[test]
    fn a_time_in_a_distant_century_is_refused() {
        assert!(matches!(check(u64::MAX, NOW), Err(ClockError::TooLate { found_ms: u64::MAX })));
    }
}
