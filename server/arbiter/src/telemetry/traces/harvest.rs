//! Which requests of a worker have ended since its ring was last looked at. Pure: the ring is handed in, and believed only as
//! far as it makes sense.
//!
//! A request that runs is remembered, so that its end is known for what it is when the ring has moved on.

use std::collections::BTreeMap;

use podicorn_scoreboard::{RING_ENTRIES, RingEntry, RingNews, SAFE_ENTRIES};

const RING: u64 = RING_ENTRIES as u64;
/// Requests that are remembered while they run; a WebSocket is none, its request ends with the handshake.
const MOST_RUNNING: usize = 8192;
/// More entries than this between two looks are a scribble, not requests.
const BELIEVABLE: u64 = 10_000_000;

/// What is known of one worker's ring.
#[derive(Debug, Default)]
pub struct Harvester {
    /// The first entry that has not been looked at.
    next: u64,
    /// By sequence.
    running: BTreeMap<u64, RingEntry>,
}

/// What a look has brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Harvest {
    /// Sampled requests that have ended.
    pub ended: Vec<RingEntry>,
    /// Entries that were overwritten before they were read; not all of them need have been sampled.
    pub lost: u64,
}

impl Harvester {
    /// Goes on where that of the program before this one has come to: the next entry, and those that ran.
    pub fn resume(next: u64, running: &[u64], read: impl Fn(u64) -> Option<RingNews>) -> Self {
        let still_there = running.iter().filter_map(|sequence| match read(*sequence) {
            Some(RingNews::Request(entry)) if entry.sequence == *sequence => Some((*sequence, entry)),
            _ => None,
        });
        Self { next, running: still_there.take(MOST_RUNNING).collect() }
    }

    /// See [`Self::resume`].
    pub fn place(&self) -> (u64, Vec<u64>) {
        (self.next, self.running.keys().copied().collect())
    }

    /// `head` entries have begun so far; `read` copies one.
    pub fn look(&mut self, head: u64, read: impl Fn(u64) -> Option<RingNews>) -> Harvest {
        let mut harvest = Harvest::default();
        let Some(new) = head.checked_sub(self.next).filter(|new| *new <= BELIEVABLE) else {
            self.next = head;
            self.running.clear();
            return harvest;
        };
        let oldest = head.saturating_sub(RING);
        if new > RING - SAFE_ENTRIES {
            // Those that were new when we last looked may have ended without a trace.
            let doubtful = self.next.saturating_sub(SAFE_ENTRIES)..oldest;
            let before = self.running.len();
            self.running.retain(|sequence, _| !doubtful.contains(sequence));
            harvest.lost += (before - self.running.len()) as u64;
        }
        harvest.lost += oldest.saturating_sub(self.next);
        self.look_again(oldest, &read, &mut harvest);
        for sequence in self.next.max(oldest)..head {
            match read(sequence) {
                None => harvest.lost += 1,
                Some(RingNews::Request(entry)) => self.take(entry, &mut harvest),
                Some(RingNews::Ended(end)) => {
                    if let Some(entry) = self.running.remove(&end.sequence) {
                        harvest.ended.push(RingEntry {
                            status: end.status,
                            duration_nanos: Some(end.duration_nanos),
                            is_timed_out: end.is_timed_out,
                            ..entry
                        });
                    }
                }
            }
        }
        self.next = head;
        harvest
    }

    /// Those that ran at the last look, as far as they are still in the ring.
    fn look_again(&mut self, oldest: u64, read: &impl Fn(u64) -> Option<RingNews>, harvest: &mut Harvest) {
        let in_reach: Vec<u64> = self.running.range(oldest..).map(|(sequence, _)| *sequence).collect();
        for sequence in in_reach {
            if let Some(RingNews::Request(entry)) = read(sequence)
                && entry.duration_nanos.is_some()
            {
                self.running.remove(&sequence);
                harvest.ended.push(entry);
            }
        }
    }

    fn take(&mut self, entry: RingEntry, harvest: &mut Harvest) {
        if !entry.is_sampled || entry.trace_id == 0 || entry.span_id == 0 {
            return;
        }
        if entry.duration_nanos.is_some() {
            harvest.ended.push(entry);
            return;
        }
        if self.running.len() >= MOST_RUNNING {
            harvest.lost += 1;
            self.running.pop_first();
        }
        self.running.insert(entry.sequence, entry);
    }

    /// The worker is gone: what it was at.
    pub fn abandon(self) -> impl Iterator<Item = RingEntry> {
        self.running.into_values()
    }
}

#[cfg(test)]
mod tests;
