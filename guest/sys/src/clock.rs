//! What time is it?

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime, clock_settime},
};

use crate::Error;

/// Milliseconds since the kernel started.
///
/// # Panics
/// Never: every kernel has this clock.
pub fn uptime_ms() -> u64 {
    milliseconds(clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39"))
}

/// Unix milliseconds by the system clock: until [`set`], whatever the host's RTC says.
///
/// # Panics
/// Never: every kernel has this clock.
pub fn now_ms() -> u64 {
    milliseconds(clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux has CLOCK_REALTIME"))
}

/// Sets the system clock to `now_ms` Unix milliseconds.
///
/// # Errors
/// [`Error::Call`]: `EPERM` without `CAP_SYS_TIME`.
pub fn set(now_ms: u64) -> Result<(), Error> {
    let time = TimeSpec::new((now_ms / 1000) as i64, (now_ms % 1000 * 1_000_000) as i64);
    clock_settime(ClockId::CLOCK_REALTIME, time)
        .map_err(|errno| Error::call("clock_settime", "CLOCK_REALTIME")(errno.into()))
}

fn milliseconds(time: TimeSpec) -> u64 {
    (time.tv_sec() as u64) * 1000 + (time.tv_nsec() as u64) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_advance() {
        let (up, now) = (uptime_ms(), now_ms());
        assert!(up > 0 && uptime_ms() >= up);
        assert!(now > 1_700_000_000_000, "{now}");
    }
}
