//! Moments that outlive a program: `Instant`s as nanoseconds of the monotonic clock, which goes on across an exec.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The same moment in both notations.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    now: Instant,
    nanos: u64,
}

impl Clock {
    pub fn now() -> Self {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Self { now: Instant::now(), nanos: nanos(monotonic) }
    }

    /// As another program can read it.
    pub fn stamp(&self, at: Instant) -> u64 {
        match at.checked_duration_since(self.now) {
            Some(ahead) => self.nanos.saturating_add(nanos(ahead)),
            None => self.nanos.saturating_sub(nanos(self.now.duration_since(at))),
        }
    }

    /// As this program reads it. What no clock can show is now.
    pub fn instant(&self, stamp: u64) -> Instant {
        let there = match stamp.checked_sub(self.nanos) {
            Some(ahead) => self.now.checked_add(Duration::from_nanos(ahead)),
            None => self.now.checked_sub(Duration::from_nanos(self.nanos - stamp)),
        };
        there.unwrap_or(self.now)
    }
}

/// Nanoseconds of Unix time.
pub fn unix_nanos(at: SystemTime) -> u64 {
    nanos(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// See [`unix_nanos`].
pub fn system_time(nanos: u64) -> SystemTime {
    // What the calendar of the log and the API can still show.
    UNIX_EPOCH + Duration::from_nanos(nanos.min(i64::MAX.unsigned_abs()))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_the_same_moment_to_the_next_program() {
        let first = Clock::now();
        let second = Clock { now: first.now + Duration::from_secs(3), nanos: first.nanos + 3_000_000_000 };
        for offset in [-2_000, 0, 1, 3_000, 90_000_i64] {
            let away = Duration::from_millis(offset.unsigned_abs());
            let at = if offset < 0 { first.now.checked_sub(away).unwrap() } else { first.now + away };
            assert_eq!(second.instant(first.stamp(at)), at, "{offset}");
        }
    }

    #[test]
    fn nonsense_is_now() {
        let clock = Clock::now();
        assert!(clock.instant(u64::MAX) >= clock.now);
        assert!(clock.instant(0) <= clock.now);
        let at = system_time(1_700_000_000_000_000_000);
        assert_eq!(unix_nanos(at), 1_700_000_000_000_000_000);
    }
}
