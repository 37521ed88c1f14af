//! Who is to be recycled for the memory that it holds, and how. No system calls, no clock.
//!
//! Two limits concern each worker: above the soft one it is replaced as after `max_requests`, above the hard one it is
//! told to go at once. A third watches the container: when what the kernel cannot reclaim would reach the limit within
//! seconds, the fattest worker is recycled first, since the kernel would kill one in the midst of a request. Where there is no room
//! for a replacement beside it, it stops before its replacement starts.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cgroup::Memory;
use crate::pool::Order;

/// How far back growth is measured.
const GROWTH_WINDOW: Duration = Duration::from_secs(3);
/// A replacement boots and an old worker leaves in this time, more or less.
const BOOT: Duration = Duration::from_secs(2);
/// Nearer than this to the limit, workers that are busy are told to go, too.
const URGENT: Duration = Duration::from_secs(2);
/// While memory hardly grows, workers are not recycled for the container's sake more often than this.
const CALM: Duration = Duration::from_secs(10);
/// Share of time lost to waiting for memory that counts as pressure, in percent.
const STALLED: f64 = 10.0;
/// How many workers' first figures are remembered.
const REMEMBERED: usize = 16;

/// The settings that it goes by, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// What a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Booting,
    /// Serves. `stale`: it goes as soon as its replacement is ready.
    Ready {
        stale: bool,
        idle: bool,
    },
    Leaving,
}

/// A worker and its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    pub slot: u32,
    pub epoch: u32,
    pub stage: Stage,
    /// Bytes that nobody else has; 0 if not known yet.
    pub own: u64,
}

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    pub memory: Option<Memory>,
    /// Share of the last ten seconds in which some process waited for memory, in percent.
    pub stalled: f64,
    /// The kernel would kill everything at once: act earlier.
    pub kills_together: bool,
    pub workers: &'a [Holding],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Soft,
    Hard,
    /// The container is nearly full.
    Pressure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub slot: u32,
    pub epoch: u32,
    pub own: u64,
    pub why: Why,
    pub order: Order,
}

/// What is to be done, and what is to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    pub verdicts: Vec<Verdict>,
    /// The container is nearly full and no worker holds more than a fresh one would.
    pub helpless: bool,
    /// A limit that a fresh worker is above already; it is not kept.
    pub absurd: Option<u64>,
}

/// Where the line is for the container, in parts of a hundred of its limit.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Nothing is done below this.
    floor: u64,
    /// Not to be reached within `ahead`.
    ceiling: u64,
    ahead: Duration,
}

impl Line {
    fn of(limit: u64, kills_together: bool) -> Self {
        let percent = |share: u64| limit / 100 * share;
        if kills_together {
            Self { floor: percent(60), ceiling: percent(90), ahead: Duration::from_secs(10) }
        } else {
            Self { floor: percent(70), ceiling: percent(95), ahead: Duration::from_secs(5) }
        }
    }
}

/// What a keeper knows of fresh workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    firsts: VecDeque<u64>,
    met: HashMap<u32, u32>,
}

#[derive(Debug, Default)]
pub struct Keeper {
    limits: Limits,
    /// Unreclaimable bytes of the last seconds, oldest first.
    past: VecDeque<(Instant, u64)>,
    /// What workers held when they had just become ready, newest last.
    firsts: VecDeque<u64>,
    /// Workers whose first figure is in `firsts`: epoch by slot.
    met: HashMap<u32, u32>,
    /// Before this nobody is recycled for the container's sake, unless it fills up fast.
    calm_until: Option<Instant>,
}

impl Keeper {
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Goes on with what the program before this one has learned of fresh workers; those that it had met have grown since.
    pub fn resume(limits: Limits, learned: Learned) -> Self {
        Self { limits, firsts: learned.firsts, met: learned.met, ..Self::default() }
    }

    /// See [`Self::resume`].
    pub fn learned(&self) -> Learned {
        Learned { firsts: self.firsts.clone(), met: self.met.clone() }
    }

    /// New code and settings: what a fresh worker holds is to be learned anew.
    pub fn reconfigure(&mut self, limits: Limits) {
        self.limits = limits;
        self.firsts.clear();
    }

    /// How soon to look again.
    pub fn pace(&self, memory: Option<Memory>) -> Duration {
        let Some(Memory { limit: Some(limit), unreclaimable, .. }) = memory else {
            return Duration::from_secs(1);
        };
        if self.grown_in(Duration::from_secs(1)) > limit / 20 {
            Duration::from_millis(100)
        } else if unreclaimable > limit / 2 {
            Duration::from_millis(250)
        } else {
            Duration::from_secs(1)
        }
    }

    /// What a worker holds when it has just become ready: the middle of the last ones. None before the first.
    pub fn fresh(&self) -> Option<u64> {
        let mut sorted: Vec<u64> = self.firsts.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) / 2).copied()
    }

    pub fn judge(&mut self, scene: &Scene<'_>, now: Instant) -> Judgement {
        self.learn(scene, now);
        let mut judgement = Judgement::default();
        let Some(fresh) = self.fresh() else { return judgement };
        let mut round = Round::begin(scene, fresh, self.grown_in(BOOT));
        // One worker alone may have grown before we looked.
        let kept = |limit: &u64| fresh < *limit || self.firsts.len() == 1;
        judgement.absurd =
            [self.limits.soft, self.limits.hard].into_iter().flatten().find(|limit| !kept(limit));
        if let Some(hard) = self.limits.hard.filter(kept) {
            round.enforce_hard(hard);
        }
        if let Some(soft) = self.limits.soft.filter(kept) {
            round.enforce_soft(soft);
        }
        if let Some(memory) = scene.memory
            && let Some(limit) = memory.limit
        {
            self.relieve(scene, memory, limit, now, &mut round);
            judgement.helpless =
                round.helpless && memory.unreclaimable >= Line::of(limit, scene.kills_together).ceiling;
        }
        judgement.verdicts = round.verdicts;
        judgement
    }

    /// Keeps the container off its limit.
    fn relieve(
        &mut self,
        scene: &Scene<'_>,
        memory: Memory,
        limit: u64,
        now: Instant,
        round: &mut Round<'_>,
    ) {
        let line = Line::of(limit, scene.kills_together);
        let used = memory.unreclaimable;
        let coming = used.saturating_add(self.grown_in(line.ahead));
        let stalled = scene.stalled >= STALLED && memory.working_set >= limit / 100 * 80;
        if used < line.floor || (coming < line.ceiling && !stalled) {
            return;
        }
        let urgent = used.saturating_add(self.grown_in(URGENT)) >= line.ceiling;
        let fast = self.grown_in(CALM) > limit / 20;
        if !fast && self.calm_until.is_some_and(|until| now < until) {
            return;
        }
        let over = coming.saturating_sub(line.ceiling).max(1);
        if round.relieve(over, limit / 64, urgent || stalled) {
            self.calm_until = Some(now + CALM);
        }
    }

    fn learn(&mut self, scene: &Scene<'_>, now: Instant) {
        if let Some(memory) = scene.memory {
            self.past.push_back((now, memory.unreclaimable));
            // One that is older than the window stays, so that there is always one to compare with.
            while self.past.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= GROWTH_WINDOW)
            {
                self.past.pop_front();
            }
        }
        let here: HashSet<u32> = scene.workers.iter().map(|worker| worker.slot).collect();
        self.met.retain(|slot, _| here.contains(slot));
        for worker in scene.workers {
            let ready = matches!(worker.stage, Stage::Ready { .. });
            if ready && worker.own > 0 && self.met.insert(worker.slot, worker.epoch) != Some(worker.epoch) {
                self.firsts.push_back(worker.own);
                if self.firsts.len() > REMEMBERED {
                    self.firsts.pop_front();
                }
            }
        }
    }

    /// Bytes that will come in this time if memory goes on growing as in the last seconds.
    fn grown_in(&self, time: Duration) -> u64 {
        let (Some((began, before)), Some((ended, after))) = (self.past.front(), self.past.back()) else {
            return 0;
        };
        let elapsed = ended.saturating_duration_since(*began).as_millis();
        let grown = u128::from(after.saturating_sub(*before)) * time.as_millis();
        grown.checked_div(elapsed).map_or(0, |bytes| u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

/// One look at the workers, and what it comes to.
#[derive(Debug)]
struct Round<'a> {
    workers: &'a [Holding],
    fresh: u64,
    /// Bytes that a replacement takes while it boots.
    need: u64,
    /// Bytes left for replacements.
    room: u64,
    verdicts: Vec<Verdict>,
    helpless: bool,
}

impl<'a> Round<'a> {
    fn begin(scene: &Scene<'a>, fresh: u64, grown_in_boot: u64) -> Self {
        let count = |wanted: fn(&Holding) -> bool| {
            scene.workers.iter().filter(|worker| wanted(worker)).count() as u64
        };
        let booting = count(|worker| worker.stage == Stage::Booting);
        let free = scene.memory.and_then(|memory| Some(memory.limit?.saturating_sub(memory.unreclaimable)));
        let room = free.unwrap_or(u64::MAX).saturating_sub(booting * fresh);
        let need = (fresh + fresh / 4).saturating_add(grown_in_boot);
        Self { workers: scene.workers, fresh, need, room, verdicts: Vec::new(), helpless: false }
    }

    fn order(&mut self, worker: &Holding, why: Why, order: Order) {
        if order != Order::StopFirst {
            self.room = self.room.saturating_sub(self.need);
        }
        self.verdicts.push(Verdict { slot: worker.slot, epoch: worker.epoch, own: worker.own, why, order });
    }

    fn ordered(&self, worker: &Holding) -> bool {
        self.verdicts.iter().any(|verdict| verdict.slot == worker.slot)
    }

    fn roomy(&self) -> bool {
        self.room >= self.need
    }

    fn enforce_hard(&mut self, hard: u64) {
        for worker in self.workers {
            if matches!(worker.stage, Stage::Ready { .. }) && worker.own >= hard {
                let order = if self.roomy() { Order::Now } else { Order::StopFirst };
                self.order(worker, Why::Hard, order);
            }
        }
    }

    fn enforce_soft(&mut self, soft: u64) {
        for worker in self.workers {
            let Stage::Ready { stale: false, idle } = worker.stage else { continue };
            if worker.own < soft || self.ordered(worker) {
                continue;
            }
            if self.roomy() {
                self.order(worker, Why::Soft, Order::ReplaceFirst);
            } else if idle && self.may_stop_one() {
                self.order(worker, Why::Soft, Order::StopFirst);
            }
        }
    }

    /// Recycles until `over` bytes less are to be expected; whether anybody was.
    fn relieve(&mut self, over: u64, least: u64, urgent: bool) -> bool {
        let (workers, fresh) = (self.workers, self.fresh);
        let gain = |worker: &Holding| worker.own.saturating_sub(fresh);
        let fat = |worker: &Holding| gain(worker) >= (fresh / 4).max(least);
        // What those who are going give back.
        let going = |worker: &&Holding| worker.stage == Stage::Leaving || self.ordered(worker);
        let mut back: u64 = workers.iter().filter(going).map(gain).sum();
        let mut candidates: Vec<(&Holding, bool, bool)> = workers
            .iter()
            .filter(|worker| fat(worker) && !self.ordered(worker))
            .filter_map(|worker| match worker.stage {
                Stage::Ready { stale, idle } => Some((worker, stale, idle)),
                _ => None,
            })
            .collect();
        // Idle ones first, and of those the fattest.
        candidates.sort_by_key(|(worker, _, idle)| (!idle, std::cmp::Reverse(worker.own)));
        self.helpless = candidates.is_empty() && back == 0;
        let mut acted = false;
        for (worker, stale, idle) in candidates {
            if back >= over {
                break;
            }
            if self.roomy() {
                // A stale one's turn comes anyway.
                if !stale {
                    self.order(worker, Why::Pressure, Order::ReplaceFirst);
                    acted = true;
                }
            } else if (idle || urgent) && self.may_stop_one() {
                self.order(worker, Why::Pressure, Order::StopFirst);
                acted = true;
            } else {
                break;
            }
            back = back.saturating_add(gain(worker));
        }
        acted
    }

    /// Somebody has to serve meanwhile, unless there is only one worker anyway.
    fn may_stop_one(&self) -> bool {
        let serving = |worker: &&Holding| {
            matches!(worker.stage, Stage::Ready { .. })
                && !self.verdicts.iter().any(|v| v.slot == worker.slot && v.order != Order::ReplaceFirst)
        };
        self.workers.len() == 1 || self.workers.iter().filter(serving).count() > 1
    }
}

#[cfg(test)]
mod tests;
