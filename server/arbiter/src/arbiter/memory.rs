//! Looking at memory, recycling workers for it, and naming the deaths that want of it has caused.

use std::time::{Duration, Instant, SystemTime};

use podicorn_scoreboard::RingEntry;
use serde::{Deserialize, Serialize};

use super::report::current_request;
use super::workers::request_text;
use super::{Arbiter, Ending, Input};
use crate::cgroup::{Memory, MemoryGroup};
use crate::memory::{
    Holding, Judgement, Keeper, Learned, Limits, Look, OomLedger, Scene, Stage, Suspicion, Verdict, Watch,
    Why, mib,
};
use crate::pool::{Event, Order, Phase, RetireReason};
use crate::status::{OomKill, Victim};

/// The same complaint is not made more often.
const QUIET: Duration = Duration::from_secs(600);

/// What the next program has to know of memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Saved {
    learned: Learned,
    explained: Option<u64>,
    kills: u64,
    last_kill: Option<OomKill>,
}

/// What the arbiter knows of memory.
#[derive(Debug)]
pub(super) struct MemoryCare {
    group: Option<MemoryGroup>,
    /// Away while a look is under way.
    watch: Option<Box<Watch>>,
    keeper: Keeper,
    ledger: OomLedger,
    pub(super) look: Option<Look>,
    next: Instant,
    /// Look again at once: a worker has become ready meanwhile.
    hurry: bool,
    helpless_told: Option<Instant>,
    absurd_told: Option<u64>,
    pub(super) kills: u64,
    pub(super) last_kill: Option<OomKill>,
}

impl MemoryCare {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let group = MemoryGroup::of_this_process();
        let mut ledger = OomLedger::default();
        ledger.observe(group.as_ref().and_then(|group| group.oom_events().kills), now);
        Self {
            watch: Some(Box::new(Watch::new(group.clone()))),
            group,
            keeper: Keeper::new(limits),
            ledger,
            look: None,
            next: now,
            hurry: false,
            helpless_told: None,
            absurd_told: None,
            kills: 0,
            last_kill: None,
        }
    }

    pub(super) fn save(&self) -> Saved {
        Saved {
            learned: self.keeper.learned(),
            explained: self.ledger.explained(),
            kills: self.kills,
            last_kill: self.last_kill.clone(),
        }
    }

    pub(super) fn resume(limits: Limits, saved: Saved, now: Instant) -> Self {
        let mut ledger = OomLedger::resume(saved.explained);
        let care = Self::new(limits, now);
        ledger.observe(care.group.as_ref().and_then(|group| group.oom_events().kills), now);
        let keeper = Keeper::resume(limits, saved.learned);
        Self { keeper, ledger, kills: saved.kills, last_kill: saved.last_kill, ..care }
    }

    /// What the start-up log says of the limit.
    pub(super) fn announce(&self) {
        let Some(group) = &self.group else { return };
        let Some(Memory { limit: Some(limit), .. }) = group.usage() else { return };
        tracing::info!("Memory limit: {} MiB (cgroup v{})", mib(limit), group.version().number());
        if group.kills_together() {
            tracing::warn!(
                "memory.oom.group is 1: where the container runs out of memory the kernel kills all of it at once, this \
                 process and every request included; so workers are recycled from 60 % of the limit on, as soon as 90 % are \
                 near"
            );
        }
    }

    /// When the next look is due; none while one is under way.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.watch.as_ref().map(|_| self.next)
    }

    /// A worker has become ready: what it holds now is what a fresh one holds.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next = now;
        self.hurry = true;
    }

    pub(super) fn fresh(&self) -> Option<u64> {
        self.keeper.fresh()
    }

    pub(super) fn version(&self) -> Option<u8> {
        self.group.as_ref().map(|group| group.version().number())
    }

    pub(super) fn reconfigure(&mut self, limits: Limits) {
        self.keeper.reconfigure(limits);
        self.absurd_told = None;
    }
}

impl Arbiter {
    /// Begins a look, if one is due: on a blocking thread, since page tables of large workers take long to walk.
    pub(super) fn look_at_memory(&mut self, now: Instant) {
        if self.memory.deadline().is_none_or(|due| now < due) {
            return;
        }
        let Some(mut watch) = self.memory.watch.take() else { return };
        self.memory.hurry = false;
        let workers = self.pool.workers().filter(|(_, worker)| worker.is_ready());
        let pids: Vec<i32> =
            workers.filter_map(|(_, worker)| worker.pid).chain(self.forkservers.keys().copied()).collect();
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let looking = tokio::task::spawn_blocking(move || {
                let look = watch.look(&pids);
                (watch, look)
            });
            if let Ok((watch, look)) = looking.await {
                let _ = inputs.send(Input::Looked { watch, look });
            }
        });
    }

    pub(super) fn on_look(&mut self, watch: Box<Watch>, look: Look) {
        let now = Instant::now();
        let unexplained = self.memory.ledger.observe(look.oom.kills, now);
        if unexplained > 0 {
            tracing::error!(
                "The kernel has killed {unexplained} process(es) that the app had started: out of memory{}",
                limit_text(look.memory)
            );
        }
        if self.ending != Ending::Stopping {
            // Whom to recycle depends on who is busy now.
            self.read_scoreboard();
            let workers = self.holdings(&look);
            let scene = Scene {
                memory: look.memory,
                stalled: look.memory_pressure.map_or(0.0, |pressure| pressure.some.percent_of_10s),
                kills_together: look.kills_together,
                workers: &workers,
            };
            let judgement = self.memory.keeper.judge(&scene, now);
            self.tell_judgement(&judgement, &look, now);
            for verdict in &judgement.verdicts {
                self.recycle(verdict, look.memory);
            }
        }
        let pause = if self.memory.hurry { Duration::ZERO } else { self.memory.keeper.pace(look.memory) };
        self.memory.next = now + pause;
        self.memory.watch = Some(watch);
        self.memory.look = Some(look);
    }

    fn holdings(&self, look: &Look) -> Vec<Holding> {
        let holding = |(slot, worker): (u32, &crate::pool::Worker)| {
            let measured = worker.pid.and_then(|pid| look.processes.get(&pid));
            let stage = match worker.phase {
                Phase::Spawning { .. } | Phase::Booting { .. } => Stage::Booting,
                Phase::Ready { .. } => {
                    Stage::Ready { stale: worker.recycle.is_some(), idle: worker.load() == 0 }
                }
                Phase::Stopping { .. } | Phase::Aborting { .. } | Phase::Killed { .. } => Stage::Leaving,
            };
            Holding { slot, epoch: worker.epoch, stage, own: measured.map_or(0, |rollup| rollup.uss) }
        };
        self.pool.workers().map(holding).collect()
    }

    fn recycle(&mut self, verdict: &Verdict, memory: Option<Memory>) {
        let Verdict { slot, epoch, own, why, order } = *verdict;
        let pid = self.pool.worker(slot).and_then(|worker| worker.pid).unwrap_or(0);
        let how = match order {
            Order::ReplaceFirst => "its replacement comes first",
            Order::Now => "it is told to go at once",
            Order::StopFirst => "there is no room for a replacement beside it, so it goes first",
        };
        let fresh = self.memory.keeper.fresh().map_or(0, mib);
        let (own, reason) = (
            mib(own),
            match why {
                Why::Soft | Why::Hard => RetireReason::MaxMemory,
                Why::Pressure => RetireReason::MemoryPressure,
            },
        );
        match why {
            Why::Soft => tracing::info!(
                slot,
                "Recycling worker (pid:{pid}): it holds {own} MiB, which is above worker_max_memory; {how}"
            ),
            Why::Hard => tracing::warn!(
                slot,
                "Recycling worker (pid:{pid}): it holds {own} MiB, which is above worker_max_memory_hard; {how}"
            ),
            Why::Pressure => tracing::warn!(
                slot,
                "Recycling worker (pid:{pid}): the container is nearly out of memory{}, and it holds {own} MiB where a fresh one \
                 holds {fresh} MiB; {how}",
                limit_text(memory)
            ),
        }
        self.tell_pool(Event::Recycle { slot, epoch, reason, order });
    }

    fn tell_judgement(&mut self, judgement: &Judgement, look: &Look, now: Instant) {
        let quiet =
            |told: Option<Instant>| told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET);
        if judgement.helpless && quiet(self.memory.helpless_told) {
            self.memory.helpless_told = Some(now);
            tracing::warn!(
                "The container is nearly out of memory{}, and no worker holds much more than a fresh one: raise its memory \
                 limit, or run fewer workers",
                limit_text(look.memory)
            );
        }
        if let Some(limit) = judgement.absurd.filter(|limit| self.memory.absurd_told != Some(*limit)) {
            self.memory.absurd_told = Some(limit);
            tracing::warn!(
                "A fresh worker holds {} MiB, more than the {} MiB that a worker may hold (worker_max_memory, \
                 worker_max_memory_hard): that limit is not kept",
                self.memory.keeper.fresh().map_or(0, mib),
                mib(limit)
            );
        }
    }

    /// A child died of a SIGKILL that we did not send: was it the kernel's, for want of memory?
    pub(super) fn suspect(&mut self) -> Suspicion {
        // One small file, and the count must be that of now.
        let kills = self.memory.group.as_ref().and_then(|group| group.oom_events().kills);
        self.memory.ledger.explain(kills, Instant::now())
    }

    /// Notes a kill that is certain; what is to be said of it.
    pub(super) fn killed_for_memory(
        &mut self,
        victim: Victim,
        pid: i32,
        request: Option<&RingEntry>,
    ) -> String {
        let look = self.memory.look.as_ref();
        let held = look.and_then(|look| look.processes.get(&pid)).map(|rollup| rollup.uss);
        let limit = self.memory.group.as_ref().and_then(MemoryGroup::usage).and_then(|memory| memory.limit);
        self.memory.kills += 1;
        self.memory.last_kill = Some(OomKill {
            at: SystemTime::now(),
            victim,
            pid: u32::try_from(pid).unwrap_or(0),
            uss_bytes: held,
            request: request.map(current_request),
        });
        let held =
            held.map(|held| format!("; it held {} MiB when last measured", mib(held))).unwrap_or_default();
        let serving =
            request.map(|entry| format!(", while serving {}", request_text(entry))).unwrap_or_default();
        // In use is less by now: the dead no longer count.
        let limit =
            limit.map(|limit| format!(" (the container's limit is {} MiB)", mib(limit))).unwrap_or_default();
        format!("was killed by the kernel: out of memory{limit}{held}{serving}")
    }
}

fn limit_text(memory: Option<Memory>) -> String {
    match memory {
        Some(Memory { limit: Some(limit), working_set, .. }) => {
            format!(" ({} of {} MiB in use)", mib(working_set), mib(limit))
        }
        _ => String::new(),
    }
}
