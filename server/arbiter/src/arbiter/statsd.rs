//! What `StatsD` is told, taken from the scoreboard.

use std::time::{Duration, Instant};

use podicorn_scoreboard::layout::RING_ENTRIES;

use super::Arbiter;
use crate::telemetry::statsd::{Ended, RingLook, Sums};

impl Arbiter {
    pub(super) fn tell_statsd(&mut self, now: Instant) {
        if self.statsd.as_ref().is_none_or(|statsd| now < statsd.deadline()) {
            return;
        }
        self.tell_statsd_now(now);
    }

    /// Also between two times: this program goes.
    pub(super) fn tell_statsd_now(&mut self, now: Instant) {
        if self.statsd.is_none() {
            return;
        }
        self.read_scoreboard();
        let sums = Sums { backlog: self.backlog(now), ..self.sums() };
        let rings = self.ring_looks();
        if let Some(statsd) = &mut self.statsd {
            statsd.tell(sums, &rings, now);
        }
    }

    /// The program before this one has told `StatsD` what there is so far.
    pub(super) fn resume_statsd(&mut self) {
        let (sums, rings) = (self.sums(), self.ring_looks());
        if let Some(statsd) = &mut self.statsd {
            statsd.resume(sums, &rings);
        }
    }

    fn sums(&self) -> Sums {
        let ended = &self.ledger.totals().counters.latency;
        Sums {
            requests: ended.iter().fold(0, |sum, one| sum.saturating_add(*one)),
            workers: self.pool.workers().count() as u64,
            logged: self.logged(),
            backlog: None,
        }
    }

    fn ring_looks(&self) -> Vec<RingLook> {
        self.pool.workers().filter_map(|(slot, worker)| self.ring_look(slot, worker.epoch)).collect()
    }

    fn ring_look(&self, slot: u32, epoch: u32) -> Option<RingLook> {
        let entries = self.map.reader(slot).ok()?.requests(usize::MAX);
        let newest = entries.first().map_or(0, |entry| entry.sequence);
        let ended = |duration| Duration::from_nanos(duration);
        Some(RingLook {
            slot,
            epoch,
            oldest: newest.saturating_sub(RING_ENTRIES as u64 - 1),
            ended: entries
                .iter()
                .filter_map(|entry| {
                    let duration = ended(entry.duration_nanos?);
                    Some(Ended { sequence: entry.sequence, status: entry.status, duration })
                })
                .collect(),
        })
    }

    fn backlog(&self, now: Instant) -> Option<u64> {
        let wanted = self.settings.enable_backlog_metric
            && self.statsd.as_ref().is_some_and(|statsd| statsd.wants_backlog(now));
        let blueprint = self.blueprints.get(&self.pool.generation()).filter(|_| wanted)?;
        let queues = blueprint.listeners.iter().filter_map(|listener| listener.status().accept_queue);
        Some(queues.map(|queue| u64::from(queue.length)).sum())
    }
}
