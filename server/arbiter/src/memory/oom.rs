//! Which deaths were the kernel's doing, for want of memory.
//!
//! The kernel counts a kill before it sends the signal. So a process that died of a SIGKILL which we did not send was killed
//! for memory if the count has a kill that no other death explains, and was not if the count has not moved.

use std::time::{Duration, Instant};

/// A counted kill that explains no death within this time was of a process that is not our child.
const STALE: Duration = Duration::from_secs(10);

/// What is to be said of a SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// The kernel killed it: the container was out of memory.
    Certain,
    /// Somebody else sent the signal.
    Unfounded,
    /// The kernel does not tell.
    Open,
}

#[derive(Debug, Default)]
pub struct OomLedger {
    /// The count as last read; `None` before the first time.
    counted: Option<u64>,
    /// Kills that no death explains yet, and when they were first seen.
    unexplained: Vec<Instant>,
}

impl OomLedger {
    /// Goes on from [`Self::explained`] of the program before this one.
    pub fn resume(explained: Option<u64>) -> Self {
        Self { counted: explained, unexplained: Vec::new() }
    }

    /// The kills that are settled; `None` before the first count.
    pub fn explained(&self) -> Option<u64> {
        self.counted.map(|counted| counted.saturating_sub(self.unexplained.len() as u64))
    }

    /// Takes the present count in; how many kills will not be explained any more.
    pub fn observe(&mut self, kills: Option<u64>, now: Instant) -> usize {
        let Some(kills) = kills else { return 0 };
        let before = self.counted.replace(kills).unwrap_or(kills);
        // Not more than a table of processes holds, whatever the file says.
        let new = kills.saturating_sub(before).min(4096);
        self.unexplained.extend((0..new).map(|_| now));
        let waiting = self.unexplained.len();
        self.unexplained.retain(|seen| now.saturating_duration_since(*seen) < STALE);
        waiting - self.unexplained.len()
    }

    /// A child died of a SIGKILL that we did not send; the count is read after its death.
    pub fn explain(&mut self, kills: Option<u64>, now: Instant) -> Suspicion {
        if kills.is_none() || self.counted.is_none() {
            self.observe(kills, now);
            return Suspicion::Open;
        }
        self.observe(kills, now);
        if self.unexplained.is_empty() {
            return Suspicion::Unfounded;
        }
        self.unexplained.remove(0);
        Suspicion::Certain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *BEGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn a_kill_explains_one_death() {
        let mut ledger = OomLedger::default();
        // Kills before our time are none of ours.
        assert_eq!(ledger.observe(Some(7), at(0)), 0);
        assert_eq!(ledger.explain(Some(7), at(1)), Suspicion::Unfounded);
        assert_eq!(ledger.explain(Some(8), at(2)), Suspicion::Certain);
        assert_eq!(ledger.explain(Some(8), at(2)), Suspicion::Unfounded);
    }

    #[test]
    fn the_count_may_be_read_before_the_death_is_known() {
        let mut ledger = OomLedger::default();
        ledger.observe(Some(0), at(0));
        ledger.observe(Some(2), at(1));
        ledger.observe(Some(2), at(2));
        assert_eq!(ledger.explain(Some(2), at(3)), Suspicion::Certain);
        assert_eq!(ledger.explain(Some(2), at(3)), Suspicion::Certain);
        assert_eq!(ledger.explain(Some(2), at(3)), Suspicion::Unfounded);
    }

    #[test]
    fn a_kill_of_a_grandchild_does_not_explain_what_comes_much_later() {
        let mut ledger = OomLedger::default();
        ledger.observe(Some(0), at(0));
        assert_eq!(ledger.observe(Some(1), at(1)), 0);
        assert_eq!(ledger.observe(Some(1), at(12)), 1);
        assert_eq!(ledger.observe(Some(1), at(13)), 0);
        assert_eq!(ledger.explain(Some(1), at(14)), Suspicion::Unfounded);
    }

    #[test]
    fn a_kill_before_an_upgrade_explains_a_death_after_it() {
        let mut ledger = OomLedger::default();
        ledger.observe(Some(3), at(0));
        ledger.observe(Some(4), at(1));
        let mut next = OomLedger::resume(ledger.explained());
        assert_eq!(next.explain(Some(4), at(2)), Suspicion::Certain);
        assert_eq!(next.explain(Some(4), at(2)), Suspicion::Unfounded);
    }

    #[test]
    fn what_the_kernel_does_not_tell_stays_open() {
        let mut ledger = OomLedger::default();
        assert_eq!(ledger.explain(None, at(0)), Suspicion::Open);
        // The first count says nothing of what came before it.
        assert_eq!(ledger.explain(Some(3), at(1)), Suspicion::Open);
        assert_eq!(ledger.explain(Some(3), at(2)), Suspicion::Unfounded);
        // A count that falls (another group) is no kill.
        assert_eq!(ledger.explain(Some(1), at(3)), Suspicion::Unfounded);
        assert_eq!(ledger.explain(Some(2), at(4)), Suspicion::Certain);
    }
}
