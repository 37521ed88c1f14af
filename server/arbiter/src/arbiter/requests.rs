//! The spans of requests: read from the workers' rings, handed to the exporter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use podicorn_scoreboard::RingNews;

use super::Arbiter;
use crate::pool::{Exit, Phase};
use crate::telemetry::traces::{Ending, Harvester, RequestSpan};

/// The rings are not read more often: what a worker writes in less than that beyond one ring is lost and counted. It bounds
/// what traces cost this thread, whatever the load.
const PAUSE: Duration = Duration::from_millis(5);

/// What is known of the rings, while traces are exported.
#[derive(Debug, Default)]
pub(super) struct Harvesting {
    harvesters: HashMap<u32, Harvester>,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Harvesting {
    /// A new worker begins with an empty ring.
    pub(super) fn begin(&mut self, slot: u32) {
        self.harvesters.insert(slot, Harvester::default());
    }

    /// Where the program before this one has come to with a slot's ring.
    pub(super) fn resume(
        &mut self,
        slot: u32,
        next: u64,
        running: &[u64],
        read: impl Fn(u64) -> Option<RingNews>,
    ) {
        self.harvesters.insert(slot, Harvester::resume(next, running, read));
    }

    /// See [`Self::resume`].
    pub(super) fn place(&self, slot: u32) -> Option<(u64, Vec<u64>)> {
        self.harvesters.get(&slot).map(Harvester::place)
    }

    /// When [`Arbiter::harvest`] is next needed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

impl Arbiter {
    /// Exports the requests that have ended, unless that was done just now: then the rest follows soon.
    pub(super) fn harvest(&mut self) {
        if self.traces.is_none() {
            return;
        }
        let now = Instant::now();
        let earliest = self.harvesting.last.map_or(now, |last| last + PAUSE);
        if now < earliest {
            self.harvesting.due = Some(earliest);
            return;
        }
        self.harvesting.last = Some(now);
        self.harvesting.due = None;
        let slots: Vec<u32> = self.harvesting.harvesters.keys().copied().collect();
        for slot in slots {
            self.harvest_slot(slot);
        }
    }

    fn harvest_slot(&mut self, slot: u32) {
        let (Some(traces), Ok(reader)) = (&self.traces, self.map.reader(slot)) else { return };
        let Some(harvester) = self.harvesting.harvesters.get_mut(&slot) else { return };
        let harvest = harvester.look(reader.ring_head(), |sequence| reader.ring_entry(sequence));
        if harvest.ended.is_empty() && harvest.lost == 0 {
            return;
        }
        let whose = self.whose(slot);
        let spans = harvest.ended.into_iter().map(|entry| whose.clone().span(entry, Ending::Answered));
        traces.export(spans, harvest.lost);
    }

    /// A worker has died: what it has still written, and what it was at.
    pub(super) fn harvest_last(&mut self, slot: u32, phase: Phase, exit: Exit) {
        self.harvest_slot(slot);
        let whose = self.whose(slot);
        let (Some(traces), Some(harvester)) = (&self.traces, self.harvesting.harvesters.remove(&slot)) else {
            return;
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        let hung = matches!(phase, Phase::Aborting { .. } | Phase::Killed { .. });
        let how = if hung { format!("did not react and {exit}") } else { exit.to_string() };
        let spans = harvester
            .abandon()
            .map(|entry| whose.clone().span(entry, Ending::Crashed { at, how: how.clone() }));
        traces.export(spans, 0);
    }

    fn whose(&self, slot: u32) -> Whose {
        let generation = self.attendants.get(&slot).map_or(0, |attendant| attendant.generation);
        let settings =
            self.blueprints.get(&generation).map_or(&self.settings, |blueprint| &blueprint.settings);
        Whose {
            slot,
            pid: self.pool.worker(slot).and_then(|worker| worker.pid).unwrap_or(0),
            generation,
            worker_type: settings.worker_name().into(),
        }
    }
}

/// The worker that has served a request.
#[derive(Debug, Clone)]
struct Whose {
    slot: u32,
    pid: i32,
    generation: u32,
    worker_type: Arc<str>,
}

impl Whose {
    fn span(self, entry: podicorn_scoreboard::RingEntry, end: Ending) -> RequestSpan {
        let Self { slot, pid, generation, worker_type } = self;
        RequestSpan { entry, end, slot, pid, generation, worker_type }
    }
}
