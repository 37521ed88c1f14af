//! When to try again after a failed boot, and when to give up.

use std::time::{Duration, Instant};

use super::DeathCause;

/// Failed boots in a row, with nobody serving, after which the arbiter exits and leaves the rest to the kubelet.
const BOOTS: u32 = 8;
/// And the longest time that a row may take.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    TryAgain,
    /// The boot budget is spent.
    Exhausted,
}

/// A row of failures.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
    total: u64,
    quick_deaths: u32,
    first: Option<Instant>,
    not_before: Option<Instant>,
    last_cause: Option<DeathCause>,
}

impl Backoff {
    /// After so many failed boots under the program before this one.
    pub(super) fn resume(total: u64) -> Self {
        Self { total, ..Self::default() }
    }

    /// Failed boots in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Failed boots since the start.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Why the last boot failed; `None` once one succeeded.
    pub fn last_cause(&self) -> Option<DeathCause> {
        self.last_cause
    }

    pub fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Forgets a waiting time that has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        self.not_before = self.not_before.filter(|at| now < *at);
    }

    pub fn allows(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    pub(super) fn boot_failed(&mut self, cause: DeathCause, now: Instant) -> Verdict {
        self.failures += 1;
        self.total += 1;
        self.last_cause = Some(cause);
        let first = *self.first.get_or_insert(now);
        self.not_before = Some(now + delay(self.failures));
        if self.failures >= BOOTS || now.duration_since(first) >= PATIENCE {
            Verdict::Exhausted
        } else {
            Verdict::TryAgain
        }
    }

    /// A worker became ready.
    pub(super) fn booted(&mut self) {
        *self = Self { total: self.total, quick_deaths: self.quick_deaths, ..Self::default() };
    }

    /// A new generation starts with a clean sheet.
    pub(super) fn reset(&mut self) {
        *self = Self { total: self.total, ..Self::default() };
    }

    /// A worker died right after it became ready.
    pub(super) fn slow_down(&mut self, now: Instant) {
        self.quick_deaths += 1;
        let at = now + delay(self.quick_deaths);
        self.not_before = Some(self.not_before.map_or(at, |before| before.max(at)));
    }

    /// A worker died after a life of some length.
    pub(super) fn steady(&mut self) {
        self.quick_deaths = 0;
    }
}

fn delay(failures: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let delays: Vec<u128> = (1..=9).map(|failures| delay(failures).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn the_budget_is_eight_boots_or_a_minute() {
        let start = Instant::now();
        let mut many = Backoff::default();
        let verdicts: Vec<Verdict> =
            (0..8).map(|_| many.boot_failed(DeathCause::BootTimeout, start)).collect();
        assert!(verdicts[..7].iter().all(|verdict| *verdict == Verdict::TryAgain));
        assert_eq!(verdicts[7], Verdict::Exhausted);

        let mut slow = Backoff::default();
        assert_eq!(slow.boot_failed(DeathCause::BootTimeout, start), Verdict::TryAgain);
        assert_eq!(slow.boot_failed(DeathCause::BootTimeout, start + PATIENCE), Verdict::Exhausted);
    }

    #[test]
    fn a_boot_ends_the_row() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.boot_failed(DeathCause::BootTimeout, now);
        assert!(!backoff.allows(now));
        backoff.booted();
        assert!(backoff.allows(now));
        assert_eq!((backoff.failures(), backoff.total(), backoff.last_cause()), (0, 1, None));
    }
}
