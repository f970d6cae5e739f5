//! How much may the other side ask for?

use std::time::Duration;

/// Bounds on what one peer does for the other. Beyond them calls fail; memory and threads do not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls of the other side that are answered at the same time; more get `Busy`.
    pub incoming_calls: usize,
    /// Our own calls that may be open at the same time.
    pub outgoing_calls: usize,
    /// Frames waiting to be written.
    pub queued_frames: usize,
    /// Frames read per second, averaged; beyond it reading pauses, which slows the sender down.
    pub frames_per_second: u32,
    /// How long a frame may take from its first to its last byte.
    pub frame_time: Duration,
    /// Malformed frames after which the stream is given up.
    pub malformed_frames: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            incoming_calls: 16,
            outgoing_calls: 64,
            queued_frames: 64,
            frames_per_second: 500,
            frame_time: Duration::from_secs(10),
            malformed_frames: 16,
        }
    }
}

/// Says how long to pause so that frames arrive no faster than allowed.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    ahead: Duration,
}

impl Pace {
    /// One second's worth of frames may come at once.
    const BURST: Duration = Duration::from_secs(1);

    pub(crate) fn new(frames_per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / frames_per_second.max(1), ahead: Duration::ZERO }
    }

    /// Counts one frame that came `since_last` after the one before; returns the pause due.
    pub(crate) fn count(&mut self, since_last: Duration) -> Duration {
        self.ahead = self.ahead.saturating_sub(since_last) + self.interval;
        self.ahead.saturating_sub(Self::BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_is_slowed_to_the_rate() {
        let mut pace = Pace::new(10);
        let pauses: Vec<_> = (0..12).map(|_| pace.count(Duration::ZERO)).collect();
        assert!(pauses[..10].iter().all(Duration::is_zero));
        assert_eq!(pauses[11], Duration::from_millis(200));
        assert_eq!(pace.count(Duration::from_secs(5)), Duration::ZERO);
    }
}
