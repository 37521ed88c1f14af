//! The two clocks: monotonic nanoseconds for deadlines and durations, Unix nanoseconds for what people read.
//!
//! Reading a clock is a good part of what a small request costs, so Unix time is the monotonic clock plus a difference that
//! is looked up with every heartbeat ([`synchronise`]): it follows a clock that is set within a second. For whole seconds
//! there is a clock that costs next to nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of some clock.
pub(crate) type Nanos = u64;

pub(crate) const SECOND: Nanos = 1_000_000_000;
pub(crate) const MILLISECOND: Nanos = 1_000_000;

fn read(clock: ClockId) -> Nanos {
    // These clocks exist on every Linux; 0 would only make a deadline late.
    clock_gettime(clock).map_or(0, |now| {
        u64::try_from(now.tv_sec()).unwrap_or(0) * SECOND + u64::try_from(now.tv_nsec()).unwrap_or(0)
    })
}

/// Never goes back; the zero is arbitrary.
pub(crate) fn monotonic() -> Nanos {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Unix time less monotonic time; 0: not looked up yet.
static DIFFERENCE: AtomicU64 = AtomicU64::new(0);

/// Looks up how far the clocks are apart.
pub(crate) fn synchronise() -> u64 {
    let difference = read(ClockId::CLOCK_REALTIME).wrapping_sub(monotonic());
    DIFFERENCE.store(difference, Ordering::Relaxed);
    difference
}

/// Since 1970-01-01 UTC, at a time of the monotonic clock.
pub(crate) fn unix_at(now: Nanos) -> Nanos {
    let known = DIFFERENCE.load(Ordering::Relaxed);
    now.wrapping_add(if known == 0 { synchronise() } else { known })
}

/// Since 1970-01-01 UTC, now.
pub(crate) fn unix() -> Nanos {
    unix_at(monotonic())
}

/// Whole seconds since 1970-01-01 UTC, at the kernel's last tick: a few milliseconds ago.
pub(crate) fn unix_seconds() -> u64 {
    read(ClockId::CLOCK_REALTIME_COARSE) / SECOND
}

/// A setting in seconds; not finite or negative: zero.
pub(crate) fn from_seconds(seconds: f64) -> Nanos {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, and NaN becomes 0
    let nanos = (seconds * 1e9) as u64;
    nanos
}
