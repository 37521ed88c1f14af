//! How long to wait after failures.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(300);

/// Twice as long after each failure, up to five minutes; by chance a little more or less, so that apps that have failed
/// together do not come back together.
pub(super) fn delay(failures: u32) -> Duration {
    jittered(bound(failures), 0.5).min(MOST)
}

/// The least that is waited.
fn bound(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(20))).min(MOST).mul_f64(0.75)
}

/// From `least` to as much more as that part of it.
pub(super) fn jittered(least: Duration, part: f64) -> Duration {
    // A hasher of the standard library has a random key, which is chance enough.
    let chance = RandomState::new().build_hasher().finish() >> 32;
    let chance = u32::try_from(chance).map_or(0.5, f64::from) / f64::from(u32::MAX);
    least + least.mul_f64(part * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_five_minutes() {
        assert!(delay(1) >= Duration::from_millis(750) && delay(1) <= Duration::from_millis(1125));
        assert!(delay(4) >= Duration::from_secs(6) && delay(4) <= Duration::from_secs(9));
        assert!(delay(u32::MAX) >= Duration::from_secs(225) && delay(u32::MAX) <= MOST);
    }

    #[test]
    fn chance_spreads_what_fails_together() {
        let delays: std::collections::HashSet<Duration> = (0..32).map(|_| delay(8)).collect();
        assert!(delays.len() > 16, "{delays:?}");
    }
}
