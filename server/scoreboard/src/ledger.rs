//! The arbiter's own totals. A worker's code can write anything into the map, so what the map says is only ever added
//! as a difference that could be true; the totals live in the arbiter's memory and never fall.

use std::collections::HashMap;
use std::time::Duration;

use crate::histogram::BUCKETS;
use crate::layout::field;
use crate::slot::Counters;

/// Sums over all workers, living and dead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Totals {
    pub counters: Counters,
    /// How often a slot said something that cannot be true.
    pub corruptions: u64,
}

/// Keeps [`Totals`] from successive readings of the slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ledger {
    slots: HashMap<u32, Account>,
    totals: Totals,
}

/// What is known of one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Account {
    /// As last read.
    last: Counters,
    /// What was believed of it.
    own: Counters,
}

/// More of anything than this in a second is a scribble, not work.
const PER_SECOND: u64 = 10_000_000;
/// Slack for the first moments of a slot.
const SLACK: u64 = 1_000_000;
/// Objects that Python frees between two looks; more do not fit a machine's memory.
const MOST_FREED: u64 = 1 << 40;
/// A year: the longest sum of durations per counted event that is believed.
const LONGEST_NANOS: u64 = 365 * 86_400 * 1_000_000_000;

impl Ledger {
    /// Adds what a slot has counted since it was last observed; `elapsed` is the time since then. Returns `false` if the
    /// figures cannot be true: they then become the new base line and add nothing.
    pub fn observe(&mut self, slot: u32, now: &Counters, elapsed: Duration) -> bool {
        let account = self.slots.entry(slot).or_default();
        let last = std::mem::replace(&mut account.last, *now);
        let plausible = difference(now, &last).filter(|added| believable(added, elapsed));
        if let Some(added) = plausible {
            account.own = sum(&account.own, &added);
            self.totals.counters = sum(&self.totals.counters, &added);
            true
        } else {
            self.totals.corruptions += 1;
            false
        }
    }

    /// The slot is empty again; its figures stay in the totals.
    pub fn forget(&mut self, slot: u32) {
        self.slots.remove(&slot);
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What the slot's present worker has counted, as far as it is believed.
    pub fn slot(&self, slot: u32) -> Counters {
        self.slots.get(&slot).map(|account| account.own).unwrap_or_default()
    }
}

fn zip(a: &Counters, b: &Counters, f: impl Fn(u64, u64) -> Option<u64>) -> Option<Counters> {
    fn each<const N: usize>(
        a: [u64; N],
        b: [u64; N],
        f: &impl Fn(u64, u64) -> Option<u64>,
    ) -> Option<[u64; N]> {
        let mut out = [0; N];
        for (position, value) in out.iter_mut().enumerate() {
            *value = f(a[position], b[position])?;
        }
        Some(out)
    }
    Some(Counters {
        accepted: f(a.accepted, b.accepted)?,
        begun: f(a.begun, b.begun)?,
        busy_nanos: f(a.busy_nanos, b.busy_nanos)?,
        log_dropped: f(a.log_dropped, b.log_dropped)?,
        ring_lost: f(a.ring_lost, b.ring_lost)?,
        timed_out: f(a.timed_out, b.timed_out)?,
        requests: each::<{ field::CLASSES }>(a.requests, b.requests, &f)?,
        latency: each::<BUCKETS>(a.latency, b.latency, &f)?,
        latency_nanos: f(a.latency_nanos, b.latency_nanos)?,
        queue: each::<BUCKETS>(a.queue, b.queue, &f)?,
        queue_nanos: f(a.queue_nanos, b.queue_nanos)?,
        rejected: f(a.rejected, b.rejected)?,
        gc_runs: each::<{ field::GC_GENERATIONS }>(a.gc_runs, b.gc_runs, &f)?,
        gc_nanos: f(a.gc_nanos, b.gc_nanos)?,
        gc_freed: f(a.gc_freed, b.gc_freed)?,
        lag: each::<BUCKETS>(a.lag, b.lag, &f)?,
        lag_nanos: f(a.lag_nanos, b.lag_nanos)?,
        logged: each::<{ field::LOGGED_KINDS }>(a.logged, b.logged, &f)?,
        tls_failures: f(a.tls_failures, b.tls_failures)?,
    })
}

fn difference(now: &Counters, last: &Counters) -> Option<Counters> {
    zip(now, last, u64::checked_sub)
}

fn sum(a: &Counters, b: &Counters) -> Counters {
    zip(a, b, |x, y| Some(x.saturating_add(y))).unwrap_or(*a)
}

fn believable(added: &Counters, elapsed: Duration) -> bool {
    let most = PER_SECOND.saturating_mul(elapsed.as_secs().saturating_add(1)).saturating_add(SLACK);
    let counts = [added.accepted, added.log_dropped, added.ring_lost, added.timed_out]
        .into_iter()
        .chain(added.requests)
        .chain(added.latency)
        .chain(added.queue)
        .chain(added.gc_runs)
        .chain(added.lag)
        .chain(added.logged)
        .chain([added.begun, added.rejected, added.tls_failures]);
    let events: u64 = added.latency.iter().chain(&added.queue).fold(0, |all, one| all.saturating_add(*one));
    counts.into_iter().all(|count| count <= most)
        && added.busy_nanos <= LONGEST_NANOS
        && added.gc_nanos <= LONGEST_NANOS
        && added.lag_nanos <= LONGEST_NANOS
        && added.gc_freed <= MOST_FREED
        && added.latency_nanos.saturating_add(added.queue_nanos)
            <= LONGEST_NANOS.saturating_mul(events.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn served(requests: u64) -> Counters {
        let mut counters = Counters { accepted: requests, ..Counters::default() };
        counters.requests[2] = requests;
        counters
    }

    #[test]
    fn totals_outlive_their_worker() {
        let mut ledger = Ledger::default();
        assert!(ledger.observe(0, &served(5), SECOND));
        assert!(ledger.observe(0, &served(9), SECOND));
        ledger.forget(0);
        assert!(ledger.observe(0, &served(2), SECOND));
        assert_eq!(ledger.totals().counters.accepted, 11);
        assert_eq!(ledger.slot(0).accepted, 2);
    }

    #[test]
    fn a_scribble_adds_nothing_and_is_counted() {
        let mut ledger = Ledger::default();
        ledger.observe(0, &served(5), SECOND);
        assert!(!ledger.observe(0, &served(u64::MAX), SECOND));
        assert!(!ledger.observe(0, &served(6), SECOND), "back to sense is a fall, so a new base line");
        assert!(ledger.observe(0, &served(8), SECOND));
        assert_eq!(ledger.totals().counters.accepted, 7);
        assert_eq!(ledger.slot(0).accepted, 7);
        assert_eq!(ledger.totals().corruptions, 2);
    }

    proptest! {
        #[test]
        fn totals_never_fall(readings in prop::collection::vec((0u32..4, any::<u64>(), any::<u64>(), any::<bool>()), 1..200)) {
            let mut ledger = Ledger::default();
            let mut before = *ledger.totals();
            for (slot, accepted, busy_nanos, gone) in readings {
                let small = accepted % 1_000;
                ledger.observe(slot, &Counters { accepted: if accepted % 3 == 0 { accepted } else { small }, busy_nanos, ..Counters::default() }, SECOND);
                if gone {
                    ledger.forget(slot);
                }
                let after = *ledger.totals();
                prop_assert!(after.counters.accepted >= before.counters.accepted);
                prop_assert!(after.counters.busy_nanos >= before.counters.busy_nanos);
                before = after;
            }
        }
    }
}
