//! Is this the TPM that we met before, and what happened to it since?

use casemate_evidence::tpm::ClockInfo;
use serde::Serialize;

/// What happened between two statements of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuity {
    /// Nothing: it is the same boot, never suspended.
    Unbroken,
    /// It was suspended and resumed, or restarted: PCRs may have been kept.
    Restarted,
    /// It was reset: a new boot.
    Reset,
}

/// Why a later statement cannot be later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The clock may have shown a later time before (TPM2 Part 1 §36.3.4, "Safe").
    #[error("the TPM's clock is not safe: after a power cut it may have gone back")]
    Unsafe,
    /// Fewer resets than before: another TPM, or a cleared one.
    #[error("the TPM was reset {found} times, {previous} times before: another TPM, or one that was cleared")]
    ResetCount {
        /// Now.
        found: u32,
        /// Before.
        previous: u32,
    },
    /// Fewer restarts than before in the same boot.
    #[error("the TPM was restarted {found} times in this boot, {previous} times before: an older statement")]
    RestartCount {
        /// Now.
        found: u32,
        /// Before.
        previous: u32,
    },
    /// The clock went back.
    #[error("the TPM's clock is at {found} ms, before at {previous} ms: an older statement")]
    Clock {
        /// Now.
        found: u64,
        /// Before.
        previous: u64,
    },
}

/// Compares the clocks of two statements by the same key, and says what happened in between.
///
/// A clock that goes back, or a counter that does, is an older statement or another TPM.
///
/// # Errors
/// [`ClockError`], the first that applies.
pub fn check_clock(previous: &ClockInfo, found: &ClockInfo) -> Result<Continuity, ClockError> {
    if !found.safe {
        return Err(ClockError::Unsafe);
    }
    if found.reset_count < previous.reset_count {
        return Err(ClockError::ResetCount { found: found.reset_count, previous: previous.reset_count });
    }
    let reset = found.reset_count > previous.reset_count;
    if !reset && found.restart_count < previous.restart_count {
        let (found, previous) = (found.restart_count, previous.restart_count);
        return Err(ClockError::RestartCount { found, previous });
    }
    if found.clock_ms < previous.clock_ms {
        return Err(ClockError::Clock { found: found.clock_ms, previous: previous.clock_ms });
    }
    Ok(match (reset, found.restart_count == previous.restart_count) {
        (true, _) => Continuity::Reset,
        (false, true) => Continuity::Unbroken,
        (false, false) => Continuity::Restarted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: ClockInfo = ClockInfo { clock_ms: 1000, reset_count: 5, restart_count: 2, safe: true };

    #[test]
    fn each_field_that_goes_back_has_its_own_error() {
        let with = |change: fn(&mut ClockInfo)| {
            let mut clock = BEFORE;
            change(&mut clock);
            check_clock(&BEFORE, &clock)
        };
        assert_eq!(with(|_| {}), Ok(Continuity::Unbroken));
        assert_eq!(with(|clock| clock.safe = false), Err(ClockError::Unsafe));
        assert_eq!(
            with(|clock| clock.reset_count = 4),
            Err(ClockError::ResetCount { found: 4, previous: 5 })
        );
        let restarts = ClockError::RestartCount { found: 1, previous: 2 };
        assert_eq!(with(|clock| clock.restart_count = 1), Err(restarts));
        assert_eq!(with(|clock| clock.clock_ms = 999), Err(ClockError::Clock { found: 999, previous: 1000 }));
        assert_eq!(with(|clock| clock.clock_ms = 1001), Ok(Continuity::Unbroken));
        assert_eq!(with(|clock| clock.restart_count = 3), Ok(Continuity::Restarted));
        let reset = |clock: &mut ClockInfo| (clock.reset_count, clock.restart_count) = (6, 0);
        assert_eq!(with(reset), Ok(Continuity::Reset));
    }
}
