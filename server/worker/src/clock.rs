//! The two clocks: monotonic nanoseconds for deadlines and durations, Unix nanoseconds for what people read.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of some clock.
pub(crate) type Nanos = u64;

pub(crate) const SECOND: Nanos = 1_000_000_000;
pub(crate) const MILLISECOND: Nanos = 1_000_000;

fn read(clock: ClockId) -> Nanos {
    // These two clocks exist on every Linux; 0 would only make a deadline late.
    clock_gettime(clock).map_or(0, |now| {
        u64::try_from(now.tv_sec()).unwrap_or(0) * SECOND + u64::try_from(now.tv_nsec()).unwrap_or(0)
    })
}

/// Never goes back; the zero is arbitrary.
pub(crate) fn monotonic() -> Nanos {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Since 1970-01-01 UTC.
pub(crate) fn unix() -> Nanos {
    read(ClockId::CLOCK_REALTIME)
}

/// A setting in seconds; not finite or negative: zero.
pub(crate) fn from_seconds(seconds: f64) -> Nanos {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, and NaN becomes 0
    let nanos = (seconds * 1e9) as u64;
    nanos
}
